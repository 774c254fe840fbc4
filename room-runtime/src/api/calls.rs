//! The functions of a room, `#[call]` in the module: their arguments and results, and who can call them.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Call, Error, ErrorKind, Failure, Room, RoomContext, RoomHandle,
    engine::{
        Invocation,
        room::{Answering, Handling},
    },
    wire::{self, Answer, Arguments, Command, MAX_ANSWER_BYTES},
};

/// A call of a room's function: the arguments, and the function itself. `#[room]` implements it for each `#[call]`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a function of a room")]
pub trait RoomCall: Serialize + DeserializeOwned + 'static {
    /// The room.
    type Room: Room;
    /// The return type of the function.
    type Returns: CallReturn;
    /// The name of the function.
    const NAME: &'static str;
    /// True if the peers of the room can call it. The Worker and other rooms always can.
    const BY_PEERS: bool;

    /// Runs the function.
    fn run(self, ctx: &RoomContext<Self::Room>) -> impl Future<Output = Self::Returns>;
}

/// The return type of a `#[call]`: a value, or a `Result` with one of three kinds of errors.
#[diagnostic::on_unimplemented(
    message = "a call cannot return `{Self}`",
    label = "expected a serializable value or `Result<T, E>`",
    note = "add `#[data]` to the types of the value and of the error; types of other crates need serde's `Serialize` and \
            `Deserialize`",
    note = "write `-> Result<T>` for a function whose failures have no type of their own"
)]
pub trait CallReturn {
    /// The value of a call that succeeds.
    type Value: Serialize + DeserializeOwned + 'static;
    /// The error for the caller.
    type Error: CallerError;

    /// Encodes the value, or the error that the function returned.
    #[doc(hidden)]
    fn into_answer(self) -> Result<Answer, Failure>;
}

/// The return type of a `#[call]` that is no `Result`.
#[derive(Debug)]
pub struct Plain<T>(pub T);

/// Answers whether a type is a `Result`: the constant of the type itself hides that of the trait.
#[derive(Debug)]
pub struct IsResult<T: ?Sized>(std::marker::PhantomData<T>);

impl<T, E> IsResult<Result<T, E>> {
    /// It is one.
    pub const IS_RESULT: bool = true;
}

/// The answer for the types that are no `Result`.
pub trait NoResult {
    /// It is none.
    const IS_RESULT: bool = false;
}

impl<T: ?Sized> NoResult for IsResult<T> {}

/// A value that a call returns: a serializable type.
#[diagnostic::on_unimplemented(
    message = "a call cannot return `{Self}`",
    label = "expected a serializable value",
    note = "add `#[data]` to the type; a type of another crate needs serde's `Serialize` and `Deserialize`"
)]
pub trait CallValue: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> CallValue for T {}

impl<T: CallValue> CallReturn for Plain<T> {
    type Value = T;
    type Error = Error;

    fn into_answer(self) -> Result<Answer, Failure> {
        encode(&self.0, true)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static, E: CallFault> CallReturn for Result<T, E> {
    type Value = T;
    type Error = E::ToCaller;

    fn into_answer(self) -> Result<Answer, Failure> {
        match self {
            Ok(value) => encode(&value, true),
            Err(error) => error.into_answer(),
        }
    }
}

/// The error type of a `#[call]`: a serializable type of the room, [`Failure`], [`Error`], or [`OrFailure`].
#[diagnostic::on_unimplemented(
    message = "a call cannot return the error `{Self}`",
    label = "expected `Failure` or a type with `#[data]`",
    note = "a type with `#[data]` reaches the caller as a value; a `Failure` is logged, and only a refusal says why"
)]
pub trait CallFault {
    /// The error for the caller.
    type ToCaller: CallerError;

    #[doc(hidden)]
    fn into_answer(self) -> Result<Answer, Failure>;
}

impl CallFault for Failure {
    type ToCaller = Error;

    fn into_answer(self) -> Result<Answer, Failure> {
        Err(self)
    }
}

impl CallFault for Error {
    type ToCaller = Error;

