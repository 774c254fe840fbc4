//! Rooms in native tests: the same engine and the same handlers, without a Workers runtime and without waiting.
//!
//! A [`TestRoom`] is a room on a platform in memory. Peers connect to it, the Worker calls it, and time passes only
//! when the test advances it. A test can hibernate the room, crash it in the middle of a handler, restart it without
//! its sockets, [deploy](TestRoom::deploy) another version of it, and make its storage and its sockets fail. Everything
//! is deterministic: if several things can happen next, the [seed](World::with_seed) decides their order.
//!
//! ```
//! use room_runtime::{prelude::*, testing::TestRoom};
//!
//! #[room]
//! pub mod counter {
//!     #[derive(Default)]
//!     pub struct State { pub count: i64 }
//!     pub struct Connection {}
//!     pub enum Event { Add { amount: i64 } }
//!     pub enum Broadcast { Count { count: i64 } }
//!
//!     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
//!         let Event::Add { amount } = event;
//!         let count = ctx.update(|state| { state.count += amount; state.count })?;
//!         ctx.broadcast(&Broadcast::Count { count })?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), room_runtime::Error> {
//! let room = TestRoom::<counter::Room>::new("r1");
//! let alice = room.connect(Upgrade::new(counter::Connection {}).id("alice"));
//! let bob = room.connect(Upgrade::new(counter::Connection {}).id("bob"));
//!
//! alice.send(&counter::Event::Add { amount: 2 });
//! assert_eq!(bob.received(), [counter::Broadcast::Count { count: 2 }]);
//!
//! // Asleep, and woken by the Worker: nothing is lost.
//! room.hibernate();
//! room.send(&counter::Event::Add { amount: 3 })?;
//! assert_eq!(bob.receive(), Some(counter::Broadcast::Count { count: 5 }));
//! assert_eq!(room.state()?, Some(counter::State { count: 5 }));
//! # Ok(())
//! # }
//! ```
//!
//! [`TestRoom::advance`] lets time pass, [`crash`](TestRoom::crash) and [`restart`](TestRoom::restart) end the room,
//! and [`fail_writes`](TestRoom::fail_writes) and [`fail_reads`](TestRoom::fail_reads) make storage fail. Two rooms
//! that call each other are rooms of one [`World`]. Rooms with services get them from [`TestRoom::with_services`] or
//! [`World::provide`], and [`TestRoom::query`] reads a room's database.
//!
//! A test that fails prints the log of its rooms, with the time. [`TestRoom::assert_no_errors`] fails if a handler has
//! failed, and [`TestRoom::take_log`] takes the errors that a test expects.
//!
//! Each action of a test is complete before the test continues. After `alice.send(…)` the handler has run, up to the
//! point where it waits for time to pass ([`RoomContext::sleep`](crate::RoomContext::sleep)) or for something else.
//! `on_undelivered` runs in an alarm, so a test calls [`advance`](World::advance) first, by zero for a call that was refused.
//! [`World::together`] lets several frames arrive before anything runs.

mod calls;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
/// Random lives, for the tests of this repository. Not for use: it changes without notice.
#[doc(hidden)]
pub mod lives;
#[cfg(test)]
mod rate_tests;
mod world;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    marker::PhantomData,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub(crate) use self::world::Inner;
use self::world::{Answer, Object, address, close_by_client, ticket};
use crate::{
    Close, CloseCode, Delivery, Error, ErrorKind, Failure, PeerId, PeerInfo, Room, RoomClient, RoomHandle, RoomId,
    SUBPROTOCOL, SqlParameters, Stats, Upgrade,
    api::{
        client::prepare,
        room_socket::{self, Received},
    },
    platform::{OwnedFrame, Platform, Socket, transport::Transport},
    wire::{
        self,
        handshake::{ID_MARK, TAG_MARK},
        origin::{NOT_ALLOWED, ORIGIN_HEADER, Origins},
    },
};

/// The environment of the rooms of a test: a clock, and an order of events. Its rooms can have peers and call each
/// other.
///
/// ```
/// use room_runtime::{prelude::*, testing::World};
/// use std::time::Duration;
///
/// #[room]
/// pub mod clock {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub ticks: u32 }
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use std::time::Duration;
///     pub fn on_start(ctx: &Ctx) -> Result {
///         ctx.schedule(()).key("tick").every(Duration::from_secs(60))?;
///         Ok(())
///     }
///
///     pub fn on_alarm(ctx: &Ctx) -> Result {
///         ctx.update(|state| state.ticks += 1)?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two rooms with one clock.
/// let world = World::new();
/// let (one, two) = (world.room::<clock::Room>("1"), world.room::<clock::Room>("2"));
/// one.state()?;
/// world.advance(Duration::from_secs(120));
/// two.state()?;
/// world.advance(Duration::from_secs(60));
/// assert_eq!(one.state()?, Some(clock::State { ticks: 3 }));
/// assert_eq!(two.state()?, Some(clock::State { ticks: 1 }));
/// world.assert_no_errors();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct World(Rc<Inner>);

impl World {
    /// Creates a world that runs ready work in the order in which it became ready.
    #[allow(clippy::new_without_default, reason = "a world is a thing, not a value")]
    pub fn new() -> Self {
        World(Inner::new(None))
    }

    /// Creates a world in which the seed decides the order of the work that is ready.
    ///
    /// The same seed gives the same order. Print the seed to reproduce a failure.
    pub fn with_seed(seed: u64) -> Self {
        World(Inner::new(Some(seed)))
    }

    /// Provides the services for the rooms of a type.
    ///
    /// `make` runs each time a room is loaded into memory. Rooms without services need none.
    pub fn provide<R: Room>(&self, make: impl Fn() -> Result<R::Services, Failure> + 'static) {
        self.0.provide::<R>(make);
    }

