//! The conversions between a handler's parameters and result and the types of the engine. They are traits, so that a
//! wrong type is one compiler error with a message that names the type to write.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::{Failure, Json, Reject};

/// The result of a handler.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "expected `()` or `Result<(), E>` where `E` is an error",
    note = "with `Result` as `#[room]` defines it, write `-> Result` and end with `Ok(())`",
    note = "`Failure::msg(\"…\")` makes an error of a text"
)]
pub trait Outcome {
    /// Converts the result for the engine.
    fn into_outcome(self) -> Result<(), Failure>;
}

impl Outcome for () {
    fn into_outcome(self) -> Result<(), Failure> {
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<Failure>> Outcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

/// The result of `on_upgrade`.
#[diagnostic::on_unimplemented(
    message = "`on_upgrade` cannot return `{Self}`",
    label = "expected `()` or `Result<(), Reject>`",
    note = "write `-> Result<(), Reject>`, end with `Ok(())` and refuse with `Err(Reject::new(401, \"…\"))`"
)]
pub trait UpgradeOutcome {
    /// Converts the result for the engine.
    fn into_upgrade_outcome(self) -> Result<(), Reject>;
}

impl UpgradeOutcome for () {
    fn into_upgrade_outcome(self) -> Result<(), Reject> {
        Ok(())
    }
}

impl UpgradeOutcome for Result<(), Reject> {
    fn into_upgrade_outcome(self) -> Result<(), Reject> {
        self
    }
}

/// The result of `event_cost`.
#[diagnostic::on_unimplemented(
    message = "`event_cost` cannot return `{Self}`",
    label = "expected `u32`",
    note = "the cost is a number of tokens, and an event is not refused here: write `-> u32`"
)]
pub trait CostOutcome {
    /// Converts the result for the engine.
    fn into_cost_outcome(self) -> u32;
}

impl CostOutcome for u32 {
    fn into_cost_outcome(self) -> u32 {
        self
    }
}

/// The result of `on_request`.
#[diagnostic::on_unimplemented(
    message = "`on_request` cannot return `{Self}`",
    label = "expected `http::Response<Bytes>`, `Json<T>` or a `Result` of one",
    note = "write `-> Result<http::Response<Bytes>>` with any body that is `Into<Bytes>`, or `-> Result<Json<T>>`"
)]
pub trait RequestOutcome {
    /// Converts the result for the engine.
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure>;
}

#[diagnostic::do_not_recommend]
impl<B: Into<Bytes>> RequestOutcome for Response<B> {
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure> {
        Ok(self.map(Into::into))
    }
}

