// Attacks on a room by public requests have no effect. The worker of tests/e2e/rooms is unsafe on purpose: it forwards
// public requests to the object unchanged (`/forward/:room/…`). None of them may run a command, change anything, or get
// a socket. The file also tests the tickets that join the two halves of an upgrade.
//
// A fence shows that something does not happen: a peer of the room asks for a report, and everything that the room sent
// it before has arrived by then.

import assert from "node:assert/strict";
import crypto from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { UpgradeRefused, startWorker } from "./harness.mjs";
import { Raw, UPGRADE, frame, request, upgradeRequest } from "./raw.mjs";

let host;

before(async () => {
  host = await startWorker({ dir: "tests/e2e/rooms" });
});

after(() => host?.stop());

let rooms = 0;

/** A room with two peers and state that an attack could harm, and the expected values. */
class Victim {
  static async create() {
    const victim = new Victim();
    victim.room = `victim-${(rooms += 1)}`;
    victim.alice = await join(victim.room, { id: "alice", name: "Alice", tags: "x" });
    victim.bob = await join(victim.room, { id: "bob", name: "Bob" });
    victim.bob.send({ _tag: "Add", amount: 7 });
    await victim.alice.next({ where: (frame) => frame.value === 7 });
    victim.before = await victim.look();
    return victim;
  }

  async look() {
    const get = async (what) => (await host.fetch(`/api/${this.room}/${what}`)).json();
    const [alice, bob] = [await report(this.alice), await report(this.bob)];
    const peers = (await get("peers")).sort((a, b) => (a.id < b.id ? -1 : 1));
    return { alice, bob, state: await get("state"), peers };
  }

  /** Asserts that the room is unchanged, and that no peer received a message. */
  async unharmed() {
    assert.deepEqual(await this.look(), this.before);
    for (const client of [this.alice, this.bob]) {
      const heard = client.received.filter(({ _tag }) => _tag !== "Report" && _tag !== "Value");
      assert.deepEqual(heard, []);
      assert.equal(client.received.filter(({ _tag }) => _tag === "Value").length, 1);
    }
  }

  /** Asserts that the room still works. */
  async works() {
    const carol = await join(this.room, { id: "carol", name: "Carol" });
    assert.deepEqual((await report(carol)).peers, ["alice", "bob", "carol"]);
    assert.equal((await host.fetch(`/api/${this.room}/send`, post({ _tag: "Add", amount: 1 }))).status, 200);
    for (const client of [this.alice, this.bob, carol]) await client.next({ where: (frame) => frame.value === 8 });
    await carol.close(1000);
    await this.alice.next({ where: ({ _tag }) => _tag === "Closed" });
    assert.deepEqual((await report(this.alice)).peers, ["alice", "bob"]);
  }

  /** The path to the room's object. */
  path(rest = "") {
    return `/forward/${this.room}${rest}`;
  }
}

function post(body) {
  return { method: "POST", body: JSON.stringify(body) };
}

function join(room, options, headers) {
  return host.ws(`/ws/${room}?${new URLSearchParams(options)}`, { headers });
}

async function report(client) {
  client.send({ _tag: "Report" });
  return client.next({ where: ({ _tag }) => _tag === "Report" });
}

function newTicket() {
  return crypto.randomBytes(16).toString("hex");
}

/** The head of the response to a request given as text. */
async function answer(text) {
  const connection = await Raw.open(host);
  try {
    connection.write(text);
    return await connection.head();
  } finally {
    connection.destroy();
  }
}

/** A request that also asks for an upgrade. */
function upgrade(host, method, path, headers = [], body) {
  return request(host, method, path, [...UPGRADE, ...headers], body);
}

function assertRefused({ status }, what) {
  assert.ok(status >= 400, `${what} was answered with ${status}`);
}

// Commands of the Worker's client; the format is public.
const ADD = JSON.stringify({ _tag: "Add", amount: 1000 });
const COMMANDS = [
  `send ${ADD}`,
  'send {"_tag":"Panic","delay_ms":0}',
  'send {"_tag":"Kick","id":"alice","code":4000,"reason":""}',
  'broadcast {"_tag":"Said","from":"nobody","text":"hello"}',
  `prepare ${"0".repeat(32)} {"data":{"name":"eve","visits":0},"id":"eve"}`,
  `once 1 k send ${ADD}`,
  "state",
  "peers",
  "tagged x",
  "fire_alarm",
  JSON.stringify({ jsonrpc: "2.0", id: 1, method: "roomCall", params: [`send ${ADD}`] }),
  JSON.stringify(["roomCall", `send ${ADD}`]),
];

