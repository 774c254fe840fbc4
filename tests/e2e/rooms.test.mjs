// The engine's promises on a real workerd and over real sockets: hibernation, panics, restarts, closes, errors, limits,
// order. The rooms are those of tests/e2e/rooms, which report their own history.
//
// A fence shows that something does not arrive: a later message on the same socket, which would arrive after it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { UpgradeRefused, startWorker } from "./harness.mjs";
import { CLOSE, Raw, TEXT, closePayload, frame, upgradeRequest } from "./raw.mjs";

let rooms = 0;

/** A room that no other test uses. */
class Room {
  constructor(host) {
    this.host = host;
    this.id = `room-${(rooms += 1)}`;
  }

  path(id, { name, tags, times } = {}) {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries({ id, name, tags, times })) {
      if (value !== undefined) query.set(key, value);
    }
    return `/ws/${this.id}?${query}`;
  }

  join(id, options) {
    return this.host.ws(this.path(id, options));
  }

  /** Asserts that a join is refused; returns the status and the client's error. */
  async refused(id, options) {
    const error = await this.join(id, options).then(
      () => assert.fail(`${id} was admitted`),
      (error) => error,
    );
    assert.ok(error instanceof UpgradeRefused, error.stack);
    return { status: error.status, ...parsed(error.body) };
  }

  async get(what) {
    const response = await this.host.fetch(`/api/${this.id}/${what}`);
    assert.equal(response.status, 200, what);
    return response.json();
  }

  state() {
    return this.get("state");
  }

  peers(tag) {
    return this.get(tag === undefined ? "peers" : `peers?tag=${encodeURIComponent(tag)}`);
  }

  async ids() {
    return (await this.peers()).map(({ id }) => id).sort();
  }

  /** The result of the Worker's client: 200, or the kind and message of its error. */
  async call(what, body) {
    const response = await this.host.fetch(`/api/${this.id}/${what}`, { method: "POST", body: JSON.stringify(body) });
    return { status: response.status, ...parsed(await response.text()) };
  }

  send(event) {
    return this.call("send", event);
  }
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value === null ? {} : value;
  } catch {
    return { text };
  }
}

function is(tag) {
  return (frame) => frame._tag === tag;
}

function closedOf(id) {
  return (frame) => frame._tag === "Closed" && frame.closed.id === id;
}

/** The room's report to this client. Everything sent to it before has arrived by then. */
async function report(client) {
  client.send({ _tag: "Report" });
  return client.next({ where: is("Report") });
}

function errors(client) {
  return client.received.filter(({ $room }) => $room !== undefined).map(({ $room }) => $room.error.code);
}

/** The promise, or an error after a bound. */
function bounded(promise, what) {
  const late = sleep(15_000, undefined, { ref: false }).then(() => assert.fail(`waited 15 s for ${what}`));
  return Promise.race([promise, late]);
}

/** Polls until the check holds, for changes that no event announces. */
async function eventually(what, check) {
  const end = Date.now() + 15_000;
  while (!(await check())) {
    assert.ok(Date.now() < end, `waited 15 s for ${what}`);
    await sleep(20);
  }
}

/** Each group has its own worker, because a panic erases the memory of all rooms of its worker. */
function worker(options = {}) {
  const held = {};
  before(async () => {
    held.host = await startWorker({ dir: "tests/e2e/rooms", ...options });
  });
  after(() => held.host?.stop());
  return held;
}

const IDLE_MS = 12_000;
const IDLE_ROUNDS = 5;

/**
 * Leaves a worker idle until its rooms have hibernated.
 *
 * A timer is unavoidable here: workerd hibernates an object after about 10 s without work, does not announce it, and a
 * request would keep the room awake. So all rooms are left idle together. After each round, the test asks one room that
 * no test needs any more if it has lost its memory. If it has, the rooms that were idle for longer have as well. Each
 * test still checks its own room.
 */
async function idle(host) {
  const canaries = [];
  for (let n = 0; n < IDLE_ROUNDS; n += 1) {
    const client = await new Room(host).join("canary");
    canaries.push({ client, starts: (await report(client)).starts });
  }
  for (const { client, starts } of canaries) {
    await sleep(IDLE_MS);
    if ((await report(client)).starts > starts) return;
  }
  assert.fail(`no room hibernated in ${IDLE_ROUNDS} times ${IDLE_MS} ms`);
}

/** The largest number for which `holds` is true; it is true for `low`, and false for `high`. */
async function largest(low, high, holds) {
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await holds(middle)) low = middle;
    else high = middle;
  }
  return low;
}

