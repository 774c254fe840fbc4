// The document example with unmodified clients: the provider of y-websocket in Node.js and in the page, over real sockets. Hostile
// frames come from raw sockets beside them.
//
// Screenshots of the page are left in target/e2e/document-*.png.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { assertAccessible, launchBrowser, problemsIn } from "./browser.mjs";
import { Front } from "./front.mjs";
import { ROOT, startWorker } from "./harness.mjs";
import { BINARY, Raw } from "./raw.mjs";

const TIMEOUT = 15_000;
const RECONNECT_TIMEOUT = 45_000;
/** workerd hibernates an object after about 10 s without work, and does not announce it. */
const IDLE_MS = 12_000;
const SHOTS = path.join(ROOT, "target", "e2e");

let host;
let front;
let browser;
let clients = [];
let tabs = [];

before(async () => {
  fs.mkdirSync(SHOTS, { recursive: true });
  browser = await launchBrowser();
  host = await startWorker({ dir: "examples/document" });
  front = await Front.before(host);
});

after(async () => {
  await browser?.close();
  await front?.close();
  await host?.stop();
});

afterEach(async () => {
  for (const { provider, doc } of clients) {
    provider.destroy();
    // It also ends the timer of the awareness.
    doc.destroy();
  }
  const closing = tabs;
  [clients, tabs] = [[], []];
  front?.up();
  await Promise.all(closing.map(({ page }) => page.context().close()));
  assert.deepEqual(closing.flatMap(({ problems }) => problems), [], "the browser reported no errors");
});

/** An unmodified client. The front keeps its address when the worker restarts. */
async function join(name, user, { disableBc = true } = {}) {
  const doc = new Y.Doc();
  const provider = new WebsocketProvider(`${front.url.replace("http", "ws")}/ws`, name, doc, {
    WebSocketPolyfill: WebSocket,
    disableBc,
  });
  // Also the state that the constructor set: a client without a user is not there for the others.
  provider.awareness.setLocalState(user === undefined ? null : { user: { name: user, color: "#1c72b8" } });
  const client = { doc, provider, text: doc.getText("text"), awareness: provider.awareness };
  clients.push(client);
  await synced(client);
  return client;
}

/** Waits for an event of the client after which the condition holds. */
async function until(client, what, holds, timeout = TIMEOUT) {
  const { promise, resolve, reject } = Promise.withResolvers();
  const check = () => holds() && resolve();
  const timer = setTimeout(() => reject(new Error(`waited ${timeout} ms for ${what}`)), timeout);
  const sources = [[client.doc, "update"], [client.awareness, "update"], [client.provider, "sync"], [client.provider, "status"], [client.provider, "closed"]];
  for (const [source, event] of sources) source.on(event, check);
  try {
    check();
    await promise;
  } finally {
    clearTimeout(timer);
    for (const [source, event] of sources) source.off(event, check);
  }
}

const synced = (client, timeout) => until(client, "a synced connection", () => client.provider.synced, timeout);
const hasText = (client, text, timeout) => until(client, `the text ${text}`, () => client.text.toString() === text, timeout);
const usersOf = (client) =>
  [...client.awareness.getStates()].filter(([id]) => id !== client.doc.clientID).map(([, state]) => state?.user?.name).sort();
const sees = (client, ...names) =>
  until(client, `the users ${names}`, () => String(usersOf(client)) === String(names.sort()), RECONNECT_TIMEOUT);

// Clients of other rooms may still be there, and their rooms load their documents whenever they wake.
function loads(id) {
  const events = host.logs().match(/\{[^{}]*message: 'loaded the document'[^{}]*\}/g) ?? [];
  return events.filter((event) => event.includes(`id: '${id}'`)).length;
}

async function restart() {
  front.down();
  await host.kill();
  await host.restart();
  front.up();
}