const PATHS = [
  "",
  "/",
  "//",
  "/roomCall",
  "/prepare",
  "/send",
  "/state",
  "/peers",
  "/broadcast",
  "/websocket",
  "/ws",
  "/connect",
  "/alarm",
  "/webSocketMessage",
  "/free",
  "/__destroy_into_raw",
  "/constructor",
  "/%2e%2e",
  "/%2FroomCall",
  "/room%43all",
  "/roomCall?command=%22state%22",
  "/?ticket=00000000000000000000000000000000",
  "/?room-ticket=00000000000000000000000000000000",
  "/#roomCall",
];

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "QUERY", "get"];

// All headers but a well-formed ticket, which has its own test.
const HEADERS = [
  [],
  [["room-ticket", ""]],
  [["room-ticket", " "]],
  [["room-ticket", "undefined"]],
  [["room-ticket", "null"]],
  [["room-ticket", "0"]],
  [["room-ticket", "0".repeat(31)]],
  [["room-ticket", "0".repeat(33)]],
  [["room-ticket", "g".repeat(32)]],
  [["room-ticket", "é".repeat(16)]],
  [["room-ticket", `0x${"0".repeat(30)}`]],
  [["room-ticket", "0".repeat(8_000)]],
  [["room-ticket", "0".repeat(32)], ["room-ticket", "0".repeat(32)]],
  [["room-ticket", newTicket()], ["Room-Ticket", newTicket()]],
  [["room-error", "ticket"]],
  [["room-error", "handler"], ["room-ticket", ""]],
  [["x-room-ticket", newTicket()]],
  [["room_ticket", newTicket()]],
  [["authorization", `Bearer ${newTicket()}`]],
  [["Sec-WebSocket-Protocol", "room.v1"]],
  [["Sec-WebSocket-Protocol", `room-ticket, ${newTicket()}`]],
  [["cf-worker", "rooms.example"], ["cf-connecting-ip", "127.0.0.1"], ["cf-ray", "0"], ["cf-ew-via", "15"]],
  [["x-forwarded-for", "127.0.0.1"], ["x-forwarded-host", "room"], ["x-original-url", "/roomCall"]],
  [["x-http-method-override", "POST"], ["x-rewrite-url", "/prepare"]],
  [["x-room-id", "alice"], ["x-room-data", '{"name":"eve","visits":0}'], ["x-room-tags", "x"]],
  [["content-type", "application/json"], ["accept", "application/json"]],
  [["cookie", `room-ticket=${newTicket()}`]],
];

const HOSTS = ["room", "localhost", "durable-object", "do", "example.com:1", "roomCall", "127.0.0.1", "[::1]"];

