//! The world of a test: its objects, its time, and the delivery of events to the objects.

use std::{
    any::{Any, TypeId},
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fmt::Write,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_channel::oneshot;
use http::{Request, Response, header::SEC_WEBSOCKET_PROTOCOL};

use crate::{
    Close, Error, ErrorKind, Failure, Jurisdiction, Room, RoomId,
    api::typed::room_type,
    engine::{
        RoomHost, RoomType, Upgraded,
        room::{register, registered},
        upgrade::Accept,
    },
    platform::{
        OwnedFrame, Platform, Socket,
        memory::{
            Memory, NativeSocket, NativeTransport, Reach, START_MS,
            executor::{Clock, END_MS, Executor, Owner, Panicked, Random, Work},
        },
        socket::{Arrival, ClientEnd, ClientSocket},
        transport::{Address, Sending, Transport, Unreachable},
    },
    wire::{
        self, decode_reply,
        handshake::{ADDRESS_HEADER, Handshake, parse_protocols},
        new_ticket,
    },
};

/// The time after which the platform retries an alarm that did not end. It doubles with each attempt.
const ALARM_RETRY_MS: u64 = 2_000;

/// The number of moments with an event for which a test waits: a room with a repeating event never becomes idle.
const MAX_MOMENTS: u32 = 100_000;

/// The same number for `advance`: two years of a room with a watchdog of five minutes.
const MAX_ADVANCED_MOMENTS: u32 = 250_000;

/// The number of times in a row that a future can wake itself without another event.
const MAX_ALONE: u32 = 1_000;

/// The number of retries after which the platform drops an alarm.
const ALARM_RETRIES: u32 = 6;

pub(crate) struct Inner {
    number: u64,
    pub(crate) executor: Rc<Executor>,
    pub(crate) clock: Rc<Clock>,
    random: Rc<RefCell<Random>>,
    objects: RefCell<BTreeMap<Key, Rc<Object>>>,
    /// The keys of objects under the classes that later deploys gave them.
    deployed: RefCell<BTreeMap<Key, Key>>,
    /// The functions that make the services of a room, by the type of the room.
    services: RefCell<HashMap<TypeId, Rc<ProvideServices>>>,
    held: Cell<bool>,
}

type ProvideServices = dyn Fn() -> Result<Box<dyn Any>, Failure>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: &'static str,
    id: RoomId,
    jurisdiction: Option<&'static str>,
}

thread_local! {
    /// The worlds of this thread. A client is `Send`, so it finds its world by number.
    static WORLDS: RefCell<HashMap<u64, Weak<Inner>>> = RefCell::default();
    static NEXT_WORLD: Cell<u64> = const { Cell::new(0) };
}

impl Inner {
    pub(crate) fn new(seed: Option<u64>) -> Rc<Self> {
        let number = NEXT_WORLD.replace(NEXT_WORLD.get() + 1);
        let executor = Rc::new(Executor::default());
        if let Some(seed) = seed {
            executor.seed(seed);
        }
        let inner = Rc::new(Inner {
            number,
            executor,
            clock: Clock::starting_at(START_MS),
            random: Rc::new(RefCell::new(Random::new(seed.unwrap_or_default()))),
            objects: RefCell::default(),
            deployed: RefCell::default(),
            services: RefCell::default(),
            held: Cell::new(false),
        });
        WORLDS.with_borrow_mut(|worlds| worlds.insert(number, Rc::downgrade(&inner)));
        inner
    }

    pub(crate) fn link<R: Room>(&self) -> Link {
        register(room_type::<R>());
        Link::new(self.number, R::CLASS)
    }

    pub(crate) fn provide<R: Room>(&self, make: impl Fn() -> Result<R::Services, Failure> + 'static) {
        let make = move || Ok(Box::new(make()?) as Box<dyn Any>);
        self.services.borrow_mut().insert(TypeId::of::<R>(), Rc::new(make));
    }

