//! [`RoomClient`]: the Worker's client for its rooms.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
};

use serde::{Serialize, de::DeserializeOwned};
use worker::{Env, Request, Response};

use super::typed::encode_broadcast;
use crate::{
    Delivery, Error, ErrorKind, Federate, Jurisdiction, LocationHint, PeerInfo, RawSocket, Room, RoomId, RoomSocket,
    Shards, Stats, Upgrade,
    platform::{
        cloudflare::namespace::Namespace,
        transport::{Address, Transport, Unreachable},
    },
    types::brief::brief,
    wire::{self, Command, new_ticket, origin::Origins},
};

/// The rooms of one type, for the Worker. `#[room]` adds an alias with the room's own type to the module.
///
/// A native test gets it from [`World::client`](https://docs.rs/room-runtime/latest/room_runtime/testing/struct.World.html#method.client).
///
/// ```no_run
/// use room_runtime::prelude::*;
/// use worker::*;
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub user: String }
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The schemas and handlers of the room are here.
/// }
///
/// #[event(fetch)]
/// async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
///     let rooms = chat::RoomClient::from_env(&env)?;
///     let url = req.url()?;
///     // `/main` is the room `main`.
///     let room = rooms.room(url.path().trim_matches('/'));
///     match room.upgrade(req, Upgrade::new(chat::Connection { user: "ada".into() })).await {
///         Ok(response) => Ok(response),
///         Err(error) => error.into_response(),
///     }
/// }
/// # fn main() {}
/// ```
pub struct RoomClient<R> {
    transport: Transport,
    jurisdiction: Option<Jurisdiction>,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> RoomClient<R> {
    /// The number of rooms that [`federate`](RoomClient::federate) calls at a time, unless
    /// [`Federate::concurrency`] sets another.
    ///
    /// It is Cloudflare's limit for the connections of one invocation that wait for an answer; the platform queues further
    /// ones (<https://developers.cloudflare.com/workers/platform/limits/#simultaneous-open-connections>). That page
    /// lists `fetch`, KV, R2, the cache, queues and sockets among the calls that count, and not the calls of Durable
    /// Objects, so a higher number can be faster. A local workerd has no such limit.
    pub const CONCURRENCY: usize = 6;

    /// Creates a client from the room's Durable Object binding.
    ///
    /// # Errors
    /// [`ErrorKind::Binding`] if the environment has no such binding, or if the Worker's compatibility date is before
    /// 2024-04-03. The message shows the configuration to write.
    pub fn from_env(env: &Env) -> Result<Self, Error> {
        RoomClient::reaching(Namespace::new(env, R::BINDING).map(Transport::Cloudflare))
    }

    /// Creates a client from a transport to the binding, or from the reason why there is none.
    pub(crate) fn reaching(transport: Result<Transport, Unreachable>) -> Result<Self, Error> {
        transport
            .map(RoomClient::over)
            .map_err(|reason| Error::new(ErrorKind::Binding, what_to_configure(R::BINDING, R::CLASS, &reason)))
    }

    pub(crate) fn over(transport: Transport) -> Self {
        RoomClient { transport, jurisdiction: None, room: PhantomData }
    }

    /// Restricts the rooms to a jurisdiction. Every client of such a room must name the same jurisdiction.
    pub fn jurisdiction(mut self, jurisdiction: Jurisdiction) -> Self {
        self.jurisdiction = Some(jurisdiction);
        self
    }

    /// Returns the room with this id. The room starts at its first use, so it need not exist.
    pub fn room(&self, id: impl Into<RoomId>) -> RoomHandle<R> {
        let address = Address { id: id.into(), jurisdiction: self.jurisdiction, location_hint: None };
        RoomHandle { transport: self.transport.for_room(), address, room: PhantomData }
    }

    /// Returns the shard of a key: the room with the id [`shards.of(key)`](Shards::of).
    ///
    /// ```no_run
    /// # use room_runtime::{Error, Room, RoomClient, RoomHandle};
    /// use room_runtime::Shards;
    ///
    /// # fn example<R: Room>(rooms: RoomClient<R>, user: &str) -> Result<RoomHandle<R>, Error> {
    /// let lobby = Shards::new("lobby", 16)?;
    /// let room = rooms.shard(user, &lobby);
    /// # Ok(room) }
    /// ```
    pub fn shard(&self, key: impl AsRef<str>, shards: &Shards) -> RoomHandle<R> {
        self.room(shards.of(key))
    }

    /// Calls several rooms concurrently and returns the result of each.
    ///
    /// The closure gets the handle of each room and returns a call, or a future with more steps. A room that fails
    /// affects no other room: its error is its result. The order of the results is that of the ids. A room is called once,
    /// also if its id occurs several times; its place is the first.
    ///
    /// The rooms are called when the [`Federate`] is awaited, at most [`CONCURRENCY`](RoomClient::CONCURRENCY) at a time.
    ///
    /// ```no_run
    /// # use room_runtime::{Error, Room, RoomClient, Shards};
    /// # async fn example<R: Room>(rooms: RoomClient<R>, event: R::Event, lobby: Shards) -> Result<(), Error> {
    /// // One event for several rooms:
    /// let sent = rooms.federate(["r1", "r2"], |room| room.send(&event)).await;
    /// for (room, error) in sent.failed() {
    ///     println!("{room} did not get the event: {error}");
    /// }
    ///
    /// // The states of all shards, or the first error:
    /// let states = rooms.federate(&lobby, |room| room.state()).await.all()?;
    /// # Ok(()) }
    /// ```
    ///
    /// Each call is a subrequest of the Worker. Cloudflare allows an invocation 1,000 subrequests to its own services on
    /// the free plan, and on a paid plan 10,000 in all, which `limits.subrequests` in `wrangler.toml` raises
    /// (<https://developers.cloudflare.com/workers/platform/limits/#subrequests>). The calls past that limit fail with
    /// [`ErrorKind::Platform`].
    pub fn federate<I, F, C, T>(&self, rooms: I, call: F) -> Federate<R, F, C, T>
    where
        I: IntoIterator<Item: Into<RoomId>>,
        F: FnMut(RoomHandle<R>) -> C,
        C: IntoFuture<Output = Result<T, Error>>,
    {
        Federate::new(self.clone(), rooms.into_iter().map(Into::into), call)
    }
}

fn what_to_configure(binding: &str, class: &str, reason: &Unreachable) -> String {
    let reason = match reason {
        Unreachable::NotBound(reason) => reason,
        Unreachable::WithoutRpc => {
            return "the Worker's compatibility date is before 2024-04-03, when Durable Objects had no RPC; write in \
                    wrangler.toml today's date, at least this one:\n\ncompatibility_date = \"2024-10-14\"\n"
                .to_owned();
        }
    };
    format!(
        "the Worker has no Durable Object binding `{binding}` ({reason}); add to wrangler.toml:\n\n\
         [[durable_objects.bindings]]\nname = \"{binding}\"\nclass_name = \"{class}\"\n\n\
         [[migrations]]\ntag = \"v1\" # the next tag, if there are migrations already\nnew_sqlite_classes = [\"{class}\"]\n"
    )
}

impl<R> Clone for RoomClient<R> {
    fn clone(&self) -> Self {
        RoomClient { transport: self.transport.clone(), jurisdiction: self.jurisdiction, room: PhantomData }
    }
}

impl<R: Room> fmt::Debug for RoomClient<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomClient")
            .field("name", &R::NAME)
            .field("binding", &R::BINDING)
            .field("jurisdiction", &self.jurisdiction)
            .finish_non_exhaustive()
    }
}

