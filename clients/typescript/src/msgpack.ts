/**
 * MessagePack in binary frames: `connect({ url, codec: msgpack })`. A `Vec<u8>` that the room writes as bytes is a
 * `Uint8Array`.
 *
 * @module
 */
import { decode, encode } from "@msgpack/msgpack";
import { DecodeError, RoomError } from "./errors.js";
import { checkNumber, type Codec, type Data } from "./json.js";

const UINT64 = 0xcf;
const INT64 = 0xd3;

const bytes = (value: unknown): Uint8Array => {
  try {
    return encode(value, { ignoreUndefined: true });
  } catch (error) {
    throw new RoomError("unencodable", `not MessagePack: ${(error as Error).message}`, { cause: error });
  }
};

/** The codec for rooms with `codec = "msgpack"` or with both. */
export const msgpack: Codec = {
  protocol: "room.v1.msgpack",

  encode(value) {
    check(value, "", []);
    return bytes(value);
  },

  join(number, parts) {
    const all = [bytes(number), ...(parts as Uint8Array[])];
    const frame = new Uint8Array(all.reduce((length, part) => length + part.length, 1));
    // A list of up to 15 values has one byte before them.
    frame[0] = 0x90 | all.length;
    let at = 1;
    for (const part of all) {
      frame.set(part, at);
      at += part.length;
    }
    return frame;
  },

  decode(data) {
    if (typeof data === "string") throw new DecodeError("decode", "a text frame, but the codec is MessagePack", data);
    const input = new Uint8Array(data);
    try {
      // Without the marks of 64-bit integers there are none, and the slower reading into bigints is not needed.
      if (!input.includes(UINT64) && !input.includes(INT64)) return { frame: decode(input), unsafe: [] };
      const frame = decode(input, { useBigInt64: true });
      if (!Array.isArray(frame) || !Array.isArray(frame[0])) return { frame: narrow(frame).value, unsafe: [] };
      const unsafe: [number, number][] = [];
      const narrowAll = (values: unknown[], place: (i: number) => [number, number]) =>
        values.map((value, i) => {
          const narrowed = narrow(value);
          if (narrowed.unsafe) unsafe.push(place(i));
          return narrowed.value;
        });
      const [controls, ...messages] = frame as [unknown[], ...unknown[]];
      const read = narrowAll(controls, (i) => [0, i]);
      return { frame: [read, ...narrowAll(messages, (i) => [i + 1, 0])], unsafe };
    } catch (error) {
      throw new DecodeError("decode", `not MessagePack: ${(error as Error).message}`, data, { cause: error });
    }
  },
};

export type { Codec, Data };

/** Replaces the bigints that are safe numbers, and says whether others are left. */
function narrow(value: unknown): { value: unknown; unsafe: boolean } {
  let unsafe = false;
  const visit = (value: unknown): unknown => {
    if (typeof value === "bigint") {
      const number = Number(value);
      if (!Number.isSafeInteger(number)) unsafe = true;
      return number;
    }
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== "object" || value === null || value instanceof Uint8Array || value instanceof Date) return value;
    for (const [key, inner] of Object.entries(value)) (value as Record<string, unknown>)[key] = visit(inner);
    return value;
  };
  return { value: visit(value), unsafe };
}

/** Refuses the values that JSON refuses, so that a program can change its codec. */
function check(value: unknown, key: string, parents: readonly unknown[]): void {
  if (typeof value === "number") return checkNumber(value, key);
  if (typeof value === "bigint" || typeof value === "function" || typeof value === "symbol" || (value === undefined && parents.length === 0)) {
    throw new RoomError("unencodable", `${typeof value}${key === "" ? "" : ` at \`${key}\``} is no value for the room`);
  }
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  if (parents.includes(value)) throw new RoomError("unencodable", `a cycle at \`${key}\``);
  const path = [...parents, value];
  if (Array.isArray(value)) value.forEach((inner, i) => check(inner, String(i), path));
  else for (const [name, inner] of Object.entries(value)) check(inner, name, path);
}
