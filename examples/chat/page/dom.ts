// Small helpers for the document and for text.

/** Returns an element of the page. Another one, or none, is a mistake in index.html. */
export function $(id: string): HTMLElement;
export function $<E extends HTMLElement>(id: string, type: new () => E): E;
export function $(id: string, type: new () => HTMLElement = HTMLElement): HTMLElement {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new TypeError(`#${id} is no ${type.name}`);
  return node;
}

/** Creates an element. Strings among the children become text nodes. */
export function el<N extends keyof HTMLElementTagNameMap>(
  tag: N,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[N] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Creates a button that looks like a link. */
export function link(text: string, action: () => void): HTMLButtonElement {
  const node = el("button", { type: "button", class: "link" }, text);
  node.onclick = action;
  return node;
}

/** Counts characters as people (and Rust's `chars`) do, not UTF-16 units. */
export const lengthOf = (text: string): number => [...text].length;

/** Returns "1 message", "2 messages". */
export const counted = (count: number, word: string): string =>
  `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;

/**
 * Reads or writes localStorage or sessionStorage. In a browser that forbids them, the page works without stored values.
 */
export function stored(area: "localStorage" | "sessionStorage", key: string, value?: string): string {
  try {
    if (value === undefined) return window[area].getItem(key) ?? "";
    if (value === "") window[area].removeItem(key);
    else window[area].setItem(key, value);
  } catch {}
  return value ?? "";
}

/** Returns a hue that is the same for a name on every screen (FNV-1a). */
export function hueOf(name: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  // Similar names differ only in the low bits, so the bits are mixed before the remainder is taken.
  hash ^= hash >>> 15;
  return String((Math.imul(hash, 0x2c1b3c6d) >>> 0) % 360);
}

// Not every browser has it.
const { Segmenter } = Intl as { Segmenter?: typeof Intl.Segmenter };
const graphemes = Segmenter && new Segmenter(undefined, { granularity: "grapheme" });

export function avatar(name: string): HTMLElement {
  const [first] = graphemes ? [...graphemes.segment(name)].map((part) => part.segment) : name;
  const node = el("span", { class: "avatar", "aria-hidden": "true" }, (first ?? "?").toLocaleUpperCase());
  node.style.setProperty("--hue", hueOf(name));
  return node;
}

/**
 * Returns a name for use in a sentence. The isolation keeps a right-to-left name from reordering the rest of the
 * sentence.
 */
export const named = (name: string): HTMLElement => el("bdi", {}, name);

export function bubble(text: string, ...rest: Node[]): HTMLElement {
  return el("div", { class: "bubble" }, el("span", { class: "text", dir: "auto" }, text), ...rest);
}

export async function getJson<T>(path: string, signal: AbortSignal): Promise<T> {
  const response = await fetch(path, { signal, cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json() as Promise<T>;
}
