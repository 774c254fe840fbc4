import type { Violation } from "./errors.js";

/** One problem of a value, as Standard Schema has it. */
export interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** The part of [Standard Schema](https://standardschema.dev) that is used: zod, valibot, arktype and others have it. */
export interface StandardSchema {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown, ...more: any[]) => StandardResult | Promise<StandardResult>;
  };
}

type StandardResult = { readonly value: unknown; readonly issues?: undefined } | { readonly issues: readonly Issue[] };

/** A schema, or a function that returns the problems of a value; none and an empty list are fine. */
export type Validator = StandardSchema | ((value: any) => readonly Issue[] | null | undefined | void);

/** Checks of values. They run at once: an asynchronous check is an error. */
export interface ValidateOptions {
  /** Checks events before they are sent. A schema that changes a value changes what is sent. */
  event?: Validator;
  /** Checks messages before they reach the listeners. One that fails goes to `onDecodeError`. */
  broadcast?: Validator;
}

/** Returns the value as the schema leaves it, or the broken rules. */
export function validate(
  validator: Validator | undefined,
  value: unknown,
): { value: unknown; violations?: undefined } | { violations: Violation[] } {
  if (validator === undefined) return { value };
  let issues: readonly Issue[] | null | undefined | void;
  // Some schemas are functions too.
  if ("~standard" in validator) {
    const result = validator["~standard"].validate(value);
    if (result instanceof Promise) throw new TypeError("an asynchronous check of events or messages is not possible");
    if (result.issues === undefined) return { value: result.value };
    issues = result.issues;
  } else {
    issues = validator(value);
  }
  if (!issues?.length) return { value };
  const violations = issues.map(({ message, path = [] }) => ({
    message,
    path: path.map((part) => String(typeof part === "object" ? part.key : part)).join("."),
  }));
  return { violations };
}