describe("a forwarded request", () => {
  for (const [what, write] of [["", request], [" that asks for an upgrade", upgrade]]) {
    test(`to any path${what} is refused`, async () => {
      const victim = await Victim.create();
      for (const path of PATHS) {
        for (const method of ["GET", "POST"]) {
          const text = write(host, method, victim.path(path), [], method === "POST" ? COMMANDS[0] : "");
          assertRefused(await answer(text), `${method} ${path}${what}`);
        }
      }
      await victim.unharmed();
      await victim.works();
    });

    test(`of any method${what} is refused`, async () => {
      const victim = await Victim.create();
      for (const method of METHODS) {
        const body = ["GET", "HEAD", "TRACE", "get"].includes(method) ? "" : COMMANDS[0];
        assertRefused(await answer(write(host, method, victim.path(), [], body)), `${method}${what}`);
      }
      await victim.unharmed();
      await victim.works();
    });

    test(`with any header${what} is refused`, async () => {
      const victim = await Victim.create();
      for (const headers of [...HEADERS, ...HOSTS.map((name) => [["Host", name]])]) {
        const text = write(host, "GET", victim.path(), headers);
        assertRefused(await answer(text), `${JSON.stringify(headers).slice(0, 100)}${what}`);
      }
      // An absolute URI, as a proxy receives it.
      for (const origin of [host.url, "http://room", "http://roomCall:1"]) {
        assertRefused(await answer(write(host, "GET", `${origin}${victim.path("/roomCall")}`)), origin);
      }
      await victim.unharmed();
      await victim.works();
    });

    test(`with a command in its body${what} is refused`, async () => {
      const victim = await Victim.create();
      for (const command of COMMANDS) {
        for (const body of [command, JSON.stringify(command)]) {
          for (const path of ["", "/roomCall", "/send"]) {
            for (const headers of [[], [["content-type", "application/json"]]]) {
              const text = write(host, "POST", victim.path(path), headers, body);
              assertRefused(await answer(text), `${path} ${body}${what}`);
            }
          }
        }
      }
      await victim.unharmed();
      await victim.works();
    });
  }

  test("with a frame behind its refused upgrade gets no frame through", async () => {
    const victim = await Victim.create();
    for (const headers of HEADERS) {
      const connection = await Raw.open(host);
      const asked = Buffer.from(upgradeRequest(host, victim.path(), headers));
      connection.write(Buffer.concat([asked, frame('{"_tag":"Add","amount":1000}')]));
      assertRefused(await connection.head(), JSON.stringify(headers).slice(0, 100));
      connection.destroy();
    }
    await victim.unharmed();
    await victim.works();
  });

  test("with a large body is refused", async () => {
    const victim = await Victim.create();
    const say = { _tag: "Say", text: "x".repeat(8 * 1024 * 1024), tag: null, delay_ms: 0 };
    const text = `send ${JSON.stringify(say)}`;
    // The request is refused before its body is read: either the response arrives, or the connection ends during the
    // write.
    const response = await host.fetch(victim.path(), { method: "POST", body: text }).catch((error) => {
      if (!["ECONNRESET", "EPIPE"].includes(error.cause?.code)) throw error;
    });
    assert.equal(response?.status ?? 403, 403);
    await victim.unharmed();
    await victim.works();
  });

  test("to an unused room does not create it", async () => {
    const room = "never-used";
    for (const path of PATHS) await answer(request(host, "POST", `/forward/${room}${path}`, [], COMMANDS[0]));
    const { starts, connects, value } = await report(await join(room, { id: "first" }));
    assert.deepEqual({ starts, connects, value }, { starts: 1, connects: 1, value: 0 });
  });

  test("does not hold up, break or change what the room's peers do meanwhile", async () => {
    const victim = await Victim.create();
    const MESSAGES = 200;
    const attack = Promise.all(Array.from({ length: 100 }, async (_, n) => {
      const path = victim.path(PATHS[n % PATHS.length]);
      const headers = HEADERS[n % HEADERS.length];
      const text = n % 2 ? upgradeRequest(host, path, headers) : request(host, "POST", path, headers, '{"send":"x"}');
      assertRefused(await answer(text), `${n}`);
    }));
    for (let n = 0; n < MESSAGES; n += 1) {
      victim.alice.send({ _tag: "Say", text: `${n}`, tag: null, delay_ms: 0 });
    }
    const said = [];
    while (said.length < MESSAGES) said.push(await victim.bob.next({ where: ({ _tag }) => _tag === "Said" }));
    await attack;
    assert.equal(said.map(({ text }) => text).join(), said.map((_, n) => n).join());
    assert.deepEqual(await victim.look(), victim.before);
  });
});

