//! [`Client`] and what it returns.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_channel::oneshot;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    CallError, Close, Error, ErrorKind, Status,
    core::{Answer, Codec, Outcome, wire},
    shared::Shared,
    sink::EventSink,
    transport::Frame,
};

/// A handle of a connection to a room with the events `E`.
///
/// It is cheap to clone. When the last handle is dropped, and with it the futures and sinks that it returned, the
/// connection is closed with the code 1000. [`Messages`](crate::Messages) does not count.
///
/// - An event gets its number when it is first sent. If the connection is lost, it is sent again in the next one, and
///   the room handles it once.
/// - Events and calls wait while there is no connection, and while as many are without an outcome as the room allows.
///   [`Queue`](crate::Queue) bounds those that have no number yet.
/// - If the room has forgotten the session, an event that was sent before fails with
///   [`SessionLost`](ErrorKind::SessionLost): it may have been handled. One that was not sent yet is sent in the new session.
///
/// ```
/// use room_client::{Client, Error, ErrorKind};
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
///
/// /// Says a text. Returns the room's reason if it refuses.
/// async fn say(room: &Client<Event>, text: &str) -> Result<Option<String>, Error> {
///     match room.send(&Event::Say { text: text.to_owned() }).await {
///         Ok(()) => Ok(None),
///         Err(error) if error.code() == "refused" => Ok(Some(error.message().to_owned())),
///         Err(error) => Err(error),
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// # let upgrade = || Upgrade::new(Connection {}).id("ada");
/// # let (room_client, mut messages, driver) = room_client::Builder::default().connect_room(room.handle(), upgrade);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// # let room = room_client;
/// assert_eq!(say(&room, "hi").await?, None);
/// assert_eq!(say(&room, "").await?.as_deref(), Some("say something"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
pub struct Client<E> {
    handle: Arc<Handle>,
    events: PhantomData<fn(&E)>,
}

/// Closes the connection when the last one is dropped.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.wake(|state| state.core.close(Close::new(1000, "")));
    }
}

