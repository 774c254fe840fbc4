import assert from "node:assert/strict";
import type { Clock } from "room-client";

/** The room's end of a connection. */
export interface Transport {
  send(data: string | Uint8Array): void;
  close(code: number, reason: string): void;
}

export interface Wire {
  readonly protocol: string;
  write(value: unknown): string | Uint8Array;
  read(data: string | Uint8Array): unknown;
}

export const textWire: Wire = {
  protocol: "room.v1",
  write: (value) => JSON.stringify(value),
  read: (data) => JSON.parse(data as string),
};

/** A handler's own end: the event is settled with this error. */
export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

/** The call's own error. */
export class Own extends Error {
  constructor(readonly value: unknown) {
    super("own");
  }
}

/** A crash of the room in a handler: the sockets survive, the memory does not. */
export class Panic extends Error {}

export interface Context {
  readonly session: string;
  /** Stores a change, together with the number of the event. */
  apply(change: unknown): void;
  broadcast(message: unknown): void;
  /** Sends a message to the sender. */
  reply(message: unknown): void;
  sleep(ms: number): Promise<void>;
}

type Handler = (value: any, context: Context) => unknown;

export interface MockOptions {
  clock: Clock;
  wire?: Wire;
  window?: number;
  /** The number of messages that the log keeps. Without it the room has no `replay`. */
  replay?: number;
  graceMs?: number;
  timeoutMs?: number;
  /** The time in which outcomes and messages are gathered into one frame. */
  gather?: () => number;
  /** Decides after each replayed message if a frame ends there. */
  split?: () => boolean;
  event?: Handler;
  calls?: Record<string, Handler>;
  connected?: (peer: Peer, how: "new" | "resumed") => void;
}

/** A session as it is stored. */
interface Session {
  readonly token: string;
  last: number;
  outcomes: Map<number, object>;
}

/** A session in memory. */
interface Live {
  readonly session: Session;
  /** Higher than the stored one after events that changed nothing. */
  last: number;
  queue: (() => Promise<void>)[];
  isBusy: boolean;
  running: number | undefined;
  peer: Peer | undefined;
  hasPlace: boolean;
  lostAt: number;
  /** The position at which the place began: it was not addressed before that. */
  since: number;
}

export class Peer {
  controls: object[] = [];
  messages: unknown[] = [];
  at: number | undefined;
  isWaiting = false;
  isClosed = false;
  /** The highest number that the client was told to be settled. */
  told = 0;
  hasAsked = false;
  live: Live | undefined;

  constructor(readonly transport: Transport) {}
}

/**
 * A room that speaks `room.v1`, for tests. `stored` survives everything, `crash()` and `restart()` lose the rest. It also
 * checks what a room does not need to check: that a client keeps to the window, and that a number has one meaning.
 */
export class MockRoom {
  readonly stored = { changes: [] as { session: string; number: number; change: unknown }[], position: 0 };
  readonly sessions = new Map<string, Session>();
  /** Every frame from a client, as it was read. */
  readonly received: unknown[] = [];
  /** Every offer of subprotocols. */
  readonly offers: string[][] = [];
  readonly peers = new Set<Peer>();
  readonly window: number;
  readonly wire: Wire;
  readonly #options: MockOptions;
  readonly #clock: Clock;
  #live = new Map<string, Live>();
  #log: { at: number; to: Set<string>; message: unknown }[] = [];
  #tokens = 0;
  #incarnation = 0;
  #time: () => number;
  /** For the checks: the events that arrived, by session and number. */
  #meaning = new Map<string, string>();
  #highest = new Map<string, number>();
  readonly problems: string[] = [];

  constructor(options: MockOptions & { now?: () => number }) {
    this.#options = options;
    this.#clock = options.clock;
    this.#time = options.now ?? (() => (options.clock as unknown as { now: number }).now);
    this.window = options.window ?? 8;
    this.wire = options.wire ?? textWire;
  }

  /** A connection whose upgrade was accepted. */
  connect(transport: Transport, offered: string[]): Peer {
    this.offers.push(offered);
    const peer = new Peer(transport);
    this.peers.add(peer);
    const resume = offered.map((name) => /^room\.v1\.resume\.([0-9a-f]{32})\.(\d+)\.(\d+)$/.exec(name)).find((match) => match);
    if (resume !== undefined && resume !== null) {
      const [, token, from, at] = resume as unknown as [string, string, string, string];
      const session = this.sessions.get(token);
      if (session !== undefined) {
        const live = this.#wake(session);
        // After the frames of the old connection that wait.
        this.#enqueue(live, async () => this.#resume(live, peer, Number(from), Number(at)));
        return peer;
      }
    }
    this.#begin(peer, resume !== undefined && resume !== null);
    return peer;
  }