    fn services(&self, room: &RoomType) -> Result<Box<dyn Any>, Failure> {
        let given = self.services.borrow().get(&room.types[0]).cloned();
        match given {
            Some(make) => make(),
            None if room.types[1] == TypeId::of::<()>() => Ok(Box::new(())),
            None => {
                Err(Failure::msg(format!("the test gave the room `{}` no services: use `World::provide`", room.name)))
            }
        }
    }

    pub(crate) fn object<R: Room>(self: &Rc<Self>, id: &RoomId) -> Rc<Object> {
        self.link::<R>();
        let object = self.object_at(&Key { class: R::CLASS, id: id.clone(), jurisdiction: None });
        let is_its_room = object.room.get().types[0] == TypeId::of::<R>() || object.is_deployed.get();
        assert!(is_its_room, "two rooms of one class in a test");
        object
    }

    /// Runs an object as a room of another type, which is reached under both classes.
    pub(crate) fn deploy<R: Room>(self: &Rc<Self>, object: &Object) {
        self.link::<R>();
        let next = Key { class: R::CLASS, ..object.key.clone() };
        let is_other = self.objects.borrow().contains_key(&next) && next != object.key;
        assert!(!is_other, "the test has another room `{}` of the class `{}`", next.id, next.class);
        self.deployed.borrow_mut().insert(next, object.key.clone());
        object.deploy(room_type::<R>());
    }

    fn object_at(self: &Rc<Self>, key: &Key) -> Rc<Object> {
        let deployed = self.deployed.borrow().get(key).cloned();
        let key = deployed.as_ref().unwrap_or(key);
        if let Some(object) = self.objects.borrow().get(key) {
            return object.clone();
        }
        let room = registered(key.class).expect("a link registers its class");
        let object = Object::new(self, key, room);
        self.objects.borrow_mut().insert(key.clone(), object.clone());
        object
    }

    /// Runs until everything waits for time or for an event.
    pub(crate) fn settle(&self) {
        // The caller runs the world already if a room calls another room. In `hold`, nothing may run.
        if self.executor.is_running() || self.held.get() {
            return;
        }
        while self.step() {}
    }

    /// Runs one step of any work that is ready. Returns false if all work waits.
    pub(crate) fn step(&self) -> bool {
        let stepped = self.executor.step();
        for Panicked { owner, work, message } in self.executor.take_panicked() {
            let object = self.objects.borrow().values().find(|object| object.memory.owner == owner).cloned();
            if let Some(object) = object {
                let memory = &object.memory;
                memory.log_error(&format!("{}: {} panicked: {message}", object.name, memory.describe(&work)));
                object.crash();
            }
        }
        let objects: Vec<_> = self.objects.borrow().values().cloned().collect();
        let mut answered = false;
        for object in objects {
            for socket in object.memory.to_answer.take() {
                let closed = object.memory.with_socket(socket, |socket| socket.closed.clone());
                let (code, reason) = closed.unwrap_or((1005, String::new()));
                object.clone().closed(socket, Close::new(code, reason, true));
                answered = true;
            }
        }
        stepped || answered
    }

