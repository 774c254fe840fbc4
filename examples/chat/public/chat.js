// The page of the chat room: a join screen, and then a room over one WebSocket.
//
//   Link    one connection that reconnects automatically
//   Log     messages and notices in order of arrival
//   People  the users in the room
//   Typing  the users who are writing
//   Outbox  messages that the room has not sent back yet
//   Room    the screen that connects the other parts
//
// Text from users becomes a text node and never markup.

const MAX_NAME = 32;
const MAX_ROOM = 64;
const MAX_TEXT = 4_000;
const COUNTER_FROM = 3_600;
const NOT_CONNECTED = "Not connected. What you write is kept.";

/** The room's operator speaks under this name. */
const OPERATOR = "system";

const TYPING_EVERY = 2_000;
const TYPING_SHOWN = 3_000;
const CONFIRM_WITHIN = 10_000;

const CONNECT_TIMEOUT = 10_000;
const PING_EVERY = 25_000;
const PONG_TIMEOUT = 10_000;
const STABLE_AFTER = 10_000;
const BACKOFF_FIRST = 500;
const BACKOFF_MAX = 15_000;

/** Messages of one author this close together share a header. */
const GROUP_WITHIN = 5 * 60_000;
/** A tab that stays open for days must not grow without end. */
const MAX_ENTRIES = 1_000;

// Small helpers

const $ = (id) => document.getElementById(id);

/** Creates an element. Strings among the children become text nodes. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Counts characters as people (and Rust's `chars`) do, not UTF-16 units. */
const lengthOf = (text) => [...text].length;
const characters = (count) => `${count.toLocaleString()} ${count === 1 ? "character" : "characters"}`;

/**
 * Reads or writes localStorage or sessionStorage. In a browser that forbids them, the page works without stored values.
 */
function stored(area, key, value) {
  try {
    if (value === undefined) return window[area].getItem(key) ?? "";
    if (value === "") window[area].removeItem(key);
    else window[area].setItem(key, value);
  } catch {}
  return value ?? "";
}

/** Returns a hue that is the same for a name on every screen (FNV-1a). */
function hueOf(name) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  // Similar names differ only in the low bits, so the bits are mixed before the remainder is taken.
  hash ^= hash >>> 15;
  return (Math.imul(hash, 0x2c1b3c6d) >>> 0) % 360;
}

const graphemes = Intl.Segmenter && new Intl.Segmenter(undefined, { granularity: "grapheme" });

function avatar(name) {
  const [first] = graphemes ? [...graphemes.segment(name)].map((part) => part.segment) : name;
  const node = el("span", { class: "avatar", "aria-hidden": "true" }, (first ?? "?").toLocaleUpperCase());
  node.style.setProperty("--hue", hueOf(name));
  return node;
}

/**
 * Returns a name for use in a sentence. The isolation keeps a right-to-left name from reordering the rest of the
 * sentence.
 */
const named = (name) => el("bdi", {}, name);

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const precise = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

function timeOf(at) {
  return el("time", { datetime: at.toISOString(), title: precise.format(at) }, clock.format(at));
}

// The connection

/**
 * One place in the room. A connection that breaks, or does not answer a ping, is replaced after a random pause with an
 * exponential back-off. Only the room (close codes 1008 and 4000 to 4999) or `leave` ends the link.
 *
 * States: "connecting", "live", "waiting" (`detail.until`), "closed" (`detail.code`, `detail.reason`).
 */
class Link {
  state = "connecting";
  detail = {};

  #url;
  #onChange;
  #onFrame;
  #socket;
  /**
   * The listeners of the current socket. They are aborted so that a late frame of the old socket does not appear beside
   * the new one.
   */
  #listening = new AbortController();
  #life = new AbortController();
  #timers = {};
  #failures = 0;