describe("a room that wakes from hibernation", () => {
  const at = worker();

  /** A room with two peers and data in memory to lose. */
  async function prepare(room) {
    const alice = await room.join("alice", { name: "Alice", tags: "x,y" });
    const bob = await room.join("bob", { name: "Bob", tags: "y" });
    alice.send({ _tag: "Visit" });
    alice.send({ _tag: "Visit" });
    alice.send({ _tag: "Add", amount: 5 });
    await bob.next({ where: is("Value") });
    const before = { alice: await report(alice), bob: await report(bob) };
    return { room, alice, bob, before };
  }

  /** Asserts that the room lost its memory once, and that nothing else changed. */
  async function woken({ alice, bob, before }, changed = {}) {
    const expected = { starts: before.alice.starts + 1, ...changed };
    assert.deepEqual(await report(alice), { ...before.alice, ...expected });
    assert.deepEqual(await report(bob), { ...before.bob, ...expected });
  }

  /** Prepares a room before all rooms are left idle, and checks it afterwards. */
  function sleeper(promise, check, more = async () => ({})) {
    let prepared;
    before(async () => {
      prepared = await prepare(new Room(at.host));
      Object.assign(prepared, await more(prepared));
    });
    test(promise, () => check(prepared));
  }

  sleeper("a frame finds state, data, tags and peers as they were, and no second on_connect", async (prepared) => {
    const { alice, bob, before } = prepared;
    assert.deepEqual(before.alice, {
      _tag: "Report",
      room: prepared.room.id,
      sender: "alice",
      starts: 1,
      connects: 2,
      value: 5,
      visits: 2,
      name: "Alice",
      tags: ["x", "y"],
      peers: ["alice", "bob"],
    });
    await woken(prepared);
    bob.send({ _tag: "Add", amount: 1 });
    await alice.next({ where: ({ value }) => value === 6 });
    alice.send({ _tag: "Visit" });
    assert.equal((await report(alice)).visits, 3);
    assert.deepEqual(errors(alice), []);
  });

  sleeper("the Worker reads the peers of a sleeping room by tag", async (prepared) => {
    const ids = async (tag) => (await prepared.room.peers(tag)).map(({ id }) => id).sort();
    assert.deepEqual(await ids("x"), ["alice"]);
    assert.deepEqual(await ids("y"), ["alice", "bob"]);
    assert.deepEqual(await ids("z"), []);
    await woken(prepared);
  });

  sleeper("the Worker's send wakes the room", async (prepared) => {
    const { room, alice, bob } = prepared;
    assert.deepEqual(await room.send({ _tag: "Add", amount: 10 }), { status: 200 });
    for (const client of [alice, bob]) await client.next({ where: (frame) => frame.value === 15 });
    await woken(prepared, { value: 15 });
  });

  sleeper("a peer can be closed by its id", async (prepared) => {
    const { alice, bob, before } = prepared;
    alice.send({ _tag: "Kick", id: "bob", code: 4000, reason: "out" });
    assert.deepEqual(await bounded(bob.closed, "the close"), { code: 4000, reason: "out" });
    assert.deepEqual(await alice.next({ where: is("Kicked") }), { _tag: "Kicked", count: 1, left: ["alice"] });
    await alice.next({ where: closedOf("bob") });
    assert.deepEqual(await report(alice), { ...before.alice, starts: 2, peers: ["alice"] });
  });

  sleeper("a new peer joins those that are there", async (prepared) => {
    const { room } = prepared;
    const carol = await room.join("carol", { name: "Carol" });
    const peers = ["alice", "bob", "carol"];
    assert.deepEqual((await report(carol)).peers, peers);
    await woken(prepared, { connects: 3, peers });
  });

  sleeper("peers that share an id and peers without one keep what is theirs", async (prepared) => {
    for (const { client, before } of prepared.more) {
      assert.deepEqual(await report(client), { ...before, starts: before.starts + 1 });
    }
  }, async ({ room }) => {
    const more = [];
    for (const [id, name] of [["twin", "one"], ["twin", "two"], [undefined, "anonymous"]]) {
      more.push({ client: await room.join(id, { name, tags: name }) });
    }
    for (const each of more) each.before = await report(each.client);
    return { more };
  });

  for (const [what, unit] of [["ASCII", "a"], ["emoji", "🦀"], ["characters that JSON escapes", "\u0001"]]) {
    sleeper(`the largest data that a peer may have survives: ${what}`, async ({ client, name }) => {
      const woken = await report(client);
      assert.equal(woken.starts, 2);
      assert.equal(woken.name, name);
    }, async ({ room }) => {
      const client = await room.join("large", { name: "small" });
      const times = await largestName(client, unit);
      await client.close(1000);
      const again = await room.join("large", { name: unit, times });
      assert.equal((await report(again)).name, unit.repeat(times));
      return { client: again, name: unit.repeat(times) };
    });
  }

  before(() => idle(at.host));
});

describe("repeated hibernation", () => {
  const at = worker();
  let changed;
  let closed;

  before(async () => {
    changed = { room: new Room(at.host) };
    for (const id of ["alice", "bob"]) changed[id] = await changed.room.join(id, { name: id, tags: "x" });
    closed = { room: new Room(at.host), alice: undefined };
    closed.alice = await closed.room.join("alice");
    // The room closes one of them and refuses the other; neither ever answers.
    for (const [id, options] of [["bob", {}], ["eve", { name: "refuse-me" }]]) {
      closed[id] = await Raw.open(at.host);
      await closed[id].upgrade(closed.room.path(id, options));
    }
    closed.bob.frame('{"_tag":"Report"}');
    await closed.bob.next({ opcode: TEXT });
    closed.alice.send({ _tag: "Kick", id: "bob", code: 4000, reason: "out" });
    assert.equal((await closed.alice.next({ where: is("Kicked") })).count, 1);
    assert.equal((await closed.bob.closed()).code, 4000);
    assert.equal((await closed.eve.closed()).code, 1011);
    closed.before = await report(closed.alice);
    assert.deepEqual(closed.before.peers, ["alice"]);
    await idle(at.host);

    const { room, alice, bob } = changed;
    alice.send({ _tag: "Visit" });
    alice.send({ _tag: "Rename", name: "Alice the Second" });
    bob.send({ _tag: "Add", amount: 2 });
    changed.carol = await room.join("carol", { name: "Carol" });
    await bob.close(1000);
    await alice.next({ where: closedOf("bob") });
    changed.before = { alice: await report(alice), carol: await report(changed.carol) };
    assert.deepEqual(await report(closed.alice), { ...closed.before, starts: 2 });
    await idle(at.host);
  });

  after(() => {
    for (const connection of [closed?.bob, closed?.eve]) connection?.destroy();
  });

  test("changes between two hibernations survive", async () => {
    const { room, alice, carol, before } = changed;
    assert.deepEqual(before.alice, {
      _tag: "Report",
      room: room.id,
      sender: "alice",
      starts: 2,
      connects: 3,
      value: 2,
      visits: 1,
      name: "Alice the Second",
      tags: ["x"],
      peers: ["alice", "carol"],
    });
    assert.deepEqual(await report(alice), { ...before.alice, starts: 3 });
    assert.deepEqual(await report(carol), { ...before.carol, starts: 3 });
    assert.equal((await room.state()).closes.length, 1);
  });

  test("a peer that the room closed and that never answers stays gone", async () => {
    const { room, alice, bob, eve, before } = closed;
    assert.deepEqual(await report(alice), { ...before, starts: 3 });
    assert.deepEqual(await room.ids(), ["alice"]);
    const said = { _tag: "Said", from: null, text: "just us" };
    assert.deepEqual(await room.call("broadcast", said), { status: 200, sent: 1, failed: [] });
    alice.send({ _tag: "Kick", id: "bob", code: 4000, reason: "again" });
    assert.equal((await alice.next({ where: is("Kicked") })).count, 0);
    bob.destroy();
    eve.destroy();
    assert.equal((await alice.next({ where: is("Closed") })).closed.id, "bob");
    assert.deepEqual((await report(alice)).peers, ["alice"]);
    assert.deepEqual((await room.state()).closes.map(({ id }) => id), ["bob"]);
  });
});