    fn into_answer(self) -> Result<Answer, Failure> {
        Err(self.into())
    }
}

#[diagnostic::do_not_recommend]
impl<E: Serialize + DeserializeOwned + 'static> CallFault for E {
    type ToCaller = CallError<E>;

    fn into_answer(self) -> Result<Answer, Failure> {
        encode(&self, false)
    }
}

impl<E: Serialize + DeserializeOwned + 'static> CallFault for OrFailure<E> {
    type ToCaller = CallError<E>;

    fn into_answer(self) -> Result<Answer, Failure> {
        match self {
            OrFailure::Own(error) => encode(&error, false),
            OrFailure::Failure(failure) => Err(failure),
        }
    }
}

/// The error of a `#[call]` that returns errors of its own type and also uses `?` on the room's.
///
/// `?` and `.into()` convert both kinds of errors.
///
/// ```
/// use room_runtime::prelude::*;
///
/// #[room]
/// pub mod chat {
///     use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub names: Vec<String> }
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The schemas of the room are here.
///     #[data]
///     pub enum RenameError { Taken }
///
///     #[call]
///     pub fn rename(ctx: &Ctx, name: String) -> Result<usize, OrFailure<RenameError>> {
///         if ctx.state()?.names.contains(&name) {
///             return Err(RenameError::Taken.into());
///         }
///         Ok(ctx.update(|state| { state.names.push(name); state.names.len() })?)
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum OrFailure<E> {
    /// The function's own error. The caller gets it as a value.
    Own(E),
    /// Another failure. It is reported to `on_error`, and the caller gets a message.
    Failure(Failure),
}

impl<E: Serialize> From<E> for OrFailure<E> {
    fn from(error: E) -> Self {
        OrFailure::Own(error)
    }
}

impl<E> From<Failure> for OrFailure<E> {
    fn from(failure: Failure) -> Self {
        OrFailure::Failure(failure)
    }
}

impl<E> From<Error> for OrFailure<E> {
    fn from(error: Error) -> Self {
        OrFailure::Failure(error.into())
    }
}

/// An error of a call: [`Error`], or [`CallError`] for a function with errors of its own type.
pub trait CallerError: From<Error> {
    /// The type of the function's own errors.
    type Own: DeserializeOwned + 'static;

    #[doc(hidden)]
    fn from_own(error: Self::Own) -> Self;
}

impl CallerError for Error {
    type Own = Never;

    fn from_own(error: Never) -> Self {
        match error {}
    }
}

impl<E: DeserializeOwned + 'static> CallerError for CallError<E> {
    type Own = E;

    fn from_own(error: E) -> Self {
        CallError::Returned(error)
    }
}

/// The error of a call of a function that has errors of its own type, for its caller: the Worker, another room or a test.
///
/// ```
/// use chat::{Calls as _, RenameError};
/// use room_runtime::{prelude::*, testing::TestRoom};
/// use worker::Response;
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub names: Vec<String> }
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # #[data]
///     # pub enum RenameError { Taken }
///     #[call]
///     pub fn rename(ctx: &Ctx, name: String) -> Result<usize, OrFailure<RenameError>> {
///         // …
///         # if ctx.state()?.names.contains(&name) {
///         #     return Err(RenameError::Taken.into());
///         # }
///         # Ok(ctx.update(|state| { state.names.push(name); state.names.len() })?)
///     }
/// }
///
/// // In the Worker:
/// async fn rename(room: RoomHandle<chat::Room>, name: String) -> worker::Result<Response> {
///     match room.rename(name).await {
///         Ok(names) => Response::ok(format!("name {names} of the room")),
///         Err(CallError::Returned(RenameError::Taken)) => Response::error("that name is taken", 409),
///         Err(CallError::Failed(error)) => error.into_response(),
///         Err(error) => Err(error.into()),
///     }
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #     let room = TestRoom::<chat::Room>::new("main");
/// #     assert_eq!(room.rename("Ada".into())?, 1);
/// #     let error = room.rename("Ada".into()).expect_err("taken");
/// #     assert!(matches!(error, CallError::Returned(RenameError::Taken)));
/// #     Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The error that the function itself returned.
    Returned(E),
    /// The call failed for another reason, for example because the room could not be reached.
    Failed(Error),
}

