// Random lives of a client: a room that crashes, restarts and forgets, and a network that loses frames, in virtual time.
//
// `lives.test.ts` runs many of them, in a thread. Run by itself, this file tells one of them step by step.
import assert from "node:assert/strict";
import { parentPort, workerData } from "node:worker_threads";
import { decode, encode } from "@msgpack/msgpack";
import { CallError, connect, RoomError } from "room-client";
import { msgpack } from "room-client/msgpack";
import { seeded, settle, VirtualClock } from "./mock/clock.js";
import { Network } from "./mock/network.js";
import { MockRoom, Own, Panic, Refusal, textWire, type Context, type Wire } from "./mock/room.js";

const packedWire: Wire = {
  protocol: "room.v1.msgpack",
  write: (value) => encode(value),
  read: (data) => decode(data as Uint8Array),
};

interface Event {
  type: "Set" | "Noop" | "Refused" | "Panic";
  id: number;
  ms: number;
}

interface Schema {
  event: Event;
  broadcast: { type: "Told"; at: number };
  calls: {
    add: { args: { id: number; ms: number; x: number }; result: number; error: never };
    fail: { args: { id: number }; result: never; error: { id: number } };
  };
}

/** The end of an event or a call, as its caller sees it. */
type End = "pending" | "resolved" | "cancelled" | (string & {});

