// The base of every end-to-end test: a built worker on a real workerd, and a small WebSocket client.
//
//   import test from "node:test";
//   import { startWorker } from "./harness.mjs";
//
//   test("a message reaches the room", async (t) => {
//     const host = await startWorker({ dir: "examples/chat" });
//     t.after(() => host.stop());
//     const alice = await host.ws("/rooms/r1?user=alice");
//     alice.send({ type: "Say", text: "hello" });
//     const message = await alice.next({ where: (frame) => frame.type === "Message" });
//     await alice.close(1000, "bye");
//   });
//
// The worker's own wrangler.toml describes it, and wrangler itself reads that file: compatibility date and flags,
// Durable Objects and their storage, vars, assets and other bindings are the same as in a deploy. Build the worker
// first, with `cargo xtask build`. Miniflare starts workerd; nothing here needs the network.
//
// Rules for everything below: there are no sleeps. Every wait has a bound, and its error names what it waited for.
// Every process and directory made here is gone after `stop()`, or at the end of the file if a test forgets it.
// `host.logs()` keeps the output of workerd and the worker. It is shown if the test file failed, or live with
// E2E_VERBOSE=1. COMPATIBILITY_DATE=2024-10-14 replaces each worker's own date.

import { Buffer } from "node:buffer";
import { AsyncLocalStorage } from "node:async_hooks";
import diagnostics from "node:diagnostics_channel";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { Log, LogLevel, Miniflare } from "miniflare";
import WebSocket from "ws";

/** The root of the repository; `dir` of `startWorker` is relative to it. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const START_TIMEOUT = 60_000;
const STOP_TIMEOUT = 15_000;
const DEFAULT_TIMEOUT = 10_000;
const LOG_LINES = 10_000;
const REPORT_LINES = 200;
/** Replaces the date in wrangler.toml, to test a worker whose user keeps an older date. */
const { COMPATIBILITY_DATE } = process.env;
const VERBOSE = !["", "0", undefined].includes(process.env.E2E_VERBOSE);

/**
 * Starts a built worker on its own workerd.
 *
 * @param {object} options
 * @param {string} options.dir the worker's folder, with `wrangler.toml` and `build/`: "examples/chat"
 * @param {Record<string, unknown>} [options.vars] variables that are added to the `[vars]` of wrangler.toml, or replace
 *   them; also the place for secrets, because `.dev.vars` is not read
 * @param {string} [options.persist] the folder of the Durable Objects' storage, which the caller removes. By default
 *   the host has its own directory, which `restart()` keeps and `stop()` removes.
 * @param {string} [options.compatibilityDate] replaces the date in wrangler.toml and $COMPATIBILITY_DATE
 * @param {boolean} [options.apart] runs the Worker and its Durable Objects in two isolates, as production may do: a
 *   crash of one does not affect the other
 * @param {boolean} [options.direct] also gives the Worker its own socket, `host.direct`. Otherwise Miniflare's own
 *   Worker receives the requests first, and turns every upgrade into a GET.
 * @returns {Promise<Host>}
 */
export async function startWorker({ dir, vars = {}, persist, compatibilityDate, apart = false, direct = false }) {
  const folder = path.resolve(ROOT, dir);
  const host = new Host(folder, vars, persist, { compatibilityDate, apart, direct });
  hosts.add(host);
  try {
    await host.restart();
  } catch (error) {
    await host.stop();
    throw error;
  }
  return host;
}

/** One running worker. */
class Host {
  /** The base address, "http://127.0.0.1:41234". `restart()` keeps it unless another process took the port. */
  url;
  /** The address of the Worker's own socket, if it has one. */
  direct;
  /**
   * Durable Objects that replace those of wrangler.toml, from the next start on: by the name of the binding what Miniflare
   * takes, or `undefined` to remove it. So a test deploys another class over the same storage.
   */
  objects = {};

  #folder;
  #vars;
  #apart;
  #isDirect;
  #compatibilityDate;
  #persist;
  #ownsPersist;
  #miniflare;
  /** Every process started for this host, including ended ones. */
  #processes = [];
  #clients = new Set();
  #log = [];

  constructor(folder, vars, persist, { compatibilityDate = COMPATIBILITY_DATE, apart, direct }) {
    this.#folder = folder;
    this.#vars = vars;
    this.#apart = apart;
    this.#isDirect = direct;
    this.#compatibilityDate = compatibilityDate;
    this.#ownsPersist = persist === undefined;
    this.#persist = persist ?? fs.mkdtempSync(path.join(os.tmpdir(), "room-e2e-"));
  }