impl<E> CallError<E> {
    /// Returns the function's own error; `None` if the call failed for another reason.
    pub fn returned(self) -> Option<E> {
        match self {
            CallError::Returned(error) => Some(error),
            CallError::Failed(_) => None,
        }
    }
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> Self {
        CallError::Failed(error)
    }
}

impl<E: fmt::Debug> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Returned(error) => write!(f, "the function returned the error {error:?}"),
            CallError::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            CallError::Returned(_) => None,
            CallError::Failed(error) => error.source(),
        }
    }
}

/// For `?` in a Worker. An error of the function becomes a text; to answer with it, take it out of the [`CallError`].
impl<E: fmt::Debug> From<CallError<E>> for worker::Error {
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Returned(_) => worker::Error::RustError(error.to_string()),
            CallError::Failed(error) => error.into(),
        }
    }
}

/// The errors of a function without errors of its own type: there are none.
#[derive(Debug, Deserialize)]
pub enum Never {}

fn encode<T: Serialize>(value: &T, is_value: bool) -> Result<Answer, Failure> {
    let json = wire::encode_raw(value, 3, "the result of the call")?;
    let bytes = json.get().len();
    if bytes > MAX_ANSWER_BYTES {
        let message = format!("the result of the call has {bytes} bytes as JSON, the limit is {MAX_ANSWER_BYTES}");
        return Err(Error::new(ErrorKind::ValueTooLarge, message).into());
    }
    Ok(match is_value {
        true => Answer::Value(json),
        false => Answer::Error(json),
    })
}

/// A function in the table of a room.
pub struct CallEntry<R: Room> {
    pub(crate) name: &'static str,
    pub(crate) by_peers: bool,
    pub(crate) run: fn(RoomContext<R>, Arguments<'_>, Answering) -> Result<Handling, String>,
}

impl<R: Room> CallEntry<R> {
    /// The entry of a function.
    pub const fn of<K: RoomCall<Room = R>>() -> Self {
        CallEntry {
            name: K::NAME,
            by_peers: K::BY_PEERS,
            run: |ctx, arguments, answering| {
                // The decoder would also take them by position.
                let is_object = match arguments {
                    Arguments::Json(json) => json.trim_start().starts_with('{'),
                    Arguments::Packed(bytes) => matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
                };
                if !is_object {
                    return Err("the arguments of a call are an object by name".to_owned());
                }
                let call: K = match arguments {
                    Arguments::Json(json) => wire::decode_event(json).map_err(|error| error.to_string())?,
                    Arguments::Packed(bytes) => {
                        wire::msgpack::decode_event(bytes).map_err(|fault| fault.to_string())?
                    }
                };
                Ok(Box::pin(async move {
                    let answer = call.run(&ctx).await.into_answer()?;
                    // The cell is new for each call.
                    let _ = answering.set(answer);
                    Ok(())
                }))
            },
        }
    }
}

impl<R: Room> fmt::Debug for CallEntry<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEntry").field("name", &self.name).field("by_peers", &self.by_peers).finish_non_exhaustive()
    }
}

/// Finds the function of a call and decodes its arguments. Returns its run, or the reason why it cannot run.
pub(crate) fn find<R: Room>(
    call: Invocation,
    name: &str,
    arguments: Arguments<'_>,
    answering: Answering,
) -> Result<(Handling, &'static str), String> {
    let is_callable = |entry: &&CallEntry<R>| entry.name == name && (entry.by_peers || call.sender.is_none());
    let Some(entry) = R::CALLS.iter().find(is_callable) else {
        return Err(format!("the room has no call `{name}`"));
    };
    Ok(((entry.run)(RoomContext::new(call), arguments, answering)?, entry.name))
}

