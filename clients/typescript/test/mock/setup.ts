import { connect, type ConnectOptions, type DecodeError, type Room, type RoomSchema, type StatusChange } from "room-client";
import { VirtualClock } from "./clock.js";
import { Network, type NetworkOptions } from "./network.js";
import { MockRoom, type MockOptions, type Peer } from "./room.js";

/** The room of most tests. */
export interface Chat {
  event: { type: "Say"; text: string } | { type: "Wait"; ms: number } | { type: "Amount"; amount: number };
  broadcast: { type: "Message"; text: string } | { type: "Present"; users: string[] };
  calls: {
    rename: { args: { name: string }; result: number; error: "taken" };
    leave: { args: {}; result: null; error: never };
  };
}

export interface Setup<S extends RoomSchema> {
  clock: VirtualClock;
  room: MockRoom;
  network: Network;
  client: Room<S>;
  changes: StatusChange[];
  undecoded: DecodeError[];
  /** The room's end of the latest connection. */
  peer(): Peer;
  /** Sends a frame to the client as it is. */
  raw(frame: unknown): Promise<void>;
}

/** A client, a network and a room, in virtual time. Each way takes 10 ms. */
export function setup<S extends RoomSchema = Chat>(
  options: {
    room?: Partial<MockOptions>;
    network?: Partial<NetworkOptions>;
    client?: Partial<ConnectOptions<S>>;
  } = {},
): Setup<S> {
  const clock = new VirtualClock();
  const room = new MockRoom({
    clock,
    event: async (event: Chat["event"], context) => {
      if (event.type === "Wait") await context.sleep(event.ms);
      context.apply(event);
      if (event.type === "Say") context.broadcast({ type: "Message", text: event.text });
    },
    ...options.room,
  });
  const network = new Network({ clock, room, ...options.network });
  const undecoded: DecodeError[] = [];
  const client = connect<S>({
    url: "ws://room.test/chat",
    WebSocket: network.WebSocket,
    clock,
    random: () => 0.5,
    onDecodeError: (error: DecodeError) => undecoded.push(error),
    ...options.client,
  } as unknown as ConnectOptions<S>);
  const changes: StatusChange[] = [];
  client.onStatus((change) => changes.push(change));
  const peer = () => [...room.peers].at(-1)!;
  const raw = async (frame: unknown) => {
    peer().transport.send(typeof frame === "string" ? frame : room.wire.write(frame));
    await clock.pass(20);
  };
  return { clock, room, network, client, changes, undecoded, peer, raw };
}

/** The end of a promise, as far as it has one. */
export function watch(promise: Promise<unknown>): { value?: unknown; error?: any } {
  const end: { value?: unknown; error?: unknown } = {};
  promise.then(
    (value) => (end.value = value),
    (error) => (end.error = error),
  );
  return end;
}
