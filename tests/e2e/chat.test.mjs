// The chat example over real sockets: delivery, the identity of rooms, its HTTP interface, and frames that are not its
// events.
//
// A fence shows that something does not arrive: a later message on the same socket, which would arrive after it.

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { UpgradeRefused, startWorker } from "./harness.mjs";
import { Raw, TEXT, request } from "./raw.mjs";

const TOKEN = "dev-admin";
const OPERATOR = { authorization: `Bearer ${TOKEN}` };
/** Methods that Node's HTTP libraries do not send. */
const ODD_METHODS = ["PROPFIND", "MKCOL", "LOCK", "TRACE", "PURGE"];

let host;

before(async () => {
  host = await startWorker({ dir: "examples/chat", vars: { ADMIN_TOKEN: TOKEN } });
});

after(() => host?.stop());

/** The files of the page, which the platform serves without the Worker. */
async function page() {
  const index = await (await host.fetch("/")).text();
  const [script] = index.match(/\/assets\/[\w-]+\.js/);
  const [style] = index.match(/\/assets\/[\w-]+\.css/);
  return { "/": "text/html", [script]: "text/javascript", [style]: "text/css" };
}

let rooms = 0;

/** The id of a room that no other test uses. */
function newRoom() {
  rooms += 1;
  return `room-${rooms}`;
}

/** Joins; `room` is encoded as it appears in the path. */
function join(room, userId) {
  return host.ws(`/ws/chat/${room}?${new URLSearchParams({ userId })}`);
}

function is(type) {
  return (frame) => frame.type === type;
}

function messages(client) {
  return client.received.filter(is("Message"));
}

/** Says something and waits for the echo: by then everything sent to the client before has arrived. */
async function say(client, text) {
  client.send({ type: "Say", text });
  return client.next({ where: (frame) => frame.type === "Message" && frame.text === text });
}

function api(room, what, init) {
  return host.fetch(`/api/chat/${room}/${what}`, init);
}

function post(room, what, body, headers = OPERATOR) {
  return api(room, what, { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });
}

async function json(response, status = 200) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.match(response.headers.get("content-type"), /^application\/json\b/);
  return JSON.parse(text);
}

/** Asserts a refusal: the status, and a JSON body with the reason. */
async function refused(response, status) {
  const { error, ...rest } = await json(response, status);
  assert.deepEqual(rest, {});
  assert.equal(typeof error, "string");
  assert.notEqual(error, "");
  return error;
}

/** The status of a refused upgrade. */
async function refusedUpgrade(pathname) {
  const error = await host.ws(pathname).then(
    (client) => assert.fail(`${client.raw.url} was admitted`),
    (error) => error,
  );
  assert.ok(error instanceof UpgradeRefused, error.stack);
  return error;
}