describe("a panic", () => {
  const at = worker();

  /** Prepares a room that will panic, with a bystander, and an unrelated room of the same isolate. */
  async function prepare() {
    const room = new Room(at.host);
    const alice = await room.join("alice", { name: "Alice", tags: "x" });
    const bob = await room.join("bob", { name: "Bob" });
    const elsewhere = new Room(at.host);
    const carol = await elsewhere.join("carol", { name: "Carol" });
    for (const client of [alice, bob, carol]) {
      client.send({ _tag: "Visit" });
      client.send({ _tag: "Add", amount: 1 });
      client.before = await report(client);
    }
    alice.before = await report(alice);
    return { room, alice, bob, elsewhere, carol };
  }

  /** Asserts that the instance was replaced, that `alice` got an error for each frame, and nothing else. */
  async function survived({ room, alice, bob, elsewhere, carol }, { reported = 1, value = 2 } = {}) {
    for (const client of [alice, bob, carol]) {
      const { before } = client;
      const now = await report(client);
      assert.ok(now.starts > before.starts, "the instance that panicked is gone");
      assert.deepEqual(now, { ...before, starts: now.starts, value: client === carol ? 1 : value });
    }
    assert.deepEqual(errors(alice), Array(reported).fill("restarted"));
    assert.deepEqual(errors(bob), []);
    assert.deepEqual(errors(carol), []);
    assert.deepEqual(await room.ids(), ["alice", "bob"]);
    assert.deepEqual((await room.state()).closes, []);
    assert.deepEqual((await elsewhere.state()).closes, []);

    // The room still works.
    alice.send({ _tag: "Add", amount: 100 });
    assert.equal((await bob.next({ where: (frame) => frame.value === value + 100 }))._tag, "Value");
    assert.deepEqual(await room.send({ _tag: "Add", amount: -100 }), { status: 200 });
    assert.equal((await bob.next({ where: (frame) => frame.value === value })).value, value);
    const dave = await room.join("dave");
    assert.deepEqual((await report(dave)).peers, ["alice", "bob", "dave"]);
    await dave.close(1000);
    assert.deepEqual((await alice.next({ where: is("Closed") })).closed.id, "dave");
  }

  test("of a handler loses its frame and nothing else", async () => {
    const prepared = await prepare();
    prepared.alice.send({ _tag: "Panic", delay_ms: 0 });
    await survived(prepared);
  });

  test("of a handler after it waited loses its frame and nothing else", async () => {
    const prepared = await prepare();
    prepared.alice.send({ _tag: "Panic", delay_ms: 30 });
    assert.equal((await prepared.alice.next({ where: ({ $room }) => $room })).$room.error.code, "restarted");
    await survived(prepared);
  });

  for (const [when, event] of [
    ["", { _tag: "Panic", delay_ms: 0 }],
    [" after it waited", { _tag: "Panic", delay_ms: 30 }],
    [" after a change", { _tag: "AddAndPanic", amount: 40 }],
  ]) {
    test(`of the handler of the Worker's send${when} is an error for the Worker's caller`, async () => {
      const prepared = await prepare();
      const { status, error } = await prepared.room.send(event);
      assert.deepEqual([status, error?.code], [503, "restarted"]);
      await survived(prepared, { reported: 0, value: event.amount === undefined ? 2 : 42 });
    });
  }

  test("is an error for callers that wait for another room of the same isolate", async () => {
    const prepared = await prepare();
    const { alice, elsewhere, carol } = prepared;
    const answer = elsewhere.send({ _tag: "Hold", text: "never said" });
    await carol.next({ where: is("Holding") });
    alice.send({ _tag: "Panic", delay_ms: 0 });
    assert.equal((await answer).status, 503);
    await survived(prepared);
    assert.deepEqual(carol.received.filter(is("Said")), []);
  });

  test("is reported to the sender of each lost frame, also in other rooms", async () => {
    const prepared = await prepare();
    const { alice, bob, carol } = prepared;
    carol.send({ _tag: "Hold", text: "never said" });
    await carol.next({ where: is("Holding") });
    bob.send({ _tag: "Hold", text: "never said either" });
    await bob.next({ where: is("Holding") });
    const QUEUED = 10;
    // The frames wait for the running handler, or arrive after the panic: each is either reported or handled.
    for (let n = 0; n < QUEUED; n += 1) bob.send({ _tag: "Add", amount: 1 });
    alice.send({ _tag: "Panic", delay_ms: 0 });
    for (const client of [alice, bob, carol]) await client.next({ where: ({ $room }) => $room });
    const { value } = await report(bob);
    assert.deepEqual(errors(alice), ["restarted"]);
    assert.deepEqual(errors(carol), ["restarted"]);
    assert.deepEqual(errors(bob), Array(1 + QUEUED - (value - 2)).fill("restarted"));
    for (const client of [alice, bob, carol]) {
      await report(client);
      assert.deepEqual(client.received.filter(is("Said")), []);
    }
  });

  test("of many handlers at once is reported to each of their senders once", async () => {
    const room = new Room(at.host);
    const clients = [];
    for (let n = 0; n < 12; n += 1) clients.push(await room.join(`peer-${n}`));
    for (const [n, client] of clients.entries()) client.send({ _tag: "Panic", delay_ms: n % 3 });
    for (const client of clients) await client.next({ where: ({ $room }) => $room });
    for (const client of clients) {
      assert.equal((await report(client)).peers.length, clients.length);
      assert.deepEqual(errors(client), ["restarted"]);
    }
  });

  test("of on_connect refuses that peer, leaves no ghost and runs no on_close", async () => {
    const prepared = await prepare();
    const { room, bob } = prepared;
    const { status } = await room.refused("eve", { name: "panic-on-connect" });
    assert.equal(status, 503);
    // This counts the sockets themselves, before anything loads their peers.
    assert.equal((await room.call("broadcast", { _tag: "Said", from: null, text: "who is there?" })).sent, 2);
    assert.deepEqual(await room.ids(), ["alice", "bob"]);
    await survived(prepared, { reported: 0 });
    assert.deepEqual(bob.received.filter(closedOf("eve")), []);
  });

  test("refuses the peers that are connecting, without a ghost or an on_close", async () => {
    const prepared = await prepare();
    const { room, alice, bob } = prepared;
    const ids = Array.from({ length: 5 }, (_, n) => `late-${n}`);
    const refusals = ids.map((id) => room.refused(id, { name: "held" }));
    for (const id of ids) await bob.next({ where: (frame) => frame._tag === "Holding" && frame.id === id });
    alice.send({ _tag: "Panic", delay_ms: 0 });
    for (const refusal of refusals) assert.equal((await refusal).status, 503);
    assert.equal((await room.call("broadcast", { _tag: "Said", from: null, text: "who is there?" })).sent, 2);
    await survived(prepared);
    for (const id of ids) assert.deepEqual(bob.received.filter(closedOf(id)), []);
  });

  test("after a panic and while others come and go leaves no ghost and loses no peer", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const saboteur = await new Room(at.host).join("saboteur");
    let joining = true;
    const sabotage = (async () => {
      while (joining) {
        saboteur.send({ _tag: "Panic", delay_ms: 1 });
        await saboteur.next({ where: ({ $room }) => $room });
        await report(saboteur);
      }
    })();
    const joined = new Map();
    const turns = Array.from({ length: 6 }, async (_, turn) => {
      for (let n = 0; n < 15; n += 1) {
        const id = `peer-${turn}-${n}`;
        try {
          joined.set(id, await room.join(id));
        } catch (error) {
          // The panic ended the Worker's side of the upgrade.
          assert.ok(error instanceof UpgradeRefused && error.status === 503, error.stack);
        }
      }
    });
    await Promise.all(turns);
    joining = false;
    await sabotage;

    // `on_close` of peers that were accepted before the Worker's side ended runs as soon as the platform notices.
    const expected = ["alice", ...joined.keys()].sort().join();
    await eventually("the peers to be those that were admitted", async () => (await room.ids()).join() === expected);
    for (const [id, client] of joined) assert.equal((await report(client)).sender, id);
    const { connects, closes } = await room.state();
    assert.equal(connects - closes.length, 1 + joined.size);
  });
});