    /// Returns a room of this world.
    pub fn room<R: Room>(&self, id: impl Into<RoomId>) -> TestRoom<R> {
        let id = id.into();
        TestRoom { object: self.0.object::<R>(&id), world: self.clone(), id, room: PhantomData }
    }

    /// Returns the Worker's client for the rooms of a type, for code under test that expects one.
    pub fn client<R: Room>(&self) -> RoomClient<R> {
        RoomClient::over(Transport::Memory(Arc::new(self.0.link::<R>())))
    }

    /// The current time of the world, which is also [`RoomContext::now_ms`](crate::RoomContext::now_ms).
    ///
    /// It is in milliseconds since the Unix epoch. A new world begins late in 2023.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// Lets time pass, together with everything that happens in it: handlers that sleep continue, and alarms fire.
    ///
    /// It ends when nothing more is due: `advance(Duration::ZERO)` fires the schedules for now, and the schedules for
    /// now that these set. Time ends in the year 275760, with the last moment of a JavaScript `Date`, so
    /// `advance(Duration::MAX)` runs everything that is left.
    ///
    /// # Panics
    /// Panics after 250,000 moments at which timers ended or alarms fired, because a repeating schedule never ends. A
    /// room with peers has an alarm every five minutes, its [watchdog](crate::Room::WATCHDOG_MS).
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.0.advance(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Sets the clock forward, or back by a negative number of milliseconds, and runs nothing. The new time is at least 0,
    /// and at most 8,640,000,000,000,000, the last one of JavaScript.
    ///
    /// The clocks of Cloudflare's machines differ, and an object can move between them. Schedules, and the ends of kept places and
    /// of sessions, are due by the new time. If the step makes them due, they happen at the next [`advance`](World::advance), also
    /// at one by `Duration::ZERO`. Handlers that [sleep](crate::RoomContext::sleep) do so for as long as before.
    ///
    /// ```
    /// use room_runtime::testing::World;
    ///
    /// let world = World::new();
    /// let begin_ms = world.now_ms();
    /// world.step_clock(-1_500);
    /// assert_eq!(world.now_ms(), begin_ms - 1_500);
    /// ```
    pub fn step_clock(&self, by_ms: i64) {
        self.0.clock.step(by_ms);
    }

    /// Runs nothing until `work` has ended, so that its actions arrive together.
    ///
    /// `work` can only contain actions that need no answer: it can send and close, but not connect and call.
    pub fn together<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.hold(work)
    }

    /// Runs a future of the code under test, together with the world.
    ///
    /// Time passes whenever everything waits for it. The future can consist of several futures that wait for each
    /// other, as those of `join!`, `select!` and `join_all` do.
    ///
    /// # Panics
    /// Panics if the future waits for something that cannot happen, or if it is not ready after 100,000 moments at which
    /// timers ended or alarms fired. The message lists the unfinished work of the rooms.
    #[track_caller]
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }

    /// Runs a future beside the rooms, as `wait_until` does in a Worker: for example the driver of a client.
    ///
    /// It goes on whenever the rooms do. A future that is not ready when the world is dropped is dropped with it.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.spawn(future);
    }

    /// Checks that no room has logged an error, except those that [`TestRoom::take_log`] has taken.
    ///
    /// An error is a handler that failed or panicked.
    ///
    /// # Panics
    /// Panics if there are errors; the message lists them.
    #[track_caller]
    pub fn assert_no_errors(&self) {
        assert_none(&self.0.errors());
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now_ms", &self.now_ms()).finish_non_exhaustive()
    }
}

#[track_caller]
fn assert_none(errors: &[String]) {
    assert!(errors.is_empty(), "the log has errors:\n  {}", errors.join("\n  "));
}

/// A room in a native test, on a platform in memory. A clone is another handle of the same room.
///
/// [`TestRoom::new`] creates one with a clock of its own, and [`World::room`] one of several that can call each other.
/// [`send`](TestRoom::send), [`state`](TestRoom::state) and others are the calls of a Worker, as plain functions.
/// [`hibernate`](TestRoom::hibernate), [`crash`](TestRoom::crash), [`fail_writes`](TestRoom::fail_writes) and others control the
/// platform.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
/// use std::time::Duration;
///
/// #[room]
/// pub mod counter {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub count: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Add {} }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use std::time::Duration;
///     pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
///         ctx.update(|state| state.count += 1)?;
///         ctx.sleep(Duration::from_secs(1)).await;
///         ctx.update(|state| state.count += 10)?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<counter::Room>::new("main");
/// let ada = room.connect(Upgrade::new(counter::Connection {}));
/// ada.send(&counter::Event::Add {});
/// assert!(room.is_busy());
/// // A crash in the middle of the handler keeps what was stored before it waited.
/// room.crash();
/// room.advance(Duration::from_secs(5));
/// assert_eq!(room.state()?, Some(counter::State { count: 1 }));
/// assert!(ada.is_open());
/// # Ok(())
/// # }
/// ```
pub struct TestRoom<R: Room> {
    world: World,
    id: RoomId,
    pub(crate) object: Rc<Object>,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> TestRoom<R> {
    /// Creates a room in its own world.
    pub fn new(id: impl Into<RoomId>) -> Self {
        World::new().room(id)
    }

    /// Creates a room with services in its own world; [`World::provide`] provides them in a larger world.
    pub fn with_services(id: impl Into<RoomId>, make: impl Fn() -> Result<R::Services, Failure> + 'static) -> Self {
        let world = World::new();
        world.provide::<R>(make);
        world.room(id)
    }

    /// The world of the room.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The room's id.
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// Returns the Worker's handle of the room, for code under test that expects a [`RoomHandle`].
    pub fn handle(&self) -> RoomHandle<R> {
        self.world.client().room(&self.id)
    }

