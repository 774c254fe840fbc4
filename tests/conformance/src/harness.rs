//! The interface that cases use: rooms, peers and calls, on any platform.
//!
//! A platform implements [`Harness`]. Cases use [`Room`] and [`Peer`], which are written once on top of it. Every wait
//! has a bound and names what it waited for. Time is the platform's own.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt::{self, Debug},
    future::Future,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use conformance_rooms::{
    api::{Address, Asking, Call, Dialogue, Failed, Federation, Join, Joining, Line, Results, Rooms, Said, What},
    backstage::{Order, backstage},
    script::{Broadcast, Connection, Event, Scripted, State, Step, Visa},
};
use hyper::{Request, Response, body::Bytes};
use room_runtime::{Delivery, ErrorKind, OnDuplicate, OnResume, PeerInfo, Stats, Violation};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The longest time that a single wait of a case may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The platform that runs the rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// `room_runtime::testing`: native, in virtual time.
    Memory,
    /// workerd, over the wire.
    Workerd,
}

impl Platform {
    /// The platform's name.
    pub const fn name(self) -> &'static str {
        match self {
            Platform::Memory => "memory",
            Platform::Workerd => "workerd",
        }
    }
}

/// A platform, as one attempt of one case sees it. Clones are cheap. The futures of its methods borrow nothing, so they
/// can be [started](Harness::begin).
pub trait Harness: Clone + 'static {
    /// The platform's name as a value.
    const PLATFORM: Platform;

    /// The client's end of a connection.
    type Socket<R: Scripted>: Socket + 'static;

    /// The attempt and the case that this harness belongs to.
    fn scope(&self) -> &Rc<Scope>;

    /// Upgrades: returns a socket, or the response instead.
    fn upgrade<R: Scripted>(
        self,
        joining: Joining<Connection>,
        knock: Knock,
    ) -> impl Future<Output = Result<Result<Self::Socket<R>, Refusal>>> + 'static;

    /// Makes a call of the Worker's client.
    fn call<R: Scripted>(
        self,
        call: Call<Event, Broadcast>,
    ) -> impl Future<Output = Result<Result<Value, Failed>>> + 'static;

    /// Makes a call of several rooms.
    fn federate<R: Scripted>(
        self,
        federation: Federation<Event, Broadcast>,
    ) -> impl Future<Output = Result<Result<Results, Failed>>> + 'static;

    /// Runs a dialogue on a connection that the Worker makes.
    fn dialogue<R: Scripted>(
        self,
        dialogue: Dialogue<Connection, Event>,
    ) -> impl Future<Output = Result<Result<Vec<Said<Broadcast>>, Failed>>> + 'static;

    /// Sends a request that the Worker forwards.
    fn request<R: Scripted>(
        self,
        asking: Asking,
        body: Bytes,
    ) -> impl Future<Output = Result<Result<Response<Bytes>, Failed>>> + 'static;

    /// Leaves a room idle until the platform hibernates it.
    fn hibernate<R: Scripted>(&self, room: &Address) -> impl Future<Output = Result<()>>;

    /// Ends the room's process: its memory and all sockets are lost.
    fn restart<R: Scripted>(&self, room: &Address) -> impl Future<Output = Result<()>>;

    /// The time since any fixed moment, as time passes here.
    fn now(&self) -> Duration;

    /// Lets time pass.
    fn pass(self, time: Duration) -> impl Future<Output = ()> + 'static;

    /// Awaits the work; returns `None` if it exceeds the [bound](PATIENCE).
    fn in_time<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Option<T>>;

    /// Starts work that runs concurrently with the case. The case must observe its effect itself, for example with a
    /// [`Broadcast::Holding`].
    fn begin<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Begun<T>;
}

/// Work that runs concurrently with the case, to be awaited.
pub type Begun<T> = Pin<Box<dyn Future<Output = T>>>;

