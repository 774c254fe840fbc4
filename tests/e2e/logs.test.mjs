// Events of a room with `logs::init` on the console of a real workerd: one object for each, with its fields.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startWorker } from "./harness.mjs";

let host;
let example;
before(async () => {
  host = await startWorker({ dir: "tests/e2e/rooms" });
  example = await startWorker({ dir: "examples/axum" });
});
after(async () => {
  await host?.stop();
  await example?.stop();
});

/** Waits until the console has an object with these fields. */
async function logged(host, room, level, fields) {
  const wanted = Object.entries({ level, id: room, ...fields });
  const text = ([name, value]) => `${name}: ${typeof value === "number" ? value : `'${value}'`}`;
  const has = (object) => wanted.every((field) => object.includes(text(field)));
  for (let tries = 0; tries < 200; tries += 1) {
    // An object is printed on one line or on several.
    const objects = host.logs().match(/\{[^{}]*\}/g) ?? [];
    const found = objects.find(has);
    if (found !== undefined) return found;
    await sleep(50);
  }
  return assert.fail(`no ${JSON.stringify(fields)} in\n${host.logs()}`);
}

test("a start, a handler and a refused frame are objects with the fields to filter by", async () => {
  const alice = await host.ws("/ws/logged?id=alice");
  await logged(host, "logged", "INFO", { message: "started", room: "probe" });
  await logged(host, "logged", "DEBUG", { message: "handled", handler: "on_connect", peer: "alice", outcome: "ok" });
  alice.send("no event");
  await logged(host, "logged", "WARN", { message: "refused", room: "probe", peer: "alice", kind: "decode" });
  await alice.close();
});

test("the example logs from INFO on", async () => {
  const alice = await example.ws("/polls/logged/ws?voter=alice");
  alice.send({ type: "Vote", choice: "" });
  await logged(example, "logged", "INFO", { message: "started", room: "poll" });
  await logged(example, "logged", "WARN", { message: "refused", room: "poll", peer: "alice", kind: "invalid" });
  assert.doesNotMatch(example.logs(), /DEBUG/);
  await alice.close();
});
