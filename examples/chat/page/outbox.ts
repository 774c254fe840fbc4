// Messages that the room has not acknowledged.

import { RoomError } from "room-client";
import { $, bubble, counted, el, link } from "./dom.ts";

/** The time after which a message that is still pending says so. */
const LATE_AFTER = 10_000;

interface Entry {
  readonly text: string;
  readonly node: HTMLElement;
  readonly timer: number;
  /** True if the room has sent the message back, so that it is in the log. */
  isShown: boolean;
}

/**
 * A message is pending until its `send` settles. The client sends it again after a lost connection, and the room handles
 * it once. A message that the room refuses stays visible with the reason, so that its author can send it again or
 * discard it.
 */
export class Outbox {
  #entries: Entry[] = [];
  readonly #send: (text: string) => Promise<void>;

  constructor(send: (text: string) => Promise<void>) {
    this.#send = send;
    $("outbox").replaceChildren();
  }

  send(text: string): void {
    const late = el("p", { class: "fate late", role: "status" }, "Not delivered yet. The page keeps trying.");
    const node = el("div", { class: "message own first pending", "data-testid": "pending" }, bubble(text), late);
    const timer = window.setTimeout(() => node.classList.add("overdue"), LATE_AFTER);
    const entry: Entry = { text, node, timer, isShown: false };
    this.#entries.push(entry);
    $("outbox").append(node);
    // The log has the message when it is handled, or gets it with the history of the next connection.
    this.#send(text).then(() => void this.#end(entry), (error: unknown) => this.#failed(entry, error));
  }

  /** Hides the pending message, because the room has sent it back. The outcome can still be an error. */
  shown(text: string): void {
    const entry = this.#entries.find((entry) => entry.text === text && !entry.isShown);
    if (entry === undefined) return;
    entry.isShown = true;
    entry.node.remove();
  }

  clear(): void {
    for (const entry of [...this.#entries]) this.#end(entry);
    $("outbox").replaceChildren();
  }

  #failed(entry: Entry, error: unknown): void {
    if (!this.#end(entry)) return;
    // These two do not say that the message failed: its outcome is unknown.
    const isUnknown = error instanceof RoomError && (error.code === "closed" || error.code === "session_lost");
    if (isUnknown && entry.isShown) return;
    const reason = error instanceof Error ? error.message : String(error);
    const again = () => {
      node.remove();
      this.send(entry.text);
    };
    const fate = el("p", { class: "fate", role: "status" },
      isUnknown ? "May not have arrived." : `Not sent: ${reason}.${retryHint(error)}`,
      link("Send again", again), link("Discard", () => node.remove()));
    const node = el("div", { class: "message own first failed", "data-testid": "failed" }, bubble(entry.text), fate);
    $("outbox").append(node);
  }

  /** Takes the entry out. Returns false if it was out, because the user has left the room. */
  #end(entry: Entry): boolean {
    const at = this.#entries.indexOf(entry);
    if (at < 0) return false;
    this.#entries.splice(at, 1);
    clearTimeout(entry.timer);
    entry.node.remove();
    return true;
  }
}

function retryHint(error: unknown): string {
  if (!(error instanceof RoomError) || error.retryAfterMs === undefined) return "";
  return ` Try again in ${counted(Math.max(1, Math.ceil(error.retryAfterMs / 1_000)), "second")}.`;
}
