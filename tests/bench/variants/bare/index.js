// (a) The room by hand: a bare JavaScript Durable Object, as optimized as we can write it.
//
// The sockets hibernate. The identity of a peer is in its attachment, which is read once per wake. The state is in
// memory and written through with the synchronous storage API. A broadcast is encoded once.

import { DurableObject } from "cloudflare:workers";

const DATA = Symbol("data");

export class BareRoom extends DurableObject {
  #state;

  get state() {
    return (this.#state ??= this.ctx.storage.kv.get("state") ?? { count: 0 });
  }

  // Returns the identity of a peer.
  #peer(socket) {
    return (socket[DATA] ??= socket.deserializeAttachment());
  }

  #broadcast(message) {
    const text = JSON.stringify(message);
    for (const socket of this.ctx.getWebSockets()) {
      try {
        socket.send(text);
      } catch {
        // The socket is closing.
      }
    }
  }

  async fetch(request) {
    const { 0: client, 1: server } = new WebSocketPair();
    const data = { user_id: request.headers.get("x-user") };
    this.ctx.acceptWebSocket(server);
    server.serializeAttachment(data);
    server[DATA] = data;
    return new Response(null, { status: 101, webSocket: client });
  }

  webSocketMessage(socket, text) {
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      event = null;
    }
    if (!this.#handle(socket, event)) {
      socket.send(JSON.stringify({ type: "Error", message: "no such event" }));
    }
  }

  // Returns whether the message was an event.
  #handle(socket, event) {
    switch (event?.type) {
      case "Echo":
        if (typeof event.text !== "string") return false;
        socket.send(JSON.stringify({ type: "Echo", user_id: this.#peer(socket).user_id, text: event.text }));
        return true;
      case "Say":
        if (typeof event.text !== "string") return false;
        this.#broadcast({ type: "Message", user_id: this.#peer(socket).user_id, text: event.text });
        return true;
      case "Add": {
        if (!Number.isInteger(event.amount)) return false;
        const state = this.state;
        state.count += event.amount;
        this.ctx.storage.kv.put("state", state);
        socket.send(JSON.stringify({ type: "Count", count: state.count }));
        return true;
      }
      default:
        return false;
    }
  }

  webSocketClose(socket, code, reason) {
    try {
      if (code === 1005) socket.close();
      else socket.close(code, reason);
    } catch {
      // The connection is gone.
    }
  }

  // Called by the Worker.
  send(event) {
    if (event.type !== "Note" || typeof event.text !== "string") throw new TypeError("no such event");
  }
}

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const room = env.ROOM.getByName(pathname.slice(1));
    if (request.method === "POST") {
      const event = await request.json();
      for (let times = Number(searchParams.get("times")); times > 0; times--) await room.send(event);
      return new Response(null, { status: 204 });
    }
    const headers = new Headers(request.headers);
    headers.set("x-user", searchParams.get("user"));
    return room.fetch(new Request(request, { headers }));
  },
};
