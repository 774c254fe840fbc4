// The JavaScript half of the Worker's side: calls to the rooms.

/** Returns whether stubs have RPC methods. A platform without this flag list is newer than RPC. */
export function hasRpc() {
  return globalThis.Cloudflare?.compatibilityFlags?.rpc !== false;
}

/** Returns the namespace, or the part of it in a jurisdiction. */
export function within(namespace, jurisdiction) {
  return jurisdiction === undefined ? namespace : namespace.jurisdiction(jurisdiction);
}

/** Returns the id of the object with this name. It is a hash, which takes longer than a stub, and it may be kept. */
export function idOf(namespace, name) {
  return namespace.idFromName(name);
}

/** Returns a stub of the object, for the current request. */
export function stub(namespace, id, locationHint) {
  return locationHint === undefined ? namespace.get(id) : namespace.get(id, { locationHint });
}

/** Sends one command of the client to a room, and passes the answer or the error to `settle`, with `number`. */
export function call(stub, command, settle, number) {
  stub.roomCall(command).then(
    (answer) => settle(number, typeof answer === "string" ? answer : "", undefined),
    (error) => settle(number, undefined, error),
  );
}

/** Sends one half of an upgrade. Its answer matters only if the other half fails. */
export function prepare(stub, command) {
  const prepared = stub.roomCall(command);
  prepared.catch(() => {});
  return prepared;
}

// The headers that `check_handshake` and the check of the origin read, and the method before them.
const HANDSHAKE = [
  "upgrade",
  "host",
  "sec-websocket-version",
  "sec-websocket-key",
  "content-length",
  "transfer-encoding",
  "origin",
];

/** Returns the method of a request, and each header of a handshake with a mark before it, or an empty line. */
export function handshake({ method, headers }) {
  let lines = method;
  for (const name of HANDSHAKE) {
    const value = headers.get(name);
    lines += value === null ? "\n" : `\n=${value}`;
  }
  return lines;
}

/** Forwards an upgrade with the ticket, which replaces any header of that name from the client. */
export function fetchWithTicket(stub, request, header, ticket) {
  const upgrade = new Request(request);
  upgrade.headers.set(header, ticket);
  return stub.fetch(upgrade);
}

/** Opens a connection that the Worker itself uses. */
export function connectWithTicket(stub, header, ticket, offered) {
  const headers = { upgrade: "websocket", [header]: ticket };
  if (offered) headers["sec-websocket-protocol"] = offered;
  return stub.fetch("https://room/", { headers });
}

/** Forwards a request with its body over RPC. Returns the head and the body of the room's answer. */
export async function forward(stub, request) {
  const { method, url: uri } = request;
  const body = new Uint8Array(await request.arrayBuffer());
  return stub.roomRequest(JSON.stringify({ method, uri, headers: [...request.headers] }), body);
}

/** Copies the headers of the room's response, because those of a received response are immutable. */
export function ownedHeaders({ headers }) {
  return new Headers(headers);
}

// For these statuses the platform accepts no body, not even an empty one.
const WITHOUT_BODY = new Set([204, 205, 304]);

export function respond(status, headers, body) {
  return new Response(WITHOUT_BODY.has(status) ? null : body, { status, headers });
}

/** The Worker's end of a connection. */
export class ClientSocket {
  #socket;

  constructor(socket, onText, onBinary, onClose) {
    this.#socket = socket;
    // By default a later compatibility date delivers a `Blob`, whose bytes would arrive after the next frames.
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") onText(data);
      else onBinary(new Uint8Array(data));
    });
    socket.addEventListener("close", ({ code, reason, wasClean }) => onClose(code, reason, wasClean));
    socket.accept();
  }

  send(text) {
    this.#socket.send(text);
  }

  // `bytes` is a view of wasm memory, which may change before the platform has sent it.
  sendBytes(bytes) {
    this.#socket.send(bytes.slice());
  }

  close(code, reason) {
    this.#socket.close(code, reason);
  }
}
