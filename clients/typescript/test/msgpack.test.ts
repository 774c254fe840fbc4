// The codec MessagePack.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import { msgpack } from "room-client/msgpack";
import { setup, watch } from "./mock/setup.js";
import type { Wire } from "./mock/room.js";

const wire: Wire = {
  protocol: "room.v1.msgpack",
  write: (value) => encode(value, { useBigInt64: true }),
  read: (data) => decode(data as Uint8Array),
};
const packed = (room = {}) => setup({ room: { wire, ...room }, client: { codec: msgpack } });

test("events, calls and controls are the same values as in JSON", async () => {
  const { clock, room, network, client } = packed({ calls: { rename: ({ name }: { name: string }) => name.length } });
  const sent = watch(client.send({ type: "Say", text: "hi" }));
  const called = watch(client.call.rename({ name: "Ada" }));
  await clock.pass(100);
  client.send({ type: "Say", text: "now" }, { ack: false });
  await clock.pass(100);
  assert.deepEqual([sent, called], [{ value: undefined }, { value: 3 }]);
  assert.deepEqual(room.received, [
    [1, { type: "Say", text: "hi" }],
    [2, "rename", { name: "Ada" }],
    [0, { type: "Say", text: "now" }],
  ]);
  assert.deepEqual(network.latest.protocols, ["room.v1.msgpack"]);
});

test("the heartbeat is text", async () => {
  const { clock, room, client, undecoded } = packed();
  const received: unknown[] = [];
  const receive = room.receive.bind(room);
  room.receive = (peer, data) => {
    received.push(data);
    receive(peer, data);
  };
  await clock.pass(40_000);
  assert.deepEqual(received, ["ping"]);
  assert.equal(client.status, "open");
  assert.deepEqual(undecoded, []);
});

test("a number of any size has its own number of bytes", () => {
  for (const number of [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 40]) {
    const frame = msgpack.join(number, [msgpack.encode("rename"), msgpack.encode({ a: 1 })]);
    assert.deepEqual(decode(frame as Uint8Array), [number, "rename", { a: 1 }]);
  }
});

test("bytes are bytes", async () => {
  const { clock, room, client, raw } = packed();
  const heard: unknown[] = [];
  client.on("*", (message) => heard.push(message));
  void client.send({ type: "Bytes", bytes: new Uint8Array([1, 255]), none: undefined } as never);
  await clock.pass(100);
  await raw([[], { type: "Bytes", bytes: new Uint8Array([7]), big: 5n }]);
  assert.deepEqual(room.received, [[1, { type: "Bytes", bytes: new Uint8Array([1, 255]) }]]);
  assert.deepEqual(heard, [{ type: "Bytes", bytes: new Uint8Array([7]), big: 5 }]);
});

test("a 64-bit integer that is a safe number is one, and another is an error", async () => {
  const { clock, client, raw, undecoded } = packed({ calls: { rename: () => new Promise(() => {}) } });
  const heard: unknown[] = [];
  client.on("*", (message) => heard.push(message));
  const ends = [client.call.rename({ name: "a" }), client.call.rename({ name: "b" })].map(watch);
  await clock.pass(100);
  await raw([
    [{ answer: { n: 1, value: { deep: [2n ** 64n - 1n] } } }, { answer: { n: 2, value: 2n ** 53n - 1n } }],
    { type: "A", n: 2n ** 53n },
    { type: "B", n: -(2n ** 53n) + 1n, float: 2 ** 60 },
    -(2n ** 63n),
  ]);
  assert.equal(ends[0]!.error.code, "unsafe_integer");
  assert.deepEqual(ends[1], { value: Number.MAX_SAFE_INTEGER });
  assert.deepEqual(heard, [{ type: "B", n: Number.MIN_SAFE_INTEGER, float: 2 ** 60 }]);
  assert.deepEqual(undecoded.map(({ code }) => code), ["unsafe_integer", "unsafe_integer"]);
});

test("an event that the room would read as another one is refused here", async () => {
  const { clock, room, client } = packed();
  const cycle: Record<string, unknown> = {};
  cycle["self"] = [cycle];
  for (const [event, code] of [
    [{ a: [2 ** 53] }, "unsafe_integer"],
    [{ a: { b: NaN } }, "unencodable"],
    [{ a: 1n }, "unencodable"],
    [{ a: () => 1 }, "unencodable"],
    [cycle, "unencodable"],
    [undefined, "unencodable"],
  ] as const) {
    const end = watch(client.send(event as never));
    await clock.pass(1);
    assert.equal(end.error?.code, code);
  }
  const shared = { n: 1 };
  void client.send({ a: shared, b: shared, float: 1e300 } as never);
  await clock.pass(100);
  assert.deepEqual(room.received, [[1, { a: shared, b: shared, float: 1e300 }]]);
});

test("a frame that is none is reported", async () => {
  const { clock, peer, undecoded } = packed();
  await clock.pass(100);
  for (const data of ["text", new Uint8Array([0xc1]), new Uint8Array([0xcf, 0, 0, 0, 0, 0, 0, 0, 1]), new Uint8Array(0)]) {
    peer().transport.send(data);
  }
  await clock.pass(20);
  assert.deepEqual(undecoded.map(({ code }) => code), Array(4).fill("decode"));
});
