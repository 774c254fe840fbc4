import { RoomError } from "./errors.js";
import type { Data } from "./json.js";

/** The part of a WebSocket that is used here. The global one, that of `ws` and others have it. */
export interface WebSocketLike {
  readonly protocol: string;
  readonly readyState: number;
  binaryType: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(data: any): void;
  close(code?: number, reason?: string): void;
}

/** A class of WebSockets. */
export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

/** The time and the timers. Tests replace them. */
export interface Clock {
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: any): void;
}

/** A value, or a function that is asked for it before each attempt to connect. */
export type Provided<T> = T | (() => T | Promise<T>);

/** Parameters of the URL. Those without a value are left out. */
export type Params = Record<string, string | number | boolean | null | undefined>;

/** When and how often to connect again. */
export interface ReconnectOptions {
  /** The longest wait before the first attempt, in milliseconds; it doubles with each further one. Default: 1000. */
  baseMs?: number;
  /** The bound of that, in milliseconds. Default: 30,000. */
  maxMs?: number;
  /**
   * The failed attempts in a row after which the client gives up. One fails if no welcome arrives. Those that fail while
   * the browser says that it is offline do not count. Default: no bound.
   */
  maxAttempts?: number;
}

/** The options of a connection. */
export interface LinkOptions {
  /** The room's address: `wss:`, `ws:`, `https:`, `http:`, or in a browser a path. */
  url: Provided<string>;
  /** Parameters that are added to the URL. */
  params?: Provided<Params>;
  /** Subprotocols to offer after that of the codec, for example with a token for the Worker. */
  protocols?: Provided<string[]>;
  /** The time for one attempt to open a socket, in milliseconds. The room's welcome has 30 s more. Default: 10,000. */
  connectTimeout?: number;
  reconnect?: ReconnectOptions;
  /** The class to use in place of the global `WebSocket`, for example that of `ws` in Node.js before 22. */
  WebSocket?: WebSocketClass;
  /** Timers for tests. */
  clock?: Clock;
  /** Random numbers for tests, from 0 up to 1. */
  random?: () => number;
}

/** The reason for the end of a connection. */
export interface CloseInfo {
  readonly code: number;
  readonly reason: string;
  /** The cause, if it was no close of the room: an error of a provider, of the network, or of the client. */
  readonly error?: unknown;
}

export interface LinkEvents {
  /** Returns the subprotocols to offer, the one that the room has to choose first. */
  offer(): string[];
  frame(data: string | ArrayBuffer): void;
  /** A connection is lost, or an attempt failed. The next attempt is after `delayMs`. */
  down(info: CloseInfo, attempt: number, delayMs: number): void;
  /** The end: there is no further attempt. */
  end(info: CloseInfo): void;
  /** A heartbeat was sent. */
  beat(): void;
}

/** The longest time between two heartbeats. */
const HEARTBEAT_MS = 25_000;
/** The time after a heartbeat within which a frame has to arrive. */
const ANSWER_MS = 10_000;
/** A connection of this age was no failure: the next back-off begins anew. */
const STABLE_MS = 5_000;
/** The time that a socket has for its close event after an error. Some never have one. */
const ERROR_MS = 1_000;

type Timer = "connect" | "beat" | "answer" | "stable" | "error";

/** The time for the welcome: the room first handles the frames of the old connection that wait. */
const WELCOME_MS = 30_000;

const noop = () => {};

/** True if the room does not want this client to connect again. */
export function isFinal(code: number, reason: string): boolean {
  if (code === 1012) return reason === "replaced by a new connection";
  if (code >= 3000 && code <= 4999) return code !== 3008;
  return [1000, 1003, 1007, 1008, 1009].includes(code);
}

/** The address with its parameters, as a WebSocket takes it. */
export function address(url: string, params: Params = {}): string {
  const absolute = new URL(url, (globalThis as { location?: { href: string } }).location?.href);
  absolute.protocol = absolute.protocol.replace(/^http/, "ws");
  absolute.hash = "";
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null) absolute.searchParams.set(name, String(value));
  }
  return absolute.href;
}

const provide = <T>(provided: Provided<T>): T | Promise<T> =>
  typeof provided === "function" ? (provided as () => T | Promise<T>)() : provided;

