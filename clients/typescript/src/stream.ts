import { RoomError } from "./errors.js";

/** The options of `messages()`. */
export interface StreamOptions {
  signal?: AbortSignal;
  /** The most messages that wait for the loop. Default: 1000. */
  buffer?: number;
  /** `throw` ends a loop that is too slow with `buffer_full`; `drop-oldest` skips messages. Default: `throw`. */
  overflow?: "throw" | "drop-oldest";
}

/** A stream of values with a bounded buffer. It takes values from its creation on, not only from the first `next()` on. */
export class Stream<T> implements AsyncIterableIterator<T> {
  readonly #options: StreamOptions;
  #buffer: T[] = [];
  #waiting: { resolve(result: IteratorResult<T, undefined>): void; reject(error: unknown): void }[] = [];
  #ended = false;
  /** The error of the end, in a list, since it can be any value. */
  #error: [unknown] | undefined;
  #release: () => void;

  /** `release` is called once, at the end. */
  constructor(options: StreamOptions, release: (stream: Stream<T>) => void) {
    this.#options = options;
    const { signal } = options;
    const abort = () => this.end([signal!.reason]);
    this.#release = () => {
      signal?.removeEventListener("abort", abort);
      release(this);
    };
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
  }

  push(value: T): void {
    if (this.#ended) return;
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ done: false, value });
      return;
    }
    const { buffer = 1000, overflow = "throw" } = this.#options;
    this.#buffer.push(value);
    if (this.#buffer.length <= buffer) return;
    this.#buffer.shift();
    if (overflow === "throw") this.end([new RoomError("buffer_full", `the loop is more than ${buffer} messages behind`)]);
  }

  /** Ends the stream. The loop gets the values in the buffer before that, unless there is an error. */
  end(error?: [unknown]): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    if (error !== undefined) this.#buffer = [];
    for (const waiting of this.#waiting.splice(0)) this.next().then(waiting.resolve, waiting.reject);
    this.#release();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#buffer.length > 0) return Promise.resolve({ done: false, value: this.#buffer.shift()! });
    if (this.#error !== undefined) {
      const [error] = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#buffer = [];
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
