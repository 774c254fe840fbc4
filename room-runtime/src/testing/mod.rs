//! Rooms in native tests: the same engine, the same handlers, no runtime and no waiting.
//!
//! A [`TestRoom`] is a room on a platform in memory. Peers connect to it, the Worker calls it, time passes when the test
//! says so; it can be put to sleep, crashed in the middle of a handler, restarted without its sockets, and its storage and
//! its sockets can be made to fail. Everything is deterministic: what may happen in more than one order happens in the
//! order that the [seed](World::with_seed) decides.
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
//! A test lets time pass with [`TestRoom::advance`], ends the room with [`crash`](TestRoom::crash) or
//! [`restart`](TestRoom::restart), and makes storage fail with [`fail_writes`](TestRoom::fail_writes) and
//! [`fail_reads`](TestRoom::fail_reads). Two rooms that call each other are rooms of one [`World`]. Rooms with services get
//! them from [`TestRoom::with_services`] or [`World::provide`], and [`TestRoom::query`] reads a room's database.
//!
//! A test that fails prints what its rooms have logged, with the time. [`TestRoom::assert_no_errors`] fails when a handler has
//! failed, and [`TestRoom::take_log`] takes the errors that a test expects.
//!
//! What a test does is carried to its end before it goes on: after `alice.send(…)` the handler has run, up to where it waits
//! for time to pass ([`RoomContext::sleep`](crate::RoomContext::sleep)) or for something else. [`World::together`] lets
//! several things arrive before anything runs.

mod world;

