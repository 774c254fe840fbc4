// Names and colours. The states of others are from anyone: what is shown of them is checked here.

import type { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";

export type Awareness = WebsocketProvider["awareness"];

export interface User {
  name: string;
  color: string;
}

/** Colours on which white text reaches 4.5:1, and which reach 3:1 on both schemes. */
const COLORS = ["#b4451f", "#8a6100", "#4c7a1d", "#0b7d6b", "#1c72b8", "#5b62d6", "#9a4cc7", "#c2337f"];

const MAX_NAME = 32;

function storage(value?: string): string {
  try {
    if (value === undefined) return localStorage.getItem("name") ?? "";
    localStorage.setItem("name", value);
  } catch {}
  return value ?? "";
}

const guest = `Guest ${100 + Math.floor(Math.random() * 900)}`;
let chosen = storage();

/** The user of this page. */
export function ownUser(): User & { isNamed: boolean } {
  const name = chosen.trim().slice(0, MAX_NAME);
  return { name: name || guest, color: colorOf(name || guest), isNamed: name !== "" };
}

export function saveName(name: string): void {
  chosen = storage(name.trim().slice(0, MAX_NAME));
}

/** The same colour for a name on every screen. */
export function colorOf(name: string): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return COLORS[(hash >>> 0) % COLORS.length] ?? "#1c72b8";
}

function userOf(state: unknown): User | undefined {
  const user = (state as { user?: Partial<User> } | null)?.user;
  if (user === null || typeof user !== "object" || typeof user.name !== "string") return undefined;
  const name = user.name.trim().slice(0, MAX_NAME) || "Somebody";
  const isColor = typeof user.color === "string" && /^#[0-9a-f]{6}$/i.test(user.color);
  return { name, color: isColor ? String(user.color) : colorOf(name) };
}

/** The others in the document, in a stable order. */
export function present(awareness: Awareness): User[] {
  return [...awareness.getStates()]
    .filter(([client]) => client !== awareness.clientID)
    .sort(([a], [b]) => a - b)
    .flatMap(([, state]) => userOf(state) ?? []);
}

/** A cursor whose two ends the editor can compute. The binding throws at any other, and shows no cursors any more. */
function cursorOf(state: unknown, doc: Y.Doc): object | undefined {
  const cursor = (state as { cursor?: { anchor?: unknown; head?: unknown } } | null)?.cursor;
  try {
    for (const end of [cursor?.anchor, cursor?.head]) {
      const position = Y.createRelativePositionFromJSON(end);
      if (Y.createAbsolutePositionFromRelativePosition(position, doc) === null) return undefined;
    }
    return cursor ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * The awareness for the editor. The binding writes the colours of others into style attributes as they are, so it gets only those that
 * are colours.
 */
export function checked(awareness: Awareness): Awareness {
  const getStates = () =>
    new Map([...awareness.getStates()].map(([client, state]) => {
      const user = userOf(state);
      const cursor = client === awareness.clientID ? state.cursor : cursorOf(state, awareness.doc);
      return [client, { ...state, cursor, user: user && { ...user, colorLight: `${user.color}33` } }];
    }));
  return Object.create(awareness, { getStates: { value: getStates } }) as Awareness;
}