describe("a room that panicked still hibernates", () => {
  // Each case has its own worker and panics once, so that the leftovers of one panic do not end in the next.
  const CASES = {
    "in on_event": async ({ alice }) => {
      alice.send({ _tag: "Panic", delay_ms: 0 });
      await alice.next({ where: ({ $room }) => $room });
    },
    "in the Worker's send, while another one waits": async ({ room, alice }) => {
      const held = room.send({ _tag: "Hold", text: "never said" });
      await alice.next({ where: is("Holding") });
      for (const answer of [room.send({ _tag: "Panic", delay_ms: 20 }), held]) assert.equal((await answer).status, 503);
    },
    "in on_connect": async ({ room }) => {
      assert.equal((await room.refused("eve", { name: "panic-on-connect" })).status, 503);
    },
    "while another peer connects": async ({ room, alice }) => {
      const refusal = room.refused("eve", { name: "held" });
      await alice.next({ where: is("Holding") });
      alice.send({ _tag: "Panic", delay_ms: 0 });
      assert.equal((await refusal).status, 503);
    },
    "in on_close": async ({ room, alice }) => {
      const eve = await room.join("eve", { name: "panic-on-close" });
      await eve.close(1000);
      await eventually("the new instance", async () => (await report(alice)).starts === 2);
    },
  };

  let hosts = [];
  let sleeper;
  const rooms = new Map();

  before(async () => {
    const start = () => startWorker({ dir: "tests/e2e/rooms" });
    const undisturbed = await start();
    hosts = [undisturbed];
    const room = new Room(undisturbed);
    sleeper = { room, alice: await room.join("alice", { name: "Alice" }), bob: await room.join("bob") };
    sleeper.alice.send({ _tag: "Add", amount: 3 });
    sleeper.before = await report(sleeper.alice);
    for (const [when, panic] of Object.entries(CASES)) {
      const host = await start();
      hosts.push(host);
      const room = new Room(host);
      const peers = { room, alice: await room.join("alice", { name: "Alice" }), bob: await room.join("bob") };
      await panic(peers);
      peers.before = await report(peers.alice);
      assert.equal(peers.before.starts, 2);
      rooms.set(when, peers);
    }
    await idle(undisturbed);
  });

  after(() => Promise.all(hosts.map((host) => host.stop())));

  for (const when of Object.keys(CASES)) {
    test(when, async () => {
      const { alice, bob, before } = rooms.get(when);
      assert.deepEqual(await report(alice), { ...before, starts: 3 });
      assert.deepEqual((await report(bob)).peers, ["alice", "bob"]);
    });
  }

  test("and may panic at the first thing it does after a sleep", async () => {
    const { room, alice, bob, before } = sleeper;
    alice.send({ _tag: "Panic", delay_ms: 0 });
    await alice.next({ where: ({ $room }) => $room });
    // The object woke, and then started again.
    assert.deepEqual(await report(alice), { ...before, starts: 3 });
    assert.deepEqual(errors(alice), ["restarted"]);
    assert.deepEqual((await report(bob)).peers, ["alice", "bob"]);
    assert.deepEqual(errors(bob), []);
    assert.deepEqual(await room.ids(), ["alice", "bob"]);
  });
});

