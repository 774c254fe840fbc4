import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import type { MockRoom } from "./room.js";

/** Serves a room on a real socket. */
export async function serve(room: MockRoom): Promise<{ url: string; close(): Promise<void> }> {
  const server = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    handleProtocols: (offered) => (offered.has(room.wire.protocol) ? room.wire.protocol : false),
  });
  server.on("connection", (socket, request) => {
    const offered = request.headers["sec-websocket-protocol"]!.split(",").map((name) => name.trim());
    const peer = room.connect(
      {
        send: (data) => socket.send(data),
        close: (code, reason) => (code === 1006 ? socket.terminate() : socket.close(code, reason)),
      },
      offered,
    );
    socket.on("message", (data: Buffer, isBinary) => room.receive(peer, isBinary ? new Uint8Array(data) : data.toString()));
    socket.on("close", () => room.lost(peer));
  });
  await new Promise((resolve) => server.once("listening", resolve));
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        for (const socket of server.clients) socket.terminate();
        server.close(() => resolve());
      }),
  };
}
