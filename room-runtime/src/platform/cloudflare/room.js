// The JavaScript half of the room's side. It does in one call what would cross from wasm several times, and it adds
// what the stock build output lacks: RPC, and settling the promises of a dead wasm instance.

import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import * as exports from "../../../../../index.js";

const OPEN = 1;

// The flags that are kept in a socket's attachment beside the room's own data.
const CLOSING = 1;
const V1 = 2;
const PACKED = 4;

// The kinds of frames: a message as JSON, for the sockets that speak JSON; a message as MessagePack, for those that speak
// MessagePack; and bytes of the room's own protocol, for all.
const TEXT_FRAME = 0;
const PACKED_FRAME = 1;
const BYTES_FRAME = 2;

// Longer than the batch window of any room.
const LATEST_MS = 1_100;

// The time in which the budget of a peer without heartbeats refills: see `Limits::max_unread_bytes`.
const REFILL_MS = 60_000;

// The parts of the timeout of peers: see `SIGN_STEPS` in platform/mod.rs.
const SIGN_STEPS = 8;

// The property of a socket that holds its slot. The platform returns the same socket object for as long as the room is
// loaded. `owner` shows whether the slot is of this incarnation or of an earlier one.
const SLOT = Symbol("room");

// An unreadable attachment belongs to no peer. It must not throw: a broadcast reads the attachments of all its
// receivers.
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
  // These are set by the first frame or call: the object as the platform calls it, the part of it that a method of its
  // class uses, and the number of the wasm instance that both belong to.
  object;
  self;
  instance;

  #state;
  #table = [];
  #free = [];
  // True if the table holds every socket of the object. After a wake it holds only the sockets with an event so far.
  #isComplete = false;
  #failed = [];
  #unread = [];
  // True if the current send skips a socket because it speaks another codec.
  #others = false;
  // The frame of the current send for clients of `room.v1`. It is made once for all of them.
  #wrapped;
  // The position of the current message in the log of the room; 0 for none.
  #position = 0;
  // The slots with messages that wait for a batch, and a timer that sends them if the room ends before its own timer does.
  #holding = [];
  #late;
  // The time without a sign of life after which a peer is closed, in milliseconds. With 0 no times are recorded.
  #peerTimeout;
  // The precision of the times in the attachments.
  #part;

  constructor(state, ping, pong, peerTimeout) {
    this.#state = state;
    this.#peerTimeout = peerTimeout;
    this.#part = Math.floor(peerTimeout / SIGN_STEPS);
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(ping, pong));
  }

  // Returns the slot of a socket. Its attachment is read at the first use in an incarnation.
  #slot(socket) {
    const slot = socket[SLOT];
    return slot?.owner === this ? slot : this.#meet(socket);
  }

  #meet(socket) {
    const index = this.#free.pop() ?? this.#table.length;
    const kept = attachmentOf(socket);
    const [flags, attachment, storedAt] = Array.isArray(kept) ? kept : [0, kept];
    const slot = {
      owner: this,
      index,
      socket,
      // After hibernation a socket that the room closed reports that it is open, until its peer has answered. The flag
      // is therefore kept in the attachment.
      closing: (flags & CLOSING) !== 0,
      v1: (flags & V1) !== 0,
      packed: (flags & PACKED) !== 0,
      // For clients of `room.v1`: the messages and the controls that wait for a common frame, and the position of the last
      // of these messages; true while the first poll of
      // a frame of this socket runs, which is the end of their wait; and true if they wait for the end of a batch.
      held: undefined,
      controls: undefined,
      position: 0,
      busy: false,
      batched: false,
      attachment,
      // The bytes sent since the peer last showed that it reads, and the time of the last check.
      unread: 0,
      settledAt: Date.now(),
      // The time of the last frame in this incarnation, and the one in the attachment, if there is a timeout.
      heardAt: undefined,
      storedAt,
    };
    this.#table[index] = slot;
    socket[SLOT] = slot;
    return slot;
  }

  #isOpen({ socket, closing }) {
    return !closing && socket.readyState === OPEN;
  }

  #keep(slot) {
    const { socket, closing, v1, packed, attachment } = slot;
    const flags = (closing ? CLOSING : 0) | (v1 ? V1 : 0) | (packed ? PACKED : 0);
    if (this.#peerTimeout > 0) {
      const at = slot.heardAt ?? slot.storedAt;
      socket.serializeAttachment([flags, attachment, at]);
      slot.storedAt = at;
    } else {
      socket.serializeAttachment(flags === 0 ? attachment : [flags, attachment]);
    }
  }

  // Returns the slots of all sockets, with gaps, or those of a tag. `getWebSockets` makes a new list of objects in each
  // call, so it is called once.
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

  // Records a frame, which shows that the peer reads, and returns the socket's slot.
  heard(socket) {
    const slot = this.#slot(socket);
    slot.unread = 0;
    slot.busy = slot.v1;
    if (this.#peerTimeout > 0) this.#hear(slot);
    return slot;
  }

  // Sets the position of the messages that follow.
  mark(position) {
    this.#position = position;
  }

  // Sends what waits for a socket. The room's own object is gone.
  flush(slot) {
    this.#release(slot);
  }

  // Sends what the first poll of a frame sent to the frame's own socket, as one frame.
  endTurn(slot) {
    slot.busy = false;
    if (slot.held !== undefined && !slot.batched) this.#release(slot);
  }

  // Records the time of a frame. Hibernation loses it, so the attachment has it too, as exactly as a part of the timeout:
  // writing the attachment costs more than a frame.
  #hear(slot) {
    slot.heardAt = Date.now();
    // A socket without an attachment is still connecting.
    if (slot.closing || slot.attachment == null) return;
    if (slot.heardAt - (slot.storedAt ?? 0) >= this.#part) this.#keepTime(slot);
  }

  // After a failed write, the time is lost with the next hibernation.
  #keepTime(slot) {
    try {
      this.#keep(slot);
    } catch (error) {
      console.error("the time of a frame was not stored:", error);
    }
  }

  // Returns the time at which another socket can be silent for the whole timeout, or -1, and after it the sockets that
  // are.
  silent() {
    const now = Date.now();
    const found = [-1];
    for (const slot of this.#slots()) {
      if (slot === undefined || slot.attachment == null || !this.#isOpen(slot)) continue;
      const due = this.#lastSign(slot, now) + this.#peerTimeout;
      if (due <= now) found.push(slot.index);
      else if (found[0] < 0 || due < found[0]) found[0] = due;
    }
    return Float64Array.from(found);
  }

  #lastSign(slot, now) {
    // The attachment is from code without the timeout: the time begins now.
    if (slot.heardAt === undefined && slot.storedAt === undefined) {
      slot.heardAt = now;
      this.#keepTime(slot);
    }
    // A frame that followed the stored time by less than a part was not stored.
    const heardAt = slot.heardAt ?? slot.storedAt + this.#part;
    const answeredAt = this.#state.getWebSocketAutoResponseTimestamp(slot.socket)?.getTime() ?? 0;
    return Math.max(heardAt, answeredAt);
  }

  // `request` is that of the upgrade; `upgraded` and `answerUpgrade` use it.
  accept(request, tags, protocol, v1, packed) {
    const { 0: client, 1: server } = new WebSocketPair();
    this.#state.acceptWebSocket(server, tags);
    accepted.set(request, { client, server, protocol });
    const slot = this.#slot(server);
    slot.v1 = v1;
    slot.packed = packed;
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

  // Includes sockets that are closing.
  hasAny() {
    return this.#state.getWebSockets().length > 0;
  }

  isOpen(index) {
    const slot = this.#table[index];
    return slot !== undefined && this.#isOpen(slot);
  }

  isPacked(index) {
    return this.#table[index]?.packed === true;
  }

  isV1(index) {
    return this.#table[index]?.v1 === true;
  }

  tags(index) {
    return this.#state.getTags(this.#table[index].socket);
  }

  attachment(index) {
    return this.#table[index].attachment ?? undefined;
  }

  // `bytes` is a view of wasm memory, and serializing it would copy the whole memory.
  attach(index, bytes) {
    const slot = this.#table[index];
    const before = slot.attachment;
    // The timeout of a peer begins when it is admitted.
    if (this.#peerTimeout > 0 && before == null) slot.heardAt = Date.now();
    slot.attachment = bytes.slice();
    try {
      this.#keep(slot);
    } catch (error) {
      slot.attachment = before;
      throw error;
    }
  }

  // The send methods return four times the number of sockets that accepted the frame, plus 1 if any frame is held, plus 2
  // if sockets of another codec were skipped. If any socket did not accept it, they return -1 minus that, and `takeFailed`
  // and `takeUnread` return those sockets. A socket that is closing does not count. `size` is the size of the frame in
  // bytes. No socket has the index -1.
  sendAll(frame, size, maxUnread, hold, tag, except) {
    return this.#sendAll(TEXT_FRAME, frame, size, maxUnread, hold, tag, except);
  }

  sendOnly(frame, size, maxUnread, hold, indices) {
    return this.#sendOnly(TEXT_FRAME, frame, size, maxUnread, hold, indices);
  }

  sendOne(frame, size, maxUnread, hold, index) {
    this.#wrapped = undefined;
    const slot = this.#table[index];
    return slot === undefined ? 0 : this.#sent(this.#send(TEXT_FRAME, slot, frame, size, maxUnread, hold));
  }

  // `bytes` is a view of wasm memory, which may change before the platform has sent it. All sockets share one copy.
  sendAllBytes(bytes, isPacked, maxUnread, tag, except) {
    const kind = isPacked ? PACKED_FRAME : BYTES_FRAME;
    return this.#sendAll(kind, bytes.slice(), bytes.length, maxUnread, false, tag, except);
  }

  sendOnlyBytes(bytes, isPacked, maxUnread, indices) {
    const kind = isPacked ? PACKED_FRAME : BYTES_FRAME;
    return this.#sendOnly(kind, bytes.slice(), bytes.length, maxUnread, false, indices);
  }

  #sendAll(kind, frame, size, maxUnread, hold, tag, except) {
    this.#wrapped = undefined;
    let sent = 0;
    for (const slot of this.#slots(tag)) {
      if (slot !== undefined && slot.index !== except) sent += this.#send(kind, slot, frame, size, maxUnread, hold);
    }
    return this.#sent(sent);
  }

  #sendOnly(kind, frame, size, maxUnread, hold, indices) {
    this.#wrapped = undefined;
    let sent = 0;
    for (const index of indices) {
      const slot = this.#table[index];
      if (slot !== undefined) sent += this.#send(kind, slot, frame, size, maxUnread, hold);
    }
    return this.#sent(sent);
  }

  #sent(sent) {
    let outcome = 4 * sent;
    if (this.#holding.length > 0) outcome += 1;
    if (this.#others) {
      outcome += 2;
      this.#others = false;
    }
    return this.#failed.length > 0 || this.#unread.length > 0 ? -1 - outcome : outcome;
  }

  #send(kind, slot, frame, size, maxUnread, hold) {
    if (slot.closing) return 0;
    if (slot.packed ? kind === TEXT_FRAME : kind === PACKED_FRAME) {
      this.#others = true;
      return 0;
    }
    if (slot.unread > maxUnread && !this.#settle(slot, maxUnread)) {
      this.#unread.push(slot.index);
      return 0;
    }
    if (slot.v1 && kind !== BYTES_FRAME && (hold || slot.busy)) {
      this.#hold(slot, hold).held.push(frame);
      slot.position = this.#position;
      if (maxUnread < Infinity) slot.unread += size;
      return 1;
    }
    try {
      // The frame comes after the messages that are held.
      if (slot.held !== undefined) this.#release(slot);
      if (slot.v1 && kind !== BYTES_FRAME) {
        this.#wrapped ??= frameOf(slot.packed, [], this.#position, [frame]);
        slot.socket.send(this.#wrapped);
      } else {
        slot.socket.send(frame);
      }
      if (maxUnread < Infinity) slot.unread += size;
      return 1;
    } catch {
      // `readyState` is read only after a failure: reading it costs half as much as a whole send.
      if (slot.socket.readyState === OPEN) this.#failed.push(slot.index);
      return 0;
    }
  }

  // Sends a control to a client of `room.v1`, as JSON.
  control(index, control, hold) {
    this.#control(index, control, hold);
  }

  // Sends a control as MessagePack. `bytes` is a view of wasm memory.
  controlBytes(index, bytes, hold) {
    this.#control(index, bytes.slice(), hold);
  }

  #control(index, control, hold) {
    const slot = this.#table[index];
    if (slot === undefined || slot.closing) return;
    this.#hold(slot, hold).controls.push(control);
    if (!hold && !slot.busy) this.#release(slot);
  }

  // Prepares a slot for messages and controls that wait.
  #hold(slot, isBatched) {
    if (slot.held === undefined) {
      slot.held = [];
      slot.controls = [];
    }
    if (isBatched && !slot.batched) {
      slot.batched = true;
      if (this.#holding.push(slot) === 1) this.#late = setTimeout(() => this.release(), LATEST_MS);
    }
    return slot;
  }

  release() {
    clearTimeout(this.#late);
    for (const slot of this.#holding.splice(0)) this.#release(slot);
  }

  // A socket that is closing gets no more frames, and its failure is not reported.
  #release(slot) {
    const { held, controls, position, socket, closing, packed } = slot;
    slot.held = slot.controls = undefined;
    slot.position = 0;
    slot.batched = false;
    if (held === undefined || closing) return;
    try {
      socket.send(frameOf(packed, controls, position, held));
    } catch {}
  }

  // Returns whether a peer that is over its budget may receive more. An answered heartbeat proves as much as a frame. A
  // peer without heartbeats proves nothing, because the platform does not report what waits in a socket: its budget
  // refills with time. The clock is read only here, so that a normal send does not read it.
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

  // Answers a close with the same code where that code may be sent. 1005 stands for no code, and 1006 and 1015 for a
  // lost connection. A peer that sends these codes in a frame breaks the protocol, and is answered too.
  answerClose(index, code, reason) {
    const slot = this.#table[index];
    slot.closing = true;
    try {
      if (code === 1005 || code === 1006 || code === 1015) slot.socket.close();
      else slot.socket.close(code, reason);
    } catch {
      // The code may not be sent, or the connection is gone.
      try {
        slot.socket.close();
      } catch {}
    }
  }

  // Without an attachment a later event of the socket has no peer. The flag stays, because after hibernation the socket
  // would report that it is open.
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

/** Returns the head of an upgrade's request, as a `RequestHead`. */
export function requestHead(request) {
  const { method, url: uri } = request;
  return JSON.stringify({ method, uri, headers: [...request.headers] });
}

export function header(request, name) {
  return request.headers.get(name) ?? undefined;
}

// Returns the answer to an upgrade, with the client's half of the socket pair.
function upgraded(request) {
  const { client, protocol } = accepted.get(request);
  const headers = protocol === undefined ? {} : { "sec-websocket-protocol": protocol };
  return new Response(null, { status: 101, webSocket: client, headers });
}

// The kinds of values, as in crossing.rs.
const NULL = 0;
const NUMBER = 1;
const TEXT = 2;
const BLOB = 3;

// Returns whether a number may be a rounded INTEGER. A REAL in this range looks the same.
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
    // A view of wasm memory: SQLite copies the bytes.
    if (kind === BLOB) return bytes.subarray(at, (at += numbers[number++]));
    return null;
  });
}