describe("messages to the peers of a room", () => {
  test("every message reaches everyone exactly once, in one order for all that keeps the order of each sender", async () => {
    const PEERS = 5;
    const EACH = 40;
    const room = newRoom();
    const names = Array.from({ length: PEERS }, (_, n) => `user-${n}`);
    const clients = [];
    for (const name of names) clients.push(await join(room, name));

    for (let n = 0; n < EACH; n += 1) {
      for (const [who, client] of clients.entries()) client.send({ type: "Say", text: `${who}:${n}` });
    }
    const heard = await Promise.all(clients.map(async (client) => {
      const all = [];
      while (all.length < PEERS * EACH) all.push(await client.next({ where: is("Message") }));
      return all;
    }));

    for (const all of heard) assert.deepEqual(all, heard[0], "all hear the same in the same order");
    for (const [who, name] of names.entries()) {
      const texts = heard[0].filter(({ user_id }) => user_id === name).map(({ text }) => text);
      assert.deepEqual(texts, Array.from({ length: EACH }, (_, n) => `${who}:${n}`), `the order of ${name}`);
    }

    // A duplicate would have arrived before this.
    clients[0].send({ type: "Say", text: "fence" });
    for (const client of clients) {
      assert.equal((await client.next({ where: is("Message") })).text, "fence");
      assert.equal(messages(client).length, PEERS * EACH + 1);
    }
    assert.equal((await json(await api(room, "state"))).message_count, PEERS * EACH + 1);
  });

  test("a message says who wrote it, what and when", async () => {
    const alice = await join(newRoom(), "Alice");
    const before = Date.now();
    const { sent_at, ...message } = await say(alice, "¡Hola! 🦀 \u0000 \u2028 \"quoted\"");
    assert.deepEqual(message, { type: "Message", user_id: "Alice", text: "¡Hola! 🦀 \u0000 \u2028 \"quoted\"" });
    assert.ok(Number.isInteger(sent_at) && sent_at >= before && sent_at <= Date.now(), `${sent_at}`);
  });

  test("a user who joins or leaves is announced to the others only, and once", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const bob = await join(room, "bob");
    const carol = await join(room, "carol");
    await bob.close(1000);
    assert.deepEqual(await carol.next({ where: is("Left") }), { type: "Left", user_id: "bob" });
    carol.terminate();
    assert.deepEqual(await alice.next({ where: (frame) => frame.type === "Left" && frame.user_id === "carol" }), {
      type: "Left",
      user_id: "carol",
    });
    await say(alice, "fence");

    const heard = (client) => client.received.filter(({ type }) => type !== "Message");
    assert.deepEqual(heard(alice), [
      { type: "Joined", user_id: "bob" },
      { type: "Joined", user_id: "carol" },
      { type: "Left", user_id: "bob" },
      { type: "Left", user_id: "carol" },
    ]);
    assert.deepEqual(heard(bob), [{ type: "Joined", user_id: "carol" }]);
    assert.deepEqual(heard(carol), [{ type: "Left", user_id: "bob" }]);
  });

  test("a typing indicator is sent to the others only", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const bob = await join(room, "bob");
    const carol = await join(room, "carol");
    alice.send({ type: "Typing" });
    await say(alice, "fence");
    for (const client of [bob, carol]) {
      await client.next({ where: is("Message") });
      assert.deepEqual(client.received.filter(is("Typing")), [{ type: "Typing", user_id: "alice" }]);
    }
    assert.deepEqual(alice.received.filter(is("Typing")), []);
  });

  test("a second connection of the same user is a peer of its own", async () => {
    const room = newRoom();
    const first = await join(room, "alice");
    const second = await join(room, "alice");
    assert.deepEqual(await first.next(), { type: "Joined", user_id: "alice" });
    await say(first, "from the first");
    assert.equal((await second.next()).text, "from the first");
    second.send({ type: "Typing" });
    assert.deepEqual(await first.next({ where: is("Typing") }), { type: "Typing", user_id: "alice" });
    await first.close(1000);
    assert.deepEqual(await second.next({ where: is("Left") }), { type: "Left", user_id: "alice" });
    await say(second, "still here");
    assert.equal((await json(await api(room, "peers"))).length, 1);
  });

  test("another room receives none of them", async () => {
    const [here, there] = [newRoom(), newRoom()];
    const alice = await join(here, "alice");
    const other = await join(there, "other");
    const bob = await join(here, "bob");
    alice.send({ type: "Typing" });
    await say(alice, "only for this room");
    await json(await post(here, "say", { text: "from the operator" }));
    await json(await post(here, "broadcast", { type: "Joined", user_id: "nobody" }));
    await bob.close(1000);
    await alice.next({ where: is("Left") });

    await say(other, "fence");
    assert.deepEqual(other.received.map(({ type, text }) => [type, text]), [["Message", "fence"]]);
    assert.deepEqual(await json(await api(there, "state")), { message_count: 1, pinned: [] });
  });
});