use std::{cell::RefCell, collections::VecDeque, fmt, future::Future, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use self::world::{Answer, AnyObject, Object, address, close_by_client, ticket};
pub(crate) use self::world::{Inner, register};
use crate::{
    Close, CloseCode, Delivery, Error, ErrorKind, Failure, PeerId, PeerInfo, Room, RoomClient, RoomHandle, RoomId,
    SqlParameters, Upgrade,
    api::{
        client::prepare,
        room_socket::{self, Notice, Received},
    },
    platform::{OwnedFrame, Platform, Socket, transport::Transport},
    wire::{
        self,
        handshake::{ID_MARK, TAG_MARK},
    },
};

/// What the rooms of a test share: a clock, and an order of events. Each room may have peers in it, and call the others.
#[derive(Clone)]
pub struct World(Rc<Inner>);

impl World {
    /// A world in which what was ready first runs first.
    #[allow(clippy::new_without_default, reason = "a world is a thing, not a value")]
    pub fn new() -> Self {
        World(Inner::new(None))
    }

    /// A world in which the seed decides what runs next, wherever more than one thing could. The same seed, the same
    /// order: print it, and a failure can be had again.
    pub fn with_seed(seed: u64) -> Self {
        World(Inner::new(Some(seed)))
    }

    /// Gives the rooms of a type their services, made anew each time one comes into memory. Rooms without services need
    /// none.
    pub fn provide<R: Room>(&self, make: impl Fn() -> Result<R::Services, Failure> + 'static) {
        self.0.provide::<R>(make);
    }

    /// A room of this world.
    pub fn room<R: Room>(&self, id: impl Into<RoomId>) -> TestRoom<R> {
        let id = id.into();
        TestRoom { object: self.0.object::<R>(&id), world: self.clone(), id }
    }

    /// The rooms of a type, as the Worker sees them: the client that the code under test may want.
    pub fn client<R: Room>(&self) -> RoomClient<R> {
        RoomClient::over(Transport::Memory(Arc::new(self.0.link::<R>())))
    }

    /// What [`RoomContext::now_ms`](crate::RoomContext::now_ms) says: milliseconds since the Unix epoch, late in 2023 when
    /// the world is new.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// Lets time pass, with everything that falls into it: handlers that sleep go on, alarms fire. It ends when nothing is due
    /// any more: `advance(Duration::ZERO)` fires what is scheduled for now, and what that schedules for now. Time ends in the year
    /// 275760, with the last moment of a JavaScript `Date`: `advance(Duration::MAX)` runs everything there is to run.
    ///
    /// # Panics
    /// When timers end and alarms fire at more than 100,000 moments: a schedule that repeats has no last one.
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.0.advance(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Lets nothing run until `work` has ended, so that what it does arrives together. Only what needs no answer can be
    /// done in it: sending and closing, not connecting and calling.
    pub fn together<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.hold(work)
    }

    /// Runs a future of the code under test, and the world with it. Where everything waits for time, it passes. The future may
    /// consist of several that wait for each other, as those of `join!`, `select!` and `join_all` do.
    ///
    /// # Panics
    /// When the future waits for something that will not come. The message names what the rooms still work on.
    #[track_caller]
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }

    /// Checks that no room has logged an error, but those that [`TestRoom::take_log`] has taken: no handler failed, and none
    /// panicked.
    ///
    /// # Panics
    /// When there are errors; the message lists them.
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

/// A room in a test.
pub struct TestRoom<R: Room> {
    world: World,
    id: RoomId,
    pub(crate) object: Rc<Object<R>>,
}

impl<R: Room> TestRoom<R> {
    /// A room in a world of its own.
    pub fn new(id: impl Into<RoomId>) -> Self {
        World::new().room(id)
    }

    /// A room in a world of its own, with its services; [`World::provide`] gives them to the rooms of a larger world.
    pub fn with_services(id: impl Into<RoomId>, make: impl Fn() -> Result<R::Services, Failure> + 'static) -> Self {
        let world = World::new();
        world.provide::<R>(make);
        world.room(id)
    }

    /// The world it is in.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Which room this is.
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// The room as the Worker sees it, for code under test that wants a [`RoomHandle`].
    pub fn handle(&self) -> RoomHandle<R> {
        self.world.client().room(&self.id)
    }

    // Peers.

    /// A new peer.
    ///
    /// # Panics
    /// When the room does not let it in; [`try_connect`](TestRoom::try_connect) says how.
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

    /// A new peer, if the room lets it in.
    ///
    /// # Errors
    /// The answer of the room: full, a duplicate, refused by `on_upgrade`; or what is wrong with the upgrade. A peer whose
    /// `on_connect` fails gets in and is closed with 1011, one that `on_connect` refuses with 1008.
    pub fn try_connect(&self, upgrade: Upgrade<R::Connection>) -> Result<TestPeer<R>, Refusal> {
        self.try_connect_with(Request::default(), upgrade)
    }

    /// A new peer, with the request that `on_upgrade` is to see. A client that offers
    /// [`room.v1`](crate::SUBPROTOCOL), or other subprotocols, says so in its `sec-websocket-protocol`.
    ///
    /// # Errors
    /// Those of [`try_connect`](TestRoom::try_connect).
    pub fn try_connect_with(
        &self,
        request: Request<()>,
        upgrade: Upgrade<R::Connection>,
    ) -> Result<TestPeer<R>, Refusal> {
        let connected = self.world.block_on(self.begin_connect_with(request, upgrade));
        self.world.0.settle();
        connected
    }

    /// A new peer, in the future: for connections that happen while something else does.
    pub fn begin_connect(
        &self,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<TestPeer<R>, Refusal>> + use<R> {
        self.begin_connect_with(Request::default(), upgrade)
    }

    fn begin_connect_with(
        &self,
        request: Request<()>,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<TestPeer<R>, Refusal>> + use<R> {
        let link = self.world.0.link::<R>();
        let ticket = ticket(&link);
        let prepare = prepare(&ticket, upgrade);
        let opening = link.open(&address(&self.id, None), ticket, prepare, request);
        let (world, object, id) = (self.world.clone(), self.object.clone(), self.id.clone());
        async move {
            match opening.await {
                Ok((_, Answer::Socket(socket))) => {
                    let marked = object.memory.tags(socket);
                    let of = |mark: char| marked.iter().filter_map(move |tag| tag.strip_prefix(mark));
                    let id = PeerId::from(of(ID_MARK).collect::<String>());
                    let tags = of(TAG_MARK).map(str::to_owned).collect();
                    let (unpacked, resume_token) = (RefCell::default(), RefCell::default());
                    Ok(TestPeer { world, object, socket, id, tags, unpacked, resume_token })
                }
                Ok((_, Answer::Response(response))) => Err(Refusal::Response(Box::new(response))),
                Err(error) => Err(Refusal::Error(error.in_room(&id))),
            }
        }
    }

    // What the Worker's client does.

    /// [`RoomHandle::send`].
    ///
    /// # Errors
    /// Those of the call.
    #[track_caller]
    pub fn send(&self, event: &R::Event) -> Result<(), Error> {
        self.world.block_on(self.handle().send(event).into_future())
    }

    /// [`RoomHandle::state`].
    ///
    /// # Errors
    /// Those of the call.
    #[track_caller]
    pub fn state(&self) -> Result<Option<R::State>, Error> {
        self.world.block_on(self.handle().state())
    }

    /// [`RoomHandle::peers`].
    ///
    /// # Errors
    /// Those of the call.
    #[track_caller]
    pub fn peers(&self, tag: Option<&str>) -> Result<Vec<PeerInfo<R::Connection>>, Error> {
        self.world.block_on(self.handle().peers(tag))
    }

    /// [`RoomHandle::broadcast`].
    ///
    /// # Errors
    /// Those of the call.
    #[track_caller]
    pub fn broadcast(&self, message: &R::Broadcast) -> Result<Delivery, Error> {
        self.world.block_on(self.handle().broadcast(message).into_future())
    }

    /// [`RoomHandle::fire_alarm`].
    ///
    /// # Errors
    /// Those of the call.
    #[track_caller]
    pub fn fire_alarm(&self) -> Result<bool, Error> {
        self.world.block_on(self.handle().fire_alarm().into_future())
    }

    /// [`RoomHandle::request`], with the types of the `http` crate.
    ///
    /// # Errors
    /// Those of the call.
    #[track_caller]
    pub fn request(&self, request: Request<impl Into<Bytes>>) -> Result<Response<Bytes>, Error> {
        self.world.block_on(self.object.clone().request(request.map(Into::into)))
    }

    // What happens to a room.

    /// [`World::advance`].
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.world.advance(time);
    }

    /// Puts the room to sleep: what it has in memory is gone; its sockets stay, and whatever arrives wakes it.
    ///
    /// # Panics
    /// When a handler still runs, or something that it spawned: then the platform lets no room sleep.
    #[track_caller]
    pub fn hibernate(&self) {
        self.world.0.settle();
        // A room is left alone for longer than that before it sleeps.
        if R::BATCH_MS > 0 {
            self.world.advance(Duration::from_millis(R::BATCH_MS));
        }
        if let Err(busy) = self.object.hibernate() {
            panic!("the {} cannot sleep while it works on {busy:?}", self.object.name);
        }
    }

    /// Ends the room in the middle of whatever it does, as a panic does. Its sockets stay, and whatever arrives brings it
    /// back; whose frames and calls it was working on are told.
    pub fn crash(&self) {
        self.object.crash();
        self.world.0.settle();
    }

    /// Ends the room together with its sockets, as a restart of the machine or a deploy does.
    pub fn restart(&self) {
        self.object.restart();
        self.world.0.settle();
    }

    /// Whether the room is in memory.
    pub fn is_in_memory(&self) -> bool {
        self.object.is_in_memory()
    }

    /// How often it came into memory.
    pub fn incarnations(&self) -> u64 {
        self.object.incarnations.get()
    }

    /// Whether a handler runs, or something that one spawned.
    pub fn is_busy(&self) -> bool {
        !self.object.unfinished().is_empty()
    }

    /// Makes reading from storage fail, until it is told otherwise.
    pub fn fail_reads(&self, fail: bool) {
        self.object.memory.reads_fail.set(fail);
    }

    /// Makes writing to storage fail, until it is told otherwise: state, schedules, and statements that change the database.
    pub fn fail_writes(&self, fail: bool) {
        self.object.memory.writes_fail.set(fail);
    }

    /// Takes away the alarm that the platform keeps for the room, as the platform does when it gives one up.
    pub fn lose_alarm(&self) {
        self.object.memory.alarm.set(None);
    }

    /// The errors that the room has logged since this was last asked.
    pub fn take_log(&self) -> Vec<String> {
        self.object.memory.errors.take()
    }

    /// Checks that the room has logged no error, but those that [`take_log`](TestRoom::take_log) has taken.
    ///
    /// # Panics
    /// When there are errors; the message lists them.
    #[track_caller]
    pub fn assert_no_errors(&self) {
        assert_none(&self.object.memory.errors.borrow());
    }

    /// The rows of a statement on the room's database, typed as those of [`Sql::query`](crate::Sql::query). The room is not
    /// woken. A statement that changes something works too: a test may prepare tables before the room comes into memory.
    ///
    /// # Errors
    /// Those of [`Sql::query`](crate::Sql::query).
    pub fn query<T: DeserializeOwned>(&self, statement: &str, parameters: impl SqlParameters) -> Result<Vec<T>, Error> {
        let rows = crate::api::sql::run(&*self.object.memory, statement, parameters);
        let rows = rows.and_then(|rows| rows.read());
        rows.map_err(|error| Error::new(ErrorKind::Sql, error).in_room(&self.id))
    }

    /// What is stored as the room's state, as JSON.
    pub fn stored_state(&self) -> Option<String> {
        let bytes = self.object.memory.stored(wire::keys::STATE)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Puts something else into storage as the room's state, as an older version of the room may have left it. A room that
    /// is in memory does not notice.
    pub fn store_state(&self, json: &str) {
        self.object.memory.store(wire::keys::STATE, json.as_bytes());
    }
}

impl<R: Room> Clone for TestRoom<R> {
    fn clone(&self) -> Self {
        TestRoom { world: self.world.clone(), id: self.id.clone(), object: self.object.clone() }
    }
}

impl<R: Room> fmt::Debug for TestRoom<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRoom").field("name", &R::NAME).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a peer was not let in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The room, or its `on_upgrade`, answered with this.
    Response(Box<Response<Bytes>>),
    /// The upgrade failed.
    Error(Error),
}

impl Refusal {
    /// The status of the answer; `None` for an error.
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

/// A client of the room, with its end of the WebSocket.
pub struct TestPeer<R: Room> {
    world: World,
    object: Rc<Object<R>>,
    socket: Socket,
    id: PeerId,
    tags: Vec<String>,
    /// What came in one frame with a message that was taken, where several may.
    unpacked: RefCell<VecDeque<String>>,
    /// The last one in the frames that were taken.
    resume_token: RefCell<Option<String>>,
}

impl<R: Room> TestPeer<R> {
    /// The peer's id.
    pub fn id(&self) -> &PeerId {
        &self.id
    }

    /// Its tags.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    // What the client does.

    /// Sends the room an event.
    ///
    /// # Panics
    /// When the event cannot be JSON.
    #[track_caller]
    pub fn send(&self, event: &R::Event) {
        match wire::encode_event(event) {
            Ok(text) => self.send_raw(text),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends the room any text. The room's [heartbeat](crate::Room::HEARTBEAT) is answered by the platform: the room is not
    /// woken, and [`receive_raw`](TestPeer::receive_raw) gives the answer.
    pub fn send_raw(&self, text: impl Into<String>) {
        self.send_frame(OwnedFrame::Text(text.into()));
    }

    /// Sends the room a binary frame.
    pub fn send_binary(&self, bytes: impl Into<Vec<u8>>) {
        self.send_frame(OwnedFrame::Binary(bytes.into()));
    }

    fn send_frame(&self, frame: OwnedFrame) {
        // What a closed connection is given goes nowhere, here as in a browser.
        let gone = self.with_socket(|socket| socket.closing || socket.ended.is_some());
        if !gone {
            self.object.clone().frame(self.socket, frame);
            self.world.0.settle();
        }
    }

    /// Sends the room's heartbeat, which the platform answers by itself: the room is not woken. It shows that the client
    /// [reads](crate::Limits::max_unread_bytes), and that it will go on sending them. The answer arrives as after
    /// [`send_raw`](TestPeer::send_raw).
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

    /// Loses the connection, as a client does that goes into a tunnel: the room learns of it as 1006.
    pub fn disconnect(&self) {
        self.end(Close::new(1006, String::new(), false));
    }

    fn end(&self, close: Close) {
        close_by_client(self.object.clone(), self.socket, close);
        self.world.0.settle();
    }

    // What the client sees.

    /// The subprotocol that the handshake was answered with.
    pub fn protocol(&self) -> Option<String> {
        self.with_socket(|socket| socket.protocol.clone())
    }

    /// The next message; `None` when there is none. The frame with the [`resume_token`](TestPeer::resume_token) and
    /// the answers to heartbeats are no messages.
    ///
    /// # Panics
    /// When what arrived is an error frame of the runtime, for which there is [`receive_error`](TestPeer::receive_error), or is
    /// not a `Broadcast`.
    #[track_caller]
    pub fn receive(&self) -> Option<R::Broadcast> {
        loop {
            let text = self.receive_text()?;
            if text == R::HEARTBEAT.1 {
                continue;
            }
            match room_socket::decode(&text) {
                Ok(Received::Message(message)) => return Some(message),
                Ok(Received::ResumeToken(token)) => drop(self.resume_token.replace(Some(token))),
                Err(_) if Notice::parse(&text).is_some() => panic!(
                    "peer `{}` received an error frame, not a message: {text}\n`receive_error` takes error frames",
                    self.id
                ),
                Err(error) => panic!("peer `{}` received {text}: {error}", self.id),
            }
        }
    }

    /// The next error frame of the runtime; `None` when there is none. Messages before it stay where they are.
    pub fn receive_error(&self) -> Option<Error> {
        let waiting = self.waiting();
        let (at, error) = waiting.iter().enumerate().find_map(|(at, text)| match Notice::parse(text)? {
            Notice::Error { code, message } => Some((at, Error::new(code, message))),
            Notice::Resume(_) => None,
        })?;
        self.take(at);
        Some(error)
    }

    /// The token for [`Upgrade::resume`], where the room has a
    /// [`reconnect_grace`](crate::Room::RECONNECT_GRACE_MS): it arrives when the peer is let in.
    pub fn resume_token(&self) -> Option<String> {
        let waiting = self.waiting();
        let token = waiting.iter().rev().find_map(|text| match Notice::parse(text)? {
            Notice::Resume(token) => Some(token),
            Notice::Error { .. } => None,
        });
        token.or_else(|| self.resume_token.borrow().clone())
    }

    /// Everything that has arrived and was not taken, one message in each text.
    fn waiting(&self) -> Vec<String> {
        let arrived: Vec<_> = self.with_socket(|socket| socket.received.iter().cloned().collect());
        let mut waiting: Vec<_> = self.unpacked.borrow().iter().cloned().collect();
        waiting.extend(arrived.iter().flat_map(|frame| self.messages(frame)));
        waiting
    }

    /// Takes one of the [waiting](TestPeer::waiting) messages.
    fn take(&self, at: usize) {
        let mut unpacked = self.unpacked.borrow_mut();
        if self.with_socket(|socket| socket.v1) {
            let frames: Vec<_> = self.with_socket(|socket| socket.received.drain(..).collect());
            unpacked.extend(frames.iter().flat_map(|frame| self.messages(frame)));
            unpacked.remove(at);
        } else {
            self.with_socket(|socket| socket.received.remove(at));
        }
    }

    /// The messages in one frame.
    fn messages(&self, frame: &str) -> Vec<String> {
        // The platform answers a heartbeat with the answer alone.
        if !self.with_socket(|socket| socket.v1) || frame == R::HEARTBEAT.1 {
            return vec![frame.to_owned()];
        }
        match serde_json::from_str::<Vec<Box<RawValue>>>(frame) {
            Ok(messages) => messages.iter().map(|message| message.get().to_owned()).collect(),
            Err(error) => panic!("peer `{}` got {frame}: {error}", self.id),
        }
    }

    fn receive_text(&self) -> Option<String> {
        if self.unpacked.borrow().is_empty() {
            let frame = self.receive_raw()?;
            self.unpacked.borrow_mut().extend(self.messages(&frame));
        }
        self.unpacked.borrow_mut().pop_front()
    }

    /// The next frame as text; `None` when there is none. One that [offered `room.v1`](crate::SUBPROTOCOL) gets arrays.
    pub fn receive_raw(&self) -> Option<String> {
        let frame = self.with_socket(|socket| socket.received.pop_front())?;
        for message in self.messages(&frame) {
            if let Some(Notice::Resume(token)) = Notice::parse(&message) {
                self.resume_token.replace(Some(token));
            }
        }
        Some(frame)
    }

    /// All messages that [`receive`](TestPeer::receive) would give one by one.
    ///
    /// # Panics
    /// Those of [`receive`](TestPeer::receive).
    #[track_caller]
    pub fn received(&self) -> Vec<R::Broadcast> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive() {
            messages.push(message);
        }
        messages
    }

    /// Whether the connection is open for the client.
    pub fn is_open(&self) -> bool {
        self.with_socket(|socket| !socket.closing && socket.ended.is_none())
    }

    /// The close that the client saw: its code and its reason. 1006 when the connection was lost.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.with_socket(|socket| socket.ended.clone())
    }

    // What happens to a client.

    /// Makes its socket refuse frames, until it is told otherwise.
    pub fn fail_sends(&self, fail: bool) {
        self.with_socket(|socket| socket.refuses = fail);
    }

    /// Makes it leave the room's close unanswered, as a client does that is not there any more. When it is
    /// [disconnected](TestPeer::disconnect) the room hears of that, as late as it may be.
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
