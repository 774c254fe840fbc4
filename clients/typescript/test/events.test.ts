// Events and calls: numbers, outcomes, the window, the queue, cancelling.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CallError, DecodeError, RoomError } from "room-client";
import { setup, watch } from "./mock/setup.js";
import { Own, Refusal } from "./mock/room.js";

const say = (text: string) => ({ type: "Say", text }) as const;

test("an event resolves when it is acknowledged, after the messages of the same frame", async () => {
  const { clock, room, client } = setup({ room: { gather: () => 5 } });
  const order: string[] = [];
  client.on("Message", ({ text }) => order.push(text));
  void client.send(say("hi")).then(() => order.push("sent"));
  await clock.pass(100);
  assert.deepEqual(order, ["hi", "sent"]);
  assert.deepEqual(room.received, [[1, { type: "Say", text: "hi" }]]);
  assert.equal(client.pending, 0);
});

test("events sent before the connection is open are sent in order, as many as the window allows", async () => {
  const { clock, room, client } = setup({ room: { window: 2 } });
  const ends = [1, 2, 3].map(() => watch(client.send({ type: "Wait", ms: 1000 })));
  await clock.pass(500);
  assert.deepEqual(room.received.map((frame) => (frame as unknown[])[0]), [1, 2]);
  await clock.pass(3000);
  assert.deepEqual(ends, [{ value: undefined }, { value: undefined }, { value: undefined }]);
  assert.deepEqual(room.received.map((frame) => (frame as unknown[])[0]), [1, 2, 3]);
  room.assertProtocol();
});

test("a failed event rejects with the room's error", async () => {
  const violations = [{ path: "text", message: "is empty" }];
  const { clock, client } = setup({
    room: {
      event: () => {
        throw new Refusal("rate_limited", "too fast", { retry_after_ms: 500, violations });
      },
    },
  });
  const end = watch(client.send(say("")));
  await clock.pass(100);
  const { error } = end;
  assert.ok(error instanceof RoomError);
  assert.deepEqual(
    { ...error, message: error.message },
    { name: "RoomError", code: "rate_limited", message: "too fast", number: 1, retryAfterMs: 500, violations },
  );
});

test("a call resolves to its result, and rejects with its own error", async () => {
  const { clock, room, client } = setup({
    room: {
      calls: {
        rename: ({ name }: { name: string }) => {
          if (name === "Ada") throw new Own("taken");
          return name.length;
        },
        leave: () => undefined,
      },
    },
  });
  const ends = [
    client.call.rename({ name: "Grace" }),
    client.call.rename({ name: "Ada" }),
    client.call.leave(),
    (client.call as any).leaf({}),
  ].map(watch);
  await clock.pass(100);
  assert.equal(ends[0]!.value, 5);
  const { error } = ends[1]!;
  assert.ok(error instanceof CallError && client.isCallError("rename", error));
  assert.equal(error.error satisfies "taken", "taken");
  assert.equal(error.message, "`rename` failed: taken");
  assert.equal(client.isCallError("leave", error), false);
  assert.equal(ends[2]!.value, null);
  assert.equal(ends[3]!.error.code, "unknown_call");
  assert.deepEqual(room.received, [
    [1, "rename", { name: "Grace" }],
    [2, "rename", { name: "Ada" }],
    [3, "leave", {}],
    [4, "leaf", {}],
  ]);
});

test("the object with the calls can be awaited", async () => {
  const { client } = setup();
  assert.equal(await Promise.resolve(client.call), client.call);
});

test("an outcome of its own counts, wherever it is in the list of controls", async () => {
  const { clock, client, raw } = setup({ room: { event: (_, { sleep }) => sleep(1e9), calls: { rename: () => new Promise(() => {}) } } });
  const ends = [client.send(say("a")), client.send(say("b")), client.call.rename({ name: "c" })].map(watch);
  await clock.pass(100);
  await raw([[{ ack: 3 }, { error: { n: 2, code: "refused", message: "no" } }, { answer: { n: 3, value: 7 } }]]);
  assert.deepEqual(ends[0], { value: undefined });
  assert.equal(ends[1]!.error.code, "refused");
  assert.deepEqual(ends[2], { value: 7 });
});