  receive(peer: Peer, data: string | Uint8Array): void {
    if (peer.isClosed) return;
    // The platform answers, also while the room is down.
    if (data === "ping") {
      peer.transport.send("pong");
      return;
    }
    const frame = this.wire.read(data);
    this.received.push(frame);
    const { live } = peer;
    if (live === undefined) {
      this.problems.push("a frame before the welcome");
      return;
    }
    if (Array.isArray(frame) && frame[0] > 0) this.#check(peer, live, frame as [number, ...unknown[]]);
    this.#enqueue(live, () => this.#handle(peer, live, frame));
  }

  /** The client or the network ended the connection. */
  lost(peer: Peer): void {
    if (peer.isClosed) return;
    peer.isClosed = true;
    this.peers.delete(peer);
    const { live } = peer;
    if (live?.peer === peer) {
      live.peer = undefined;
      live.lostAt = this.#time();
    }
  }

  /** The memory is lost, the sockets are not. Outcomes that were not written yet can be lost too. */
  crash(losesOutcomes = false): void {
    this.#incarnation++;
    const before = this.#live;
    this.#live = new Map();
    for (const live of before.values()) {
      const again = this.#wake(live.session);
      again.hasPlace = live.hasPlace;
      again.lostAt = live.lostAt;
      again.since = live.since;
      again.peer = live.peer;
      if (live.peer !== undefined) {
        live.peer.live = again;
        live.peer.hasAsked = false;
        if (losesOutcomes) {
          // The next `ack` would cover the numbers whose own outcome is lost: so these come first, again.
          const { controls } = live.peer;
          live.peer.controls = [...controls.filter((control) => "welcome" in control), ...live.session.outcomes.values()];
          if (live.peer.messages.length > 0) this.#flush(live.peer);
        } else {
          this.#flush(live.peer);
        }
      }
      if (live.running === undefined) continue;
      const n = live.running;
      this.#settle(again, n, { error: { n, code: "restarted", message: "the room restarted" } }, true);
    }
  }

  /** The process ends, with its memory and its sockets. */
  restart(): void {
    this.#incarnation++;
    const before = this.#live;
    this.#live = new Map();
    for (const peer of [...this.peers]) this.close(peer, 1006, "");
    for (const live of before.values()) {
      const again = this.#wake(live.session);
      again.hasPlace = live.hasPlace;
      again.lostAt = live.peer === undefined ? live.lostAt : this.#time();
      again.since = live.since;
    }
  }

  close(peer: Peer, code: number, reason: string): void {
    this.lost(peer);
    peer.transport.close(code, reason);
  }

  /** Forgets every session, as a purge does. */
  forget(): void {
    this.#incarnation++;
    for (const peer of [...this.peers]) this.close(peer, 1001, "");
    this.sessions.clear();
    this.#live.clear();
  }

  /** Sends a message to every peer. A function gets the position. */
  broadcast(content: unknown): void {
    const at = ++this.stored.position;
    const message = typeof content === "function" ? content(at) : content;
    const to = new Set<string>();
    for (const live of this.#live.values()) {
      if (!this.#keepsPlace(live)) continue;
      to.add(live.session.token);
      if (live.peer !== undefined) this.#send(live.peer, message, at);
    }
    this.#log.push({ at, to, message });
    const { replay = 0 } = this.#options;
    if (this.#log.length > replay) this.#log.splice(0, this.#log.length - replay);
  }

  /** Sends controls to a peer. */
  control(peer: Peer, ...controls: object[]): void {
    peer.controls.push(...controls);
    this.#flushSoon(peer);
  }

  #keepsPlace(live: Live): boolean {
    if (live.peer === undefined && this.#time() > live.lostAt + (this.#options.graceMs ?? 0)) live.hasPlace = false;
    return live.hasPlace;
  }

  #wake(session: Session): Live {
    let live = this.#live.get(session.token);
    if (live === undefined) {
      live = {
        session,
        last: session.last,
        queue: [],
        isBusy: false,
        running: undefined,
        peer: undefined,
        hasPlace: false,
        lostAt: this.#time(),
        since: 0,
      };
      this.#live.set(session.token, live);
    }
    return live;
  }

  #begin(peer: Peer, hasOffered: boolean): void {
    const token = (++this.#tokens).toString(16).padStart(32, "0");
    const session: Session = { token, last: 0, outcomes: new Map() };
    this.sessions.set(token, session);
    const live = this.#wake(session);
    this.#seat(live, peer);
    this.#welcome(live, peer, false, hasOffered);
    this.#options.connected?.(peer, "new");
    this.#flushSoon(peer);
  }

  #seat(live: Live, peer: Peer): void {
    if (!live.hasPlace) live.since = this.stored.position;
    live.peer = peer;
    live.hasPlace = true;
    peer.live = live;
  }

