// The Rust client in a Worker: over the Worker's own sockets, while workerd of the room is killed, and through the handle of a room.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startWorker } from "./harness.mjs";

test("a client in a Worker resumes its session, and each acknowledged event is counted once", async (t) => {
  const counter = await startWorker({ dir: "examples/counter" });
  t.after(() => counter.stop());
  const rooms = await startWorker({ dir: "tests/e2e/rooms" });
  t.after(() => rooms.stop());

  const before = await counter.ws("/");
  const adding = rooms
    .fetch(`/client?to=${encodeURIComponent(counter.url)}`, { signal: AbortSignal.timeout(60_000) })
    .then(async (response) => ({ status: response.status, text: await response.text() }));
  // If the client fails before the kill, its answer says why.
  const early = adding.then(({ text }) => assert.fail(text));
  await Promise.race([before.next({ where: ({ count }) => count >= 20 }), early]);
  await counter.kill();
  await counter.restart();
  const { status, text } = await adding;
  assert.equal(status, 200, text);
  const { acknowledged, undecodable, code } = JSON.parse(text);
  assert.deepEqual({ undecodable, code }, { undecodable: 0, code: 1000 });

  const after = await counter.ws("/");
  assert.deepEqual(await after.next(), { type: "Count", count: acknowledged });
});

test("a client through the handle of a room sends, calls and gets messages", async (t) => {
  const rooms = await startWorker({ dir: "tests/e2e/rooms" });
  t.after(() => rooms.stop());
  const response = await rooms.fetch("/ledger/written/client", { signal: AbortSignal.timeout(30_000) });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  assert.deepEqual(JSON.parse(text), {
    indices: [1, 3, 5, 7, 9],
    entries: Array.from({ length: 10 }, (_, n) => `entry ${n}`),
    code: 1000,
  });
});
