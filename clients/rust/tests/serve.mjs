// Runs tests/e2e/rooms on a real workerd for tests/kills.rs. They communicate by lines:
//
//   → ready http://127.0.0.1:41234        at the start, and after each kill
//   ← kill                                kills the process with SIGKILL, and starts a new one over the same storage
//
// It ends when its input does.

import { createInterface } from "node:readline";
import { startWorker } from "../../../tests/e2e/harness.mjs";

const say = (line) => process.stdout.write(`${line}\n`);

const host = await startWorker({ dir: "tests/e2e/rooms" });

async function stop() {
  await host.stop();
  process.exit(0);
}

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, stop);

say(`ready ${host.url}`);
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "kill") throw new Error(`no such command: ${line}`);
  await host.kill();
  await host.restart();
  say(`ready ${host.url}`);
}
await stop();
