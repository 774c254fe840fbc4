// A new crate, served by the command of its README: its WebSockets, and its page in a real browser.
//
//   STARTER          the folder of the crate
//   STARTER_COMMAND  the command
//
// `cargo xtask test --only starter` sets both. Screenshots of the page are left in target/e2e/starter-*.png.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import test, { after, afterEach, before } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { assertAccessible, launchBrowser, problemsIn } from "../e2e/browser.mjs";
import { Front } from "../e2e/front.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SHOTS = path.join(ROOT, "target", "e2e");
const TIMEOUT = 15_000;
/** The build is part of the start. */
const START_TIMEOUT = 8 * 60_000;
const STOP_TIMEOUT = 10_000;
/** The longest back-off of the page. */
const RECONNECT_TIMEOUT = 45_000;
const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 800 };

let server;
let front;
let browser;
let tabs = [];

before(async () => {
  fs.mkdirSync(SHOTS, { recursive: true });
  server = await serve();
  front = await Front.before(server);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await front?.close();
  await server?.stop();
});

afterEach(async () => {
  const closing = tabs;
  tabs = [];
  front?.up();
  await Promise.all(closing.map(({ page }) => page.context().close()));
  assert.deepEqual(closing.flatMap(({ problems }) => problems), [], "the browser reported no errors");
});

test("a WebSocket gets the list", async () => {
  const socket = new WebSocket(new URL("/ws/plain", server.url.replace("http", "ws")));
  const [frame] = await once(socket, "message", { signal: AbortSignal.timeout(TIMEOUT) });
  // The first frame of a plain client is the token with which it can resume its place.
  assert.ok(JSON.parse(frame).$room.resume);
  const [list] = await once(socket, "message", { signal: AbortSignal.timeout(TIMEOUT) });
  assert.deepEqual(JSON.parse(list), { type: "List", items: [] });
  socket.close();
  await once(socket, "close", { signal: AbortSignal.timeout(TIMEOUT) });
});

test("other requests are answered with their status", async () => {
  const status = async (at) => (await fetch(new URL(at, server.url), { signal: AbortSignal.timeout(TIMEOUT) })).status;
  assert.equal(await status("/"), 200);
  assert.equal(await status("/page.js"), 200);
  assert.equal(await status("/no-such-file"), 404);
  assert.equal(await status("/ws/"), 404);
  assert.equal(await status("/ws/Not%20a%20name"), 404);
  assert.equal(await status("/ws/main"), 426);
});

test("two people change one list", async () => {
  const ada = await open("team", { viewport: PHONE });
  await ada.page.getByText("Only you").waitFor();
  await ada.page.getByText("Nothing here yet").waitFor();
  const bob = await open("team", { viewport: DESKTOP, colorScheme: "dark" });
  const eve = await open("elsewhere");
  await ada.page.getByText("2 people").waitFor();

  await ada.add("Book the boat");
  await bob.item("Book the boat").waitFor();
  await bob.add("Ask Eve for the map");
  await ada.item("Ask Eve for the map").waitFor();
  await bob.box("Book the boat").check();
  await ada.page.locator("li.done", { hasText: "Book the boat" }).waitFor();
  await ada.page.getByText("1 of 2 open").waitFor();
  await ada.shoot("starter-phone");
  await bob.shoot("starter-desktop-dark");

  await ada.page.getByRole("button", { name: "Remove Book the boat" }).click();
  await bob.item("Book the boat").waitFor({ state: "detached" });
  assert.deepEqual(await bob.items(), ["Ask Eve for the map"]);
  assert.deepEqual(await eve.items(), [], "another room has its own list");

  const late = await open("team");
  await late.item("Ask Eve for the map").waitFor();
  assert.deepEqual(await late.items(), ["Ask Eve for the map"]);
});

test("the errors of the call are shown, and the text is kept", async () => {
  const ada = await open("errors");
  await ada.add("   ");
  await ada.notice("Write something first.");
  const long = "é".repeat(201);
  await ada.add(long);
  await ada.notice("An item has at most 200 characters.");
  assert.equal(await ada.text.inputValue(), long);
  assert.deepEqual(await ada.items(), []);
  await ada.shoot("starter-error");
  await ada.text.fill("short");
  await ada.text.press("Enter");
  await ada.item("short").waitFor();
  await ada.notice("");
});

