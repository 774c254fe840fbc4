//! [`RoomClient`]: how the Worker talks to its rooms.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
};

use serde::{Serialize, de::DeserializeOwned};
use worker::{Env, Request, Response};

use crate::{
    Delivery, Error, ErrorKind, Jurisdiction, LocationHint, PeerInfo, Room, RoomId, RoomSocket, Upgrade,
    platform::{
        cloudflare::namespace::Namespace,
        transport::{Address, Transport, Unreachable},
    },
    wire::{self, Command, new_ticket},
};

/// The rooms of one type, as the Worker sees them. `#[room]` adds it to the module with the room's own type.
pub struct RoomClient<R> {
    transport: Transport,
    jurisdiction: Option<Jurisdiction>,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> RoomClient<R> {
    /// The client over the room's Durable Object binding.
    ///
    /// # Errors
    /// [`ErrorKind::Binding`] when the environment has no such binding, or the Worker's compatibility date is before
    /// 2024-04-03; the text shows the configuration to write.
    pub fn from_env(env: &Env) -> Result<Self, Error> {
        RoomClient::reaching(Namespace::new(env, R::BINDING).map(Transport::Cloudflare))
    }

    /// Over a way to reach the binding, or the reason why there is none.
    pub(crate) fn reaching(transport: Result<Transport, Unreachable>) -> Result<Self, Error> {
        transport
            .map(RoomClient::over)
            .map_err(|reason| Error::new(ErrorKind::Binding, what_to_configure(R::BINDING, R::CLASS, &reason)))
    }

    pub(crate) fn over(transport: Transport) -> Self {
        RoomClient { transport, jurisdiction: None, room: PhantomData }
    }

    /// The same rooms, but within a jurisdiction: whoever asks for a room of theirs has to name it as well.
    pub fn jurisdiction(mut self, jurisdiction: Jurisdiction) -> Self {
        self.jurisdiction = Some(jurisdiction);
        self
    }

    /// The room with that id. It need not exist: a room comes into being when it is first used.
    pub fn room(&self, id: impl Into<RoomId>) -> RoomHandle<R> {
        let address = Address { id: id.into(), jurisdiction: self.jurisdiction, location_hint: None };
        RoomHandle { transport: self.transport.for_room(), address, room: PhantomData }
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

/// One room, as the Worker sees it.
pub struct RoomHandle<R> {
    transport: Transport,
    address: Address,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> RoomHandle<R> {
    /// Which room this is.
    pub fn id(&self) -> &RoomId {
        &self.address.id
    }

    /// Where the room should come to live, if it does not live yet.
    pub fn location_hint(mut self, hint: LocationHint) -> Self {
        self.address.location_hint = Some(hint);
        self
    }

    /// Lets the room handle an event; [`RoomContext::sender`](crate::RoomContext::sender) is `None` for it. Returns
    /// when `on_event` has ended and what it changed is stored.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`], or the kind of the runtime's error, when `on_event` failed; [`ErrorKind::Refused`] when it
    /// [refused](crate::RoomContext::refuse);
    /// [`ErrorKind::InvalidRoomId`]; [`ErrorKind::Restarted`], [`ErrorKind::Overloaded`] and [`ErrorKind::Platform`]
    /// when the call did not get through or its outcome is not known.
    pub fn send(&self, event: &R::Event) -> Call<()> {
        self.call(wire::encode_event(event).map(|event| Command::Send(&event).to_string()))
    }

    /// The room's state; `None` for a room whose state was never changed. Tried again when the room restarts meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the stored state is not one of this schema, and those of reaching the room.
    pub fn state(&self) -> impl Future<Output = Result<Option<R::State>, Error>> + Send + use<R> {
        // In a list: a state may be `null` as JSON.
        let reading = self.read::<Vec<R::State>>(Command::State);
        async move { Ok(reading.await?.pop()) }
    }

    /// The connected peers: all, or those that carry `tag`. Tried again when the room restarts meanwhile.
    ///
    /// # Errors
    /// Those of reaching the room.
    pub fn peers(
        &self,
        tag: Option<&str>,
    ) -> impl Future<Output = Result<Vec<PeerInfo<R::Connection>>, Error>> + Send + use<R> {
        self.read(Command::Peers(tag))
    }

    /// Sends every connected peer one message.
    ///
    /// # Errors
    /// Those of reaching the room. Peers that refused are no error: they are in the [`Delivery`].
    pub fn broadcast(&self, message: &R::Broadcast) -> Call<Delivery> {
        self.call(wire::encode_frame(message).map(|message| Command::Broadcast(&message).to_string()))
    }

    /// Runs the room's earliest alarm now, whenever it is due, and takes it as fired. False when no alarm is set.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`], or the kind of the runtime's error, when `on_alarm` failed: then it is tried again, like
    /// any other; and those of reaching the room.
    pub fn fire_alarm(&self) -> Call<bool> {
        self.call(Ok(Command::FireAlarm.to_string()))
    }

    /// Hands a WebSocket upgrade on to the room, which gets the new peer with the data, id and tags given here. What
    /// the request itself says of them, in whatever header or body, counts for nothing.
    ///
    /// The response is the one to return from the fetch handler, and its headers may be added to: 101 with the socket; 426
    /// when the request is no WebSocket upgrade, or one of another version than 13; 400 when its method is not GET, when
    /// its key is missing or malformed, when it has a body, or when it offers subprotocols and [none of them is
    /// chosen](Upgrade::protocol); 503 when the room is [full](crate::Limits::max_peers); 409 when the peer's id is taken
    /// and [that is refused](crate::OnDuplicate::Reject); what `on_upgrade` refused with. A request that is no handshake is
    /// refused before the room hears of it. `wrangler dev` passes every upgrade on as a GET: there a HEAD is not noticed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRoomId`], [`ErrorKind::InvalidPeerId`], [`ErrorKind::InvalidTag`],
    /// [`ErrorKind::InvalidProtocol`], [`ErrorKind::AttachmentTooLarge`], [`ErrorKind::Encode`]; and those of reaching the
    /// room.
    pub fn upgrade(
        &self,
        request: Request,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<Response, Error>> + Send + use<R> {
        let ticket = new_ticket(self.transport.random());
        let upgrading = self.cloudflare().map(|namespace| {
            let prepare = prepare(&ticket, upgrade);
            namespace.upgrade(&self.address, request, ticket, prepare)
        });
        located(&self.address, async move { upgrading?.await })
    }

    /// Hands an HTTP request on to the room's `on_request`, with its whole body, and gives its answer. The body may have
    /// up to 32 MiB, the most that the platform's RPC takes.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`], or the kind of the runtime's error, when `on_request` failed; and those of reaching the
    /// room.
    pub fn request(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + Send + use<R> {
        let answering = self.cloudflare().map(|namespace| namespace.request(&self.address, request));
        located(&self.address, async move { answering?.await })
    }

    /// Connects to the room as a peer: a WebSocket between the Worker and the room, typed by the room.
    ///
    /// # Errors
    /// Those of [`upgrade`](RoomHandle::upgrade); [`ErrorKind::Refused`] when the room answered with anything but a
    /// socket.
    pub fn connect(
        &self,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<RoomSocket<R>, Error>> + Send + use<R> {
        let ticket = new_ticket(self.transport.random());
        let prepare = prepare(&ticket, upgrade);
        let connecting = match &self.transport {
            Transport::Cloudflare(namespace) => namespace.connect(&self.address, ticket, prepare),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => link.connect(&self.address, ticket, prepare),
        };
        located(&self.address, async move { Ok(RoomSocket::new(connecting.await?)) })
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

    fn call<T>(&self, command: Result<String, Error>) -> Call<T> {
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

/// Says of an error which room it happened in.
fn located<T, W>(to: &Address, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
where
    W: Future<Output = Result<T, Error>> + Send,
{
    let id = to.id.clone();
    async move { work.await.map_err(|error| error.in_room(&id)) }
}

/// A call that changes something, to be awaited.
///
/// It is made once: when the room restarts meanwhile, nobody can say whether it took effect, and it fails with
/// [`ErrorKind::Restarted`]. With an [`idempotency_key`](Call::idempotency_key) it is made again.
#[must_use = "a call is made when it is awaited"]
pub struct Call<T> {
    transport: Transport,
    address: Address,
    command: Result<String, Error>,
    key: Option<String>,
    answer: PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    /// Makes it safe to repeat: the room remembers the last 1,024 keys with their answers, and gives the same call with
    /// the same key the same answer, without doing it twice. With a key the call is tried again when the room restarts
    /// meanwhile or cannot be reached.
    ///
    /// The answer is stored together with the last of what the handler changed. A handler that waits in between, and with
    /// which the object goes down, has done a part, and is run again.
    ///
    /// A key has 1 to 256 bytes. One that came with another call is [`ErrorKind::IdempotencyConflict`].
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

/// How often a call that may be repeated is made, and the wait before the second time, which doubles from there and is
/// as much longer again as chance has it.
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

/// The Worker's half of an upgrade.
pub(crate) fn prepare<C: Serialize>(ticket: &str, upgrade: Upgrade<C>) -> Result<String, Error> {
    let upgrade = wire::encode_upgrade(&upgrade.into_options()?)?;
    Ok(Command::Prepare { ticket, upgrade: &upgrade }.to_string())
}
