// The TypeScript client with a real room: each event that was acknowledged is counted once, while workerd is killed and
// the network is cut.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { buildSync } from "esbuild";
import WebSocket from "ws";
import { ROOT, startWorker } from "./harness.mjs";

const CLIENTS = 5;
// The kills of workerd and the cuts of connections, in turn. CLIENT_ROUNDS=40 is 20 of each.
const ROUNDS = Number(process.env.CLIENT_ROUNDS ?? 10);
// The acknowledgements between two rounds.
const BETWEEN = 15;
// Each client adds in its own decimal digits, so that the count shows the events of each.
const DIGITS = 1_000;

let host;
let connect;

before(async () => {
  const entry = `${ROOT}clients/typescript/src/index.ts`;
  const { outputFiles } = buildSync({ entryPoints: [entry], bundle: true, format: "esm", write: false });
  ({ connect } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`));
  host = await startWorker({ dir: "examples/counter" });
});

after(() => host?.stop());

test("each acknowledged event is counted once through kills and cuts", { timeout: 240_000 }, async (t) => {
  const sockets = new Set();
  class Cable extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.add(this);
      this.on("close", () => sockets.delete(this));
      // `ws` reports a refused connection also as an event without a listener.
      this.on("error", () => {});
    }
  }
  const options = { url: () => host.url, WebSocket: Cable, reconnect: { baseMs: 50, maxMs: 500 } };
  const rooms = Array.from({ length: CLIENTS }, () => connect(options));
  t.after(() => rooms.forEach((room) => room.close()));

  const acknowledged = rooms.map(() => 0);
  let total = 0;
  let wake = () => {};
  let isOver = false;
  const adding = rooms.map(async (room, at) => {
    while (!isOver) {
      await room.send({ type: "Add", amount: DIGITS ** at });
      acknowledged[at] += 1;
      total += 1;
      wake();
    }
  });
  const failed = Promise.all(adding).then(() => new Promise(() => {}));
  const reached = (count) => new Promise((resolve) => {
    wake = () => total >= count && resolve();
    wake();
  });

  for (let round = 0; round < ROUNDS; round += 1) {
    await Promise.race([reached(total + BETWEEN), failed]);
    if (round % 2 === 0) {
      await host.kill();
      await host.restart();
    } else {
      for (const socket of [...sockets].filter((_, at) => at % 2 === round % 4 >> 1)) socket.terminate();
    }
  }
  await Promise.race([reached(total + BETWEEN), failed]);
  isOver = true;
  await Promise.all(adding);

  const watcher = await host.ws("/");
  const { count } = await watcher.next();
  const counted = rooms.map((_, at) => Math.floor(count / DIGITS ** at) % DIGITS);
  assert.deepEqual(counted, acknowledged);
  for (const events of acknowledged) assert.ok(events > 0 && events < DIGITS, `${events} events fit into the digits`);
});