describe("the history of a room", () => {
  const texts = (frames) => frames.flatMap((frame) => (is("History")(frame) ? frame.messages : is("Message")(frame) ? [frame] : []))
    .map(({ text }) => text);

  test("reaches a user who joins, before any other message: the last 100 messages, as they were", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const odd = "¡Hola! 🦀 \u0000 \u2028 \"quoted\"";
    const sent = [];
    for (let n = 0; n < 120; n += 1) sent.push(await say(alice, n === 110 ? odd : `message ${n}`));
    const bob = await join(room, "bob");
    await say(alice, "live");
    await bob.next({ where: is("Message") });
    const [history, ...live] = bob.received;
    assert.deepEqual(history, { type: "History", messages: sent.slice(20).map(({ type, ...message }) => message) });
    assert.deepEqual(texts(live), ["live"]);
    assert.deepEqual(alice.received.filter(is("History")), [], "there was no history when alice came");
  });

  test("has no gap and no repetition for 20 users who join while 5 talk", async () => {
    const room = newRoom();
    const talkers = await Promise.all(Array.from({ length: 5 }, (_, n) => join(room, `talker-${n}`)));
    const listener = await join(room, "listener");
    const EACH = 60;
    let isOver = false;
    const talking = Promise.all(talkers.map(async (talker, who) => {
      for (let n = 0; n < EACH; n += 1) await say(talker, `${who}:${n}`);
    })).finally(() => (isOver = true));
    const joined = [];
    for (let n = 0; n < 20; n += 1) {
      // A few messages later than the one before, and never after the last one.
      await listener.next({ where: is("Message") });
      assert.ok(!isOver, `${n} users joined while the others talked`);
      joined.push(join(room, `user-${n}`));
    }
    const users = await Promise.all(joined);
    await talking;
    await say(talkers[0], "fence");
    await listener.next({ where: ({ text }) => text === "fence" });
    const order = texts(listener.received);
    assert.equal(new Set(order).size, 5 * EACH + 1);
    for (const user of users) {
      await user.next({ where: ({ text }) => text === "fence" });
      const seen = texts(user.received);
      const firsts = user.received.findIndex(is("Message"));
      const history = user.received.findIndex(is("History"));
      assert.ok(history >= 0 && history < firsts, "the history comes before the first message");
      assert.equal(user.received.filter(is("History")).length, 1);
      const begin = order.indexOf(seen[0]);
      const most = user.received[history].messages.length;
      assert.ok(begin === 0 || most === 100, `${most} messages from ${begin} on`);
      assert.deepEqual(seen, order.slice(begin));
    }
  });

  test("survives the process", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    await say(alice, "before");
    await host.kill();
    await host.restart();
    const bob = await join(room, "bob");
    assert.deepEqual(texts([await bob.next()]), ["before"]);
  });
});

describe("a name", () => {
  const enter = (room, name, key) =>
    host.ws(`/ws/chat/${room}?userId=${name}`, { protocols: ["room.v1", `key.${key}`] });

  test("belongs to one browser while it is in the room", async () => {
    const room = newRoom();
    const bob = await join(room, "bob");
    const ada = await enter(room, "ada", "one");
    const again = await enter(room, "ada", "one");
    const refused = { code: 1008, reason: "this name is taken" };
    assert.deepEqual(await (await enter(room, "ada", "two")).closed, refused);
    assert.deepEqual(await (await join(room, "ada")).closed, refused);
    assert.deepEqual(await (await enter(room, "bob", "one")).closed, refused);
    await say(bob, "fence");
    assert.deepEqual(bob.received.map(({ type }) => type), ["Joined", "Joined", "Message"], "no refused user is announced");
    await ada.close(1000);
    await again.close(1000);
    await bob.next({ where: is("Left") });
    await bob.next({ where: is("Left") });
    const other = await enter(room, "ada", "two");
    await bob.next({ where: is("Joined") });
    await say(bob, "welcome");
    assert.equal((await other.next({ where: ([, message]) => message?.text === "welcome" }))[1].user_id, "bob");
    assert.equal((await json(await api(room, "peers"))).length, 2);
  });
});

describe("GET /api/chat/:id/info", () => {
  test("describes the room", async () => {
    const room = newRoom();
    const empty = { users: 0, connections: 0, message_count: 0, stored: 0, first_sent_at: null, last_sent_at: null, next_prune_at: null };
    assert.deepEqual(await json(await api(room, "info")), empty);
    const alice = await join(room, "alice");
    await join(room, "alice");
    const first = await say(alice, "one");
    const last = await say(alice, "two");
    const { next_prune_at: prune, ...info } = await json(await api(room, "info"));
    assert.deepEqual(info, {
      users: 1, connections: 2, message_count: 2, stored: 2, first_sent_at: first.sent_at, last_sent_at: last.sent_at,
    });
    assert.ok(prune > last.sent_at && prune <= last.sent_at + 24 * 60 * 60 * 1000);
    assert.equal(new Date(prune).getUTCHours(), 3);
    await refused(await api(room, "info", { method: "POST", headers: OPERATOR }), 405);
  });
});

describe("the rate limit", () => {
  test("is one of the address: another connection gets no new tokens", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    for (let n = 0; n < 1_100; n += 1) alice.send({ type: "Typing" });
    const error = await alice.next({ where: ({ $room }) => $room?.error?.code === "rate_limited" });
    assert.ok(error.$room.error.retry_after_ms > 0, JSON.stringify(error));
    const bob = await join(room, "bob");
    // The address has got a few tokens in the meantime, and not a thousand.
    for (let n = 0; n < 500; n += 1) bob.send({ type: "Typing" });
    assert.equal((await bob.next({ where: ({ $room }) => $room !== undefined })).$room.error.code, "rate_limited");
  });
});

