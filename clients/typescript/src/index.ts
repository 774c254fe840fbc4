/**
 * The client of the protocol `room.v1`.
 *
 * @module
 */
export { CallError, DecodeError, RoomError } from "./errors.js";
export type { ClientErrorCode, RoomErrorDetails, Violation } from "./errors.js";
export type { Codec, Data, Decoded } from "./json.js";
export type { Clock, CloseInfo, LinkOptions, Params, Provided, ReconnectOptions, WebSocketClass, WebSocketLike } from "./link.js";
export type { QueueOptions } from "./outbox.js";
export { connect, Room } from "./room.js";
export type { Calls, ConnectOptions, Status, StatusChange, WaitOptions } from "./room.js";
export type { AnySchema, ArgsOf, CallsOf, ErrorOf, MessageName, MessageOf, ResultOf, RoomSchema, TagOf } from "./schema.js";
export type { Stream, StreamOptions } from "./stream.js";
export type { Issue, StandardSchema, ValidateOptions, Validator } from "./validate.js";
