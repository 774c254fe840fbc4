// The TypeScript client in the runtimes that have no page: Node.js, Bun, Deno and a Worker. While workerd of the room is killed, each
// resumes its session, and each acknowledged event is counted once.

import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { buildSync } from "esbuild";
import { Miniflare } from "miniflare";
import { ROOT, startWorker } from "./harness.mjs";

const KILLS = 2;
// The events between two kills.
const BETWEEN = 20;
const FOLDER = mkdtempSync(join(tmpdir(), "room-client-"));
const PROGRAM = join(FOLDER, "program.mjs");

let host;

before(async () => {
  for (const name of ["program.mjs", "worker.mjs"]) {
    const entryPoints = [`${ROOT}tests/e2e/runtimes/${name}`];
    buildSync({ entryPoints, bundle: true, format: "esm", external: ["node:*"], outfile: join(FOLDER, name) });
  }
  host = await startWorker({ dir: "examples/counter" });
});

after(async () => {
  await host?.stop();
  rmSync(FOLDER, { recursive: true });
});

/** Kills workerd while a client adds to the count. `run` returns the number of its acknowledged events. */
async function countThroughKills(run) {
  const first = await host.ws("/");
  const { count: start } = await first.next();
  const adding = run(host.url, KILLS);
  // If the client fails before a kill, its error says why.
  const early = adding.then((acknowledged) => assert.fail(`it ended after ${acknowledged}`));
  early.catch(() => {});
  for (let kill = 0, client = first; kill < KILLS; kill += 1, client = await host.ws("/")) {
    const { count: from } = kill === 0 ? { count: start } : await client.next();
    await Promise.race([client.next({ where: ({ count }) => count >= from + BETWEEN }), early]);
    await host.kill();
    await host.restart();
  }
  const acknowledged = await adding;
  const last = await host.ws("/");
  assert.deepEqual(await last.next(), { type: "Count", count: start + acknowledged });
}

/** The program of an npm package whose binary is in another package for this platform. */
function binary(scope, name) {
  const folder = `${ROOT}node_modules/${scope}`;
  const packages = existsSync(folder) ? readdirSync(folder) : [];
  const programs = packages.flatMap((found) => [`${folder}/${found}/bin/${name}`, `${folder}/${found}/${name}`]);
  return programs.find((program) => existsSync(program) && spawnSync(program, ["--version"]).status === 0);
}

const RUNTIMES = {
  "Node.js": () => [process.execPath],
  Bun: () => [binary("@oven", "bun")],
  Deno: () => [binary("@deno", "deno"), "run", "--allow-net=127.0.0.1", "--no-lock"],
};

for (const [name, find] of Object.entries(RUNTIMES)) {
  test(`the client in ${name} resumes, and each acknowledged event is counted once`, async (t) => {
    const [program, ...options] = find();
    if (!program) return t.skip(`npm has no ${name} for this platform`);
    await countThroughKills(async (...given) => {
      const { stdout } = await promisify(execFile)(program, [...options, PROGRAM, ...given.map(String)], { timeout: 60_000 });
      return Number(stdout);
    });
  });
}

test("the client in a Worker resumes, and each acknowledged event is counted once", async (t) => {
  const worker = new Miniflare({
    modules: true,
    modulesRoot: FOLDER,
    scriptPath: join(FOLDER, "worker.mjs"),
    compatibilityDate: "2026-07-01",
  });
  t.after(() => worker.dispose());
  const url = await worker.ready;
  await countThroughKills(async (to, resumptions) => {
    const response = await fetch(`${url}?${new URLSearchParams({ to, resumptions })}`, { signal: AbortSignal.timeout(60_000) });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return JSON.parse(text);
  });
});
