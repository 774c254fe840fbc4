// The JavaScript half of the Worker's side: how it reaches a room.

/** Whether rooms can be called. A platform that does not tell its flags is newer than the date that RPC came with. */
export function hasRpc() {
  return globalThis.Cloudflare?.compatibilityFlags?.rpc !== false;
}

/** The namespace, or the part of it within a jurisdiction. */
export function within(namespace, jurisdiction) {
  return jurisdiction === undefined ? namespace : namespace.jurisdiction(jurisdiction);
}

/** The id of the object with that name: a hash, which takes longer than a stub. It may be kept for ever. */
export function idOf(namespace, name) {
  return namespace.idFromName(name);
}

/** A stub of the object, for the request that is being handled. */
export function stub(namespace, id, locationHint) {
  return locationHint === undefined ? namespace.get(id) : namespace.get(id, { locationHint });
}

/** One command of the client to a room. */
export function call(stub, command) {
  return stub.roomCall(command);
}

/** The request, sent to the room with the ticket in place of whatever the client sent under that name. */
export function fetchWithTicket(stub, request, header, ticket) {
  const upgrade = new Request(request);
  upgrade.headers.set(header, ticket);
  return stub.fetch(upgrade);
}

/** An upgrade of the Worker's own. */
export function connectWithTicket(stub, header, ticket) {
  return stub.fetch("https://room/", { headers: { upgrade: "websocket", [header]: ticket } });
}

/** The request with its body, over RPC; the room's answer, and the body of that. */
export async function forward(stub, request) {
  const { method, url: uri } = request;
  const body = new Uint8Array(await request.arrayBuffer());
  return stub.roomRequest(JSON.stringify({ method, uri, headers: [...request.headers] }), body);
}

/** The room's response as the Worker's own: what another made has headers that cannot be changed. */
export function owned(response) {
  return new Response(response.body, response);
}

// The statuses for which the platform takes no body, not even an empty one.
const WITHOUT_BODY = new Set([204, 205, 304]);

export function respond(status, headers, body) {
  return new Response(WITHOUT_BODY.has(status) ? null : body, { status, headers });
}

/** The Worker's end of a connection. */
export class ClientSocket {
  #socket;

  constructor(socket, onText, onBinary, onClose) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") onText(data);
      else onBinary(data.byteLength ?? data.size);
    });
    socket.addEventListener("close", ({ code, reason, wasClean }) => onClose(code, reason, wasClean));
    socket.accept();
  }

  send(text) {
    this.#socket.send(text);
  }

  close(code, reason) {
    this.#socket.close(code, reason);
  }
}
