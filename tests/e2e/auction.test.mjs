// The auction example, over the wire and in a real browser: two bidders and a spectator from the first bid to the sale, with a
// killed worker, a late bid, a phone and a desktop; and what strangers may not do.
//
// Screenshots of the page are left in target/e2e/auction-*.png.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test, { after, afterEach, before } from "node:test";
import { assertAccessible, launchBrowser, problemsIn } from "./browser.mjs";
import { Front } from "./front.mjs";
import { ROOT, UpgradeRefused, startWorker } from "./harness.mjs";

const TIMEOUT = 20_000;
/** A restart of the worker, and the longest back-off of the page. */
const RECONNECT_TIMEOUT = 45_000;
const SHOTS = path.join(ROOT, "target", "e2e");
const DESKTOP = { viewport: { width: 1_280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };

let host;
let front;
let browser;
let tabs = [];

before(async () => {
  browser = await launchBrowser();
  fs.mkdirSync(SHOTS, { recursive: true });
  host = await startWorker({ dir: "examples/auction", vars: { SESSION_KEY: "a-key-for-the-tests-0123456789abcdef" } });
  front = await Front.before(host);
});

after(async () => {
  await browser?.close();
  await front?.close();
  await host?.stop();
});

afterEach(async () => {
  const closing = tabs;
  tabs = [];
  await Promise.all(closing.map((tab) => tab.page.context().close()));
  assert.deepEqual(closing.flatMap((tab) => tab.problems), [], "the browser reported no errors");
});

test("an auction from the first bid to the sale, over a killed worker and a late bid", { timeout: 240_000 }, async () => {
  const sally = await signIn("Sally");
  const id = await create(sally, { title: "Brass desk lamp, 1930s", description: "Rewired last year.", duration_s: 60 });

  // The spectator sees the price in the lobby change.
  const eve = await open("/", { ...DESKTOP, colorScheme: "dark" });
  await eve.card(id).getByText("€10", { exact: true }).waitFor();
  const ada = await open("/", DESKTOP);
  await ada.page.getByTestId("identity").click();
  await ada.page.getByTestId("name").fill("Ada");
  await ada.page.keyboard.press("Enter");
  await ada.page.getByTestId("identity").filter({ hasText: "Ada" }).waitFor();
  await ada.card(id).getByRole("link").click();
  await ada.page.getByTestId("lead").filter({ hasText: "Nobody has bid yet." }).waitFor();
  await ada.page.getByTestId("quick").first().click();
  await ada.lead("You have the highest bid.");
  await eve.card(id).getByText("1 bid").waitFor();
  await eve.shoot("auction-lobby-dark");
  await eve.isAccessible("the lobby");

  // The first bidder is outbid by a bidder on a phone.
  const bob = await open(`/auctions/${id}`, PHONE);
  await bob.page.getByTestId("join").tap();
  await bob.page.getByTestId("name").fill("Bob");
  await bob.page.getByTestId("sign-in").tap();
  await bob.lead("Ada has the highest bid.");
  await bob.page.getByTestId("amount").fill("10.50");
  await bob.page.getByTestId("amount").press("Enter");
  await bob.page.getByTestId("bid-error").filter({ hasText: "Too low: €11 or more." }).waitFor();
  await bob.page.getByTestId("amount").fill("12,50");
  await bob.page.getByTestId("amount").press("Enter");
  await bob.lead("You have the highest bid.");
  await ada.page.getByTestId("notice").filter({ hasText: "You were outbid. The next bid is €13.50 or more." }).waitFor();
  await ada.shoot("auction-outbid-light");
  await ada.isAccessible("an outbid bidder");
  await eve.card(id).getByText("€12.50", { exact: true }).waitFor();

  // A maximum is private, and answers a bid at once.
  await ada.page.getByTestId("automatic").check();
  await ada.page.getByTestId("amount").fill("50");
  await ada.page.getByTestId("bid").click();
  await ada.page.getByTestId("maximum").filter({ hasText: "Your maximum: €50." }).waitFor();
  await ada.price("€13.50");
  await bob.page.getByTestId("notice").filter({ hasText: "You were outbid" }).waitFor();
  await bob.page.getByTestId("quick").first().tap();
  await bob.price("€15.50");
  await bob.lead("Ada has the highest bid.");
  assert.ok(!(await bob.page.content()).includes("€50"), "nobody else sees the maximum");
  await bob.isAccessible("the phone");

  await eve.card(id).getByRole("link").click();
  await eve.page.getByTestId("spectators").filter({ hasText: "1 spectator." }).waitFor();
  await eve.page.getByTestId("join").waitFor();
  await eve.hasPeople("Ada", "Bob");
  await ada.page.getByTestId("spectators").filter({ hasText: "1 spectator." }).waitFor();
  await eve.isAccessible("a spectator");

  // The worker is killed. The room, the bids, the seats and the countdown go on.
  await host.kill();
  await ada.page.getByTestId("banner").waitFor();
  assert.ok(await ada.page.getByTestId("bid").isDisabled());
  await ada.shoot("auction-reconnecting");
  await ada.isAccessible("a lost connection");
  await host.restart();
  for (const tab of [ada, bob, eve]) await tab.page.getByTestId("banner").waitFor({ state: "hidden", timeout: RECONNECT_TIMEOUT });
  for (const tab of [ada, bob, eve]) {
    await tab.hasPeople("Ada", "Bob");
    await tab.price("€15.50");
    assert.deepEqual(await tab.bids(), ["€15.50", "€14.50", "€13.50", "€12.50", "€10"]);
  }
  await bob.shoot("auction-phone");

  // A bid in the last seconds extends the auction on every screen.
  await bob.page.locator("[data-testid=timer].urgent").waitFor({ timeout: 60_000 });
  await bob.shoot("auction-urgent-phone");
  const before = (await info(id)).ends_at_ms;
  await bob.page.getByTestId("amount").fill("60");
  await bob.page.getByTestId("bid").tap();
  await bob.lead("You have the highest bid.");
  for (const tab of [ada, bob, eve]) await tab.page.locator("[data-testid=timer][data-extended='1']").waitFor();
  const extended = await info(id);
  assert.ok(extended.ends_at_ms > before && extended.phase === "Running");
  assert.deepEqual((await ada.bids()).slice(0, 2), ["€60", "€50"]);

  await bob.page.getByTestId("end").filter({ hasText: "You won!" }).waitFor({ timeout: 30_000 });
  await ada.page.getByTestId("end").filter({ hasText: "Bob won with €60." }).waitFor();
  await eve.page.getByTestId("end").filter({ hasText: "Bob won with €60." }).waitFor();
  for (const tab of [ada, bob, eve]) assert.ok(await tab.page.getByTestId("bid-form").isHidden());
  const sold = await info(id);
  assert.deepEqual([sold.phase, sold.price, sold.ends_at_ms], ["Sold", 6_000, extended.ends_at_ms]);
  await bob.shoot("auction-won-phone");
  await bob.isAccessible("the winner");
  await ada.shoot("auction-sold-light");

  // The lobby shows the sale.
  await eve.page.getByRole("link", { name: "All auctions" }).click();
  await eve.page.getByTestId("ended").getByText("to Bob").waitFor();
  assert.equal(await eve.page.getByTestId("running").locator(`[data-id="${id}"]`).count(), 0);
  for (const tab of [ada, bob]) assert.equal(await tab.overflow(), 0);
});

test("a lot is put up with the keyboard alone, on a phone too", async () => {
  for (const [size, colorScheme] of [[PHONE, "dark"], [DESKTOP, "light"]]) {
    const name = `auction-create-${colorScheme}`;
    const tab = await open("/", { ...size, colorScheme });
    const { page } = tab;
    await page.getByTestId("sell").focus();
    await page.keyboard.press("Enter");
    await page.getByTestId("name").waitFor();
    await page.keyboard.type("Sally");
    await tab.isAccessible("the name");
    await page.keyboard.press("Enter");
    await page.getByTestId("title").waitFor();
    await page.keyboard.type("A");
    await page.keyboard.press("Enter");
    await page.getByText("A title has 3 to 80 characters, on one line.").waitFor();
    assert.ok(await page.getByTestId("title").evaluate((field) => field === document.activeElement), "the wrong field has the focus");
    await tab.shoot(name);
    await tab.isAccessible("the form");
    assert.equal(await tab.overflow(), 0);
    await page.getByTestId("title").fill(`A chair <b>of ${colorScheme}</b>`);
    await page.getByTestId("start-price").fill("many");
    await page.keyboard.press("Enter");
    await page.getByText("Enter an amount, such as 12.50.").waitFor();
    await page.getByTestId("start-price").fill("99,90");
    await page.getByTestId("delay").selectOption("60");
    await page.getByTestId("start-price").press("Enter");
    await page.getByTestId("lot-title").filter({ hasText: `A chair <b>of ${colorScheme}</b>` }).waitFor();
    await tab.price("€99.90");
    await page.getByText("This is your auction.").waitFor();
    assert.match(await page.getByTestId("timer").textContent(), /^(1:00|0:5\d)$/);
    assert.ok(await page.getByTestId("bid-form").isHidden(), "a seller does not bid");
    await tab.isAccessible("an own auction");
    await page.goBack();
    await page.getByTestId("running").getByText(`A chair <b>of ${colorScheme}</b>`).waitFor();
    await tab.shoot(`auction-lobby-${colorScheme}-${size === PHONE ? "phone" : "desktop"}`);
    assert.equal(await tab.overflow(), 0);
  }
});

test("a page whose network fails gets what it missed, and only that", async (t) => {
  t.after(() => front.up());
  const id = await create(await signIn("Sally"), {});
  const ada = await open(`/auctions/${id}`, DESKTOP);
  await ada.page.getByTestId("join").click();
  await ada.page.getByTestId("name").fill("Ada");
  await ada.page.keyboard.press("Enter");
  await ada.page.getByTestId("quick").first().click();
  await ada.lead("You have the highest bid.");
  // These two do not come through the front.
  const bob = await enter(id, await signIn("Bob"));
  const carol = await enter(id, await signIn("Carol"));
  await ada.hasPeople("Ada", "Bob", "Carol");

  front.down();
  await ada.page.getByTestId("banner").waitFor();
  assert.equal((await bob.call("bid", { amount: 2_000 })).answer.value.is_leading, true);
  assert.equal((await carol.call("bid", { amount: 3_000 })).answer.value.is_leading, true);
  const frames = [];
  ada.page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => frames.push(payload)));
  front.up();
  await ada.page.getByTestId("banner").waitFor({ state: "hidden", timeout: RECONNECT_TIMEOUT });
  await ada.page.getByTestId("notice").filter({ hasText: "You were outbid. The next bid is €31 or more." }).waitFor();
  assert.deepEqual(await ada.bids(), ["€30", "€20", "€10"]);
  await ada.hasPeople("Ada", "Bob", "Carol");
  const text = frames.join("\n");
  assert.ok(text.includes('"Bids"') && !text.includes('"Snapshot"'), text);
});

