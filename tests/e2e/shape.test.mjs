// The generated JavaScript that room.js relies on: a difference is one clear error when the Worker starts. These tests feed
// room.js with stand-ins for the generated files and need neither a build nor workerd.

import assert from "node:assert/strict";
import { mkdtemp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const ROOM_JS = "room-runtime/src/platform/cloudflare/room.js";

const folders = [];
const errors = [];
const original = console.error;
// Globals of workerd.
globalThis.addEventListener ??= () => {};

beforeEach(() => {
  errors.length = 0;
  console.error = (message) => errors.push(message);
  globalThis.__worker_init_state = { criticalError: false, instanceId: 0 };
});
after(async () => {
  console.error = original;
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true })));
});

// The methods of a room's class, as wasm-bindgen generates them.
const METHODS = [
  "free", "__destroy_into_raw", "fetch", "alarm", "roomRequest", "roomSockets", "roomText", "roomBytes", "roomClosed",
  "roomUpgrade", "roomCall",
];

function index({ without, rest = "export function __wbg_reset_state() {}" } = {}) {
  const body = { roomSockets: "return {};", roomCall: "return command;" };
  const methods = METHODS.filter((name) => name !== without);
  const lines = methods.map((name) => `  ${name}(command) { ${body[name] ?? ""} }`);
  return `export class ChatRoom {\n${lines.join("\n")}\n}\n${rest}\n`;
}

const WORKERS = "data:text/javascript,export class DurableObject {} export class WorkerEntrypoint {}";

// Imports room.js from the place that wasm-bindgen copies it to, beside this index.js.
async function load(source) {
  const folder = await mkdtemp(join(tmpdir(), "room-shape-"));
  folders.push(folder);
  const place = join(folder, "snippets/room-runtime-0123456789abcdef/src/platform/cloudflare");
  await mkdir(place, { recursive: true });
  const room = (await readFile(join(root, ROOM_JS), "utf8")).replace('"cloudflare:workers"', JSON.stringify(WORKERS));
  assert.ok(room.includes(WORKERS), "room.js imports the platform's class");
  await writeFile(join(folder, "package.json"), '{ "type": "module" }');
  await writeFile(join(folder, "index.js"), source);
  await writeFile(join(place, "room.js"), room);
  const [{ install }, { ChatRoom }] = await Promise.all(
    [join(place, "room.js"), join(folder, "index.js")].map((file) => import(pathToFileURL(file))),
  );
  return { ChatRoom, place, start: (memory = new WebAssembly.Memory({ initial: 1 })) => install("ChatRoom", memory, 0) };
}

// Starts a room and returns the lines of the error about its differences.
async function differences(source, memory) {
  const { start } = await load(source);
  let error;
  assert.throws(() => start(memory), (thrown) => (error = thrown) instanceof Error);
  assert.deepEqual(errors, [error.message], "the error is also logged, once");
  assert.match(error.message, /^room-runtime does not fit the generated JavaScript around the class ChatRoom:\n/);
  return error.message.split("\n").filter((line) => line.startsWith("- "));
}

test("a class of the expected form becomes a Durable Object", async () => {
  const { ChatRoom, start } = await load(index());
  start();
  assert.equal(Object.getPrototypeOf(ChatRoom).name, "DurableObject");
  const { prototype } = ChatRoom;
  for (const name of ["free", "__destroy_into_raw", "connect", "roomSockets", "roomText", "roomBytes", "roomClosed", "roomUpgrade"]) {
    assert.equal(Object.hasOwn(prototype, name), false, name);
  }
  const room = Object.assign(new ChatRoom(), { __wbg_ptr: 8, __wbg_inst: 0 });
  assert.equal(room.roomCall("state"), "state");
  assert.deepEqual(errors, []);
});

for (const without of METHODS) {
  test(`a class without the method ${without} is an error that names it`, async () => {
    const line = `- the method \`${without}\`: expected function, found undefined`;
    assert.deepEqual(await differences(index({ without })), [line]);
  });
}

test("all differences are in one error", async () => {
  globalThis.__worker_init_state = { failed: false };
  assert.deepEqual(await differences("export const ChatRoom = {};", {}), [
    "- `__wbg_reset_state` of index.js: expected function, found undefined",
    "- `criticalError` of `__worker_init_state`: expected boolean, found undefined",
    "- the memory's `buffer`: expected object, found undefined",
    "- the class in index.js: expected function, found object",
  ]);
  delete globalThis.__worker_init_state;
  errors.length = 0;
  const line = "- `criticalError` of `__worker_init_state`: expected boolean, found undefined";
  assert.deepEqual(await differences(index()), [line]);
});

test("an object of another form is an error that names the property, for a frame and for a call", async () => {
  const { ChatRoom, start } = await load(index());
  start();
  const room = Object.assign(new ChatRoom(), { __wbg_ptr: 8n });
  const expected =
    /the class ChatRoom:\n- `__wbg_ptr` of an object: expected number, found bigint\n- `__wbg_inst` of an object: expected number, found undefined\n/;
  assert.throws(() => room.roomCall("state"), expected);
  assert.throws(() => room.webSocketMessage({}, "{}"), expected);
  assert.equal(errors.length, 2);
});

test("the handlers of a Worker end with the instance, and its base class stays as it was", async () => {
  const { place } = await load(index());
  // As `worker-build` writes the entrypoint. `load` has evaluated room.js already, so this is another instance of it.
  const names = ["fetch", "scheduled", "queue", "email"];
  const source = `
    import { instanceEnded } from "./room.js?fresh";
    import { WorkerEntrypoint } from ${JSON.stringify(WORKERS)};
    export class Entrypoint extends WorkerEntrypoint {}
    for (const name of ${JSON.stringify(names)}) Entrypoint.prototype[name] = () => new Promise(() => {});
    export { instanceEnded, WorkerEntrypoint };
  `;
  await writeFile(join(place, "entry.mjs"), source);
  const { Entrypoint, WorkerEntrypoint, instanceEnded } = await import(pathToFileURL(join(place, "entry.mjs")));
  const worker = new Entrypoint();
  const [fetched, ...others] = names.map((name) => worker[name]());
  instanceEnded();
  const response = await fetched;
  assert.equal(response.status, 503);
  assert.equal((await response.json()).error.code, "restarted");
  for (const other of others) await assert.rejects(other, /^Error: room:restarted: /);
  assert.deepEqual(names.filter((name) => name in WorkerEntrypoint.prototype), []);
});

test("the error names the releases that the repository is tested with", async () => {
  const lock = await readFile(join(root, "Cargo.lock"), "utf8");
  const locked = (name) => lock.match(new RegExp(`name = "${name}"\nversion = "(.*)"`))[1];
  const tools = await readFile(join(root, "xtask/src/tools.rs"), "utf8");
  const [, build] = tools.match(/WORKER_BUILD: &str = "(.*)"/);
  const { start } = await load("export {};");
  const releases = `worker ${locked("worker")}, worker-build ${build} and wasm-bindgen ${locked("wasm-bindgen")}`;
  assert.throws(start, ({ message }) => message.includes(`room-runtime is tested with ${releases}. Build with`));
});
