// The HTTP routes of the Worker.

import type { Lot, Standing, User } from "../bindings/auction.ts";

/** The public part of an auction. The bindings have the types that a page exchanges with the room itself. */
export interface Info {
  id: string;
  lot: Lot;
  seller: User;
  standing: Standing;
}

/** An error of the Worker, with the field that it is about. */
export class ApiError extends Error {
  constructor(readonly status: number, message: string, readonly field: string | undefined) {
    super(message);
  }
}

interface ErrorBody {
  error?: { message?: string; field?: string };
}

async function ask<T>(path: string, body?: object): Promise<T> {
  const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let response: Response;
  try {
    response = await fetch(path, body === undefined ? {} : post);
  } catch {
    throw new ApiError(0, "The auction house cannot be reached. Try again in a moment.", undefined);
  }
  if (response.ok) return response.json() as Promise<T>;
  const { error } = (await response.json().catch(() => ({}))) as ErrorBody;
  throw new ApiError(response.status, sentence(error?.message ?? `error ${response.status}`), error?.field);
}

const sentence = (text: string): string => `${text.charAt(0).toLocaleUpperCase()}${text.slice(1)}.`;

export interface NewLot {
  title: string;
  description: string;
  start_price: number;
  duration_s: number;
  delay_s: number;
}

export const whoami = (): Promise<User | null> => ask("/api/session");
export const signIn = (name: string): Promise<User> => ask("/api/session", { name });
export const createAuction = (lot: NewLot): Promise<{ id: string }> => ask("/api/auctions", lot);
export const infoOf = (id: string): Promise<Info> => ask(`/api/auctions/${id}`);