describe("a restart of workerd", () => {
  const at = worker();

  for (const [how, stop] of [["stopped", async () => {}], ["killed", (host) => host.kill()]]) {
    test(`that was ${how} keeps what was acknowledged, and leaves no ghost`, async () => {
      const room = new Room(at.host);
      for (let round = 1; round <= 3; round += 1) {
        const alice = await room.join("alice", { name: "Alice", tags: "x" });
        const bob = await room.join("bob");
        assert.deepEqual((await report(alice)).peers, ["alice", "bob"]);
        alice.send({ _tag: "Visit" });
        bob.send({ _tag: "Add", amount: 1 });
        assert.equal((await alice.next({ where: is("Value") })).value, 2 * round - 1);
        assert.deepEqual(await room.send({ _tag: "Add", amount: 1 }), { status: 200 });

        await stop(at.host);
        await at.host.restart();
        for (const client of [alice, bob]) await bounded(client.closed, "the end of a connection of before");

        assert.equal((await room.state()).value, 2 * round);
        assert.deepEqual(await room.peers(), []);
        assert.deepEqual(await room.call("broadcast", { _tag: "Value", value: 0 }), { status: 200, sent: 0, failed: [] });
        const carol = await room.join("alice", { name: "Alice again" });
        const now = await report(carol);
        assert.deepEqual(now.peers, ["alice"]);
        assert.deepEqual([now.name, now.visits, now.tags], ["Alice again", 0, []]);
        assert.equal(now.value, 2 * round);
        await carol.close(1000);
      }
    });
  }

  test("in the middle of a stream of changes keeps each change that was broadcast", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    for (let n = 0; n < 2_000; n += 1) alice.send({ _tag: "Add", amount: 1 });
    while ((await alice.next({ where: is("Value") })).value < 100);
    await at.host.kill();
    await bounded(alice.closed, "the end of the connection");
    const sent = alice.received.findLast(is("Value")).value;
    await at.host.restart();
    const { value } = await room.state();
    assert.ok(value >= sent && value <= 2_000, `${sent} was broadcast, ${value} is stored`);
  });
});

describe("the close handshake", () => {
  const at = worker();

  const CODES = [
    [1000, "bye"],
    [1000, ""],
    [1001, "going away"],
    [1011, ""],
    [1014, "as far as the assigned ones go"],
    [3000, ""],
    [4321, "because"],
    [4999, "ü".repeat(61)],
    [undefined, undefined],
  ];
  for (const [code, reason] of CODES) {
    const given = `${code ?? "no code"}${reason ? " and a reason" : ""}`;
    test(`of a client that closes with ${given} is completed with the same`, async () => {
      const room = new Room(at.host);
      const alice = await room.join("alice");
      const bob = await room.join("bob");
      const answer = code === undefined ? { code: 1005, reason: "" } : { code, reason };
      assert.deepEqual(await bob.close(code, reason), answer);
      const closed = { id: "bob", ...answer, was_clean: true };
      assert.deepEqual(await alice.next(), { _tag: "Closed", closed });
      assert.deepEqual((await report(alice)).peers, ["alice"]);
      assert.deepEqual(await room.ids(), ["alice"]);
      assert.deepEqual((await room.state()).closes, [closed], "on_close ran once");
      assert.deepEqual(alice.received.map(({ _tag }) => _tag), ["Closed", "Report"]);
    });
  }

  // No library sends these codes, but a network can.
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535]) {
    test(`of a client that closes with ${code}, which must not be sent, is completed`, async (t) => {
      const room = new Room(at.host);
      const alice = await room.join("alice");
      const bob = await Raw.open(at.host);
      t.after(() => bob.destroy());
      await bob.upgrade(room.path("bob"));
      bob.frame(closePayload(code, "why not"), { opcode: CLOSE });
      assert.equal((await alice.next({ where: is("Closed") })).closed.id, "bob");
      const answer = await bob.closed();
      assert.ok([code, 1002, 1005].includes(answer.code), `answered with ${answer.code}`);
      await bob.rest();
      assert.deepEqual((await report(alice)).peers, ["alice"]);
      assert.equal((await room.state()).closes.length, 1);
    });
  }

  test("is not waited for when the connection breaks: on_close says 1006", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await room.join("bob");
    const carol = await Raw.open(at.host);
    await carol.upgrade(room.path("carol"));
    bob.terminate();
    const { closed: first } = await alice.next();
    assert.deepEqual([first.id, first.code, first.was_clean], ["bob", 1006, false]);
    // A half-closed connection counts as closed.
    carol.end();
    const { closed: second } = await alice.next();
    assert.deepEqual([second.id, second.code, second.was_clean], ["carol", 1006, false]);
    assert.deepEqual((await report(alice)).peers, ["alice"]);
    assert.deepEqual(await room.ids(), ["alice"]);
    assert.deepEqual((await room.state()).closes, [first, second]);
    carol.destroy();
  });

  test("of a peer that the room closes and that never sent a frame is completed too", async (t) => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await Raw.open(at.host);
    t.after(() => bob.destroy());
    await bob.upgrade(room.path("bob"));
    alice.send({ _tag: "Kick", id: "bob", code: 4000, reason: "silence" });
    assert.deepEqual(await bob.closed(), { code: 4000, reason: "silence" });
    assert.deepEqual(await alice.next(), { _tag: "Kicked", count: 1, left: ["alice"] });
    bob.frame(closePayload(4000, "silence"), { opcode: CLOSE });
    const closed = { id: "bob", code: 4000, reason: "silence", was_clean: true };
    assert.deepEqual(await alice.next(), { _tag: "Closed", closed });
  });

  test("of a peer that the room closes and that does not answer leaves no ghost", async (t) => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await Raw.open(at.host);
    t.after(() => bob.destroy());
    await bob.upgrade(room.path("bob"));
    bob.frame('{"_tag":"Report"}');
    await bob.next({ opcode: TEXT });
    alice.send({ _tag: "Kick", id: "bob", code: 4000, reason: "" });
    assert.deepEqual(await bob.closed(), { code: 4000, reason: "" });
    assert.deepEqual(await room.ids(), ["alice"]);
    // Further messages of the peer are ignored, and it receives none.
    bob.frame('{"_tag":"Add","amount":1}');
    alice.send({ _tag: "Say", text: "anyone?", tag: null, delay_ms: 0 });
    await alice.next({ where: is("Said") });
    bob.destroy();
    const { closed } = await alice.next({ where: is("Closed") });
    assert.equal(closed.id, "bob");
    const { peers, value } = await report(alice);
    assert.deepEqual(peers, ["alice"]);
    assert.ok([0, 1].includes(value));
    assert.equal((await room.state()).closes.length, 1);
  });

  test("of a client that disconnects while it connects runs on_close after on_connect", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await Raw.open(at.host);
    bob.write(upgradeRequest(at.host, room.path("bob", { name: "held" })));
    await alice.next({ where: is("Holding") });
    bob.destroy();
    alice.send({ _tag: "Release", id: "bob" });
    const { closed } = await alice.next({ where: is("Closed") });
    assert.deepEqual([closed.id, closed.code, closed.was_clean], ["bob", 1006, false]);
    const { peers, connects } = await report(alice);
    assert.deepEqual({ peers, connects }, { peers: ["alice"], connects: 2 });
    assert.equal((await room.state()).closes.length, 1);
  });

  test("of the last peer leaves an empty room that can be joined again", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    await alice.close(1000, "last");
    await eventually("the on_close", async () => (await room.state()).closes.length === 1);
    assert.deepEqual(await room.peers(), []);
    assert.deepEqual((await report(await room.join("alice"))).peers, ["alice"]);
    assert.equal((await room.state()).closes.length, 1);
  });
});