  /**
   * Stops workerd, if it runs, and starts a new one over the same storage, from the current content of `build/`. Open
   * sockets are lost, as in a deploy.
   */
  async restart() {
    await this.#dispose();
    const port = this.url === undefined ? 0 : Number(new URL(this.url).port);
    try {
      await this.#start(port);
    } catch (error) {
      if (port === 0) throw error;
      // Another process may have taken the port in the meantime.
      await this.#dispose();
      await this.#start(0);
    }
  }

  /**
   * Kills workerd with SIGKILL, as a crash or a lost machine would. `restart()` brings the worker back.
   *
   * @returns {Promise<number>} the process id that was killed
   */
  async kill() {
    const running = this.#running();
    if (running.length === 0) throw new Error(`workerd of ${this.#name()} does not run: nothing to kill`);
    for (const child of running) await killed(child);
    return running[0].pid;
  }

  /** The process id of workerd. */
  get pid() {
    return this.#running()[0]?.pid;
  }

  /** Ends everything that belongs to this host. Safe to call again, and in any state. */
  async stop() {
    hosts.delete(this);
    ended.add(this);
    for (const client of this.#clients) client.terminate();
    await this.#dispose();
    if (this.#ownsPersist) fs.rmSync(this.#persist, { recursive: true, force: true, maxRetries: 5 });
  }

  /**
   * Sends a plain HTTP request. `init` is that of the global `fetch`; redirects are not followed.
   *
   * @returns {Promise<Response>}
   */
  fetch(pathname, init = {}) {
    return fetch(new URL(pathname, this.url), {
      redirect: "manual",
      signal: AbortSignal.timeout(DEFAULT_TIMEOUT),
      ...init,
    });
  }

  /**
   * Opens a WebSocket. A refused upgrade rejects with an `UpgradeRefused` that contains `status`, `headers` and `body`.
   *
   * @param {string} pathname
   * @param {{protocols?: string[], headers?: Record<string, string>, openTimeout?: number}} [options]
   * @returns {Promise<Client>}
   */
  async ws(pathname, { protocols = [], headers = {}, openTimeout = DEFAULT_TIMEOUT } = {}) {
    const url = new URL(pathname, this.url);
    url.protocol = "ws:";
    const socket = new WebSocket(url, protocols, {
      headers,
      // Compression would hide the size of a frame and the backlog of a slow reader.
      perMessageDeflate: false,
      handshakeTimeout: openTimeout,
      maxPayload: 64 * 1024 * 1024,
    });
    const client = new Client(socket, url.pathname);
    this.#clients.add(client);
    client.closed.then(() => this.#clients.delete(client));
    await opened(socket, url.pathname, openTimeout);
    return client;
  }

  /** The output of workerd, the worker (`console_log!`) and Miniflare, oldest first, over all restarts. */
  logs() {
    return this.#log.join("\n");
  }

  async #start(port) {
    const { main, options } = await describe(this.#folder);
    const objects = Object.entries({ ...options.durableObjects, ...this.objects }).filter(([, object]) => object);
    const worker = {
      ...options,
      bindings: { ...options.bindings, ...this.#vars },
      durableObjects: Object.fromEntries(objects),
      ...modules(main),
    };
    if (this.#compatibilityDate) worker.compatibilityDate = this.#compatibilityDate;
    if (this.#isDirect) worker.unsafeDirectSockets = [{ host: "127.0.0.1", port: 0 }];
    const miniflare = spawns.run(this.#processes, () =>
      new Miniflare({
        workers: this.#apart ? inTwo(worker) : [worker],
        host: "127.0.0.1",
        port,
        defaultPersistRoot: this.#persist,
        cf: false,
        log: new HostLog((line) => this.#print(line)),
        handleRuntimeStdio: (stdout, stderr) => {
          for (const stream of [stdout, stderr]) {
            createInterface({ input: stream }).on("line", (line) => this.#print(line));
          }
        },
      }));
    this.#miniflare = miniflare;
    const url = await within(START_TIMEOUT, miniflare.ready, () => `workerd of ${this.#name()} to start\n${this.logs()}`);
    this.url = url.origin;
    if (this.#isDirect) this.direct = (await miniflare.unsafeGetDirectURL(worker.name)).origin;
  }

  async #dispose() {
    const miniflare = this.#miniflare;
    this.#miniflare = undefined;
    try {
      // A Miniflare that failed to start has already reported it.
      if (miniflare) await within(STOP_TIMEOUT, miniflare.dispose(), () => `Miniflare of ${this.#name()} to end`);
    } catch (error) {
      this.#print(`[harness] ${error.message}`);
    } finally {
      for (const child of this.#running()) await killed(child);
    }
  }

  #running() {
    return this.#processes.filter((child) => child.pid && child.exitCode === null && child.signalCode === null);
  }

  #print(line) {
    this.#log.push(line);
    if (this.#log.length > LOG_LINES) this.#log.shift();
    if (VERBOSE) process.stderr.write(`[${this.#name()}] ${line}\n`);
  }

  #name() {
    return path.relative(ROOT, this.#folder) || this.#folder;
  }

  /** The end of the logs, for the report of a failed file. */
  report() {
    if (this.#log.length === 0) return "";
    return `--- the last that ${this.#name()} printed ---\n${this.#log.slice(-REPORT_LINES).join("\n")}\n`;
  }
}

/** A WebSocket whose frames are queued, so that none is lost between two `next()`. */
class Client {
  /** The `WebSocket` of the `ws` package. */
  raw;
  /** Every frame so far, decoded as in `next()`. */
  received = [];
  /** Resolves with `{ code, reason }` when either side has closed the socket; 1006 means a lost connection. */
  closed;

  #name;
  #queue = [];
  #waiters = new Set();
  #end;

  constructor(socket, name) {
    this.raw = socket;
    this.#name = name;
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        this.#end = { code, reason: reason.toString() };
        for (const waiter of this.#waiters) waiter.fail(`the socket was closed (${describeClose(this.#end)})`);
        resolve(this.#end);
      });
    });
    // `close` always follows with the details; an `error` without a listener would end the process.
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => this.#receive(decode(data, isBinary)));
  }

  /** Sends strings and bytes unchanged, and everything else as JSON. */
  send(message) {
    const raw = typeof message === "string" || ArrayBuffer.isView(message) || message instanceof ArrayBuffer;
    this.raw.send(raw ? message : JSON.stringify(message));
  }

  /**
   * The oldest queued frame: parsed JSON, a string if it is not JSON, a Buffer if it is binary. With `where`, the
   * oldest frame that satisfies it; the others stay queued.
   *
   * @param {{timeout?: number, where?: (frame: any) => boolean}} [options]
   */
  next({ timeout = DEFAULT_TIMEOUT, where } = {}) {
    const matches = where ?? (() => true);
    const index = this.#queue.findIndex((frame) => matches(frame));
    if (index >= 0) return Promise.resolve(this.#queue.splice(index, 1)[0]);
    const at = new Error();
    return new Promise((resolve, reject) => {
      const waiter = {
        take: (frame) => {
          if (!matches(frame)) return false;
          done();
          resolve(frame);
          return true;
        },
        fail: (why) => {
          done();
          const wanted = where === undefined ? "a frame" : `a frame with ${where}`;
          at.message = `${this.#name}: waited for ${wanted}, but ${why}; frames so far: ${summary(this.received)}`;
          reject(at);
        },
      };
      const timer = setTimeout(() => waiter.fail(`none came in ${timeout} ms`), timeout);
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
      };
      this.#waiters.add(waiter);
      if (this.#end) waiter.fail(`the socket is closed (${describeClose(this.#end)})`);
    });
  }

  /**
   * Closes and waits for the other side's answer: `{ code, reason }` as the room sent them. Rejects if the handshake
   * does not complete in time.
   */
  async close(code, reason, { timeout = DEFAULT_TIMEOUT } = {}) {
    this.raw.close(code, reason);
    const end = await within(timeout, this.closed, () => `${this.#name}: the answer to close(${code ?? ""})`);
    if (end.code === 1006) throw new Error(`${this.#name}: the connection broke before close(${code ?? ""}) was answered`);
    return end;
  }

  /** Drops the TCP connection without a close frame. */
  terminate() {
    this.raw.terminate();
  }

  #receive(frame) {
    this.received.push(frame);
    for (const waiter of this.#waiters) {
      if (waiter.take(frame)) return;
    }
    this.#queue.push(frame);
  }
}

/** An upgrade with a response other than 101. */
export class UpgradeRefused extends Error {
  constructor(name, status, headers, body) {
    super(`${name}: the upgrade was refused with ${status}: ${body}`);
    this.name = "UpgradeRefused";
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}

function opened(socket, name, timeout) {
  const attempt = new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", (error) => reject(new Error(`${name}: the socket did not open: ${error.message}`)));
    socket.once("unexpected-response", async (request, response) => {
      try {
        const chunks = [];
        for await (const chunk of response) chunks.push(chunk);
        const body = Buffer.concat(chunks).toString();
        reject(new UpgradeRefused(name, response.statusCode, response.headers, body));
      } catch (error) {
        reject(error);
      } finally {
        request.destroy();
        // No other event announces that the socket will never open.
        socket.emit("close", 1006, Buffer.alloc(0));
      }
    });
  });
  return within(timeout, attempt, () => `${name}: the socket to open`).catch((error) => {
    socket.terminate();
    throw error;
  });
}

function decode(data, isBinary) {
  if (isBinary) return data;
  const text = data.toString();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function describeClose({ code, reason }) {
  return reason === "" ? `${code}` : `${code} ${JSON.stringify(reason)}`;
}

function summary(frames) {
  const text = JSON.stringify(frames.slice(-20)) ?? "";
  const shown = text.length > 2_000 ? `${text.slice(0, 2_000)}…` : text;
  return frames.length > 20 ? `${frames.length}, the last 20 are ${shown}` : shown;
}

/** The promise, or after `ms` an error that names what it waited for. */
function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what()}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Processes

// Node announces each child process that it starts, and the storage names its host; so no search by name or `ps` is
// needed.
const spawns = new AsyncLocalStorage();
diagnostics.subscribe("child_process", ({ process: child }) => spawns.getStore()?.push(child));

async function killed(child) {
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await within(STOP_TIMEOUT, exit, () => `process ${child.pid} to end`);
}

const hosts = new Set();
const ended = new Set();

// A host that a test forgot would keep the file, and workerd, running forever.
after(async () => {
  for (const host of hosts) await host.stop();
});

process.on("exit", (code) => {
  if (code === 0 || VERBOSE) return;
  for (const host of [...ended, ...hosts]) fs.writeSync(2, host.report());
});

// The configuration of a deploy

const descriptions = new Map();

/** The same code twice: once for the requests, and once for the Durable Objects. */
function inTwo(worker) {
  const objects = { ...worker, name: "objects" };
  const bindings = Object.entries(worker.durableObjects ?? {});
  const remote = bindings.map(([name, object]) => [name, { ...object, scriptName: objects.name }]);
  return [{ ...worker, name: "requests", durableObjects: Object.fromEntries(remote) }, objects];
}

async function describe(folder) {
  const config = path.join(folder, "wrangler.toml");
  if (!fs.existsSync(config)) throw new Error(`${config} does not exist: \`dir\` must name a worker's folder`);
  let described = descriptions.get(config);
  if (described === undefined) {
    // Otherwise wrangler would print each file that it reads, and keep a log file for each process that loads it.
    process.env.WRANGLER_LOG ??= "warn";
    process.env.WRANGLER_LOG_PATH ??= path.join(ROOT, "target", "wrangler", "logs");
    const { default: wrangler } = await import("wrangler");
    // An empty file replaces .dev.vars, so that a developer's settings do not affect a test.
    const { main, workerOptions, externalWorkers } = wrangler.unstable_getMiniflareWorkerOptions(config, undefined, {
      envFiles: [os.devNull],
    });
    if (externalWorkers.length > 0) throw new Error(`${config} refers to other workers: the harness hosts a single one`);
    described = { main, options: workerOptions };
    descriptions.set(config, described);
  }
  return described;
}

/** The entry file and the files beside it, as the modules of a worker. */
function modules(main) {
  if (!fs.existsSync(main)) {
    throw new Error(`${path.relative(ROOT, main)} does not exist: run \`cargo xtask build\` first`);
  }
  const folder = path.dirname(main);
  const others = fs.readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(folder, entry.name))
    .filter((file) => file !== main && MODULE_TYPES[path.extname(file)] !== undefined);
  return {
    modulesRoot: folder,
    modules: [main, ...others].map((file) => ({ type: MODULE_TYPES[path.extname(file)], path: file })),
  };
}

const MODULE_TYPES = { ".js": "ESModule", ".mjs": "ESModule", ".wasm": "CompiledWasm", ".bin": "Data", ".txt": "Text" };

class HostLog extends Log {
  #write;

  constructor(write) {
    super(LogLevel.WARN);
    this.#write = write;
  }

  log(message) {
    this.#write(message);
  }
}