/// The client's end of a connection.
pub trait Socket {
    /// Sends a text frame.
    fn send_text(&self, text: String) -> impl Future<Output = Result<()>>;
    /// Sends a binary frame.
    fn send_binary(&self, bytes: Vec<u8>) -> impl Future<Output = Result<()>>;
    /// Receives the next arrival. After the close, every call returns the close.
    fn receive(&self) -> impl Future<Output = Arrival>;
    /// Starts a close, with a code that clients may send.
    fn close(&self, code: u16, reason: &str) -> impl Future<Output = Result<()>>;
    /// Drops the connection without a close frame.
    fn disconnect(&self);
    /// Stops reading and leaves the room's close unanswered, until the connection is dropped.
    fn mute(&self);
    /// The subprotocol in the handshake's answer.
    fn protocol(&self) -> Option<String>;
    /// Sends a heartbeat, and waits for its reply.
    fn heartbeat(&self) -> impl Future<Output = Result<()>>;
}

/// An arrival at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// The close, with the room's code and reason; 1006 if the connection was lost.
    Closed(u16, String),
}

/// The reason why there is no socket.
#[derive(Debug)]
pub enum Refusal {
    /// The room's answer.
    Response(Response<Bytes>),
    /// The client's error.
    Failed(Failed),
}

/// The parts of an upgrade's request that `on_upgrade` may read.
#[derive(Clone, Debug, Default)]
pub struct Knock {
    /// The `token` in the query.
    pub token: Option<String>,
    /// The headers.
    pub headers: Vec<(String, String)>,
}

/// One attempt of one case: its unique names, and the checks due at its end.
pub struct Scope {
    name: String,
    fences: Cell<u32>,
    naps: RefCell<Vec<Nap>>,
    // Clients stay connected until the case is over, even if the case drops them.
    sockets: RefCell<Vec<Rc<dyn Any>>>,
}

#[derive(Debug)]
struct Nap {
    room: String,
    starts: u32,
}

impl Scope {
    /// Creates a scope. `name` is unique to this attempt.
    pub fn new(name: String) -> Rc<Self> {
        Rc::new(Scope { name, fences: Cell::new(0), naps: RefCell::default(), sockets: RefCell::default() })
    }

    /// The suffix of the names of its rooms.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("name", &self.name).field("naps", &self.naps).finish_non_exhaustive()
    }
}

/// Rooms that should have hibernated, and did not: the result is inconclusive, and the case must be repeated.
#[derive(Debug, thiserror::Error)]
#[error("did not sleep: {}", .0.join(", "))]
pub struct StayedAwake(pub Vec<String>);

/// Checks that every room that should have hibernated did: it was loaded into memory again since.
///
/// # Errors
/// Returns [`StayedAwake`] if a room stayed in memory, or an error if backstage does not answer.
pub async fn verify_naps<H: Harness>(harness: &H) -> Result<()> {
    let mut awake = Vec::new();
    for Nap { room, starts } in harness.scope().naps.take() {
        if order(harness, Order::Starts { room: room.clone() }).await? <= starts {
            awake.push(room);
        }
    }
    ensure!(awake.is_empty(), StayedAwake(awake));
    Ok(())
}

/// Sends an order to backstage and returns its answer.
async fn order<H: Harness>(harness: &H, order: Order) -> Result<u32> {
    let room = Address { id: harness.scope().name().to_owned(), ..Address::default() };
    let asking = Asking { room, method: "POST".to_owned(), uri: "https://backstage/".to_owned(), headers: Vec::new() };
    let body = Bytes::from(serde_json::to_vec(&order)?);
    let answer =
        harness.in_time(harness.clone().request::<backstage::Room>(asking, body)).await.context("backstage")??;
    let answer = answer.map_err(|failed| anyhow::anyhow!("backstage: {}", failed.display))?;
    Ok(std::str::from_utf8(answer.body())?.parse()?)
}

/// Makes `services` of all rooms fail, or succeed again. Only for cases that have an isolate for themselves.
///
/// # Errors
/// Fails if backstage does not answer.
pub async fn fail_services<H: Harness>(harness: &H, fail: bool) -> Result<()> {
    order(harness, Order::FailServices { fail }).await.map(drop)
}

// Rooms.

/// A room of a case.
#[derive(Debug)]
pub struct Room<H, R> {
    harness: H,
    address: Address,
    room: PhantomData<fn() -> R>,
}