describe("the id of a room", () => {
  // Each line is one room, with several encodings of its id; the ids of different lines differ.
  const ROOMS = [
    ["a%2Fb", "a%2fb", "%61%2Fb"],
    ["a%252Fb"],
    ["two%20words", "two words"],
    ["two+words", "two%2Bwords"],
    ["%F0%9F%A6%80", "🦀", "%f0%9f%a6%80"],
    ["%25"],
    ["%2525"],
    ["Case", "%43ase"],
    ["case"],
    ["caf%C3%A9", "café"],
    // This looks identical: e with a combining accent.
    ["cafe%CC%81", "cafe\u0301"],
    ["%00"],
    ["%3Fuser", "%3fuser"],
    ["%23"],
    ["state", "%73tate"],
    ["x".repeat(1024)],
    ["constructor"],
    ["__proto__"],
  ];

  test("in all its spellings is one room, and different ids are different rooms", async () => {
    const listeners = await Promise.all(ROOMS.map(([id]) => join(id, "listener")));
    for (const [line, spellings] of ROOMS.entries()) {
      for (const [n, spelling] of spellings.entries()) {
        const text = `to ${line}, spelled ${n}`;
        const speaker = await join(spelling, "speaker");
        await say(speaker, text);
        await listeners[line].next({ where: (frame) => frame.text === text });
        const ids = (await json(await api(spelling, "peers"))).map(({ id }) => id);
        assert.deepEqual(ids.sort(), ["listener", "speaker"], spelling);
        await speaker.close(1000);
        await listeners[line].next({ where: is("Left") });
      }
    }
    for (const [line, spellings] of ROOMS.entries()) {
      await say(listeners[line], "fence");
      const texts = messages(listeners[line]).map(({ text }) => text);
      assert.deepEqual(texts, [...spellings.map((_, n) => `to ${line}, spelled ${n}`), "fence"], spellings[0]);
    }
  });

  test("is refused with 400 if it is not proper percent-encoding", async () => {
    for (const id of ["%", "a%", "%2", "%zz", "%2G", "a%%20", "%FF", "%C3", "%C3%28", "%ED%A0%80", "%F0%9F%A6"]) {
      for (const what of ["state", "peers"]) await refused(await api(id, what), 400);
      await refused(await post(id, "say", { text: "x" }), 400);
      await refused(await post(id, "broadcast", { type: "Joined", user_id: "x" }), 400);
      await refused(await host.fetch(`/ws/chat/${id}?userId=alice`), 400);
      assert.equal((await refusedUpgrade(`/ws/chat/${id}?userId=alice`)).status, 400, id);
    }
  });

  test("is refused with 400 if it is longer than 1024 bytes", async () => {
    for (const id of ["x".repeat(1025), encodeURIComponent("🦀".repeat(257))]) {
      assert.match(await refused(await api(id, "state"), 400), /1024/);
      assert.equal((await refusedUpgrade(`/ws/chat/${id}?userId=alice`)).status, 400);
    }
    assert.equal(await json(await api(encodeURIComponent("🦀".repeat(256)), "state")), null);
  });

  test("is not an empty segment", async () => {
    for (const what of ["state", "peers"]) await refused(await api("", what), 404);
    await refused(await post("", "say", { text: "x" }), 404);
    await refused(await host.fetch("/ws/chat/?userId=alice"), 404);
    await refused(await host.fetch("/ws/chat?userId=alice"), 404);
    assert.equal((await refusedUpgrade("/ws/chat/?userId=alice")).status, 404);
  });
});