    // Peers.

    /// Connects a new peer.
    ///
    /// In a room with a `#[call]` for peers the peer offers [`room.v1`](crate::SUBPROTOCOL), as clients that call do. Its methods are the
    /// same, but [`receive_raw`](TestPeer::receive_raw) returns the frames of that protocol. A plain client of such a room offers
    /// `room.json` in [`try_connect_with`](TestRoom::try_connect_with).
    ///
    /// # Panics
    /// Panics if the room refuses the peer; [`try_connect`](TestRoom::try_connect) returns the refusal.
    #[track_caller]
    pub fn connect(&self, upgrade: Upgrade<R::Connection>) -> TestPeer<R> {
        match self.try_connect(upgrade) {
            Ok(peer) => peer,
            Err(refusal) => {
                let errors = self.object.memory.errors.borrow().join("\n  ");
                let log = if errors.is_empty() { errors } else { format!("\nthe log of the room:\n  {errors}") };
                panic!("the room did not let this peer in: {refusal}{log}")
            }
        }
    }

    /// Connects a new peer, if the room accepts it.
    ///
    /// # Errors
    /// The room's response (the room is full, the peer is a duplicate, or `on_upgrade` refused), or the error of the
    /// upgrade. A peer whose `on_connect` fails is connected and then closed with 1011; a peer that `on_connect`
    /// refuses is closed with 1008.
    pub fn try_connect(&self, upgrade: Upgrade<R::Connection>) -> Result<TestPeer<R>, Refusal> {
        self.try_connect_with(Request::default(), upgrade)
    }

    /// Connects a new peer with this request, which `on_upgrade` can read.
    ///
    /// A client offers [`room.v1`](crate::SUBPROTOCOL), or other subprotocols, in the header `sec-websocket-protocol`. Without
    /// that header it does as in [`connect`](TestRoom::connect).
    ///
    /// # Errors
    /// The errors of [`try_connect`](TestRoom::try_connect).
    pub fn try_connect_with(
        &self,
        request: Request<()>,
        upgrade: Upgrade<R::Connection>,
    ) -> Result<TestPeer<R>, Refusal> {
        let request = calls::offering::<R>(request);
        let connected = self.world.block_on(self.begin_connect_with(request, upgrade));
        self.world.0.settle();
        connected
    }

