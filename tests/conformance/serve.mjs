// Runs one workerd for the conformance suite's runner. They communicate by lines:
//
//   → ready http://127.0.0.1:41234        at the start, and after each restart
//   ← restart                             starts a new process over the same storage; open sockets are lost
//   ← stop                                ends the process, as the end of the input does
//
// E2E_VERBOSE=1 shows the Worker's output.

import { createInterface } from "node:readline";
import { startWorker } from "../e2e/harness.mjs";

const say = (line) => process.stdout.write(`${line}\n`);

const host = await startWorker({ dir: "tests/conformance/rooms", apart: true });

async function stop() {
  await host.stop();
  process.exit(0);
}

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, stop);

say(`ready ${host.url}`);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "restart") {
    await host.restart();
    say(`ready ${host.url}`);
  } else if (line === "stop") {
    break;
  } else {
    throw new Error(`no such command: ${line}`);
  }
}
await stop();
