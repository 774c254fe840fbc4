// The names of users and rooms.

import { lengthOf } from "./dom.ts";

const MAX_NAME = 32;
const MAX_ROOM = 64;

/** The room's operator speaks under this name. */
export const OPERATOR = "system";

/** Returns the problem of a name, or "". */
export function nameProblem(name: string): string {
  if (name === "") return "Enter a name.";
  if (lengthOf(name) > MAX_NAME) return `A name has at most ${MAX_NAME} characters.`;
  if (/\p{Cc}/u.test(name) || !/[\p{L}\p{N}\p{P}\p{S}]/u.test(name)) return "This name cannot be shown.";
  if (name.toLowerCase() === OPERATOR) return "This name is the operator's. Choose another one.";
  return "";
}

/**
 * Returns the problem of a room's name, or "". The name becomes a part of URLs, where for example ".." has a special
 * meaning.
 */
export function roomProblem(room: string): string {
  if (room === "") return "Enter a room.";
  if (lengthOf(room) > MAX_ROOM) return `A room's name has at most ${MAX_ROOM} characters.`;
  if (!/^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]*$/u.test(room)) {
    return "Use letters, digits, “-”, “_” and “.”, beginning with a letter or a digit.";
  }
  return "";
}

export const tidyName = (text: string): string => text.normalize("NFC").trim().replace(/\s+/g, " ");
export const tidyRoom = (text: string): string => text.normalize("NFC").trim().replace(/^#/, "");
