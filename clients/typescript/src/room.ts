import { CallError, DecodeError, RoomError, type Violation } from "./errors.js";
import { json, type Codec, type Decoded } from "./json.js";
import { address, Link, type CloseInfo, type LinkOptions } from "./link.js";
import { Outbox, type Item, type QueueOptions } from "./outbox.js";
import type { AnySchema, ArgsOf, CallsOf, ErrorOf, MessageName, MessageOf, ResultOf, RoomSchema, TagOf } from "./schema.js";
import { Stream, type StreamOptions } from "./stream.js";
import { validate, type ValidateOptions } from "./validate.js";

/** The options of {@link connect}. */
export type ConnectOptions<S extends RoomSchema = AnySchema> = LinkOptions &
  TagOption<S> & {
    /** JSON, or `msgpack` of `room-client/msgpack`. Default: `"json"`. */
    codec?: "json" | Codec;
    /** Closes the connection. */
    signal?: AbortSignal;
    /** The bound of the events that wait: without a connection, or for outcomes of earlier ones. */
    queue?: QueueOptions;
    /** Checks of events and messages. */
    validate?: ValidateOptions;
    /** Gets what arrived and cannot be passed on. Default: `console.error`. */
    onDecodeError?: (error: DecodeError) => void;
    /** Connects at once, unless it is false: then `open()` connects. Default: true. */
    autoConnect?: boolean;
  };

type TagOption<S extends RoomSchema> = "type" extends TagOf<S>
  ? AnySchema extends S
    ? {
        /** The key that tells the variants apart; `null` if there is none. Default: `type`. */
        tag?: string | null;
      }
    : {
        /** The key that tells the variants apart. Default: `type`. */
        tag?: "type";
      }
  : {
      /** The key that tells the variants apart; `null` if there is none. */
      tag: TagOf<S>;
    };

/** The options of one wait. */
export interface WaitOptions {
  /** Fails the wait with `timeout` after this time in milliseconds. Default: never. */
  timeout?: number;
  /** Fails the wait with the reason of the signal. */
  signal?: AbortSignal;
}

/** The state of a connection. */
export type Status =
  /** It was not opened yet. */
  | "idle"
  /** The first connection is being made. */
  | "connecting"
  | "open"
  /** The connection was lost, or the first one failed. */
  | "reconnecting"
  /** There is no further attempt. */
  | "closed";

/** A change of the state. */
export type StatusChange =
  | { readonly status: "connecting" }
  /**
   * `resumed`: the session goes on. `gap`: messages of the room can be missing.
   */
  | { readonly status: "open"; readonly resumed: boolean; readonly gap: boolean }
  /** `attempt`: the failed attempts in a row. `delayMs`: the wait before the next one. */
  | ({ readonly status: "reconnecting"; readonly attempt: number; readonly delayMs: number } & CloseInfo)
  | ({ readonly status: "closed" } & CloseInfo);

/** The room's functions: `call.rename({ name: "Ada" })`. */
export type Calls<S extends RoomSchema> = {
  readonly [N in keyof CallsOf<S>]: {} extends ArgsOf<S, N>
    ? (args?: ArgsOf<S, N>, options?: WaitOptions) => Promise<ResultOf<S, N>>
    : (args: ArgsOf<S, N>, options?: WaitOptions) => Promise<ResultOf<S, N>>;
};

type Listener = (value: any) => void;

interface Welcome {
  session: string;
  resumed: boolean;
  last: number;
  window: number;
  gap?: boolean;
  at?: number;
  heartbeat?: [string, string];
  timeout_ms?: number;
}

interface WireError {
  n?: number;
  code: string;
  message: string;
  retry_after_ms?: number;
  violations?: Violation[];
}

type Control = {
  welcome?: Welcome;
  ack?: number;
  error?: WireError;
  answer?: { n: number; value?: unknown; error?: unknown };
  resend?: number;
  at?: number;
};

const noop = () => {};

/** Connects to a room, and stays connected. */
export function connect<S extends RoomSchema = AnySchema>(options: ConnectOptions<S>): Room<S> {
  return new Room<S>(options);
}

