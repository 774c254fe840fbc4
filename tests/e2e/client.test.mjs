// The TypeScript client with a real room, in Node.js and in a real browser, while workerd is killed and the network is cut:
// what was acknowledged is there once, no call ran twice, and each client heard the same as all others.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { buildSync } from "esbuild";
import WebSocket from "ws";
import { launchBrowser } from "./browser.mjs";
import { Front } from "./front.mjs";
import { ROOT, startWorker } from "./harness.mjs";
import { play } from "./players.mjs";

const CLIENTS = 5;
// The kills of workerd and the cuts of connections, in turn. CLIENT_ROUNDS=40 is 20 of each.
const ROUNDS = Number(process.env.CLIENT_ROUNDS ?? 6);
// The acknowledgements between two rounds.
const BETWEEN = 15;

const CLIENT = `${ROOT}clients/typescript/src/index.ts`;

let host;
let front;

before(async () => {
  host = await startWorker({ dir: "tests/e2e/rooms" });
  front = await Front.before(host);
});

after(async () => {
  await front?.close();
  await host?.stop();
});

/** Kills and cuts, while `players` add entries. `progress` has the acknowledgements so far. */
async function disturb(players, progress) {
  for (let round = 0; round < ROUNDS; round += 1) {
    await Promise.race([progress.more(BETWEEN), players.failed]);
    if (round % 2 === 0) {
      await host.kill();
      await host.restart();
    } else {
      front.cut((at) => at % 3 !== round % 3);
    }
  }
  await Promise.race([progress.more(BETWEEN), players.failed]);
}

function counter() {
  let total = 0;
  let wake = () => {};
  return {
    report() {
      total += 1;
      wake();
    },
    more(count) {
      const wanted = total + count;
      return new Promise((resolve) => {
        wake = () => total >= wanted && resolve();
      });
    },
  };
}

function check({ entries, known }) {
  assert.equal(new Set(entries).size, entries.length, "an entry is there twice");
  for (const [at, { sent, called, heard, gaps }] of known.entries()) {
    const own = entries.filter((entry) => entry.startsWith(`${at}-`));
    assert.deepEqual(own.filter((entry) => entry.split("-")[1] % 2 === 0), sent, `the events of client ${at}`);
    assert.deepEqual(own.filter((entry) => entry.split("-")[1] % 2 === 1), called.map(([, entry]) => entry), `the calls of ${at}`);
    for (const [index, entry] of called) assert.equal(entries[index], entry, `the answer of client ${at}`);
    assert.equal(gaps, 0, `the gaps of client ${at}`);
    const [first] = heard[0];
    const expected = entries.slice(first).map((entry, n) => [first + n, entry]);
    assert.deepEqual(heard, expected, `what client ${at} heard`);
  }
}

test("clients in Node.js lose and repeat nothing through kills and cuts", { timeout: 400_000 }, async (t) => {
  const { outputFiles } = buildSync({ entryPoints: [CLIENT], bundle: true, format: "esm", write: false });
  const { connect } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`);
  class Cable extends WebSocket {
    constructor(...args) {
      super(...args);
      // `ws` reports a refused connection also as an event without a listener.
      this.on("error", () => {});
    }
  }
  const progress = counter();
  const url = () => `${front.url}/ledger/node`;
  const players = play(connect, { url, count: CLIENTS, WebSocket: Cable }, progress.report);
  t.after(() => players.close());
  await disturb(players, progress);
  check(await players.end());
});

test("clients in a browser lose and repeat nothing through kills and cuts", { timeout: 400_000 }, async (t) => {
  const contents = `
    import { connect } from ${JSON.stringify(CLIENT)};
    import { play } from "./players.mjs";
    globalThis.start = (options) => {
      globalThis.players = play(connect, options, () => globalThis.report());
      globalThis.players.failed.catch((error) => globalThis.fail(String(error)));
    };`;
  const stdin = { contents, resolveDir: `${ROOT}tests/e2e`, loader: "js" };
  const { outputFiles } = buildSync({ stdin, bundle: true, format: "iife", write: false });
  const browser = await launchBrowser();
  t.after(() => browser.close());
  const page = await browser.newPage();
  const progress = counter();
  await page.exposeFunction("report", progress.report);
  const failed = new Promise((_, reject) => page.exposeFunction("fail", (message) => reject(new Error(message))));
  failed.catch(() => {});
  await page.addScriptTag({ content: outputFiles[0].text });
  const url = `${front.url}/ledger/browser`;
  await page.evaluate((options) => globalThis.start(options), { url, count: CLIENTS });
  await disturb({ failed }, progress);
  check(await Promise.race([page.evaluate(() => globalThis.players.end()), failed]));
});