test("the room of each address has a name that the Worker accepts", async () => {
  const ada = await open(encodeURIComponent("Team List"));
  await ada.page.getByRole("heading", { name: "team-list" }).waitFor();
});

test("text of users stays text", async () => {
  const ada = await open("hostile");
  const text = "<img src=x onerror=alert(1)>";
  await ada.add(text);
  await ada.item(text).waitFor();
  assert.equal(await ada.page.locator("#list img").count(), 0);
});

test("a page that lost its connection gets what it missed, and its own changes arrive once", async () => {
  const ada = await open("lost");
  // Bob's connection does not share Ada's network.
  const bob = await open("lost", { at: server.url });
  await ada.page.getByText("2 people").waitFor();
  front.down();
  await ada.page.getByText("Reconnecting…").waitFor();
  await bob.page.getByText("Only you").waitFor();
  await bob.add("while Ada was away");
  await ada.add("from the tunnel");
  await ada.page.getByText("1 unsent").waitFor();
  await ada.shoot("starter-reconnecting");
  front.up();
  await ada.page.getByText("Live").waitFor({ timeout: RECONNECT_TIMEOUT });
  await ada.item("while Ada was away").waitFor();
  await bob.item("from the tunnel").waitFor();
  const expected = ["while Ada was away", "from the tunnel"];
  for (const tab of [ada, bob]) assert.deepEqual(await tab.items(), expected);
});

/** Starts the crate, on a free port. */
async function serve() {
  const rooms = fs.mkdtempSync(path.join(os.tmpdir(), "rooms-starter-state-"));
  const line = `${process.env.STARTER_COMMAND} -- --ip 127.0.0.1 --port 0 --inspector-port 0 --persist-to ${rooms}`;
  const child = spawn(line, {
    cwd: process.env.STARTER,
    shell: true,
    stdio: ["ignore", "pipe", "pipe"],
    // Its group consists of a shell, npm, wrangler and workerd. None of them ends all the others.
    detached: process.platform !== "win32",
  });
  const signal = (name) => {
    try {
      if (process.platform === "win32") child.kill(name);
      else process.kill(-child.pid, name);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  };
  process.once("exit", () => signal("SIGKILL"));
  for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => process.exit(1));
  // This event comes when the last process of the group has let go of the output.
  const closed = once(child, "close");
  const stop = async () => {
    signal("SIGTERM");
    const late = setTimeout(() => signal("SIGKILL"), STOP_TIMEOUT);
    await closed;
    clearTimeout(late);
    fs.rmSync(rooms, { recursive: true, force: true, maxRetries: 5 });
  };
  let output = "";
  const ready = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`it did not start in time:\n${output}`)), START_TIMEOUT);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text;
        const [, url] = /Ready on (http:\/\/127\.0\.0\.1:\d+)/.exec(output) ?? [];
        if (url === undefined) return;
        clearTimeout(late);
        resolve(url);
      });
    }
    child.once("exit", (code) => {
      clearTimeout(late);
      reject(new Error(`\`${line}\` ended with ${code}:\n${output}`));
    });
  });
  try {
    return { url: await ready, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function open(room, { viewport = DESKTOP, colorScheme = "light", at = front.url } = {}) {
  const context = await browser.newContext({ viewport, colorScheme });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  const problems = problemsIn(page);
  const tab = {
    page,
    problems,
    text: page.getByLabel("New item"),
    async add(text) {
      await this.text.fill(text);
      await page.getByRole("button", { name: "Add" }).click();
    },
    item: (text) => page.getByRole("listitem").filter({ hasText: text }),
    box: (text) => page.getByRole("checkbox", { name: text }),
    items: () => page.locator("#list li span").allTextContents(),
    notice: (text) => page.waitForFunction((wanted) => document.getElementById("notice").textContent === wanted, text),
    /** Takes a picture, and checks the accessibility of what is shown. */
    async shoot(name) {
      await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
      for (const scheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: scheme });
        await assertAccessible(page, `${name}, ${scheme}`);
      }
      await page.emulateMedia({ colorScheme });
    },
  };
  tabs.push(tab);
  await page.goto(`${at}/?room=${room}`);
  await page.getByText("Live").waitFor();
  return tab;
}