  constructor(url, { onChange, onFrame }) {
    this.#url = url;
    this.#onChange = onChange;
    this.#onFrame = onFrame;
    const { signal } = this.#life;
    window.addEventListener("online", () => this.#wake(), { signal });
    window.addEventListener("offline", () => this.#wake(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake(), { signal });
  }

  connect() {
    this.#drop();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    socket.addEventListener("open", () => this.#opened(), { signal });
    socket.addEventListener("message", ({ data }) => this.#received(data), { signal });
    socket.addEventListener("close", ({ code, reason }) => this.#closed(code, reason), { signal });
    this.#after("connect", CONNECT_TIMEOUT, () => this.#lost());
    this.#become("connecting");
  }

  /** Sends an event. Returns true if the event was sent; only the room can confirm that it arrived. */
  send(event) {
    if (this.state !== "live") return false;
    this.#socket.send(JSON.stringify(event));
    return true;
  }

  leave() {
    this.#life.abort();
    this.#drop(1000, "left");
  }

  #opened() {
    clearTimeout(this.#timers.connect);
    this.#ping();
    this.#after("stable", STABLE_AFTER, () => (this.#failures = 0));
    this.#become("live");
  }

  #received(data) {
    if (data === "pong") {
      clearTimeout(this.#timers.pong);
      delete this.#timers.pong;
      return;
    }
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {}
    if (typeof frame === "object" && frame !== null && !Array.isArray(frame)) this.#onFrame(frame);
    else console.warn("ignored a frame that is no JSON object:", data);
  }

  #closed(code, reason) {
    if (code !== 1008 && (code < 4000 || code > 4999)) return this.#lost();
    this.#drop();
    this.#become("closed", { code, reason });
  }

  #lost() {
    this.#drop();
    // The pause has full jitter, because otherwise every client would reconnect at the same moment after an outage.
    const pause = Math.random() * Math.min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** this.#failures++);
    this.#after("connect", pause, () => this.connect());
    this.#become("waiting", { until: Date.now() + pause });
  }

  /**
   * Sends a ping, which the platform answers without waking the room. A connection without an answer is dead, even if
   * it looks open.
   */
  #ping() {
    this.#socket.send("ping");
    // A second ping must not extend the deadline for the first answer.
    if (!this.#timers.pong) this.#after("pong", PONG_TIMEOUT, () => this.#lost());
    this.#after("ping", PING_EVERY, () => this.#ping());
  }

  /** Checks the connection at once, because the network changed or the reader returned to the page. */
  #wake() {
    if (this.state === "live") this.#ping();
    // This also replaces a pending attempt, because that attempt may have begun without a network.
    else if (this.state !== "closed" && navigator.onLine) this.connect();
  }

  #drop(code, reason) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    this.#listening.abort();
    // There is no wait for the close, because over a dead network the closing handshake has no time limit.
    this.#socket?.close(code, reason);
    this.#socket = undefined;
  }

  #after(name, delay, action) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(action, delay);
  }

  #become(state, detail = {}) {
    this.state = state;
    this.detail = detail;
    this.#onChange(state, detail);
  }
}

// The log

class Log {
  #me;
  #day;
  #last;
  #unread = 0;
  /** True if the reader is at the end of the log, so that it scrolls with new messages. */
  #following = true;
  /** The position of the scroll bar that the page set last. */
  #top = 0;
  #resize = new ResizeObserver(() => this.follow());

  constructor(me) {
    this.#me = me;
    $("log").replaceChildren();
    $("scroller").onscroll = () => this.#scrolled();
    $("new-messages").onclick = () => this.toEnd();
    // An on-screen keyboard or a growing composer makes the log smaller, and pending messages make it larger.
    this.#resize.observe($("scroller"));
    this.#resize.observe($("scroller").firstElementChild);
    this.#count(0);
  }