describe("the page", () => {
  test("GET / is the page, and what it needs is there", async () => {
    for (const [path, type] of Object.entries(await page())) {
      const response = await host.fetch(path);
      assert.equal(response.status, 200, path);
      assert.match(response.headers.get("content-type"), new RegExp(`^${type}\\b`), path);
      assert.notEqual(await response.text(), "", path);
    }
    assert.match(await (await host.fetch("/?room=lobby")).text(), /<!doctype html>/i);
    const index = await host.fetch("/index.html");
    assert.deepEqual([index.status, index.headers.get("location")], [307, "/"]);
  });

  test("its files come with headers that restrict the browser", async () => {
    for (const path of Object.keys(await page())) {
      const { headers } = await host.fetch(path);
      assert.match(headers.get("content-security-policy"), /^default-src 'self';/, path);
      assert.equal(headers.get("x-content-type-options"), "nosniff", path);
      const caching = path === "/" ? "no-cache" : "public, max-age=31536000, immutable";
      assert.equal(headers.get("cache-control"), caching, path);
    }
    await refused(await host.fetch("/_headers"), 404);
  });

  test("a wrong method for its files is 405", async () => {
    for (const path of Object.keys(await page())) {
      for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
        assert.equal((await host.fetch(path, { method, headers: OPERATOR })).status, 405, `${method} ${path}`);
      }
      for (const method of ODD_METHODS) {
        const connection = await Raw.open(host);
        connection.write(request(host, method, path, [["Connection", "close"]]));
        assert.equal((await connection.head()).status, 405, `${method} ${path}`);
        connection.destroy();
      }
    }
  });
});

describe("GET /ws/chat/:id", () => {
  test("is 426 with a text when it is no WebSocket upgrade", async () => {
    for (const query of ["?userId=alice", "", "?userId="]) {
      const response = await host.fetch(`/ws/chat/${newRoom()}${query}`);
      assert.equal(response.status, 426, query);
      assert.match(await response.text(), /WebSocket/);
    }
  });

  test("is 426 when it asks for another protocol", async () => {
    const request = http.get(new URL(`/ws/chat/${newRoom()}?userId=alice`, host.url), {
      headers: { connection: "upgrade", upgrade: "h2c" },
      signal: AbortSignal.timeout(10_000),
    });
    const status = await new Promise((resolve, reject) => {
      request.on("response", (response) => resolve(response.resume().statusCode));
      request.on("error", reject);
    });
    assert.equal(status, 426);
  });

  test("is 400 with a text when the upgrade does not say who it is", async () => {
    const room = newRoom();
    for (const query of ["", "?", "?userId=", "?userId", "?userid=alice", "?user=alice"]) {
      const { status, body } = await refusedUpgrade(`/ws/chat/${room}${query}`);
      assert.equal(status, 400, query);
      assert.match(JSON.parse(body).error, /userId/);
    }
    assert.deepEqual(await json(await api(room, "peers")), []);
  });

  test("takes a name as the query encodes it, of up to 255 bytes", async () => {
    const room = newRoom();
    for (const name of ["Ann Lee", "Ann+Lee", "Zoë 🦀", "a/b?c&d=e#f", "%41", "x".repeat(255), "é".repeat(127)]) {
      const client = await join(room, name);
      assert.equal((await say(client, "hi")).user_id, name);
      const peers = await json(await api(room, "peers"));
      assert.deepEqual(peers.map(({ id, data }) => [id, data]), [[name, { user_id: name }]]);
      await client.close(1000);
    }
    for (const name of ["x".repeat(256), "é".repeat(128)]) {
      const { status, body } = await refusedUpgrade(`/ws/chat/${room}?${new URLSearchParams({ userId: name })}`);
      assert.equal(status, 400);
      assert.match(JSON.parse(body).error, /255/);
    }
  });
});

describe("GET /api/chat/:id/state", () => {
  test("is null for a room that was never used, also when it was looked at, joined and left", async () => {
    const room = newRoom();
    assert.equal(await json(await api(room, "state")), null);
    assert.deepEqual(await json(await api(room, "peers")), []);
    const alice = await join(room, "alice");
    const bob = await join(room, "bob");
    alice.send({ type: "Typing" });
    await bob.next({ where: is("Typing") });
    await alice.close(1000);
    await bob.next({ where: is("Left") });
    assert.equal(await json(await api(room, "state")), null);
  });

  test("is the state of the room after a first message", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    await say(alice, "one");
    await say(alice, "two");
    assert.deepEqual(await json(await api(room, "state")), { message_count: 2, pinned: [] });
    await alice.close(1000);
    assert.deepEqual(await json(await api(room, "state")), { message_count: 2, pinned: [] });
  });
});

