// Messages and notices in order of arrival.

import type { MessageOf } from "room-client";
import type { Chat, Said } from "../bindings/chat.ts";
import { $, avatar, bubble, counted, el, hueOf } from "./dom.ts";
import { OPERATOR } from "./names.ts";

export type { Said };
export type Message = MessageOf<Chat, "Message">;

/** The most messages that the room sends as its history. */
const MAX_HISTORY = 100;

/** Messages of one author this close together share a header. */
const GROUP_WITHIN = 5 * 60_000;
/** A tab that stays open for days must not grow without end. */
const MAX_ENTRIES = 1_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const precise = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export class Log {
  readonly #me: string;
  readonly #log = $("log");
  readonly #scroller = $("scroller");
  #day: string | undefined;
  #last: { author: string; at: Date } | undefined;
  #unread = 0;
  /** True if the reader is at the end of the log, so that it scrolls with new messages. */
  #following = true;
  /** The position of the scroll bar that the page set last. */
  #top = 0;
  /** The last messages, as many as a history can contain. */
  #recent: Said[] = [];
  readonly #resize = new ResizeObserver(() => this.follow());

  constructor(me: string) {
    this.#me = me;
    this.#log.replaceChildren();
    $("earlier").hidden = true;
    this.#scroller.onscroll = () => this.#scrolled();
    $("new-messages").onclick = () => this.toEnd();
    // An on-screen keyboard or a growing composer makes the log smaller, and pending messages make it larger.
    this.#resize.observe(this.#scroller);
    for (const column of this.#scroller.children) this.#resize.observe(column);
    this.#count(0);
  }

  get hasMessages(): boolean {
    return this.#log.querySelector(".message") !== null;
  }

  /**
   * Adds those messages of the history that the log does not have, and returns them.
   *
   * Both are parts of the one order of the room's messages, so the history goes on where the end of the log repeats its
   * beginning.
   */
  merge(history: Said[]): Said[] {
    const isSame = (a: Said | undefined, b: Said | undefined) =>
      a?.user_id === b?.user_id && a?.text === b?.text && a?.sent_at === b?.sent_at;
    let known = Math.min(history.length, this.#recent.length);
    while (known > 0 && !history.slice(0, known).every((said, n) => isSame(said, this.#recent.at(n - known)))) known--;
    // Without a common part there can be messages in between, which nobody sends.
    if (known === 0 && this.#recent.length > 0) this.notice("Some messages are missing here.");
    else if (known === 0 && history.length === MAX_HISTORY) $("earlier").hidden = false;
    const missed = history.slice(known);
    for (const said of missed) this.message(said);
    return missed;
  }

  message({ user_id: author, text, sent_at: sentAt }: Said): void {
    this.#recent.push({ user_id: author, text, sent_at: sentAt });
    if (this.#recent.length > MAX_HISTORY) this.#recent.shift();
    const sent = new Date(sentAt);
    const at = Number.isNaN(sent.getTime()) ? new Date() : sent;
    this.#startDay(at);
    const own = author === this.#me;
    const first = this.#last?.author !== author || at.getTime() - this.#last.at.getTime() > GROUP_WITHIN;
    this.#last = { author, at };

    const kind = author === OPERATOR ? "operator" : own ? "own" : "other";
    const node = el("article", { class: `message ${kind}${first ? " first" : ""}`, "data-testid": "message" });
    node.dataset.author = author;
    const name = el("bdi", { class: "author" }, kind === "operator" ? "Operator" : author);
    name.style.setProperty("--hue", hueOf(author));
    if (kind === "other") node.append(avatar(author));
    node.append(name, bubble(text, timeOf(at)));
    this.#append(node, !own);
  }

  /** Adds a notice of the page. */
  notice(...said: (Node | string)[]): void {
    this.#happened("", said);
  }

  warning(...said: (Node | string)[]): void {
    this.#happened(" warn", said);
  }

  toEnd(): void {
    this.#following = true;
    this.follow();
  }

  follow(): void {
    if (!this.#following) return;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
  }

  end(): void {
    this.#resize.disconnect();
    this.#scroller.onscroll = $("new-messages").onclick = null;
  }

  #happened(kind: string, said: (Node | string)[]): void {
    this.#last = undefined;
    this.#append(el("p", { class: `notice${kind}`, "data-testid": "notice" }, ...said), false);
  }

  #append(node: HTMLElement, counts: boolean): void {
    // The reader may have scrolled in the current frame, before the scroll event.
    if (this.#scroller.scrollTop !== this.#top) this.#scrolled();
    this.#log.append(node);
    if (this.#log.childElementCount > MAX_ENTRIES) this.#log.firstElementChild?.remove();
    this.follow();
    if (counts && !this.#following) this.#count(this.#unread + 1);
  }

  #startDay(at: Date): void {
    const day = at.toDateString();
    if (this.#day === day) return;
    // The first day needs a line only if it is not today.
    const said = this.#day !== undefined || day !== new Date().toDateString();
    this.#day = day;
    this.#last = undefined;
    if (said) this.#append(el("p", { class: "day" }, el("span", {}, calendar.format(at))), false);
  }

  #scrolled(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#top = scrollTop;
    this.#following = scrollHeight - scrollTop - clientHeight < 48;
    if (this.#following) this.#count(0);
  }

  #count(unread: number): void {
    this.#unread = unread;
    $("new-messages").hidden = unread === 0;
    $("new-messages").textContent = counted(unread, "new message");
  }
}

function timeOf(at: Date): HTMLElement {
  return el("time", { datetime: at.toISOString(), title: precise.format(at) }, clock.format(at));
}