describe("an error", () => {
  const at = worker();

  test("of a handler keeps what it changed and everyone's connection, and is logged with room, peer and handler", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await room.join("bob");
    alice.send({ _tag: "AddAndFail", amount: 3 });
    const error = { code: "handler", message: "the room could not handle this event" };
    assert.deepEqual(await alice.next(), { $room: { error } });
    for (const client of [alice, bob]) assert.equal((await report(client)).value, 3);
    assert.deepEqual(bob.received.map(({ _tag }) => _tag), ["Report"], "it is for its sender");
    alice.send({ _tag: "Add", amount: 1 });
    assert.equal((await bob.next()).value, 4);
    assert.equal((await report(bob)).starts, 1, "it is no panic");
    const logged = `room \`${room.id}\`, peer \`alice\`: on_event failed: invalid digit found in string`;
    await eventually("the log", () => at.host.logs().includes(logged));
  });

  test("of the handler of the Worker's send reaches the Worker with its kind and message", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const failed = await room.send({ _tag: "AddAndFail", amount: 3 });
    assert.equal(failed.status, 500);
    assert.equal(failed.kind, "handler");
    assert.match(failed.message, new RegExp(`room \`${room.id}\`.*invalid digit found in string`));
    assert.equal((await report(alice)).value, 3);
    // An error of the runtime keeps its kind.
    for (const [code, reason] of [[1006, ""], [999, ""], [5000, ""], [1000, "x".repeat(124)], [1000, "ü".repeat(62)]]) {
      const { status, kind } = await room.send({ _tag: "Kick", id: "alice", code, reason });
      assert.deepEqual([status, kind], [500, "invalid_close"], `${code} ${reason}`);
    }
    assert.deepEqual((await report(alice)).peers, ["alice"]);
    assert.deepEqual(alice.received.map(({ _tag }) => _tag), ["Report", "Report"]);
  });

  test("of on_connect closes that peer with 1011, without an on_close or a ghost", async (t) => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    for (const id of ["eve", "alice"]) {
      const eve = await Raw.open(at.host);
      t.after(() => eve.destroy());
      await eve.upgrade(room.path(id, { name: "refuse-me", tags: "x" }));
      const { code, reason } = await eve.closed();
      assert.equal(code, 1011);
      assert.notEqual(reason, "");
      assert.deepEqual(await room.ids(), ["alice"]);
      // Further messages of the peer are ignored, and its close frame causes no `on_close`.
      eve.frame('{"_tag":"Add","amount":1}');
      eve.frame(closePayload(1011), { opcode: CLOSE });
      assert.deepEqual(await room.peers("x"), []);
    }
    const { peers, connects, value, starts } = await report(alice);
    assert.deepEqual({ peers, connects, value, starts }, { peers: ["alice"], connects: 1, value: 0, starts: 1 });
    assert.deepEqual((await room.state()).closes, []);
    assert.deepEqual(alice.received.map(({ _tag }) => _tag), ["Report"]);
    await eventually("the log", () =>
      at.host.logs().includes(`room \`${room.id}\`, peer \`eve\`: on_connect failed: this one is refused`));
  });

  test("of on_close affects no other peer, and the handshake is complete", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await room.join("bob", { name: "fail-on-close" });
    assert.deepEqual(await bob.close(4000, "x"), { code: 4000, reason: "x" });
    assert.equal((await alice.next()).closed.id, "bob");
    const { peers, starts } = await report(alice);
    assert.deepEqual([peers, starts], [["alice"], 1]);
    assert.equal((await room.state()).closes.length, 1);
    await eventually("the log", () => at.host.logs().includes("peer `bob`: on_close failed: asked to, by on_close"));
  });

  test("of a missing binding shows what to add to the configuration", async () => {
    const response = await at.host.fetch("/unbound");
    assert.equal(response.status, 500);
    const { kind, message } = await response.json();
    assert.equal(kind, "binding");
    for (const line of [
      "[[durable_objects.bindings]]",
      'name = "NOT_BOUND"',
      'class_name = "Unbound"',
      "[[migrations]]",
      'new_sqlite_classes = ["Unbound"]',
    ]) {
      assert.ok(message.split("\n").includes(line), `${line} is not in:\n${message}`);
    }
  });
});

describe("a compatibility date before 2024-04-03", () => {
  const at = worker({ compatibilityDate: "2024-04-02" });

  test("is an error that shows which date to write", async () => {
    const response = await at.host.fetch("/api/r/state");
    assert.equal(response.status, 500);
    await response.text();
    await eventually("the log", () => at.host.logs().split("\n").includes('compatibility_date = "2024-10-14"'));
  });
});