impl<E> Client<E> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Client { handle: Arc::new(Handle(shared)), events: PhantomData }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared().poll_room(cx)
    }

    fn codec(&self) -> Codec {
        self.shared().with(|state| state.core.codec())
    }

    /// Sends an event. The future resolves when the room has handled it and stored its changes.
    ///
    /// The event is queued by this call and not by the first poll, so that events are handled in the order of the calls.
    /// If the future is dropped before the event was first sent, it is never sent; afterwards only its outcome is
    /// dropped. [`Pending::detach`] keeps it in either case.
    ///
    /// # Errors
    /// The room's error for the event ([`ErrorKind::Room`]), [`Encode`](ErrorKind::Encode), [`QueueFull`](ErrorKind::QueueFull),
    /// [`QueueDropped`](ErrorKind::QueueDropped), [`SessionLost`](ErrorKind::SessionLost), and after the end of the connection
    /// [`Closed`](ErrorKind::Closed) or the error that ended it. There is no time limit: use that of your runtime.
    pub fn send(&self, event: &E) -> Pending
    where
        E: Serialize,
    {
        Pending(Request::new(&self.handle, self.codec().encode(event), None))
    }

    /// Sends an event without a number: at once or never. It is not acknowledged, not sent again, and lost with the
    /// connection.
    ///
    /// # Errors
    /// [`NotOpen`](ErrorKind::NotOpen) if there is no connection now, [`QueueFull`](ErrorKind::QueueFull) if too many frames
    /// wait for a slow socket, [`Encode`](ErrorKind::Encode), and [`Closed`](ErrorKind::Closed) or the error that ended the
    /// connection.
    pub fn send_unacknowledged(&self, event: &E) -> Result<(), Error>
    where
        E: Serialize,
    {
        let codec = self.codec();
        let frame = codec.join(0, false, &codec.encode(event)?);
        self.shared().wake(|state| state.core.send_now(frame))
    }

    /// Sends bytes to the room's `on_binary`, if the codec is JSON: at once or never.
    ///
    /// # Errors
    /// Those of [`send_unacknowledged`](Client::send_unacknowledged). With another codec, [`Encode`](ErrorKind::Encode).
    pub fn send_bytes(&self, bytes: Vec<u8>) -> Result<(), Error> {
        if self.codec() != Codec::Json {
            return Err(Error::new(ErrorKind::Encode, "bytes of one's own need the codec JSON"));
        }
        self.shared().wake(|state| state.core.send_now(Frame::Binary(bytes)))
    }

    /// Calls a function of the room: one with the result `T` and the error `F`.
    ///
    /// `args` is a struct or a map with the named arguments, or `&()` if there are none. A call is queued, numbered and
    /// sent again as an event is, and runs once.
    ///
    /// ```no_run
    /// # async fn example(room: room_client::Client<()>) -> Result<(), Box<dyn std::error::Error>> {
    /// use room_client::CallError;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Rename<'a> {
    ///     name: &'a str,
    /// }
    ///
    /// #[derive(Debug, serde::Deserialize)]
    /// enum RenameError {
    ///     Taken,
    /// }
    ///
    /// match room.call::<u32, RenameError>("rename", &Rename { name: "Ada" }).await {
    ///     Ok(version) => println!("renamed, now version {version}"),
    ///     Err(CallError::Returned(RenameError::Taken)) => println!("somebody else has that name"),
    ///     Err(CallError::Failed(error)) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Returned`] is the function's own error. [`CallError::Failed`] is an error of [`send`](Client::send),
    /// [`NoAnswer`](ErrorKind::NoAnswer) if the room does not have the answer any more, or [`Decode`](ErrorKind::Decode) if the
    /// answer is no `T` and no `F`.
    pub fn call<T, F>(&self, name: &str, args: &(impl Serialize + ?Sized)) -> PendingCall<T, F>
    where
        T: DeserializeOwned,
        F: DeserializeOwned,
    {
        let body = self.codec().encode_call(name, args);
        PendingCall { request: Request::new(&self.handle, body, Some(name.into())), types: PhantomData }
    }

    /// Returns a [`Sink`](futures_sink::Sink) of events. Each of its flushes waits for the outcome of all of them.
    pub fn sink(&self) -> EventSink<E> {
        EventSink::new(self.clone())
    }

    /// Waits until the connection is open.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) or the error that ended the connection.
    pub async fn wait_for_open(&self) -> Result<(), Error> {
        let waiting = self.shared().wait_for_open();
        waiting.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the connection is gone")))
    }

    /// Closes the connection for good, and fails everything that has no outcome with [`Closed`](ErrorKind::Closed).
    ///
    /// It does not wait for the room: see [`closed`](Client::closed). A connection that is closed stays so.
    ///
    /// # Errors
    /// [`InvalidClose`](ErrorKind::InvalidClose) if the code is not 1000 and not from 3000 to 4999, or the reason has more than 123 bytes.
    pub fn close(&self, code: u16, reason: &str) -> Result<(), Error> {
        if code != 1000 && !(3000..=4999).contains(&code) {
            return Err(Error::new(ErrorKind::InvalidClose, format!("{code} is no code that a client can close with")));
        }
        if reason.len() > 123 {
            return Err(Error::new(ErrorKind::InvalidClose, "a reason has at most 123 bytes"));
        }
        self.shared().wake(|state| state.core.close(Close::new(code, reason)));
        Ok(())
    }

    /// Waits until the connection is closed for good, and returns the reason.
    ///
    /// The close handshake is complete then, or has taken 5 s. It does not close the connection.
    pub async fn closed(&self) -> Close {
        match poll_fn(|cx| self.shared().poll_done(cx)).await {
            Status::Closed(close) => close,
            // The driver closes before it ends.
            _ => Close::lost(None),
        }
    }

    /// The state of the connection.
    pub fn status(&self) -> Status {
        self.shared().with(|state| state.core.status().clone())
    }

    /// The number of events and calls without an outcome.
    pub fn pending(&self) -> usize {
        self.shared().with(|state| state.core.outbox.len())
    }

    /// Connects at once if the client waits for the next attempt, and checks the connection otherwise.
    ///
    /// It is for programs that learn of a change of the network, or that the machine was asleep.
    pub fn nudge(&self) {
        self.shared().wake(|state| state.is_nudged = true);
    }
}

impl<E> Clone for Client<E> {
    fn clone(&self) -> Self {
        Client { handle: self.handle.clone(), events: PhantomData }
    }
}

impl<E> fmt::Debug for Client<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).field("pending", &self.pending()).finish()
    }
}

/// An event or a call whose outcome is awaited.
#[derive(Debug)]
struct Request {
    handle: Arc<Handle>,
    state: RequestState,
}

#[derive(Debug)]
enum RequestState {
    Waiting(u64, oneshot::Receiver<Outcome>),
    Failed(Option<Error>),
    Ended,
}