    /// Runs nothing during `work`, so that its actions arrive together.
    pub(crate) fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Release<'a>(&'a Cell<bool>, bool);

        // The release is a destructor, because a test can catch a panic and continue.
        impl Drop for Release<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }

        let release = Release(&self.held, self.held.replace(true));
        let value = work();
        drop(release);
        self.settle();
        value
    }

    /// The time of the next timer or alarm.
    fn next_event(&self) -> Option<u64> {
        let alarms = self.objects.borrow();
        let alarm = alarms.values().filter_map(|object| object.memory.next_alarm()).min();
        alarm.into_iter().chain(self.clock.next_timer()).min()
    }

    /// Moves the clock and fires the alarms that are due. Returns whether there was one.
    fn pass_until(&self, now_ms: u64) -> bool {
        self.clock.set(now_ms);
        let objects: Vec<_> = self.objects.borrow().values().cloned().collect();
        let mut has_fired = false;
        for object in objects {
            if object.memory.take_alarm(now_ms) {
                has_fired = true;
                object.alarm();
            }
        }
        self.settle();
        has_fired
    }

    #[track_caller]
    pub(crate) fn advance(&self, ms: u64) {
        self.settle();
        let begin = self.clock.now_ms();
        let end = begin.saturating_add(ms).min(END_MS);
        for _ in 0..MAX_ADVANCED_MOMENTS {
            match self.next_event().filter(|at| *at <= end) {
                Some(at) => _ = self.pass_until(at),
                // An alarm of this moment can set another alarm for the same moment.
                None if self.pass_until(end) => {}
                None => return,
            }
        }
        panic!(
            "`advance` stopped after {MAX_ADVANCED_MOMENTS} moments at which a timer ended or an alarm fired, {:?} of {:?} later: \
             something repeats without an end; advance by less",
            Duration::from_millis(self.clock.now_ms() - begin),
            Duration::from_millis(end - begin),
        );
    }

    /// Runs the world until the future is ready. Time passes whenever everything waits for it.
    #[track_caller]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        // The number of polls in a row in which the future woke itself and nothing else happened.
        let mut alone = 0;
        let mut moments = 0;
        loop {
            woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            if self.step() {
                alone = 0;
                continue;
            }
            // A future can wake itself to let another part of itself run first. A future that does only that waits for
            // time.
            if woken.0.load(Ordering::Relaxed) && alone < MAX_ALONE {
                alone += 1;
                continue;
            }
            match self.next_event().filter(|at| *at <= END_MS) {
                Some(at) if moments < MAX_MOMENTS => {
                    (alone, moments) = (0, moments + 1);
                    let _ = self.pass_until(at);
                }
                Some(_) => panic!(
                    "what this test waits for did not come in {MAX_MOMENTS} moments at which a timer ended or an alarm fired{}",
                    self.waiting()
                ),
                None => panic!(
                    "deadlock: this test waits for something that nothing in it will bring: no room has anything to run, and no \
                     timer or alarm is set; a client's driver runs only after `World::spawn`{}",
                    self.waiting()
                ),
            }
        }
    }

    /// Runs a future that belongs to no room.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.executor.spawn(Owner::MAX, Work::Spawned, Box::pin(future));
        self.settle();
    }

    /// Lists the work that the rooms have begun and not ended.
    fn waiting(&self) -> String {
        let objects: Vec<_> = self.objects.borrow().values().cloned().collect();
        let mut lines = String::new();
        for object in objects {
            for work in self.executor.unfinished(object.memory.owner) {
                let _ = write!(lines, "\n  {}: {} waits", object.name, object.memory.describe(&work));
            }
        }
        lines + &self.journal()
    }

    /// Everything that the rooms have logged, in order of time; empty if they have logged nothing.
    pub(crate) fn journal(&self) -> String {
        let mut lines = Vec::new();
        for object in self.objects.borrow().values() {
            lines.extend(object.memory.journal.borrow().iter().map(|(at_ms, line)| (*at_ms, line.clone())));
        }
        if lines.is_empty() {
            return String::new();
        }
        lines.sort_by_key(|(at_ms, _)| *at_ms);
        let mut text = "\nthe log of the rooms, with the time since the world began:".to_owned();
        for (at_ms, line) in lines {
            let _ = write!(text, "\n  {:?} {line}", Duration::from_millis(at_ms.saturating_sub(START_MS)));
        }
        text
    }

    /// The errors that the rooms have logged and that no test has taken.
    pub(crate) fn errors(&self) -> Vec<String> {
        let objects = self.objects.borrow();
        objects.values().flat_map(|object| object.memory.errors.borrow().clone()).collect()
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = self.journal();
            if !journal.is_empty() {
                // libtest captures the output and shows it with the failed test.
                eprintln!("{}", journal.trim_start());
            }
        }
        self.executor.clear();
        // The thread-local can be gone at the end of a thread, and then needs no cleanup.
        let _ = WORLDS.try_with(|worlds| worlds.borrow_mut().remove(&self.number));
    }
}