test("the countdown follows the server's clock and not the page's", async () => {
  const id = await create(await signIn("Sally"), { duration_s: 3_600 });
  // The page's own clock is a day ahead.
  const tab = await open(`/auctions/${id}`, { ...DESKTOP, ahead: 24 * 3_600_000 });
  await tab.page.getByTestId("timer").filter({ hasText: /^(59:\d\d|1:00:00)$/ }).waitFor();
});

test("an auction that does not exist is a page that says so", async () => {
  const tab = await open(`/auctions/${"0".repeat(32)}`, PHONE);
  await tab.page.getByText("There is no such auction").waitFor();
  await tab.isAccessible("the missing auction");
  await tab.page.getByRole("link", { name: "To the lobby" }).tap();
  await tab.page.getByRole("heading", { name: "Live auctions" }).waitFor();
});

test("a bad request gets a typed error", async () => {
  const sally = await signIn("Sally");
  for (const [body, status, field] of [
    [{ title: "A" }, 422, "title"],
    [{ start_price: 0 }, 422, "start_price"],
    [{ start_price: Number.MAX_SAFE_INTEGER }, 422, "start_price"],
    [{ duration_s: 14 }, 422, "duration_s"],
    [{ start_price: 1.5 }, 422, undefined],
    [{ start_price: "10" }, 422, undefined],
  ]) {
    const response = await post("/api/auctions", sally, { ...LOT, ...body });
    const { error } = await response.json();
    assert.deepEqual([response.status, error.field], [status, field], JSON.stringify({ body, error }));
  }
  assert.equal((await post("/api/auctions", "", LOT)).status, 401);
  assert.equal((await host.fetch("/api/auctions/lamp")).status, 404);
  await assert.rejects(host.ws(`/ws/auctions/${"0".repeat(32)}`), (error) => error instanceof UpgradeRefused && error.status === 404);

  const id = await create(sally, {});
  const ada = await enter(id, await signIn("Ada"));
  for (const [args, code] of [[{ amount: -1 }, "decode"], [{ amount: 10.5 }, "decode"], [{ amount: "1000" }, "decode"], [{}, "decode"]]) {
    assert.equal((await ada.call("bid", args)).error.code, code, JSON.stringify(args));
  }
  assert.deepEqual((await ada.call("bid", { amount: 999 })).answer.error, { type: "TooLow", least: 1_000 });
  assert.deepEqual((await ada.call("bid", { amount: 1_000 })).answer.value, { is_leading: true, price: 1_000, least: 1_100 });
  assert.deepEqual((await ada.call("bid", { amount: 5_000 })).answer.error, { type: "OwnBid", price: 1_000 });
  // A function for the Worker only is not there for a page.
  assert.equal((await ada.call("open", { lot: LOT, seller: { id: "x", name: "x" } })).error.code, "decode");
  const seller = await enter(id, sally);
  assert.deepEqual((await seller.call("bid", { amount: 5_000 })).answer.error, { type: "OwnLot" });
});