describe("GET /api/chat/:id/peers", () => {
  test("lists who is connected, and since when", async () => {
    const room = newRoom();
    const start = Date.now();
    await join(room, "alice");
    const bob = await join(room, "bob");
    const peers = (await json(await api(room, "peers"))).sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const { connected_at } of peers) {
      assert.ok(Number.isInteger(connected_at) && connected_at >= start && connected_at <= Date.now());
    }
    assert.deepEqual(peers, [
      { id: "alice", tags: [], connected_at: peers[0].connected_at, data: { user_id: "alice" } },
      { id: "bob", tags: [], connected_at: peers[1].connected_at, data: { user_id: "bob" } },
    ]);
    await bob.close(1000);
    assert.deepEqual(await json(await api(room, "peers")), [peers[0]]);
  });

  test("with ?tag= lists the peers with the tag, or none", async () => {
    const room = newRoom();
    await join(room, "alice");
    // The platform stores ids as tags, which must not be usable as the room's tags.
    for (const tag of ["admin", "", "alice", "=alice", "%3Dalice", "%23"]) {
      assert.deepEqual(await json(await api(room, `peers?tag=${tag}`)), [], tag);
    }
    assert.equal((await json(await api(room, "peers?other=admin"))).length, 1);
  });
});

describe("POST /api/chat/:id/say", () => {
  test("broadcasts a message of the operator, from `system`", async () => {
    const room = newRoom();
    const clients = [await join(room, "alice"), await join(room, "bob")];
    assert.deepEqual(await json(await post(room, "say", { text: "closing at ten" })), { status: "ok" });
    for (const client of clients) {
      const { sent_at, ...message } = await client.next({ where: is("Message") });
      assert.equal(typeof sent_at, "number");
      assert.deepEqual(message, { type: "Message", user_id: "system", text: "closing at ten" });
    }
    assert.equal((await json(await api(room, "state"))).message_count, 1);
  });

  test("works in an empty room", async () => {
    const room = newRoom();
    assert.deepEqual(await json(await post(room, "say", { text: "anyone?" })), { status: "ok" });
    assert.equal((await json(await api(room, "state"))).message_count, 1);
  });

  test("is 400 with an error on a body that does not decode, and no peer receives it", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    for (const body of ["", "hello", "{", "null", "42", '"text"', "{}", '{"text":null}', '{"text":1}', '{"txt":"x"}']) {
      await refused(await post(room, "say", body), 400);
    }
    await refused(await post(room, "say", `{"text":${"[".repeat(10_000)}`), 400);
    await say(alice, "fence");
    assert.deepEqual(messages(alice).map(({ text }) => text), ["fence"]);
  });
});

describe("POST /api/chat/:id/broadcast", () => {
  test("sends any message of the room to all peers and returns their number", async () => {
    const room = newRoom();
    const message = { type: "Message", user_id: "the clock", text: "ding", sent_at: 7 };
    assert.deepEqual(await json(await post(room, "broadcast", message)), { sent: 0, failed: [] });
    const clients = [await join(room, "alice"), await join(room, "bob"), await join(room, "carol")];
    assert.deepEqual(await json(await post(room, "broadcast", message)), { sent: 3, failed: [] });
    for (const client of clients) assert.deepEqual(await client.next({ where: is("Message") }), message);
    await clients[2].close(1000);
    assert.deepEqual(await json(await post(room, "broadcast", message)), { sent: 2, failed: [] });
    // A send alone does not change the state.
    assert.equal(await json(await api(room, "state")), null);
  });

  test("is 400 with an error on a body that is no message of the room, and no peer receives it", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    for (const body of ["", "x", "null", "{}", { type: "Say", text: "x" }, { type: "Message", user_id: "x" }, { type: 1 }]) {
      await refused(await post(room, "broadcast", body), 400);
    }
    await say(alice, "fence");
    assert.equal(alice.received.length, 1);
  });
});

describe("the operator's token", () => {
  test("is needed: without it, or with another, say and broadcast are 401 and no peer receives a message", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const wrong = [
      {},
      { authorization: "" },
      { authorization: "Bearer" },
      { authorization: "Bearer " },
      { authorization: "Bearer wrong" },
      { authorization: `Bearer ${TOKEN}x` },
      { authorization: `Bearer ${TOKEN.slice(0, -1)}` },
      { authorization: `Bearer ${TOKEN.toUpperCase()}` },
      { authorization: `Basic ${TOKEN}` },
      { authorization: TOKEN },
      { authorization: `Bearer ${TOKEN}, Bearer wrong` },
      { "x-authorization": `Bearer ${TOKEN}` },
    ];
    for (const headers of wrong) {
      await refused(await post(room, "say", { text: "x" }, headers), 401);
      await refused(await post(room, "say", "not even JSON", headers), 401);
      await refused(await post(room, "broadcast", { type: "Joined", user_id: "x" }, headers), 401);
    }
    await say(alice, "fence");
    assert.equal(alice.received.length, 1);
  });

  test("that is not configured authorizes no request", async (t) => {
    const other = await startWorker({ dir: "examples/chat" });
    t.after(() => other.stop());
    for (const authorization of ["Bearer ", "Bearer", "Bearer undefined", `Bearer ${TOKEN}`]) {
      const init = { method: "POST", headers: { authorization }, body: '{"text":"x"}' };
      await refused(await other.fetch("/api/chat/r/say", init), 401);
    }
  });
});

