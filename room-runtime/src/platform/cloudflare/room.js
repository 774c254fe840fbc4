// The JavaScript half of the room's side: what would take several crossings from wasm, in one, and what the
// stock build output does not do (RPC, settling the promises of a dead wasm instance).

import { DurableObject } from "cloudflare:workers";
import * as exports from "../../../../../index.js";

const OPEN = 1;

// Where a socket keeps what the room knows of it. It is on the socket object itself, which stays the same one for as long
// as the room is awake; the owner tells what is of this incarnation from what a predecessor left.
const SLOT = Symbol("room");

/** The sockets of one object, by index. */
export class Sockets {
  #state;
  #table = [];
  #free = [];
  #failed = [];
  #unread = [];

  constructor(state, ping, pong) {
    this.#state = state;
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(ping, pong));
  }

  // What is known of a socket in this incarnation; its attachment is read when it is first met.
  #slot(socket) {
    let slot = socket[SLOT];
    if (slot?.owner === this) return slot;
    const index = this.#free.pop() ?? this.#table.length;
    this.#table[index] = socket;
    const kept = socket.deserializeAttachment();
    const closing = kept?.closing === true;
    slot = { owner: this, index, closing, attachment: closing ? kept.attachment : kept, unread: 0, answeredAt: 0 };
    socket[SLOT] = slot;
    return slot;
  }

  // A socket that the room closed says that it is open when it comes back from hibernation, if its peer has not
  // answered by then: so that is kept with it.
  #isOpen(socket) {
    return socket.readyState === OPEN && !this.#slot(socket).closing;
  }

  #keep(socket) {
    const { closing, attachment } = this.#slot(socket);
    socket.serializeAttachment(closing ? { closing, attachment } : attachment);
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
  accept(request, tags) {
    const { 0: client, 1: server } = new WebSocketPair();
    this.#state.acceptWebSocket(server, tags);
    accepted.set(request, { client, server });
    return this.index(server);
  }

  open(tag) {
    const open = this.#state.getWebSockets(tag).filter((socket) => this.#isOpen(socket));
    return Uint32Array.from(open, (socket) => this.index(socket));
  }

  // Also one that is closing.
  hasAny() {
    return this.#state.getWebSockets().length > 0;
  }

  isOpen(index) {
    const socket = this.#table[index];
    return socket !== undefined && this.#isOpen(socket);
  }

  tags(index) {
    return this.#state.getTags(this.#table[index]);
  }

  attachment(index) {
    return this.#slot(this.#table[index]).attachment ?? undefined;
  }

  // `bytes` is a view of wasm memory, which serialising would copy whole.
  attach(index, bytes) {
    const socket = this.#table[index];
    const slot = this.#slot(socket);
    const before = slot.attachment;
    slot.attachment = bytes.slice();
    try {
      this.#keep(socket);
    } catch (error) {
      slot.attachment = before;
      throw error;
    }
  }

  // Both return how many took the frame, or, when some did not, -1 minus that; `takeFailed` and `takeUnread` have those.
  // `size` is the frame's, in bytes.
  sendAll(frame, size, maxUnread, tag, except) {
    let sent = 0;
    for (const socket of this.#state.getWebSockets(tag)) {
      if (!this.#isOpen(socket)) continue;
      if (except.length > 0 && except.includes(this.index(socket))) continue;
      sent += this.#send(socket, frame, size, maxUnread);
    }
    return this.#sent(sent);
  }

  sendOnly(frame, size, maxUnread, indices) {
    let sent = 0;
    for (const index of indices) {
      const socket = this.#table[index];
      if (socket !== undefined && this.#isOpen(socket)) sent += this.#send(socket, frame, size, maxUnread);
    }
    return this.#sent(sent);
  }

  #sent(sent) {
    return this.#failed.length > 0 || this.#unread.length > 0 ? -1 - sent : sent;
  }

  #send(socket, frame, size, maxUnread) {
    const slot = this.#slot(socket);
    if (slot.unread > maxUnread && !this.#hasAnswered(socket, slot)) {
      this.#unread.push(slot.index);
      return 0;
    }
    try {
      socket.send(frame);
      slot.unread += size;
      return 1;
    } catch {
      this.#failed.push(slot.index);
      return 0;
    }
  }

  // A heartbeat that the platform answered says no more than a frame does, and no less.
  #hasAnswered(socket, slot) {
    const at = this.#state.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    if (at <= slot.answeredAt) return false;
    slot.answeredAt = at;
    slot.unread = 0;
    return true;
  }

  takeFailed() {
    return Uint32Array.from(this.#failed.splice(0));
  }

  takeUnread() {
    return Uint32Array.from(this.#unread.splice(0));
  }

  close(index, code, reason) {
    const socket = this.#table[index];
    if (socket === undefined) return;
    socket.close(code, reason);
    this.#slot(socket).closing = true;
    this.#keep(socket);
  }

  // The same code back, where it may be sent. 1005 says that there was none; 1006 and 1015 that there is no one to
  // answer, or, should they come in a frame, that the peer breaks the protocol: it gets its answer all the same.
  answerClose(index, code, reason) {
    const socket = this.#table[index];
    try {
      if (code === 1005 || code === 1006 || code === 1015) socket.close();
      else socket.close(code, reason);
    } catch {
      // A code that arrives but may not be sent, or a connection that is gone.
      try {
        socket.close();
      } catch {}
    }
  }

  // Without its attachment a socket that the platform mentions once more is not taken for a peer.
  forget(index) {
    const socket = this.#table[index];
    if (socket === undefined) return;
    this.#table[index] = undefined;
    this.#free.push(index);
    socket[SLOT] = undefined;
    try {
      socket.serializeAttachment(null);
    } catch {}
  }
}

/** What an upgrade's client sent, as a `RequestHead`. */
export function requestHead(request) {
  const { method, url: uri } = request;
  return JSON.stringify({ method, uri, headers: [...request.headers] });
}

/** The answer to an upgrade: its half of the socket pair. */
export function upgraded(request) {
  return new Response(null, { status: 101, webSocket: accepted.get(request).client });
}

export function storageGet(state, key) {
  return state.storage.kv.get(key);
}

export function storageDelete(state, key) {
  state.storage.kv.delete(key);
}

// Not awaited, like every write. The alarm is not part of it in every compatibility date.
export function storageDeleteAll(state) {
  state.storage.deleteAlarm();
  state.storage.deleteAll();
}

/** A statement with its parameters, as JSON; its columns and rows, as JSON. A blob is an array of numbers. */
export function sql(state, statement, parameters) {
  const bound = JSON.parse(parameters).map((value) => (Array.isArray(value) ? Uint8Array.from(value) : value));
  const cursor = state.storage.sql.exec(statement, ...bound);
  const plain = (value) => (value instanceof ArrayBuffer ? Array.from(new Uint8Array(value)) : value);
  const rows = Array.from(cursor.raw(), (row) => row.map(plain));
  return JSON.stringify({ columns: cursor.columnNames, rows });
}

export function storageList(state, prefix) {
  return Array.from(state.storage.kv.list({ prefix }), ([, bytes]) => bytes);
}

export function storagePut(state, key, bytes) {
  state.storage.kv.put(key, bytes.slice());
}

// Not awaited: like every write it is in place before anything that is sent after it leaves the object.
export function setAlarm(state, at) {
  if (at === undefined) state.storage.deleteAlarm();
  else state.storage.setAlarm(at);
}

export function fillRandom(bytes) {
  crypto.getRandomValues(bytes);
}

// A panic ends the wasm instance, and with it every object of this isolate; the stock shim makes a new one at the next
// event. What it does not do: the promises of the dead instance never settle, so callers would hang, and an object with
// a handler in flight would never hibernate. So each exported handler is wrapped, and its promise is rejected when the
// instance dies.

const inflight = new Set();
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

addEventListener("error", (event) => {
  if (event.error instanceof WebAssembly.RuntimeError) settle();
});

// What to say, in the object's own I/O context, to those who wait for a call that died with its instance. What it
// returns is the call's outcome; without that the call fails.
const mourn = {
  webSocketMessage(socket) {
    if (socket.readyState === OPEN) socket.send(RESTARTED_FRAME);
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

function guard(prototype, name) {
  const run = prototype[name];
  prototype[name] = function (...args) {
    // A synchronous throw stays one: the stock shim has to see it.
    const answer = run.apply(this, args);
    const settled = new Promise((resolve, reject) => {
      const die = () => reject(new Restarted(RESTARTED));
      inflight.add(die);
      answer.then(
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
    const mourning = mourn[name];
    if (mourning === undefined) return settled;
    return settled.catch((error) => {
      if (error instanceof Restarted) {
        let outcome;
        try {
          outcome = mourning(...args);
        } catch {}
        if (outcome !== undefined) return outcome;
      }
      throw error;
    });
  };
}

/** Prepares the class of a room. Runs at every start of the wasm instance; the class is JavaScript's and outlives it. */
export function install(className) {
  settle();
  const constructor = exports[className];
  if (installed.has(constructor)) return;
  installed.add(constructor);
  const { prototype } = constructor;
  // The platform takes RPC only on classes that extend this one.
  Object.setPrototypeOf(prototype, DurableObject.prototype);
  Object.setPrototypeOf(constructor, DurableObject);
  // Everything else on the prototype can be called by RPC; these would end the object.
  for (const name of ["free", "__destroy_into_raw", "connect", Symbol.dispose]) delete prototype[name];
  for (const name of ["fetch", "alarm", "webSocketMessage", "webSocketClose", "webSocketError", "roomCall", "roomRequest"]) {
    guard(prototype, name);
  }
}
