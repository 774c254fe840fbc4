// The counter example over real sockets: the smallest room.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startWorker } from "./harness.mjs";

let host;

before(async () => {
  host = await startWorker({ dir: "examples/counter" });
});

after(() => host?.stop());

function count(count) {
  return { type: "Count", count };
}

test("all peers see one count, new peers the current one, and a restart keeps it", async () => {
  const alice = await host.ws("/");
  assert.deepEqual(await alice.next(), count(0));
  const bob = await host.ws("/");
  assert.deepEqual(await bob.next(), count(0));

  alice.send({ type: "Add", amount: 2 });
  for (const client of [alice, bob]) assert.deepEqual(await client.next(), count(2));
  bob.send({ type: "Add", amount: -5 });
  for (const client of [alice, bob]) assert.deepEqual(await client.next(), count(-3));

  const carol = await host.ws("/");
  assert.deepEqual(await carol.next(), count(-3));
  carol.send({ type: "Add", amount: 10 });
  for (const client of [alice, bob, carol]) assert.deepEqual(await client.next(), count(7));

  await host.restart();
  for (const client of [alice, bob, carol]) await client.closed;
  const dave = await host.ws("/");
  assert.deepEqual(await dave.next(), count(7));
  dave.send({ type: "Add", amount: 1 });
  assert.deepEqual(await dave.next(), count(8));

  await host.kill();
  await host.restart();
  const eve = await host.ws("/");
  assert.deepEqual(await eve.next(), count(8));
});

test("no count is lost when many count at the same time", async () => {
  const EACH = 100;
  const clients = [];
  for (let n = 0; n < 4; n += 1) clients.push(await host.ws("/"));
  const { count: start } = await clients.at(-1).next();
  for (let n = 0; n < EACH; n += 1) {
    for (const client of clients) client.send({ type: "Add", amount: 1 });
  }
  const end = start + clients.length * EACH;
  for (const client of clients) await client.next({ where: ({ count }) => count === end });
  // Each step in order, and no other frames.
  for (const client of clients) {
    const counts = client.received.map(({ count }) => count);
    assert.deepEqual(counts, [start, ...Array.from({ length: end - start }, (_, n) => start + n + 1)]);
  }
});

test("a plain request is answered with 426", async () => {
  const response = await host.fetch("/");
  assert.equal(response.status, 426);
  assert.match(await response.text(), /WebSocket/);
});