/// The answer to an upgrade.
#[derive(Debug)]
pub(crate) enum Answer {
    Socket(Socket),
    Response(Response<Bytes>),
}

/// One object: the data that the platform keeps for it, and the room while it is in memory.
pub(crate) struct Object {
    room: Cell<&'static RoomType>,
    /// True if the room was of another type before.
    is_deployed: Cell<bool>,
    key: Key,
    world: Weak<Inner>,
    pub(crate) memory: Rc<Memory>,
    host: RefCell<Option<Rc<RoomHost>>>,
    /// The number of times that the object was loaded into memory.
    pub(crate) incarnations: Cell<u64>,
    /// The class and the id of the object.
    pub(crate) name: String,
}

impl Object {
    fn new(world: &Rc<Inner>, key: &Key, room: &'static RoomType) -> Rc<Self> {
        let owner = world.objects.borrow().len() as Owner;
        let Inner { executor, clock, random, .. } = &**world;
        let number = format!("{owner:064x}");
        let world_number = world.number;
        let reach: Reach = Box::new(move |class| match registered(class) {
            Some(room) => Ok(Transport::Memory(Arc::new(Link::new(world_number, room.class)))),
            None => Err(Unreachable::NotBound(format!("the test has no room of the class `{class}`"))),
        });
        let (executor, clock, random) = (executor.clone(), clock.clone(), random.clone());
        let memory = Memory::new(key.id.as_str(), number, (reach, owner), executor, clock, random);
        memory.peer_timeout_ms.set(room.peer_timeout_ms);
        Rc::new(Object {
            room: Cell::new(room),
            is_deployed: Cell::new(false),
            key: key.clone(),
            world: Rc::downgrade(world),
            memory,
            host: RefCell::new(None),
            incarnations: Cell::new(0),
            name: format!("{} room `{}`", room.name, key.id),
        })
    }

    /// Returns the room, and loads it into memory if necessary.
    pub(crate) fn host(&self) -> Rc<RoomHost> {
        if let Some(host) = &*self.host.borrow() {
            return host.clone();
        }
        let (world, room) = (self.world.clone(), self.room.get());
        let services = Box::new(move || match world.upgrade() {
            Some(world) => world.services(room),
            None => Err(Failure::msg("the test is over")),
        });
        let host = RoomHost::new(room, self.memory.clone(), services);
        self.memory.forget_sockets_memory();
        self.host.replace(Some(host.clone()));
        self.incarnations.set(self.incarnations.get() + 1);
        host
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        self.host.borrow().is_some()
    }

    fn world(&self) -> Option<Rc<Inner>> {
        self.world.upgrade()
    }

    fn spawn(&self, work: Work, future: impl Future<Output = ()> + 'static) {
        if let Some(world) = self.world() {
            world.executor.spawn(self.memory.owner, work, Box::pin(future));
        }
    }

    /// The unfinished work of the room.
    pub(crate) fn unfinished(&self) -> Vec<Work> {
        self.world().map_or_else(Vec::new, |world| world.executor.unfinished(self.memory.owner))
    }

    /// Removes the room from memory. The platform does so only with a room without work.
    pub(crate) fn hibernate(&self) -> Result<(), Vec<Work>> {
        match self.unfinished() {
            busy if busy.is_empty() => {
                self.host.take();
                Ok(())
            }
            busy => Err(busy),
        }
    }

    pub(crate) fn restart(&self) {
        let ended = self.world().map_or_else(Vec::new, |world| world.executor.abort(self.memory.owner));
        self.leave_memory();
        self.memory.lose_sockets();
        self.repeat_alarm(&ended);
    }

    fn deploy(&self, room: &'static RoomType) {
        self.restart();
        self.room.set(room);
        self.is_deployed.set(true);
        self.memory.peer_timeout_ms.set(room.peer_timeout_ms);
    }

