// The screen of a room.

import { connect, type Room, type StatusChange } from "room-client";
import type { Chat, State } from "../bindings/chat.ts";
import { $, counted, el, getJson, lengthOf, named, stored } from "./dom.ts";
import { Log, type Message, type Said } from "./log.ts";
import { OPERATOR } from "./names.ts";
import { Outbox } from "./outbox.ts";
import { People } from "./people.ts";
import { Typing } from "./typing.ts";

const MAX_TEXT = 4_000;
const COUNTER_FROM = 3_600;
const TYPING_EVERY = 2_000;
/** The code with which the room refuses a user. */
const REFUSED = 1008;
const NOT_CONNECTED = "Not connected. What you write is kept.";

type Shown = "connecting" | "live" | "reconnecting" | "offline" | "closed";

export class RoomScreen {
  readonly #name: string;
  readonly #room: string;
  readonly #onLeave: (room: string, problem: string) => void;
  readonly #life = new AbortController();
  readonly #log: Log;
  readonly #people: People;
  readonly #typing = new Typing();
  readonly #outbox: Outbox;
  readonly #chat: Room<Chat>;
  readonly #composer = $("composer", HTMLTextAreaElement);
  readonly #send = $("send", HTMLButtonElement);
  #wasLive = false;
  #connections = 0;
  #trouble = false;
  /** The time of the next attempt to connect. */
  #nextAttempt = 0;
  #countdown: number | undefined;
  #typingSent = -Infinity;
  #missed = 0;

