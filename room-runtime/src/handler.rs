//! How a handler's parameters and result meet what the engine gives and takes. Routed through traits, so that a wrong
//! type is one error that says what to write.

use crate::Failure;

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "expected `()` or `Result<(), E>` where `E` is an error",
    note = "with `Result` as `#[room]` defines it, write `-> Result` and end with `Ok(())`"
)]
pub trait Outcome {
    /// As the engine takes it.
    fn into_outcome(self) -> Result<(), Failure>;
}

impl Outcome for () {
    fn into_outcome(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Into<Failure>> Outcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

/// The first parameter of every handler. Like the other parameters' traits, each type implements it for itself only.
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

/// The peer that a handler is told of.
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

/// How the connection of `on_close` ended.
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

/// A state that a room can start with.
#[diagnostic::on_unimplemented(
    message = "a room needs a first `State`",
    label = "`{Self}` has no default",
    note = "add `#[derive(Default)]` to it, or `impl Default`"
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

/// Stands for a schema that the module does not have, so that its absence is one error.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Missing;
