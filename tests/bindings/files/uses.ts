// A client of the rooms in tests/bindings.rs. The compiler accepts it as it is: each line after `@ts-expect-error` is a
// mistake, and one that the compiler does not see is an error too.

import type { Club } from "./club.ts";
import type { PackedRoom } from "./packed_room.ts";
import type { Animal, AnimalInput, AnimalPage, Broadcast, Color, Event, State, Tag, Zoo } from "./zoo.ts";

const send = (event: Zoo["event"]): string => JSON.stringify(event);

send({ type: "feed", animalId: 1, gramCount: 2 });
send({ type: "feed", animalId: 1, gramCount: 2, times: 3, note: null });
send({ type: "leave" });
send({ type: "say!", text: "hello" });
send({ type: "adopt", since: 1 });
send({ type: "tag", tag: { kind: "Colored", color: "dark-red" } });
send({ type: "settle", settings: { volume: 1 } });
const event: Event = { type: "add", animal: { id: 1, color: "blue" } };
send(event);

// @ts-expect-error: a misspelt variant
send({ type: "fed", animalId: 1, gramCount: 2 });
// @ts-expect-error: the name in Rust of a renamed variant
send({ type: "Shout", text: "hello" });
// @ts-expect-error: a misspelt field
send({ type: "feed", animalID: 1, gramCount: 2 });
// @ts-expect-error: the name in Rust of a renamed field
send({ type: "feed", animal_id: 1, gramCount: 2 });
// @ts-expect-error: a missing field
send({ type: "feed", animalId: 1 });
// @ts-expect-error: a text for a number
send({ type: "feed", animalId: "1", gramCount: 2 });
// @ts-expect-error: a field of another variant
send({ type: "leave", text: "bye" });
// @ts-expect-error: a misspelt value of an enum
send({ type: "tag", tag: { kind: "Colored", color: "DarkRed" } });

export function receive(message: Broadcast): string {
  switch (message.type) {
    case "Fed":
      // A received value has every field, and a sent one may lack some.
      return `${message.animal.tame} ${message.left ?? 0} ${message.by?.name}`;
    case "Moved":
      return `${message.from[0]} ${message.to[1]}`;
    case "Closed":
      return "closed";
    case "Tagged":
      return tagged(message);
    default: {
      const never: never = message;
      return never;
    }
  }
}

function tagged({ external, adjacent, untagged, flat, strict }: Extract<Broadcast, { type: "Tagged" }>): string {
  const parts: unknown[] = [strict.FIRST_FIELD, flat.own, flat.left, flat.kind];
  if (external === "Unit") parts.push(external);
  else if ("Newtype" in external) parts.push(external.Newtype + 1);
  else if ("Tuple" in external) parts.push(external.Tuple[1].length);
  else parts.push(external.Struct.a);
  if (adjacent.t === "Newtype") parts.push(adjacent.c satisfies Color);
  if (typeof untagged === "object" && untagged !== null) parts.push(untagged.left);
  return parts.join();
}

const animal = { id: 1, color: "blue" } as const satisfies AnimalInput;
// @ts-expect-error: a received animal has all its fields
animal satisfies Animal;

export function read(state: State): void {
  const page: AnimalPage = state.page;
  page.items[0]?.color satisfies Color | undefined;
  state.by_number[7]?.id satisfies number | undefined;
  state.root.children[0]?.parent?.value satisfies number | undefined;
  state.raw satisfies number[];
  state.blob satisfies number[];
  state.hash satisfies number[];
  state.point satisfies [number, number, number];
  state.pair satisfies [number, string];
  state["kebab-name"] satisfies string;
  state.nickname satisfies string | null | undefined;
  state.opened satisfies string;
  // @ts-expect-error: it can be anything, so it has no fields before it is examined
  state.anything.field;
  // @ts-expect-error: a skipped field
  state.hidden;
}

export function packed(room: PackedRoom): void {
  room.state.raw satisfies Uint8Array;
  room.event.fixed satisfies [number, number];
  room.connection["any"] satisfies number | undefined;
}

export function call<K extends keyof Club["calls"]>(name: K, args: Club["calls"][K]["args"]): void {
  JSON.stringify([name, args]);
}

call("rename", { name: "new" });
call("mascot", {});
call("close_for", { days: 3 });
// @ts-expect-error: an argument that the function does not have
call("mascot", { days: 3 });
// @ts-expect-error: a function for the Worker only
call("audit", {});
// @ts-expect-error: a misspelt call
call("renam", { name: "new" });
// @ts-expect-error: a misspelt argument
call("rename", { nam: "new" });

export const at_most = (error: Club["calls"]["rename"]["error"]): number => error.type === "TooLong" ? error.at_most : 0;

export const tag: Tag = { kind: "Plain" };