// Concurrently, because the room waits some seconds for the other half of an invalid ticket.
describe("a ticket", { concurrency: true }, () => {
  /** Announces an upgrade to the room, as its client does. This requires the binding. */
  async function prepare(room, ticket, upgrade) {
    const command = `prepare ${ticket} ${JSON.stringify(upgrade)}`;
    const response = await host.fetch(`/rpc/${room}/roomCall`, post(command));
    assert.equal(response.status, 200);
    return response.json();
  }

  test("that was forged admits no peer, also in large numbers, and the room goes on and still hibernates", async () => {
    const victim = await Victim.create();
    const MANY = 200;
    const tickets = Array.from({ length: MANY }, newTicket);
    tickets[0] = "0".repeat(32);
    tickets[1] = "F".repeat(32);
    const attack = Promise.all(tickets.map(async (ticket, n) => {
      const headers = [["room-ticket", ticket]];
      const path = victim.path(PATHS[n % PATHS.length]);
      // The request contains data for a peer, in each place where the room might read it.
      const body = COMMANDS[n % COMMANDS.length];
      const text = n % 4 ? upgradeRequest(host, path, headers) : request(host, "POST", path, headers, body);
      const connection = await Raw.open(host);
      connection.write(text);
      // Some requests do not wait for the response.
      if (n % 10 === 9) {
        await sleep(n);
        connection.destroy();
        return;
      }
      assertRefused(await connection.head(), ticket);
      connection.destroy();
    }));
    // Valid upgrades still work while the invalid ones wait.
    for (let n = 0; n < 10; n += 1) {
      const dave = await join(victim.room, { id: "dave", name: `${n}` });
      const { name, peers } = await report(dave);
      assert.deepEqual({ name, peers }, { name: `${n}`, peers: ["alice", "bob", "dave"] });
      await dave.close(1000);
      await victim.alice.next({ where: ({ _tag }) => _tag === "Closed" });
    }
    await attack;

    const now = await victim.look();
    const { before } = victim;
    assert.deepEqual(now.peers, before.peers);
    assert.deepEqual(now.alice, { ...before.alice, connects: 12 });
    assert.equal(now.state.closes.length, 10);
    await victim.works();

    // There is no event to wait for: workerd hibernates an object after about 10 s without work and does not announce
    // it, and a request keeps the object awake. So the test asks rarely.
    const { starts } = await report(victim.alice);
    for (let round = 1; (await report(victim.alice)).starts === starts; round += 1) {
      assert.ok(round <= 5, "the room does not hibernate");
      await sleep(12_000);
    }
    assert.deepEqual((await report(victim.bob)).peers, ["alice", "bob"]);
  });

  test("admits one socket, once, with the id, data and tags it was prepared with", async () => {
    const victim = await Victim.create();
    const ticket = newTicket();
    assert.deepEqual(
      await prepare(victim.room, ticket, { data: { name: "Carol", visits: 3 }, id: "carol", tags: ["y"] }),
      { ok: null },
    );
    const headers = { "room-ticket": ticket };
    const attempts = await Promise.allSettled(Array.from({ length: 5 }, () => host.ws(victim.path(), { headers })));
    const [carol, ...others] = attempts.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
    assert.deepEqual(others, [], "only one gets in");
    for (const { reason } of attempts.filter(({ status }) => status === "rejected")) {
      assert.ok(reason instanceof UpgradeRefused && reason.status === 500, reason.stack);
      assert.equal(reason.headers["room-error"], "ticket");
    }
    const { sender, name, visits, tags, peers } = await report(carol);
    assert.deepEqual({ sender, name, visits, tags }, { sender: "carol", name: "Carol", visits: 3, tags: ["y"] });
    assert.deepEqual(peers, ["alice", "bob", "carol"]);
    // Nor after it is free again.
    await carol.close(1000);
    await assert.rejects(host.ws(victim.path(), { headers }), { status: 500 });
    assert.deepEqual((await report(victim.alice)).peers, ["alice", "bob"]);
    assert.equal((await report(victim.alice)).connects, 3);
  });

  test("works whichever of its halves comes first", async () => {
    const victim = await Victim.create();
    const ticket = newTicket();
    const waiting = host.ws(victim.path(), { headers: { "room-ticket": ticket } });
    // The upgrade has been under way for longer than this round trip takes, so the room is waiting for its other half.
    assert.equal((await host.fetch(victim.path())).status, 403);
    assert.deepEqual(await prepare(victim.room, ticket, { data: { name: "Carol", visits: 0 }, id: "carol" }), { ok: null });
    assert.equal((await report(await waiting)).sender, "carol");
  });

  test("of one room is invalid in another", async () => {
    const [here, there] = [await Victim.create(), await Victim.create()];
    const ticket = newTicket();
    await prepare(here.room, ticket, { data: { name: "Carol", visits: 0 }, id: "carol" });
    await assert.rejects(host.ws(there.path(), { headers: { "room-ticket": ticket } }), { status: 500 });
    await there.unharmed();
  });

  test("cannot be announced twice", async () => {
    const victim = await Victim.create();
    const ticket = newTicket();
    await prepare(victim.room, ticket, { data: { name: "first", visits: 0 }, id: "first" });
    const again = await prepare(victim.room, ticket, { data: { name: "second", visits: 0 }, id: "second" });
    assert.equal(again.err.kind, "ticket");
    const client = await host.ws(victim.path(), { headers: { "room-ticket": ticket } });
    assert.equal((await report(client)).name, "first");
  });

  test("that a client sends to the Worker is ignored", async () => {
    const victim = await Victim.create();
    const ticket = newTicket();
    await prepare(victim.room, ticket, { data: { name: "the operator", visits: 99 }, id: "operator", tags: ["admin"] });
    for (const given of [ticket, newTicket(), "", "x", `${ticket}, ${ticket}`]) {
      const headers = { "room-ticket": given, "room-error": "ticket" };
      const client = await join(victim.room, { id: "eve", name: "Eve" }, headers);
      const { sender, name, visits, tags } = await report(client);
      assert.deepEqual({ sender, name, visits, tags }, { sender: "eve", name: "Eve", visits: 0, tags: [] });
      await client.close(1000);
    }
    // The announced upgrade is still available to its owner.
    const operator = await host.ws(victim.path(), { headers: { "room-ticket": ticket } });
    assert.equal((await report(operator)).sender, "operator");
  });

  test("belongs to its upgrade: a hundred at once each get their own id, data and tags", async () => {
    const room = "crowd";
    const MANY = 100;
    const clients = await Promise.all(Array.from({ length: MANY }, (_, n) =>
      join(room, { id: `id-${n}`, name: `name-${n}`, tags: `tag-${n},all` })));
    const reports = await Promise.all(clients.map(report));
    for (const [n, { sender, name, tags }] of reports.entries()) {
      assert.deepEqual({ sender, name, tags }, { sender: `id-${n}`, name: `name-${n}`, tags: [`tag-${n}`, "all"] });
    }
    assert.equal((await report(clients[0])).connects, MANY);
    const peers = await (await host.fetch(`/api/${room}/peers?tag=all`)).json();
    assert.deepEqual(peers.map(({ data }) => data.name).sort(), clients.map((_, n) => `name-${n}`).sort());
    // Each ticket reaches its own upgrade.
    for (let n = 0; n < MANY; n += 1) {
      clients[0].send({ _tag: "Say", text: `to ${n}`, tag: `tag-${n}`, delay_ms: 0 });
    }
    await report(clients[0]);
    for (const [n, client] of clients.entries()) {
      await report(client);
      assert.deepEqual(client.received.filter(({ _tag }) => _tag === "Said").map(({ text }) => text), [`to ${n}`]);
    }
  });

  test("belongs to its upgrade, also when others are refused at the same time", async () => {
    const room = "mixed-crowd";
    const kinds = [
      [{ name: "good" }, undefined],
      [{ name: "x", times: 20_000 }, "attachment_too_large"],
      [{ name: "bad", tags: "t".repeat(256) }, "invalid_tag"],
      [{ name: "good too" }, undefined],
      [{ name: "bad", id: "x".repeat(256) }, "invalid_peer_id"],
    ];
    const attempts = await Promise.all(Array.from({ length: 50 }, async (_, n) => {
      const [options, kind] = kinds[n % kinds.length];
      try {
        const client = await join(room, { id: `id-${n}`, ...options });
        return { n, kind, name: options.name, client };
      } catch (error) {
        assert.ok(error instanceof UpgradeRefused, error.stack);
        return { n, kind, refused: JSON.parse(error.body).kind };
      }
    }));
    for (const { n, kind, name, client, refused } of attempts) {
      assert.equal(refused, kind, `${n}`);
      if (client === undefined) continue;
      const now = await report(client);
      assert.deepEqual([now.sender, now.name, now.peers.length], [`id-${n}`, name, 20]);
    }
  });
});

