import { DecodeError, RoomError } from "./errors.js";

/** A frame as text or bytes. */
export type Data = string | Uint8Array;

/** A frame that was read, and the places in it with an integer that JavaScript cannot hold. */
export interface Decoded {
  readonly frame: unknown;
  /**
   * The index in the frame, and for index 0, the list of controls, the index of the control. The values at these places
   * are rounded, and nobody may see them.
   */
  readonly unsafe: ReadonlyArray<readonly [index: number, control: number]>;
}

/** Writes and reads frames. */
export interface Codec {
  /** The subprotocol that names it. */
  readonly protocol: string;
  /** Encodes one value. It throws a {@link RoomError} if the room could not read the same value. */
  encode(value: unknown): Data;
  /** Joins encoded values after a number to a frame: a list. */
  join(number: number, parts: readonly Data[]): Data;
  /** Reads a frame. It throws a {@link DecodeError}. */
  decode(data: string | ArrayBuffer): Decoded;
}

/**
 * Refuses a number that would arrive as another one. From 10^21 on, a number is written with an exponent, so that the
 * room cannot take it for an integer.
 */
export function checkNumber(value: number, key: string): void {
  const at = key === "" ? "" : ` at \`${key}\``;
  if (!Number.isFinite(value)) throw new RoomError("unencodable", `${value}${at} is no number for the room`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    throw new RoomError("unsafe_integer", `${value}${at} is an integer beyond 2^53 - 1, of which JavaScript has lost digits`);
  }
}

function replace(this: unknown, key: string, value: unknown): unknown {
  // `value` is the result of `toJSON`, which Buffer has.
  const original = (this as Record<string, unknown>)[key];
  if (original instanceof Uint8Array) return Array.from(original);
  if (typeof value === "number") checkNumber(value, key);
  return value;
}

/** JSON in text frames. Bytes are lists of numbers. */
export const json: Codec = {
  protocol: "room.v1",

  encode(value) {
    let text: string | undefined;
    try {
      text = JSON.stringify(value, replace);
    } catch (error) {
      if (error instanceof RoomError) throw error;
      throw new RoomError("unencodable", `not JSON: ${(error as Error).message}`, { cause: error });
    }
    if (text === undefined) throw new RoomError("unencodable", `${typeof value} is no value for the room`);
    return text;
  },

  join: (number, parts) => `[${[number, ...parts].join(",")}]`,

  decode(data) {
    if (typeof data !== "string") throw new DecodeError("decode", "a binary frame, but the codec is JSON", data);
    try {
      return { frame: JSON.parse(data), unsafe: unsafeIntegers(data) };
    } catch (error) {
      throw new DecodeError("decode", `not JSON: ${(error as Error).message}`, data, { cause: error });
    }
  },
};

const NUMBER = /-?[\d.eE+-]+/y;

/**
 * Finds the integers that `JSON.parse` rounds. The room writes floats with a point or an exponent. Almost every text has
 * no 16 digits in a row, and is not read a second time.
 */
function unsafeIntegers(text: string): [number, number][] {
  const found: [number, number][] = [];
  if (!/\d{16}/.test(text)) return found;
  let depth = 0;
  let index = 0;
  let control = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === '"') {
      while (text[++i] !== '"') if (text[i] === "\\") i++;
    } else if (char === "[" || char === "{") {
      depth++;
    } else if (char === "]" || char === "}") {
      depth--;
    } else if (char === ",") {
      if (depth === 1) index++;
      else if (depth === 2 && index === 0) control++;
    } else if (char === "-" || (char >= "0" && char <= "9")) {
      NUMBER.lastIndex = i;
      const number = NUMBER.exec(text)![0];
      if (!/[.eE]/.test(number) && !Number.isSafeInteger(Number(number))) found.push([index, index === 0 ? control : 0]);
      i += number.length - 1;
    }
  }
  return found;
}