test("unmodified clients edit one text and see each other", async () => {
  const [ada, bob, eve] = [await join("notes", "Ada"), await join("notes", "Bob"), await join("notes", "Eve")];
  const other = await join("other", "Zed");
  ada.text.insert(0, "Hello");
  await hasText(bob, "Hello");
  bob.text.insert(5, ", 🦀!");
  await Promise.all([ada, eve].map((client) => hasText(client, "Hello, 🦀!")));
  await sees(ada, "Bob", "Eve");
  await sees(eve, "Ada", "Bob");
  eve.provider.disconnect();
  await sees(ada, "Bob");
  // A connection that breaks, and not only one that says goodbye.
  bob.provider.shouldConnect = false;
  bob.provider.ws.terminate();
  await sees(ada);
  assert.equal(other.text.toString(), "");
  assert.deepEqual(usersOf(other), []);
});

test("many clients that write at once converge", async () => {
  const many = await Promise.all(Array.from({ length: 6 }, (_, at) => join("many", `User ${at}`)));
  for (let round = 0; round < 25; round += 1) {
    for (const [at, { text }] of many.entries()) {
      text.insert((round * 7 + at) % (text.length + 1), `${at}`);
      if (round % 5 === 4) text.delete(0, 2);
    }
  }
  for (const [at, { doc }] of many.entries()) doc.getMap("done").set(String(at), true);
  await Promise.all(many.map((client) => until(client, "all edits", () => client.doc.getMap("done").size === 6)));
  const texts = new Set(many.map(({ text }) => text.toString()));
  assert.equal(texts.size, 1);
  assert.equal([...texts][0].length, 6 * 25 - 6 * 5 * 2);
});

test("offline edits join those made meanwhile", async () => {
  const [ada, bob] = [await join("offline", "Ada"), await join("offline", "Bob")];
  ada.text.insert(0, "one two");
  await hasText(bob, "one two");
  bob.provider.disconnect();
  bob.text.insert(7, " three");
  ada.text.insert(0, "zero ");
  bob.provider.connect();
  await Promise.all([ada, bob].map((client) => hasText(client, "zero one two three")));
});

test("a document survives a kill of the process, and its clients go on by themselves", async () => {
  const [ada, bob] = [await join("killed", "Ada"), await join("killed", "Bob")];
  ada.text.insert(0, "before");
  await hasText(bob, "before");
  await restart();
  // Nobody who was there before answers for the document: this one has it from the room.
  const eve = await join("killed", "Eve");
  assert.equal(eve.text.toString(), "before");
  await Promise.all([synced(ada, RECONNECT_TIMEOUT), synced(bob, RECONNECT_TIMEOUT)]);
  bob.text.insert(6, " and after");
  await Promise.all([ada, eve].map((client) => hasText(client, "before and after")));
  await sees(eve, "Ada", "Bob");
  await sees(ada, "Bob", "Eve");
});

test("a hibernating room has the text and the present, and removes who leaves", async () => {
  const [ada, bob] = [await join("asleep", "Ada"), await join("asleep", "Bob")];
  // Without states nothing is renewed, and the room can hibernate. Ada and Bob are known by their sockets only.
  ada.text.insert(0, "kept");
  await hasText(bob, "kept");
  await sees(ada, "Bob");
  const quiet = await join("quiet");
  quiet.text.insert(0, "quiet");
  const before = loads("quiet");
  await sleep(IDLE_MS);
  quiet.text.insert(5, "er");
  const late = await join("quiet");
  assert.equal(late.text.toString(), "quieter");
  assert.equal(loads("quiet"), before + 1, "the room had left memory, and read its document once");

  ada.text.insert(4, "!");
  await hasText(bob, "kept!");
  bob.provider.shouldConnect = false;
  bob.provider.ws.terminate();
  await sees(ada);
});

test("idle clients stay connected", async () => {
  const ada = await join("idle", "Ada");
  const closes = [];
  ada.provider.on("connection-close", (event) => closes.push(event));
  const before = loads("idle");
  // The provider closes a connection without messages after 30 seconds. Its own states come back every 15 seconds.
  const last = ada.awareness.meta.get(ada.doc.clientID).clock;
  await until(ada, "three renewals", () => ada.awareness.meta.get(ada.doc.clientID).clock >= last + 3, 60_000);
  assert.deepEqual(closes, []);
  assert.ok(ada.provider.synced);
  assert.ok(before > 0, "the document was loaded once");
  assert.equal(loads("idle"), before, "a state reads no document");
});