impl<H: Clone, R> Clone for Room<H, R> {
    fn clone(&self) -> Self {
        Room { harness: self.harness.clone(), address: self.address.clone(), room: PhantomData }
    }
}

/// A room of this case, with a unique id.
pub fn room<R: Scripted, H: Harness>(harness: &H, name: &str) -> Room<H, R> {
    room_called(harness, &format!("{name}.{}", harness.scope().name()))
}

/// A room with exactly this id.
pub fn room_called<R: Scripted, H: Harness>(harness: &H, id: &str) -> Room<H, R> {
    let address = Address { id: id.to_owned(), ..Address::default() };
    Room { harness: harness.clone(), address, room: PhantomData }
}

/// The result of a call inside; the error of the harness outside.
pub type Outcome<T> = Result<Result<T, Failed>>;

impl<H: Harness, R: Scripted> Room<H, R> {
    /// The room's id.
    pub fn id(&self) -> &str {
        &self.address.id
    }

    /// The platform that runs the room.
    pub fn harness(&self) -> &H {
        &self.harness
    }

    /// The room of the same id in a jurisdiction.
    pub fn within(mut self, jurisdiction: &str) -> Self {
        self.address.jurisdiction = Some(jurisdiction.to_owned());
        self
    }

    /// The same room, with a location hint.
    pub fn near(mut self, location_hint: &str) -> Self {
        self.address.location_hint = Some(location_hint.to_owned());
        self
    }

    // Peers.

    /// Connects a guest.
    #[track_caller]
    pub fn connect(&self, guest: Guest) -> impl Future<Output = Result<Peer<H, R>>> + use<H, R> {
        let (at, connecting) = (Location::caller(), self.try_connect(guest));
        async move {
            match connecting.await.with_context(|| at.to_string())? {
                Ok(peer) => Ok(peer),
                Err(refusal) => bail!("{at}: the room did not let this peer in: {refusal:?}"),
            }
        }
    }

