// The screen of an auction. The room's snapshot and its messages make one view; `#render` shows it.

import { connect, type Room } from "room-client";
import type { Auction, Bid, BidError, Standing, User, View } from "../bindings/auction.ts";
import { ApiError, infoOf } from "./api.ts";
import { URGENT_MS, countdown, everyTick, serverNow, sync } from "./clock.ts";
import { showConnection } from "./connection.ts";
import { announce, art, avatar, counted, el, setText } from "./dom.ts";
import { money, parseMoney, plain } from "./money.ts";

interface Actions {
  signIn: () => void;
  go: (path: string) => void;
}

const MAX_FEED = 200;
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Shows an auction until the signal. */
export function showLot(main: HTMLElement, id: string, user: User | null, actions: Actions, signal: AbortSignal): void {
  document.title = "Auction · Gavel";
  main.append(el("p", { class: "empty" }, "Opening the auction…"));
  // A page does not see why a WebSocket is refused, so it asks for the auction first.
  infoOf(id).then(
    () => {
      if (!signal.aborted) new LotScreen(main, id, user, actions, signal);
    },
    (error: unknown) => {
      if (signal.aborted) return;
      const isMissing = error instanceof ApiError && error.status === 404;
      const again = el("button", { class: "primary", type: "button" }, "Try again");
      again.onclick = () => actions.go(location.pathname);
      main.replaceChildren(
        el("div", { class: "empty" },
          el("h1", {}, isMissing ? "There is no such auction" : "The auction cannot be reached"),
          el("p", {}, isMissing ? "It may have ended long ago." : "Check your connection."),
          isMissing ? el("a", { href: "/", "data-link": "" }, "To the lobby") : again),
      );
    },
  );
}

class LotScreen {
  readonly #main: HTMLElement;
  readonly #id: string;
  readonly #user: User | null;
  readonly #room: Room<Auction>;
  #view: View | undefined;
  #isOpen = false;
  #isBusy = false;
  #isOutbid = false;
  /** The last second that was announced to a screen reader. */
  #announced = Infinity;

