// The client over real sockets: the class of `ws`, and the global one where Node.js has it.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { WebSocket as Ws } from "ws";
import { decode, encode } from "@msgpack/msgpack";
import { connect, type ConnectOptions, type WebSocketClass } from "room-client";
import { msgpack } from "room-client/msgpack";
import { MockRoom, Own, textWire, type Wire } from "./mock/room.js";
import { serve } from "./mock/server.js";
import type { Chat } from "./mock/setup.js";

const clock = { setTimeout: (run: () => void, ms: number) => setTimeout(run, ms), clearTimeout, now: 0 };
const packedWire: Wire = {
  protocol: "room.v1.msgpack",
  write: (value) => encode(value),
  read: (data) => decode(data as Uint8Array),
};

const classes: [string, WebSocketClass | undefined][] = [["ws", Ws]];
if ("WebSocket" in globalThis) classes.push(["the global WebSocket", undefined]);

for (const [name, WebSocket] of classes) {
  for (const [codec, wire] of [
    ["json", textWire],
    [msgpack, packedWire],
  ] as const) {
    test(`events, calls and a resumed session, with ${name} and ${wire.protocol}`, async () => {
      const room = new MockRoom({
        clock,
        wire,
        graceMs: 60_000,
        replay: 100,
        event: (event, context) => {
          context.apply(event);
          context.broadcast({ type: "Message", text: event.text });
        },
        calls: {
          rename: ({ name }) => {
            if (name === "Ada") throw new Own("taken");
            return 7;
          },
        },
      });
      const server = await serve(room);
      after(() => server.close());
      const options = WebSocket === undefined ? {} : { WebSocket };
      const client = connect<Chat>({ url: server.url, codec, reconnect: { baseMs: 1 }, ...options } as ConnectOptions<Chat>);
      const heard: string[] = [];
      client.on("Message", ({ text }) => heard.push(text));
      await client.waitForOpen();
      await client.send({ type: "Say", text: "a" });
      assert.equal(await client.call.rename({ name: "Grace" }), 7);
      await assert.rejects(client.call.rename({ name: "Ada" }), (error) => client.isCallError("rename", error));
      const open = new Promise<void>((resolve) => client.onStatus(({ status }) => status === "open" && resolve()));
      const peer = [...room.peers][0]!;
      room.close(peer, 1006, "");
      room.broadcast({ type: "Message", text: "missed" });
      const sent = client.send({ type: "Say", text: "b" });
      await open;
      await sent;
      assert.deepEqual(heard, ["a", "missed", "b"]);
      const closed = new Promise<number>((resolve) => client.onStatus((change) => "code" in change && resolve(change.code)));
      room.close([...room.peers][0]!, 1008, "enough");
      assert.equal(await closed, 1008);
      assert.equal(client.status, "closed");
      room.assertProtocol();
    });
  }

  test(`a server that is no room, and none at all, with ${name}`, async () => {
    const room = new MockRoom({ clock, wire: packedWire });
    const server = await serve(room);
    const options = WebSocket === undefined ? {} : { WebSocket };
    const client = connect({ url: server.url, reconnect: { baseMs: 1, maxAttempts: 2 }, ...options });
    await assert.rejects(client.waitForOpen(), { code: /^(protocol|unreachable)$/ });
    await server.close();
    const nobody = connect({ url: server.url, reconnect: { baseMs: 1, maxAttempts: 2 }, ...options });
    await assert.rejects(nobody.waitForOpen(), { code: "unreachable" });
  });
}
