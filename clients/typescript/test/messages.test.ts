// Messages: listeners, streams, decoding, checks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { RoomError, type DecodeError } from "room-client";
import { settle } from "./mock/clock.js";
import { setup, watch, type Chat } from "./mock/setup.js";

const message = (text: string) => ({ type: "Message" as const, text });

test("a listener gets the messages with its name until it ends", async () => {
  const { clock, client, raw } = setup();
  const heard: unknown[] = [];
  const end = client.on("Message", ({ text }) => heard.push(text));
  client.on("*", (message) => heard.push(message?.type));
  client.once("Message", ({ text }) => heard.push(`once ${text}`));
  await clock.pass(100);
  const next = watch(client.next("Present"));
  await raw([[], message("a"), { type: "Present", users: [] }, { type: "Later" }, "text", null, message("b")]);
  end();
  end();
  await raw([[], message("c")]);
  assert.deepEqual(heard.slice(0, 4), ["a", "once a", "Message", "Present"]);
  assert.deepEqual(next.value, { type: "Present", users: [] });
  assert.deepEqual(heard.filter((entry) => entry === "b" || entry === "c"), ["b"]);
});

test("the same function can listen twice, and each end is its own", async () => {
  const { clock, client, raw } = setup();
  let count = 0;
  const run = () => count++;
  const ends = [client.on("Message", run), client.on("Message", run)];
  await clock.pass(100);
  await raw([[], message("a")]);
  ends[0]!();
  await raw([[], message("b")]);
  assert.equal(count, 3);
});

test("an error of a listener is reported and stops nothing", async () => {
  const reported: unknown[] = [];
  (globalThis as any).reportError = (error: unknown) => reported.push(error);
  const { clock, client } = setup();
  const heard: string[] = [];
  client.on("Message", () => {
    throw new Error("mine");
  });
  client.on("Message", ({ text }) => heard.push(text));
  client.onStatus(() => {
    throw new Error("mine too");
  });
  const end = watch(client.send({ type: "Say", text: "a" }));
  await clock.pass(100);
  delete (globalThis as any).reportError;
  assert.deepEqual(reported.map((error) => (error as Error).message), ["mine too", "mine"]);
  assert.deepEqual(heard, ["a"]);
  assert.deepEqual(end, { value: undefined });
});

test("a listener that closes the connection gets no further message", async () => {
  const { clock, client, raw } = setup();
  const heard: string[] = [];
  client.on("Message", ({ text }) => {
    heard.push(text);
    client.close();
  });
  await clock.pass(100);
  await raw([[], message("a"), message("b")]);
  assert.deepEqual(heard, ["a"]);
});

test("a variant can have another key, or none", async () => {
  interface Kinds {
    tag: "kind";
    event: { kind: "A" };
    broadcast: { kind: "B"; n: number } | { kind: "C" };
    calls: {};
  }
  const kinds = setup<Kinds>({ client: { tag: "kind" } });
  const heard: unknown[] = [];
  kinds.client.on("B", ({ n }) => heard.push(n));
  await kinds.clock.pass(100);
  await kinds.raw([[], { kind: "B", n: 1 }, { kind: "C" }]);
  interface Bare {
    tag: null;
    event: number;
    broadcast: number | { type: string };
    calls: {};
  }
  const bare = setup<Bare>({ client: { tag: null } });
  bare.client.on("*", (message) => heard.push(message));
  await bare.clock.pass(100);
  await bare.raw([[], 2, { type: "*" }]);
  assert.deepEqual(heard, [1, 2, { type: "*" }]);
});

test("a message with an integer that JavaScript cannot hold is never passed on", async () => {
  const { clock, client, raw, undecoded } = setup();
  const heard: unknown[] = [];
  client.on("*", (message) => heard.push(message));
  const end = watch(client.send({ type: "Wait", ms: 1e6 }));
  await clock.pass(100);
  await raw(
    '[[{"later":{"a":[1,2],"b":",\\"[{"}},{"ack":1}],{"type":"A","n":9007199254740991},{"type":"B","n":[0,{"deep":9007199254740992}]},' +
      '{"type":"C","text":"18446744073709551615 \\\\\\" 18446744073709551615"},{"type":"D","n":-18446744073709551615},' +
      '{"type":"E","n":18446744073709551615.0,"m":1e300},{"type":"F","n":18446744073709551615e0},18446744073709551615,0]',
  );
  assert.deepEqual(heard, [
    { type: "A", n: Number.MAX_SAFE_INTEGER },
    { type: "C", text: '18446744073709551615 \\" 18446744073709551615' },
    { type: "E", n: 18446744073709552000, m: 1e300 },
    { type: "F", n: 18446744073709552000 },
    0,
  ]);
  assert.deepEqual(undecoded.map((error) => error.code), ["unsafe_integer", "unsafe_integer", "unsafe_integer"]);
  assert.deepEqual(end, { value: undefined });
});

