// Connections, sessions, gaps, heartbeats, closes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, RoomError } from "room-client";
import { settle } from "./mock/clock.js";
import type { Peer } from "./mock/room.js";
import { setup, watch } from "./mock/setup.js";

const say = (text: string) => ({ type: "Say", text }) as const;
const token = (n: number) => n.toString(16).padStart(32, "0");

test("a session is resumed with what the client knows", async () => {
  const { clock, room, network, client, changes } = setup({ room: { replay: 100, graceMs: 60_000 } });
  const heard: string[] = [];
  client.on("Message", ({ text }) => heard.push(text));
  const first = watch(client.send(say("a")));
  await clock.pass(100);
  // The room handles it, and the outcome is lost.
  const second = watch(client.send(say("b")));
  await clock.pass(15);
  network.latest.drop();
  room.broadcast({ type: "Message", text: "missed" });
  await clock.pass(1000);
  assert.deepEqual(room.offers, [["room.v1"], ["room.v1", `room.v1.resume.${token(1)}.2.1`]]);
  assert.deepEqual([first, second], [{ value: undefined }, { value: undefined }]);
  assert.deepEqual(heard, ["a", "b", "missed"]);
  assert.equal(room.stored.changes.length, 2);
  assert.deepEqual(changes, [
    { status: "open", resumed: false, gap: false },
    { status: "reconnecting", attempt: 0, delayMs: 500, code: 1006, reason: "" },
    { status: "open", resumed: true, gap: false },
  ]);
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(2000);
  assert.equal(room.offers[2]![1], `room.v1.resume.${token(1)}.3.3`);
});

test("a gap is announced before the messages of its frame", async () => {
  const { clock, network, room, client } = setup({
    room: {
      connected: (peer) => peer.messages.push({ type: "Present", users: ["snapshot"] }),
    },
  });
  const order: unknown[] = [];
  client.onStatus(({ status }) => order.push(status));
  client.onGap((gap) => order.push(gap));
  client.on("Present", ({ users }) => order.push(users[0]));
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(1000);
  assert.deepEqual(order, ["open", "snapshot", "reconnecting", "open", { resumed: true }, "snapshot"]);
  room.assertProtocol();
});

test("a lost session fails what was sent and keeps what was not", async () => {
  const { clock, room, network, client } = setup({ room: { window: 1 } });
  const gaps: unknown[] = [];
  client.onGap((gap) => gaps.push(gap));
  await clock.pass(100);
  network.latest.drop({ room: false });
  const sent = watch(client.send(say("a")));
  const waiting = watch(client.send(say("b")));
  await clock.pass(5);
  room.forget();
  await clock.pass(2000);
  assert.equal(sent.error.code, "session_lost");
  assert.equal(sent.error.number, 1);
  assert.deepEqual(waiting, { value: undefined });
  assert.deepEqual(room.received, [[1, say("b")]]);
  assert.deepEqual(gaps, [{ resumed: false }]);
});

test("a room that lost frames asks for them, and is told what is settled", async () => {
  const { clock, room, client, raw } = setup();
  for (const text of ["a", "b"]) void client.send(say(text));
  await clock.pass(100);
  void client.send({ type: "Wait", ms: 500 });
  await clock.pass(100);
  room.received.length = 0;
  await raw([[{ resend: 2 }]]);
  assert.deepEqual(room.received, [{ from: 3 }, [3, { type: "Wait", ms: 500 }]]);
  room.received.length = 0;
  await raw([[{ resend: 3 }]]);
  assert.deepEqual(room.received, [[3, { type: "Wait", ms: 500 }]]);
});

test("frames that a crash lost without a word are sent again", async () => {
  const { clock, room, client } = setup();
  await clock.pass(100);
  const ends = [client.send({ type: "Wait", ms: 100 }), client.send(say("b"))].map(watch);
  await clock.pass(20);
  room.crash();
  await clock.pass(100);
  assert.equal(ends[0]!.error.code, "restarted");
  assert.deepEqual(ends[1], {});
  await clock.pass(60_000);
  assert.deepEqual(ends[1], { value: undefined });
  assert.equal(room.stored.changes.length, 1);
});

