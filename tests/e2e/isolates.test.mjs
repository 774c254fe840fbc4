// A room that panics, and a Worker in another isolate: the Worker survives and gets typed errors.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startWorker } from "./harness.mjs";

describe("a panic of a room in another isolate", () => {
  let host;
  before(async () => {
    host = await startWorker({ dir: "tests/e2e/rooms", apart: true });
  });
  after(() => host?.stop());

  const send = async (room, event) => {
    const response = await host.fetch(`/api/${room}/send`, { method: "POST", body: JSON.stringify(event) });
    return { status: response.status, ...(await response.json()) };
  };
  const restarted = (room) => ({
    status: 500,
    kind: "restarted",
    message: `room \`${room}\`: the room's wasm instance ended while it worked on this`,
  });

  for (const delay_ms of [0, 30]) {
    test(`is a typed error for the Worker's call${delay_ms ? ", also after a wait" : ""}`, async () => {
      assert.deepEqual(await send("calls", { _tag: "Panic", delay_ms }), restarted("calls"));
    });
  }

  test("is a typed error for every call in flight, also to other rooms", async () => {
    const witness = await host.ws("/ws/waits?id=witness");
    const waiting = send("waits", { _tag: "Hold", text: "never said" });
    await witness.next({ where: ({ _tag }) => _tag === "Holding" });
    assert.deepEqual(await send("panics", { _tag: "Panic", delay_ms: 0 }), restarted("panics"));
    assert.deepEqual(await waiting, restarted("waits"));
    await witness.close();
  });

  test("in on_connect closes that peer with 1011, and leaves no ghost", async () => {
    const alice = await host.ws("/ws/joins?id=alice");
    const eve = await host.ws("/ws/joins?id=eve&name=panic-on-connect");
    // workerd keeps the connection of a client that never sent anything open for another 10 s.
    assert.deepEqual(await eve.closed, { code: 1011, reason: "the room restarted" });
    const peers = await (await host.fetch("/api/joins/peers")).json();
    assert.deepEqual(peers.map(({ id }) => id), ["alice"]);
    const { closes } = await (await host.fetch("/api/joins/state")).json();
    assert.deepEqual(closes, []);
    await alice.close();
  });
});