    /// Connects a guest, or returns the refusal.
    pub fn try_connect(
        &self,
        guest: Guest,
    ) -> impl Future<Output = Result<Result<Peer<H, R>, Refusal>>> + use<H, R> + 'static {
        let Guest { join, knock } = guest;
        let name = join.id.clone().unwrap_or_else(|| "a peer without an id".to_owned());
        let upgrading = self.harness.clone().upgrade::<R>(Joining { room: self.address.clone(), join }, knock);
        let harness = self.harness.clone();
        async move {
            let waiting = harness.in_time(upgrading).await;
            let outcome = waiting.with_context(|| format!("waited {PATIENCE:?} for `{name}` to be admitted"))??;
            Ok(outcome.map(|socket| {
                let socket = Rc::new(socket);
                harness.scope().sockets.borrow_mut().push(socket.clone());
                Peer { harness, name, socket, room: PhantomData }
            }))
        }
    }

    /// Starts to connect a guest, or to be refused.
    pub fn begin_connect(&self, guest: Guest) -> Begun<Result<Result<Peer<H, R>, Refusal>>> {
        self.harness.begin(self.try_connect(guest))
    }

    /// Returns the response with which the room refuses a guest.
    #[track_caller]
    pub fn refused(&self, guest: Guest) -> impl Future<Output = Result<Response<Bytes>>> + use<H, R> {
        let (at, connecting) = (Location::caller(), self.try_connect(guest));
        async move {
            match connecting.await.with_context(|| at.to_string())? {
                Err(Refusal::Response(response)) => Ok(response),
                Err(Refusal::Failed(failed)) => bail!("{at}: an error in place of a refusal: {failed:?}"),
                Ok(peer) => bail!("{at}: the room let `{}` in", peer.name),
            }
        }
    }

    /// Returns the error with which the upgrade of a guest fails.
    #[track_caller]
    pub fn failed(&self, guest: Guest) -> impl Future<Output = Result<Failed>> + use<H, R> {
        let (at, connecting) = (Location::caller(), self.try_connect(guest));
        async move {
            match connecting.await.with_context(|| at.to_string())? {
                Err(Refusal::Failed(failed)) => Ok(failed),
                Err(Refusal::Response(response)) => bail!("{at}: a refusal in place of an error: {response:?}"),
                Ok(peer) => bail!("{at}: the room let `{}` in", peer.name),
            }
        }
    }

    // The Worker's client.

    fn call<T: DeserializeOwned + 'static>(
        &self,
        what: What<Event, Broadcast>,
        key: Option<&str>,
    ) -> impl Future<Output = Outcome<T>> + use<H, R, T> + 'static {
        let name = match &what {
            What::Send(_) => "send",
            What::State => "state",
            What::Peers { .. } => "peers",
            What::Broadcast(_) => "broadcast",
            What::Stats => "stats",
        };
        let calling =
            self.harness.clone().call::<R>(Call { room: self.address.clone(), what, key: key.map(str::to_owned) });
        let harness = self.harness.clone();
        async move {
            let waiting = harness.in_time(calling).await;
            match waiting.with_context(|| format!("waited {PATIENCE:?} for the answer to `{name}`"))?? {
                Ok(value) => Ok(Ok(serde_json::from_value(value)?)),
                Err(failed) => Ok(Err(failed)),
            }
        }
    }

    /// Calls the client's `send`.
    pub fn try_send(&self, event: Event) -> impl Future<Output = Outcome<()>> + use<H, R> + 'static {
        self.call(What::Send(event), None)
    }

    /// Calls the client's `send` with an idempotency key.
    pub fn try_send_once(&self, key: &str, event: Event) -> impl Future<Output = Outcome<()>> + use<H, R> + 'static {
        self.call(What::Send(event), Some(key))
    }

    /// Calls the client's `send` with a script.
    pub fn try_run<S: Into<Vec<Step>>>(&self, steps: S) -> impl Future<Output = Outcome<()>> + use<H, R, S> + 'static {
        self.try_send(Event::Do { steps: steps.into() })
    }

    /// Calls the client's `send` with a script, which must succeed.
    #[track_caller]
    pub fn run<S: Into<Vec<Step>>>(&self, steps: S) -> impl Future<Output = Result<()>> + use<H, R, S> {
        succeed(self.try_run(steps))
    }

    /// Calls the client's `state`.
    #[track_caller]
    pub fn state(&self) -> impl Future<Output = Result<Option<State>>> + use<H, R> {
        succeed(self.try_state())
    }

    /// Calls the client's `state`; returns the state or its error.
    pub fn try_state(&self) -> impl Future<Output = Outcome<Option<State>>> + use<H, R> + 'static {
        self.call(What::State, None)
    }

    /// The state's count.
    #[track_caller]
    pub fn count(&self) -> impl Future<Output = Result<i64>> + use<H, R> {
        let state = self.state();
        async move { Ok(state.await?.unwrap_or_default().count) }
    }

    /// The log in the state.
    #[track_caller]
    pub fn log(&self) -> impl Future<Output = Result<Vec<String>>> + use<H, R> {
        let state = self.state();
        async move { Ok(state.await?.unwrap_or_default().log) }
    }

    /// Calls the client's `peers`; the result is sorted by id.
    #[track_caller]
    pub fn peers(&self, tag: Option<&str>) -> impl Future<Output = Result<Vec<PeerInfo<Connection>>>> + use<H, R> {
        let peers = succeed(self.try_peers(tag));
        async move {
            let mut peers = peers.await?;
            peers.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(peers)
        }
    }

    /// Calls the client's `peers`; returns the peers or the error.
    pub fn try_peers(
        &self,
        tag: Option<&str>,
    ) -> impl Future<Output = Outcome<Vec<PeerInfo<Connection>>>> + use<H, R> + 'static {
        self.call(What::Peers { tag: tag.map(str::to_owned) }, None)
    }

    /// The ids of all peers, sorted.
    #[track_caller]
    pub fn peer_ids(&self) -> impl Future<Output = Result<Vec<String>>> + use<H, R> {
        let peers = self.peers(None);
        async move { Ok(peers.await?.into_iter().map(|peer| peer.id.to_string()).collect()) }
    }

    /// Calls the client's `stats`.
    #[track_caller]
    pub fn stats(&self) -> impl Future<Output = Result<Stats>> + use<H, R> {
        succeed(self.call(What::Stats, None))
    }

    /// Calls the client's `broadcast`.
    pub fn try_broadcast(
        &self,
        message: Broadcast,
        key: Option<&str>,
    ) -> impl Future<Output = Outcome<Delivery>> + use<H, R> + 'static {
        self.call(What::Broadcast(message), key)
    }

    /// Calls the client's `broadcast`, which must succeed.
    #[track_caller]
    pub fn broadcast(&self, message: Broadcast) -> impl Future<Output = Result<Delivery>> + use<H, R> {
        succeed(self.try_broadcast(message, None))
    }

    /// Sends a request that the Worker forwards.
    pub fn try_request(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Outcome<Response<Bytes>>> + use<H, R> + 'static {
        let (head, body) = request.into_parts();
        let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let asking = Asking {
            room: self.address.clone(),
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        };
        let asking = self.harness.clone().request::<R>(asking, body);
        let harness = self.harness.clone();
        async move {
            harness.in_time(asking).await.with_context(|| format!("waited {PATIENCE:?} for the answer to a request"))?
        }
    }

    /// Sends a request, which must succeed.
    #[track_caller]
    pub fn request(&self, request: Request<Bytes>) -> impl Future<Output = Result<Response<Bytes>>> + use<H, R> {
        succeed(self.try_request(request))
    }

    /// Calls the client's `connect` and runs a dialogue.
    pub fn dialogue(
        &self,
        guest: Guest,
        lines: Vec<Line<Event>>,
    ) -> impl Future<Output = Outcome<Vec<Said<Broadcast>>>> + use<H, R> + 'static {
        let dialogue = Dialogue { room: self.address.clone(), join: guest.join, lines };
        let talking = self.harness.clone().dialogue::<R>(dialogue);
        let harness = self.harness.clone();
        async move { harness.in_time(talking).await.with_context(|| format!("waited {PATIENCE:?} for a dialogue"))? }
    }

    // Backstage.

    fn key(&self) -> String {
        format!("{}/{}", R::NAME, self.id())
    }

    /// Sets the steps for a handler that has no script of its own.
    ///
    /// # Errors
    /// Fails if backstage does not answer.
    pub async fn script(&self, handler: &str, steps: impl Into<Vec<Step>>) -> Result<()> {
        let order_ = Order::Script { room: self.key(), handler: handler.to_owned(), steps: steps.into() };
        order(&self.harness, order_).await.map(drop)
    }

    /// Returns how often the room was loaded into memory.
    ///
    /// # Errors
    /// Fails if backstage does not answer.
    pub async fn starts(&self) -> Result<u32> {
        order(&self.harness, Order::Starts { room: self.key() }).await
    }

    /// Leaves the room idle until it hibernates. The case must check that it did.
    ///
    /// # Errors
    /// Fails if the platform cannot leave it idle.
    pub async fn leave_alone(&self) -> Result<()> {
        self.harness.hibernate::<R>(&self.address).await
    }

    /// Leaves the room idle until it hibernates. The end of the case checks that it did.
    ///
    /// # Errors
    /// Fails if backstage does not answer.
    pub async fn hibernate(&self) -> Result<()> {
        let starts = self.starts().await?;
        self.leave_alone().await?;
        self.harness.scope().naps.borrow_mut().push(Nap { room: self.key(), starts });
        Ok(())
    }

    /// Ends the process of the room, together with all sockets.
    ///
    /// # Errors
    /// Fails if the process does not start again.
    pub async fn restart(&self) -> Result<()> {
        self.harness.restart::<R>(&self.address).await
    }
}