/** A room that says what the test tells it to. */
function scripted() {
  const all = setup();
  const sends: ((frame: unknown) => void)[] = [];
  const offers: string[][] = [];
  const received: unknown[] = [];
  all.room.connect = (transport, offered) => {
    offers.push(offered);
    sends.push((frame) => transport.send(JSON.stringify(frame)));
    return {} as Peer;
  };
  all.room.receive = (_, data) => received.push(JSON.parse(data as string));
  all.room.lost = () => {};
  const welcome = { session: token(7), resumed: false, last: 0, window: 4, gap: false, heartbeat: ["ping", "pong"] };
  return { ...all, offers, received, welcome, say: (frame: unknown) => sends.at(-1)!(frame) };
}

test("a replay that breaks off goes on where it broke off", async () => {
  const { clock, network, client, offers, welcome, say } = scripted();
  const heard: string[] = [];
  client.on("Message", ({ text }) => heard.push(text));
  await clock.pass(100);
  say([[{ welcome: { ...welcome, at: 3 } }]]);
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(1000);
  say([[{ welcome: { ...welcome, resumed: true, at: 9 } }]]);
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(2000);
  say([[{ welcome: { ...welcome, resumed: true, at: 9 } }]]);
  say([[{ at: 5 }], { type: "Message", text: "five" }]);
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(4000);
  say([[{ welcome: { ...welcome, resumed: true, gap: true, at: 12 } }]]);
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(8000);
  assert.deepEqual(
    offers.map(([, resume]) => resume?.split(".").at(-1)),
    [undefined, "3", "3", "5", "12"],
  );
  assert.deepEqual(heard, ["five"]);
});

test("the welcome settles nothing: the outcomes of the numbers up to `last` follow it", async () => {
  const { clock, network, client, offers, received, welcome, say } = scripted();
  await clock.pass(100);
  say([[{ welcome }]]);
  await clock.pass(100);
  const ends = ["a", "b", "c"].map((text) => watch(client.send({ type: "Say", text })));
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(1000);
  say([[{ welcome: { ...welcome, resumed: true, last: 2 } }]]);
  await clock.pass(100);
  assert.equal(offers[1]![1], `room.v1.resume.${token(7)}.1.0`);
  assert.deepEqual(ends, [{}, {}, {}]);
  // A room sends what was missed in between, and each outcome in a frame of its own.
  say([[{ error: { n: 2, code: "refused", message: "" } }]]);
  say([[{ ack: 2 }]]);
  await clock.pass(100);
  assert.deepEqual([ends[0], ends[1]!.error.code, ends[2]], [{ value: undefined }, "refused", {}]);
  assert.deepEqual(received.slice(3), [[3, { type: "Say", text: "c" }]]);
  say([[{ ack: 3 }]]);
  await clock.pass(100);
  assert.deepEqual(ends[2], { value: undefined });
});

test("a room that knows less than the client is told what is settled", async () => {
  const { clock, network, client, received, welcome, say } = scripted();
  await clock.pass(100);
  say([[{ welcome }]]);
  await clock.pass(100);
  for (const text of ["a", "b"]) void client.send({ type: "Say", text });
  await clock.pass(100);
  say([[{ ack: 2 }]]);
  await clock.pass(100);
  network.latest.drop();
  void client.send({ type: "Say", text: "c" });
  await clock.pass(1000);
  say([[{ welcome: { ...welcome, resumed: true, last: 1 } }]]);
  await clock.pass(100);
  assert.deepEqual(received.slice(2), [{ from: 3 }, [3, { type: "Say", text: "c" }]]);
});

test("a dead connection is left 10 seconds after the first heartbeat without an answer, however many follow", async () => {
  const { clock, network, client } = setup({ room: { timeoutMs: 9000 } });
  await clock.pass(100);
  network.latest.drop({ client: false });
  await clock.pass(12_500);
  assert.equal(client.status, "open");
  await clock.pass(200);
  assert.equal(client.status, "reconnecting");
});

test("a room with a shorter window gets no more than that", async () => {
  const { clock, room, network, client } = setup({ room: { window: 4 } });
  await clock.pass(100);
  network.latest.drop({ room: false });
  for (const text of ["a", "b", "c", "d"]) void client.send(say(text));
  (room as { window: number }).window = 1;
  await clock.pass(2000);
  assert.deepEqual(room.received.map((frame) => (frame as unknown[])[0]), [1, 2, 3, 4]);
  room.assertProtocol();
});