test("a call that is settled without an answer is an error and no invented answer", async () => {
  const { clock, client, raw } = setup({ room: { calls: { leave: () => new Promise(() => {}) } } });
  const end = watch(client.call.leave());
  await clock.pass(100);
  await raw([[{ ack: 1 }]]);
  assert.equal(end.error.code, "no_answer");
});

test("an unknown control, and outcomes of numbers that have one, are ignored", async () => {
  const { clock, client, raw, undecoded } = setup();
  const end = watch(client.send(say("a")));
  await clock.pass(100);
  await raw([[{ later: { n: 1 } }, { ack: 1 }, { error: { n: 1, code: "x", message: "" } }, { answer: { n: 9 } }, { resend: 7 }]]);
  const second = watch(client.send(say("b")));
  await clock.pass(100);
  assert.deepEqual([end, second], [{ value: undefined }, { value: undefined }]);
  assert.deepEqual(undecoded, []);
});

test("an event without a number is sent at once or never", async () => {
  const { clock, room, network, client } = setup();
  assert.equal(client.send(say("early"), { ack: false }), false);
  await clock.pass(100);
  assert.equal(client.send(say("now"), { ack: false }), true);
  network.latest.drop({ room: false });
  await clock.pass(2000);
  assert.deepEqual(room.received, []);
  assert.equal(client.send(say("again"), { ack: false }), true);
  await clock.pass(100);
  assert.deepEqual(room.received, [[0, say("again")]]);
});

test("an event that is given up before it was sent takes no number", async () => {
  const { clock, room, client } = setup({ room: { window: 1 } });
  const stop = new AbortController();
  const first = watch(client.send({ type: "Wait", ms: 500 }));
  const second = watch(client.send(say("b"), { signal: stop.signal }));
  const third = watch(client.send(say("c"), { timeout: 200 }));
  const fourth = watch(client.send(say("d")));
  await clock.pass(100);
  stop.abort(new Error("enough"));
  await clock.pass(2000);
  assert.deepEqual(first, { value: undefined });
  assert.equal(second.error.message, "enough");
  assert.equal(third.error.code, "timeout");
  assert.deepEqual(fourth, { value: undefined });
  assert.deepEqual(room.received, [
    [1, { type: "Wait", ms: 500 }],
    [2, say("d")],
  ]);
  assert.equal(client.pending, 0);
});

test("an event that is given up after it was sent keeps its number and is sent again", async () => {
  const { clock, room, network, client } = setup();
  await clock.pass(100);
  const stop = new AbortController();
  const first = watch(client.send(say("a"), { signal: stop.signal }));
  const second = watch(client.send(say("b")));
  network.latest.drop();
  stop.abort();
  await clock.pass(2000);
  assert.equal(first.error.name, "AbortError");
  assert.deepEqual(second, { value: undefined });
  assert.deepEqual(room.received, [
    [1, say("a")],
    [2, say("b")],
  ]);
  assert.equal(client.pending, 0);
});

test("a signal that is aborted already, and one that is not, leave nothing behind", async () => {
  const { clock, room, client } = setup();
  const end = watch(client.send(say("a"), { signal: AbortSignal.abort() }));
  const stop = new AbortController();
  const sent = watch(client.send(say("b"), { signal: stop.signal, timeout: 5000 }));
  await clock.pass(100);
  stop.abort();
  assert.equal(end.error.name, "AbortError");
  assert.deepEqual(sent, { value: undefined });
  assert.deepEqual(room.received, [[1, say("b")]]);
  client.close();
  await clock.pass(100);
  assert.equal(clock.size, 0);
});

test("a full queue refuses the new event", async () => {
  const { clock, room, client } = setup({ client: { queue: { max: 2 } } });
  const ends = ["a", "b", "c"].map((text) => watch(client.send(say(text))));
  await clock.pass(100);
  assert.equal(ends[2]!.error.code, "queue_full");
  assert.deepEqual(room.received, [
    [1, say("a")],
    [2, say("b")],
  ]);
});

