// Programs that the types accept, and beside each a mistake that they do not. The compiler reads this file; nothing runs it.
import { connect, type MessageName, type MessageOf, type Room } from "room-client";
import { msgpack } from "room-client/msgpack";
import { useRoom, useRoomEvent } from "room-client/react";

interface Chat {
  event: { type: "Say"; text: string } | { type: "Typing" };
  broadcast: { type: "Message"; from: string; text: string } | { type: "Left"; from: string };
  state: { messages: string[] };
  connection: { user_id: string };
  calls: {
    rename: { args: { name: string }; result: number; error: "taken" | "too_long" };
    leave: { args: {}; result: null; error: never };
  };
}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <_ extends true>(): void => {};

const room = connect<Chat>({ url: "wss://room.test", codec: msgpack, params: { a: 1 }, protocols: ["auth.x"] });

same<Same<MessageName<Chat>, "Message" | "Left">>();
same<Same<MessageOf<Chat, "Left">, { type: "Left"; from: string }>>();
same<Same<MessageOf<Chat, "*">, Chat["broadcast"]>>();

const sent: Promise<void> = room.send({ type: "Say", text: "hi" }, { timeout: 1000, signal: AbortSignal.timeout(1) });
const wasSent: boolean = room.send({ type: "Typing" }, { ack: false });
// @ts-expect-error A variant that there is not.
room.send({ type: "Sai", text: "hi" });
// @ts-expect-error A field that there is not.
room.send({ type: "Say", txt: "hi" });
// @ts-expect-error A field of another type.
room.send({ type: "Say", text: 1 });
// @ts-expect-error A field is missing.
room.send({ type: "Say" });
// @ts-expect-error An event without a number has no outcome to wait for.
await room.send({ type: "Typing" }, { ack: false }).then();

room.on("Message", (message) => message.text.length);
room.once("*", (message) => message.type === "Left" && message.from);
const next: Promise<{ from: string }> = room.next("Left");
// @ts-expect-error A message that there is not.
room.on("Mesage", () => {});
// @ts-expect-error A field of another variant.
room.on("Left", (message) => message.text);
for await (const message of room) {
  // @ts-expect-error A field that only one variant has.
  message.text;
  if (message.type === "Message") message.text.length;
}

const renamed: number = await room.call.rename({ name: "Ada" });
await room.call.rename({ name: "Ada" }, { timeout: 1000 });
const left: null = await room.call.leave();
// @ts-expect-error A function that there is not.
room.call.renam({ name: "Ada" });
// @ts-expect-error An argument that there is not.
room.call.rename({ nme: "Ada" });
// @ts-expect-error The arguments are missing.
room.call.rename();
// @ts-expect-error Another result.
const text: string = await room.call.rename({ name: "Ada" });

try {
  await room.call.rename({ name: "Ada" });
} catch (error) {
  if (room.isCallError("rename", error)) {
    same<Same<typeof error.error, "taken" | "too_long">>();
    // @ts-expect-error An error that there is not.
    error.error === "token";
  }
}

room.onStatus((change) => {
  if (change.status === "closed") change.code + change.reason.length;
  // @ts-expect-error Only some changes have a code.
  change.code;
});

// @ts-expect-error The address is missing.
connect<Chat>({});
// @ts-expect-error A codec that there is not.
connect<Chat>({ url: "", codec: "xml" });
// @ts-expect-error The key of this schema is `type`.
connect<Chat>({ url: "", tag: "kind" });

interface Kinds {
  tag: "kind";
  event: { kind: "A" };
  broadcast: { kind: "B"; n: number } | { kind: "C" };
  calls: {};
}
connect<Kinds>({ url: "", tag: "kind" }).on("B", ({ n }) => n.toFixed());
// @ts-expect-error The key has to be said, since the types are gone when the program runs.
connect<Kinds>({ url: "" });

interface Untagged {
  tag: null;
  event: number | string;
  broadcast: { a: number } | { b: string };
  calls: {};
}
const untagged = connect<Untagged>({ url: "", tag: null });
untagged.on("*", (message) => "a" in message && message.a.toFixed());
// @ts-expect-error There are no names.
untagged.on("a", () => {});

interface OneMessage {
  event: { type: "A" };
  broadcast: { type: "B"; n: number };
}
connect<OneMessage>({ url: "" }).on("B", ({ n }) => n.toFixed());
// @ts-expect-error There are no calls.
connect<OneMessage>({ url: "" }).call.a();

const any = connect({ url: "", tag: "kind" });
any.on("Anything", (message) => message.any.thing);
any.send({ any: "thing" });
const anything: Promise<any> = any.call["anything"]!({ x: 1 });

// The classes of others.
import { WebSocket } from "ws";
connect({ url: "", WebSocket });
connect({ url: "", WebSocket: globalThis.WebSocket });

function Component(): null {
  const { room, send, call, status } = useRoom<Chat>({ url: "" });
  useRoomEvent(room, "Message", (message) => message.text);
  // @ts-expect-error A message that there is not.
  useRoomEvent(room, "Mesage", () => {});
  // @ts-expect-error A variant that there is not.
  send({ type: "Sai" });
  call.rename({ name: status });
  return null;
}

export { anything, Component, left, next, renamed, sent, text, untagged, wasSent };
export type { Room };