describe("the id of a peer", () => {
  const at = worker();

  test("may be shared: two sockets with one id are two peers", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const one = await room.join("twin", { name: "one", tags: "x" });
    const two = await room.join("twin", { name: "two" });
    one.send({ _tag: "Visit" });
    const [first, second] = [await report(one), await report(two)];
    assert.deepEqual([first.sender, first.name, first.visits, first.tags], ["twin", "one", 1, ["x"]]);
    assert.deepEqual([second.sender, second.name, second.visits, second.tags], ["twin", "two", 0, []]);
    assert.deepEqual(first.peers, ["alice", "twin", "twin"]);
    assert.deepEqual((await room.peers("x")).map(({ data }) => data.name), ["one"]);
    await two.close(1000);
    assert.equal((await alice.next({ where: is("Closed") })).closed.id, "twin");
    assert.deepEqual((await report(one)).peers, ["alice", "twin"]);
    const three = await room.join("twin", { name: "three" });
    await report(three);
    alice.send({ _tag: "Kick", id: "twin", code: 4000, reason: "both" });
    assert.deepEqual(await alice.next({ where: is("Kicked") }), { _tag: "Kicked", count: 2, left: ["alice"] });
    for (const client of [one, three]) assert.equal((await bounded(client.closed, "the close")).code, 4000);
  });

  test("is anything of 1 to 255 bytes", async () => {
    const room = new Room(at.host);
    for (const id of ["x".repeat(255), "é".repeat(127) + "x", "=", "#x", " ", "a\u0000b", "🦀"]) {
      const client = await room.join(id);
      assert.equal((await report(client)).sender, id);
      await client.close(1000);
    }
    const alice = await room.join("alice");
    for (const id of ["", "x".repeat(256), "é".repeat(128), "🦀".repeat(64)]) {
      const { status, kind } = await room.refused(id);
      assert.deepEqual([status, kind], [500, "invalid_peer_id"]);
    }
    const { connects, peers } = await report(alice);
    assert.deepEqual([connects, peers], [8, ["alice"]]);
  });

  test("is not to be confused with a tag", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice", { tags: "=bob,#x" });
    const bob = await room.join("bob", { tags: "x,alice" });
    await report(bob);
    alice.send({ _tag: "Kick", id: "bob", code: 4000, reason: "" });
    assert.deepEqual(await alice.next(), { _tag: "Kicked", count: 1, left: ["alice"] });
    assert.equal((await bounded(bob.closed, "the close")).code, 4000);
    assert.deepEqual(await room.peers("x"), []);
    assert.equal((await room.peers("#x")).length, 1);
    assert.deepEqual(await room.peers("alice"), []);
  });
});

describe("the tags of a peer", () => {
  const at = worker();

  test("are up to nine of up to 255 bytes, and each selects", async () => {
    const room = new Room(at.host);
    const tags = Array.from({ length: 9 }, (_, n) => (n % 2 ? `${n}`.padEnd(255, "t") : `${n}${"é".repeat(127)}`));
    const alice = await room.join("x".repeat(255), { tags: tags.join() });
    const bob = await room.join("bob", { tags: tags[3] });
    assert.deepEqual((await report(alice)).tags, tags);
    for (const [n, tag] of tags.entries()) {
      assert.equal((await room.peers(tag)).length, n === 3 ? 2 : 1);
      bob.send({ _tag: "Say", text: `to ${n}`, tag, delay_ms: 0 });
    }
    await report(bob);
    assert.deepEqual(bob.received.filter(is("Said")).map(({ text }) => text), ["to 3"]);
    await report(alice);
    assert.deepEqual(alice.received.filter(is("Said")).map(({ text }) => text), tags.map((_, n) => `to ${n}`));
  });

  test("past that are a typed error, and there is no socket", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    for (const tags of [
      Array.from({ length: 10 }, (_, n) => `${n}`).join(),
      "t".repeat(256),
      `ok,${"é".repeat(128)}`,
      `${"🦀".repeat(64)},ok`,
    ]) {
      const { status, kind, message } = await room.refused("eve", { tags });
      assert.deepEqual([status, kind], [500, "invalid_tag"]);
      assert.match(message, new RegExp(`room \`${room.id}\``));
    }
    const { connects, peers } = await report(alice);
    assert.deepEqual([connects, peers], [1, ["alice"]]);
    assert.deepEqual(alice.received.length, 1);
  });

  test("count once when given twice, and may be empty", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice", { tags: `${"x,".repeat(20)}y` });
    assert.deepEqual((await report(alice)).tags, ["x", "y"]);
    const bob = await room.join("bob", { tags: "" });
    assert.deepEqual((await report(bob)).tags, [""]);
    assert.deepEqual((await room.peers("")).map(({ id }) => id), ["bob"]);
  });
});