test("hostile frames end their own connection and harm nobody", async () => {
  const [ada, bob] = [await join("hostile", "Ada"), await join("hostile", "Bob")];
  ada.text.insert(0, "safe");
  await hasText(bob, "safe");
  await sees(bob, "Ada");
  const state = Y.encodeStateAsUpdate(ada.doc);
  const withLength = (bytes) => {
    const length = [];
    for (let rest = bytes.length; ; rest = Math.floor(rest / 128)) {
      length.push(rest < 128 ? rest : (rest % 128) | 128);
      if (rest < 128) return [...length, ...bytes];
    }
  };
  const hostile = [
    ["nothing", [], 4400],
    ["an unknown type", [9, 1, 2], 4400],
    ["a length without its bytes", [0, 2, 255, 255, 255, 255, 15], 4400],
    ["an update that claims 2^28 clients", [0, 2, 5, 255, 255, 255, 127, 0], 4400],
    ["a half update", [0, 2, ...withLength(state.slice(0, state.length / 2))], 4400],
    ["a state that is no JSON", [1, ...withLength([1, 5, 1, 1, 123])], 4400],
    ["a client id that JavaScript cannot read", [1, ...withLength([1, 255, 255, 255, 255, 255, 255, 255, 127, 1, 2, 34, 34])], 4400],
    ["a frame that is too large", Buffer.alloc((1 << 20) + 1), 4413],
  ];
  for (const [what, bytes, code] of hostile) {
    const raw = await Raw.open(host);
    await raw.upgrade("/ws/hostile");
    raw.frame(Buffer.from(bytes), { opcode: BINARY });
    assert.equal((await raw.closed()).code, code, what);
    raw.destroy();
  }
  const text = await Raw.open(host);
  await text.upgrade("/ws/hostile");
  text.frame("hello");
  assert.equal((await text.closed()).code, 4400);
  text.destroy();

  // Damaged updates, of which some make sense by chance: whatever the others get, they can read it.
  let random = 42;
  const next = (bound) => (random = (random * 1_103_515_245 + 12_345) % 2_147_483_648) % bound;
  const mallory = await Raw.open(host);
  await mallory.upgrade("/ws/hostile");
  for (let round = 0; round < 150; round += 1) {
    const raw = await Raw.open(host);
    await raw.upgrade("/ws/hostile");
    const damaged = Buffer.from(state);
    damaged[next(damaged.length)] = next(256);
    raw.frame(Buffer.from([0, 2, ...withLength(damaged)]), { opcode: BINARY });
    // The answer to the query shows that the room goes on, and is there unless the update has closed the connection.
    raw.frame(Buffer.from([0, 0, 1, 0]), { opcode: BINARY });
    await raw.next();
    raw.destroy();
  }
  mallory.destroy();
  const answer = `${ada.text.toString()} and sound`;
  ada.text.insert(ada.text.length, " and sound");
  await hasText(bob, answer);
  assert.ok(ada.provider.synced && bob.provider.synced);
  const eve = await join("hostile", "Eve");
  assert.equal(eve.text.toString(), answer);
});

test("nobody removes another from the list", async () => {
  const [ada, bob] = [await join("spoofed", "Ada"), await join("spoofed", "Bob")];
  await sees(bob, "Ada");
  const eve = await join("spoofed", "Eve");
  await sees(bob, "Ada", "Eve");
  const raw = await Raw.open(host);
  await raw.upgrade("/ws/spoofed");
  const id = ada.doc.clientID;
  const number = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...number(Math.floor(n / 128))]);
  const update = [1, ...number(id), ...number(1_000), 4, ...Buffer.from("null")];
  raw.frame(Buffer.from([1, ...number(update.length), ...update]), { opcode: BINARY });
  raw.frame(Buffer.from([3]), { opcode: BINARY });
  // The answer to the query follows the attempt.
  await raw.next();
  raw.destroy();
  bob.text.insert(0, "x");
  await hasText(ada, "x");
  assert.deepEqual(usersOf(bob), ["Ada", "Eve"]);
});

