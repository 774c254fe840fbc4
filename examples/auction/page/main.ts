// The page of the auction house: the lobby at `/`, and an auction at `/auctions/ID`.
//
//   main         the addresses, the visitor's identity, the dialogs
//   lobby        the list of the auctions, live
//   lot          an auction: the countdown, the bids, the bid form
//   connection   the banner of a lost connection
//   clock        the server's time
//   money        cents
//   api          the HTTP routes
//   dom          helpers

import type { User } from "../bindings/auction.ts";
import { ApiError, createAuction, signIn, whoami } from "./api.ts";
import { $, avatar } from "./dom.ts";
import { showLobby } from "./lobby.ts";
import { showLot } from "./lot.ts";
import { parseMoney } from "./money.ts";

let user: User | null = null;
/** Ends the screen that is shown. */
let screen = new AbortController();

function show(): void {
  screen.abort();
  screen = new AbortController();
  const main = $("main");
  main.replaceChildren();
  const lot = /^\/auctions\/([0-9a-f]{32})$/.exec(location.pathname);
  if (lot?.[1] !== undefined) showLot(main, lot[1], user, { signIn: askName, go }, screen.signal);
  else showLobby(main, { sell }, screen.signal);
}

function go(path: string): void {
  history.pushState(null, "", path);
  show();
  scrollTo(0, 0);
  $("main").focus({ preventScroll: true });
}

addEventListener("popstate", show);
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[data-link]") : null;
  // A click that opens a new tab is the browser's.
  if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.pathname);
});

// Identity

function showIdentity(): void {
  const button = $("identity");
  button.replaceChildren();
  if (user) button.append(avatar(user.id, user.name), Object.assign(document.createElement("span"), { textContent: user.name }));
  else button.textContent = "Sign in";
  button.title = user ? "Change your name" : "";
}

/** The action that waits for a name. */
let afterName: (() => void) | undefined;

function askName(then?: () => void): void {
  afterName = then;
  $("name", HTMLInputElement).value = user?.name ?? "";
  clearProblems($("sign-in-form", HTMLFormElement));
  $("sign-in", HTMLDialogElement).showModal();
  $("name", HTMLInputElement).select();
}

$("identity").addEventListener("click", () => askName());
$("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void submit($("sign-in-form", HTMLFormElement), async () => {
    const changed = await signIn($("name", HTMLInputElement).value);
    const isNew = user?.id !== changed.id || user.name !== changed.name;
    user = changed;
    showIdentity();
    $("sign-in", HTMLDialogElement).close();
    // The connection belongs to the old identity, so an auction connects anew.
    if (isNew && location.pathname !== "/") show();
    afterName?.();
  }, (error) => showProblem($("sign-in-form", HTMLFormElement), "name", error.message));
});

// A new auction

function sell(): void {
  if (!user) return askName(sell);
  clearProblems($("create-form", HTMLFormElement));
  $("create", HTMLDialogElement).showModal();
}

$("create-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = $("create-form", HTMLFormElement);
  const text = (name: string) => String(new FormData(form).get(name) ?? "");
  clearProblems(form);
  const startPrice = parseMoney(text("start_price"));
  if (startPrice === undefined) {
    showProblem(form, "start_price", "Enter an amount, such as 12.50.");
    return;
  }
  void submit(form, async () => {
    const { id } = await createAuction({
      title: text("title"),
      description: text("description"),
      start_price: startPrice,
      duration_s: Number(text("duration_s")),
      delay_s: Number(text("delay_s")),
    });
    $("create", HTMLDialogElement).close();
    form.reset();
    go(`/auctions/${id}`);
  }, (error) => showProblem(form, error.field ?? "create", error.message));
});

function showProblem(form: HTMLFormElement, field: string, message: string): void {
  $(`${field}-error`).textContent = message;
  const input = form.elements.namedItem(field);
  if (!(input instanceof HTMLElement)) return;
  input.ariaInvalid = "true";
  input.focus();
}

function clearProblems(form: HTMLFormElement): void {
  for (const problem of form.querySelectorAll(".problem")) problem.textContent = "";
  for (const input of form.elements) input.ariaInvalid = null;
}

/** Runs the action of a form, which is disabled meanwhile. */
async function submit(form: HTMLFormElement, action: () => Promise<void>, failed: (error: ApiError) => void): Promise<void> {
  const button = form.querySelector<HTMLButtonElement>("[type=submit]");
  if (!button || button.disabled) return;
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    failed(error);
  } finally {
    button.disabled = false;
  }
}

for (const button of document.querySelectorAll<HTMLElement>("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog")?.close());
}

user = await whoami().catch(() => null);
showIdentity();
show();