    fn leave_memory(&self) {
        self.host.take();
        self.memory.drop_held();
    }

    fn repeat_alarm(&self, ended: &[Work]) {
        let tries = self.memory.alarm_tries.get();
        if ended.contains(&Work::Alarm) && tries < ALARM_RETRIES {
            self.memory.alarm_tries.set(tries + 1);
            let retry = self.memory.now_ms().saturating_add(ALARM_RETRY_MS << tries);
            self.memory.alarm.set(Some(self.memory.alarm.get().map_or(retry, |at| at.min(retry))));
        }
    }

    pub(crate) async fn request(self: Rc<Self>, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let (sender, receiver) = oneshot::channel();
        let object = self.clone();
        self.spawn(Work::Call, async move {
            let _ = sender.send(object.host().request(request).await);
        });
        let answer = receiver.await.map_err(|_| restarted())?;
        answer.map_err(|error| error.into_error().in_room(&self.host().id))
    }

    pub(crate) fn call(self: Rc<Self>, command: String) -> oneshot::Receiver<String> {
        let (sender, receiver) = oneshot::channel();
        let object = self.clone();
        self.spawn(Work::Call, async move {
            // The receiver is gone if the caller dropped its call.
            let _ = sender.send(object.host().call(&command).await);
        });
        receiver
    }

    pub(crate) fn open(
        self: Rc<Self>,
        ticket: String,
        request: Request<()>,
    ) -> oneshot::Receiver<Result<Answer, Error>> {
        let (sender, receiver) = oneshot::channel();
        let (object, memory) = (self.clone(), self.memory.clone());
        self.spawn(Work::Call, async move {
            let accepted = Rc::new(Cell::new(None));
            let opening = Opening { sender: Some(sender), accepted: accepted.clone() };
            let accept: Accept = Box::new(move |tags, handshaken| {
                let socket = memory.accept(tags);
                memory.with_socket(socket, |socket| {
                    socket.v1 = handshaken.is_v1;
                    socket.is_packed = handshaken.is_packed;
                    socket.protocol = handshaken.protocol.map(str::to_owned);
                });
                accepted.set(Some(socket));
                Ok(socket)
            });
            let upgraded = object.host().upgrade(&ticket, Rc::new(Sent(request)), accept).await;
            opening.answer(upgraded);
        });
        receiver
    }

    pub(crate) fn frame(self: Rc<Self>, socket: Socket, frame: OwnedFrame) {
        let (heartbeat, answer) = self.room.get().heartbeat;
        if matches!(&frame, OwnedFrame::Text(text) if text == heartbeat) {
            return self.memory.heartbeat(socket, answer);
        }
        self.memory.heard(socket);
        let object = self.clone();
        let number = (!wire::is_settlement(&frame)).then(|| wire::number_of(&frame));
        self.spawn(Work::Frame(socket, number), async move {
            let host = object.host();
            let mut handling = pin!(host.message(socket, frame));
            object.memory.begin_turn(socket);
            let mut is_first = true;
            poll_fn(|cx| {
                let poll = handling.as_mut().poll(cx);
                if std::mem::take(&mut is_first) {
                    object.memory.end_turn(socket);
                }
                poll
            })
            .await;
        });
    }

    pub(crate) fn closed(self: Rc<Self>, socket: Socket, close: Close) {
        let object = self.clone();
        self.spawn(Work::Close(socket), async move { object.host().closed(socket, close).await });
    }

    pub(crate) fn alarm(self: Rc<Self>) {
        let (object, memory) = (self.clone(), self.memory.clone());
        self.spawn(Work::Alarm, async move {
            object.host().alarm().await;
            memory.alarm_tries.set(0);
        });
    }