    /// Connects a new peer in a future, for a connection that happens at the same time as something else.
    pub fn begin_connect(
        &self,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<TestPeer<R>, Refusal>> + use<R> {
        self.begin_connect_with(calls::offering::<R>(Request::default()), upgrade)
    }

    fn begin_connect_with(
        &self,
        request: Request<()>,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<TestPeer<R>, Refusal>> + use<R> {
        let ticket = ticket(&self.world.0.link::<R>());
        let prepare = prepare(&ticket, upgrade);
        self.begin_connect_prepared(ticket, prepare, request)
    }

    /// Connects with the Worker's half of the upgrade, as it is sent to the room.
    fn begin_connect_prepared(
        &self,
        ticket: String,
        prepare: Result<String, Error>,
        request: Request<()>,
    ) -> impl Future<Output = Result<TestPeer<R>, Refusal>> + use<R> {
        let link = self.world.0.link::<R>();
        // As on the platform, several headers of one name are one list.
        let origins = request.headers().get_all(ORIGIN_HEADER).iter();
        let origins: Vec<_> = origins.map(|origin| String::from_utf8_lossy(origin.as_bytes())).collect();
        let origin = (!origins.is_empty()).then(|| origins.join(", "));
        let is_allowed = Origins::of(R::ALLOWED_ORIGINS).is_none_or(|origins| origins.allow(origin.as_deref()));
        // The Worker refuses such a request without a call to the room.
        let opening = is_allowed.then(|| link.open(&address(&self.id, None), ticket, prepare, request));
        let (world, object, room) = (self.world.clone(), self.object.clone(), self.id.clone());
        async move {
            let Some(opening) = opening else {
                let response = wire::http_codec::text(StatusCode::FORBIDDEN, NOT_ALLOWED);
                return Err(Refusal::Response(Box::new(response)));
            };
            match opening.await {
                Ok((_, Answer::Socket(socket))) => {
                    let marked = object.memory.tags(socket);
                    let of = |mark: char| marked.iter().filter_map(move |tag| tag.strip_prefix(mark));
                    let id = PeerId::from(of(ID_MARK).collect::<String>());
                    let tags = of(TAG_MARK).map(str::to_owned).collect();
                    let (unpacked, resume_token) = (RefCell::default(), RefCell::default());
                    let (calls, position) = (RefCell::default(), Cell::default());
                    let types = PhantomData;
                    let peer = TestPeer {
                        world,
                        object,
                        socket,
                        id,
                        tags,
                        unpacked,
                        resume_token,
                        calls,
                        position,
                        room,
                        types,
                    };
                    if peer.with_socket(|socket| socket.v1) {
                        peer.begin_calls();
                    }
                    Ok(peer)
                }
                Ok((_, Answer::Response(response))) => Err(Refusal::Response(Box::new(response))),
                Err(error) => Err(Refusal::Error(error.in_room(&room))),
            }
        }
    }

    // The interface of the Worker's client.

    /// Calls [`RoomHandle::send`].
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn send(&self, event: &R::Event) -> Result<(), Error> {
        self.world.block_on(self.handle().send(event).into_future())
    }

    /// Calls [`RoomHandle::state`].
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn state(&self) -> Result<Option<R::State>, Error> {
        self.world.block_on(self.handle().state())
    }

    /// Calls [`RoomHandle::peers`].
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn peers(&self, tag: Option<&str>) -> Result<Vec<PeerInfo<R::Connection>>, Error> {
        self.world.block_on(self.handle().peers(tag))
    }

    /// Calls [`RoomHandle::broadcast`].
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn broadcast(&self, message: &R::Broadcast) -> Result<Delivery, Error> {
        self.world.block_on(self.handle().broadcast(message).into_future())
    }

    /// Calls [`RoomHandle::fire_alarm`].
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn fire_alarm(&self) -> Result<bool, Error> {
        self.world.block_on(self.handle().fire_alarm().into_future())
    }

    /// Calls [`RoomHandle::stats`].
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn stats(&self) -> Result<Stats, Error> {
        self.world.block_on(self.handle().stats())
    }

    /// Calls [`RoomHandle::request`], with the types of the `http` crate.
    ///
    /// # Errors
    /// The errors of the call.
    #[track_caller]
    pub fn request(&self, request: Request<impl Into<Bytes>>) -> Result<Response<Bytes>, Error> {
        self.world.block_on(self.object.clone().request(request.map(Into::into)))
    }

    // Control of the room's platform.

    /// Calls [`World::advance`].
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.world.advance(time);
    }

    /// Hibernates the room: it loses its memory and keeps its sockets, and the next event wakes it.
    ///
    /// # Panics
    /// Panics if a handler or work that it spawned still runs, because the platform does not hibernate such a room.
    #[track_caller]
    pub fn hibernate(&self) {
        self.world.0.settle();
        // The platform hibernates a room after a longer time without work than messages can wait for a batch.
        if R::BATCH_MS > 0 {
            self.world.advance(Duration::from_millis(R::BATCH_MS));
        }
        if let Err(busy) = self.object.hibernate() {
            panic!("the {} cannot sleep while it works on {busy:?}", self.object.name);
        }
    }

    /// Ends the room in the middle of its work, as a panic does.
    ///
    /// The room keeps its sockets, and the next event loads it again. The senders of the frames and the callers of the
    /// calls that it worked on get an error.
    pub fn crash(&self) {
        self.object.crash();
        self.world.0.settle();
    }

    /// Ends the room together with its sockets, as a restart of the machine or a deploy does.
    pub fn restart(&self) {
        self.object.restart();
        self.world.0.settle();
    }

    /// Ends the room as a [`restart`](TestRoom::restart) does, and continues it as a room of another type: a deploy of changed code.
    ///
    /// Everything that is stored stays: the state, schedules, kept places, sessions and the database. A test writes each
    /// version of the room as a module of its own, and can also deploy the old one again. The old code cannot read a state that
    /// the new one has migrated: each use of it is an error of the kind [`Decode`](crate::ErrorKind::Decode), and the state stays
    /// as it is. Reading the state in the new code is enough to migrate it.
    ///
    /// Calls by the types of all versions reach the new code. A handle of an earlier type remains valid and is then an older
    /// Worker, which still encodes and decodes by its own schemas. Its peers that [reconnect](TestPeer::reconnect) are older clients.
    /// Each version with functions has a trait `Calls` of its own, and its handle needs that one: `use next_counter::Calls as _;`.
    ///
    /// ```
    /// use room_runtime::{prelude::*, testing::TestRoom};
    ///
    /// #[room]
    /// pub mod counter {
    ///     #[derive(Default)]
    ///     pub struct State { pub count: i64 }
    ///     # pub struct Connection {}
    ///     # pub enum Event { Add {} }
    ///     # pub struct Broadcast {}
    ///     // The room's other schemas are here.
    ///
    ///     pub fn on_event(ctx: &Ctx, _: Event) -> Result {
    ///         ctx.update(|state| state.count += 1)?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// #[room(state_version = 1)]
    /// pub mod next_counter {
    ///     use room_runtime::prelude::*;
    ///
    ///     #[derive(Default)]
    ///     pub struct State { pub total: i64 }
    ///     # pub struct Connection {}
    ///     # pub enum Event { Add {} }
    ///     # pub struct Broadcast {}
    ///     // The room's other schemas are here.
    ///
    ///     pub fn migrate(_version: u32, old: serde_json::Value) -> Result<State> {
    ///         Ok(State { total: old["count"].as_i64().unwrap_or_default() })
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let old = TestRoom::<counter::Room>::new("main");
    /// old.send(&counter::Event::Add {})?;
    /// let room = old.deploy::<next_counter::Room>();
    /// assert_eq!(room.state()?, Some(next_counter::State { total: 1 }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Panics if the test has another room of that type with the same id, also one that it has not used yet.
    #[track_caller]
    pub fn deploy<Next: Room>(&self) -> TestRoom<Next> {
        self.world.0.deploy::<Next>(&self.object);
        self.world.0.settle();
        TestRoom { world: self.world.clone(), id: self.id.clone(), object: self.object.clone(), room: PhantomData }
    }

    /// Returns whether the room is in memory.
    pub fn is_in_memory(&self) -> bool {
        self.object.is_in_memory()
    }

    /// The number of times that the room was loaded into memory.
    pub fn incarnations(&self) -> u64 {
        self.object.incarnations.get()
    }

    /// Returns whether a handler or work that a handler spawned still runs.
    pub fn is_busy(&self) -> bool {
        !self.object.unfinished().is_empty()
    }

    /// Makes every read from storage fail, until it is called with `false`.
    pub fn fail_reads(&self, fail: bool) {
        self.object.memory.reads_fail.set(fail);
    }

    /// Makes every write to storage fail, until it is called with `false`.
    ///
    /// This includes the state, schedules, and statements that change the database.
    pub fn fail_writes(&self, fail: bool) {
        self.object.memory.writes_fail.set(fail);
    }

    /// Makes every call to the room fail before it reaches the room, until it is called with `false`.
    ///
    /// The calls are those of other rooms and of the client, also in this test. They fail with
    /// [`ErrorKind::Overloaded`], which no client retries.
    pub fn fail_calls(&self, fail: bool) {
        self.object.memory.calls_fail.set(fail);
    }

    /// Loses the answer to every call that the room handles, until it is called with `false`.
    ///
    /// The caller gets [`ErrorKind::Restarted`], as after a crash between the work and the answer.
    pub fn lose_answers(&self, lose: bool) {
        self.object.memory.answers_are_lost.set(lose);
    }

    /// Removes the platform's alarm for the room, as the platform does when it stops its retries.
    pub fn lose_alarm(&self) {
        self.object.memory.alarm.set(None);
    }

    /// Returns the errors that the room has logged since the last call.
    pub fn take_log(&self) -> Vec<String> {
        self.object.memory.errors.take()
    }

    /// Checks that the room has logged no error, except those that [`take_log`](TestRoom::take_log) has taken.
    ///
    /// # Panics
    /// Panics if there are errors; the message lists them.
    #[track_caller]
    pub fn assert_no_errors(&self) {
        assert_none(&self.object.memory.errors.borrow());
    }

    /// Runs a statement on the room's database and returns its rows.
    ///
    /// The rows have the types of [`Sql::query`](crate::Sql::query). This does not wake the room. The statement can also
    /// change the database: a test can create tables before the room is loaded into memory.
    ///
    /// # Errors
    /// The errors of [`Sql::query`](crate::Sql::query).
    pub fn query<T: DeserializeOwned>(&self, statement: &str, parameters: impl SqlParameters) -> Result<Vec<T>, Error> {
        let rows = crate::api::sql::run(&*self.object.memory, statement, parameters);
        let rows = rows.and_then(|rows| rows.read());
        rows.map_err(|error| Error::new(ErrorKind::Sql, error).in_room(&self.id))
    }

    /// The stored state of the room, as JSON.
    pub fn stored_state(&self) -> Option<String> {
        let bytes = self.object.memory.stored(wire::keys::STATE)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Replaces the stored state of the room, for example with the state of an older version.
    ///
    /// A room that is in memory does not notice it.
    pub fn store_state(&self, json: &str) {
        self.object.memory.store(wire::keys::STATE, json.as_bytes());
    }
}

impl<R: Room> Clone for TestRoom<R> {
    fn clone(&self) -> Self {
        TestRoom { world: self.world.clone(), id: self.id.clone(), object: self.object.clone(), room: PhantomData }
    }
}

impl<R: Room> fmt::Debug for TestRoom<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRoom").field("name", &R::NAME).field("id", &self.id).finish_non_exhaustive()
    }
}

/// The reason why a peer is not connected, from [`TestRoom::try_connect`].
///
/// ```
/// use room_runtime::{prelude::*, testing::{Refusal, TestRoom}};
///
/// #[room]
/// pub mod club {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub age: u32 }
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
///         if upgrade.data.age < 18 {
///             return Err(Reject::new(403, "too young"));
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() {
/// let room = TestRoom::<club::Room>::new("main");
/// let refusal = room.try_connect(Upgrade::new(club::Connection { age: 17 })).expect_err("a refusal");
/// assert_eq!(refusal.status(), Some(403));
/// let Refusal::Response(response) = refusal else { panic!("{refusal}") };
/// assert_eq!(response.body(), "too young");
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The response of the room or of its `on_upgrade`.
    Response(Box<Response<Bytes>>),
    /// The error of the upgrade.
    Error(Error),
}

impl Refusal {
    /// The status of the response; `None` for an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Refusal::Response(response) => Some(response.status().as_u16()),
            Refusal::Error(_) => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Response(response) => {
                write!(f, "{} {}", response.status(), String::from_utf8_lossy(response.body()))
            }
            Refusal::Error(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// A frame that a client received, from [`TestPeer::receive_any`].
///
/// ```
/// use room_runtime::{prelude::*, testing::{TestFrame, TestRoom}};
///
/// #[room]
/// pub mod canvas {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { Size { width: u32 } }
///     // The room's schemas are here.
///     pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
///         peer.send(&Broadcast::Size { width: 2 })?;
///         peer.send_bytes(&[0xff, 0x00])?;
///         Ok(())
///     }
/// }
///
/// # fn main() {
/// let ada = TestRoom::<canvas::Room>::new("main").connect(Upgrade::new(canvas::Connection {}));
/// assert_eq!(ada.receive_any(), Some(TestFrame::Text(r#"{"type":"Size","width":2}"#.into())));
/// assert_eq!(ada.receive_any(), Some(TestFrame::Binary(vec![0xff, 0x00].into())));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestFrame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
}

/// Returns a frame as the text of a notice, if it can be one.
fn notice_text(frame: &OwnedFrame) -> Option<String> {
    match frame {
        OwnedFrame::Text(text) => Some(text.clone()),
        OwnedFrame::Binary(bytes) => wire::unpack_notice(bytes),
    }
}

fn is_notice(frame: &OwnedFrame) -> bool {
    notice_text(frame).is_some_and(|text| wire::Notice::parse(&text).is_some())
}

/// Returns the resume token in a frame.
fn token_in(frame: &OwnedFrame) -> Option<String> {
    match wire::Notice::parse(&notice_text(frame)?)? {
        wire::Notice::Resume(token) => Some(token.into_owned()),
        wire::Notice::Error { .. } => None,
    }
}

/// A client of the room, with its end of the WebSocket, from [`TestRoom::connect`].
///
/// Messages, error frames and binary frames wait until the test takes them. If the value is dropped, the connection stays
/// open: [`close`](TestPeer::close) and [`disconnect`](TestPeer::disconnect) end it.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub enum Broadcast { Said { text: String } }
///     # pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///     #     let Event::Say { text } = event;
///     #     if text.is_empty() {
///     #         return Err(ctx.refuse("say something"));
///     #     }
///     #     ctx.broadcast(&Broadcast::Said { text })?;
///     #     Ok(())
///     # }
///     // A room that refuses an empty text and broadcasts any other.
/// }
///
/// # fn main() {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}).id("ada"));
/// let bob = room.connect(Upgrade::new(chat::Connection {}).id("bob"));
/// ada.send(&chat::Event::Say { text: "hi".into() });
/// assert_eq!(bob.received(), [chat::Broadcast::Said { text: "hi".into() }]);
/// ada.send(&chat::Event::Say { text: String::new() });
/// let error = ada.receive_error().expect("an error frame");
/// assert_eq!(error.message(), "say something");
/// bob.disconnect();
/// assert!(!bob.is_open());
/// # }
/// ```
pub struct TestPeer<R: Room> {
    world: World,
    object: Rc<Object>,
    socket: Socket,
    id: PeerId,
    tags: Vec<String>,
    /// The other messages of a frame from which one message was taken, for clients of `room.v1`. Its errors and its session
    /// follow them, as the frames that a plain client gets.
    unpacked: RefCell<VecDeque<OwnedFrame>>,
    /// The last resume token in the frames that were taken.
    resume_token: RefCell<Option<String>>,
    /// The calls of this peer, with their outcomes.
    calls: RefCell<calls::Calls>,
    /// The position of the last message in the frames that were taken.
    position: Cell<u64>,
    /// The id of the room.
    room: RoomId,
    types: PhantomData<fn() -> R>,
}

impl<R: Room> TestPeer<R> {
    /// The peer's id.
    pub fn id(&self) -> &PeerId {
        &self.id
    }

