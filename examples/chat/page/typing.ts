// The users who are writing.

import { $, named } from "./dom.ts";

const SHOWN = 3_000;

export class Typing {
  readonly #timers = new Map<string, number>();

  constructor() {
    this.#show();
  }

  typing(id: string): void {
    this.stop(id);
    this.#timers.set(id, window.setTimeout(() => this.stop(id), SHOWN));
    this.#show();
  }

  stop(id: string): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.#show();
  }

  clear(): void {
    for (const id of [...this.#timers.keys()]) this.stop(id);
  }

  #show(): void {
    const [first, second, ...more] = [...this.#timers.keys()].map(named);
    const said = first === undefined ? []
      : second === undefined ? [first, " is typing…"]
      : more.length === 0 ? [first, " and ", second, " are typing…"]
      : ["Several people are typing…"];
    $("typing").replaceChildren(...said);
  }
}