    pub(crate) fn crash(&self) {
        let half_open = self.memory.half_open();
        // Messages that wait for a batch are outside of the instance that a panic ends, so they still arrive.
        self.memory.release();
        let ended = self.world().map_or_else(Vec::new, |world| world.executor.abort_begun(self.memory.owner));
        self.leave_memory();
        // The frames of a socket are handled in order, so the first one was running.
        let mut lost = BTreeMap::new();
        for work in &ended {
            match work {
                Work::Frame(socket, number) => lost.entry(*socket).or_insert_with(Vec::new).push(*number),
                // The platform lists a closed socket until the handler of its close has ended, in whatever way.
                Work::Close(socket) => Platform::forget(&*self.memory, *socket),
                _ => {}
            }
        }
        for (socket, numbers) in lost {
            self.tell_of_loss(socket, &numbers);
        }
        for socket in half_open {
            // A socket that was closed just before needs no second close.
            let _ = self.memory.close(socket, 1011, "the room restarted");
        }
        self.repeat_alarm(&ended);
    }
}

impl Object {
    /// Informs the sender of lost frames. A client of `room.v1` sends those again that had not begun.
    fn tell_of_loss(&self, socket: Socket, numbers: &[Option<u64>]) {
        use crate::platform::{Audience, Frame};
        let notice = || {
            let message = "the room restarted while it worked on this frame, which may be lost";
            wire::Notice::error(ErrorKind::Restarted, message, None)
        };
        if !self.memory.is_v1(socket) {
            let text = notice().into_frame();
            let packed = wire::msgpack::from_json(&text);
            for _ in numbers {
                for frame in [Frame::Text(&text), Frame::Packed(&packed)] {
                    self.memory.send(frame, Audience::Only(&[socket]), usize::MAX, false);
                }
            }
            return;
        }
        let control = |control: String| match self.memory.is_packed(socket) {
            true => self.memory.control(socket, Frame::Packed(&wire::msgpack::from_json(&control)), false),
            false => self.memory.control(socket, Frame::Text(&control), false),
        };
        let mut has_asked = false;
        for (at, number) in numbers.iter().enumerate() {
            // The client states again, when the room asks, which numbers are settled.
            let Some(number) = number else { continue };
            if at == 0 || *number == 0 {
                control(notice().into_control(*number));
            } else if !std::mem::replace(&mut has_asked, true) {
                control(wire::resend_control(*number));
            }
        }
    }
}

/// An upgrade in progress. If the object crashes after it has accepted a socket, the client still gets the socket,
/// which is closed.
struct Opening {
    sender: Option<oneshot::Sender<Result<Answer, Error>>>,
    accepted: Rc<Cell<Option<Socket>>>,
}

impl Opening {
    fn answer(mut self, upgraded: Result<Upgraded, Error>) {
        let answer = match (upgraded, self.accepted.get()) {
            (Ok(Upgraded::Answered(response)), _) => Ok(Answer::Response(response)),
            (Ok(Upgraded::Refused(status, text)), _) => {
                let status = http::StatusCode::from_u16(status).unwrap_or_default();
                Ok(Answer::Response(wire::http_codec::text(status, text)))
            }
            (Ok(Upgraded::Accepted), Some(socket)) => Ok(Answer::Socket(socket)),
            (Ok(Upgraded::Accepted), None) => unreachable!("accepted without a socket"),
            (Err(error), _) => Err(error),
        };
        if let Some(sender) = self.sender.take() {
            // The receiver is gone if the client dropped its upgrade.
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let (Some(sender), Some(socket)) = (self.sender.take(), self.accepted.get()) {
            let _ = sender.send(Ok(Answer::Socket(socket)));
        }
    }
}

/// The request of an upgrade, as the test wrote it.
struct Sent(Request<()>);

impl Handshake for Sent {
    fn head(&self) -> Result<Request<()>, Error> {
        Ok(self.0.clone())
    }

    fn protocols(&self) -> Vec<String> {
        let values = self.0.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        parse_protocols(values.iter().filter_map(|value| value.to_str().ok()))
    }