async function live(seed: number, tell?: (line: string) => void): Promise<Record<string, number>> {
  const random = seeded(seed);
  const below = (n: number) => Math.floor(random() * n);
  const chance = (p: number) => random() < p;
  const clock = new VirtualClock();
  const log = (line: string, more?: object) => {
    tell?.(`${clock.now.toFixed().padStart(7)} ${line}${more === undefined ? "" : ` ${JSON.stringify(more)}`}`);
  };
  const isPacked = chance(0.3);
  const hasReplay = chance(0.7);
  const gathers = chance(0.5);
  const handle = async ({ id, ms }: { id: number; ms: number }, context: Context) => {
    if (ms > 0) await context.sleep(ms);
    context.apply(id);
    if (id % 2 === 0) context.broadcast((at: number) => ({ type: "Told", at }));
  };
  const room = new MockRoom({
    clock,
    wire: isPacked ? packedWire : textWire,
    window: 1 + below(8),
    ...(hasReplay ? { replay: 3 + below(60) } : {}),
    graceMs: below(3) * 20_000,
    gather: () => (gathers ? below(30) : 0),
    split: () => chance(0.5),
    event: async (event: Event, context) => {
      if (event.type === "Set") await handle(event, context);
      else if (event.ms > 0) await context.sleep(event.ms);
      if (event.type === "Refused") throw new Refusal("refused", "no");
      if (event.type === "Panic") throw new Panic();
    },
    calls: {
      add: async (args: Schema["calls"]["add"]["args"], context) => {
        await handle(args, context);
        return args.x + 1;
      },
      fail: ({ id }: { id: number }) => {
        throw new Own({ id });
      },
    },
  });
  const isUp = { value: true };
  const network = new Network({
    clock,
    room,
    latency: () => 1 + below(200),
    upgrade: (_, protocols) => (isUp.value && !chance(0.1) ? protocols[0] : undefined),
  });
  const max = chance(0.2) ? 5 : 1000;
  const client = connect<Schema>({
    url: "ws://room/",
    WebSocket: network.WebSocket,
    clock,
    random,
    codec: isPacked ? msgpack : "json",
    queue: { max, overflow: chance(0.5) ? "reject" : "drop-oldest" },
    reconnect: { baseMs: 500, maxMs: 5000 },
    onDecodeError: (error) => problems.push(String(error)),
  });

  const problems: string[] = [];
  const ends = new Map<number, { kind: string; end: End; at: number }>();
  let position: number | undefined;
  const seen = { gaps: 0, messages: 0 };
  client.onStatus((change) => log("status", change));
  client.onGap(() => {
    position = undefined;
    seen.gaps++;
  });
  client.on("Told", ({ at }) => {
    seen.messages++;
    log(`the message ${at}`);
    if (position !== undefined && at !== position + 1) problems.push(`the message ${at} follows ${position} without a gap`);
    position = at;
  });

  let next = 1;
  const act = (): void => {
    const id = next++;
    const ms = chance(0.3) ? below(400) : 0;
    const cancel = chance(0.1) ? new AbortController() : undefined;
    const options = cancel === undefined ? {} : { signal: cancel.signal };
    const kind = chance(0.6) ? "Set" : (["Noop", "Refused", "Panic", "add", "add", "fail"] as const)[below(6)]!;
    let promise: Promise<unknown>;
    if (kind === "add") {
      promise = client.call.add({ id, ms, x: id * 10 }, options).then((value) => {
        if (value !== id * 10 + 1) problems.push(`add ${id} has the answer ${value}`);
      });
    } else if (kind === "fail") {
      promise = client.call.fail({ id }, options).then(
        () => problems.push(`fail ${id} was resolved`),
        (error) => {
          if (!client.isCallError("fail", error)) throw error;
          if (error.error.id !== id) problems.push(`fail ${id} has the error of ${error.error.id}`);
        },
      );
    } else {
      promise = client.send({ type: kind, id, ms }, options);
    }
    const record = { kind, end: "pending" as End, at: clock.now };
    ends.set(id, record);
    const ended = (end: End): void => {
      log(`${kind} ${id} is ${end}`);
      record.end = end;
    };
    promise.then(
      () => ended("resolved"),
      (error: unknown) => {
        if (error instanceof RoomError) ended(error.code);
        else if (error instanceof CallError) problems.push(`${kind} ${id}: ${error}`);
        else ended("cancelled");
      },
    );
    log(`${kind} ${id} is sent`);
    if (cancel !== undefined) clock.setTimeout(() => cancel.abort(), below(300));
  };

  const fault = (): void => {
    const kind = below(12);
    if (kind < 5) {
      const notices = { client: chance(0.8), room: chance(0.6) };
      log("drop", notices);
      network.connections.at(-1)?.drop(notices);
    } else if (kind < 7) {
      log("the room crashes");
      room.crash(chance(0.5));
    } else if (kind < 9) {
      log("the room restarts");
      room.restart();
    } else if (kind < 10 && chance(0.4)) {
      log("the room forgets");
      room.forget();
    } else if (kind < 11) {
      log("the server is down");
      isUp.value = false;
      clock.setTimeout(() => (isUp.value = true), below(20_000));
      room.restart();
    } else {
      log("the event has no number");
      client.send({ type: "Noop", id: 0, ms: 0 }, { ack: false });
    }
  };

  const steps = 20 + below(60);
  for (let step = 0; step < steps; step++) {
    const burst = chance(0.2) ? below(20) : chance(0.7) ? 1 : 0;
    for (let i = 0; i < burst; i++) act();
    if (chance(0.25)) fault();
    if (chance(0.3)) room.broadcast((at: number) => ({ type: "Told", at }));
    await clock.pass(chance(0.1) ? below(30_000) : below(400));
  }
  isUp.value = true;
  await clock.pass(240_000);
  room.broadcast((at: number) => ({ type: "Told", at }));
  await clock.pass(1_000);

  if (client.status !== "open") problems.push(`the client is ${client.status} at the end`);
  if (client.pending !== 0) problems.push(`${client.pending} have no outcome at the end`);
  if (position !== room.stored.position) problems.push(`the last message is ${position} of ${room.stored.position}`);
  const applied = new Map<number, number>();
  let highest = 0;
  for (const { change } of room.stored.changes) {
    const id = change as number;
    applied.set(id, (applied.get(id) ?? 0) + 1);
    if (id <= highest) problems.push(`${id} was handled after ${highest}`);
    highest = Math.max(highest, id);
  }
  const counts: Record<string, number> = { messages: seen.messages, gaps: seen.gaps };
  for (const [id, { kind, end }] of ends) {
    counts[end] = (counts[end] ?? 0) + 1;
    const times = applied.get(id) ?? 0;
    const changes = kind === "Set" || kind === "add";
    if (end === "pending") problems.push(`${kind} ${id} has no end`);
    if (times > 1) problems.push(`${kind} ${id} was applied ${times} times`);
    if (changes && end === "resolved" && times !== 1) problems.push(`${kind} ${id} was resolved and applied ${times} times`);
    if (["refused", "queue_full", "queue_dropped", "restarted"].includes(end) && times !== 0) {
      problems.push(`${kind} ${id} is ${end} and was applied`);
    }
    if (end === "refused" && kind !== "Refused") problems.push(`${kind} ${id} was refused`);
    if (["no_answer", "decode", "timeout", "closed"].includes(end)) problems.push(`${kind} ${id} is ${end}`);
  }
  problems.push(...room.problems);
  client.close();
  await clock.pass(1_000);
  if (clock.size !== 0) problems.push(`${clock.size} timers are left after the close`);
  await settle();
  assert.deepEqual(problems, []);
  return counts;
}

/** Runs the lives with these seeds, and returns what happened in them. */
async function liveAll(first: number, last: number): Promise<Record<string, number>> {
  const total: Record<string, number> = {};
  for (let seed = first; seed <= last; seed++) {
    try {
      for (const [name, count] of Object.entries(await live(seed))) total[name] = (total[name] ?? 0) + count;
    } catch (error) {
      throw new Error(`the life ${seed} failed. To be told it: ROOM_SEED=${seed} npm run life`, { cause: error });
    }
  }
  return total;
}

if (parentPort !== null) {
  // Most errors are expected ones, and their stacks would take a tenth of the time.
  Error.stackTraceLimit = 0;
  const { first, last } = workerData as { first: number; last: number };
  parentPort.postMessage(await liveAll(first, last));
} else {
  await live(Number(process.env["ROOM_SEED"] ?? 1), (line) => console.log(line));
}