test("the heartbeat is sent every 25 seconds, and a dead connection is left after 10 more", async () => {
  const { clock, room, network, client, changes } = setup();
  let beats = 0;
  const receive = room.receive.bind(room);
  room.receive = (peer, data) => {
    if (data === "ping") beats++;
    receive(peer, data);
  };
  await clock.pass(20);
  assert.equal(client.status, "open");
  await clock.pass(24_990);
  assert.equal(beats, 0);
  await clock.pass(20);
  assert.equal(beats, 1);
  await clock.pass(50_020);
  assert.equal(beats, 3);
  assert.equal(changes.length, 1);
  network.latest.drop({ client: false });
  await clock.pass(34_900);
  assert.equal(changes.length, 1);
  await clock.pass(100);
  assert.equal(client.status, "reconnecting");
  const change = changes[1] as { code: number; error: RoomError };
  assert.deepEqual([change.code, change.error.code], [1006, "timeout"]);
  await clock.pass(1000);
  assert.equal(client.status, "open");
});

test("a connection that is only slow is closed when the next one has taken its place", async () => {
  const { clock, room, network, client } = setup({ room: { graceMs: 0, replay: 10 } });
  const gaps: unknown[] = [];
  client.onGap((gap) => gaps.push(gap));
  await clock.pass(100);
  // The room gets everything and its frames do not arrive.
  const first = network.latest.socket;
  const peer = [...room.peers][0]!;
  peer.transport.send = () => {};
  await clock.pass(36_000);
  assert.equal(client.status, "open");
  assert.equal(network.connections.length, 2);
  assert.notEqual(network.latest.socket, first);
  assert.equal(first.readyState >= 2, true);
  assert.deepEqual(gaps, []);
});

test("the heartbeat is more frequent than a third of the room's timeout", async () => {
  const { clock, room } = setup({ room: { timeoutMs: 9000 } });
  let beats = 0;
  room.receive = () => beats++;
  await clock.pass(20 + 9000);
  assert.equal(beats, 3);
});