    fn address(&self) -> Option<String> {
        let address = self.0.headers().get(ADDRESS_HEADER)?;
        address.to_str().ok().map(str::to_owned)
    }
}

fn restarted() -> Error {
    Error::new(ErrorKind::Restarted, "the room went down while it worked on this").retryable(true)
}

/// The transport of a client of this thread to the rooms of one class in a world.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    world: u64,
    class: &'static str,
}

impl Link {
    pub(crate) fn new(world: u64, class: &'static str) -> Self {
        Link { world, class }
    }

    fn world(&self) -> Result<Rc<Inner>, Error> {
        WORLDS.with_borrow(|worlds| worlds.get(&self.world).and_then(Weak::upgrade)).ok_or_else(|| {
            Error::new(ErrorKind::Platform, "the world of this client is gone, or belongs to another thread")
        })
    }

    fn object(&self, to: &Address) -> Result<(Rc<Inner>, Rc<Object>), Error> {
        to.id.check()?;
        let world = self.world()?;
        let jurisdiction = to.jurisdiction.map(|jurisdiction| jurisdiction.as_str());
        let object = world.object_at(&Key { class: self.class, id: to.id.clone(), jurisdiction });
        Ok((world, object))
    }

    /// Begins an upgrade: the Worker's half and the request together.
    pub(crate) fn open(
        &self,
        to: &Address,
        ticket: String,
        prepare: Result<String, Error>,
        request: Request<()>,
    ) -> Sending<(u64, Answer)> {
        let begun = prepare.and_then(|prepare| {
            let (_, object) = self.object(to)?;
            Ok((object.memory.owner, object.clone().call(prepare), object.open(ticket, request)))
        });
        let link = self.clone();
        Box::pin(async move {
            let (owner, preparing, opening) = begun?;
            decode_reply::<()>(&link.driving(preparing).await?)?;
            Ok((owner, link.driving(opening).await??))
        })
    }

    /// Waits for a receiver and runs the world at each poll.
    async fn driving<T>(&self, mut receiver: oneshot::Receiver<T>) -> Result<T, Error> {
        poll_fn(|cx| {
            let mut settled = false;
            loop {
                if let Poll::Ready(answer) = Pin::new(&mut receiver).poll(cx) {
                    return Poll::Ready(answer.map_err(|_| restarted()));
                }
                if settled {
                    return Poll::Pending;
                }
                if let Ok(world) = self.world() {
                    world.settle();
                }
                settled = true;
            }
        })
        .await
    }
}

impl NativeTransport for Link {
    fn call(&self, to: &Address, command: &str) -> Sending<String> {
        let calling = self.object(to).and_then(|(_, object)| {
            if object.memory.calls_fail.get() {
                return Err(Error::new(ErrorKind::Overloaded, "the test makes every call to this room fail"));
            }
            Ok(object.call(command.to_owned()))
        });
        let (link, to) = (self.clone(), to.clone());
        Box::pin(async move {
            let answer = link.driving(calling?).await?;
            let (_, object) = link.object(&to)?;
            if object.memory.answers_are_lost.get() { Err(restarted()) } else { Ok(answer) }
        })
    }

    fn sleep(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (sender, receiver) = oneshot::channel();
        if let Ok(world) = self.world() {
            let timer = world.clock.clone().timer(ms);
            world.executor.spawn(
                Owner::MAX,
                Work::Spawned,
                Box::pin(async move {
                    timer.await;
                    let _ = sender.send(());
                }),
            );
        }
        let link = self.clone();
        Box::pin(async move {
            // A world that is gone has no time to wait for.
            let _ = link.driving(receiver).await;
        })
    }

    fn random(&self) -> [u8; 16] {
        let Ok(world) = self.world() else { return [0; 16] };
        let mut random = world.random.borrow_mut();
        let [a, b] = [random.next(), random.next()];
        ((u128::from(a) << 64) | u128::from(b)).to_be_bytes()
    }

    fn now_ms(&self) -> u64 {
        self.world().map_or(0, |world| world.clock.now_ms())
    }