describe("code that holds the binding", () => {
  test("can call the one method of a room and none that would end the object", async () => {
    const victim = await Victim.create();
    const methods = ["free", "__destroy_into_raw", "connect", "dispose", "constructor", "__wbg_ptr", "ctx", "env", "object"];
    const inner = ["roomText", "roomBytes", "roomClosed", "roomUpgrade", "roomSockets"];
    const reserved = ["webSocketMessage", "webSocketClose", "webSocketError", "alarm"];
    for (const method of [...methods, ...inner, ...reserved]) {
      const response = await host.fetch(`/rpc/${victim.room}/${method}`, { method: "POST", body: "5" });
      assert.notEqual(response.status, 200, `${method}: ${await response.text()}`);
    }
    await victim.unharmed();
    await victim.works();
  });

  test("gets a typed error for an invalid command, and the object keeps running", async () => {
    const victim = await Victim.create();
    const call = (argument) => host.fetch(`/rpc/${victim.room}/roomCall`, { method: "POST", body: argument });
    for (const argument of ["", "5", "null", "{}", "[]", "true", '["state"]']) {
      assert.equal((await call(argument)).status, 500, argument);
    }
    const deep = "[".repeat(10_000);
    const words = ["", "x", " ", "null", "{}", "free", "send", "send null", "prepare {}", "once 9 k state"];
    for (const text of [...words, 'send {"_tag":"Nope"}', `send ${deep}`]) {
      const response = await call(JSON.stringify(text));
      assert.equal(response.status, 200, text);
      assert.equal((await response.json()).err.kind, "decode", text);
    }
    await victim.unharmed();
    await victim.works();
  });
});

test("a peer's frame is an event and never a command", async () => {
  const victim = await Victim.create();
  for (const command of COMMANDS) victim.alice.send(command);
  await report(victim.alice);
  const errors = victim.alice.received.filter(({ $room }) => $room !== undefined);
  assert.deepEqual(errors.map(({ $room }) => $room.error.code), COMMANDS.map(() => "decode"));
  assert.deepEqual(await victim.look(), victim.before);
});