describe("other requests", () => {
  test("an unknown path is 404", async () => {
    const paths = [
      "/nothing",
      "/page/main.ts",
      "/.dev.vars",
      "/ws",
      "/ws/other/r?userId=a",
      "/ws/chat/r/more?userId=a",
      "/api",
      "/api/chat",
      "/api/chat/r",
      "/api/chat/r/",
      "/api/chat/r/State",
      "/api/chat/r/state/",
      "/api/chat/r/other",
      "/api/other/r/state",
      "/API/chat/r/state",
      "//api/chat/r/state",
    ];
    for (const path of paths) await refused(await host.fetch(new URL(host.url + path)), 404);
  });

  test("a wrong method is 405, and does nothing", async () => {
    const room = newRoom();
    const gets = [`/ws/chat/${room}?userId=a`, `/api/chat/${room}/state`, `/api/chat/${room}/peers`];
    for (const path of gets) {
      for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
        await refused(await host.fetch(path, { method, headers: OPERATOR }), 405);
      }
    }
    for (const what of ["say", "broadcast"]) {
      for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
        const body = method === "GET" || method === "OPTIONS" ? undefined : '{"text":"x"}';
        await refused(await api(room, what, { method, headers: OPERATOR, body }), 405);
      }
    }
    for (const path of gets) {
      for (const method of ODD_METHODS) {
        const connection = await Raw.open(host);
        connection.write(request(host, method, path, [["Connection", "close"]]));
        assert.equal((await connection.head()).status, 405, `${method} ${path}`);
        connection.destroy();
      }
    }
    assert.equal(await json(await api(room, "state")), null);
  });
});