// `rows` are arrays of values.
function pack(columns, rows) {
  const [kinds, numbers, texts, blobs] = [[], [], [], []];
  let [rounded, size] = [false, 0];
  for (const row of rows) {
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
    texts: JSON.stringify([columns, texts]),
    kinds: Uint8Array.from(kinds),
    numbers: Float64Array.from(numbers),
    bytes,
  };
}

// Rows that must be read again, because they have a rounded number.
function roundedRows(columns) {
  return { rounded: true, texts: JSON.stringify([columns, []]) };
}

// Thrown to roll a transaction back.
const ROLLBACK = new Error("rolled back");

// The limits of a batch, as in platform/mod.rs.
const BATCH_ROWS = 256;
const BATCH_BYTES = 262_144;

function sizeOf(value) {
  return typeof value === "string" ? 2 * value.length : (value?.byteLength ?? 8);
}

// Returns whether a row of an exact statement is the row that was read before.
function isSameRow(exact, row) {
  const same = (value, index) => {
    const before = row[index];
    if (typeof value !== "string") return value === before || (value?.byteLength ?? 0) === before?.byteLength;
    return value[0] === "i" ? Number(value.slice(1)) === before : value.slice(1) === before;
  };
  return exact?.every(same) ?? false;
}

/** The rows of one statement, in batches. */
class Reading {
  #open;
  #columns;
  #rows;
  #isExact = false;
  // The number of rows that were returned, and the last of them.
  #count = 0;
  #last;
  #failure;