    /// The peer's tags.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    // Actions of the client.

    /// Sends an event to the room. A client of [`room.v1`](crate::SUBPROTOCOL) sends it without a number.
    ///
    /// # Panics
    /// Panics if the event is not serializable.
    #[track_caller]
    pub fn send(&self, event: &R::Event) {
        let is_v1 = self.with_socket(|socket| socket.v1);
        let encoded = match self.is_packed() {
            true => wire::msgpack::encode_event(event)
                .map(|event| OwnedFrame::Binary(if is_v1 { [&[0x92, 0][..], &event].concat() } else { event })),
            false => wire::encode_event(event)
                .map(|event| OwnedFrame::Text(if is_v1 { format!("[0,{event}]") } else { event })),
        };
        match encoded {
            Ok(frame) => self.send_frame(frame),
            Err(error) => panic!("{error}"),
        }
    }

    fn is_packed(&self) -> bool {
        self.with_socket(|socket| socket.is_packed)
    }

    /// Sends any text to the room.
    ///
    /// The platform answers the room's [heartbeat](crate::Room::HEARTBEAT) and does not wake the room;
    /// [`receive_raw`](TestPeer::receive_raw) returns the answer.
    pub fn send_raw(&self, text: impl Into<String>) {
        let text = text.into();
        self.calls.borrow_mut().note(&text);
        self.send_frame(OwnedFrame::Text(text));
    }

