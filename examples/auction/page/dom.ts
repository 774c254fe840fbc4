// Small helpers for the document. Text from users becomes a text node and never markup.

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

/** Changes a text only if it differs, so that a screen reader and a selection are left alone. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Returns "1 bid", "2 bids". */
export const counted = (count: number, word: string): string => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;

/** Returns a hue that is the same for an id on every screen (FNV-1a). */
export function hueOf(id: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(id)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash ^= hash >>> 15;
  return String((Math.imul(hash, 0x2c1b3c6d) >>> 0) % 360);
}

/** The picture of a lot: a pattern that its id determines, with the first letter of its title. */
export function art(id: string, title: string): HTMLElement {
  const node = el("div", { class: "art", "aria-hidden": "true" }, el("span", {}, ([...title][0] ?? "?").toLocaleUpperCase()));
  node.style.setProperty("--hue", hueOf(id));
  return node;
}

export function avatar(id: string, name: string): HTMLElement {
  const node = el("span", { class: "avatar", "aria-hidden": "true" }, ([...name][0] ?? "?").toLocaleUpperCase());
  node.style.setProperty("--hue", hueOf(id));
  return node;
}

/**
 * Says something to a screen reader. Of several texts within two seconds it says the last, because a busy auction has more news
 * than anyone can listen to.
 */
export function announce(text: string): void {
  waiting = text;
  timer ??= window.setTimeout(() => {
    timer = undefined;
    $("announcer").textContent = waiting;
  }, 2_000);
}
let waiting = "";
let timer: number | undefined;
