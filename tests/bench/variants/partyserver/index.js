// (b) The same room on partyserver, with hibernation, in the style of its documentation.

import { Server, getServerByName } from "partyserver";

export class PartyRoom extends Server {
  static options = { hibernate: true };

  #state;

  onStart() {
    this.#state = this.ctx.storage.kv.get("state") ?? { count: 0 };
  }

  onConnect(connection, { request }) {
    connection.setState({ user_id: new URL(request.url).searchParams.get("user") });
  }

  onMessage(connection, text) {
    let event;
    try {
      event = JSON.parse(text);
    } catch {
      event = null;
    }
    switch (event?.type) {
      case "Echo":
        connection.send(JSON.stringify({ type: "Echo", user_id: connection.state.user_id, text: event.text }));
        break;
      case "Say":
        this.broadcast(JSON.stringify({ type: "Message", user_id: connection.state.user_id, text: event.text }));
        break;
      case "Add":
        this.#state.count += event.amount;
        this.ctx.storage.kv.put("state", this.#state);
        connection.send(JSON.stringify({ type: "Count", count: this.#state.count }));
        break;
      default:
        connection.send(JSON.stringify({ type: "Error", message: "no such event" }));
    }
  }

  // Called by the Worker.
  note(event) {
    if (event.type !== "Note" || typeof event.text !== "string") throw new TypeError("no such event");
  }
}

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const room = await getServerByName(env.ROOM, pathname.slice(1));
    if (request.method === "POST") {
      const event = await request.json();
      for (let times = Number(searchParams.get("times")); times > 0; times--) await room.note(event);
      return new Response(null, { status: 204 });
    }
    return room.fetch(request);
  },
};