    /// Sends a binary frame to the room.
    pub fn send_binary(&self, bytes: impl Into<Vec<u8>>) {
        self.send_frame(OwnedFrame::Binary(bytes.into()));
    }

    fn send_frame(&self, frame: OwnedFrame) {
        // A browser ignores frames for a closed connection too.
        let gone = self.with_socket(|socket| socket.closing || socket.ended.is_some());
        if !gone {
            self.object.clone().frame(self.socket, frame);
            self.world.0.settle();
        }
    }

    /// Sends the room's heartbeat, which the platform answers without waking the room.
    ///
    /// In a room with a [`peer_timeout`](crate::Room::PEER_TIMEOUT_MS), a test that lets time pass has to call this, or the
    /// room closes the peer. The heartbeat is also a sign that the client [reads](crate::Limits::max_unread_bytes) and that it continues to send
    /// heartbeats. The answer arrives as after [`send_raw`](TestPeer::send_raw).
    pub fn heartbeat(&self) {
        self.send_raw(R::HEARTBEAT.0);
    }

    /// Closes the connection with 1000 and no reason.
    pub fn close(&self) {
        self.close_with(CloseCode::NORMAL, "");
    }

    /// Closes the connection.
    pub fn close_with(&self, code: CloseCode, reason: &str) {
        self.end(Close::new(code.get(), reason.to_owned(), true));
    }

    /// Ends the connection without a close frame, as a failure of the network does. The room gets 1006.
    pub fn disconnect(&self) {
        self.end(Close::new(1006, String::new(), false));
    }

    /// Connects again, as the clients of this repository do after a lost connection: with the session and the position of the
    /// messages that have arrived, or as a plain client with the [resume token](TestPeer::resume_token).
    ///
    /// A connection that is open ends first, as by [`disconnect`](TestPeer::disconnect). The new peer has the same id and
    /// tags. In a room with `replay` it gets the messages that a client of `room.v1` has missed. Messages that have arrived and
    /// were not taken stay with the old value.
    ///
    /// # Panics
    /// Panics if the room refuses the peer.
    #[track_caller]
    pub fn reconnect(&self, data: R::Connection) -> TestPeer<R> {
        if self.is_open() {
            self.disconnect();
        }
        let mut upgrade = Upgrade::new(data).id(self.id.clone()).tags(self.tags.clone());
        let mut request = Request::default();
        let (token, mut offer) = (self.resume_token(), self.protocol());
        if self.with_socket(|socket| socket.v1) {
            if let (Some(offer), Some(token)) = (&mut offer, token) {
                let from = self.calls.borrow().next();
                offer.push_str(&format!(", {SUBPROTOCOL}.resume.{token}.{from}.{}", self.position()));
            }
        } else if let Some(token) = token {
            upgrade = upgrade.resume(token);
        }
        // Also a plain client offers what it spoke before: without an offer, it would connect as in `connect`.
        let offer = offer.and_then(|offer| http::HeaderValue::from_str(&offer).ok());
        request.headers_mut().extend(offer.map(|offer| (http::header::SEC_WEBSOCKET_PROTOCOL, offer)));
        let room = TestRoom {
            object: self.object.clone(),
            world: self.world.clone(),
            id: self.room.clone(),
            room: PhantomData,
        };
        match room.try_connect_with(request, upgrade) {
            Ok(peer) => peer,
            Err(refusal) => panic!("the room did not let peer `{}` in again: {refusal}", self.id),
        }
    }