test("a frame that is none is reported, and the next one is read", async () => {
  const { clock, client, raw, undecoded } = setup();
  const heard: string[] = [];
  client.on("Message", ({ text }) => heard.push(text));
  await clock.pass(100);
  for (const text of ["{", "7", "[]", '{"$room":{}}', '[{"ack":1}]']) await raw(text);
  await raw([[], message("a")]);
  assert.deepEqual(undecoded.map((error) => [error.name, error.code]), Array(5).fill(["DecodeError", "decode"]));
  assert.equal(undecoded[1]!.data, "7");
  assert.deepEqual(heard, ["a"]);
});

test("without onDecodeError, the console tells", async (t) => {
  const error = t.mock.method(console, "error", () => {});
  const { clock, raw } = setup({ client: { onDecodeError: undefined as never } });
  await clock.pass(100);
  await raw("{");
  assert.equal(error.mock.callCount(), 1);
});

test("checks of messages see each message", async () => {
  const { clock, client, raw, undecoded } = setup({
    client: {
      validate: { broadcast: ({ text }: { text: string }) => (text === "" ? [{ message: "is empty" }] : []) },
    },
  });
  const heard: unknown[] = [];
  client.on("*", (message) => heard.push(message));
  await clock.pass(100);
  await raw([[], message(""), message("a")]);
  assert.deepEqual(heard, [message("a")]);
  assert.deepEqual(undecoded.map(({ code, data, violations }) => ({ code, data, violations })), [
    { code: "invalid", data: message(""), violations: [{ path: "", message: "is empty" }] },
  ]);
});

test("an error without a number, and bytes, have listeners of their own", async () => {
  const { clock, client, peer, raw, room } = setup();
  const heard: unknown[] = [];
  client.onError((error) => heard.push([error.code, error.number]));
  client.onBytes((bytes) => heard.push([...bytes]));
  await clock.pass(100);
  await raw([[{ error: { code: "rate_limited", message: "slow", retry_after_ms: 5 } }]]);
  peer().transport.send(new Uint8Array([1, 2]));
  const got: unknown[] = [];
  room.receive = (_, data) => got.push(data);
  assert.equal(client.sendBytes(new Uint8Array([3])), true);
  await clock.pass(20);
  assert.deepEqual(heard, [["rate_limited", undefined], [1, 2]]);
  assert.deepEqual(got, [new Uint8Array([3])]);
});

test("a loop gets the messages in order, also those that arrive while it is busy", async () => {
  const { clock, client, raw } = setup();
  await clock.pass(100);
  const heard: string[] = [];
  const loop = (async () => {
    for await (const message of client) {
      if (message.type !== "Message") continue;
      heard.push(message.text);
      if (message.text === "c") break;
    }
  })();
  await raw([[], message("a"), message("b")]);
  await raw([[], message("c"), message("d")]);
  await loop;
  assert.deepEqual(heard, ["a", "b", "c"]);
});

test("a loop ends with the connection, after the messages that it has", async () => {
  const { clock, client, raw } = setup();
  await clock.pass(100);
  const stream = client.messages();
  await raw([[], message("a")]);
  client.close();
  const heard: string[] = [];
  for await (const message of stream) heard.push((message as { text: string }).text);
  for await (const _ of client.messages()) assert.fail("a message after the end");
  assert.deepEqual(heard, ["a"]);
});

test("a loop that is too slow ends with an error, or skips messages", async () => {
  const { clock, client, raw } = setup();
  await clock.pass(100);
  const strict = client.messages({ buffer: 2 });
  const lossy = client.messages({ buffer: 2, overflow: "drop-oldest" });
  await raw([[], message("a"), message("b"), message("c")]);
  await assert.rejects(strict.next(), (error) => error instanceof RoomError && error.code === "buffer_full");
  assert.deepEqual(await strict.next(), { done: true, value: undefined });
  assert.deepEqual(await lossy.next(), { done: false, value: message("b") });
});

test("a signal ends a loop with its reason", async () => {
  const { clock, client } = setup();
  await clock.pass(100);
  const stop = new AbortController();
  const stream = client.messages({ signal: stop.signal });
  const ends = [stream.next(), stream.next()].map(watch);
  stop.abort(new Error("enough"));
  await settle();
  assert.equal(ends[0]!.error.message, "enough");
  assert.deepEqual(ends[1]!.value, { done: true, value: undefined });
  await assert.rejects(client.messages({ signal: stop.signal }).next(), /enough/);
});

// The types of the error and the schema are used here only.
export type Unused = [DecodeError, Chat];