  // The parts that change. The others are built once, with the first snapshot.
  readonly #timer = el("div", { class: "timer", role: "timer", "data-testid": "timer" });
  readonly #timerLabel = el("span", { class: "quiet" });
  readonly #price = el("strong", { class: "amount", "data-testid": "price" });
  readonly #priceLabel = el("span", { class: "quiet" });
  readonly #lead = el("p", { class: "lead", "data-testid": "lead" });
  readonly #notice = el("div", { class: "notice", role: "alert", "data-testid": "notice" });
  readonly #end = el("div", { class: "outcome", role: "status", "data-testid": "end" });
  readonly #form = el("form", { class: "bid-form", novalidate: "", "data-testid": "bid-form" });
  readonly #quick = el("div", { class: "quick", role: "group", "aria-label": "Quick bids" });
  readonly #amount = el("input", {
    id: "amount", inputmode: "decimal", autocomplete: "off", "aria-describedby": "amount-hint amount-error", "data-testid": "amount",
  });
  readonly #label = el("label", { for: "amount" });
  readonly #hint = el("p", { class: "quiet", id: "amount-hint" });
  readonly #problem = el("p", { class: "problem", id: "amount-error", role: "alert", "data-testid": "bid-error" });
  readonly #bid = el("button", { class: "primary", type: "submit", "data-testid": "bid" }, "Bid");
  readonly #automatic = el("input", { type: "checkbox", id: "automatic", "data-testid": "automatic" });
  readonly #maximum = el("p", { class: "maximum", "data-testid": "maximum" });
  readonly #join = el("div", { class: "join" });
  readonly #feed = el("ol", { class: "feed", "data-testid": "feed", "aria-label": "Bids, newest first" });
  readonly #earlier = el("button", { class: "plain", type: "button", "data-testid": "earlier" }, "Show earlier bids");
  readonly #noBids = el("p", { class: "quiet" }, "No bids yet. Be the first.");
  readonly #people = el("ul", { class: "people", "data-testid": "people", "aria-label": "Bidders who are here" });
  readonly #spectators = el("p", { class: "quiet", "data-testid": "spectators" });

  constructor(main: HTMLElement, id: string, user: User | null, actions: Actions, signal: AbortSignal) {
    this.#main = main;
    this.#id = id;
    this.#user = user;
    const join = el("button", { class: "primary", type: "button", "data-testid": "join" }, "Join the bidding");
    join.onclick = () => actions.signIn();
    this.#join.append(el("p", {}, "You are watching. Enter a name to bid."), join);
    this.#listen();
    this.#room = connect<Auction>({ url: `/ws/auctions/${id}`, reconnect: { baseMs: 500, maxMs: 10_000 }, signal, autoConnect: false });
    this.#follow();
    showConnection(this.#room, signal, (isOpen) => {
      this.#isOpen = isOpen;
      this.#render();
    });
    this.#room.open();
    everyTick(() => this.#tick(), signal);
  }

  // The room

  #follow(): void {
    const room = this.#room;
    const change = (run: (view: View) => void) => {
      // The snapshot is the first message of a new peer.
      if (!this.#view) return;
      run(this.#view);
      this.#render();
    };
    const stand = (view: View, standing: Standing) => {
      sync(standing.now_ms);
      view.standing = standing;
    };
    room.on("Snapshot", ({ view }) => {
      sync(view.standing.now_ms);
      const isFirst = this.#view === undefined;
      this.#view = view;
      if (isFirst) this.#build(view);
      this.#isOutbid = false;
      this.#feed.replaceChildren(...view.bids.map((bid) => this.#row(bid)));
      this.#render();
      if (this.#amount.value === "") this.#suggest();
    });
    room.on("Clock", ({ now_ms: now }) => sync(now));
    room.on("Opened", ({ standing }) => change((view) => {
      stand(view, standing);
      announce("The bidding is open.");
    }));
    room.on("Bids", ({ standing, bids, is_extended: isExtended }) => change((view) => {
      stand(view, standing);
      for (const bid of [...bids].reverse()) this.#prepend(bid);
      const newest = bids[0];
      if (newest) announce(`${this.#isMe(newest.user_id) ? "You bid" : `${newest.name} bids`} ${money(newest.amount)}.`);
      if (isExtended) this.#extended();
      if (!this.#isMe(standing.leader?.id)) view.maximum = null;
      else this.#isOutbid = false;
      this.#showProblem("");
      this.#suggest();
    }));
    room.on("Closed", ({ standing }) => change((view) => {
      stand(view, standing);
      this.#isOutbid = false;
    }));
    room.on("Outbid", () => change((view) => {
      view.maximum = null;
      this.#isOutbid = true;
    }));
    room.on("Maximum", ({ amount }) => change((view) => (view.maximum = amount)));
    // `Closed` says the same to everyone; this one reaches the winner's other tabs and a winner who was away.
    room.on("Won", ({ price }) => announce(`You won with ${money(price)}.`));
    room.on("Joined", ({ user }) => change((view) => {
      view.people = [...view.people.filter((person) => person.user.id !== user.id), { user, is_away: false }];
    }));
    const away = (id: string, isAway: boolean) => change((view) => {
      view.people = view.people.map((person) => (person.user.id === id ? { ...person, is_away: isAway } : person));
    });
    room.on("Away", ({ id }) => away(id, true));
    room.on("Back", ({ id }) => away(id, false));
    room.on("Left", ({ id }) => change((view) => (view.people = view.people.filter((person) => person.user.id !== id))));
    room.on("Spectators", ({ count }) => change((view) => (view.spectators = count)));
    room.onError((error) => this.#showProblem(`The room: ${error.message}.`));
  }

  #isMe(id: string | undefined): boolean {
    return id !== undefined && id === this.#user?.id;
  }

  // The form

  #listen(): void {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const amount = parseMoney(this.#amount.value);
      if (amount === undefined) {
        this.#showProblem("Enter an amount, such as 12.50.");
        this.#amount.focus();
        return;
      }
      void this.#place(amount, this.#automatic.checked || this.#isLeading());
    });
    this.#automatic.addEventListener("change", () => this.#render());
    this.#earlier.addEventListener("click", () => void this.#showEarlier());
  }

  async #place(amount: number, isMaximum: boolean): Promise<void> {
    if (this.#isBusy || !this.#isOpen) return;
    this.#isBusy = true;
    this.#showProblem("");
    this.#render();
    const name = isMaximum ? "set_maximum" : "bid";
    try {
      const placed = await this.#room.call[name]({ amount });
      if (placed.is_leading) {
        this.#isOutbid = false;
        announce(isMaximum ? `Your maximum is ${money(amount)}.` : `You have the highest bid: ${money(placed.price)}.`);
      }
    } catch (error) {
      this.#showProblem(this.#room.isCallError(name, error) ? problemOf(error.error)
        : error instanceof Error ? `Not accepted: ${error.message}.` : String(error));
    } finally {
      this.#isBusy = false;
      this.#render();
      this.#suggest();
    }
  }

  #showProblem(text: string): void {
    this.#problem.textContent = text;
    this.#amount.ariaInvalid = String(text !== "");
  }

  /** Puts the least bid into an input that the user is not writing in. */
  #suggest(): void {
    const view = this.#view;
    if (!view || document.activeElement === this.#amount && this.#amount.value !== "") return;
    const least = this.#isLeading() ? Math.max(view.maximum ?? 0, view.standing.least) : view.standing.least;
    this.#amount.value = plain(least);
  }

  #isLeading(): boolean {
    return this.#isMe(this.#view?.standing.leader?.id);
  }

  async #showEarlier(): Promise<void> {
    const last = this.#feed.lastElementChild;
    if (!(last instanceof HTMLElement)) return;
    try {
      const bids = await this.#room.call.history({ before: Number(last.dataset.seq) });
      this.#feed.append(...bids.map((bid) => this.#row(bid)));
    } catch (error) {
      console.warn("could not load earlier bids:", error);
    }
    this.#render();
  }

  // The display

  #build({ lot, seller }: View): void {
    document.title = `${lot.title} · Gavel`;
    const automatic = el("label", { class: "check", for: "automatic" }, this.#automatic, "Bid for me up to this amount");
    this.#form.append(
      this.#quick,
      this.#label,
      el("div", { class: "row" }, this.#amount, this.#bid),
      this.#hint, this.#problem, automatic,
    );
    this.#main.replaceChildren(
      el("p", { class: "crumb" }, el("a", { href: "/", "data-link": "" }, "← All auctions")),
      el("div", { class: "lot" },
        el("section", { class: "about", "aria-labelledby": "lot-title" },
          art(this.#id, lot.title),
          el("h1", { id: "lot-title", dir: "auto", "data-testid": "lot-title" }, lot.title),
          el("p", { class: "quiet" }, "Offered by ", el("bdi", {}, seller.name)),
          ...(lot.description === "" ? [] : [el("p", { class: "description", dir: "auto" }, lot.description)])),
        el("section", { class: "panel", "aria-label": "Bidding" },
          el("div", { class: "stand" },
            el("div", {}, this.#priceLabel, this.#price),
            el("div", { class: "right" }, this.#timerLabel, this.#timer)),
          this.#lead, this.#notice, this.#end, this.#join, this.#form, this.#maximum),
        el("section", { class: "history", "aria-labelledby": "bids-title" },
          el("h2", { id: "bids-title" }, "Bids"), this.#noBids, this.#feed, this.#earlier),
        el("section", { class: "present", "aria-labelledby": "people-title" },
          el("h2", { id: "people-title" }, "Here now"), this.#people, this.#spectators)),
    );
  }

  #row(bid: Bid): HTMLElement {
    const isMine = this.#isMe(bid.user_id);
    const who = el("span", { class: "who" }, el("bdi", {}, isMine ? "You" : bid.name));
    if (bid.is_automatic) who.append(el("span", { class: "tag" }, "automatic"));
    const at = new Date(bid.at_ms);
    return el("li", { class: isMine ? "mine" : "", "data-seq": String(bid.seq), "data-testid": "bid-row" },
      avatar(bid.user_id, bid.name), who,
      el("strong", {}, money(bid.amount)),
      el("time", { class: "quiet", datetime: at.toISOString() }, time.format(at)));
  }

  /** Adds a new bid. A row that the list has already, from a snapshot, is not added again. */
  #prepend(bid: Bid): void {
    const first = this.#feed.firstElementChild;
    if (first instanceof HTMLElement && Number(first.dataset.seq) >= bid.seq) return;
    this.#feed.prepend(this.#row(bid));
    if (this.#feed.childElementCount > MAX_FEED) this.#feed.lastElementChild?.remove();
  }

  #extended(): void {
    this.#timer.dataset.extended = String(Number(this.#timer.dataset.extended ?? 0) + 1);
    this.#timer.animate?.([{ transform: "scale(1.18)" }, { transform: "none" }], { duration: 500, easing: "ease-out" });
    announce("A late bid: the time was extended.");
    this.#announced = Infinity;
  }

  #render(): void {
    const view = this.#view;
    if (!view) return;
    const { standing } = view;
    const isLeading = this.#isLeading();
    const isOver = standing.phase === "Sold" || standing.phase === "Unsold";
    const isSeller = this.#isMe(view.seller.id);
    this.#main.dataset.phase = standing.phase;

    setText(this.#priceLabel, standing.phase === "Sold" ? "Sold for" : standing.bids > 0 ? "Highest bid" : "Starts at");
    setText(this.#price, money(standing.price));
    const leader = standing.leader ? (isLeading ? "You have the highest bid." : `${standing.leader.name} has the highest bid.`) : "Nobody has bid yet.";
    setText(this.#lead, isOver ? "" : leader);
    this.#lead.classList.toggle("good", isLeading);
    this.#lead.hidden = isOver;

    const outbid = this.#isOutbid && !isLeading && !isOver ? `You were outbid. The next bid is ${money(standing.least)} or more.` : "";
    setText(this.#notice, outbid);
    this.#notice.hidden = outbid === "";
    this.#renderEnd(isLeading, isOver);

    this.#join.hidden = this.#user !== null || isOver;
    this.#form.hidden = this.#user === null || isSeller || isOver;
    const isDisabled = !this.#isOpen || this.#isBusy || standing.phase === "Upcoming";
    for (const control of [this.#bid, this.#amount, this.#automatic]) control.disabled = isDisabled && control !== this.#amount;
    this.#automatic.parentElement?.toggleAttribute("hidden", isLeading);
    setText(this.#bid, this.#isBusy ? "Sending…" : isLeading || this.#automatic.checked ? "Set maximum" : "Place bid");
    setText(this.#label, isLeading || this.#automatic.checked ? "Your maximum in €" : "Your bid in €");
    setText(this.#hint,
      isLeading ? "The room bids for you up to this amount. Nobody else sees it."
      : this.#automatic.checked ? `At least ${money(standing.least)}. The room bids as little as it must. Nobody else sees your maximum.`
      : `At least ${money(standing.least)}.`);
    this.#quick.hidden = isLeading;
    this.#renderQuick(standing, isDisabled);
    const isProxy = view.maximum !== null && view.maximum > standing.price;
    setText(this.#maximum, isSeller && !isOver ? "This is your auction. You can watch the bids come in."
      : isProxy && isLeading && !isOver ? `Your maximum: ${money(view.maximum ?? 0)}. The room bids for you.` : "");
    this.#maximum.hidden = this.#maximum.textContent === "";

    this.#noBids.hidden = this.#feed.childElementCount > 0;
    setText(this.#noBids, isOver ? "There were no bids." : "No bids yet. Be the first.");
    const oldest = this.#feed.lastElementChild;
    this.#earlier.hidden = !(oldest instanceof HTMLElement) || Number(oldest.dataset.seq) <= 1;
    this.#renderPeople(view);
    this.#tick();
  }

  #renderEnd(isLeading: boolean, isOver: boolean): void {
    const { standing } = this.#view as View;
    this.#end.hidden = !isOver;
    const kind = !isOver ? "" : isLeading ? "won" : standing.phase === "Sold" ? "sold" : "unsold";
    if (this.#end.dataset.kind === kind) return;
    this.#end.dataset.kind = kind;
    const price = money(standing.price);
    const [title, text] = {
      "": ["", ""],
      won: ["You won!", `The lot is yours for ${price}.`],
      sold: ["Sold", `${standing.leader?.name ?? ""} won with ${price}.`],
      unsold: ["Not sold", "Nobody bid for this lot."],
    }[kind] as [string, string];
    this.#end.replaceChildren(...(isOver ? [el("strong", {}, title), el("p", { dir: "auto" }, text)] : []));
    if (kind === "won") {
      this.#end.prepend(el("div", { class: "confetti", "aria-hidden": "true" }, ...Array.from({ length: 14 }, () => el("i"))));
    }
  }

  #renderQuick({ least, step }: Standing, isDisabled: boolean): void {
    const amounts = [least, least + step, least + 4 * step];
    if (this.#quick.childElementCount === 0) {
      this.#quick.append(...amounts.map(() => {
        const button = el("button", { type: "button", "data-testid": "quick" });
        button.onclick = () => void this.#place(Number(button.value), this.#automatic.checked);
        return button;
      }));
    }
    // The buttons stay, so that one keeps the focus while the price changes.
    [...this.#quick.children].forEach((button, at) => {
      if (!(button instanceof HTMLButtonElement)) return;
      button.value = String(amounts[at] ?? least);
      setText(button, money(amounts[at] ?? least));
      button.disabled = isDisabled;
    });
  }

  #renderPeople({ people, spectators }: View): void {
    const key = JSON.stringify(people);
    if (this.#people.dataset.key !== key) {
      this.#people.dataset.key = key;
      this.#people.replaceChildren(...people.map(({ user, is_away: isAway }) =>
        el("li", { class: isAway ? "away" : "", "data-testid": "person", "data-name": user.name },
          avatar(user.id, user.name), el("bdi", {}, this.#isMe(user.id) ? `${user.name} (you)` : user.name),
          ...(isAway ? [el("span", { class: "quiet" }, "away")] : []))));
    }
    const bidders = people.length === 0 ? "No bidders yet. " : "";
    setText(this.#spectators, `${bidders}${spectators === 0 ? "No spectators." : `${counted(spectators, "spectator")}.`}`);
  }

  /** Shows the time that is left. The room decides the end: at zero, the page waits for its message. */
  #tick(): void {
    const standing = this.#view?.standing;
    if (!standing) return;
    const now = serverNow();
    const isOver = standing.phase === "Sold" || standing.phase === "Unsold";
    const isUpcoming = standing.phase === "Upcoming" && now < standing.opens_at_ms;
    const left = (isUpcoming ? standing.opens_at_ms : standing.ends_at_ms) - now;
    const isUrgent = !isOver && !isUpcoming && left <= URGENT_MS;
    setText(this.#timerLabel, isOver ? "Ended" : isUpcoming ? "Begins in" : isUrgent ? "Last seconds" : "Ends in");
    setText(this.#timer, isOver ? time.format(new Date(standing.ends_at_ms)) : left <= 0 ? "Closing…" : countdown(left));
    this.#timer.classList.toggle("urgent", isUrgent);
    this.#timer.classList.toggle("done", isOver);
    if (isOver || isUpcoming) return;
    for (const seconds of [60, 10]) {
      if (left <= seconds * 1_000 && left > seconds * 1_000 - 2_000 && this.#announced > seconds) {
        this.#announced = seconds;
        announce(`${seconds} seconds left.`);
      }
    }
  }
}

function problemOf(error: BidError): string {
  switch (error.type) {
    case "NotStarted": return "The bidding has not begun yet.";
    case "Closed": return "Too late: the auction has closed.";
    case "SignIn": return "Enter a name before you bid.";
    case "OwnLot": return "You cannot bid for your own lot.";
    case "OwnBid": return `You have the highest bid already: ${money(error.price)}.`;
    case "TooLow": return `Too low: ${money(error.least)} or more.`;
    case "TooHigh": return `Too high: ${money(error.most)} at most.`;
  }
}