/** A WebSocket that connects again, and notices that its connection is dead. */
export class Link {
  readonly #options: LinkOptions;
  readonly #events: LinkEvents;
  readonly #clock: Clock;
  #running = false;
  #socket: WebSocketLike | undefined;
  /** Distinguishes this attempt from those before it, whose providers can still answer. */
  #epoch = 0;
  #welcomed = false;
  /** The failed attempts in a row. */
  #failures = 0;
  /** The exponent of the back-off. */
  #exponent = 0;
  #waiting = false;
  /** The browser reported, during this attempt, that the network is back: if it fails, the next one follows at once. */
  #urgent = false;
  #timers: { [name in Timer]?: unknown } = {};
  #ping: string | undefined;
  #pong: string | undefined;
  #everyMs = HEARTBEAT_MS;
  #error: unknown;
  /**
   * Sockets that are given up. A close frame of this client would end its place in the room, if the connection was only
   * slow: so they are closed when the next connection has taken the place over.
   */
  #stale: WebSocketLike[] = [];
  #unlisten = noop;

  constructor(options: LinkOptions, events: LinkEvents) {
    this.#options = options;
    this.#events = events;
    this.#clock = options.clock ?? {
      setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
    };
  }

  open(): void {
    if (this.#running) return;
    this.#running = true;
    this.#failures = this.#exponent = 0;
    this.#unlisten = this.#listen();
    void this.#attempt();
  }

  /** Ends the connection. */
  close(code: number, reason: string): void {
    if (!this.#running) return;
    const socket = this.#detach();
    this.#end({ code, reason });
    socket?.close(code, reason);
  }

  /** Sends a frame, if the room has welcomed this connection. */
  send(data: Data): boolean {
    if (!this.#welcomed || this.#socket?.readyState !== 1) return false;
    this.#socket.send(data);
    return true;
  }

  /** The room has welcomed this connection. */
  welcome(heartbeat: readonly [ping: string, pong: string] | undefined, timeoutMs: number | undefined): void {
    this.#welcomed = true;
    this.#failures = 0;
    this.#clear("connect");
    this.#closeStale();
    this.#set("stable", STABLE_MS, () => (this.#exponent = 0));
    [this.#ping, this.#pong] = heartbeat ?? [];
    // More often than a third of the room's timeout, with some room for a slow network.
    this.#everyMs = Math.min(HEARTBEAT_MS, timeoutMs === undefined ? Infinity : timeoutMs * 0.3);
    if (this.#ping !== undefined) this.#set("beat", this.#everyMs, () => this.#beat());
  }

  /** Gives up: the server does not speak the protocol, or no attempt succeeds. */
  fail(error: RoomError): void {
    const socket = this.#detach();
    this.#end({ code: 1006, reason: "", error });
    socket?.close();
  }

  /** Connects at once if it waits for the next attempt, and asks for a sign of life if it is connected. */
  #nudge(): void {
    if (this.hurry()) return;
    if (this.#welcomed) this.#probe();
    else this.#urgent = true;
  }

  /** Connects at once if it waits for the next attempt. Returns whether it did. */
  hurry(): boolean {
    if (!this.#waiting) return false;
    this.#exponent = 0;
    void this.#attempt();
    return true;
  }

  #probe(): void {
    if (this.#welcomed && this.#ping !== undefined) this.#beat();
  }

  async #attempt(): Promise<void> {
    const epoch = ++this.#epoch;
    const isCurrent = () => epoch === this.#epoch;
    this.#waiting = this.#urgent = false;
    this.#error = undefined;
    this.#set("connect", this.#options.connectTimeout ?? 10_000, () => {
      this.#lost(new RoomError("timeout", "the connection was not open in time"));
    });
    let url: string;
    let protocols: string[];
    try {
      const { url: base, params = {}, protocols: further = [] } = this.#options;
      const provided = await Promise.all([provide(base), provide(params), provide(further)]);
      if (!isCurrent()) return;
      url = address(provided[0], provided[1]);
      protocols = [...this.#events.offer(), ...provided[2]];
    } catch (error) {
      if (isCurrent()) this.#lost(error);
      return;
    }
    let socket: WebSocketLike;
    try {
      const Class = this.#options.WebSocket ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
      if (Class === undefined) throw new Error("there is no global WebSocket: set the option `WebSocket`");
      socket = new Class(url, protocols);
    } catch (error) {
      // No later attempt would have another class, and an invalid URL or subprotocol is a mistake of the program.
      this.fail(new RoomError("protocol", (error as Error).message, { cause: error }));
      return;
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (socket.protocol !== protocols[0]) {
        this.fail(new RoomError("protocol", `the room chose the subprotocol "${socket.protocol}" and not ${protocols[0]}`));
        return;
      }
      this.#set("connect", WELCOME_MS, () => this.#lost(new RoomError("timeout", "there was no welcome in time")));
    };
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      this.#clear("answer");
      if (data !== this.#pong || !this.#welcomed) this.#events.frame(data);
    };
    socket.onerror = (event?: { message?: string; error?: unknown }) => {
      this.#error = event?.error ?? new Error(event?.message || "the connection failed");
      this.#set("error", ERROR_MS, () => this.#lost(this.#error));
    };
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      this.#detach();
      // Deno has the code 0 for a connection that was lost.
      const info = { code: code || 1006, reason, ...(this.#error === undefined ? {} : { error: this.#error }) };
      if (isFinal(info.code, reason)) this.#end(info);
      else this.#retry(info);
    };
  }

  /** The connection is not usable any more, or an attempt failed, without a close event. */
  #lost(error: unknown): void {
    const socket = this.#detach();
    if (socket?.readyState === 1) this.#stale.push(socket);
    else socket?.close();
    this.#retry({ code: 1006, reason: "", error });
  }

  #retry(info: CloseInfo): void {
    const { baseMs = 1000, maxMs = 30_000, maxAttempts = Infinity } = this.#options.reconnect ?? {};
    const isOffline = (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;
    if (!this.#welcomed && !isOffline) this.#failures++;
    this.#welcomed = false;
    if (this.#failures >= maxAttempts) {
      const message = `${this.#failures} attempts to connect failed in a row`;
      this.#end({ ...info, error: new RoomError("unreachable", message, { cause: info.error }) });
      return;
    }
    // Full jitter: after a restart of the server, its clients come back spread over the whole time.
    const delay = (this.#options.random ?? Math.random)() * Math.min(maxMs, baseMs * 2 ** this.#exponent++);
    this.#waiting = true;
    const isUrgent = this.#urgent;
    this.#set("connect", delay, () => void this.#attempt());
    this.#events.down(info, this.#failures, isUrgent ? 0 : delay);
    // An attempt that began without a network says nothing about the server.
    if (isUrgent) this.hurry();
  }

  #end(info: CloseInfo): void {
    this.#running = this.#welcomed = this.#waiting = false;
    this.#epoch++;
    this.#unlisten();
    this.#closeStale();
    this.#events.end(info);
  }

  /** Takes the socket away from this link, with everything that belongs to it. */
  #detach(): WebSocketLike | undefined {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#epoch++;
    for (const name of Object.keys(this.#timers) as Timer[]) this.#clear(name);
    if (socket !== undefined) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      // The errors of `ws` end the process if nobody listens.
      socket.onerror = noop;
    }
    return socket;
  }

  #closeStale(): void {
    for (const socket of this.#stale.splice(0)) socket.close();
  }

  #beat(): void {
    this.#set("beat", this.#everyMs, () => this.#beat());
    if (!this.send(this.#ping!)) return;
    // An earlier heartbeat can still be without an answer.
    if (this.#timers.answer === undefined) {
      this.#set("answer", ANSWER_MS, () => this.#lost(new RoomError("timeout", "no frame arrived after a heartbeat")));
    }
    this.#events.beat();
  }

  #set(name: Timer, ms: number, run: () => void): void {
    this.#clear(name);
    this.#timers[name] = this.#clock.setTimeout(() => {
      this.#timers[name] = undefined;
      run();
    }, ms);
  }

  #clear(name: Timer): void {
    if (this.#timers[name] !== undefined) this.#clock.clearTimeout(this.#timers[name]);
    this.#timers[name] = undefined;
  }

  /** Listens to the browser, if this is a page. */
  #listen(): () => void {
    const page = globalThis as unknown as Partial<EventTarget> & { document?: EventTarget & { visibilityState: string } };
    const { document } = page;
    const target = page as EventTarget;
    if (document === undefined || typeof target.addEventListener !== "function") return noop;
    const nudge = () => this.#nudge();
    const probe = () => this.#probe();
    const visible = () => {
      if (document.visibilityState === "visible") this.#nudge();
    };
    // A page with an open connection is not kept for the back button.
    const hide = (event: Event) => {
      if (!(event as Event & { persisted: boolean }).persisted) return;
      const socket = this.#detach();
      this.#welcomed = false;
      this.#waiting = true;
      this.#events.down({ code: 1001, reason: "the page was put aside" }, 0, 0);
      socket?.close();
    };
    const show = (event: Event) => {
      if ((event as Event & { persisted: boolean }).persisted) this.#nudge();
    };
    const listeners: [EventTarget, string, (event: Event) => void][] = [
      [target, "online", nudge],
      [target, "offline", probe],
      [document, "visibilitychange", visible],
      [target, "pagehide", hide],
      [target, "pageshow", show],
    ];
    for (const [target, type, run] of listeners) target.addEventListener(type, run);
    return () => {
      for (const [target, type, run] of listeners) target.removeEventListener(type, run);
    };
  }
}
