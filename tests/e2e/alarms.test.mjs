// Alarms on a real workerd: due alarms fire in order, also after a restart, and fire again after a failure or a panic.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startWorker } from "./harness.mjs";

let rooms = 0;

/** A room that no other test uses. */
class Timer {
  constructor(host) {
    this.host = host;
    this.id = `timer-${(rooms += 1)}`;
  }

  async join() {
    this.client = await this.host.ws(`/timer/${this.id}`);
  }

  /** Sets alarms; resolves with the room's time at that moment. */
  async set(after_ms, { failures = 0, panics = 0 } = {}) {
    this.client.send({ type: "Set", after_ms, failures, panics });
    return (await this.client.next({ where: ({ type }) => type === "Set" })).now;
  }

  async fired(timeout = 30_000) {
    return (await this.client.next({ where: ({ type }) => type === "Fired", timeout })).fired;
  }

  async state() {
    return (await this.host.fetch(`/timer/${this.id}`)).json();
  }
}

describe("an alarm", () => {
  let host;
  before(async () => {
    host = await startWorker({ dir: "tests/e2e/rooms" });
  });
  after(() => host?.stop());

  async function room() {
    const timer = new Timer(host);
    await timer.join();
    return timer;
  }

  test("fires when it is due and not before, each once, in order", async () => {
    const timer = await room();
    const set = await timer.set([900, 300, 300, 0]);
    const times = [];
    for (let n = 0; n < 4; n += 1) {
      const fired = await timer.fired();
      assert.equal(fired.room, timer.id);
      times.push(fired.at - set);
    }
    for (const [index, due] of [0, 300, 300, 900].entries()) {
      assert.ok(times[index] >= due, `due after ${due} ms, fired after ${times[index]} ms`);
    }
    // One more alarm, after any that might have fired twice.
    await timer.set([200]);
    await timer.fired();
    assert.equal((await timer.state()).fired.length, 5);
  });

  test("that fails or panics is retried", async () => {
    const timer = await room();
    const set = await timer.set([0], { failures: 1, panics: 1 });
    const [failed, panicked, done] = [await timer.fired(), await timer.fired(), await timer.fired()];
    assert.ok(panicked.at - failed.at >= 2_000, `the second try came ${panicked.at - failed.at} ms after the first`);
    assert.ok(done.at - panicked.at >= 4_000, `the third try came ${done.at - panicked.at} ms after the second`);
    assert.ok(done.at > set);
    assert.equal(panicked.starts, failed.starts, "a failure leaves the object in memory");
    assert.equal(done.starts, failed.starts + 1, "a panic does not");
    assert.equal(done.peers, 1, "its sockets are there");
    await timer.set([200]);
    await timer.fired();
    assert.equal((await timer.state()).fired.length, 4, "the third try was the last");
  });

  test("fires after a restart without a request, and knows its room", async () => {
    const timer = await room();
    const set = await timer.set([4_000]);
    await host.kill();
    await host.restart();
    // An alarm of another room is due later: once it fired, this one's would have fired too.
    const other = await room();
    await other.set([6_000]);
    await other.fired();
    const { fired } = await timer.state();
    assert.equal(fired.length, 1);
    assert.deepEqual([fired[0].room, fired[0].peers], [timer.id, 0]);
    assert.ok(fired[0].at - set >= 4_000);
  });
});