    /// The position of the last message that has arrived.
    fn position(&self) -> u64 {
        let waiting: Vec<_> = self.with_socket(|socket| socket.received.iter().cloned().collect());
        waiting.iter().for_each(|frame| self.note_position(frame));
        self.position.get()
    }

    fn note_position(&self, frame: &OwnedFrame) {
        let controls = self.parts(frame).map(|(controls, _)| controls).unwrap_or_default();
        for control in controls {
            let at = match control.get("welcome") {
                Some(welcome) if welcome["resumed"] == true && welcome["gap"] != true => None,
                Some(welcome) => welcome["at"].as_u64(),
                None => control["at"].as_u64(),
            };
            if let Some(at) = at {
                self.position.set(at);
            }
        }
    }

    fn end(&self, close: Close) {
        close_by_client(self.object.clone(), self.socket, close);
        self.world.0.settle();
    }

    // Observations of the client.

    /// The subprotocol that the handshake chose.
    pub fn protocol(&self) -> Option<String> {
        self.with_socket(|socket| socket.protocol.clone())
    }

    /// Returns the next message; `None` if there is none.
    ///
    /// The frame with the [`resume_token`](TestPeer::resume_token) and the answers to heartbeats are not messages.
    ///
    /// # Panics
    /// Panics if the next frame is an error frame of the runtime, which [`receive_error`](TestPeer::receive_error)
    /// returns, or is not a `Broadcast`.
    #[track_caller]
    pub fn receive(&self) -> Option<R::Broadcast> {
        loop {
            let frame = self.receive_frame()?;
            let received = match &frame {
                OwnedFrame::Text(text) if text == R::HEARTBEAT.1 => continue,
                OwnedFrame::Text(text) => room_socket::decode(text),
                OwnedFrame::Binary(bytes) if self.is_packed() => room_socket::decode_packed(bytes),
                OwnedFrame::Binary(bytes) => panic!(
                    "peer `{}` received a binary frame of {} bytes, not a message\n`receive_bytes` takes binary frames",
                    self.id,
                    bytes.len()
                ),
            };
            match received {
                Ok(Received::Message(message)) => return Some(message),
                Ok(Received::ResumeToken(token)) => drop(self.resume_token.replace(Some(token))),
                Err(_) if is_notice(&frame) => panic!(
                    "peer `{}` received an error frame, not a message: {}\n`receive_error` takes error frames",
                    self.id,
                    notice_text(&frame).unwrap_or_default()
                ),
                Err(error) => panic!("peer `{}` received {frame:?}: {error}", self.id),
            }
        }
    }

    /// Returns the next binary frame; `None` if there is none. Earlier messages stay in place.
    ///
    /// For a client that speaks [MessagePack](crate::Codec::MessagePack) every frame of the room is binary.
    pub fn receive_bytes(&self) -> Option<Bytes> {
        let waiting = self.waiting();
        let (at, bytes) = waiting.into_iter().enumerate().find_map(|(at, frame)| match frame {
            OwnedFrame::Binary(bytes) => Some((at, bytes)),
            OwnedFrame::Text(_) => None,
        })?;
        self.take(at);
        Some(bytes.into())
    }

    /// Returns the next error frame of the runtime; `None` if there is none. Earlier messages stay in place.
    pub fn receive_error(&self) -> Option<Error> {
        let waiting = self.waiting();
        let (at, error) =
            waiting.iter().enumerate().find_map(|(at, frame)| match wire::Notice::parse(&notice_text(frame)?)? {
                wire::Notice::Error { code, message, violations, .. } => {
                    Some((at, Error::new(code, message).with_violations(violations.into_owned())))
                }
                wire::Notice::Resume(_) => None,
            })?;
        self.take(at);
        Some(error)
    }

    /// The token for [`Upgrade::resume`], in a room with a grace.
    ///
    /// A room with a [`reconnect_grace`](crate::Room::RECONNECT_GRACE_MS) sends it when it accepts the peer.
    pub fn resume_token(&self) -> Option<String> {
        let waiting = self.waiting();
        let token = waiting.iter().rev().find_map(token_in);
        token.or_else(|| self.resume_token.borrow().clone())
    }

    /// Returns everything that has arrived and was not taken, one message in each frame.
    fn waiting(&self) -> Vec<OwnedFrame> {
        let arrived: Vec<_> = self.with_socket(|socket| socket.received.iter().cloned().collect());
        let mut waiting: Vec<_> = self.unpacked.borrow().iter().cloned().collect();
        waiting.extend(arrived.iter().flat_map(|frame| self.messages(frame)));
        waiting
    }

    /// Takes one of the [waiting](TestPeer::waiting) messages.
    fn take(&self, at: usize) {
        let mut unpacked = self.unpacked.borrow_mut();
        if at < unpacked.len() {
            unpacked.remove(at);
            return;
        }
        if !self.with_socket(|socket| socket.v1) {
            let at = at - unpacked.len();
            self.with_socket(|socket| socket.received.remove(at));
            return;
        }
        let frames: Vec<_> = self.with_socket(|socket| socket.received.drain(..).collect());
        frames.iter().for_each(|frame| self.note_position(frame));
        unpacked.extend(frames.iter().flat_map(|frame| self.messages(frame)));
        unpacked.remove(at);
    }

