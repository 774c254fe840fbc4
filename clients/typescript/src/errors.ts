/** One broken rule of an event or of a message. */
export interface Violation {
  readonly path: string;
  readonly message: string;
}

/** The codes of the errors that the client itself makes. Those of the room are listed in its documentation. */
export type ClientErrorCode =
  /** The connection was closed for good: by `close()`, by the room, or after too many attempts. */
  | "closed"
  /** The room does not know the session any more: it is unknown whether the event was handled. */
  | "session_lost"
  /** The queue is full and its policy is to refuse. */
  | "queue_full"
  /** The event was the oldest of a full queue whose policy is to drop it. */
  | "queue_dropped"
  /** The option `timeout` ended the wait. */
  | "timeout"
  /** A number is an integer that JavaScript cannot hold exactly. */
  | "unsafe_integer"
  /** A value that no frame can hold, such as a bigint, NaN, a function or a cycle. */
  | "unencodable"
  /** A frame or a message that is not what the protocol says. */
  | "decode"
  /** A value broke the rules of the option `validate`. */
  | "invalid"
  /** The room settled the call without an answer. */
  | "no_answer"
  /** The server does not speak the protocol. */
  | "protocol"
  /** As many attempts in a row failed as the option `maxAttempts` allows. */
  | "unreachable"
  /** A consumer of `messages()` is further behind than its buffer. */
  | "buffer_full";

/** Details of a {@link RoomError}. */
export interface RoomErrorDetails {
  retryAfterMs?: number | undefined;
  violations?: readonly Violation[] | undefined;
  number?: number | undefined;
  cause?: unknown;
}

/** An error of the room or of the client. `code` tells them apart. */
export class RoomError extends Error {
  override name = "RoomError";
  readonly code: ClientErrorCode | (string & {});
  /** The time after which the room accepts the event, where it says so. */
  readonly retryAfterMs: number | undefined;
  /** The broken rules, if `code` is `invalid`. */
  readonly violations: readonly Violation[] | undefined;
  /** The number of the event or the call, if it was sent. */
  readonly number: number | undefined;

  constructor(code: ClientErrorCode | (string & {}), message: string, details: RoomErrorDetails = {}) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.retryAfterMs = details.retryAfterMs;
    this.violations = details.violations;
    this.number = details.number;
  }
}

/** A frame or a message that arrived and cannot be passed on. `data` is what arrived. */
export class DecodeError extends RoomError {
  override name = "DecodeError";
  readonly data: unknown;

  constructor(code: "decode" | "unsafe_integer" | "invalid", message: string, data: unknown, details?: RoomErrorDetails) {
    super(code, message, details);
    this.data = data;
  }
}

/** The error that a function of the room returned. `error` is the value. */
export class CallError<E = unknown> extends Error {
  override name = "CallError";
  /** The name of the function. */
  readonly call: string;
  /** The number of the call. */
  readonly number: number;
  readonly error: E;

  constructor(call: string, number: number, error: E) {
    super(`\`${call}\` failed: ${typeof error === "string" ? error : JSON.stringify(error)}`);
    this.call = call;
    this.number = number;
    this.error = error;
  }
}