#[diagnostic::do_not_recommend]
impl<B: Into<Bytes>, E: Into<Failure>> RequestOutcome for Result<Response<B>, E> {
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure> {
        self.map(|response| response.map(Into::into)).map_err(Into::into)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize> RequestOutcome for Json<T> {
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure> {
        self.into_response(StatusCode::OK)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, E: Into<Failure>> RequestOutcome for Result<Json<T>, E> {
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure> {
        self.map_err(Into::into)?.into_response(StatusCode::OK)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize> RequestOutcome for (StatusCode, Json<T>) {
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure> {
        self.1.into_response(self.0)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, E: Into<Failure>> RequestOutcome for Result<(StatusCode, Json<T>), E> {
    fn into_request_outcome(self) -> Result<Response<Bytes>, Failure> {
        self.map_err(Into::into)?.into_request_outcome()
    }
}

/// The result of `init` and of `migrate`.
#[diagnostic::on_unimplemented(
    message = "`init` and `migrate` cannot return `{Self}`",
    label = "expected `{Expected}` or `Result<{Expected}, E>` where `E` is an error",
    note = "with `Result` as `#[room]` defines it, write `-> Result<State>`"
)]
pub trait InitOutcome<Expected> {
    /// Converts the result for the engine.
    fn into_init_outcome(self) -> Result<Expected, Failure>;
}

impl<T> InitOutcome<T> for T {
    fn into_init_outcome(self) -> Result<T, Failure> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, E: Into<Failure>> InitOutcome<T> for Result<T, E> {
    fn into_init_outcome(self) -> Result<T, Failure> {
        self.map_err(Into::into)
    }
}

/// The result of `services`.
#[diagnostic::on_unimplemented(
    message = "`services` cannot return `{Self}`",
    label = "expected `{Expected}` or `Result<{Expected}, E>` where `E` is an error",
    note = "with `Result` as `#[room]` defines it, write `-> Result<Services>`"
)]
pub trait ServicesOutcome<Expected> {
    /// Converts the result for the engine.
    fn into_services_outcome(self) -> Result<Expected, Failure>;
}

impl<T> ServicesOutcome<T> for T {
    fn into_services_outcome(self) -> Result<T, Failure> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, E: Into<Failure>> ServicesOutcome<T> for Result<T, E> {
    fn into_services_outcome(self) -> Result<T, Failure> {
        self.map_err(Into::into)
    }
}

/// The first parameter of every handler. Each type implements a parameter's trait for itself only.
#[diagnostic::on_unimplemented(
    message = "the first parameter of a handler must be `&Ctx`, not `&{Self}`",
    label = "expected `Ctx`"
)]
pub trait CtxParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> CtxParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The peer parameter of a handler.
#[diagnostic::on_unimplemented(
    message = "the peer parameter of a handler must be `&Peer`, not `&{Self}`",
    label = "expected `Peer`"
)]
pub trait PeerParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> PeerParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The user parameter of a handler.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_join` and of `on_leave` must be `&PeerId`, not `&{Self}`",
    label = "expected `PeerId`"
)]
pub trait UserParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> UserParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The event that `on_event` handles.
#[diagnostic::on_unimplemented(
    message = "the parameter of `on_event` must be `Event`, not `{Self}`",
    label = "expected `Event`"
)]
pub trait EventParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> EventParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The event that `event_cost` reads.
#[diagnostic::on_unimplemented(
    message = "the parameter of `event_cost` must be `&Event`, not `&{Self}`",
    label = "expected `Event`"
)]
pub trait CostedEventParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> CostedEventParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The close parameter of `on_close`: how the connection ended.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_close` must be `Close`, not `{Self}`",
    label = "expected `Close`"
)]
pub trait CloseParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> CloseParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The alarm that `on_alarm` handles.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_alarm` must be `Alarm`, not `{Self}`",
    label = "expected `Alarm`"
)]
pub trait AlarmParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> AlarmParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The call that `on_undelivered` gets back.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_undelivered` must be `&Undelivered`, not `&{Self}`",
    label = "expected `Undelivered`"
)]
pub trait UndeliveredParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> UndeliveredParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The upgrade that `on_upgrade` accepts or refuses.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_upgrade` must be `&mut UpgradeRequest`, not `&mut {Self}`",
    label = "expected `UpgradeRequest`"
)]
pub trait UpgradeParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &mut Expected) -> &mut Self;
}

impl<T> UpgradeParameter<T> for T {
    fn pass(expected: &mut T) -> &mut T {
        expected
    }
}

/// The request that `on_request` answers.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_request` must be `http::Request<Bytes>`, not `{Self}`",
    label = "expected `http::Request<Bytes>`"
)]
pub trait RequestParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> RequestParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The frame that `on_binary` handles.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_binary` must be `Bytes`, not `{Self}`",
    label = "expected `Bytes`"
)]
pub trait BytesParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> BytesParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The error parameter of `on_decode_error`.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_decode_error` must be `&DecodeError`, not `&{Self}`",
    label = "expected `DecodeError`"
)]
pub trait DecodeErrorParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> DecodeErrorParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The error parameter of `on_error`.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `on_error` must be `&HandlerError`, not `&{Self}`",
    label = "expected `HandlerError`"
)]
pub trait HandlerErrorParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> HandlerErrorParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// The version of the stored state that `migrate` converts.
#[diagnostic::on_unimplemented(
    message = "the first parameter of `migrate` must be `u32`, not `{Self}`",
    label = "expected `u32`"
)]
pub trait VersionParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> VersionParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The stored state that `migrate` converts.
#[diagnostic::on_unimplemented(
    message = "the last parameter of `migrate` must be `serde_json::Value`, not `{Self}`",
    label = "expected `serde_json::Value`"
)]
pub trait ValueParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: Expected) -> Self;
}

impl<T> ValueParameter<T> for T {
    fn pass(expected: T) -> T {
        expected
    }
}

/// The environment parameter of `services`.
#[diagnostic::on_unimplemented(
    message = "the parameter of `services` must be `&worker::Env`, not `&{Self}`",
    label = "expected `worker::Env`"
)]
pub trait EnvParameter<Expected> {
    #[doc(hidden)]
    fn pass(expected: &Expected) -> &Self;
}

impl<T> EnvParameter<T> for T {
    fn pass(expected: &T) -> &T {
        expected
    }
}

/// A state that can be the first state of a room.
#[diagnostic::on_unimplemented(
    message = "a room needs a first `State`",
    label = "`{Self}` has no default",
    note = "add `#[derive(Default)]` to it, or a handler `fn init(ctx: &Ctx) -> Result<State>` to the room"
)]
pub trait InitialState {
    #[doc(hidden)]
    fn initial() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> InitialState for T {
    fn initial() -> T {
        T::default()
    }
}

/// A substitute for a schema that the module does not have, so that its absence is one error.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
pub struct Missing;
