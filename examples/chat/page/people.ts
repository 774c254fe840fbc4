// The users in the room.

import { $, avatar, el, getJson, named } from "./dom.ts";

export class People {
  readonly #me: string;
  readonly #path: string;
  readonly #signal: AbortSignal;
  readonly #onLeft: (id: string) => void;
  #here = new Set<string>();
  /** Users whose socket closed. They may still be present in another tab, so only the list of peers decides. */
  #leaving = new Set<string>();
  #joining = new Set<string>();
  #loading = false;
  #again = false;

  constructor(me: string, path: string, signal: AbortSignal, onLeft: (id: string) => void) {
    this.#me = me;
    this.#path = path;
    this.#signal = signal;
    this.#onLeft = onLeft;
    this.#show(new Set([me]));
  }

  /** Adds a user. Returns true if the user was not present before. */
  joined(id: string): boolean {
    this.#joining.add(id);
    if (this.#here.has(id)) return false;
    this.#show(new Set(this.#here).add(id));
    return true;
  }

  left(id: string): void {
    this.#joining.delete(id);
    this.#leaving.add(id);
    void this.refresh();
  }

  async refresh(): Promise<void> {
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
        const peers = await getJson<{ id: string }[]>(this.#path, this.#signal);
        const here = new Set(peers.map(({ id }) => id));
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

  #show(here: Set<string>): void {
    this.#here = here;
    const others = [...here].filter((id) => id !== this.#me).sort((a, b) => a.localeCompare(b));
    const names = here.has(this.#me) ? [this.#me, ...others] : others;
    $("people").replaceChildren(...names.map((name) => {
      const node = el("li", { class: "person", "data-testid": "person" }, avatar(name), named(name));
      node.dataset.name = name;
      if (name === this.#me) node.append(el("span", { class: "you" }, "you"));
      return node;
    }));
    $("people-count").textContent = $("people-count-short").textContent = String(names.length);
  }
}