  constructor(open, statement) {
    this.#open = open;
    this.#start(statement);
  }

  #start(statement) {
    const cursor = this.#open(statement);
    this.#columns = cursor.columnNames;
    this.#rows = cursor.raw();
  }

  // Returns the next rows; none at the end. An error in a batch follows the rows before it.
  next() {
    if (this.#failure !== undefined) throw this.#failure;
    const rows = [];
    let size = 0;
    try {
      while (rows.length < BATCH_ROWS && size < BATCH_BYTES) {
        const { done, value } = this.#rows.next();
        if (done) break;
        rows.push(value);
        for (const each of value) size += sizeOf(each);
      }
    } catch (error) {
      if (rows.length === 0) throw error;
      this.#failure = error;
    }
    const packed = pack(this.#columns, rows);
    if (packed.rounded && !this.#isExact) return roundedRows(this.#columns);
    packed.rounded = false;
    this.#count += rows.length;
    this.#last = rows.at(-1);
    return packed;
  }

  // Continues with a statement that returns the same rows exactly. Nothing has changed the database since the first row,
  // but a statement can have another order at each run.
  again(statement) {
    this.#failure = undefined;
    this.#isExact = true;
    this.#start(statement);
    let row;
    for (let count = 0; count < this.#count; count += 1) row = this.#rows.next().value;
    if (this.#count > 0 && !isSameRow(row, this.#last)) {
      throw new Error("the statement returned other rows in its second run");
    }
  }
}

// For the promise of a write. A failed write resets the object and is logged by the platform, even without a handler.
function ignore() {}

/** The storage of one object. All operations are synchronous, and no promise is awaited. */
export class Storage {
  #storage;
  // Cached, because the platform makes a new object at each access.
  #kv;
  #stateKey;

  // `stateKey` is the key of the most frequent write. It is passed once, so that it does not cross from wasm each time.
  constructor(state, stateKey) {
    this.#storage = state.storage;
    this.#kv = state.storage.kv;
    this.#stateKey = stateKey;
  }

  get(key) {
    return this.#kv.get(key);
  }

  // `bytes` is a view of wasm memory, and storing it would copy the whole memory.
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

  // Returns the values of the keys with the prefix, from `start` on, or from the last one back.
  scan(prefix, start, reverse, limit) {
    const options = start === undefined ? { prefix, reverse, limit } : { prefix, start, reverse, limit };
    return Array.from(this.#kv.list(options), ([, bytes]) => bytes);
  }

  size() {
    return this.#storage.sql.databaseSize;
  }

  // The promises are not awaited, as for every write. `deleteAll` includes the alarm only from a later compatibility
  // date.
  deleteAll() {
    this.#storage.deleteAlarm().catch(ignore);
    this.#storage.deleteAll().catch(ignore);
  }

  // Parameters and rows are encoded as in crossing.rs. With `isAtomic` a failure rolls everything back. With `isExact`
  // no number is checked for rounding, because the statement returns large integers as text.
  sql(statement, isAtomic, isExact, kinds, numbers, texts, bytes) {
    const values = unpack(kinds, numbers, texts, bytes);
    const run = () => {
      const cursor = this.#storage.sql.exec(statement, ...values);
      const rows = pack(cursor.columnNames, cursor.raw());
      if (rows.rounded && !isExact) throw new Rounded(cursor.columnNames);
      rows.rounded = false;
      return rows;
    };
    try {
      return isAtomic ? this.#storage.transactionSync(run) : run();
    } catch (error) {
      if (error instanceof Rounded) return roundedRows(error.columns);
      throw error;
    }
  }

  // Opens a statement whose rows are read in batches. The cursor outlives this call, so it gets a copy of the bytes.
  read(statement, kinds, numbers, texts, bytes) {
    const values = unpack(kinds, numbers, texts, bytes.slice());
    return new Reading((text) => this.#storage.sql.exec(text, ...values), statement);
  }

  // Runs `work`, which is wasm, in a transaction, and rolls everything back if it returns false or throws. Returns the
  // message of the platform's error, if it has one. What the work throws has ended the instance: it must pass through the
  // wasm frames below, as without a transaction.
  transaction(work) {
    let thrown;
    const run = () => {
      let keep;
      try {
        keep = work();
      } catch (error) {
        thrown = { error };
        throw error;
      }
      if (!keep) throw ROLLBACK;
    };
    try {
      this.#storage.transactionSync(run);
    } catch (error) {
      if (thrown !== undefined) throw thrown.error;
      if (error !== ROLLBACK) return String(error?.message ?? error);
    }
    return undefined;
  }

  // The promise is not awaited: the platform holds outgoing messages until earlier writes are complete.
  setAlarm(at) {
    const written = at === undefined ? this.#storage.deleteAlarm() : this.#storage.setAlarm(at);
    written.catch(ignore);
  }
}

export function fillRandom(bytes) {
  crypto.getRandomValues(bytes);
}

// The wasm instance ends with a panic or another trap, or with a JavaScript exception that passes through its frames,
// and all objects of the isolate end with it. The stock build output leaves two problems. The promises of the dead
// instance never settle, so callers would hang, and an object with a running handler would never hibernate. After an
// exception, the next call uses the old object's pointer in the new instance. Therefore this file records all running
// calls and rejects them when the instance ends, and it replaces the instance before any other call.

const inflight = new Set();
// The number of the wasm instance.
let instance = 0;
// True if the instance has ended and is not replaced yet.
let isOver = false;
// The instance's memory, and the address of its flag that a room's code is running.
let memory;
let running;
const accepted = new WeakMap();
const installed = new WeakSet();

// The Worker's client recognizes this error by the part before the second colon.
const RESTARTED = "room:restarted: the room's wasm instance ended while it worked on this";
const RESTARTED_NOTICE = {
  $room: {
    error: { code: "restarted", message: "the room restarted while it worked on this frame, which may be lost" },
  },
};

// Writes an object of objects, texts and whole numbers as MessagePack.
function packed(value) {
  const bytes = [];
  const write = (value) => {
    if (typeof value === "string") {
      const text = new TextEncoder().encode(value);
      bytes.push(0xd9, text.length, ...text);
    } else if (typeof value === "number") {
      const number = new DataView(new ArrayBuffer(8));
      number.setBigUint64(0, BigInt(value));
      bytes.push(0xcf, ...new Uint8Array(number.buffer));
    } else {
      const entries = Object.entries(value);
      bytes.push(0x80 | entries.length);
      for (const [key, part] of entries) [key, part].forEach(write);
    }
  };
  write(value);
  return Uint8Array.from(bytes);
}

function arrayHead(length) {
  if (length < 16) return [0x90 | length];
  return [0xdd, length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff];
}

// A frame for a client of `room.v1`: the list of its controls, and its messages.
function textFrame(controls, messages) {
  return messages.length === 0 ? `[[${controls.join()}]]` : `[[${controls.join()}],${messages.join()}]`;
}

function packedFrame(controls, messages) {
  const parts = [arrayHead(1 + messages.length), arrayHead(controls.length), ...controls, ...messages];
  const frame = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

// A frame with the position of the last of its messages in the log of the room; with 0 there is no log.
function frameOf(isPacked, controls, position, messages) {
  if (position !== 0) controls = [...controls, isPacked ? packed({ at: position }) : `{"at":${position}}`];
  return isPacked ? packedFrame(controls, messages) : textFrame(controls, messages);
}

// The readers of MessagePack's numbers, with their sizes.
const NUMBERS = {
  0xcb: ["getFloat64", 8],
  0xcc: ["getUint8", 1],
  0xcd: ["getUint16", 2],
  0xce: ["getUint32", 4],
  0xcf: ["getBigUint64", 8],
  0xd0: ["getInt8", 1],
  0xd1: ["getInt16", 2],
  0xd2: ["getInt32", 4],
  0xd3: ["getBigInt64", 8],
};

// Returns the number of a frame of a client of `room.v1`; 0 for none, also for a frame that ends within it.
function numberOf(data) {
  const number = typeof data === "string" ? numberInText(data) : numberInBytes(new DataView(data));
  return Number.isSafeInteger(number) && number > 0 ? number : 0;
}

function numberInText(text) {
  return Number(/^[ \t\n\r]*\[[ \t\n\r]*(0|[1-9]\d{0,15})[ \t\n\r]*,/.exec(text)?.[1] ?? 0);
}

function numberInBytes(bytes) {
  if (bytes.byteLength < 2 || (bytes.getUint8(0) & 0xfe) !== 0x92) return 0;
  const first = bytes.getUint8(1);
  if (first < 0x80) return first;
  const [read, size] = NUMBERS[first] ?? [];
  return size !== undefined && bytes.byteLength >= 2 + size ? Number(bytes[read](2)) : 0;
}

// Returns whether a frame of a client of `room.v1` only says what is settled for the client.
function isSettlement(data) {
  return typeof data === "string" ? data.startsWith("{") : new Uint8Array(data)[0] === 0x81;
}

// The end of the wasm instance in which the frames of a socket were lost last, and in which they were asked for.
const LOST = Symbol("lost");
const ASKED = Symbol("asked");

// Informs the sender of a frame that was lost. The frames of a socket are handled in order, so the first one was running.
// The others had not begun: a client of `room.v1` sends them again.
function sendRestarted(socket, data) {
  const slot = socket[SLOT];
  if (!slot?.v1) {
    socket.send(slot?.packed ? packed(RESTARTED_NOTICE) : JSON.stringify(RESTARTED_NOTICE));
    return;
  }
  // The messages of the frame that was running waited for its end.
  slot.owner.flush(slot);
  const number = numberOf(data);
  const isFirst = socket[LOST] !== instance;
  socket[LOST] = instance;
  // The client states again, when the room asks, which numbers are settled.
  if (isSettlement(data)) return;
  if (number > 0 && !isFirst) {
    if (socket[ASKED] !== instance) sendControl(socket, slot, { resend: number });
    socket[ASKED] = instance;
    return;
  }
  const error = RESTARTED_NOTICE.$room.error;
  sendControl(socket, slot, { error: number > 0 ? { n: number, ...error } : error });
}

function sendControl(socket, slot, control) {
  socket.send(slot.packed ? packedFrame([packed(control)], []) : textFrame([JSON.stringify(control)], []));
}

class Restarted extends Error {}

function settle() {
  for (const reject of inflight) reject();
  inflight.clear();
}

/** Called by the ending instance, while the exception or the trap is still passing through it. */
export function instanceEnded() {
  if (isOver) return;
  isOver = true;
  instance += 1;
  settle();
  // If `replace` fails, this flag makes the stock shim try again before the next call.
  const shim = globalThis.__worker_init_state;
  if (shim !== undefined) shim.criticalError = true;
  // The instance is replaced later, because frames of the dead instance are still on the stack.
  queueMicrotask(replace);
}

// Replaces the instance. The stock shim notices that an object's instance is gone, and constructs the object again at
// its next call.
function replace() {
  if (!isOver) return;
  exports.__wbg_reset_state();
  isOver = false;
  const shim = globalThis.__worker_init_state;
  if (shim !== undefined) shim.criticalError = false;
}

// Panics and traps are logged already.
function report(error) {
  if (!(error instanceof WebAssembly.RuntimeError)) console.error("Critical", error?.cause ?? error);
}

// Returns whether an error has ended the instance. The instance reports most ends itself, but not the errors that
// wasm-bindgen throws for Rust code (`unwrap_throw`): these abandon the frames of a room. No wasm may be on the stack.
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
  // `reportError` in a room fires this event while the room is on the stack, so the check waits.
  else queueMicrotask(() => endedBy(error));
});

// The next two answer, in the object's own I/O context, for calls that ended with their instance.

function answerMessage(socket, data) {
  // The caller throws the error of the call. An error of this send must not replace it.
  try {
    socket[SLOT]?.owner.release();
    if (socket.readyState === OPEN) sendRestarted(socket, data);
  } catch {}
}

// A socket whose `on_connect` did not finish is closed, as after a failed `on_connect`. If its client half were not
// returned, the socket would stay open without a client and block hibernation. Without a socket the call fails.
function answerUpgrade(request) {
  const pair = accepted.get(request);
  if (pair === undefined) throw new Restarted(RESTARTED);
  try {
    pair.server.close(1011, "the room restarted");
  } catch {
    throw new Restarted(RESTARTED);
  }
  return upgraded(request);
}

// Returns a promise with the result of a running call. It rejects if the instance ends first.
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

// The Worker's own handlers run in the same instance if the Worker and a room share an isolate, and their promises never
// settle either. The platform ends such a request once it notices that nothing can wake it, which takes up to a minute.
const WORKER_HANDLERS = ["fetch", "scheduled", "queue", "email", "connect"];

// The stock build output assigns these handlers to the prototype of its entrypoint when this module has been evaluated, and
// offers no other way to reach them. The setters exist only meanwhile.
function settleWorkers() {
  const { prototype } = WorkerEntrypoint;
  const names = WORKER_HANDLERS.filter((name) => !(name in prototype));
  for (const name of names) {
    const set = function (run) {
      const value = name === "fetch" ? answered(run) : enduring(run);
      Object.defineProperty(this, name, { value, configurable: true, writable: true });
    };
    Object.defineProperty(prototype, name, { set, configurable: true });
  }
  queueMicrotask(() => names.forEach((name) => delete prototype[name]));
}

settleWorkers();

function enduring(run) {
  return function (...args) {
    const result = run.apply(this, args);
    return result instanceof Promise ? lasting(result) : result;
  };
}

// As `error_response` in wire/http_codec.rs answers for this error.
function answered(run) {
  const lasts = enduring(run);
  return function (...args) {
    const result = lasts.apply(this, args);
    if (!(result instanceof Promise)) return result;
    return result.catch((error) => {
      if (!(error instanceof Restarted)) throw error;
      const body = { error: { code: "restarted", message: "the Worker restarted while it worked on this request" } };
      return Response.json(body, { status: 503, headers: { "retry-after": "1" } });
    });
  };
}

function guard(prototype, name) {
  const run = prototype[name];
  prototype[name] = function (...args) {
    if (isOver) replace();
    try {
      return lasting(run.apply(this, args));
    } catch (error) {
      if (!endedBy(error)) throw error;
      throw new Restarted(RESTARTED);
    }
  };
}

// The fast path of most events and calls: directly into wasm, and without a promise if no handler waits.
function shortcut(prototype, className) {
  const { roomSockets, roomText, roomBytes, roomClosed, roomUpgrade, roomCall } = prototype;
  for (const name of INNER) delete prototype[name];

  // `object` is the stock shim's proxy, where each property access is slow. `self` has the properties that a method
  // uses.
  const enter = (object) => {
    if (isOver) replace();
    const self = { __wbg_ptr: object.__wbg_ptr, __wbg_inst: object.__wbg_inst };
    reportShape(className, Object.keys(self).map((name) => difference(`\`${name}\` of an object`, self[name], "number")));
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
    let slot;
    try {
      let sockets = socket[SLOT]?.owner;
      if (sockets?.object !== this || sockets.instance !== instance) sockets = room(this);
      slot = sockets.heard(socket);
      rest =
        typeof data === "string"
          ? roomText.call(sockets.self, slot.index, data)
          : roomBytes.call(sockets.self, slot.index, new Uint8Array(data));
    } catch (error) {
      if (slot?.busy) slot.owner.endTurn(slot);
      if (endedBy(error)) answerMessage(socket, data);
      throw error;
    }
    if (slot.busy) slot.owner.endTurn(slot);
    if (rest === undefined) return undefined;
    return lasting(rest).catch((error) => {
      if (error instanceof Restarted) answerMessage(socket, data);
      throw error;
    });
  };

  const closed = function (object, socket, code, reason, wasClean) {
    let rest;
    try {
      const sockets = room(object);
      rest = roomClosed.call(sockets.self, sockets.index(socket), code, reason, wasClean);
    } catch (error) {
      if (!endedBy(error)) throw error;
      throw new Restarted(RESTARTED);
    }
    return rest === undefined ? undefined : lasting(rest);
  };

  prototype.webSocketClose = function (socket, code, reason, wasClean) {
    return closed(this, socket, code, reason, wasClean);
  };

  prototype.webSocketError = function (socket, error) {
    return closed(this, socket, 1006, String(error?.message ?? error), false);
  };

  prototype.fetch = function (request) {
    const { headers } = request;
    let answer;
    try {
      const ticket = headers.get(TICKET_HEADER) ?? "";
      const offered = headers.get("sec-websocket-protocol") ?? undefined;
      answer = roomUpgrade.call(room(this).self, request, ticket, offered);
    } catch (error) {
      if (!endedBy(error)) throw error;
      return answerUpgrade(request);
    }
    if (!(answer instanceof Promise)) return answer ?? upgraded(request);
    return lasting(answer).then(
      (answer) => answer ?? upgraded(request),
      (error) => {
        if (error instanceof Restarted) return answerUpgrade(request);
        throw error;
      },
    );
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
    if (answer === undefined || typeof answer === "string") return answer ?? DONE;
    return lasting(answer).then((answer) => answer ?? DONE);
  };
}

// The releases whose generated code this file is tested with. tests/e2e/shape.test.mjs compares them with the lock file.
const TESTED = "worker 0.8.7, worker-build 0.8.7 and wasm-bindgen 0.2.130";

// The methods that wasm-bindgen generates for every class, and those of `#[durable_object]` and of class.rs. The inner ones
// are called by this file only.
const GENERATED = ["free", "__destroy_into_raw"];
const GUARDED = ["alarm", "roomRequest"];
const REPLACED = ["fetch", "roomCall"];
const INNER = ["roomSockets", "roomText", "roomBytes", "roomClosed", "roomUpgrade"];

// As in wire/ticket.rs and wire/command.rs.
const TICKET_HEADER = "room-ticket";
const DONE = '{"ok":null}';

// Returns a line about a part of another type than expected, and otherwise undefined.
function difference(part, found, expected) {
  const type = found === null ? "null" : typeof found;
  return type === expected ? undefined : `${part}: expected ${expected}, found ${type}`;
}

// Throws one error with all differences. A part that is missing would otherwise be a TypeError at some later event.
function reportShape(className, differences) {
  const found = differences.filter((line) => line !== undefined);
  if (found.length === 0) return;
  const message =
    `room-runtime does not fit the generated JavaScript around the class ${className}:\n` +
    found.map((line) => `- ${line}\n`).join("") +
    `room-runtime is tested with ${TESTED}. Build with that worker-build, without --no-panic-recovery and CUSTOM_SHIM, ` +
    "or update room-runtime.";
  console.error(message);
  throw new Error(message);
}

// Checks the internals of generated code that this file uses. wasm-bindgen makes the class, its methods, the number of the
// instance and the function that replaces the instance; `worker` makes the state of the shim, which `worker-build` uses.
function checkShape(className, instanceMemory) {
  const shim = globalThis.__worker_init_state;
  const constructor = exports[className];
  const differences = [
    difference("`__wbg_reset_state` of index.js", exports.__wbg_reset_state, "function"),
    difference("`criticalError` of `__worker_init_state`", shim?.criticalError, "boolean"),
    difference("the memory's `buffer`", instanceMemory?.buffer, "object"),
    difference("the class in index.js", constructor, "function"),
  ];
  const methods = typeof constructor === "function" ? [...GENERATED, ...GUARDED, ...REPLACED, ...INNER] : [];
  const method = (name) => difference(`the method \`${name}\``, constructor.prototype?.[name], "function");
  reportShape(className, [...differences, ...methods.map(method)]);
}

/**
 * Prepares the class of a room. It runs at every start of the wasm instance; the class belongs to JavaScript and
 * outlives the instance. `address` is the address of a number in the instance's memory that is not 0 while a room's
 * code runs.
 */
export function install(className, instanceMemory, address) {
  settle();
  instance += 1;
  isOver = false;
  memory = instanceMemory;
  running = address;
  const constructor = exports[className];
  if (installed.has(constructor)) return;
  checkShape(className, instanceMemory);
  installed.add(constructor);
  const { prototype } = constructor;
  // The platform accepts RPC only on classes that extend `DurableObject`.
  Object.setPrototypeOf(prototype, DurableObject.prototype);
  Object.setPrototypeOf(constructor, DurableObject);
  // Every method of the prototype can be called by RPC, and these would end the object.
  for (const name of [...GENERATED, Symbol.dispose]) delete prototype[name];
  for (const name of GUARDED) guard(prototype, name);
  shortcut(prototype, className);
}
