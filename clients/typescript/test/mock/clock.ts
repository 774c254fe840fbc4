import type { Clock } from "room-client";

interface Timer {
  at: number;
  order: number;
  run: () => void;
}

/** Virtual time. Nothing happens in it until a test lets it pass. */
export class VirtualClock implements Clock {
  now = 0;
  #order = 0;
  #timers: Timer[] = [];

  setTimeout = (run: () => void, ms: number): Timer => {
    const timer = { at: this.now + Math.max(0, ms), order: this.#order++, run };
    // From the latest to the earliest, so that the next one is at the end.
    let i = this.#timers.length;
    while (i > 0 && this.#timers[i - 1]!.at <= timer.at) i--;
    this.#timers.splice(i, 0, timer);
    return timer;
  };

  clearTimeout = (timer: Timer): void => {
    const i = this.#timers.indexOf(timer);
    if (i >= 0) this.#timers.splice(i, 1);
  };

  /** The number of timers that wait. */
  get size(): number {
    return this.#timers.length;
  }

  /** Lets the time pass, and everything happen that is due in it. */
  async pass(ms: number): Promise<void> {
    const until = this.now + ms;
    await settle();
    for (let timer = this.#timers.at(-1); timer !== undefined && timer.at <= until; timer = this.#timers.at(-1)) {
      this.#timers.pop();
      this.now = timer.at;
      timer.run();
      await settle();
    }
    this.now = until;
  }
}

/** Lets the promises go on. The longest chain of the client and the mock is shorter than this. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) await null;
}

/** Random numbers that a seed repeats. */
export function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
