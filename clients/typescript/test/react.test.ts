// The hooks, in React's test renderer, also in StrictMode, which runs each effect twice.
import assert from "node:assert/strict";
import { beforeEach, test, type TestContext } from "node:test";
import { createElement, StrictMode, useEffect, type ReactElement } from "react";
import { act, create } from "react-test-renderer";
import type { Room, Status } from "room-client";
import {
  useLastMessage,
  usePresence,
  useReduced,
  useRoom,
  useRoomEvent,
  type UseRoomOptions,
  type UseRoomResult,
} from "room-client/react";
import { VirtualClock } from "./mock/clock.js";
import { Network } from "./mock/network.js";
import { MockRoom } from "./mock/room.js";
import { watch, type Chat } from "./mock/setup.js";

(globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;

let clock: VirtualClock;
let room: MockRoom;
let network: Network;
const pass = (ms: number) => act(() => clock.pass(ms));

beforeEach((t) => {
  clock = new VirtualClock();
  room = new MockRoom({ clock, event: (event, { apply }) => apply(event) });
  network = new Network({ clock, room });
  const { error } = console;
  // The renderer says that it is deprecated; every other error of React fails the test.
  (t as TestContext).mock.method(console, "error", (...args: unknown[]) => {
    if (!String(args[0]).includes("react-test-renderer is deprecated")) {
      error(...args);
      throw new Error(String(args[0]));
    }
  });
});

const options = (more: Partial<UseRoomOptions<Chat>> = {}): UseRoomOptions<Chat> => ({
  url: "ws://room.test/chat",
  WebSocket: network.WebSocket,
  clock,
  random: () => 0.5,
  ...more,
});

async function render(element: ReactElement) {
  let renderer: ReturnType<typeof create>;
  await act(() => {
    renderer = create(element);
  });
  return renderer!;
}

for (const isStrict of [false, true]) {
  const name = isStrict ? "in StrictMode" : "outside of StrictMode";
  const wrap = (element: ReactElement) => (isStrict ? createElement(StrictMode, null, element) : element);

  test(`a component is connected for as long as it is mounted, ${name}`, async () => {
    const seen: Status[] = [];
    const rooms = new Set<Room<Chat>>();
    let latest: UseRoomResult<Chat>;
    const App = () => {
      latest = useRoom<Chat>(options());
      rooms.add(latest.room);
      if (seen.at(-1) !== latest.status) seen.push(latest.status);
      return null;
    };
    const renderer = await render(wrap(createElement(App)));
    await pass(100);
    assert.equal(seen.at(-1), "open");
    assert.equal(network.connections.length, 1);
    const first = latest!;
    await act(() => renderer.update(wrap(createElement(App))));
    assert.equal(latest!.room, first.room);
    assert.equal(latest!.send, first.send);
    const end = watch(latest!.send({ type: "Say", text: "hi" }));
    await pass(100);
    assert.deepEqual(end, { value: undefined });
    await act(() => renderer.unmount());
    await pass(100);
    assert.deepEqual(network.closes, [{ code: 1000, reason: "unmounted" }]);
    assert.equal(room.peers.size, 0);
    assert.equal(clock.size, 0);
  });

  test(`a child can send and listen before the connection is open, ${name}`, async () => {
    const heard: string[] = [];
    const ends: { value?: unknown; error?: any }[] = [];
    const Child = ({ room, prefix }: { room: Room<Chat>; prefix: string }) => {
      useRoomEvent(room, "Message", ({ text }) => heard.push(prefix + text));
      useEffect(() => {
        ends.push(watch(room.send({ type: "Say", text: "first" })));
      }, [room]);
      return null;
    };
    const App = ({ prefix }: { prefix: string }) => createElement(Child, { room: useRoom<Chat>(options()).room, prefix });
    const renderer = await render(wrap(createElement(App, { prefix: "a " })));
    await pass(100);
    // React runs the effect twice.
    const numbers = isStrict ? [1, 2] : [1];
    assert.deepEqual(ends, numbers.map(() => ({ value: undefined })));
    assert.deepEqual(room.received, numbers.map((number) => [number, { type: "Say", text: "first" }]));
    await act(() => room.broadcast({ type: "Message", text: "1" }));
    await pass(50);
    await act(() => renderer.update(wrap(createElement(App, { prefix: "b " }))));
    room.broadcast({ type: "Message", text: "2" });
    await pass(50);
    assert.deepEqual(heard, ["a 1", "b 2"]);
    await act(() => renderer.unmount());
    await pass(50);
  });
}

test("another address is another connection, and functions are those of the latest render", async () => {
  const App = ({ id, token }: { id: string; token: string }) => {
    useRoom<Chat>(options({ url: `ws://room.test/${id}`, params: () => ({ token }), key: id }));
    return null;
  };
  const renderer = await render(createElement(App, { id: "1", token: "a" }));
  await pass(100);
  await act(() => renderer.update(createElement(App, { id: "1", token: "b" })));
  await pass(100);
  assert.equal(network.connections.length, 1);
  network.latest.drop();
  await pass(1000);
  assert.equal(network.latest.url, "ws://room.test/1?token=b");
  await act(() => renderer.update(createElement(App, { id: "2", token: "b" })));
  await pass(100);
  assert.equal(network.latest.url, "ws://room.test/2?token=b");
  assert.equal(room.peers.size, 1);
  await act(() => renderer.unmount());
  await pass(100);
  assert.equal(room.peers.size, 0);
});

test("enabled: false does not connect", async () => {
  let status: Status | undefined;
  const App = ({ enabled }: { enabled: boolean }) => {
    status = useRoom<Chat>(options({ enabled })).status;
    return null;
  };
  const renderer = await render(createElement(App, { enabled: false }));
  await pass(100);
  assert.equal(status, "idle");
  await act(() => renderer.update(createElement(App, { enabled: true })));
  await pass(100);
  assert.equal(status, "open");
  await act(async () => renderer.update(createElement(App, { enabled: false })));
  assert.equal(status, "closed");
  await act(() => renderer.unmount());
});

test("presence, the last message and a reduced value follow the messages", async () => {
  let shown: unknown;
  let client: Room<Chat>;
  const App = () => {
    const { room } = useRoom<Chat>(options());
    client = room;
    const users = usePresence(room, (users: readonly string[], message) => (message.type === "Present" ? message.users : users));
    const last = useLastMessage(room, "Message");
    const count = useReduced(room, (count: number, message) => (message.type === "Message" ? count + 1 : count), 0);
    shown = [users, last?.text, count];
    return null;
  };
  const renderer = await render(createElement(StrictMode, null, createElement(App)));
  await pass(100);
  assert.deepEqual(shown, [[], undefined, 0]);
  room.broadcast({ type: "Present", users: ["Ada"] });
  for (const text of ["a", "b"]) room.broadcast({ type: "Message", text });
  await pass(50);
  assert.deepEqual(shown, [["Ada"], "b", 2]);
  network.latest.drop();
  await pass(100);
  assert.deepEqual(shown, [["Ada"], "b", 2]);
  await act(() => client.close());
  assert.deepEqual(shown, [[], "b", 2]);
  await act(() => renderer.unmount());
  await pass(50);
});