describe("a frame that is none of the room's events", () => {
  const DEEP = 10_000;
  const FRAMES = {
    "an empty frame": "",
    "text": "hello",
    "half of a message": '{"type":"Say","text":"x',
    "a message and more": '{"type":"Typing"} {"type":"Typing"}',
    "a number": "42",
    "null": "null",
    "a string": '"Say"',
    "an empty list": "[]",
    "an empty object": "{}",
    "an unknown variant": '{"type":"Shout","text":"x"}',
    "a variant in another case": '{"type":"say","text":"x"}',
    "a variant of what the room says": '{"type":"Joined","user_id":"x"}',
    "a variant that is a number": '{"type":0,"text":"x"}',
    "another tag": '{"_tag":"Say","text":"x"}',
    "two tags": '{"type":"Typing","type":"Typing"}',
    "a missing field": '{"type":"Say"}',
    "a field that is null": '{"type":"Say","text":null}',
    "a field of another type": '{"type":"Say","text":{"toString":"x"}}',
    "a command of the Worker's client": '{"send":{"type":"Say","text":"x"}}',
    "an error report of the runtime": '{"$room":{"error":{"code":"decode","message":"x"}}}',
    "a lone surrogate": '{"type":"Say","text":"\\ud800"}',
    "surrogates in the wrong order": '{"type":"Say","text":"\\udc00\\ud800"}',
    "a control character": '{"type":"Say","text":"\u0001"}',
    "a byte order mark": '\ufeff{"type":"Typing"}',
    "a number past all bounds": '{"type":"Say","text":1e999}',
    "an array nested 10,000 deep": "[".repeat(DEEP) + "]".repeat(DEEP),
    "a field nested 10,000 deep": `{"type":"Say","text":${"[".repeat(DEEP)}${"]".repeat(DEEP)}}`,
    "objects nested 10,000 deep": '{"type":'.repeat(DEEP),
    "1 MiB of junk": "x".repeat(1024 * 1024),
    "1 MiB of zeros": "\0".repeat(1024 * 1024),
    "1 MiB of a string without an end": `"${"🦀".repeat(256 * 1024 - 1)}`,
    "an empty binary frame": Buffer.alloc(0),
    "a binary frame": Buffer.from([0x80, 0x00, 0xff, 0xfe]),
    "a message as a binary frame": Buffer.from('{"type":"Say","text":"x"}'),
    "1 MiB of binary": Buffer.alloc(1024 * 1024, 0xff),
  };

  test("gets its sender one typed error each, the others nothing, and the connection goes on", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const bob = await join(room, "bob");
    assert.deepEqual(await alice.next(), { type: "Joined", user_id: "bob" });
    for (const [name, frame] of Object.entries(FRAMES)) {
      const before = alice.received.length;
      alice.send(frame);
      await say(alice, name);
      assert.equal(alice.received.length, before + 2, `${name}: one error, one message`);
      const [report] = alice.received.slice(before);
      assert.equal(report.$room?.error?.code, "decode", `${name}: ${JSON.stringify(report)}`);
      const { message } = report.$room.error;
      assert.ok(typeof message === "string" && message !== "", name);
      assert.ok(message.length < 1_000, `${name}: an error does not send the frame back: ${message.length}`);
      assert.deepEqual(report, { $room: { error: { code: "decode", message } } });
    }
    const names = Object.keys(FRAMES);
    await bob.next({ where: ({ text }) => text === names.at(-1) });
    assert.deepEqual(bob.received.map(({ text }) => text), names, "the others heard the messages only");
    assert.equal((await json(await api(room, "state"))).message_count, names.length);
    assert.equal((await json(await api(room, "peers"))).length, 2);
  });

  test("does not become one by a field that no event has, unless that is nested too deeply", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const bob = await join(room, "bob");
    assert.deepEqual(await alice.next(), { type: "Joined", user_id: "bob" });
    // An event may be nested 100 levels deep; the event itself is one.
    const nested = (levels) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
    for (const frame of [`{"x":${nested(99)},"type":"Typing"}`, `{"type":"Typing","x":${nested(99)}}`]) {
      alice.send(frame);
      assert.deepEqual(await bob.next(), { type: "Typing", user_id: "alice" });
    }
    for (const levels of [100, DEEP]) alice.send(`{"type":"Typing","x":${nested(levels)}}`);
    await say(alice, "fence");
    const errors = alice.received.filter(({ $room }) => $room !== undefined).map(({ $room }) => $room.error.code);
    assert.deepEqual(errors, ["decode", "decode"]);
  });

  test("gets its sender one typed error each when they come all at once", async () => {
    const alice = await join(newRoom(), "alice");
    const MANY = 500;
    for (let n = 0; n < MANY; n += 1) alice.send(`junk ${n}`);
    await say(alice, "fence");
    assert.equal(alice.received.length, MANY + 1);
    assert.ok(alice.received.slice(0, MANY).every((frame) => frame.$room?.error?.code === "decode"));
  });

  test("may be as large as the platform lets through, and is not decoded past the room's limit", async () => {
    const room = newRoom();
    const alice = await join(room, "alice");
    const bob = await join(room, "bob");
    for (const frame of ["x".repeat(31 * 1024 * 1024), Buffer.alloc(31 * 1024 * 1024)]) {
      alice.send(frame);
      const report = await alice.next({ where: ({ $room }) => $room !== undefined, timeout: 30_000 });
      assert.equal(report.$room.error.code, "too_large");
      await say(alice, "still here");
    }
    await say(bob, "so is bob");
  });

  test("may be bytes that are no UTF-8, and comes in pieces", async (t) => {
    const room = newRoom();
    const bob = await join(room, "bob");
    const alice = await Raw.open(host);
    t.after(() => alice.destroy());
    await alice.upgrade(`/ws/chat/${room}?userId=alice`);
    await bob.next({ where: is("Joined") });

    alice.frame(Buffer.from([0xc3, 0x28, 0xff, 0xed, 0xa0, 0x80]));
    const report = JSON.parse((await alice.next({ opcode: TEXT })).payload);
    assert.equal(report.$room.error.code, "decode");

    const valid = Buffer.from('{"type":"Say","text":"in three 🦀 pieces"}');
    alice.frame(valid.subarray(0, 5), { fin: false });
    // The frame starts in the middle of a character.
    alice.frame(valid.subarray(5, 34), { opcode: 0, fin: false });
    alice.frame(valid.subarray(34), { opcode: 0 });
    assert.equal((await bob.next()).text, "in three 🦀 pieces");
    assert.equal(JSON.parse((await alice.next({ opcode: TEXT })).payload).text, "in three 🦀 pieces");
  });
});
