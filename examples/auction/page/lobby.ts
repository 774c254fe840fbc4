// The lobby: the auctions that run or begin soon, and the last ones that ended.

import { connect } from "room-client";
import type { Listing, Lobby } from "../bindings/lobby.ts";
import { URGENT_MS, countdown, everyTick, serverNow, sync } from "./clock.ts";
import { showConnection } from "./connection.ts";
import { announce, art, counted, el, setText } from "./dom.ts";
import { money } from "./money.ts";

const isEnded = ({ phase }: Listing): boolean => phase === "Sold" || phase === "Unsold";

export function showLobby(main: HTMLElement, actions: { sell: () => void }, signal: AbortSignal): void {
  document.title = "Gavel: live auctions";
  const sell = el("button", { class: "primary", type: "button", "data-testid": "sell" }, "Sell something");
  sell.onclick = actions.sell;
  const running = el("ul", { class: "cards", "data-testid": "running" });
  const ended = el("ul", { class: "cards small", "data-testid": "ended" });
  const empty = el("p", { class: "empty" }, "Looking for auctions…");
  const endedSection = el("section", { class: "ended", "aria-labelledby": "ended-title" }, el("h2", { id: "ended-title" }, "Just ended"), ended);
  endedSection.hidden = true;
  main.append(
    el("div", { class: "hero" },
      el("div", {}, el("h1", {}, "Live auctions"), el("p", { class: "quiet" }, "Prices change while you watch. The highest bid wins when the time is up.")),
      sell),
    empty,
    el("section", { "aria-labelledby": "running-title" }, el("h2", { class: "hidden", id: "running-title" }, "Open now"), running),
    endedSection,
  );

  const cards = new Map<string, Card>();

  /** Puts every card into its list, in order. A card that stays is not moved, so that it keeps the focus. */
  function arrange(): void {
    const all = [...cards.values()];
    place(running, all.filter(({ listing }) => !isEnded(listing)).sort((a, b) => a.listing.ends_at_ms - b.listing.ends_at_ms));
    place(ended, all.filter(({ listing }) => isEnded(listing)).sort((a, b) => b.listing.ends_at_ms - a.listing.ends_at_ms));
    endedSection.hidden = ended.childElementCount === 0;
    empty.hidden = running.childElementCount > 0;
    setText(empty, "Nothing is for sale at the moment. Open the first auction.");
  }

  function put(listing: Listing): void {
    const known = cards.get(listing.id);
    if (known) known.update(listing);
    else cards.set(listing.id, new Card(listing));
  }

  const room = connect<Lobby>({ url: "/ws/lobby", reconnect: { baseMs: 500, maxMs: 10_000 }, signal });
  room.on("Auctions", ({ auctions, now_ms: now }) => {
    sync(now);
    const ids = new Set(auctions.map(({ id }) => id));
    for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
    auctions.forEach(put);
    arrange();
  });
  room.on("Listed", ({ listing, now_ms: now }) => {
    sync(now);
    if (!cards.has(listing.id)) announce(`New auction: ${listing.title}`);
    put(listing);
    arrange();
  });
  room.on("Unlisted", ({ id }) => {
    cards.delete(id);
    arrange();
  });
  showConnection(room, signal, () => {});
  everyTick(() => cards.forEach((card) => card.tick()), signal);
}

function place(list: HTMLElement, cards: Card[]): void {
  cards.forEach(({ node }, at) => {
    const there = list.children[at];
    if (there !== node) list.insertBefore(node, there ?? null);
  });
  while (list.children.length > cards.length) list.lastElementChild?.remove();
}

class Card {
  listing: Listing;
  readonly node: HTMLElement;
  readonly #price = el("strong", { class: "price", "data-testid": "card-price" });
  readonly #label = el("span", { class: "quiet" });
  readonly #bids = el("span", { class: "quiet" });
  readonly #time = el("span", { class: "pill", "data-testid": "card-time" });

  constructor(listing: Listing) {
    this.listing = listing;
    const title = el("a", { href: `/auctions/${listing.id}`, "data-link": "", dir: "auto" }, listing.title);
    this.node = el("li", { class: "card", "data-testid": "card", "data-id": listing.id },
      el("div", { class: "frame" }, art(listing.id, listing.title), this.#time),
      el("div", { class: "body" },
        el("h3", {}, title),
        el("p", { class: "quiet" }, "from ", el("bdi", {}, listing.seller)),
        el("div", { class: "row" }, el("div", {}, this.#label, this.#price), this.#bids)));
    this.update(listing);
  }

  update(listing: Listing): void {
    const isNews = listing.price !== this.listing.price;
    this.listing = listing;
    this.node.dataset.phase = listing.phase;
    setText(this.#price, money(listing.price));
    const label = { Upcoming: "Starts at", Running: listing.bids > 0 ? "Highest bid" : "Starts at", Sold: "Sold for", Unsold: "No bids" };
    setText(this.#label, label[listing.phase]);
    this.#price.hidden = listing.phase === "Unsold";
    setText(this.#bids, listing.phase === "Sold" ? `to ${listing.leader ?? ""}` : counted(listing.bids, "bid"));
    if (isNews) this.#price.animate?.([{ color: "var(--good)" }, {}], 1_200);
    this.tick();
  }

  tick(): void {
    const { phase, opens_at_ms: opens, ends_at_ms: ends } = this.listing;
    const now = serverNow();
    const left = ends - now;
    const isOpen = phase === "Running" || (phase === "Upcoming" && now >= opens);
    setText(this.#time,
      phase === "Sold" ? "Sold" : phase === "Unsold" ? "Unsold"
      : !isOpen ? `Begins in ${countdown(opens - now)}`
      : left <= 0 ? "Closing…" : countdown(left));
    this.#time.classList.toggle("urgent", isOpen && left <= URGENT_MS);
  }
}