    fn connect(
        &self,
        to: &Address,
        ticket: String,
        prepare: Result<String, Error>,
        offered: String,
    ) -> Sending<ClientSocket> {
        let request = match offered.is_empty() {
            true => Ok(Request::default()),
            false => Request::builder().header(SEC_WEBSOCKET_PROTOCOL, offered).body(()),
        };
        let invalid = |error: http::Error| Error::new(ErrorKind::InvalidProtocol, error.to_string());
        let opening = request.map_err(invalid).map(|request| self.open(to, ticket, prepare, request));
        let (link, to) = (self.clone(), to.clone());
        Box::pin(async move {
            match opening?.await?.1 {
                Answer::Socket(socket) => {
                    let (_, object) = link.object(&to)?;
                    let protocol = object.memory.with_socket(socket, |socket| socket.protocol.clone());
                    Ok(ClientSocket { end: ClientEnd::Memory(Box::new(WorldSocket { link, to, socket })), protocol })
                }
                Answer::Response(response) => {
                    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
                    Err(wire::http_codec::no_socket(response.status().as_u16(), content_type, response.body()))
                }
            }
        })
    }
}

/// The client's end of a socket, for [`RoomSocket`](crate::RoomSocket).
struct WorldSocket {
    link: Link,
    to: Address,
    socket: Socket,
}

impl NativeSocket for WorldSocket {
    fn send(&self, frame: OwnedFrame) -> Result<(), Error> {
        let (world, object) = self.link.object(&self.to)?;
        if object.memory.with_socket(self.socket, |socket| socket.closing || socket.ended.is_some()) {
            return Err(Error::new(ErrorKind::Send, "the connection is closing"));
        }
        object.frame(self.socket, frame);
        world.settle();
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        let lost = || Arrival::Closed(Close::new(1006, String::new(), false));
        let Ok((world, object)) = self.link.object(&self.to) else { return Poll::Ready(lost()) };
        world.settle();
        object.memory.with_socket(self.socket, |socket| match (socket.received.pop_front(), &socket.ended) {
            (Some(OwnedFrame::Text(text)), _) => Poll::Ready(Arrival::Text(text)),
            (Some(OwnedFrame::Binary(bytes)), _) => Poll::Ready(Arrival::Binary(bytes)),
            (None, Some((code, reason))) => {
                let was_clean = *code != 1006;
                Poll::Ready(Arrival::Closed(Close::new(*code, reason.clone(), was_clean)))
            }
            (None, None) => {
                socket.client = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }

    fn close(&self, code: crate::CloseCode, reason: &str) {
        if let Ok((world, object)) = self.link.object(&self.to) {
            close_by_client(object, self.socket, Close::new(code.get(), reason.to_owned(), true));
            world.settle();
        }
    }

    fn abandon(&self) {
        if let Ok((world, object)) = self.link.object(&self.to) {
            close_by_client(object, self.socket, Close::new(1006, String::new(), false));
            world.settle();
        }
    }
}

/// Begins a close by the client, or ends its connection if it is lost.
pub(crate) fn close_by_client(object: Rc<Object>, socket: Socket, close: Close) {
    let begun = object.memory.with_socket(socket, |at| {
        // A client that did not answer the room's close can still end later.
        let is_late = at.unresponsive && at.closed.is_some() && !at.closing;
        let begun = is_late || (!at.closing && at.ended.is_none());
        at.closing = true;
        if !close.was_clean {
            at.ended.get_or_insert((close.code, close.reason.clone()));
        }
        begun
    });
    if begun {
        object.closed(socket, close);
    }
}

/// Creates a ticket as the client does.
pub(crate) fn ticket(link: &Link) -> String {
    new_ticket(link.random())
}

pub(crate) fn address(id: &RoomId, jurisdiction: Option<Jurisdiction>) -> Address {
    Address { id: id.clone(), jurisdiction, location_hint: None }
}
