import type { WebSocketClass, WebSocketLike } from "room-client";
import type { VirtualClock } from "./clock.js";
import type { MockRoom, Peer, Transport } from "./room.js";

/** One connection of the network. */
export interface Connection {
  readonly socket: WebSocketLike;
  readonly url: string;
  readonly protocols: string[];
  /** Ends the connection. Frames on their way are lost. Says who notices; both, if nothing else is said. */
  drop(notices?: { client?: boolean; room?: boolean }): void;
}

export interface NetworkOptions {
  clock: VirtualClock;
  room: MockRoom;
  latency?: () => number;
  /** The answer to an upgrade: a subprotocol, or `undefined` for a failure. */
  upgrade?: (url: string, protocols: string[]) => string | undefined;
}

/** A network in memory, in virtual time: frames keep their order, and a drop loses those on their way. */
export class Network {
  readonly connections: Connection[] = [];
  readonly WebSocket: WebSocketClass;
  /** The times of the attempts to connect. */
  readonly attempts: number[] = [];
  /** The close frames of clients. */
  readonly closes: { code: number | undefined; reason: string | undefined }[] = [];

  constructor(options: NetworkOptions) {
    const network = this;
    const { clock, room } = options;
    const latency = options.latency ?? (() => 10);
    const upgrade = options.upgrade ?? ((_, protocols) => protocols[0]);
    this.WebSocket = class implements WebSocketLike {
      protocol = "";
      readyState = 0;
      binaryType = "blob";
      onopen: ((event: unknown) => void) | null = null;
      onmessage: ((event: unknown) => void) | null = null;
      onerror: ((event: unknown) => void) | null = null;
      onclose: ((event: unknown) => void) | null = null;
      #peer: Peer | undefined;
      #isDown = false;
      #toRoom = 0;
      #toClient = 0;

      constructor(url: string, protocols: string[] = []) {
        network.attempts.push(clock.now);
        network.connections.push({ socket: this, url, protocols, drop: (notices) => this.#drop(notices) });
        clock.setTimeout(() => {
          if (this.#isDown || this.readyState !== 0) return;
          const chosen = upgrade(url, protocols);
          if (chosen === undefined) {
            this.#isDown = true;
            this.readyState = 3;
            this.onerror?.({ message: "the upgrade failed" });
            this.onclose?.({ code: 1006, reason: "" });
            return;
          }
          this.protocol = chosen;
          const transport: Transport = {
            send: (data) => this.#deliver(() => this.onmessage?.({ data: typeof data === "string" ? data : data.slice().buffer })),
            close: (code, reason) => this.#deliver(() => this.#closed(code, reason), true),
          };
          this.#deliver(() => {
            if (this.readyState !== 0) return;
            this.readyState = 1;
            this.onopen?.({});
          });
          this.#peer = room.connect(transport, protocols);
        }, latency());
      }

      send(data: string | Uint8Array): void {
        if (this.readyState !== 1) throw new Error("not open");
        this.#toRoom = Math.max(this.#toRoom, clock.now + latency());
        const copy = typeof data === "string" ? data : data.slice();
        clock.setTimeout(() => {
          if (!this.#isDown) room.receive(this.#peer!, copy);
        }, this.#toRoom - clock.now);
      }

      close(code?: number, reason?: string): void {
        if (this.readyState >= 2) return;
        network.closes.push({ code, reason });
        this.readyState = 2;
        this.#toRoom = Math.max(this.#toRoom, clock.now + latency());
        clock.setTimeout(() => {
          if (!this.#isDown && this.#peer !== undefined) room.lost(this.#peer);
          this.#isDown = true;
          this.#closed(code ?? 1005, reason ?? "");
        }, this.#toRoom - clock.now);
      }

      #deliver(run: () => void, isLast = false): void {
        this.#toClient = Math.max(this.#toClient, clock.now + latency());
        clock.setTimeout(() => {
          if (this.#isDown) return;
          if (isLast) this.#isDown = true;
          run();
        }, this.#toClient - clock.now);
      }

      #drop({ client = true, room: notices = true } = {}): void {
        if (this.#isDown) return;
        this.#isDown = true;
        if (notices && this.#peer !== undefined) room.lost(this.#peer);
        if (client) clock.setTimeout(() => this.#closed(1006, ""), latency());
      }

      #closed(code: number, reason: string): void {
        if (this.readyState === 3) return;
        this.readyState = 3;
        this.onclose?.({ code, reason });
      }
    };
  }

  /** The latest connection. */
  get latest(): Connection {
    return this.connections.at(-1)!;
  }
}
