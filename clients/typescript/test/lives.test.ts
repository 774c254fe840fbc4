// The lives of lives.ts, with the seeds from 1 on. ROOM_SEEDS=100000 runs more of them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

const SEEDS = Number(process.env["ROOM_SEEDS"] ?? 2000);

// A thread of its own has no hooks of the test runner, which would take most of the time.
const run = (first: number, last: number): Promise<Record<string, number>> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./lives.js", import.meta.url), { workerData: { first, last } });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`the thread ended with ${code}`)));
  });

test("a random life keeps every promise", async () => {
  const half = Math.floor(SEEDS / 2);
  const total: Record<string, number> = {};
  for (const counts of await Promise.all([run(1, half), run(half + 1, SEEDS)])) {
    for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count;
  }
  console.log(Object.entries(total).map(([name, count]) => `${count} ${name}`).join(", "));
  // A life in which nothing happens keeps every promise too.
  for (const name of ["resolved", "cancelled", "refused", "restarted", "session_lost", "queue_full", "queue_dropped", "gaps"]) {
    assert.ok(total[name]! > SEEDS / 10, `${total[name]} ${name}`);
  }
});
