/**
 * The types of a room, as an interface:
 *
 * ```ts
 * interface Chat {
 *   event: { type: "Say"; text: string } | { type: "Typing" };
 *   broadcast: { type: "Message"; from: string; text: string };
 *   calls: { rename: { args: { name: string }; result: number; error: "taken" } };
 * }
 * ```
 */
export interface RoomSchema {
  /** The events, as a union. */
  event: unknown;
  /** The messages of the room, as a union. */
  broadcast: unknown;
  state?: unknown;
  connection?: unknown;
  /** The room's `#[call]` functions: `{ name: { args: {…}; result: …; error: … } }`. */
  calls?: object;
  /** The key that tells the variants apart, if it is not `type`; `null` if there is none. */
  tag?: string | null;
}

/** A schema for programs without types. */
export interface AnySchema {
  event: any;
  broadcast: any;
  calls: Record<string, { args: any; result: any; error: any }>;
}

/** The key of the variants of a schema. */
export type TagOf<S extends RoomSchema> = S extends { tag: infer T extends string | null } ? T : "type";

type Names<B, T> = T extends string ? (B extends { readonly [key in T]: infer N } ? N & string : never) : never;

/** The names of the messages of a schema. */
export type MessageName<S extends RoomSchema> = Names<S["broadcast"], TagOf<S>>;

/** The messages with this name; `"*"` stands for all. */
export type MessageOf<S extends RoomSchema, N> = "*" extends N
  ? S["broadcast"]
  : S["broadcast"] extends infer B
    ? 0 extends 1 & B
      ? B
      : B extends { readonly [key in TagOf<S> & string]: infer M }
        ? N extends M
          ? B
          : never
        : never
    : never;

/** The functions of a schema. */
export type CallsOf<S extends RoomSchema> = S extends { calls: infer C } ? C : {};

/** The arguments of a function. */
export type ArgsOf<S extends RoomSchema, N extends keyof CallsOf<S>> = CallsOf<S>[N] extends { args: infer A } ? A : never;

/** The result of a function. */
export type ResultOf<S extends RoomSchema, N extends keyof CallsOf<S>> = CallsOf<S>[N] extends { result: infer R } ? R : never;

/** The error of a function. */
export type ErrorOf<S extends RoomSchema, N extends keyof CallsOf<S>> = CallsOf<S>[N] extends { error: infer E } ? E : never;
