/**
 * Hooks for React.
 *
 * @module
 */
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { connect, type Calls, type ConnectOptions, type Room, type Status } from "./room.js";
import type { AnySchema, MessageName, MessageOf, RoomSchema } from "./schema.js";

/** The options of {@link useRoom}. */
export type UseRoomOptions<S extends RoomSchema = AnySchema> = Omit<ConnectOptions<S>, "autoConnect"> & {
  /**
   * Another key is another connection. Default: the URL, the parameters and the codec, as far as they are no functions. The
   * other options are those of the first render with that key; functions are those of the latest one.
   */
  key?: string;
  /** Connects, unless it is false. Default: true. */
  enabled?: boolean;
};

/** The result of {@link useRoom}. */
export interface UseRoomResult<S extends RoomSchema = AnySchema> {
  /** The connection. It stays the same as long as the key does. */
  readonly room: Room<S>;
  readonly status: Status;
  readonly send: Room<S>["send"];
  readonly call: Calls<S>;
}

// On a server, React warns of layout effects.
const useCommit = typeof document === "undefined" ? useEffect : useLayoutEffect;

/** Connects to a room for as long as the component is mounted. On a server, it does not connect. */
export function useRoom<S extends RoomSchema = AnySchema>(options: UseRoomOptions<S>): UseRoomResult<S> {
  const { url, params, codec = "json", enabled = true } = options;
  const key = options.key ?? JSON.stringify([url, params, codec === "json" ? codec : codec.protocol]);
  const latest = useRef(options);
  useCommit(() => {
    latest.current = options;
  });
  const create = () => {
    const room = connect<S>({ ...following(options, latest), autoConnect: false } as unknown as ConnectOptions<S>);
    return { key, room, send: room.send.bind(room) as Room<S>["send"], mounts: 0 };
  };
  const [kept, keep] = useState(create);
  let current = kept;
  if (kept.key !== key) {
    current = create();
    keep(current);
  }
  const own = current;
  const { room, send } = own;
  useEffect(() => {
    if (!enabled) return;
    own.mounts++;
    room.open();
    return () => {
      own.mounts--;
      // StrictMode mounts again at once. Until then nothing is to be lost, for example the events of effects of children.
      queueMicrotask(() => own.mounts === 0 && room.close(1000, "unmounted"));
    };
  }, [own, room, enabled]);
  return { room, status: useRoomStatus(room), send, call: room.call };
}

/** Returns the state of a connection. */
export function useRoomStatus<S extends RoomSchema>(room: Room<S>): Status {
  const subscribe = useCallback((changed: () => void) => room.onStatus(changed), [room]);
  return useSyncExternalStore(subscribe, () => room.status, () => "idle");
}

/** Calls `run` for each message with this name; `"*"` stands for all. `run` can be another function in each render. */
export function useRoomEvent<S extends RoomSchema, N extends MessageName<S> | "*">(
  room: Room<S>,
  name: N,
  run: (message: MessageOf<S, N>) => void,
): void {
  const latest = useRef(run);
  useCommit(() => {
    latest.current = run;
  });
  useEffect(() => room.on(name, (message) => latest.current(message)), [room, name]);
}

/** Returns the latest message with this name; `"*"` stands for all. */
export function useLastMessage<S extends RoomSchema, N extends MessageName<S> | "*">(
  room: Room<S>,
  name: N,
): MessageOf<S, N> | undefined {
  type Message = MessageOf<S, N> | undefined;
  return useStore<Message>(
    useCallback((set) => room.on(name, (message) => set(() => message)), [room, name]),
    undefined,
  );
}

/**
 * Returns the value that `reduce` makes of the messages, starting with `initial`. `reduce` returns the same value for a message
 * that does not matter. Messages count from the first render of the component on.
 */
export function useReduced<S extends RoomSchema, T>(
  room: Room<S>,
  reduce: (value: T, message: S["broadcast"]) => T,
  initial: T,
): T {
  const latest = useRef(reduce);
  useCommit(() => {
    latest.current = reduce;
  });
  return useStore(
    useCallback((set) => room.on("*", (message) => set((value) => latest.current(value, message as S["broadcast"]))), [room]),
    initial,
  );
}

/**
 * Returns who is present, in a room that tells its peers. `reduce` gets the list and a message, and returns the next list, or
 * the same one:
 *
 * ```ts
 * const users = usePresence(room, (users: string[], message) =>
 *   message.type === "Presence" ? message.users : users);
 * ```
 *
 * The list is empty before the first such message, and again when the connection is closed. While the client reconnects it
 * stays, and it is as old as that.
 */
export function usePresence<S extends RoomSchema, P>(
  room: Room<S>,
  reduce: (present: readonly P[], message: S["broadcast"]) => readonly P[],
): readonly P[] {
  const present = useReduced(room, reduce, NOBODY as readonly P[]);
  return useRoomStatus(room) === "closed" ? (NOBODY as readonly P[]) : present;
}

const NOBODY: readonly never[] = [];

/** A value that belongs to a source; another source begins anew. */
function useStore<T>(source: (set: (next: (value: T) => T) => void) => () => void, initial: T): T {
  const own = useMemo(() => ({ source, value: initial }), [source]);
  const subscribe = useCallback(
    (changed: () => void) =>
      own.source((next) => {
        own.value = next(own.value);
        changed();
      }),
    [own],
  );
  return useSyncExternalStore(subscribe, () => own.value, () => initial);
}

/** The options with functions that call those of the latest render. */
function following<S extends RoomSchema>(
  options: UseRoomOptions<S>,
  latest: { readonly current: UseRoomOptions<S> },
): Record<string, unknown> {
  const names = ["url", "params", "protocols", "onDecodeError"] as const;
  const fixed = options as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(fixed).map(([name, value]) =>
      (names as readonly string[]).includes(name) && typeof value === "function"
        ? [name, (...given: unknown[]) => ((latest.current as Record<string, unknown>)[name] as typeof value)(...given)]
        : [name, value],
    ),
  );
}
