// A connection on which a test writes data that no HTTP or WebSocket library would: any methods and headers, frames
// before the handshake's response, invalid close codes. Every wait has a bound.

import { Buffer } from "node:buffer";
import { once } from "node:events";
import net from "node:net";

export const CONTINUATION = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

const TIMEOUT = 10_000;

/** One frame of a client, masked as the protocol requires. */
export function frame(payload, { opcode = TEXT, fin = true } = {}) {
  const data = Buffer.from(payload);
  const mask = Buffer.from([0x12, 0x34, 0x56, 0x78]);
  const first = (fin ? 0x80 : 0) | opcode;
  let head;
  if (data.length < 126) {
    head = Buffer.from([first, 0x80 | data.length]);
  } else if (data.length < 65_536) {
    head = Buffer.from([first, 0x80 | 126, data.length >> 8, data.length & 0xff]);
  } else {
    head = Buffer.alloc(10);
    head.writeUInt8(first, 0);
    head.writeUInt8(0x80 | 127, 1);
    head.writeBigUInt64BE(BigInt(data.length), 2);
  }
  return Buffer.concat([head, mask, data.map((byte, at) => byte ^ mask[at % 4])]);
}

/** The payload of a close frame. */
export function closePayload(code, reason = "") {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
}

/** The headers that ask for a WebSocket. */
export const UPGRADE = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
  ["Sec-WebSocket-Version", "13"],
  ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
];

/** The text of an upgrade request. `headers` are pairs, so that one name may occur twice. */
export function upgradeRequest(host, path, headers = []) {
  return request(host, "GET", path, [...UPGRADE, ...headers]);
}

/** The text of any request. `Host` is correct unless `headers` override it. */
export function request(host, method, path, headers = [], body = "") {
  const given = new Set(headers.map(([name]) => name.toLowerCase()));
  const all = [...headers];
  if (!given.has("host")) all.unshift(["Host", new URL(host.url).host]);
  if (body !== "") all.push(["Content-Length", String(Buffer.byteLength(body))]);
  return `${method} ${path} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`;
}

export class Raw {
  #socket;
  #buffer = Buffer.alloc(0);
  #ended = false;

  /** @returns {Promise<Raw>} */
  static async open(host) {
    const { hostname, port } = new URL(host.url);
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, "connect", { signal: AbortSignal.timeout(TIMEOUT) });
    return new Raw(socket);
  }

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (data) => {
      this.#buffer = Buffer.concat([this.#buffer, data]);
      socket.emit("more");
    });
    // A reset is a regular end here.
    socket.on("error", () => {});
    socket.on("end", () => this.#end());
    socket.on("close", () => this.#end());
  }

  write(bytes) {
    this.#socket.write(bytes);
  }

  frame(payload, options) {
    this.write(frame(payload, options));
  }

  /** Upgrades the connection; throws if the upgrade is refused. */
  async upgrade(path, headers) {
    this.write(upgradeRequest({ url: this.#url() }, path, headers));
    const head = await this.head();
    if (head.status !== 101) throw new Error(`${path} answered ${head.status}: ${await this.rest()}`);
    return head;
  }

  /** The head of a response: its status, and its headers with names in lower case. */
  async head() {
    const end = await this.#until("the head of a response", () => {
      const at = this.#buffer.indexOf("\r\n\r\n");
      return at < 0 ? undefined : at;
    });
    const [line, ...lines] = this.#take(end + 4).toString("latin1").trimEnd().split("\r\n");
    const headers = Object.fromEntries(lines.map((text) => {
      const at = text.indexOf(":");
      return [text.slice(0, at).toLowerCase(), text.slice(at + 1).trim()];
    }));
    return { status: Number(line.split(" ")[1]), headers };
  }

  /** The next frame; with `opcode`, the next frame of that kind. */
  async next({ opcode } = {}) {
    for (;;) {
      const received = await this.#until("a frame", () => this.#parse());
      if (opcode === undefined || received.opcode === opcode) return received;
    }
  }

  /** The close frame of the other side: `{ code, reason }`, with 1005 for no code. Skips the frames before it. */
  async closed() {
    const { payload } = await this.next({ opcode: CLOSE });
    if (payload.length < 2) return { code: 1005, reason: "" };
    return { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() };
  }

  /** All data until the other side ends the connection. */
  async rest() {
    await this.#until("the end of the connection", () => (this.#ended ? true : undefined), { ended: true });
    return this.#take(this.#buffer.length).toString();
  }

  /** Ends this side's writing; reading continues. */
  end() {
    this.#socket.end();
  }

  destroy() {
    this.#socket.destroy();
  }

  #url() {
    return `http://${this.#socket.remoteAddress}:${this.#socket.remotePort}`;
  }

  #end() {
    this.#ended = true;
    this.#socket.emit("more");
  }

  #take(length) {
    const taken = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return taken;
  }

  #parse() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return undefined;
    const short = buffer[1] & 0x7f;
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (buffer.length < start) return undefined;
    const length = short < 126 ? short : short === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2));
    if (buffer.length < start + length) return undefined;
    const opcode = buffer[0] & 0x0f;
    return { opcode, payload: this.#take(start + length).subarray(start) };
  }

  async #until(what, check) {
    const signal = AbortSignal.timeout(TIMEOUT);
    for (;;) {
      const found = check();
      if (found !== undefined) return found;
      if (this.#ended) throw new Error(`waited for ${what}, but the connection ended`);
      try {
        await once(this.#socket, "more", { signal });
      } catch (error) {
        throw new Error(`waited ${TIMEOUT} ms for ${what}`, { cause: error });
      }
    }
  }
}