  constructor(name: string, room: string, onLeave: (room: string, problem: string) => void) {
    this.#name = name;
    this.#room = room;
    this.#onLeave = onLeave;
    const { signal } = this.#life;
    const at = encodeURIComponent(room);

    $("room-name").textContent = room;
    $("empty").textContent = "";
    $("pinned").hidden = true;
    this.#log = new Log(name);
    this.#people = new People(name, `/api/chat/${at}/peers`, signal, (id) => this.#log.notice(named(id), " left"));
    this.#chat = this.#connect(`/ws/chat/${at}`);
    this.#outbox = new Outbox((text) => this.#chat.send({ type: "Say", text }));

    const on = (id: string, event: "click" | "input" | "submit", action: (event: Event) => void) =>
      $(id).addEventListener(event, action, { signal });
    on("composer-form", "submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    on("composer", "input", () => this.#typed());
    this.#composer.addEventListener("keydown", (event) => {
      // Enter can also confirm a suggestion of an input method, which must not send the message.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    }, { signal });
    on("leave", "click", () => this.leave());
    on("reconnect", "click", () => {
      this.#chat.open();
      this.#composer.focus();
    });
    on("copy-link", "click", () => void this.#copyLink());
    on("people-toggle", "click", () => showPeople($("people-toggle").ariaExpanded !== "true"));
    $("room-screen").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || $("people-toggle").ariaExpanded !== "true") return;
      showPeople(false);
      $("people-toggle").focus();
    }, { signal });
    showPeople(false);
    document.addEventListener("visibilitychange", () => this.#titled(0), { signal });
    window.addEventListener("online", () => this.#shown(), { signal });
    window.addEventListener("offline", () => this.#shown(), { signal });

    this.#composer.value = stored("sessionStorage", this.#draftKey());
    this.#titled(0);
    this.#chat.open();
  }

  /** Goes back to the join screen, which says the problem if there is one. */
  leave(problem = ""): void {
    this.#life.abort();
    this.#outbox.clear();
    this.#chat.close(1000, "left");
    this.#log.end();
    this.#typing.clear();
    clearInterval(this.#countdown);
    this.#onLeave(this.#room, problem);
  }

  // The room

  #connect(url: string): Room<Chat> {
    const chat = connect<Chat>({
      url,
      params: { userId: this.#name },
      // The room gives the name to this browser. A secret in a URL would end up in logs.
      protocols: [`key.${browserKey()}`],
      reconnect: { baseMs: 500, maxMs: 15_000 },
      onDecodeError: (error) => console.warn("ignored a frame:", error.message),
      // `open` connects, when every listener is there.
      autoConnect: false,
    });
    chat.on("History", ({ messages }) => this.#remembered(messages));
    chat.on("Message", (message) => this.#said(message));
    chat.on("Joined", ({ user_id: id }) => {
      if (this.#people.joined(id)) this.#log.notice(named(id), " joined");
    });
    chat.on("Left", ({ user_id: id }) => {
      this.#typing.stop(id);
      this.#people.left(id);
    });
    chat.on("Typing", ({ user_id: id }) => {
      if (id !== this.#name) this.#typing.typing(id);
    });
    chat.onError((error) => this.#log.warning(`The room: ${error.message}`));
    chat.onStatus((change) => {
      if (!this.#life.signal.aborted) this.#changed(change);
    });
    chat.onGap(() => this.#load());
    return chat;
  }

  /** The last messages of the room, which it sends first on each connection. */
  #remembered(messages: Said[]): void {
    $("empty").textContent = "";
    for (const { user_id: author, text } of this.#log.merge(messages)) {
      if (author === this.#name) this.#outbox.shown(text);
    }
  }

  #said(message: Message): void {
    $("empty").textContent = "";
    if (message.user_id === this.#name) this.#outbox.shown(message.text);
    else if (document.hidden) this.#titled(this.#missed + 1);
    this.#typing.stop(message.user_id);
    this.#log.message(message);
    // Only the operator pins messages.
    if (message.user_id === OPERATOR) void this.#loadState();
  }

  /** Asks for all that the page shows of the room, beside the messages, which the room sends. */
  #load(): void {
    void this.#people.refresh();
    void this.#loadState();
  }

  async #loadState(): Promise<void> {
    try {
      const path = `/api/chat/${encodeURIComponent(this.#room)}/state`;
      // A room that nothing was sent to has no state.
      const state = await getJson<State | null>(path, this.#life.signal);
      if (!this.#log.hasMessages && (state?.message_count ?? 0) === 0) {
        $("empty").textContent = "Nobody has said anything here yet. Go first.";
      }
      const pinned = state?.pinned ?? [];
      $("pinned").hidden = pinned.length === 0;
      $("pinned-latest").textContent = pinned.at(-1)?.text ?? "";
      $("pinned-more").textContent = pinned.length > 1 ? `${pinned.length - 1} more` : "";
      $("pinned-list").replaceChildren(...pinned.map(({ text }) => el("li", { dir: "auto" }, text)));
    } catch (error) {
      if (!this.#life.signal.aborted) console.warn("could not load the state:", error);
    }
  }

  // The connection

  #changed(change: StatusChange): void {
    if (change.status === "open") {
      this.#connections++;
      if (this.#trouble) this.#log.notice(this.#wasLive ? "Connection restored." : "Connected.");
      this.#trouble = false;
      this.#wasLive = true;
      // A gap has its own event.
      if (!change.resumed && !change.gap) this.#load();
    } else {
      this.#typing.clear();
      this.#typingSent = -Infinity;
    }
    if (change.status === "reconnecting") {
      this.#nextAttempt = Date.now() + change.delayMs;
      if (!this.#trouble) {
        this.#log.warning(this.#wasLive ? "Connection lost. Reconnecting…" : "The room cannot be reached. Trying again…");
      }
      this.#trouble = true;
    }
    if (change.status === "closed") {
      this.#trouble = true;
      const { code, reason, error } = change;
      // The room has not let this user in.
      if (code === REFUSED && this.#connections <= 1 && !this.#log.hasMessages) return this.leave(reason);
      if (error instanceof Error) this.#log.warning(`The connection has ended: ${error.message}`);
      else this.#log.warning(`The room closed the connection: ${reason || "without a reason"} (${code})`);
    }
    this.#shown();
  }

  #isLive(): boolean {
    return this.#chat.status === "open";
  }

  #shown(): void {
    clearInterval(this.#countdown);
    const { status } = this.#chat;
    const isAway = status === "connecting" || status === "reconnecting";
    const shown: Shown = isAway && !navigator.onLine ? "offline"
      : status === "open" ? "live"
      : status === "idle" ? "connecting"
      : status;
    $("status").dataset.state = $("room-screen").dataset.state = shown;
    this.#showAttempt(shown);
    if (shown === "reconnecting") this.#countdown = window.setInterval(() => this.#showAttempt(shown), 250);

    // It stays the same while the room cannot be reached, because a text that changes with each attempt cannot be read.
    const text = {
      connecting: this.#trouble ? NOT_CONNECTED : "",
      live: "",
      reconnecting: NOT_CONNECTED,
      offline: "You are offline. What you write is kept.",
      closed: "The room has ended your connection.",
    }[shown];
    $("banner").hidden = text === "";
    if ($("banner-text").textContent !== text) $("banner-text").textContent = text;
    $("composer-hint").textContent =
      shown === "connecting" && !this.#trouble ? "Connecting: you can write already, and send in a moment." : "";
    $("reconnect").textContent = shown === "closed" ? "Join again" : "Try now";
    this.#composed();
  }

  #showAttempt(shown: Shown): void {
    const seconds = Math.ceil((this.#nextAttempt - Date.now()) / 1_000);
    const isWaiting = shown === "reconnecting" && seconds > 0;
    $("status-text").textContent = {
      connecting: "Connecting…",
      live: "Live",
      reconnecting: isWaiting ? `Reconnecting in ${seconds} s` : "Connecting…",
      offline: "Offline",
      closed: "Disconnected",
    }[shown];
    $("reconnect").hidden = !isWaiting && shown !== "closed";
  }

  // The composer

  #typed(): void {
    const text = this.#composer.value;
    stored("sessionStorage", this.#draftKey(), text);
    this.#composed();
    const now = performance.now();
    if (text.trim() === "" || now - this.#typingSent < TYPING_EVERY) return;
    if (this.#chat.send({ type: "Typing" }, { ack: false })) this.#typingSent = now;
  }

  #submit(): void {
    const text = this.#composer.value.trim();
    if (this.#send.disabled) return;
    this.#outbox.send(text);
    $("empty").textContent = "";
    this.#composer.value = "";
    stored("sessionStorage", this.#draftKey(), "");
    this.#typingSent = -Infinity;
    this.#composed();
    this.#log.toEnd();
    this.#composer.focus();
  }

  /** Updates everything that depends on the text and the connection. */
  #composed(): void {
    const composer = this.#composer;
    const length = lengthOf(composer.value.trim());
    const left = MAX_TEXT - length;
    // The draft survives a reload of the page, and a message on its way does not.
    this.#send.disabled = !this.#isLive() || length === 0 || left < 0;
    $("counter").textContent = length < COUNTER_FROM ? ""
      : left >= 0 ? `${counted(left, "character")} left` : `${counted(-left, "character")} too many`;
    $("counter").classList.toggle("over", left < 0);
    composer.ariaInvalid = String(left < 0);
    composer.style.height = "auto";
    composer.style.height = `${composer.scrollHeight}px`;
  }

  #draftKey(): string {
    return `draft:${this.#room}`;
  }

  async #copyLink(): Promise<void> {
    const link = new URL(`/?room=${encodeURIComponent(this.#room)}`, location.href).href;
    const said = await copied(link) ? "Copied" : "Not copied";
    $("copy-link-text").textContent = said;
    $("copy-link").classList.add("done");
    setTimeout(() => {
      $("copy-link-text").textContent = "Copy link";
      $("copy-link").classList.remove("done");
    }, 2_000);
  }

  /** Shows in the title of a background tab how many messages the reader has missed. */
  #titled(missed: number): void {
    this.#missed = missed;
    document.title = `${missed > 0 ? `(${missed}) ` : ""}#${this.#room}`;
  }
}

function showPeople(open: boolean): void {
  $("people-toggle").ariaExpanded = String(open);
  $("people-panel").classList.toggle("open", open);
}

/** The secret by which a room knows this browser again. */
function browserKey(): string {
  const known = stored("localStorage", "key");
  if (/^[0-9a-f]{32}$/.test(known)) return known;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return stored("localStorage", "key", Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""));
}

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard needs HTTPS or localhost. Without it, the prompt lets the user copy the text by hand.
    return window.prompt("The link to this room", text) !== null;
  }
}