/** The number of repetitions of a text in the peer's name that the runtime still accepts. */
async function largestName(client, unit) {
  let refusal;
  const bytes = Buffer.byteLength(unit);
  const times = await largest(0, 20_000, async (times) => {
    client.send({ _tag: "Rename", name: unit.repeat(times) });
    const answer = await client.next({ where: ({ _tag }) => _tag === "Renamed" || _tag === "Failed" });
    if (answer._tag === "Failed") refusal = answer;
    else assert.equal(answer.bytes, times * bytes);
    return answer._tag === "Renamed";
  });
  assert.equal(refusal.kind, "attachment_too_large");
  // The runtime's own limit stops it, not one of the platform.
  assert.match(refusal.message, /the peer's data has \d+ bytes as JSON, the limit is 14336/);
  return times;
}

describe("the data of a peer", () => {
  const at = worker();
  const UNITS = [["ASCII", "a", 1], ["accents", "é", 2], ["emoji", "🦀", 4], ["quotes", '"', 2], ["control characters", "\u0001", 6]];

  for (const [what, unit, bytes] of UNITS) {
    test(`may be as large as the platform keeps, and not larger: ${what}`, async () => {
      const room = new Room(at.host);
      const alice = await room.join("alice", { name: "small" });
      const times = await largestName(alice, unit);
      assert.ok(times * bytes > 14_200, `14 KiB, and not ${times * bytes}`);

      // Data that is too large changes nothing.
      alice.send({ _tag: "Rename", name: unit.repeat(times) });
      assert.equal((await alice.next({ where: is("Renamed") }))._tag, "Renamed");
      alice.send({ _tag: "Rename", name: unit.repeat(times + 1) });
      assert.equal((await alice.next({ where: is("Failed") })).kind, "attachment_too_large");
      assert.equal((await report(alice)).name, unit.repeat(times));
      // One more digit adds a byte.
      for (let n = 0; n < 10; n += 1) alice.send({ _tag: "Visit" });
      const { visits } = await report(alice);
      assert.ok([9, 10].includes(visits), `${visits}`);
      alice.send({ _tag: "Rename", name: "small" });
      await alice.next({ where: is("Renamed") });

      // The same limit holds at the upgrade.
      const elsewhere = new Room(at.host);
      const bob = await elsewhere.join("alice", { name: unit, times });
      assert.equal((await report(bob)).name, unit.repeat(times));
      for (const more of [times + 1, times * 2, times * 20]) {
        const { status, kind, message } = await elsewhere.refused("alice", { name: unit, times: more });
        assert.deepEqual([status, kind], [500, "attachment_too_large"]);
        assert.match(message, new RegExp(`room \`${elsewhere.id}\``));
      }
      const { connects, peers } = await report(bob);
      assert.deepEqual([connects, peers], [1, ["alice"]]);
      assert.equal((await elsewhere.peers())[0].data.name, unit.repeat(times));
    });
  }
});

describe("the state of a room", () => {
  const at = worker();

  for (const [what, unit] of [["ASCII", "a"], ["emoji", "🦀"]]) {
    test(`may have 2 MB, which the platform keeps over a restart: ${what}`, async () => {
      const room = new Room(at.host);
      const bytes = Buffer.byteLength(unit);
      const alice = await room.join("alice");
      const fill = (times) => room.send({ _tag: "Fill", with: unit, times });
      let refusal;
      const times = await largest(1_900_000 / bytes, 2_200_000 / bytes, async (times) => {
        const answer = await fill(times);
        if (answer.status !== 200) refusal = answer;
        return answer.status === 200;
      });
      assert.equal(refusal.kind, "value_too_large");
      // The runtime's own limit stops it, not one of the platform.
      assert.match(refusal.message, /the room's state has \d+ bytes as JSON, the limit is \d+/);
      assert.ok(times * bytes > 1_999_000, `2 MB, and not ${times * bytes}`);
      const filled = alice.received.filter(is("Filled")).length;

      assert.deepEqual(await fill(times), { status: 200 });
      assert.equal((await alice.next({ where: (frame) => frame.bytes === times * bytes }))._tag, "Filled");
      const refused = await fill(times + 1);
      assert.deepEqual([refused.status, refused.kind], [500, "value_too_large"]);
      assert.equal((await room.state()).blob, unit.repeat(times));
      await report(alice);
      assert.equal(alice.received.filter(is("Filled")).length, filled + 1, "no message is sent of a refused change");

      await at.host.kill();
      await at.host.restart();
      assert.equal((await room.state()).blob, unit.repeat(times));
      assert.deepEqual(await fill(1), { status: 200 });
    });
  }

  test("that grew too large is as it was, and the room goes on", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await room.join("bob");
    alice.send({ _tag: "Add", amount: 1 });
    alice.send({ _tag: "Fill", with: "ab", times: 10 });
    await bob.next({ where: is("Filled") });
    const before = await room.state();
    // By a frame of a peer, and by the Worker.
    alice.send({ _tag: "Fill", with: "a", times: 3_000_000 });
    const { status, kind } = await room.send({ _tag: "Fill", with: "a", times: 3_000_000 });
    assert.deepEqual([status, kind], [500, "value_too_large"]);
    assert.equal((await report(alice)).value, 1);
    assert.deepEqual(await room.state(), before);
    alice.send({ _tag: "Add", amount: 1 });
    assert.equal((await bob.next({ where: (frame) => frame.value === 2 }))._tag, "Value");
    assert.deepEqual(await room.state(), { ...before, value: 2 });
    assert.equal(bob.received.filter(is("Filled")).length, 1);
    assert.equal((await report(bob)).starts, 1);
    await bob.close(1000);
    assert.equal((await alice.next({ where: is("Closed") })).closed.id, "bob");
  });
});

describe("order", () => {
  const at = worker();

  test("has a bound: the sender of a frame too many gets an error, and the others are handled", async () => {
    const QUEUE = 1_024;
    const MORE = 25;
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const bob = await room.join("bob");
    alice.send({ _tag: "Hold", text: "held" });
    await alice.next({ where: is("Holding") });
    for (let n = 0; n < QUEUE + MORE; n += 1) alice.send({ _tag: "Add", amount: 1 });
    for (let n = 0; n < MORE; n += 1) await alice.next({ where: ({ $room }) => $room });
    assert.deepEqual((await report(bob)).value, 0);
    bob.send({ _tag: "Release", id: "alice" });
    await bob.next({ where: (frame) => frame.value === QUEUE });
    assert.equal((await report(alice)).value, QUEUE);
    assert.deepEqual(errors(alice), Array(MORE).fill("overloaded"));
    assert.deepEqual(errors(bob), []);
  });

  test("has on_connect first, also before a frame that came with the handshake", async (t) => {
    const room = new Room(at.host);
    const alice = await Raw.open(at.host);
    t.after(() => alice.destroy());
    // In one write, so that the frame arrives before the upgrade's response, long before `on_connect` ends.
    const asked = upgradeRequest(at.host, room.path("alice", { name: "slow" }));
    alice.write(Buffer.concat([Buffer.from(asked), frame('{"_tag":"Report"}'), frame('{"_tag":"Add","amount":1}')]));
    assert.equal((await alice.head()).status, 101);
    const { _tag, connects, name } = JSON.parse((await alice.next({ opcode: TEXT })).payload);
    assert.deepEqual({ _tag, connects, name }, { _tag: "Report", connects: 1, name: "slow" });
    assert.equal(JSON.parse((await alice.next({ opcode: TEXT })).payload).value, 1);
  });

  test("has on_connect once for each socket, however slow, and others connect meanwhile", async () => {
    const room = new Room(at.host);
    const alice = await room.join("alice");
    const waiting = room.join("bob", { name: "held" });
    await alice.next({ where: is("Holding") });
    const carol = await room.join("carol");
    assert.equal((await report(carol)).connects, 2);
    alice.send({ _tag: "Release", id: "bob" });
    const bob = await waiting;
    assert.equal((await report(bob)).connects, 3);
    assert.deepEqual((await report(alice)).peers, ["alice", "bob", "carol"]);
  });
});