    /// Returns the messages of one frame.
    fn messages(&self, frame: &OwnedFrame) -> Vec<OwnedFrame> {
        if !self.with_socket(|socket| socket.v1) {
            return vec![frame.clone()];
        }
        let Some((controls, mut messages)) = self.parts(frame) else { return vec![frame.clone()] };
        let calls = self.calls.borrow();
        let notices = controls.into_iter().filter_map(|control| match control.get("welcome") {
            Some(welcome) => Some(serde_json::json!({ "resume": welcome["session"] })),
            None => (control.get("error").is_some() && !calls.has(&control)).then_some(control),
        });
        messages.extend(notices.map(|notice| OwnedFrame::Text(serde_json::json!({ "$room": notice }).to_string())));
        messages
    }

    /// Returns the controls and the messages of a frame of `room.v1`; `None` for any other frame.
    fn parts(&self, frame: &OwnedFrame) -> Option<(Vec<serde_json::Value>, Vec<OwnedFrame>)> {
        let (controls, messages) = match frame {
            // The platform sends the answer to a heartbeat as a frame of its own.
            OwnedFrame::Text(text) if text == R::HEARTBEAT.1 => return None,
            OwnedFrame::Text(text) => match serde_json::from_str::<VecDeque<Box<RawValue>>>(text) {
                Ok(mut parts) => {
                    let controls = parts.pop_front().map_or_else(String::new, |controls| controls.get().to_owned());
                    (controls, parts.iter().map(|part| OwnedFrame::Text(part.get().to_owned())).collect::<Vec<_>>())
                }
                Err(error) => panic!("peer `{}` got {text}: {error}", self.id),
            },
            // A binary frame to a client that speaks JSON is one of the room's own protocol.
            OwnedFrame::Binary(_) if !self.is_packed() => return None,
            OwnedFrame::Binary(bytes) => {
                let Some(parts) = wire::msgpack::elements(bytes) else {
                    panic!("peer `{}` got {bytes:x?}, which is not a frame of room.v1", self.id)
                };
                let controls = parts.first().map(|part| wire::msgpack::decode_message::<serde_json::Value>(part));
                let controls = controls.and_then(Result::ok).unwrap_or_default().to_string();
                (controls, parts.iter().skip(1).map(|part| OwnedFrame::Binary(part.to_vec())).collect())
            }
        };
        let controls = serde_json::from_str::<Vec<serde_json::Value>>(&controls).unwrap_or_default();
        Some((controls, messages))
    }

    fn receive_frame(&self) -> Option<OwnedFrame> {
        // A frame can have controls only, such as the answer to a call.
        while self.unpacked.borrow().is_empty() {
            let frame = self.take_frame()?;
            self.unpacked.borrow_mut().extend(self.messages(&frame));
        }
        self.unpacked.borrow_mut().pop_front()
    }

    /// Takes the next frame, and records the resume token in it.
    fn take_frame(&self) -> Option<OwnedFrame> {
        let frame = self.with_socket(|socket| socket.received.pop_front())?;
        if self.with_socket(|socket| socket.v1) {
            self.note_position(&frame);
        }
        if let Some(token) = self.messages(&frame).iter().find_map(token_in) {
            self.resume_token.replace(Some(token));
        }
        Some(frame)
    }

    /// Returns the next frame as text; `None` if there is none. A client that [offered `room.v1`](crate::SUBPROTOCOL)
    /// gets its frames, with their controls.
    ///
    /// # Panics
    /// Panics if the next frame is binary; [`receive_bytes`](TestPeer::receive_bytes) returns those.
    #[track_caller]
    pub fn receive_raw(&self) -> Option<String> {
        match self.take_frame()? {
            OwnedFrame::Text(text) => Some(text),
            OwnedFrame::Binary(bytes) => panic!("peer `{}` received a binary frame of {} bytes", self.id, bytes.len()),
        }
    }

    /// Returns the next frame; `None` if there is none.
    pub fn receive_any(&self) -> Option<TestFrame> {
        Some(match self.take_frame()? {
            OwnedFrame::Text(text) => TestFrame::Text(text),
            OwnedFrame::Binary(bytes) => TestFrame::Binary(bytes.into()),
        })
    }

    /// Returns all messages that [`receive`](TestPeer::receive) would return one by one.
    ///
    /// # Panics
    /// Panics if [`receive`](TestPeer::receive) does.
    #[track_caller]
    pub fn received(&self) -> Vec<R::Broadcast> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive() {
            messages.push(message);
        }
        messages
    }

    /// Returns whether the connection is open for the client.
    pub fn is_open(&self) -> bool {
        self.with_socket(|socket| !socket.closing && socket.ended.is_none())
    }

    /// The close of the connection for the client: its code and its reason. The code of a lost connection is 1006.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.with_socket(|socket| socket.ended.clone())
    }

    // Faults of the client.

    /// Makes the client's socket accept no frames, until it is called with `false`.
    pub fn fail_sends(&self, fail: bool) {
        self.with_socket(|socket| socket.refuses = fail);
    }

    /// Makes the client never answer a close of the room, as a client does that has lost its network.
    ///
    /// A later [`disconnect`](TestPeer::disconnect) still reaches the room.
    pub fn stop_responding(&self) {
        self.with_socket(|socket| socket.unresponsive = true);
    }

    fn with_socket<T>(&self, change: impl FnOnce(&mut crate::platform::memory::MemorySocket) -> T) -> T {
        self.object.memory.with_socket(self.socket, change)
    }
}

impl<R: Room> fmt::Debug for TestPeer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPeer").field("id", &self.id).field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}