// Several rooms.

/// Makes a call of several rooms of a type.
pub fn federate<R: Scripted, H: Harness>(
    harness: &H,
    federation: Federation<Event, Broadcast>,
) -> impl Future<Output = Outcome<Results>> + use<H, R> + 'static {
    let federating = harness.clone().federate::<R>(federation);
    let harness = harness.clone();
    async move { harness.in_time(federating).await.with_context(|| format!("waited {PATIENCE:?} for a federation"))? }
}

/// Sends a script to several rooms.
pub fn federation(rooms: Rooms, steps: impl Into<Vec<Step>>) -> Federation<Event, Broadcast> {
    Federation { rooms, prefix: None, concurrency: None, what: What::Send(Event::Do { steps: steps.into() }) }
}

/// Awaits a call that must succeed.
#[track_caller]
fn succeed<T, F: Future<Output = Outcome<T>>>(call: F) -> impl Future<Output = Result<T>> + use<T, F> {
    let at = Location::caller();
    async move {
        match call.await.with_context(|| at.to_string())? {
            Ok(value) => Ok(value),
            Err(failed) => bail!("{at}: the call failed: {failed:?}"),
        }
    }
}

// Guests.

/// A client that asks to connect.
#[derive(Clone, Debug)]
pub struct Guest {
    join: Join<Connection>,
    knock: Knock,
}