  message({ user_id: author, text, sent_at: sentAt }) {
    const sent = new Date(sentAt);
    const at = Number.isNaN(sent.getTime()) ? new Date() : sent;
    this.#startDay(at);
    const own = author === this.#me;
    const first = this.#last?.author !== author || at - this.#last.at > GROUP_WITHIN;
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
  notice(...said) {
    this.#happened("", said);
  }

  warning(...said) {
    this.#happened(" warn", said);
  }

  toEnd() {
    this.#following = true;
    this.follow();
  }

  follow() {
    if (!this.#following) return;
    $("scroller").scrollTop = $("scroller").scrollHeight;
    this.#top = $("scroller").scrollTop;
  }

  end() {
    this.#resize.disconnect();
    $("scroller").onscroll = $("new-messages").onclick = null;
  }

  #happened(kind, said) {
    this.#last = undefined;
    this.#append(el("p", { class: `notice${kind}`, "data-testid": "notice" }, ...said), false);
  }

  #append(node, counts) {
    // The reader may have scrolled in the current frame, before the scroll event.
    if ($("scroller").scrollTop !== this.#top) this.#scrolled();
    $("log").append(node);
    if ($("log").childElementCount > MAX_ENTRIES) $("log").firstElementChild.remove();
    this.follow();
    if (counts && !this.#following) this.#count(this.#unread + 1);
  }

  #startDay(at) {
    const day = at.toDateString();
    if (this.#day === day) return;
    // The first day needs a line only if it is not today.
    const said = this.#day !== undefined || day !== new Date().toDateString();
    this.#day = day;
    this.#last = undefined;
    if (said) this.#append(el("p", { class: "day" }, el("span", {}, calendar.format(at))), false);
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = $("scroller");
    this.#top = scrollTop;
    this.#following = scrollHeight - scrollTop - clientHeight < 48;
    if (this.#following) this.#count(0);
  }

  #count(unread) {
    this.#unread = unread;
    $("new-messages").hidden = unread === 0;
    $("new-messages").textContent = unread === 1 ? "1 new message" : `${unread} new messages`;
  }
}

function bubble(text, ...rest) {
  return el("div", { class: "bubble" }, el("span", { class: "text", dir: "auto" }, text), ...rest);
}

// The users in the room

class People {
  #me;
  #path;
  #signal;
  #onLeft;
  #here = new Set();
  /** Users whose socket closed. They may still be present in another tab, so only the list of peers decides. */
  #leaving = new Set();
  #joining = new Set();
  #loading = false;
  #again = false;

  constructor(me, path, signal, onLeft) {
    this.#me = me;
    this.#path = path;
    this.#signal = signal;
    this.#onLeft = onLeft;
    this.#show(new Set([me]));
  }

  /** Adds a user. Returns true if the user was not present before. */
  joined(id) {
    this.#joining.add(id);
    if (this.#here.has(id)) return false;
    this.#show(new Set(this.#here).add(id));
    return true;
  }

  left(id) {
    this.#joining.delete(id);
    this.#leaving.add(id);
    this.refresh();
  }

  async refresh() {
    this.#again = true;
    if (this.#loading) return;
    this.#loading = true;
    while (this.#again && !this.#signal.aborted) {
      this.#again = false;
      // The answer does not contain changes that happen during the request, so these are collected separately.
      const asked = this.#leaving;
      this.#leaving = new Set();
      this.#joining = new Set();
      try {
        const here = new Set((await getJson(this.#path, this.#signal)).map(({ id }) => id));
        for (const id of asked) if (!here.has(id) && !this.#joining.has(id)) this.#onLeft(id);
        this.#show(new Set([...here, ...this.#joining]));
      } catch (error) {
        if (this.#signal.aborted) break;
        console.warn("could not list who is here:", error);
        for (const id of asked) this.#leaving.add(id);
        setTimeout(() => this.#signal.aborted || this.refresh(), 5_000);
      }
    }
    this.#loading = false;
  }

  #show(here) {
    this.#here = here;
    const others = [...here].filter((id) => id !== this.#me).sort((a, b) => a.localeCompare(b));
    const names = here.has(this.#me) ? [this.#me, ...others] : others;
    $("people").replaceChildren(...names.map((name) => {
      const node = el("li", { class: "person", "data-testid": "person" }, avatar(name), named(name));
      node.dataset.name = name;
      if (name === this.#me) node.append(el("span", { class: "you" }, "you"));
      return node;
    }));
    $("people-count").textContent = $("people-count-short").textContent = names.length;
  }
}

async function getJson(path, signal) {
  const response = await fetch(path, { signal, cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

// The users who are typing

class Typing {
  #timers = new Map();

  constructor() {
    this.#show();
  }

  typing(id) {
    this.stop(id);
    this.#timers.set(id, setTimeout(() => this.stop(id), TYPING_SHOWN));
    this.#show();
  }

  stop(id) {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.#show();
  }

  clear() {
    for (const id of [...this.#timers.keys()]) this.stop(id);
  }

  #show() {
    const names = [...this.#timers.keys()].map(named);
    const said = names.length === 0 ? []
      : names.length === 1 ? [names[0], " is typing…"]
      : names.length === 2 ? [names[0], " and ", names[1], " are typing…"]
      : ["Several people are typing…"];
    $("typing").replaceChildren(...said);
  }
}

// Pending messages

/**
 * A message counts as sent when the room sends it back. A message that does not come back stays visible, so that its
 * author can send it again or discard it. The page cannot know whether it arrived, so it never repeats a message
 * automatically.
 */
class Outbox {
  #waiting = [];
  #resend;

  constructor(resend) {
    this.#resend = resend;
    $("outbox").replaceChildren();
  }

  add(text) {
    const node = el("div", { class: "message own first pending" }, bubble(text));
    const entry = { text, node, timer: setTimeout(() => this.#doubt(entry), CONFIRM_WITHIN) };
    this.#waiting.push(entry);
    $("outbox").append(node);
  }

  confirm(text) {
    const entry = this.#waiting.find((entry) => entry.text === text);
    if (entry) this.#remove(entry);
  }

  /** Marks all pending messages, because the connection is lost together with the confirmations. */
  doubtAll() {
    for (const entry of this.#waiting) this.#doubt(entry);
  }

  clear() {
    for (const entry of [...this.#waiting]) this.#remove(entry);
  }

  #doubt(entry) {
    clearTimeout(entry.timer);
    if (entry.node.classList.contains("doubtful")) return;
    entry.node.classList.add("doubtful");
    const again = el("button", { type: "button", class: "link" }, "Send again");
    again.onclick = () => this.#resend(entry.text) && this.#remove(entry);
    const discard = el("button", { type: "button", class: "link" }, "Discard");
    discard.onclick = () => this.#remove(entry);
    entry.node.append(el("p", { class: "doubt", role: "status" }, "May not have arrived.", again, discard));
  }

  #remove(entry) {
    clearTimeout(entry.timer);
    entry.node.remove();
    this.#waiting.splice(this.#waiting.indexOf(entry), 1);
  }
}

// The room

class Room {
  #name;
  #room;
  #onLeave;
  #life = new AbortController();
  #log;
  #people;
  #typing = new Typing();
  #outbox;
  #link;
  #wasLive = false;
  #trouble = false;
  #countdown;
  #typingSent = -Infinity;
  #missed = 0;

  constructor(name, room, onLeave) {
    this.#name = name;
    this.#room = room;
    this.#onLeave = onLeave;
    const { signal } = this.#life;
    const at = encodeURIComponent(room);

    $("room-name").textContent = room;
    $("empty").textContent = "";
    $("pinned").hidden = true;
    this.#log = new Log(name);
    this.#outbox = new Outbox((text) => this.#say(text));
    this.#people = new People(name, `/api/chat/${at}/peers`, signal, (id) => this.#log.notice(named(id), " left"));

    const on = (id, event, action) => $(id).addEventListener(event, action, { signal });
    on("composer-form", "submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    on("composer", "input", () => this.#typed());
    on("composer", "keydown", (event) => {
      // Enter can also confirm a suggestion of an input method, which must not send the message.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    on("leave", "click", () => this.leave());
    on("reconnect", "click", () => {
      this.#link.connect();
      $("composer").focus();
    });
    on("copy-link", "click", () => this.#copyLink());
    on("people-toggle", "click", () => showPeople($("people-toggle").ariaExpanded !== "true"));
    on("room-screen", "keydown", (event) => {
      if (event.key !== "Escape" || $("people-toggle").ariaExpanded !== "true") return;
      showPeople(false);
      $("people-toggle").focus();
    });
    showPeople(false);
    document.addEventListener("visibilitychange", () => this.#titled(0), { signal });
    window.addEventListener("online", () => this.#shown(), { signal });
    window.addEventListener("offline", () => this.#shown(), { signal });

    $("composer").value = stored("sessionStorage", this.#draftKey());
    this.#titled(0);

    const url = new URL(`/ws/chat/${at}?userId=${encodeURIComponent(name)}`, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.#link = new Link(url, {
      onChange: (state, detail) => this.#changed(state, detail),
      onFrame: (frame) => this.#received(frame),
    });
    this.#link.connect();
  }

  leave() {
    this.#life.abort();
    this.#link.leave();
    this.#log.end();
    this.#typing.clear();
    this.#outbox.clear();
    clearInterval(this.#countdown);
    this.#onLeave(this.#room);
  }

  // Frames of the room

  #received(frame) {
    switch (frame.type) {
      case "Message":
        $("empty").textContent = "";
        if (frame.user_id === this.#name) this.#outbox.confirm(frame.text);
        else if (document.hidden) this.#titled(this.#missed + 1);
        this.#typing.stop(frame.user_id);
        this.#log.message(frame);
        // Only the operator pins messages.
        if (frame.user_id === OPERATOR) this.#loadState();
        break;
      case "Joined":
        if (this.#people.joined(frame.user_id)) this.#log.notice(named(frame.user_id), " joined");
        break;
      case "Left":
        this.#typing.stop(frame.user_id);
        this.#people.left(frame.user_id);
        break;
      case "Typing":
        if (frame.user_id !== this.#name) this.#typing.typing(frame.user_id);
        break;
      default:
        // The runtime sends its own frames beside the room's messages, for example for a frame that does not decode.
        if (frame.$room?.error) this.#log.warning(`The room: ${frame.$room.error.message}`);
        else console.warn("ignored an unknown frame:", frame);
    }
  }

  async #loadState() {
    try {
      const state = await getJson(`/api/chat/${encodeURIComponent(this.#room)}/state`, this.#life.signal);
      const count = state?.message_count ?? 0;
      if ($("log").querySelector(".message") === null) {
        $("empty").textContent = count === 0 ? "Nobody has said anything here yet. Go first."
          : `${count.toLocaleString()} ${count === 1 ? "message was" : "messages were"} written here before you came. ` +
            "From now on you see them all.";
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

  #changed(state, detail) {
    if (state === "live") {
      if (this.#trouble) {
        this.#log.notice(this.#wasLive ? "Connection restored. What was said in the meantime is not shown." : "Connected.");
      }
      this.#trouble = false;
      this.#wasLive = true;
      this.#people.refresh();
      this.#loadState();
    } else {
      this.#typing.clear();
      this.#outbox.doubtAll();
      this.#typingSent = -Infinity;
    }
    if (state === "waiting" && !this.#trouble) {
      this.#trouble = true;
      this.#log.warning(this.#wasLive ? "Connection lost. Reconnecting…" : "The room cannot be reached. Trying again…");
    }
    if (state === "closed") {
      this.#trouble = true;
      const why = detail.reason === "" ? "without a reason" : detail.reason;
      this.#log.warning(`The room closed the connection: ${why} (${detail.code})`);
    }
    this.#shown();
  }

  #shown() {
    clearInterval(this.#countdown);
    const { state, detail } = this.#link;
    const offline = !navigator.onLine && (state === "waiting" || state === "connecting");
    const shown = offline ? "offline" : state === "waiting" ? "reconnecting" : state;
    const seconds = () => Math.max(1, Math.ceil((detail.until - Date.now()) / 1_000));
    const text = () => ({
      connecting: "Connecting…",
      live: "Live",
      reconnecting: `Reconnecting in ${seconds()} s`,
      offline: "Offline",
      closed: "Disconnected",
    })[shown];
    $("status").dataset.state = $("room-screen").dataset.state = shown;
    $("status-text").textContent = text();
    if (shown === "reconnecting") this.#countdown = setInterval(() => ($("status-text").textContent = text()), 250);

    $("composer-hint").textContent = {
      // The hint stays the same while the room cannot be reached, because a hint that changes with each attempt cannot
      // be read.
      connecting: this.#trouble ? NOT_CONNECTED : "Connecting: you can write already, and send in a moment.",
      live: "",
      reconnecting: NOT_CONNECTED,
      offline: "You are offline. What you write is kept.",
      closed: "The room has ended your connection.",
    }[shown];
    $("reconnect").hidden = shown !== "reconnecting" && shown !== "closed";
    $("reconnect").textContent = shown === "closed" ? "Join again" : "Try now";
    this.#composed();
  }

  // The composer

  #typed() {
    const text = $("composer").value;
    stored("sessionStorage", this.#draftKey(), text);
    this.#composed();
    const now = performance.now();
    if (text.trim() === "" || now - this.#typingSent < TYPING_EVERY) return;
    if (this.#link.send({ type: "Typing" })) this.#typingSent = now;
  }

  #submit() {
    const text = $("composer").value.trim();
    if ($("send").disabled || !this.#say(text)) return;
    $("composer").value = "";
    stored("sessionStorage", this.#draftKey(), "");
    this.#typingSent = -Infinity;
    this.#composed();
    this.#log.toEnd();
    $("composer").focus();
  }

  #say(text) {
    if (!this.#link.send({ type: "Say", text })) return false;
    this.#outbox.add(text);
    this.#log.toEnd();
    return true;
  }

  /** Updates everything that depends on the text and the connection. */
  #composed() {
    const composer = $("composer");
    const length = lengthOf(composer.value.trim());
    const left = MAX_TEXT - length;
    $("send").disabled = this.#link.state !== "live" || length === 0 || left < 0;
    $("counter").textContent = length < COUNTER_FROM ? ""
      : left >= 0 ? `${characters(left)} left` : `${characters(-left)} too many`;
    $("counter").classList.toggle("over", left < 0);
    composer.ariaInvalid = String(left < 0);
    composer.style.height = "auto";
    composer.style.height = `${composer.scrollHeight}px`;
  }

  #draftKey() {
    return `draft:${this.#room}`;
  }

  async #copyLink() {
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
  #titled(missed) {
    this.#missed = missed;
    document.title = `${missed > 0 ? `(${missed}) ` : ""}#${this.#room}`;
  }
}

function showPeople(open) {
  $("people-toggle").ariaExpanded = String(open);
  $("people-panel").classList.toggle("open", open);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard needs HTTPS or localhost. Without it, the prompt lets the user copy the text by hand.
    return window.prompt("The link to this room", text) !== null;
  }
}

// The join screen

/** Returns the problem of a name, or "". */
function nameProblem(name) {
  if (name === "") return "Enter a name.";
  if (lengthOf(name) > MAX_NAME) return `A name has at most ${MAX_NAME} characters.`;
  if (/\p{Cc}/u.test(name) || !/[\p{L}\p{N}\p{P}\p{S}]/u.test(name)) return "This name cannot be shown.";
  if (name.toLowerCase() === OPERATOR) return "This name is the operator's. Choose another one.";
  return "";
}

/**
 * Returns the problem of a room's name, or "". The name becomes a part of URLs, where for example ".." has a special
 * meaning.
 */
function roomProblem(room) {
  if (room === "") return "Enter a room.";
  if (lengthOf(room) > MAX_ROOM) return `A room's name has at most ${MAX_ROOM} characters.`;
  if (!/^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]*$/u.test(room)) {
    return "Use letters, digits, “-”, “_” and “.”, beginning with a letter or a digit.";
  }
  return "";
}

const tidyName = (text) => text.normalize("NFC").trim().replace(/\s+/g, " ");
const tidyRoom = (text) => text.normalize("NFC").trim().replace(/^#/, "");

function showProblem(field, problem) {
  $(`${field}-error`).textContent = problem;
  $(field).ariaInvalid = String(problem !== "");
  return problem === "";
}

function join() {
  const name = tidyName($("name").value);
  const room = tidyRoom($("room").value);
  const nameFine = showProblem("name", nameProblem(name));
  const roomFine = showProblem("room", roomProblem(room));
  if (!nameFine || !roomFine) return $(nameFine ? "room" : "name").focus();

  stored("localStorage", "name", name);
  // The URL leads to the same room after a reload, and for anyone who receives it.
  history.replaceState(null, "", `/?room=${encodeURIComponent(room)}`);
  $("join-screen").hidden = true;
  $("room-screen").hidden = false;
  new Room(name, room, left);
  $("composer").focus();
}

function left(room) {
  $("room-screen").hidden = true;
  $("join-screen").hidden = false;
  $("join-note").hidden = false;
  $("join-note").textContent = `You left #${room}.`;
  document.title = "Live chat room";
  $("join").focus();
}

function roomOfHash() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

const query = new URLSearchParams(location.search);
$("name").value = tidyName(query.get("name") ?? stored("localStorage", "name"));
$("room").value = tidyRoom(query.get("room") || roomOfHash() || "lobby");
for (const field of ["name", "room"]) $(field).addEventListener("input", () => showProblem(field, ""));
$("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  join();
});
$($("name").value === "" ? "name" : "join").focus();