/// A caller of a room's functions: the Worker, another room, or a test. `#[room]` adds the trait `Calls` to the module, with
/// a method for each function, for every caller.
pub trait Caller<R: Room> {
    /// The return type of a method.
    type Returned<K: RoomCall<Room = R>>;

    /// Calls a function.
    fn call_function<K: RoomCall<Room = R>>(&self, call: K) -> Self::Returned<K>;
}

/// A caller that is not a peer. Only such a caller has the methods of a `#[call(worker)]`.
#[diagnostic::on_unimplemented(
    message = "a peer cannot call this function",
    label = "it is for the Worker and for other rooms, by `#[call(worker)]`"
)]
pub trait WorkerCaller<R: Room>: Caller<R> {}

impl<R: Room> Caller<R> for RoomHandle<R> {
    type Returned<K: RoomCall<Room = R>> = FunctionCall<K>;

    fn call_function<K: RoomCall<Room = R>>(&self, call: K) -> FunctionCall<K> {
        let arguments = wire::encode_event(&call);
        let command = arguments.map(|arguments| Command::Call { name: K::NAME, arguments: &arguments }.to_string());
        FunctionCall { call: self.call(command) }
    }
}

impl<R: Room> WorkerCaller<R> for RoomHandle<R> {}

/// A call of a function of a room. It is sent when it is awaited, once, as a [`Call`] is.
///
/// ```
/// use chat::Calls as _;
/// use room_runtime::{Error, prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub topic: String }
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     #[call]
///     pub fn set_topic(ctx: &Ctx, topic: String) -> Result<usize> {
///         Ok(ctx.update(|state| { state.topic = topic; state.topic.len() })?)
///     }
/// }
///
/// // With a key, the call is repeated if the room restarts, and the function runs once.
/// async fn set_topic(room: RoomHandle<chat::Room>, request_id: &str) -> Result<usize, Error> {
///     room.set_topic("rust".into()).idempotency_key(request_id).await
/// }
/// # fn main() -> Result<(), Error> {
/// #     let room = TestRoom::<chat::Room>::new("main");
/// #     assert_eq!(room.world().block_on(set_topic(room.handle(), "r-1"))?, 4);
/// #     Ok(())
/// # }
/// ```
///
/// # Errors
/// An awaited call fails with [`CallError::Returned`] if the function returned an error of its own type, and else as
/// [`RoomHandle::send`] does. The error of a function without errors of its own type is [`Error`].
#[must_use = "a call is made when it is awaited"]
pub struct FunctionCall<K: RoomCall> {
    call: Call<ReplyOf<K>>,
}

/// The answer to a call, with the types of the function.
type ReplyOf<K> = Replied<ValueOf<K>, <ErrorOf<K> as CallerError>::Own>;

/// The value of a call that succeeds.
pub type ValueOf<K> = <<K as RoomCall>::Returns as CallReturn>::Value;

/// The error of a call, for its caller.
pub type ErrorOf<K> = <<K as RoomCall>::Returns as CallReturn>::Error;

/// The answer to a call.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Replied<V, E> {
    Value(V),
    Error(E),
}

impl<V, E> Replied<V, E> {
    pub(crate) fn into_result<F: CallerError<Own = E>>(self) -> Result<V, F> {
        match self {
            Replied::Value(value) => Ok(value),
            Replied::Error(error) => Err(F::from_own(error)),
        }
    }
}

impl<K: RoomCall> FunctionCall<K> {
    /// Makes the call idempotent, as [`Call::idempotency_key`] does.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        FunctionCall { call: self.call.idempotency_key(key) }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn into_reply(self) -> impl Future<Output = Result<ReplyOf<K>, Error>> {
        self.call.into_future()
    }
}

impl<K: RoomCall> IntoFuture for FunctionCall<K> {
    type Output = Result<ValueOf<K>, ErrorOf<K>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let answering = self.call.into_future();
        Box::pin(async move { answering.await?.into_result() })
    }
}

impl<K: RoomCall> fmt::Debug for FunctionCall<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCall").field("name", &K::NAME).field("call", &self.call).finish()
    }
}