/// A guest with an id, which is also its name.
pub fn guest(id: &str) -> Guest {
    let mut guest = anonymous();
    guest.join.id = Some(id.to_owned());
    guest.join.data.name = id.to_owned();
    guest
}

/// A guest without an id.
pub fn anonymous() -> Guest {
    let join = Join {
        data: Connection::default(),
        id: None,
        tags: Vec::new(),
        meta: None,
        on_duplicate: None,
        on_resume: None,
        resume: None,
        protocol: None,
    };
    Guest { join, knock: Knock::default() }
}

impl Guest {
    /// Sets another name.
    pub fn name(mut self, name: &str) -> Self {
        self.join.data.name = name.to_owned();
        self
    }

    /// Sets the tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.join.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the steps of its `on_connect`.
    pub fn on_connect(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.join.data.on_connect = steps.into();
        self
    }

    /// Sets the steps of its `on_close`.
    pub fn on_close(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.join.data.on_close = steps.into();
        self
    }

    /// Sets the meta of its upgrade.
    pub fn visa(mut self, visa: &Visa) -> Self {
        // A visa contains only strings and enums, so serialization cannot fail.
        self.join.meta = serde_json::to_value(visa).ok();
        self
    }

    /// Sets the steps of its `on_upgrade`.
    pub fn on_upgrade(self, steps: impl Into<Vec<conformance_rooms::script::UpgradeStep>>) -> Self {
        self.visa(&Visa { on_upgrade: steps.into(), note: String::new() })
    }

    /// Sets the handling of peers with the same id.
    pub fn on_duplicate(mut self, on_duplicate: OnDuplicate) -> Self {
        self.join.on_duplicate = Some(on_duplicate);
        self
    }

    /// Sets the handling of its data on a resume.
    pub fn on_resume(mut self, on_resume: OnResume) -> Self {
        self.join.on_resume = Some(on_resume);
        self
    }

    /// Sets the resume token of its place.
    pub fn resume(mut self, token: &str) -> Self {
        self.join.resume = Some(token.to_owned());
        self
    }

    /// Sets the subprotocol of the answer.
    pub fn protocol(mut self, protocol: &str) -> Self {
        self.join.protocol = Some(protocol.to_owned());
        self
    }

    /// Sets the subprotocols that the client offers.
    pub fn offering(self, protocols: &str) -> Self {
        self.header("sec-websocket-protocol", protocols)
    }

    /// Sets a token in the query of its request.
    pub fn token(mut self, token: &str) -> Self {
        self.knock.token = Some(token.to_owned());
        self
    }

    /// Adds a header to its request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.knock.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

// Peers.

/// A connected client.
pub struct Peer<H: Harness, R: Scripted> {
    harness: H,
    name: String,
    socket: Rc<H::Socket<R>>,
    room: PhantomData<fn() -> R>,
}

impl<H: Harness, R: Scripted> Debug for Peer<H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The content of an error frame from the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameError {
    /// The kind of the error.
    pub code: ErrorKind,
    /// A message for people.
    pub message: String,
    /// The delay in milliseconds after which a retry is allowed.
    pub retry_after_ms: Option<u64>,
    /// The rules that the event breaks.
    #[serde(default)]
    pub violations: Vec<Violation>,
}

impl<H: Harness, R: Scripted> Peer<H, R> {
    /// Sends an event.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn send(&self, event: &Event) -> Result<()> {
        self.send_raw(serde_json::to_string(event)?).await
    }

