// Runs one workerd for the torture suite. They communicate by lines:
//
//   → ready PID http://127.0.0.1:41234    at the start, and after each command
//   ← kill                                kills the process with SIGKILL, and starts a new one over the same storage
//   ← restart                             ends the process, and starts a new one
//   ← deploy first | deploy next          kills the process, and starts the other release of the shelf over the same storage
//
// With TORTURE_SHIM, workerd runs with that library (faults.c). It ends when its input does.

import { createInterface } from "node:readline";
import { startWorker } from "../e2e/harness.mjs";

/** The Durable Objects of the second release: another class, with the storage of the first one. Its Worker has no name. */
const NEXT = { SHELF_NEXT: { className: "ShelfNextRoom", useSQLite: true, unsafeUniqueKey: "-ShelfRoom" } };

const say = (line) => process.stdout.write(`${line}\n`);

// This process has started already, so that only its children load the library.
if (process.env.TORTURE_SHIM) process.env.LD_PRELOAD = process.env.TORTURE_SHIM;

const host = await startWorker({ dir: "tests/torture/rooms", direct: true });

async function stop() {
  await host.stop();
  process.exit(0);
}

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, stop);

say(`ready ${host.pid} ${host.direct}`);
for await (const line of createInterface({ input: process.stdin })) {
  const [command, release] = line.split(" ");
  if (!["kill", "restart", "deploy"].includes(command)) throw new Error(`no such command: ${line}`);
  if (command !== "restart") await host.kill();
  if (command === "deploy") host.objects = release === "next" ? { SHELF: undefined, ...NEXT } : {};
  await host.restart();
  say(`ready ${host.pid} ${host.direct}`);
}
await stop();