test("nobody bids with somebody else's identity", async () => {
  const id = await create(await signIn("Sally"), {});
  const ada = await signIn("Ada");
  const adasId = (await (await host.fetch("/api/session", { headers: { cookie: ada } })).json()).id;
  const eve = await signIn("Eve");
  const changed = (cookie) => {
    const [header, , signature] = cookie.slice("session=".length).split(".");
    const [, claims] = ada.slice("session=".length).split(".");
    return `session=${header}.${claims}.${signature}`;
  };
  // Ada's claims with Eve's signature, no cookie, and Ada's id in the address are all spectators, or Eve.
  for (const [cookie, query] of [[changed(eve), ""], ["", ""], ["", `?id=${adasId}&user=${adasId}`], [`session=${adasId}`, ""]]) {
    const peer = await enter(id, cookie, query);
    assert.equal(peer.view.you, null);
    assert.deepEqual((await peer.call("bid", { amount: 2_000 })).answer.error, { type: "SignIn" });
  }
  const peer = await enter(id, eve, `?id=${adasId}`);
  assert.equal(peer.view.you.name, "Eve");
  assert.equal((await peer.call("bid", { amount: 2_000 })).answer.value.is_leading, true);
  assert.equal((await info(id)).leader.name, "Eve");

  // A browser sends the cookie with a WebSocket of another site's page, too, if it does not know `SameSite`.
  const headers = { cookie: ada, origin: "https://evil.example" };
  await assert.rejects(host.ws(`/ws/auctions/${id}`, { headers }), (error) => error instanceof UpgradeRefused && error.status === 403);
  assert.equal((await post("/api/auctions", ada, LOT, { origin: "https://evil.example" })).status, 403);
  // A page of the lobby can only listen.
  const lobby = await host.ws("/ws/lobby");
  await lobby.next({ where: (frame) => frame.type === "Auctions" });
  lobby.send({ type: "Report", listing: { id, title: "x", seller: "x", phase: "Sold", price: 1, bids: 1, leader: "Eve", opens_at_ms: 0, ends_at_ms: 0 } });
  assert.equal((await lobby.next({ where: (frame) => frame.$room?.error })).$room.error.code, "refused");
});