/// One room, for the Worker, from [`RoomClient::room`].
///
/// To get it makes no request, and a clone is cheap. Each method is one request to the room's object, which starts the room if
/// it is not in memory.
///
/// ```
/// use room_runtime::{Error, prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod counter {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub count: i64 }
///     # pub struct Connection {}
///     # pub enum Event { Add { amount: i64 } }
///     # pub struct Broadcast {}
///     # pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///     #     let Event::Add { amount } = event;
///     #     Ok(ctx.update(|state| state.count += amount)?)
///     # }
///     // The room of the front page of this crate is here.
/// }
///
/// // The Worker gets the handle from `counter::RoomClient::from_env(&env)?.room("main")`.
/// async fn add(room: RoomHandle<counter::Room>, amount: i64) -> Result<i64, Error> {
///     room.send(&counter::Event::Add { amount }).await?;
///     // `None` is the state of a room that was never changed.
///     Ok(room.state().await?.unwrap_or_default().count)
/// }
///
/// # fn main() -> Result<(), Error> {
/// // A test gets it from the room.
/// let room = TestRoom::<counter::Room>::new("main");
/// assert_eq!(room.world().block_on(add(room.handle(), 2))?, 2);
/// # Ok(())
/// # }
/// ```
pub struct RoomHandle<R> {
    transport: Transport,
    address: Address,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> RoomHandle<R> {
    /// The room's id.
    pub fn id(&self) -> &RoomId {
        &self.address.id
    }

    /// Suggests where Cloudflare places the room, if the room does not exist yet.
    pub fn location_hint(mut self, hint: LocationHint) -> Self {
        self.address.location_hint = Some(hint);
        self
    }

    /// Sends the room an event and waits until the room has handled it.
    ///
    /// The call returns after `on_event` has ended and its changes are stored. In that handler
    /// [`RoomContext::sender`](crate::RoomContext::sender) is `None`.
    ///
    /// # Errors
    /// - [`ErrorKind::Handler`], or the kind of the runtime's error, if `on_event` failed.
    /// - [`ErrorKind::Refused`] if `on_event` [refused](crate::RoomContext::refuse).
    /// - [`ErrorKind::Invalid`] for an event that breaks a rule of the room. The room checks it, and changes nothing.
    /// - [`ErrorKind::InvalidRoomId`].
    /// - [`ErrorKind::Restarted`], [`ErrorKind::Overloaded`] and [`ErrorKind::Platform`] if the call did not reach the
    ///   room or its outcome is unknown.
    pub fn send(&self, event: &R::Event) -> Call<()> {
        self.call(wire::encode_event(event).map(|event| Command::Send(&event).to_string()))
    }

    /// Returns the room's state; `None` for a room whose state was never changed.
    ///
    /// The call is retried if the room restarts during it.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the stored state does not match this schema, and the errors of reaching the room.
    pub fn state(&self) -> impl Future<Output = Result<Option<R::State>, Error>> + Send + use<R> {
        // The answer is a list of no or one state, because a state can be `null` as JSON.
        let reading = self.read::<Vec<R::State>>(Command::State);
        async move { Ok(reading.await?.pop()) }
    }

    /// Returns the connected peers: all, or those with `tag`. The call is retried if the room restarts during it.
    ///
    /// # Errors
    /// The errors of reaching the room.
    pub fn peers(
        &self,
        tag: Option<&str>,
    ) -> impl Future<Output = Result<Vec<PeerInfo<R::Connection>>, Error>> + Send + use<R> {
        self.read(Command::Peers(tag))
    }

    /// Sends one message to every connected peer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a message that breaks a rule of the room; then the room is not called. Also the errors
    /// of reaching the room. A peer whose socket does not accept the message is no error; the [`Delivery`]
    /// lists it.
    pub fn broadcast(&self, message: &R::Broadcast) -> Call<Delivery> {
        self.call(encode_broadcast::<R>(message).map(|message| Command::Broadcast(&message).to_string()))
    }

    /// Runs the room's earliest alarm now, before its time, and marks it as fired.
    ///
    /// Returns false if no alarm is set.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`], or the kind of the runtime's error, if `on_alarm` failed; the alarm is then retried like
    /// any other. Also the errors of reaching the room.
    pub fn fire_alarm(&self) -> Call<bool> {
        self.call(Ok(Command::FireAlarm.to_string()))
    }

    /// Returns the figures of the room: peers, frames, bytes, refusals, errors, alarms and the size of its storage.
    ///
    /// The call is retried if the room restarts during it. It loads a room that is not in memory, whose counters are then
    /// all 0.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if the storage cannot be read, and the errors of reaching the room. A room of an older
    /// release answers with [`ErrorKind::Decode`].
    pub fn stats(&self) -> impl Future<Output = Result<Stats, Error>> + Send + use<R> {
        self.read(Command::Stats)
    }

    /// Forwards a WebSocket upgrade to the room, which gets a new peer with the given data, id and tags.
    ///
    /// The headers and the body of the request itself have no influence on the peer's data, id and tags.
    ///
    /// Return the response from the fetch handler; headers can be added to it. Its status is
    ///
    /// - 101, with the socket;
    /// - 426 if the request is no WebSocket upgrade, or if its WebSocket version is not 13;
    /// - 400 if the method is not GET, if the key is missing or malformed, if the request has a body, or if it offers
    ///   subprotocols and [none of them is chosen](Upgrade::protocol);
    /// - 403 if the request comes from a page whose origin is [not allowed](Room::ALLOWED_ORIGINS);
    /// - 503 if the room is [full](crate::Limits::max_peers);
    /// - 409 if the peer's id is connected already and [`OnDuplicate::Reject`](crate::OnDuplicate::Reject) is chosen;
    /// - the status with which `on_upgrade` refused.
    ///
    /// A request that is no handshake, or that has another origin, is refused without a call to the room. `wrangler dev` forwards every upgrade as a
    /// GET, so a HEAD is not noticed there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRoomId`], [`ErrorKind::InvalidPeerId`], [`ErrorKind::InvalidTag`],
    /// [`ErrorKind::InvalidProtocol`], [`ErrorKind::AttachmentTooLarge`] and [`ErrorKind::Encode`], and the errors of
    /// reaching the room. [`ErrorKind::Invalid`] for data that breaks a rule of the room, as given or as `on_upgrade`
    /// left it.
    pub fn upgrade(
        &self,
        request: Request,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<Response, Error>> + Send + use<R> {
        let ticket = new_ticket(self.transport.random());
        let upgrading = self.cloudflare().map(|namespace| {
            let prepare = prepare(&ticket, upgrade);
            namespace.upgrade(&self.address, request, Origins::of(R::ALLOWED_ORIGINS), ticket, prepare)
        });
        located(&self.address, async move { upgrading?.await })
    }

    /// Forwards an HTTP request to the room's `on_request` and returns its response.
    ///
    /// The body is sent as a whole and has at most 32 MiB, the limit of the platform's RPC.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`], or the kind of the runtime's error, if `on_request` failed, and the errors of reaching
    /// the room.
    pub fn request(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send + use<R> {
        let answering = self.cloudflare().map(|namespace| namespace.request(&self.address, request));
        located(&self.address, async move { answering?.await })
    }

    /// Connects to the room as a peer: a WebSocket between the Worker and the room, with the room's types.
    ///
    /// It is a plain client: an event that is lost with the connection is lost. The crate `room-client` connects through this
    /// handle with acknowledgements, calls and sessions that resume (its feature `room`).
    ///
    /// # Errors
    /// The errors of [`upgrade`](RoomHandle::upgrade), and [`ErrorKind::Refused`] if the room answered without a
    /// socket.
    pub fn connect(
        &self,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<RoomSocket<R>, Error>> + Send + use<R> {
        let ticket = new_ticket(self.transport.random());
        let prepare = prepare(&ticket, upgrade);
        let connecting = self.transport.connect(&self.address, ticket, prepare, String::new());
        located(&self.address, async move { Ok(RoomSocket::new(connecting.await?)) })
    }

    /// Connects to the room as a peer that offers subprotocols, and leaves the frames as they are.
    ///
    /// It is the transport of clients of a protocol. The crate `room-client` connects by it, with acknowledgements and
    /// sessions that resume.
    ///
    /// # Errors
    /// The errors of [`connect`](RoomHandle::connect), and [`ErrorKind::InvalidProtocol`] if an offered name is no token of
    /// HTTP. [`Error::status`] is the status with which the room answered instead of a socket.
    pub fn connect_raw(
        &self,
        upgrade: Upgrade<R::Connection>,
        offered: &[&str],
    ) -> impl Future<Output = Result<RawSocket, Error>> + Send + use<R> {
        let connecting = check_offered(offered).map(|()| {
            let ticket = new_ticket(self.transport.random());
            let prepare = prepare(&ticket, upgrade);
            self.transport.connect(&self.address, ticket, prepare, offered.join(", "))
        });
        located(&self.address, async move { Ok(RawSocket::new(connecting?.await?)) })
    }

    /// The clock of a client that keeps a connection by this handle: that of the Worker, or of the test.
    #[doc(hidden)]
    pub fn clock(&self) -> ClientClock {
        ClientClock(self.transport.clone())
    }

    fn cloudflare(&self) -> Result<&Namespace, Error> {
        match &self.transport {
            Transport::Cloudflare(namespace) => Ok(namespace),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(_) => {
                let message =
                    "a `worker::Request` exists on Cloudflare only; a test has its own `connect` and `request`";
                Err(Error::new(ErrorKind::Platform, message))
            }
        }
    }

    /// The suggested location.
    pub(super) fn hint(&self) -> Option<LocationHint> {
        self.address.location_hint
    }

    pub(super) fn call<T>(&self, command: Result<String, Error>) -> Call<T> {
        Call {
            transport: self.transport.clone(),
            address: self.address.clone(),
            command,
            key: None,
            answer: PhantomData,
        }
    }

    fn read<T: DeserializeOwned + 'static>(
        &self,
        command: Command<'_>,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<R, T> {
        let (transport, address, command) = (self.transport.clone(), self.address.clone(), command.to_string());
        async move { exchange(&transport, &address, &command, true).await }
    }
}

impl<R> Clone for RoomHandle<R> {
    fn clone(&self) -> Self {
        RoomHandle { transport: self.transport.clone(), address: self.address.clone(), room: PhantomData }
    }
}

impl<R: Room> fmt::Debug for RoomHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHandle").field("name", &R::NAME).field("address", &self.address).finish_non_exhaustive()
    }
}

/// The time and the randomness of a client, for the crate `room-client`.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct ClientClock(Transport);

impl ClientClock {
    /// The milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    /// Waits for this many milliseconds.
    pub fn sleep(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(ms)
    }

