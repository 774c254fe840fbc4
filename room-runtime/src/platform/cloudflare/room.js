// The JavaScript half of the room's side: what would take several crossings from wasm, in one, and what the
// stock build output does not do (RPC, settling the promises of a dead wasm instance).

import { DurableObject } from "cloudflare:workers";
import * as exports from "../../../../../index.js";

const OPEN = 1;

// What is kept with a socket beside what the room keeps.
const CLOSING = 1;
const V1 = 2;

// Longer than frames are kept in any room.
const LATEST_MS = 1_100;

// The time in which the budget of a peer that sends no heartbeats refills: see `Limits::max_unread_bytes`.
const REFILL_MS = 60_000;

// Where a socket keeps what the room knows of it. It is on the socket object itself, which stays the same one for as long
// as the room is awake; the owner tells what is of this incarnation from what a predecessor left.
const SLOT = Symbol("room");

// One that cannot be read is that of no peer: all who are sent to are met, so it must not stand in the way of the others.
function attachmentOf(socket) {
  try {
    return socket.deserializeAttachment();
  } catch (error) {
    console.error("the attachment of a socket cannot be read:", error);
    return undefined;
  }
}

/** The sockets of one object, by index. */
export class Sockets {
  // Who they belong to, once a frame or a call has come: the object as the platform calls it, what a method of its class
  // needs of it, and the wasm instance that both live in.
  object;
  self;
  instance;

  #state;
  #table = [];
  #free = [];
  // Whether the table holds every socket of the object: after a wake only those that something was heard of.
  #isComplete = false;
  #failed = [];
  #unread = [];
  // The slots for which frames are kept, and what sends them should the room, which does so in time, be gone by then.
  #holding = [];
  #late;