// The Worker

const LOT = { title: "A brass lamp", description: "", start_price: 1_000, duration_s: 600 };

function post(pathname, cookie, body, headers = {}) {
  return host.fetch(pathname, {
    method: "POST",
    headers: { "content-type": "application/json", cookie, ...headers },
    body: JSON.stringify(body),
  });
}

/** Returns the cookie of a new identity. */
async function signIn(name) {
  const response = await post("/api/session", "", { name });
  assert.equal(response.status, 200);
  const cookie = response.headers.get("set-cookie");
  assert.match(cookie, /; HttpOnly; SameSite=Strict/);
  return cookie.split(";")[0];
}

async function create(cookie, lot) {
  const response = await post("/api/auctions", cookie, { ...LOT, ...lot });
  assert.equal(response.status, 201);
  return (await response.json()).id;
}

async function info(id) {
  const response = await host.fetch(`/api/auctions/${id}`);
  assert.equal(response.status, 200);
  return (await response.json()).standing;
}

/** Enters an auction as a client of `room.v1`, and returns its snapshot and a function for calls. */
async function enter(id, cookie, query = "") {
  const client = await host.ws(`/ws/auctions/${id}${query}`, { protocols: ["room.v1"], headers: cookie === "" ? {} : { cookie } });
  const snapshot = (frame) => frame.slice(1).find(({ type }) => type === "Snapshot");
  const { view } = snapshot(await client.next({ where: snapshot }));
  let number = 0;
  const call = async (name, args) => {
    number += 1;
    const own = number;
    client.send([own, name, args]);
    const outcome = (frame) => frame[0].find((control) => control.answer?.n === own || control.error?.n === own);
    return outcome(await client.next({ where: outcome }));
  };
  return { view, call };
}