test("the back-off doubles with full jitter up to its bound, and begins anew after a stable connection", async () => {
  let isUp = false;
  const { clock, network, client } = setup({
    network: { latency: () => 0, upgrade: (_, protocols) => (isUp ? protocols[0] : undefined) },
    client: { random: () => 0.999999 },
  });
  await clock.pass(150_000);
  const waits = network.attempts.map((at, i) => Math.round(at - (network.attempts[i - 1] ?? 0)));
  assert.deepEqual(waits.slice(0, 8), [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  isUp = true;
  await clock.pass(31_000);
  assert.equal(client.status, "open");
  const drop = async () => {
    const at = clock.now;
    network.latest.drop();
    await clock.pass(40_000);
    return Math.round(network.attempts.at(-1)! - at);
  };
  assert.equal(await drop(), 1000);
  assert.equal(await drop(), 1000);
});

test("a room that welcomes and drops at once does not reset the back-off", async () => {
  const { clock, network } = setup({
    room: { connected: (peer) => queueMicrotask(() => peer.transport.close(1011, "")) },
    network: { latency: () => 0 },
    client: { random: () => 0.999999 },
  });
  await clock.pass(20_000);
  assert.deepEqual(network.attempts.map(Math.round), [0, 1000, 3000, 7000, 15_000]);
});

test("jitter spreads the attempts over the whole wait", async () => {
  const { clock, network } = setup({ network: { upgrade: () => undefined }, client: { random: () => 0.001 } });
  await clock.pass(100);
  assert.ok(network.attempts.length >= 5, `${network.attempts}`);
});

test("the client gives up after the attempts that it is allowed", async () => {
  const { clock, network, client, changes } = setup({
    network: { upgrade: () => undefined },
    client: { reconnect: { maxAttempts: 3 } },
  });
  const end = watch(client.send(say("a")));
  const open = watch(client.waitForOpen());
  await clock.pass(60_000);
  assert.equal(network.attempts.length, 3);
  assert.equal(client.status, "closed");
  assert.equal((changes.at(-1) as { error: RoomError }).error.code, "unreachable");
  const ends = [end, open, watch(client.send(say("b"))), watch(client.waitForOpen())];
  await settle();
  assert.deepEqual(ends.map(({ error }) => error.code), Array(4).fill("unreachable"));
  assert.equal(clock.size, 0);
});

for (const [code, reason, isFinal] of [
  [0, "", false],
  [1000, "", true],
  [1001, "", false],
  [1003, "", true],
  [1005, "", false],
  [1006, "", false],
  [1007, "", true],
  [1008, "", true],
  [1009, "", true],
  [1011, "", false],
  [1012, "", false],
  [1012, "resumed by a new connection", false],
  [1012, "replaced by a new connection", true],
  [1013, "", false],
  [3000, "", true],
  [3008, "", false],
  [4999, "kicked", true],
] as const) {
  test(`after ${code} ${reason} the client ${isFinal ? "is closed" : "connects again"}`, async () => {
    const { clock, room, client, changes, peer } = setup();
    const end = watch(client.send({ type: "Wait", ms: 1000 }));
    await clock.pass(100);
    room.close(peer(), code, reason);
    await clock.pass(3000);
    assert.equal((changes[1] as { code: number }).code, code || 1006);
    assert.equal(client.status, isFinal ? "closed" : "open");
    assert.deepEqual(end.error?.code, isFinal ? "closed" : undefined);
    if (isFinal) assert.deepEqual([changes.at(-1), client.closed], [{ status: "closed", code, reason }, { code, reason }]);
  });
}

test("a server that chooses another subprotocol, or none, is no room", async () => {
  for (const chosen of ["", "chat"]) {
    const { clock, network, client, changes } = setup({ network: { upgrade: () => chosen } });
    await clock.pass(5000);
    assert.equal(client.status, "closed");
    assert.equal((changes.at(-1) as { error: RoomError }).error.code, "protocol");
    assert.equal(network.closes.length, 1);
    assert.equal(network.attempts.length, 1);
  }
});

test("an attempt fails if it is not open after 10 seconds", async () => {
  const { clock, network, client, changes } = setup({ network: { latency: () => 1e6 } });
  await clock.pass(9990);
  assert.equal(changes.length, 0);
  await clock.pass(1000);
  assert.equal(changes[0]!.status, "reconnecting");
  assert.equal(network.attempts.length, 2);
  assert.equal(client.status, "reconnecting");
});

test("`open` ends the wait before the next attempt, and changes nothing about an attempt or a connection", async () => {
  const { clock, network, client } = setup({ client: { random: () => 0.999 } });
  await clock.pass(100);
  client.open();
  await clock.pass(100);
  assert.equal(network.attempts.length, 1);
  const sent = client.send(say("kept"));
  network.latest.drop();
  await clock.pass(100);
  assert.equal(client.status, "reconnecting");
  assert.equal(network.attempts.length, 1);
  client.open();
  client.open();
  await clock.pass(50);
  assert.equal(client.status, "open");
  await sent;
  await clock.pass(10_000);
  assert.equal(network.attempts.length, 2);
});

test("an attempt fails if there is no welcome 30 seconds later: the room first handles what waits", async () => {
  const { clock, network, client, changes, room } = setup();
  room.connect = () => ({}) as never;
  await clock.pass(29_990);
  assert.equal(changes.length, 0);
  await clock.pass(1000);
  assert.equal(changes[0]!.status, "reconnecting");
  assert.equal(network.attempts.length, 2);
  assert.equal(client.status, "reconnecting");
});

test("a provider is asked before each attempt, and may fail", async () => {
  let n = 0;
  const { clock, network, client } = setup({
    client: {
      url: async () => {
        if (++n === 1) throw new Error("no token yet");
        return `https://room.test/chat?a=${n}#x`;
      },
      params: () => ({ token: `t ${n}`, none: undefined, nothing: null, on: true }),
      protocols: () => [`auth.${n}`],
    },
  });
  const changes: any[] = [];
  client.onStatus((change) => changes.push(change));
  await clock.pass(1000);
  assert.equal(changes[0].error.message, "no token yet");
  assert.equal(network.latest.url, "wss://room.test/chat?a=2&token=t+2&on=true");
  assert.deepEqual(network.latest.protocols, ["room.v1", "auth.2"]);
  network.latest.drop();
  await clock.pass(2000);
  assert.equal(network.latest.url, "wss://room.test/chat?a=3&token=t+3&on=true");
  assert.deepEqual(network.latest.protocols.slice(1), [`room.v1.resume.${token(1)}.1.0`, "auth.3"]);
});

test("an address that is none, and a missing WebSocket, are said at once", async () => {
  assert.throws(() => connect({ url: "nowhere" }), TypeError);
  const { clock, client } = setup({ client: { WebSocket: undefined as never } });
  const before = (globalThis as { WebSocket?: unknown }).WebSocket;
  delete (globalThis as { WebSocket?: unknown }).WebSocket;
  try {
    await clock.pass(10);
  } finally {
    if (before !== undefined) (globalThis as { WebSocket?: unknown }).WebSocket = before;
  }
  assert.equal(client.status, "closed");
  assert.match((client.closed!.error as Error).message, /no global WebSocket/);
});

test("a close fails what has no outcome, without an unhandled rejection", async () => {
  const { clock, room, network, client, changes } = setup({ room: { window: 1 } });
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", note);
  const ends = [client.send({ type: "Wait", ms: 1000 }), client.call.leave(), client.next("Message")].map(watch);
  void client.send(say("nobody waits"));
  await clock.pass(100);
  client.close(4000, "bye");
  client.close();
  await clock.pass(100);
  await new Promise(setImmediate);
  process.off("unhandledRejection", note);
  assert.deepEqual(ends.map(({ error }) => [error.code, error.number]), [
    ["closed", 1],
    ["closed", undefined],
    ["closed", undefined],
  ]);
  assert.deepEqual(unhandled, []);
  assert.deepEqual(network.closes, [{ code: 4000, reason: "bye" }]);
  assert.deepEqual(changes.at(-1), { status: "closed", code: 4000, reason: "bye" });
  assert.equal(room.peers.size, 0);
  assert.equal(client.send(say("late"), { ack: false }), false);
  const late = watch(client.send(say("late")));
  await settle();
  assert.equal(late.error.code, "closed");
  // The room's handler still waits.
  assert.equal(clock.size, 1);
  assert.throws(() => client.close(1001), RangeError);
  assert.throws(() => client.close(1000, "ä".repeat(62)), RangeError);
});

test("a closed connection can be opened again, with a new session", async () => {
  const { clock, room, client } = setup();
  void client.send(say("a"));
  await clock.pass(100);
  client.close();
  client.open();
  client.open();
  void client.send(say("b"));
  await clock.pass(100);
  assert.equal(client.status, "open");
  assert.deepEqual(room.offers, [["room.v1"], ["room.v1"]]);
  assert.deepEqual(room.received, [
    [1, say("a")],
    [1, say("b")],
  ]);
});

test("without autoConnect, the connection is idle until it is opened, and events wait", async () => {
  const { clock, network, client } = setup({ client: { autoConnect: false } });
  const end = watch(client.send(say("a")));
  await clock.pass(1000);
  assert.equal(client.status, "idle");
  assert.equal(network.attempts.length, 0);
  client.open();
  await clock.pass(100);
  assert.deepEqual(end, { value: undefined });
});

test("a signal closes the connection", async () => {
  const stop = new AbortController();
  const { clock, network, client } = setup({ client: { signal: stop.signal } });
  await clock.pass(100);
  stop.abort();
  assert.equal(client.status, "closed");
  assert.deepEqual(network.closes, [{ code: 1000, reason: "aborted" }]);
  client.open();
  assert.equal(client.status, "closed");
  await clock.pass(100);
  assert.equal(clock.size, 0);
});

test("waitForOpen resolves, gives up, and tells of the end", async () => {
  const { clock, client, peer, room } = setup();
  const stop = new AbortController();
  const ends = [
    client.waitForOpen(),
    client.waitForOpen({ timeout: 5 }),
    client.waitForOpen({ signal: stop.signal }),
  ].map(watch);
  stop.abort(new Error("enough"));
  await clock.pass(100);
  assert.deepEqual(ends[0], { value: undefined });
  assert.equal(ends[1]!.error.code, "timeout");
  assert.equal(ends[2]!.error.message, "enough");
  room.close(peer(), 1008, "banned");
  await clock.pass(100);
  const end = watch(client.waitForOpen());
  await clock.pass(1);
  assert.match(end.error.message, /1008, banned/);
});

test("a socket that reports an error and no close is left", async () => {
  const { clock, network, client } = setup();
  await clock.pass(100);
  network.latest.socket.onerror!({ message: "broken" });
  await clock.pass(2000);
  assert.equal(client.status, "open");
  assert.equal(network.connections.length, 2);
});

test("a close during the attempt, or while a provider is asked, ends it", async () => {
  const { clock, network, client } = setup({ client: { url: () => new Promise((done) => setImmediate(() => done("ws://a/"))) } });
  client.close();
  await new Promise(setImmediate);
  await clock.pass(1000);
  assert.equal(network.connections.length, 0);
  assert.equal(clock.size, 0);
});