test("a full document closes the connection of who writes, for good", async () => {
  const ada = await join("full", "Ada");
  const ended = new Promise((resolve) => ada.provider.on("closed", resolve));
  const noise = () => Array.from({ length: 900_000 }, () => String.fromCharCode(97 + Math.floor(Math.random() * 26))).join("");
  for (let part = 0; part < 5; part += 1) ada.text.insert(0, noise());
  assert.deepEqual(await ended, { code: 4413, reason: "the document is full: it has at most 4194304 bytes and 100000 parts" });
  const bob = await join("full", "Bob");
  assert.equal(bob.text.length, 4 * 900_000);
});

test("the name of a document is the rest of the path", async () => {
  const slashed = await join("team/plan b", "Ada");
  slashed.text.insert(0, "slashes");
  const again = await join("team%2Fplan%20b", "Bob");
  await hasText(again, "slashes");
  for (const [route, status] of [["/ws/%zz", 400], ["/ws/", 404], [`/ws/${"x".repeat(200)}`, 400]]) {
    assert.equal((await host.fetch(route)).status, status, route);
  }
  assert.equal((await host.fetch("/ws/notes")).status, 426);
});

async function open(pathname, { user, colorScheme = "light", viewport = { width: 1280, height: 800 }, hasTouch = false } = {}) {
  const context = await browser.newContext({ colorScheme, viewport, hasTouch });
  if (user !== undefined) await context.addInitScript((name) => localStorage.setItem("name", name), user);
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  const problems = problemsIn(page);
  await page.goto(new URL(pathname, front.url).href);
  const tab = {
    page,
    problems,
    editor: page.locator(".cm-content"),
    is: (state, timeout = TIMEOUT) => page.locator(`#status[data-state=${state}]`).waitFor({ timeout }),
    text: () => page.locator(".cm-content").evaluate((node) => [...node.querySelectorAll(".cm-line")].map((line) => {
      const copy = line.cloneNode(true);
      for (const widget of copy.querySelectorAll(".cm-ySelectionCaret, .cm-placeholder")) widget.remove();
      return copy.textContent.replaceAll("\u2060", "");
    }).join("\n")),
    hasPeople: (...names) => page.waitForFunction((names) =>
      [...document.querySelectorAll("#people bdi")].map((node) => node.textContent).sort().join() === names, names.sort().join()),
    line: (text) => page.locator(".cm-line").filter({ hasText: text }).first().waitFor(),
    shoot: (name) => page.screenshot({ path: path.join(SHOTS, `document-${name}.png`) }),
    isAccessible: (state) => assertAccessible(page, state),
  };
  tabs.push(tab);
  return tab;
}