  constructor(state, ping, pong) {
    this.#state = state;
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(ping, pong));
  }

  // What is known of a socket in this incarnation; its attachment is read when it is first met.
  #slot(socket) {
    const slot = socket[SLOT];
    return slot?.owner === this ? slot : this.#meet(socket);
  }

  #meet(socket) {
    const index = this.#free.pop() ?? this.#table.length;
    const kept = attachmentOf(socket);
    const [flags, attachment] = Array.isArray(kept) ? kept : [0, kept];
    const slot = {
      owner: this,
      index,
      socket,
      // A socket that the room closed says that it is open when it comes back from hibernation, if its peer has not
      // answered by then: so that is kept with it.
      closing: (flags & CLOSING) !== 0,
      v1: (flags & V1) !== 0,
      held: undefined,
      attachment,
      // The bytes that it was sent since it last showed that it reads, and when that was last looked at.
      unread: 0,
      settledAt: Date.now(),
    };
    this.#table[index] = slot;
    socket[SLOT] = slot;
    return slot;
  }

  #isOpen({ socket, closing }) {
    return !closing && socket.readyState === OPEN;
  }

  #keep({ socket, closing, v1, attachment }) {
    const flags = (closing ? CLOSING : 0) | (v1 ? V1 : 0);
    socket.serializeAttachment(flags === 0 ? attachment : [flags, attachment]);
  }

  // The slots of all sockets, with gaps, or of those that carry the tag. The platform makes a new list of objects each
  // time it is asked, so it is asked once.
  #slots(tag) {
    if (tag !== undefined) return this.#state.getWebSockets(tag).map((socket) => this.#slot(socket));
    if (!this.#isComplete) {
      for (const socket of this.#state.getWebSockets()) this.#slot(socket);
      this.#isComplete = true;
    }
    return this.#table;
  }

  index(socket) {
    return this.#slot(socket).index;
  }

  // A frame arrived: its peer reads, as far as anyone can tell.
  heard(socket) {
    const slot = this.#slot(socket);
    slot.unread = 0;
    return slot.index;
  }

  // `request` is the upgrade's; see `guard`.
  accept(request, tags, protocol, v1) {
    const { 0: client, 1: server } = new WebSocketPair();
    this.#state.acceptWebSocket(server, tags);
    accepted.set(request, { client, server, protocol });
    const slot = this.#slot(server);
    slot.v1 = v1;
    return slot.index;
  }

  open(tag) {
    const open = [];
    for (const slot of this.#slots(tag)) if (slot !== undefined && this.#isOpen(slot)) open.push(slot.index);
    return Uint32Array.from(open);
  }

  countOpen() {
    let open = 0;
    for (const slot of this.#slots()) if (slot !== undefined && this.#isOpen(slot)) open += 1;
    return open;
  }

  // Also one that is closing.
  hasAny() {
    return this.#state.getWebSockets().length > 0;
  }

  isOpen(index) {
    const slot = this.#table[index];
    return slot !== undefined && this.#isOpen(slot);
  }

  tags(index) {
    return this.#state.getTags(this.#table[index].socket);
  }

  attachment(index) {
    return this.#table[index].attachment ?? undefined;
  }

  // `bytes` is a view of wasm memory, which serialising would copy whole.
  attach(index, bytes) {
    const slot = this.#table[index];
    const before = slot.attachment;
    slot.attachment = bytes.slice();
    try {
      this.#keep(slot);
    } catch (error) {
      slot.attachment = before;
      throw error;
    }
  }

  // These return how many took the frame, and a half more when something is kept; or, when some did not take it, -1 minus
  // that: `takeFailed` and `takeUnread` have those. One that is closing is neither. `size` is the frame's, in bytes. No
  // socket has the index -1.
  sendAll(frame, size, maxUnread, hold, tag, except) {
    let sent = 0;
    for (const slot of this.#slots(tag)) {
      if (slot !== undefined && slot.index !== except) sent += this.#send(slot, frame, size, maxUnread, hold);
    }
    return this.#sent(sent);
  }

  sendOnly(frame, size, maxUnread, hold, indices) {
    let sent = 0;
    for (const index of indices) {
      const slot = this.#table[index];
      if (slot !== undefined) sent += this.#send(slot, frame, size, maxUnread, hold);
    }
    return this.#sent(sent);
  }

  sendOne(frame, size, maxUnread, hold, index) {
    const slot = this.#table[index];
    return slot === undefined ? 0 : this.#sent(this.#send(slot, frame, size, maxUnread, hold));
  }

  #sent(sent) {
    const outcome = this.#holding.length > 0 ? sent + 0.5 : sent;
    return this.#failed.length > 0 || this.#unread.length > 0 ? -1 - outcome : outcome;
  }

  #send(slot, frame, size, maxUnread, hold) {
    if (slot.closing) return 0;
    if (slot.unread > maxUnread && !this.#settle(slot, maxUnread)) {
      this.#unread.push(slot.index);
      return 0;
    }
    if (hold && slot.v1) {
      if (slot.held === undefined) {
        slot.held = [];
        if (this.#holding.push(slot) === 1) this.#late = setTimeout(() => this.release(), LATEST_MS);
      }
      slot.held.push(frame);
      slot.unread += size;
      return 1;
    }
    try {
      slot.socket.send(slot.v1 ? `[${frame}]` : frame);
      slot.unread += size;
      return 1;
    } catch {
      // Asked only now: it costs as much as half of what a message costs in here.
      if (slot.socket.readyState === OPEN) this.#failed.push(slot.index);
      return 0;
    }
  }

  release() {
    clearTimeout(this.#late);
    for (const slot of this.#holding.splice(0)) this.#release(slot);
  }

  // One that is closing gets no more, and there is no one to tell.
  #release(slot) {
    const { held, socket, closing } = slot;
    slot.held = undefined;
    if (held === undefined || closing) return;
    try {
      socket.send(`[${held.join()}]`);
    } catch {}
  }

  // Whether a peer that is over its budget may be sent more after all. A heartbeat that the platform answered says no more
  // than a frame does, and no less. Of a peer that never sent one nothing is known, since the platform does not say what
  // waits in a socket: its budget refills with time. Only here, so that to send takes no look at the clock.
  #settle(slot, maxUnread) {
    const answeredAt = this.#state.getWebSocketAutoResponseTimestamp(slot.socket)?.getTime();
    if (answeredAt !== undefined) {
      if (answeredAt <= slot.settledAt) return false;
      slot.settledAt = answeredAt;
      slot.unread = 0;
      return true;
    }
    const now = Date.now();
    slot.unread = Math.max(0, slot.unread - (maxUnread * (now - slot.settledAt)) / REFILL_MS);
    slot.settledAt = now;
    return slot.unread <= maxUnread;
  }

  takeFailed() {
    return Uint32Array.from(this.#failed.splice(0));
  }

  takeUnread() {
    return Uint32Array.from(this.#unread.splice(0));
  }

  close(index, code, reason) {
    const slot = this.#table[index];
    if (slot === undefined) return;
    this.#release(slot);
    slot.socket.close(code, reason);
    slot.closing = true;
    this.#keep(slot);
  }

  // The same code back, where it may be sent. 1005 says that there was none; 1006 and 1015 that there is no one to
  // answer, or, should they come in a frame, that the peer breaks the protocol: it gets its answer all the same.
  answerClose(index, code, reason) {
    const slot = this.#table[index];
    slot.closing = true;
    try {
      if (code === 1005 || code === 1006 || code === 1015) slot.socket.close();
      else slot.socket.close(code, reason);
    } catch {
      // A code that arrives but may not be sent, or a connection that is gone.
      try {
        slot.socket.close();
      } catch {}
    }
  }

  // Without its attachment a socket that the platform mentions once more is not taken for a peer. That it is closing stays
  // with it: after a sleep it would say that it is open.
  detach(index) {
    const slot = this.#table[index];
    if (slot === undefined) return;
    slot.closing = true;
    slot.attachment = undefined;
    try {
      slot.socket.serializeAttachment([CLOSING, null]);
    } catch {}
  }

  forget(index) {
    const slot = this.#table[index];
    if (slot === undefined) return;
    this.detach(index);
    this.#table[index] = undefined;
    this.#free.push(index);
    slot.socket[SLOT] = undefined;
  }
}

/** What an upgrade's client sent, as a `RequestHead`. */
export function requestHead(request) {
  const { method, url: uri } = request;
  return JSON.stringify({ method, uri, headers: [...request.headers] });
}

/** The answer to an upgrade: its half of the socket pair. */
export function upgraded(request) {
  const { client, protocol } = accepted.get(request);
  const headers = protocol === undefined ? {} : { "sec-websocket-protocol": protocol };
  return new Response(null, { status: 101, webSocket: client, headers });
}

// The kinds of values, as in crossing.rs.
const NULL = 0;
const NUMBER = 1;
const TEXT = 2;
const BLOB = 3;

// An INTEGER in this range may have been rounded, or a REAL look like one that was.
const isRounded = (number) => Math.abs(number) >= 2 ** 53 && Math.abs(number) <= 2 ** 63;

class Rounded {
  constructor(columns) {
    this.columns = columns;
  }
}

function unpack(kinds, numbers, json, bytes) {
  if (kinds.length === 0) return [];
  const texts = json === "" ? [] : JSON.parse(json);
  let [number, text, at] = [0, 0, 0];
  return Array.from(kinds, (kind) => {
    if (kind === NUMBER) return numbers[number++];
    if (kind === TEXT) return texts[text++];
    // A view of wasm memory, which SQLite copies what it keeps of.
    if (kind === BLOB) return bytes.subarray(at, (at += numbers[number++]));
    return null;
  });
}

function pack(cursor) {
  const [kinds, numbers, texts, blobs] = [[], [], [], []];
  let [rounded, size] = [false, 0];
  for (const row of cursor.raw()) {
    for (const value of row) {
      if (value === null) {
        kinds.push(NULL);
      } else if (typeof value === "number") {
        kinds.push(NUMBER);
        numbers.push(value);
        rounded ||= isRounded(value);
      } else if (typeof value === "string") {
        kinds.push(TEXT);
        texts.push(value);
      } else {
        kinds.push(BLOB);
        numbers.push(value.byteLength);
        blobs.push(value);
        size += value.byteLength;
      }
    }
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const blob of blobs) {
    bytes.set(new Uint8Array(blob), at);
    at += blob.byteLength;
  }
  return {
    rounded,
    texts: JSON.stringify([cursor.columnNames, texts]),
    kinds: Uint8Array.from(kinds),
    numbers: Float64Array.from(numbers),
    bytes,
  };
}

// For the promise of a write: one that fails resets the object, whoever waits for it, and is in the platform's log.
function ignore() {}

/** The storage of one object: all of it synchronous, none of it awaited. */
export class Storage {
  #storage;
  // A property that is made anew each time it is asked for.
  #kv;
  #stateKey;

  // `stateKey` is the one that is written most: its name need not cross over each time.
  constructor(state, stateKey) {
    this.#storage = state.storage;
    this.#kv = state.storage.kv;
    this.#stateKey = stateKey;
  }

  get(key) {
    return this.#kv.get(key);
  }

  // `bytes` is a view of wasm memory, which storing would copy whole.
  put(key, bytes) {
    this.#kv.put(key, bytes.slice());
  }

  putState(bytes) {
    this.#kv.put(this.#stateKey, bytes.slice());
  }

  delete(key) {
    this.#kv.delete(key);
  }

  list(prefix) {
    return Array.from(this.#kv.list({ prefix }), ([, bytes]) => bytes);
  }

  // Not awaited, like every write. The alarm is not part of it in every compatibility date.
  deleteAll() {
    this.#storage.deleteAlarm().catch(ignore);
    this.#storage.deleteAll().catch(ignore);
  }

  // Parameters and rows cross as crossing.rs lays them out. With `isAtomic` a failure undoes everything; with `isExact` no
  // number is rounded, whatever its size.
  sql(statement, isAtomic, isExact, kinds, numbers, texts, bytes) {
    const values = unpack(kinds, numbers, texts, bytes);
    const run = () => {
      const cursor = this.#storage.sql.exec(statement, ...values);
      const rows = pack(cursor);
      if (rows.rounded && !isExact) throw new Rounded(cursor.columnNames);
      rows.rounded = false;
      return rows;
    };
    try {
      return isAtomic ? this.#storage.transactionSync(run) : run();
    } catch (error) {
      if (error instanceof Rounded) return { rounded: true, texts: JSON.stringify([error.columns, []]) };
      throw error;
    }
  }

  // Not awaited: like every write it is in place before anything that is sent after it leaves the object.
  setAlarm(at) {
    const written = at === undefined ? this.#storage.deleteAlarm() : this.#storage.setAlarm(at);
    written.catch(ignore);
  }
}

export function fillRandom(bytes) {
  crypto.getRandomValues(bytes);
}

// The wasm instance ends with a panic or any other trap, and with a JavaScript exception that goes through its frames; and
// with it every object of this isolate. What the stock build output does not do then: the promises of the dead instance
// never settle, so callers would hang, and an object with a handler in flight would never hibernate; and after an
// exception the next call goes with the old object's pointer into a new instance. So all that is in flight is kept here and
// rejected when the instance ends, and a new one takes its place before anything else is called.

const inflight = new Set();
// The number of the wasm instance.
let instance = 0;
// Whether the instance has ended, and no other has taken its place yet.
let isOver = false;
// The instance's memory, and where in it stands whether the code of a room runs.
let memory;
let running;
const accepted = new WeakMap();
const installed = new WeakSet();

// The part before the second colon is what the Worker's client knows it by.
const RESTARTED = "room:restarted: the room's wasm instance ended while it worked on this";
const RESTARTED_FRAME = JSON.stringify({
  $room: {
    error: { code: "restarted", message: "the room restarted while it worked on this frame, which may be lost" },
  },
});

class Restarted extends Error {}

function settle() {
  for (const reject of inflight) reject();
  inflight.clear();
}

/** Called by the instance that ends, while the exception or the trap that ends it is still under way. */
export function instanceEnded() {
  if (isOver) return;
  isOver = true;
  instance += 1;
  settle();
  // Should `replace` fail, the stock shim tries once more before the next call.
  const shim = globalThis.__worker_init_state;
  if (shim !== undefined) shim.criticalError = true;
  // Not in here: frames of the dead instance are still on the stack.
  queueMicrotask(replace);
}

// Objects notice by themselves that their instance is gone, and are constructed again when they are next called.
function replace() {
  if (!isOver) return;
  exports.__wbg_reset_state();
  isOver = false;
  const shim = globalThis.__worker_init_state;
  if (shim !== undefined) shim.criticalError = false;
}

// A panic, and a trap, is in the log already.
function report(error) {
  if (!(error instanceof WebAssembly.RuntimeError)) console.error("Critical", error?.cause ?? error);
}

// Whether what was thrown has ended the instance. Most of that the instance says itself. It does not know of what
// wasm-bindgen throws for Rust code (`unwrap_throw`), which leaves the frames of a room without running them to their end.
// No wasm may be on the stack.
function endedBy(error) {
  if (!isOver) {
    const isAbandoned = memory !== undefined && new Uint32Array(memory.buffer, running, 1)[0] !== 0;
    if (!isAbandoned && !(error instanceof WebAssembly.RuntimeError)) return false;
    instanceEnded();
    replace();
  }
  report(error);
  return true;
}

addEventListener("error", ({ error }) => {
  if (isOver) report(error);
  // A room that reports an error itself is on the stack.
  else queueMicrotask(() => endedBy(error));
});

// Answers, in the object's own I/O context, for calls that ended with their instance. The value that one returns is the outcome of
// the call; without a value the call fails.
const onRestart = {
  webSocketMessage(socket) {
    // The caller throws the error of the call: that of a socket which refuses this frame must not replace it.
    try {
      socket[SLOT]?.owner.release();
      if (socket.readyState === OPEN) socket.send(socket[SLOT]?.v1 ? `[${RESTARTED_FRAME}]` : RESTARTED_FRAME);
    } catch {}
  },
  // A socket whose `on_connect` did not finish ends like one whose `on_connect` failed. Were its other half not handed
  // out, it would stay behind as a ghost and keep the object from hibernating.
  fetch(request) {
    const pair = accepted.get(request);
    if (pair === undefined) return undefined;
    pair.server.close(1011, "the room restarted");
    return upgraded(request);
  },
};

// The outcome of a call that goes on: what the promise gives, or that the instance ended meanwhile.
function lasting(promise) {
  return new Promise((resolve, reject) => {
    const die = () => reject(new Restarted(RESTARTED));
    inflight.add(die);
    promise.then(
      (value) => {
        inflight.delete(die);
        resolve(value);
      },
      (error) => {
        inflight.delete(die);
        reject(error);
      },
    );
  });
}

function guard(prototype, name) {
  const run = prototype[name];
  prototype[name] = function (...args) {
    if (isOver) replace();
    let settled;
    try {
      settled = lasting(run.apply(this, args));
    } catch (error) {
      if (!endedBy(error)) throw error;
      settled = Promise.reject(new Restarted(RESTARTED));
    }
    const answer = onRestart[name];
    if (answer === undefined) return settled;
    return settled.catch((error) => {
      if (error instanceof Restarted) {
        let outcome;
        try {
          outcome = answer(...args);
        } catch {}
        if (outcome !== undefined) return outcome;
      }
      throw error;
    });
  };
}

// What most frames and calls take: straight into wasm, and no promise where nothing waits.
function shortcut(prototype) {
  const { roomSockets, roomText, roomBytes, roomCall } = prototype;
  for (const name of ["roomSockets", "roomText", "roomBytes"]) delete prototype[name];

  // `object` is the stock shim's proxy, through which each property takes its time; this is what a method uses of it.
  const enter = (object) => {
    if (isOver) replace();
    const self = { __wbg_ptr: object.__wbg_ptr, __wbg_inst: object.__wbg_inst };
    const sockets = roomSockets.call(self);
    sockets.object = object;
    sockets.self = self;
    sockets.instance = instance;
    return sockets;
  };
  const rooms = new WeakMap();
  const room = (object) => {
    let sockets = rooms.get(object);
    if (sockets?.instance !== instance) {
      sockets = enter(object);
      rooms.set(object, sockets);
    }
    return sockets;
  };

  prototype.webSocketMessage = function (socket, data) {
    let rest;
    try {
      let sockets = socket[SLOT]?.owner;
      if (sockets?.object !== this || sockets.instance !== instance) sockets = room(this);
      const index = sockets.heard(socket);
      rest =
        typeof data === "string"
          ? roomText.call(sockets.self, index, data)
          : roomBytes.call(sockets.self, index, new Uint8Array(data));
    } catch (error) {
      if (endedBy(error)) onRestart.webSocketMessage(socket);
      throw error;
    }
    if (rest === undefined) return undefined;
    return lasting(rest).catch((error) => {
      if (error instanceof Restarted) onRestart.webSocketMessage(socket);
      throw error;
    });
  };

  prototype.roomCall = function (command) {
    if (typeof command !== "string") throw new TypeError("a room's command is a string");
    let answer;
    try {
      answer = roomCall.call(room(this).self, command);
    } catch (error) {
      if (!endedBy(error)) throw error;
      rooms.get(this)?.release();
      throw new Restarted(RESTARTED);
    }
    return typeof answer === "string" ? answer : lasting(answer);
  };
}

/**
 * Prepares the class of a room. Runs at every start of the wasm instance; the class is JavaScript's and outlives it.
 * `address` is that of a number in the instance's memory, which is not 0 while the code of a room runs.
 */
export function install(className, instanceMemory, address) {
  settle();
  instance += 1;
  isOver = false;
  memory = instanceMemory;
  running = address;
  const constructor = exports[className];
  if (installed.has(constructor)) return;
  installed.add(constructor);
  const { prototype } = constructor;
  // The platform takes RPC only on classes that extend this one.
  Object.setPrototypeOf(prototype, DurableObject.prototype);
  Object.setPrototypeOf(constructor, DurableObject);
  // Everything else on the prototype can be called by RPC; these would end the object.
  for (const name of ["free", "__destroy_into_raw", "connect", Symbol.dispose]) delete prototype[name];
  for (const name of ["fetch", "alarm", "webSocketClose", "webSocketError", "roomRequest"]) guard(prototype, name);
  shortcut(prototype);
}