/** A connection to a room. */
export class Room<S extends RoomSchema = AnySchema> implements AsyncIterable<S["broadcast"]> {
  /**
   * The room's functions: `await room.call.rename({ name: "Ada" })`. A call resolves to the result. It rejects with a
   * {@link CallError}, if the function returned an error of its own type, or else with a {@link RoomError}.
   */
  readonly call: Calls<S>;
  readonly #options: ConnectOptions<S>;
  readonly #codec: Codec;
  readonly #link: Link;
  readonly #outbox: Outbox;
  readonly #clock;
  readonly #listeners = new Map<string, Set<{ run: Listener }>>();
  readonly #streams = new Set<Stream<S["broadcast"]>>();
  #status: Status = "idle";
  #closed: CloseInfo | undefined;
  #isOwnClose = false;
  #session = "";
  /** The position of the last message. */
  #at = 0;
  #abort = () => this.close(1000, "aborted");

  constructor(options: ConnectOptions<S>) {
    this.#options = options;
    const { codec = "json", queue = {}, url } = options;
    this.#codec = codec === "json" ? json : codec;
    // An invalid address is a mistake of the program: it fails here and not again and again.
    if (typeof url === "string") address(url);
    this.#clock = options.clock ?? globalThis;
    this.#link = new Link(options, {
      offer: () => this.#offer(),
      frame: (data) => this.#frame(data),
      down: (info, attempt, delayMs) => {
        this.#outbox.end();
        this.#change({ status: "reconnecting", attempt, delayMs, ...info });
      },
      end: (info) => this.#end(info),
      beat: () => this.#outbox.nudge(),
    });
    this.#outbox = new Outbox(
      queue,
      ({ number, parts }) => this.#link.send(this.#codec.join(number, parts)),
      (from) => this.#link.send(this.#codec.encode({ from })),
    );
    this.call = new Proxy({} as Calls<S>, {
      // Without `then`, the object can be the result of an async function.
      get: (_, name) =>
        typeof name === "string" && name !== "then"
          ? (args: unknown = {}, options?: WaitOptions) => this.#request(() => [name, args], name, options)
          : undefined,
    });
    if (options.autoConnect !== false) this.open();
  }

  /** The state of the connection. */
  get status(): Status {
    return this.#status;
  }

  /** The reason for the end, if the connection is closed. */
  get closed(): CloseInfo | undefined {
    return this.#closed;
  }

  /** The number of events and calls without an outcome. */
  get pending(): number {
    return this.#outbox.size;
  }

  /**
   * Connects, if it is idle or closed. After a close, a new session begins. While it is reconnecting, the wait before the next
   * attempt ends at once.
   */
  open(): void {
    if (this.#status === "reconnecting") this.#link.hurry();
    if (this.#status !== "idle" && this.#status !== "closed") return;
    const { signal } = this.#options;
    this.#session = "";
    this.#at = 0;
    this.#closed = undefined;
    this.#isOwnClose = false;
    this.#change({ status: "connecting" });
    if (signal?.aborted) {
      this.#end({ code: 1000, reason: "aborted" });
      return;
    }
    signal?.addEventListener("abort", this.#abort);
    this.#link.open();
  }

  /**
   * Closes the connection for good, and fails everything that has no outcome with `closed`. The code is 1000 or from 3000 to
   * 4999, and the reason has at most 123 bytes.
   */
  close(code = 1000, reason = ""): void {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new RangeError(`${code} is no code that a client can close with`);
    if (new TextEncoder().encode(reason).length > 123) throw new RangeError("a reason has at most 123 bytes");
    if (this.#status === "closed") return;
    this.#isOwnClose = true;
    if (this.#status === "idle") this.#end({ code, reason });
    else this.#link.close(code, reason);
  }

  /**
   * Sends an event, and resolves when the room has handled it and stored its changes. It waits while there is no connection.
   *
   * With `ack: false` the event has no number: it is sent at once or never, and is lost with the connection. The result
   * says whether it was sent.
   */
  send(event: S["event"], options: { ack: false }): boolean;
  send(event: S["event"], options?: WaitOptions & { ack?: true }): Promise<void>;
  send(event: S["event"], options: WaitOptions & { ack?: boolean } = {}): boolean | Promise<void> {
    const parts = () => {
      const checked = validate(this.#options.validate?.event, event);
      if (checked.violations === undefined) return [checked.value];
      throw new RoomError("invalid", describe("the event", checked.violations), checked);
    };
    if (options.ack !== false) return this.#request(parts, undefined, options) as Promise<void>;
    const encoded = parts().map((part) => this.#codec.encode(part));
    return this.#status === "open" && this.#link.send(this.#codec.join(0, encoded));
  }

  /** Sends bytes to the room's `on_binary`, if the codec is JSON and the connection is open. Returns whether it was sent. */
  sendBytes(bytes: Uint8Array): boolean {
    if (this.#codec !== json) throw new RoomError("unencodable", "bytes of one's own need the codec JSON");
    return this.#status === "open" && this.#link.send(bytes);
  }

  /** Calls `run` for each message with this name; `"*"` stands for all. Returns a function that ends it. */
  on<N extends MessageName<S> | "*">(name: N, run: (message: MessageOf<S, N>) => void): () => void {
    return this.#listen(name === "*" ? "*" : `message ${name}`, run);
  }

  /** Calls `run` for the next message with this name. Returns a function that ends it. */
  once<N extends MessageName<S> | "*">(name: N, run: (message: MessageOf<S, N>) => void): () => void {
    const end = this.on(name, (message) => {
      end();
      run(message);
    });
    return end;
  }

  /** Resolves to the next message with this name. It rejects if the connection is closed. */
  next<N extends MessageName<S> | "*">(name: N, options: WaitOptions = {}): Promise<MessageOf<S, N>> {
    return this.#wait(options, (resolve, reject) => {
      const ends = [this.once(name, resolve), this.#onClosed(reject)];
      return () => ends.forEach((end) => end());
    });
  }

  /** Calls `run` at each change of the state. Returns a function that ends it. */
  onStatus(run: (change: StatusChange) => void): () => void {
    return this.#listen("status", run);
  }

  /**
   * Calls `run` if messages of the room can be missing: the state that the page shows is to be asked for anew. Messages that
   * arrive after that are complete. Returns a function that ends it.
   */
  onGap(run: (gap: { readonly resumed: boolean }) => void): () => void {
    return this.#listen("gap", run);
  }

  /** Calls `run` for each error of the room that belongs to no numbered event. Returns a function that ends it. */
  onError(run: (error: RoomError) => void): () => void {
    return this.#listen("error", run);
  }

  /** Calls `run` for each binary frame of the room, if the codec is JSON. Returns a function that ends it. */
  onBytes(run: (bytes: Uint8Array) => void): () => void {
    return this.#listen("bytes", run);
  }

  /** Resolves when the connection is open. It rejects if it is closed. */
  waitForOpen(options: WaitOptions = {}): Promise<void> {
    if (this.#status === "open") return Promise.resolve();
    if (this.#status === "closed") return Promise.reject(this.#closedError(0));
    return this.#wait(options, (resolve, reject) => {
      const ends = [this.onStatus(({ status }) => status === "open" && resolve()), this.#onClosed(reject)];
      return () => ends.forEach((end) => end());
    });
  }

  /**
   * Returns the messages from now on, for a `for await` loop. It ends when the connection is closed. A loop that is more than
   * `buffer` messages behind ends with the error `buffer_full`, or skips messages with `overflow: "drop-oldest"`.
   */
  messages(options: StreamOptions = {}): Stream<S["broadcast"]> {
    const stream = new Stream<S["broadcast"]>(options, (stream) => this.#streams.delete(stream));
    this.#streams.add(stream);
    if (this.#status === "closed") stream.end();
    if (options.signal?.aborted) this.#streams.delete(stream);
    return stream;
  }

  [Symbol.asyncIterator](): Stream<S["broadcast"]> {
    return this.messages();
  }

  /** Tells whether this is the error that the room's function of this name returned. */
  isCallError<N extends keyof CallsOf<S> & string>(name: N, error: unknown): error is CallError<ErrorOf<S, N>> {
    return error instanceof CallError && error.call === name;
  }

  #offer(): string[] {
    const { protocol } = this.#codec;
    if (this.#session === "") return [protocol];
    return [protocol, `room.v1.resume.${this.#session}.${this.#outbox.from}.${this.#at}`];
  }

  #request(values: () => unknown[], call: string | undefined, options: WaitOptions = {}): Promise<unknown> {
    let item: Item | undefined;
    return this.#wait(options, (resolve, reject) => {
      if (this.#status === "closed") throw this.#closedError(0);
      const parts = values().map((value) => this.#codec.encode(value));
      item = { number: 0, parts, call, resolve, reject };
      this.#outbox.add(item);
      return () => this.#outbox.remove(item!);
    });
  }

  /** A promise with the options of a wait. `start` returns what ends it. */
  #wait<T>(
    { timeout, signal }: WaitOptions,
    start: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
  ): Promise<T> {
    let promise: Promise<T> | undefined;
    promise = new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      let isDone = false;
      let end = noop;
      let timer: unknown;
      const settle = (run: () => void) => {
        if (isDone) return;
        isDone = true;
        signal?.removeEventListener("abort", abort);
        if (timer !== undefined) this.#clock.clearTimeout(timer as number);
        end();
        run();
      };
      const abort = () => settle(() => reject(signal!.reason));
      const stop = start(
        (value) => settle(() => resolve(value)),
        (error) => {
          // After the program's own `close()`, nobody has to catch what it ended.
          if (this.#isOwnClose) promise?.catch(noop);
          settle(() => reject(error));
        },
      );
      if (isDone) return stop();
      end = stop;
      signal?.addEventListener("abort", abort);
      if (timeout !== undefined) {
        const error = () => new RoomError("timeout", `no outcome within ${timeout} ms`);
        timer = this.#clock.setTimeout(() => settle(() => reject(error())), timeout);
      }
    });
    return promise;
  }

  #frame(data: string | ArrayBuffer): void {
    if (typeof data !== "string" && this.#codec === json) {
      this.#emit("bytes", new Uint8Array(data));
      return;
    }
    let decoded: Decoded;
    let frame: [Control[], ...unknown[]];
    try {
      decoded = this.#codec.decode(data);
      frame = decoded.frame as typeof frame;
      if (!Array.isArray(frame) || !Array.isArray(frame[0])) throw new DecodeError("decode", "not a frame of room.v1", data);
    } catch (error) {
      this.#undecoded(error as DecodeError);
      return;
    }
    const [controls, ...messages] = frame;
    const isUnsafe = (index: number, control: number) => decoded.unsafe.some(([i, c]) => i === index && c === control);
    const welcome = controls[0]?.welcome;
    // Before the messages of its frame: they can be the snapshot after a gap.
    if (welcome !== undefined) this.#welcome(welcome);
    for (const [i, message] of messages.entries()) {
      if (this.#status !== "open") return;
      this.#message(message, isUnsafe(i + 1, 0));
    }
    if (this.#status !== "open") return;
    // An outcome of its own comes before the `ack` that covers its number, wherever the two are in the list.
    for (const [i, { error, answer }] of controls.entries()) {
      if (error !== undefined) this.#failed(error);
      if (answer !== undefined) this.#answered(answer, isUnsafe(0, i), data);
    }
    for (const { ack, resend, at } of controls) {
      if (ack !== undefined) this.#outbox.ack(ack);
      if (resend !== undefined) this.#outbox.resend(resend);
      if (at !== undefined) this.#at = at;
    }
    this.#outbox.pump();
  }

  #welcome({ session, resumed, last, window, gap, at, heartbeat, timeout_ms }: Welcome): void {
    const isGap = gap === true || (this.#session !== "" && !resumed);
    this.#session = session;
    // A session that goes on takes its position from the messages that are replayed. If the connection is lost between them,
    // the rest is replayed again.
    if (!resumed || isGap) this.#at = at ?? 0;
    this.#link.welcome(heartbeat, timeout_ms);
    this.#outbox.begin(resumed, last, window);
    this.#change({ status: "open", resumed, gap: isGap });
    if (isGap) this.#emit("gap", { resumed });
  }

  #message(message: unknown, isUnsafe: boolean): void {
    if (isUnsafe) {
      this.#undecoded(new DecodeError("unsafe_integer", "the message has an integer beyond 2^53 - 1", undefined));
      return;
    }
    let value = message;
    try {
      const checked = validate(this.#options.validate?.broadcast, message);
      if (checked.violations !== undefined) {
        throw new DecodeError("invalid", describe("the message", checked.violations), message, checked);
      }
      value = checked.value;
    } catch (error) {
      if (error instanceof DecodeError) this.#undecoded(error);
      else report(error);
      return;
    }
    const tag = this.#options.tag === undefined ? "type" : this.#options.tag;
    const name = tag === null ? undefined : (value as Record<string, unknown> | null | undefined)?.[tag];
    if (typeof name === "string") this.#emit(`message ${name}`, value);
    this.#emit("*", value);
    for (const stream of [...this.#streams]) stream.push(value);
  }

  #failed({ n, code, message, retry_after_ms, violations }: WireError): void {
    const error = new RoomError(code, message, { number: n, retryAfterMs: retry_after_ms, violations });
    if (n === undefined) this.#emit("error", error);
    else this.#outbox.settle(n)?.reject(error);
  }

  #answered(answer: NonNullable<Control["answer"]>, isUnsafe: boolean, data: unknown): void {
    const { n } = answer;
    const item = this.#outbox.settle(n);
    if (item === undefined) return;
    if (isUnsafe) {
      const message = "the answer has an integer beyond 2^53 - 1";
      item.reject(new DecodeError("unsafe_integer", message, data, { number: n }));
    } else if ("error" in answer) item.reject(new CallError(item.call ?? "", n, answer.error));
    else item.resolve(answer.value);
  }

  #undecoded(error: DecodeError): void {
    const { onDecodeError = (error: DecodeError) => console.error(error) } = this.#options;
    run(onDecodeError, error);
  }

  #end(info: CloseInfo): void {
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#closed = info;
    this.#status = "closed";
    this.#outbox.clear((number) => this.#closedError(number));
    for (const stream of [...this.#streams]) stream.end();
    this.#change({ status: "closed", ...info });
  }

  #closedError(number: number): RoomError {
    const { code, reason, error } = this.#closed!;
    if (error instanceof RoomError) return error;
    const why = reason === "" ? `${code}` : `${code}, ${reason}`;
    return new RoomError("closed", `the connection is closed (${why})`, { number: number || undefined, cause: error });
  }

  #onClosed(reject: (error: RoomError) => void): () => void {
    return this.onStatus(({ status }) => status === "closed" && reject(this.#closedError(0)));
  }

  #change(change: StatusChange): void {
    this.#status = change.status;
    this.#emit("status", change);
  }

  #listen(name: string, run: Listener): () => void {
    const listener = { run };
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(name) === listeners) this.#listeners.delete(name);
    };
  }

  #emit(name: string, value: unknown): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) run(listener.run, value);
  }
}

function describe(what: string, violations: readonly Violation[]): string {
  const rules = violations.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
  return `${what} is not valid: ${rules.join("; ")}`;
}

/** Runs code of the program. Its errors must not stop the protocol. */
function run<T>(listener: (value: T) => void, value: T): void {
  try {
    listener(value);
  } catch (error) {
    report(error);
  }
}

/** Makes an error an uncaught one, as an EventTarget does. */
function report(error: unknown): void {
  const { reportError } = globalThis as { reportError?: (error: unknown) => void };
  if (reportError !== undefined) reportError(error);
  else queueMicrotask(() => {
    throw error;
  });
}
