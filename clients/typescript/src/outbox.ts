import { RoomError } from "./errors.js";
import type { Data } from "./json.js";

/** An event or a call on its way. */
export interface Item {
  readonly parts: readonly Data[];
  /** The name of the function, for a call. */
  readonly call: string | undefined;
  /** 0 as long as it was never sent. */
  number: number;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The bound of the queue, and the policy for a further event. */
export interface QueueOptions {
  /** The most events that wait without a number. Default: 1000. */
  max?: number;
  /** `reject` fails the new event with `queue_full`, `drop-oldest` fails the oldest with `queue_dropped`. Default: `reject`. */
  overflow?: "reject" | "drop-oldest";
}

/**
 * Gives numbers to events, and keeps each until its outcome is known.
 *
 * An item gets its number at the moment of its first transmission. One that is given up before that leaves no hole in the
 * numbers; one that is given up later stays here, is sent again like any other, and its outcome is dropped.
 */
export class Outbox {
  readonly #max: number;
  readonly #dropOldest: boolean;
  readonly #send: (item: Item) => void;
  readonly #settleOf: (from: number) => void;
  /** Items without a number. */
  #queue: Item[] = [];
  /** Items with a number and without an outcome. */
  #pending = new Map<number, Item>();
  /** The lowest number without an outcome. */
  #low = 1;
  /** The next number to give. */
  #next = 1;
  /** The next number to transmit on this connection. */
  #cursor = 1;
  #window = 0;
  #progress = false;

  /** `send` transmits a numbered item; `settled` tells the room that every number below is settled. */
  constructor(options: QueueOptions, send: (item: Item) => void, settled: (from: number) => void) {
    this.#max = options.max ?? 1000;
    this.#dropOldest = options.overflow === "drop-oldest";
    this.#send = send;
    this.#settleOf = settled;
  }

  /** The lowest number without an outcome, or else the next one. */
  get from(): number {
    return this.#low;
  }

  /** The number of items without an outcome, with a number or without. */
  get size(): number {
    return this.#queue.length + this.#pending.size;
  }

  add(item: Item): void {
    this.#queue.push(item);
    this.pump();
    if (this.#queue.length <= this.#max) return;
    if (this.#dropOldest) {
      this.#queue.shift()!.reject(new RoomError("queue_dropped", `dropped for a newer event: more than ${this.#max} wait`));
    } else {
      this.#queue.pop();
      item.reject(new RoomError("queue_full", `${this.#max} events wait already`));
    }
  }

  /** Takes out an item that nobody waits for any more, if it was never sent. */
  remove(item: Item): void {
    if (item.number === 0) this.#queue = this.#queue.filter((other) => other !== item);
  }

  /** A connection has begun. */
  begin(resumed: boolean, last: number, window: number): void {
    this.#window = window;
    if (!resumed) {
      const lost = [...this.#pending.values()];
      this.#pending.clear();
      this.#low = this.#next = this.#cursor = 1;
      for (const item of lost) {
        item.reject(
          new RoomError("session_lost", "the room has forgotten the session: it is unknown whether this was handled", {
            number: item.number,
          }),
        );
      }
      return;
    }
    // The room has lost the numbers between, which are settled here.
    if (last + 1 < this.#low) this.#settleOf(this.#low);
    this.#cursor = Math.max(this.#low, last + 1);
  }

  /** The connection is gone: nothing is sent until the next one has begun. */
  end(): void {
    this.#window = 0;
  }

  /** Every number up to this one is settled. */
  ack(last: number): void {
    while (this.#low <= last && this.#low < this.#next) {
      const number = this.#low;
      const item = this.settle(number)!;
      if (item.call === undefined) item.resolve(undefined);
      // The answer of a call cannot be made up.
      else item.reject(new RoomError("no_answer", `the room has no answer to \`${item.call}\``, { number }));
    }
    // A number that this client never gave was settled by another owner of the session.
    if (last >= this.#next) this.#low = this.#next = last + 1;
    this.#cursor = Math.max(this.#cursor, this.#low);
  }

  /** The room asks for this number and all later ones. */
  resend(number: number): void {
    if (number > this.#next) return;
    if (this.#low > number) this.#settleOf(this.#low);
    this.#cursor = Math.max(this.#low, number);
  }

  /** Takes out the item whose outcome has arrived. Returns nothing if it has had one. */
  settle(number: number): Item | undefined {
    const item = this.#pending.get(number);
    if (item === undefined) return undefined;
    this.#progress = true;
    this.#pending.delete(number);
    while (this.#low < this.#next && !this.#pending.has(this.#low)) this.#low++;
    this.#cursor = Math.max(this.#cursor, this.#low);
    return item;
  }

  /**
   * Sends what has no outcome again, if no outcome has arrived since the last call. A room that crashed can have lost the
   * frames that waited in it, and learns of them by the next frame only.
   */
  nudge(): void {
    if (!this.#progress && this.#cursor > this.#low) this.#cursor = this.#low;
    this.#progress = false;
    this.pump();
  }

  /** Sends as much as the window allows. */
  pump(): void {
    while (this.#cursor < this.#low + this.#window) {
      let item = this.#pending.get(this.#cursor);
      if (item === undefined && this.#cursor < this.#next) {
        // Settled out of turn.
        this.#cursor++;
        continue;
      }
      if (item === undefined) {
        item = this.#queue.shift();
        if (item === undefined) return;
        item.number = this.#next++;
        this.#pending.set(item.number, item);
        this.#progress = true;
      }
      this.#cursor++;
      this.#send(item);
    }
  }

  /** Fails everything. */
  clear(error: (number: number) => unknown): void {
    const items = [...this.#pending.values(), ...this.#queue];
    this.#pending.clear();
    this.#queue = [];
    this.#low = this.#next = this.#cursor = 1;
    this.#window = 0;
    for (const item of items) item.reject(error(item.number));
  }
}