test("a full queue drops the oldest event, if it is told so", async () => {
  const { clock, room, client } = setup({ client: { queue: { max: 2, overflow: "drop-oldest" } } });
  const ends = ["a", "b", "c"].map((text) => watch(client.send(say(text))));
  await clock.pass(100);
  assert.equal(ends[0]!.error.code, "queue_dropped");
  assert.deepEqual(room.received, [
    [1, say("b")],
    [2, say("c")],
  ]);
});

test("a queue of 0 takes what can be sent at once", async () => {
  const { clock, client } = setup({ client: { queue: { max: 0 } } });
  const early = watch(client.send(say("a")));
  await clock.pass(100);
  const end = watch(client.send(say("b")));
  await clock.pass(100);
  assert.equal(early.error.code, "queue_full");
  assert.deepEqual(end, { value: undefined });
});

test("an event that the room would read as another one is refused here", async () => {
  const { clock, room, client } = setup();
  await clock.pass(100);
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const cases: [unknown, string][] = [
    [{ type: "Amount", amount: 2 ** 53 }, "unsafe_integer"],
    [{ type: "Amount", amount: -(2 ** 60) }, "unsafe_integer"],
    [{ type: "Amount", amount: NaN }, "unencodable"],
    [{ type: "Amount", amount: Infinity }, "unencodable"],
    [{ type: "Amount", amount: 1n }, "unencodable"],
    [cycle, "unencodable"],
    [undefined, "unencodable"],
  ];
  for (const [event, code] of cases) {
    const end = watch(client.send(event as never));
    await clock.pass(1);
    assert.equal(end.error?.code, code, String(code));
    assert.throws(() => client.send(event as never, { ack: false }), { code });
  }
  const call = watch(client.call.rename({ name: 2 ** 53 } as never));
  await clock.pass(1);
  assert.match(call.error.message, /at `name` is an integer beyond/);
  // These are what they look like: the largest integers, and floats that are written with an exponent.
  for (const amount of [Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER, 1e21, 0.1, 1.5e300]) {
    void client.send({ type: "Amount", amount });
  }
  await clock.pass(100);
  assert.equal(room.received.length, 5);
});

test("bytes are lists of numbers in JSON", async () => {
  const { clock, room, client } = setup();
  void client.send({ type: "Bytes", bytes: new Uint8Array([1, 255]), buffer: Buffer.from([7]) } as never);
  await clock.pass(100);
  assert.deepEqual(room.received, [[1, { type: "Bytes", bytes: [1, 255], buffer: [7] }]]);
});

test("an event is what it was when it was sent", async () => {
  const { clock, room, client } = setup();
  const event = { type: "Say" as const, text: "a" };
  void client.send(event);
  event.text = "b";
  await clock.pass(100);
  assert.deepEqual(room.received, [[1, say("a")]]);
});

test("an answer with an integer that JavaScript cannot hold is an error", async () => {
  const { clock, client, raw, undecoded } = setup({ room: { calls: { rename: () => new Promise(() => {}) } } });
  const ends = ["a", "b"].map((name) => watch(client.call.rename({ name })));
  await clock.pass(100);
  await raw('[[{"answer":{"n":1,"value":1}},{"answer":{"n":2,"value":9007199254740993}}]]');
  assert.deepEqual(ends[0], { value: 1 });
  assert.ok(ends[1]!.error instanceof DecodeError);
  assert.equal(ends[1]!.error.code, "unsafe_integer");
  assert.deepEqual(undecoded, []);
  assert.equal(client.pending, 0);
});

test("checks of events see each event, and their output is sent", async () => {
  const { clock, room, client } = setup({
    client: {
      validate: {
        event: {
          "~standard": {
            version: 1,
            vendor: "test",
            validate: (value) => {
              const event = value as { text: string };
              return event.text === ""
                ? { issues: [{ message: "is empty", path: ["text", { key: 0 }] }] }
                : { value: { ...event, text: event.text.trim() } };
            },
          },
        },
      },
    },
  });
  const bad = watch(client.send(say("")));
  void client.send(say(" hi "));
  await clock.pass(100);
  assert.equal(bad.error.code, "invalid");
  assert.deepEqual(bad.error.violations, [{ path: "text.0", message: "is empty" }]);
  assert.equal(bad.error.message, "the event is not valid: text.0: is empty");
  assert.deepEqual(room.received, [[1, say("hi")]]);
});