// The browser

/** Opens a separate browser window. `ahead` is the error of its clock in milliseconds. */
async function open(address, { ahead = 0, ...options } = {}) {
  const context = await browser.newContext({ locale: "en-GB", reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  const problems = problemsIn(page);
  if (ahead > 0) {
    await page.addInitScript((ahead) => {
      const { now } = Date;
      Date.now = () => now() + ahead;
    }, ahead);
  }
  const tab = new Tab(page, problems);
  tabs.push(tab);
  await page.goto(front.url + address);
  return tab;
}

class Tab {
  constructor(page, problems) {
    this.page = page;
    this.problems = problems;
  }

  card(id) {
    return this.page.locator(`[data-testid=card][data-id="${id}"]`);
  }

  lead(text) {
    return this.page.getByTestId("lead").filter({ hasText: text }).waitFor();
  }

  price(text) {
    return this.page.getByTestId("price").getByText(text, { exact: true }).waitFor();
  }

  /** Waits until exactly these bidders are listed and none of them is away. */
  hasPeople(...names) {
    return this.page.waitForFunction((names) => {
      const people = [...document.querySelectorAll("[data-testid=person]:not(.away)")];
      return people.map((node) => node.dataset.name).sort().join() === names.sort().join();
    }, names);
  }

  /** The amounts in the feed, newest first. */
  bids() {
    return this.page.getByTestId("bid-row").locator("strong").allTextContents();
  }

  /** The pixels by which the page is wider than the window. */
  overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  }

  isAccessible(state) {
    return assertAccessible(this.page, state);
  }

  shoot(name) {
    return this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }
}