impl Request {
    fn new(handle: &Arc<Handle>, body: Result<Frame, Error>, call: Option<Box<str>>) -> Self {
        let state = match body {
            Ok(body) => {
                let (id, receiver) = handle.0.add(body, call);
                RequestState::Waiting(id, receiver)
            }
            Err(error) => RequestState::Failed(Some(error)),
        };
        Request { handle: handle.clone(), state }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = match &mut self.state {
            RequestState::Waiting(_, receiver) => ready!(Pin::new(receiver).poll(cx)).ok(),
            RequestState::Failed(error) => error.take().map(Outcome::Failed),
            RequestState::Ended => None,
        };
        self.state = RequestState::Ended;
        let gone = || Outcome::Failed(Error::new(ErrorKind::Closed, "the outcome was taken already"));
        Poll::Ready(outcome.unwrap_or_else(gone))
    }

    fn detach(&mut self) {
        self.state = RequestState::Ended;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let RequestState::Waiting(id, _) = &self.state {
            self.handle.0.remove(*id);
        }
    }
}

/// An event whose outcome is awaited, from [`Client::send`].
///
/// ```
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// # let upgrade = || Upgrade::new(Connection {}).id("ada");
/// # let (room_client, mut messages, driver) = room_client::Builder::default().connect_room(room.handle(), upgrade);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// # let room = room_client;
/// // Both are sent now, in this order. Awaiting them takes only their outcomes.
/// let first = room.send(&Event::Say { text: "one".to_owned() });
/// let second = room.send(&Event::Say { text: "two".to_owned() });
/// second.await?;
/// first.await?;
/// // Sent without waiting for the outcome, however long that takes.
/// room.send(&Event::Say { text: "three".to_owned() }).detach();
/// assert_eq!(room.pending(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
#[derive(Debug)]
#[must_use = "an event whose future is dropped at once is not sent; `detach` keeps it"]
pub struct Pending(Request);

impl Pending {
    /// Keeps the event without waiting for its outcome. It is sent, also if that takes several connections.
    pub fn detach(mut self) {
        self.0.detach();
    }
}

impl Future for Pending {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|outcome| match outcome {
            Outcome::Handled => Ok(()),
            // An event has no answer; if a room sends one, the event was handled.
            Outcome::Answered(_) => Ok(()),
            Outcome::Failed(error) => Err(error),
        })
    }
}

/// A call whose answer is awaited, from [`Client::call`].
///
/// ```
/// use room_client::{CallError, Client, Error, PendingCall};
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// enum RenameError {
///     Taken,
/// }
///
/// /// Waits for the answer for 5 s. The function may still run after that.
/// async fn wait<E>(renaming: PendingCall<u32, RenameError>) -> Result<Option<u32>, Error> {
///     match tokio::time::timeout(Duration::from_secs(5), renaming).await {
///         Ok(Ok(version)) => Ok(Some(version)),
///         Ok(Err(CallError::Returned(RenameError::Taken))) | Err(_) => Ok(None),
///         Ok(Err(CallError::Failed(error))) => Err(error),
///     }
/// }
///
/// # fn example(room: &Client<()>) {
/// let renaming = room.call("rename", &serde_json::json!({ "name": "Ada" }));
/// let waiting = wait::<()>(renaming);
/// # drop(waiting);
/// # }
/// ```
#[must_use = "a call whose future is dropped at once is not made; `detach` keeps it"]
pub struct PendingCall<T, F> {
    request: Request,
    types: PhantomData<fn() -> (T, F)>,
}

impl<T, F> PendingCall<T, F> {
    /// Keeps the call without waiting for its answer.
    pub fn detach(mut self) {
        self.request.detach();
    }
}

impl<T: DeserializeOwned, F: DeserializeOwned> Future for PendingCall<T, F> {
    type Output = Result<T, CallError<F>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.request.poll(cx).map(|outcome| match outcome {
            Outcome::Answered(Answer { n, outcome }) => {
                let undecodable = |error: Error| CallError::Failed(error.with_number(Some(n)));
                match outcome {
                    Ok(value) => wire::decode(&value).map_err(undecodable),
                    Err(error) => Err(wire::decode(&error).map_or_else(undecodable, CallError::Returned)),
                }
            }
            Outcome::Handled => Err(Error::new(ErrorKind::NoAnswer, "the room has no answer to the call").into()),
            Outcome::Failed(error) => Err(error.into()),
        })
    }
}

impl<T, F> fmt::Debug for PendingCall<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCall").field("request", &self.request).finish()
    }
}