    /// Returns random bits.
    pub fn random(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0.random();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

fn check_offered(names: &[&str]) -> Result<(), Error> {
    // The names of headers are tokens too.
    match names.iter().find(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err()) {
        Some(name) => Err(Error::new(ErrorKind::InvalidProtocol, format!("`{}` is no token of HTTP", brief(name)))),
        None => Ok(()),
    }
}

/// Adds the id of the room to an error.
fn located<T, W>(to: &Address, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
where
    W: Future<Output = Result<T, Error>> + Send,
{
    let id = to.id.clone();
    async move { work.await.map_err(|error| error.in_room(&id)) }
}

/// A call that changes the room. It is sent when it is awaited.
///
/// The call is sent once. If the room restarts during it, its effect is unknown and it fails with
/// [`ErrorKind::Restarted`]. A call with an [`idempotency_key`](Call::idempotency_key) is retried.
///
/// ```
/// use room_runtime::{Error, prelude::*};
///
/// # #[room]
/// # pub mod shop {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub paid: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Paid { cents: u32 } }
///     # pub struct Broadcast {}
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Paid { cents } = event;
/// #         Ok(ctx.update(|state| state.paid += cents)?)
/// #     }
/// # }
/// // The room handles a payment once, also if this is repeated with the same id.
/// async fn pay(room: &RoomHandle<shop::Room>, payment: &str, cents: u32) -> Result<(), Error> {
///     room.send(&shop::Event::Paid { cents }).idempotency_key(payment).await
/// }
///
/// # fn main() -> Result<(), Error> {
/// let room = room_runtime::testing::TestRoom::<shop::Room>::new("main");
/// room.world().block_on(pay(&room.handle(), "payment-17", 500))?;
/// room.world().block_on(pay(&room.handle(), "payment-17", 500))?;
/// assert_eq!(room.state()?, Some(shop::State { paid: 500 }));
/// # Ok(())
/// # }
/// ```
#[must_use = "a call is made when it is awaited"]
pub struct Call<T> {
    transport: Transport,
    address: Address,
    command: Result<String, Error>,
    key: Option<String>,
    answer: PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    /// Makes the call idempotent, so that it is safe to repeat.
    ///
    /// The room stores the last 1,024 keys with their answers. The same call with the same key gets the stored answer
    /// and does not run again. A call with a key is retried if the room restarts during it or cannot be reached.
    ///
    /// The answer is stored together with the handler's last changes. If the object crashes or restarts while the
    /// handler awaits, the handler has done a part of its work and runs again.
    ///
    /// A key has 1 to 256 bytes. A key that arrives with a different call is [`ErrorKind::IdempotencyConflict`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for Call<T> {
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Call { transport, address, command, key, .. } = self;
        Box::pin(async move {
            match (command?, key) {
                (command, None) => exchange(&transport, &address, &command, false).await,
                (command, Some(key)) => {
                    let command = Command::Once { key: &key, command: &command }.to_string();
                    exchange(&transport, &address, &command, true).await
                }
            }
        })
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("command", &self.command).field("key", &self.key).finish_non_exhaustive()
    }
}

/// The number of attempts of a repeatable call, and the back-off before the second attempt. The back-off doubles with
/// each attempt, and a random jitter adds up to as much again.
const TRIES: u32 = 4;
const FIRST_WAIT_MS: u64 = 50;

async fn exchange<T: DeserializeOwned>(
    transport: &Transport,
    to: &Address,
    command: &str,
    repeatable: bool,
) -> Result<T, Error> {
    let exchanged = async {
        to.id.check()?;
        let mut tries = 1;
        loop {
            match transport.call(to, command).await {
                Ok(answer) => return wire::decode_reply(&answer),
                Err(error) if repeatable && tries < TRIES && error.is_retryable() => {
                    let wait = FIRST_WAIT_MS << (tries - 1);
                    let [chance, ..] = transport.random();
                    transport.sleep(wait + wait * u64::from(chance) / 256).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    };
    exchanged.await.map_err(|error: Error| error.in_room(&to.id))
}

/// Encodes the Worker's half of an upgrade.
pub(crate) fn prepare<C: Serialize>(ticket: &str, upgrade: Upgrade<C>) -> Result<String, Error> {
    let upgrade = wire::encode_upgrade(&upgrade.into_options()?)?;
    Ok(Command::Prepare { ticket, upgrade: &upgrade }.to_string())
}
