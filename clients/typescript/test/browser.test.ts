// The client in a page: online and offline, visibility, the back/forward cache.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { connect } from "room-client";
import { setup, watch } from "./mock/setup.js";

const page = globalThis as any;
const names = ["document", "addEventListener", "removeEventListener", "location"];
let listeners: EventTarget;
let isOnline = true;

beforeEach(() => {
  listeners = new EventTarget();
  page.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  page.addEventListener = listeners.addEventListener.bind(listeners);
  page.removeEventListener = listeners.removeEventListener.bind(listeners);
  page.location = { href: "https://site.test/rooms/1?x=y#z" };
  isOnline = true;
  Object.defineProperty(page, "navigator", { configurable: true, value: { get onLine() { return isOnline; } } });
});

afterEach(() => {
  for (const name of names) delete page[name];
  delete page.navigator;
});

const happen = (type: string, more = {}, target = listeners) => target.dispatchEvent(Object.assign(new Event(type), more));

test("an address can be a path of the page", async () => {
  const { clock, network } = setup({ client: { url: "/ws/chat/main" } });
  await clock.pass(100);
  assert.equal(network.latest.url, "wss://site.test/ws/chat/main");
  assert.throws(() => connect({ url: "https://" }), TypeError);
});

test("as soon as the browser is online, the client connects", async () => {
  let isUp = false;
  const { clock, network, client } = setup({
    network: { upgrade: (_, protocols) => (isUp ? protocols[0] : undefined) },
    client: { reconnect: { maxAttempts: 8 }, random: () => 0.999 },
  });
  isOnline = false;
  await clock.pass(600_000);
  assert.ok(network.attempts.length > 8);
  assert.equal(client.status, "reconnecting", "attempts while it is offline do not count");
  isUp = isOnline = true;
  happen("online");
  await clock.pass(50);
  assert.equal(client.status, "open");
});

test("an attempt that began before the network was back does not delay the next one", async () => {
  const attempts: number[] = [];
  const { clock, client } = setup({
    network: {
      upgrade: (_, protocols) => {
        if (attempts.push(clock.now) === 5) happen("online");
        return attempts.length > 6 ? protocols[0] : undefined;
      },
    },
    client: { random: () => 0.999 },
  });
  await clock.pass(600_000);
  assert.equal(client.status, "open");
  const waits = attempts.slice(1).map((at, n) => at - attempts[n]!);
  // The sixth attempt follows at once, and the back-off begins anew after it.
  assert.ok(waits[3]! > 7_000 && waits[4]! < 500 && waits[5]! < 1_500, String(waits));
});

test("a page that is shown again connects at once, or asks whether the connection lives", async () => {
  const { clock, network, client } = setup({ client: { random: () => 0.999 } });
  await clock.pass(100);
  network.latest.drop();
  await clock.pass(100);
  assert.equal(client.status, "reconnecting");
  page.document.visibilityState = "hidden";
  happen("visibilitychange", {}, page.document);
  await clock.pass(100);
  assert.equal(client.status, "reconnecting");
  page.document.visibilityState = "visible";
  happen("visibilitychange", {}, page.document);
  await clock.pass(50);
  assert.equal(client.status, "open");
  network.latest.drop({ client: false });
  happen("visibilitychange", {}, page.document);
  await clock.pass(10_000);
  assert.equal(client.status, "reconnecting");
});

test("a browser that is offline makes the client ask, and not leave", async () => {
  const { clock, client, changes } = setup();
  await clock.pass(100);
  happen("offline");
  await clock.pass(20_000);
  assert.equal(client.status, "open");
  assert.equal(changes.length, 1);
});

test("a page that is put aside closes its connection, and resumes when it is back", async () => {
  const { clock, room, network, client } = setup();
  await clock.pass(100);
  happen("pagehide", { persisted: false });
  await clock.pass(1000);
  assert.equal(client.status, "open");
  const end = watch(client.send({ type: "Say", text: "a" }));
  happen("pagehide", { persisted: true });
  await clock.pass(600_000);
  assert.equal(client.status, "reconnecting");
  assert.deepEqual(network.closes, [{ code: undefined, reason: undefined }]);
  assert.equal(network.attempts.length, 1);
  happen("pageshow", { persisted: true });
  await clock.pass(100);
  assert.deepEqual(end, { value: undefined });
  assert.match(room.offers[1]![1]!, /^room\.v1\.resume\.0{31}1\.1\.0$/);
  assert.equal(room.stored.changes.length, 1);
});

test("a closed client does not listen to the page", async () => {
  const { clock, network, client } = setup();
  await clock.pass(100);
  client.close();
  happen("online");
  happen("pageshow", { persisted: true });
  await clock.pass(1000);
  assert.equal(network.attempts.length, 1);
  assert.equal(clock.size, 0);
});