test("two pages and a client in Node.js edit one text", async () => {
  const landing = await open("/");
  await landing.isAccessible("the landing page");
  await landing.shoot("landing-light");
  await landing.page.getByRole("button", { name: "Open the document" }).click();
  await landing.page.getByText("Give the document a name.").waitFor();
  await landing.isAccessible("the landing page with an error");
  await landing.page.getByLabel("Document", { exact: true }).fill("weekly notes");
  await landing.page.locator("#first-name").fill("Ada");
  await landing.page.keyboard.press("Enter");
  await landing.page.waitForURL("**/d/weekly%20notes");
  const ada = landing;
  await ada.is("connected");
  await ada.isAccessible("an empty document");
  const bob = await open("/d/weekly%20notes", { user: "Bob", colorScheme: "dark", viewport: { width: 390, height: 844 }, hasTouch: true });
  await bob.is("connected");
  const node = await join("weekly%20notes", "Node");
  await ada.hasPeople("Bob", "Node");
  await bob.hasPeople("Ada", "Node");

  await ada.editor.pressSequentially("Agenda");
  await ada.page.keyboard.press("Enter");
  await ada.editor.pressSequentially("First: what went well this week.");
  await bob.line("First: what went well");
  await bob.editor.click();
  await bob.page.keyboard.press("Control+End");
  await bob.page.keyboard.press("Enter");
  await bob.editor.pressSequentially("Second: the shared document works on a phone.");
  await ada.line("Second: the shared document");
  await until(node, "both lines", () => node.text.toString().includes("on a phone."));
  node.text.insert(0, "# ");
  await ada.line("# Agenda");
  assert.equal(await ada.text(), node.text.toString());
  await ada.page.locator(".cm-ySelectionInfo", { hasText: "Bob" }).waitFor();

  // Undo takes back one's own words only.
  await ada.page.keyboard.press("Control+z");
  await bob.page.waitForFunction(() => !document.querySelector(".cm-content").textContent.includes("First"));
  await bob.line("Second: the shared document");
  await ada.page.keyboard.press("Control+y");
  await bob.line("First: what went well");

  await ada.isAccessible("a document, light");
  await bob.isAccessible("a document on a phone, dark");
  await ada.shoot("light");
  await bob.shoot("phone-dark");
  await ada.page.emulateMedia({ colorScheme: "dark" });
  await ada.isAccessible("a document, dark");
  await ada.shoot("dark");

  await bob.page.locator("#name").fill("Robert");
  await ada.hasPeople("Node", "Robert");
  await bob.page.close();
  await ada.hasPeople("Node");
});

test("a page goes on after the worker was killed, with what was written meanwhile", async () => {
  const ada = await open("/d/plan", { user: "Ada" });
  await ada.is("connected");
  await ada.editor.pressSequentially("one");
  const node = await join("plan", "Node");
  await hasText(node, "one");
  front.down();
  await host.kill();
  await ada.is("offline");
  await ada.isAccessible("an offline document");
  await ada.editor.pressSequentially(" two");
  await host.restart();
  front.up();
  await ada.is("connected", RECONNECT_TIMEOUT);
  await hasText(node, "one two", RECONNECT_TIMEOUT);
  await ada.hasPeople("Node");
});

test("a page shows why the room has closed its connection", async () => {
  const filler = await join("crowded", "Ada");
  const page = await open("/d/crowded", { user: "Bob" });
  await page.is("connected");
  const noise = () => Array.from({ length: 1_000_000 }, () => String.fromCharCode(97 + Math.floor(Math.random() * 26))).join("");
  for (let part = 0; part < 4; part += 1) filler.doc.getText("elsewhere").insert(0, noise());
  filler.doc.getText("elsewhere").insert(0, noise().slice(0, 194_000));
  filler.text.insert(0, "full");
  await page.line("full");
  await page.editor.click();
  // More than there is place for.
  await page.page.keyboard.insertText("x".repeat(2_000));
  await page.is("closed");
  await page.page.getByText("the document is full").waitFor();
  await page.isAccessible("a closed document");
  await page.shoot("full");
});

test("text and colours of hostile users stay text and colours", async () => {
  const page = await open("/d/markup", { user: "Ada" });
  await page.is("connected");
  const eve = await join("markup", "Eve");
  eve.text.insert(0, "<b>no markup</b>");
  const at = Y.createRelativePositionFromTypeIndex(eve.text, 0);
  eve.awareness.setLocalState({
    user: { name: "<i>Eve</i>", color: "red; position: fixed; inset: 0", colorLight: "url(https://example.com)" },
    cursor: { anchor: Y.relativePositionToJSON(at), head: Y.relativePositionToJSON(at) },
  });
  await page.hasPeople("<i>Eve</i>");
  await page.page.locator(".cm-ySelectionCaret").waitFor();
  const style = await page.page.locator(".cm-ySelectionCaret").getAttribute("style");
  assert.match(style, /^background-color: #[0-9a-f]{6}; border-color: #[0-9a-f]{6}$/);
  assert.equal(await page.page.locator(".cm-content b").count(), 0);
});