  #welcome(live: Live, peer: Peer, resumed: boolean, gap: boolean): void {
    const { replay, timeoutMs } = this.#options;
    peer.controls.push({
      welcome: {
        session: live.session.token,
        resumed,
        last: live.last,
        window: this.window,
        gap,
        heartbeat: ["ping", "pong"],
        ...(replay === undefined ? {} : { at: this.stored.position }),
        ...(timeoutMs === undefined ? {} : { timeout_ms: timeoutMs }),
      },
    });
    peer.told = live.last;
  }

  async #resume(live: Live, peer: Peer, from: number, at: number): Promise<void> {
    if (peer.isClosed) return;
    const { session } = live;
    const keeps = this.#keepsPlace(live);
    if (live.peer !== undefined) this.close(live.peer, 1012, "resumed by a new connection");
    live.last = Math.max(live.last, from - 1);
    const { replay } = this.#options;
    const missed = this.#log.filter((entry) => entry.at > at && entry.to.has(session.token));
    const isComplete = this.#log.length === 0 ? at === this.stored.position : at >= this.#log[0]!.at - 1;
    // The welcome of a connection between can have been lost, and with it the gap before the place that it began.
    const gap = !keeps || replay === undefined || !isComplete || at < live.since;
    this.#seat(live, peer);
    this.#welcome(live, peer, true, gap);
    for (let n = from; n <= live.last; n++) {
      const outcome = session.outcomes.get(n);
      if (outcome !== undefined) peer.controls.push(outcome);
    }
    if (live.last >= from) peer.controls.push({ ack: live.last });
    this.#options.connected?.(peer, "resumed");
    if (!gap) {
      for (const { message, at } of missed) {
        peer.messages.push(message);
        peer.at = at;
        if (this.#options.split?.()) this.#flush(peer);
      }
    }
    this.#flush(peer);
  }

  async #handle(peer: Peer, live: Live, frame: unknown): Promise<void> {
    if (!Array.isArray(frame)) {
      live.last = Math.max(live.last, (frame as { from: number }).from - 1);
      peer.told = Math.max(peer.told, live.last);
      return;
    }
    const [number, ...values] = frame as [number, ...unknown[]];
    if (number === 0) {
      await this.#run(live, number, values);
      return;
    }
    if (number <= live.last) {
      const outcome = live.session.outcomes.get(number) ?? { ack: number };
      if (live.peer !== undefined) this.control(live.peer, outcome);
      return;
    }
    if (number > live.last + 1) {
      if (!peer.hasAsked && live.peer === peer) this.control(peer, { resend: live.last + 1 });
      peer.hasAsked = true;
      return;
    }
    peer.hasAsked = false;
    await this.#run(live, number, values);
  }

  async #run(live: Live, number: number, values: unknown[]): Promise<void> {
    const incarnation = this.#incarnation;
    live.running = number || undefined;
    const changes: unknown[] = [];
    const replies: unknown[] = [];
    const broadcasts: unknown[] = [];
    const context: Context = {
      session: live.session.token,
      apply: (change) => changes.push(change),
      broadcast: (message) => broadcasts.push(message),
      reply: (message) => replies.push(message),
      sleep: (ms) => new Promise((resolve) => this.#clock.setTimeout(resolve, ms)),
    };
    const isCall = values.length === 2;
    let outcome: object | undefined;
    try {
      if (isCall) {
        const handler = this.#options.calls?.[values[0] as string];
        if (handler === undefined) throw new Refusal("unknown_call", `there is no call ${values[0]}`);
        outcome = { answer: { n: number, value: (await handler(values[1], context)) ?? null } };
      } else {
        await this.#options.event?.(values[0], context);
      }
    } catch (error) {
      if (this.#incarnation !== incarnation) return;
      if (error instanceof Panic) {
        this.crash();
        return;
      }
      if (error instanceof Own) outcome = { answer: { n: number, error: error.value } };
      else if (error instanceof Refusal) {
        changes.length = broadcasts.length = 0;
        const { code, message, details } = error;
        outcome = { error: { ...(number === 0 ? {} : { n: number }), code, message, ...details } };
      } else throw error;
    }
    // A handler that ran in a room that is gone has no effect.
    if (this.#incarnation !== incarnation) return;
    live.running = undefined;
    for (const change of changes) this.stored.changes.push({ session: live.session.token, number, change });
    for (const message of broadcasts) this.broadcast(message);
    const peer = live.peer;
    if (peer !== undefined) peer.messages.push(...replies);
    if (number > 0) this.#settle(live, number, outcome, changes.length > 0);
    else if (outcome !== undefined && peer !== undefined) this.control(peer, outcome);
    else if (peer !== undefined) this.#flushSoon(peer);
  }

  #settle(live: Live, number: number, outcome: object | undefined, hasChanged: boolean): void {
    live.last = number;
    const { session } = live;
    // An event that changed nothing can be forgotten by a crash.
    if (hasChanged || outcome !== undefined) session.last = number;
    if (outcome !== undefined) session.outcomes.set(number, outcome);
    for (const n of session.outcomes.keys()) if (n <= number - this.window) session.outcomes.delete(n);
    const { peer } = live;
    if (peer === undefined) return;
    const last = peer.controls.at(-1);
    if (outcome === undefined && last !== undefined && "ack" in last) last.ack = number;
    else peer.controls.push(outcome ?? { ack: number });
    this.#flushSoon(peer);
  }

  #send(peer: Peer, message: unknown, at: number): void {
    peer.messages.push(message);
    peer.at = at;
    this.#flushSoon(peer);
  }

  #flushSoon(peer: Peer): void {
    if (peer.isWaiting) return;
    const ms = this.#options.gather?.() ?? 0;
    if (ms === 0) {
      this.#flush(peer);
      return;
    }
    peer.isWaiting = true;
    this.#clock.setTimeout(() => {
      peer.isWaiting = false;
      this.#flush(peer);
    }, ms);
  }

  #flush(peer: Peer): void {
    const { controls, messages, at } = peer;
    if (peer.isClosed || (controls.length === 0 && messages.length === 0)) return;
    peer.controls = [];
    peer.messages = [];
    peer.at = undefined;
    if (at !== undefined && this.#options.replay !== undefined) controls.push({ at });
    for (const control of controls as { ack?: number; error?: { n?: number }; answer?: { n: number } }[]) {
      peer.told = Math.max(peer.told, control.ack ?? control.error?.n ?? control.answer?.n ?? 0);
    }
    peer.transport.send(this.wire.write([controls, ...messages]));
  }

  #enqueue(live: Live, task: () => Promise<void>): void {
    live.queue.push(task);
    if (!live.isBusy) void this.#work(live);
  }

  async #work(live: Live): Promise<void> {
    const incarnation = this.#incarnation;
    live.isBusy = true;
    for (let task = live.queue.shift(); task !== undefined; task = live.queue.shift()) {
      await task();
      if (this.#incarnation !== incarnation) return;
    }
    live.isBusy = false;
  }

  #check(peer: Peer, live: Live, [number, ...values]: [number, ...unknown[]]): void {
    const { token } = live.session;
    const key = `${token} ${number}`;
    const meaning = JSON.stringify(values);
    const before = this.#meaning.get(key);
    if (before !== undefined && before !== meaning) this.problems.push(`${number} was ${before} and is ${meaning}`);
    this.#meaning.set(key, meaning);
    const highest = this.#highest.get(token) ?? 0;
    if (number > highest + 1) this.problems.push(`${number} follows ${highest}`);
    this.#highest.set(token, Math.max(highest, number));
    if (number > peer.told + this.window) this.problems.push(`${number} exceeds the window: ${peer.told} + ${this.window}`);
  }

  /** Fails if a client broke the protocol. */
  assertProtocol(): void {
    assert.deepEqual(this.problems, []);
  }
}