    /// Sends a script.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn run(&self, steps: impl Into<Vec<Step>>) -> Result<()> {
        self.send(&Event::Do { steps: steps.into() }).await
    }

    /// Sends any text.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn send_raw(&self, text: impl Into<String>) -> Result<()> {
        self.socket.send_text(text.into()).await.with_context(|| format!("{} sends", self.name))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn send_binary(&self, bytes: Vec<u8>) -> Result<()> {
        self.socket.send_binary(bytes).await.with_context(|| format!("{} sends", self.name))
    }

    /// Sends a heartbeat, and waits for its reply.
    ///
    /// # Errors
    /// Fails if no reply arrives.
    pub async fn heartbeat(&self) -> Result<()> {
        let beating = self.harness.in_time(self.socket.heartbeat()).await;
        beating.with_context(|| format!("waited {PATIENCE:?} for the answer to a heartbeat of {}", self.name))?
    }

    #[track_caller]
    fn arrival(&self, what: &'static str) -> impl Future<Output = Result<Arrival>> + use<'_, H, R> {
        let at = Location::caller();
        async move {
            let arrival = self.harness.in_time(self.socket.receive()).await;
            arrival.with_context(|| format!("{at}: {} waited {PATIENCE:?} for {what}", self.name))
        }
    }

    /// Returns the next arrival of any kind.
    #[track_caller]
    pub fn next_of_any_kind(&self) -> impl Future<Output = Result<Arrival>> + use<'_, H, R> {
        self.arrival("anything")
    }

    /// Returns the next message.
    #[track_caller]
    pub fn next(&self) -> impl Future<Output = Result<Broadcast>> + use<'_, H, R> {
        let (at, arriving) = (Location::caller(), self.arrival("a message"));
        async move {
            let arrival = arriving.await?;
            if let Arrival::Text(text) = &arrival
                && let Ok(message) = serde_json::from_str(text)
            {
                return Ok(message);
            }
            bail!("{at}: {} waited for a message and got {arrival:?}", self.name)
        }
    }

    /// Asserts that the next message is this one.
    #[track_caller]
    pub fn expect(&self, wanted: Broadcast) -> impl Future<Output = Result<()>> + use<'_, H, R> {
        let (at, arriving) = (Location::caller(), self.next());
        async move {
            let message = arriving.await.with_context(|| format!("in place of {wanted:?}"))?;
            ensure!(message == wanted, "{at}: {} got {message:?}, not {wanted:?}", self.name);
            Ok(())
        }
    }

    /// Asserts that the next message is this text of that peer; `None` is the Worker.
    #[track_caller]
    pub fn hears(&self, from: Option<&str>, text: &str) -> impl Future<Output = Result<()>> + use<'_, H, R> {
        self.expect(Broadcast::Said { from: from.map(str::to_owned), text: text.to_owned() })
    }

    /// Asserts that the next message says that a handler waits at a gate.
    #[track_caller]
    pub fn holding(&self, gate: &str) -> impl Future<Output = Result<()>> + use<'_, H, R> {
        self.expect(Broadcast::Holding { gate: gate.to_owned() })
    }

    /// Runs a script and returns its answer, which must be the next message.
    #[track_caller]
    pub fn ask<S: Into<Vec<Step>>>(&self, steps: S) -> impl Future<Output = Result<Broadcast>> + use<'_, H, R, S> {
        let arriving = self.next();
        async move {
            self.run(steps).await?;
            arriving.await
        }
    }

    /// Asserts that the next frame is the error frame of a failed event handler of this peer.
    #[track_caller]
    pub fn hears_of_a_failure(&self) -> impl Future<Output = Result<()>> + use<'_, H, R> {
        let next = self.next_error();
        async move {
            let error = next.await?;
            let is_it = error.code == ErrorKind::Handler && error.message == "the room could not handle this event";
            ensure!(is_it, "this is no word of a failure: {error:?}");
            Ok(())
        }
    }

    /// Returns the next error frame, which must be the next arrival.
    #[track_caller]
    pub fn next_error(&self) -> impl Future<Output = Result<FrameError>> + use<'_, H, R> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Report {
            #[serde(rename = "$room")]
            room: Body,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            error: FrameError,
        }
        let (at, arriving) = (Location::caller(), self.arrival("an error frame"));
        async move {
            let arrival = arriving.await?;
            if let Arrival::Text(text) = &arrival
                && let Ok(Report { room: Body { error } }) = serde_json::from_str(text)
            {
                return Ok(error);
            }
            bail!("{at}: {} waited for an error frame and got {arrival:?}", self.name)
        }
    }

    /// Asserts that no other frame has arrived: the next one is the reply to a ping. By then the room has handled all
    /// earlier frames of this peer.
    #[track_caller]
    pub fn fence(&self) -> impl Future<Output = Result<()>> + use<'_, H, R> {
        let fences = &self.harness.scope().fences;
        let n = fences.replace(fences.get() + 1) + 1_000;
        let arriving = self.expect(Broadcast::Pong { n });
        async move {
            self.send(&Event::Ping { n }).await?;
            arriving.await
        }
    }

    /// Returns how the connection ends; the close must be the next arrival.
    #[track_caller]
    pub fn closed(&self) -> impl Future<Output = Result<(u16, String)>> + use<'_, H, R> {
        let (at, arriving) = (Location::caller(), self.arrival("the end of the connection"));
        async move {
            match arriving.await? {
                Arrival::Closed(code, reason) => Ok((code, reason)),
                arrival => bail!("{at}: {} waited for the end of the connection and got {arrival:?}", self.name),
            }
        }
    }

    /// Starts a close.
    ///
    /// # Errors
    /// Fails if the connection is closed.
    pub async fn begin_close(&self, code: u16, reason: &str) -> Result<()> {
        self.socket.close(code, reason).await.with_context(|| format!("{} closes", self.name))
    }

    /// Closes with 1000, and waits for the answer.
    #[track_caller]
    pub fn close(&self) -> impl Future<Output = Result<()>> + use<'_, H, R> {
        let (at, closed) = (Location::caller(), self.closed());
        async move {
            self.begin_close(1000, "").await?;
            let closed = closed.await?;
            ensure!(closed == (1000, String::new()), "{at}: a close with 1000 was answered with {closed:?}");
            Ok(())
        }
    }

    /// Drops the connection without a close frame.
    pub fn disconnect(&self) {
        self.socket.disconnect();
    }

    /// Becomes half dead: stops reading and leaves the room's close unanswered, until the connection is dropped.
    pub fn mute(&self) {
        self.socket.mute();
    }

    /// The subprotocol in the handshake's answer.
    pub fn protocol(&self) -> Option<String> {
        self.socket.protocol()
    }

    /// The client's end of the connection, for operations of a single platform.
    pub fn socket(&self) -> &H::Socket<R> {
        &self.socket
    }
}

/// Polls until a condition holds that no event announces.
///
/// # Errors
/// Fails if the condition does not hold within the [bound](PATIENCE), and with the errors of `ask`.
pub async fn until<H: Harness, T: Debug, F: Future<Output = Result<T>>>(
    harness: &H,
    what: &str,
    ask: impl Fn() -> F,
    holds: impl Fn(&T) -> bool,
) -> Result<T> {
    let last = RefCell::new(None);
    let asking = harness.in_time(async {
        loop {
            let value = ask().await?;
            if holds(&value) {
                return Ok(value);
            }
            last.replace(Some(value));
            harness.clone().pass(Duration::from_millis(20)).await;
        }
    });
    match asking.await {
        Some(outcome) => outcome,
        None => bail!("waited {PATIENCE:?} for {what}; the last was {:?}", last.take()),
    }
}
