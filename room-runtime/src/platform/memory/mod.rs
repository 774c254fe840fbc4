//! A platform in memory, with a virtual clock, sockets that record their frames, and storage that can fail on request.
//!
//! It outlives the room. A test hibernates or crashes a room by dropping its [`RoomHost`](crate::engine::RoomHost) and
//! making a new one over the same memory.

pub(crate) mod database;
pub(crate) mod executor;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use self::{
    database::Database,
    executor::{Clock, Executor, Owner, Random, Work},
};
use super::{
    Audience, Frame, LocalFuture, OwnedFrame, Platform, PlatformError, SIGN_STEPS, Sent, Silence, Socket,
    socket::{Arrival, ClientSocket},
    sql::{SqlRows, SqlValue, statement::Statement},
    transport::{Address, Sending, Transport, Unreachable},
};
use crate::{
    CloseCode, Error,
    types::limits::{MAX_ATTACHMENT_BYTES, REFILL_MS},
    wire::{handshake::ID_MARK, msgpack, packed_room_frame, room_frame},
};

/// The time at which the clock begins: late in 2023.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// The connection of a native client to the rooms of one class. The layer above implements it.
pub(crate) trait NativeTransport: Send + Sync {
    fn call(&self, to: &Address, command: &str) -> Sending<String>;
    fn connect(
        &self,
        to: &Address,
        ticket: String,
        prepare: Result<String, Error>,
        offered: String,
    ) -> Sending<ClientSocket>;
    fn now_ms(&self) -> u64;
    fn sleep(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    fn random(&self) -> [u8; 16];
}

/// The client's end of a socket to such a room.
pub(crate) trait NativeSocket: Send {
    fn send(&self, frame: OwnedFrame) -> Result<(), Error>;
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Arrival>;
    fn close(&self, code: CloseCode, reason: &str);
    /// Ends the connection without a close frame.
    fn abandon(&self);
}

/// Finds the transport to the rooms of another class, by the name of the class.
pub(crate) type Reach = Box<dyn Fn(&str) -> Result<Transport, Unreachable>>;

/// The [`Reach`] of an object without other rooms.
#[cfg(any(test, feature = "bench"))]
pub(crate) fn no_other_rooms() -> Reach {
    Box::new(|_| Err(Unreachable::NotBound("there is no other room here".to_owned())))
}

/// A socket, as both of its ends see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySocket {
    /// The frames that were sent to it and that its client has not taken yet.
    pub(crate) received: VecDeque<OwnedFrame>,
    /// The close that the room began or answered.
    pub(crate) closed: Option<(u16, String)>,
    /// The close as its client saw it: it began it, answered it, or lost the connection.
    pub(crate) ended: Option<(u16, String)>,
    /// True if its client has begun to close.
    pub(crate) closing: bool,
    /// True if sending a frame to it fails.
    pub(crate) refuses: bool,
    /// True if its client does not answer the room's close.
    pub(crate) unresponsive: bool,
    /// The bytes sent since its client last showed that it reads. `settled_at` is the time of the last check.
    pub(crate) unread: usize,
    settled_at: u64,
    /// The time of its client's last heartbeat, if it has ever sent one.
    answered_at: Option<u64>,
    /// The time of its last frame in this incarnation, and the time that is stored with the attachment. Both are recorded
    /// only in a room with a timeout.
    heard_at: Option<u64>,
    stored_at: Option<u64>,
    /// Wakes the client when a frame arrives.
    pub(crate) client: Option<Waker>,
    /// True if its client speaks `room.v1`.
    pub(crate) v1: bool,
    /// True if its client speaks MessagePack.
    pub(crate) is_packed: bool,
    /// The subprotocol of the handshake.
    pub(crate) protocol: Option<String>,
    /// The messages and the controls that wait for a common frame.
    held: Vec<OwnedFrame>,
    controls: Vec<OwnedFrame>,
    /// The position of the last of the messages.
    position: u64,
    /// True while the first poll of a frame of this socket runs, which is the end of their wait.
    busy: bool,
    /// True if they wait for the end of a batch.
    batched: bool,
    /// True if the room has forgotten it, or a restart closed it.
    forgotten: bool,
    attachment: Option<Vec<u8>>,
    tags: Vec<String>,
}

impl MemorySocket {
    fn arrive(&mut self, frame: impl Into<OwnedFrame>) {
        self.received.push_back(frame.into());
        if let Some(client) = self.client.take() {
            client.wake();
        }
    }

    /// Returns whether a client that is over its budget may receive more.
    ///
    /// For a client that sends no heartbeats the budget refills with time.
    fn settle(&mut self, max_unread: usize, now_ms: u64) -> bool {
        if self.answered_at.is_some() {
            return false;
        }
        let passed = u128::from(now_ms.saturating_sub(self.settled_at));
        let refilled = max_unread as u128 * passed / u128::from(REFILL_MS);
        self.unread = self.unread.saturating_sub(usize::try_from(refilled).unwrap_or(usize::MAX));
        self.settled_at = now_ms;
        self.unread <= max_unread
    }

    /// Stores the time of the last frame with the attachment.
    fn store_sign(&mut self) {
        self.stored_at = self.heard_at.or(self.stored_at);
    }

    fn release(&mut self) {
        let (held, mut controls) = (std::mem::take(&mut self.held), std::mem::take(&mut self.controls));
        let position = std::mem::take(&mut self.position);
        self.batched = false;
        if (held.is_empty() && controls.is_empty()) || !Memory::is_open(self) {
            return;
        }
        if position > 0 {
            let at = format!("{{\"at\":{position}}}");
            controls.push(match self.is_packed {
                true => OwnedFrame::Binary(msgpack::from_json(&at)),
                false => OwnedFrame::Text(at),
            });
        }
        if self.is_packed {
            let bytes = |frames: Vec<OwnedFrame>| frames.into_iter().map(OwnedFrame::into_bytes).collect::<Vec<_>>();
            self.arrive(packed_room_frame(&bytes(controls), &bytes(held)));
        } else {
            let texts =
                |frames: Vec<OwnedFrame>| frames.into_iter().filter_map(OwnedFrame::into_text).collect::<Vec<_>>();
            self.arrive(room_frame(&texts(controls), &texts(held)));
        }
    }

    fn wait(&mut self, is_batched: bool) {
        self.batched |= is_batched;
    }
}

pub(crate) struct Memory {
    name: String,
    number: String,
    pub(crate) owner: Owner,
    reach: Reach,
    database: Database,
    executor: Rc<Executor>,
    clock: Rc<Clock>,
    /// True if the object is loaded without its name.
    pub(crate) nameless: Cell<bool>,
    /// An index is never reused here, so that the use of a forgotten socket is noticed.
    sockets: RefCell<BTreeMap<Socket, MemorySocket>>,
    next_socket: Cell<Socket>,
    /// The position of the messages that follow.
    position: Cell<u64>,
    storage: RefCell<BTreeMap<String, Vec<u8>>>,
    /// The logged errors that no test has taken yet.
    pub(crate) errors: RefCell<Vec<String>>,
    /// Everything that was logged, with its time.
    pub(crate) journal: RefCell<Vec<(u64, String)>>,
    /// Everything that was written to storage or sent to a socket, in order.
    #[cfg(test)]
    pub(crate) trace: RefCell<Vec<String>>,
    /// The room's `peer_timeout`; 0 is none.
    pub(crate) peer_timeout_ms: Cell<u64>,
    pub(crate) attachments_read: Cell<usize>,
    /// The number of times that an operation has looked at a socket. An operation on a tag looks at those that carry it.
    #[cfg(test)]
    pub(crate) sockets_seen: Cell<usize>,
    pub(crate) reads_fail: Cell<bool>,
    pub(crate) writes_fail: Cell<bool>,
    /// True if calls do not reach the object.
    pub(crate) calls_fail: Cell<bool>,
    /// True if the object handles calls and its answers are lost.
    pub(crate) answers_are_lost: Cell<bool>,
    /// The time of the alarm that the engine set.
    pub(crate) alarm: Cell<Option<u64>>,
    alarm_fired_at: Cell<Option<u64>>,
    /// The number of times the platform has repeated the alarm since an alarm last ran to its end.
    pub(crate) alarm_tries: Cell<u32>,
    /// The closes that the room began and that clients have not answered yet.
    pub(crate) to_answer: RefCell<Vec<Socket>>,
    random: Rc<RefCell<Random>>,
}

impl Memory {
    pub(crate) fn new(
        name: &str,
        number: String,
        (reach, owner): (Reach, Owner),
        executor: Rc<Executor>,
        clock: Rc<Clock>,
        random: Rc<RefCell<Random>>,
    ) -> Rc<Self> {
        Rc::new(Memory {
            name: name.to_owned(),
            number,
            owner,
            reach,
            database: Database::default(),
            executor,
            clock,
            nameless: Cell::new(false),
            sockets: RefCell::default(),
            next_socket: Cell::new(0),
            position: Cell::new(0),
            storage: RefCell::default(),
            errors: RefCell::default(),
            journal: RefCell::default(),
            #[cfg(test)]
            trace: RefCell::default(),
            peer_timeout_ms: Cell::new(0),
            attachments_read: Cell::new(0),
            #[cfg(test)]
            sockets_seen: Cell::new(0),
            reads_fail: Cell::new(false),
            writes_fail: Cell::new(false),
            calls_fail: Cell::new(false),
            answers_are_lost: Cell::new(false),
            alarm: Cell::new(None),
            alarm_fired_at: Cell::new(None),
            alarm_tries: Cell::new(0),
            to_answer: RefCell::default(),
            random,
        })
    }

    /// The memory of an object without other rooms.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn alone(name: &str) -> Rc<Self> {
        let clock = Clock::starting_at(START_MS);
        Memory::new(
            name,
            "0f".repeat(32),
            (no_other_rooms(), 0),
            Rc::default(),
            clock,
            Rc::new(RefCell::new(Random::new(0))),
        )
    }

    pub(crate) fn accept(&self, tags: &[String]) -> Socket {
        let socket = self.next_socket.get();
        self.next_socket.set(socket + 1);
        let settled_at = self.clock.now_ms();
        let accepted = MemorySocket { tags: tags.to_vec(), settled_at, ..MemorySocket::default() };
        self.sockets.borrow_mut().insert(socket, accepted);
        socket
    }

    pub(crate) fn with_socket<T>(&self, socket: Socket, change: impl FnOnce(&mut MemorySocket) -> T) -> T {
        change(self.sockets.borrow_mut().get_mut(&socket).expect("a socket that was accepted"))
    }

    /// Resets the unread bytes and the times of the last frames of every socket, as a new incarnation does.
    pub(crate) fn forget_sockets_memory(&self) {
        let now_ms = self.clock.now_ms();
        for socket in self.sockets.borrow_mut().values_mut() {
            socket.unread = 0;
            socket.settled_at = now_ms;
            socket.heard_at = None;
        }
    }

    /// Begins the first poll of a frame of this socket. What it sends to the socket becomes one frame.
    pub(crate) fn begin_turn(&self, socket: Socket) {
        self.with_socket(socket, |socket| socket.busy = socket.v1);
    }

    pub(crate) fn end_turn(&self, socket: Socket) {
        self.with_socket(socket, |socket| {
            socket.busy = false;
            if !socket.batched {
                socket.release();
            }
        });
    }

    /// Records a frame of a client, which shows that it reads and lives.
    pub(crate) fn heard(&self, socket: Socket) {
        let (now_ms, timeout_ms) = (self.clock.now_ms(), self.peer_timeout_ms.get());
        self.with_socket(socket, |socket| {
            socket.unread = 0;
            if timeout_ms > 0 {
                socket.heard_at = Some(now_ms);
                let is_old = |at_ms| now_ms.saturating_sub(at_ms) >= timeout_ms / SIGN_STEPS;
                if socket.attachment.is_some() && socket.stored_at.is_none_or(is_old) {
                    socket.store_sign();
                }
            }
        });
    }

    /// Answers a heartbeat without waking the room, as the platform does.
    pub(crate) fn heartbeat(&self, socket: Socket, answer: &str) {
        let now_ms = self.clock.now_ms();
        self.with_socket(socket, |socket| {
            socket.unread = 0;
            socket.answered_at = Some(now_ms);
            socket.arrive(answer.to_owned());
        });
    }

    /// A description of a task, with the id of its peer.
    pub(crate) fn describe(&self, work: &Work) -> String {
        let peer = |socket: &Socket| {
            let tags = self.sockets.borrow().get(socket).map(|socket| socket.tags.clone()).unwrap_or_default();
            tags.iter().find_map(|tag| tag.strip_prefix(ID_MARK)).unwrap_or_default().to_owned()
        };
        match work {
            Work::Frame(socket, _) => format!("a frame of peer `{}`", peer(socket)),
            Work::Close(socket) => format!("the close of peer `{}`", peer(socket)),
            Work::Alarm => "an alarm".to_owned(),
            Work::Call => "a call or an upgrade".to_owned(),
            Work::Spawned => "`on_alarm` or spawned work".to_owned(),
        }
    }

    /// The sockets whose `on_connect` had not finished when the object crashed.
    pub(crate) fn half_open(&self) -> Vec<Socket> {
        let sockets = self.sockets.borrow();
        let half = sockets.iter().filter(|(_, socket)| Memory::is_open(socket) && socket.attachment.is_none());
        half.map(|(index, _)| *index).collect()
    }

    /// Closes all sockets, as a restart or a deploy does. Storage and the alarm stay, and only the clients notice.
    pub(crate) fn lose_sockets(&self) {
        for socket in self.sockets.borrow_mut().values_mut() {
            socket.closing = true;
            socket.attachment = None;
            socket.forgotten = true;
            socket.ended.get_or_insert((1006, String::new()));
            if let Some(client) = socket.client.take() {
                client.wake();
            }
        }
        self.to_answer.take();
    }

    /// The time at which the alarm fires. It is after the last alarm, as on a clock that runs.
    pub(crate) fn next_alarm(&self) -> Option<u64> {
        // A clock that was set back is behind the last alarm.
        let fired_at = self.alarm_fired_at.get().filter(|fired_at| *fired_at <= self.clock.now_ms());
        let earliest = fired_at.map_or(0, |fired_at| fired_at.saturating_add(1));
        self.alarm.get().map(|at_ms| at_ms.max(earliest))
    }

    /// Removes the alarm if it is due, and returns whether it was.
    pub(crate) fn take_alarm(&self, now_ms: u64) -> bool {
        let is_due = self.alarm.get().is_some_and(|at_ms| at_ms <= now_ms);
        if is_due {
            self.alarm.set(None);
            self.alarm_fired_at.set(Some(now_ms));
        }
        is_due
    }

    pub(crate) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.storage.borrow().get(key).cloned()
    }

    pub(crate) fn store(&self, key: &str, value: &[u8]) {
        self.storage.borrow_mut().insert(key.to_owned(), value.to_vec());
    }

    /// The stored keys with their values.
    #[cfg(feature = "fuzz")]
    pub(crate) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        self.storage.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The stored keys with this prefix.
    #[cfg(test)]
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        self.storage.borrow().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    #[cfg(test)]
    fn trace(&self, what: String) {
        self.trace.borrow_mut().push(what);
    }

    #[cfg(test)]
    fn see(&self, sockets: usize) {
        self.sockets_seen.set(self.sockets_seen.get() + sockets);
    }

    fn is_open(socket: &MemorySocket) -> bool {
        socket.closed.is_none() && !socket.closing
    }

    /// Drops the held frames, which are lost with the process.
    pub(crate) fn drop_held(&self) {
        for socket in self.sockets.borrow_mut().values_mut() {
            socket.held.clear();
            socket.controls.clear();
            (socket.busy, socket.batched) = (false, false);
        }
    }

    /// Closes a socket from the room's side, after the frames that were sent before.
    fn end(socket: &mut MemorySocket, code: u16, reason: &str) -> bool {
        if socket.closed.is_some() {
            return false;
        }
        socket.closed = Some((code, reason.to_owned()));
        socket.ended.get_or_insert_with(|| (code, reason.to_owned()));
        if let Some(client) = socket.client.take() {
            client.wake();
        }
        true
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Platform for Memory {
    fn name(&self) -> Option<String> {
        (!self.nameless.get()).then(|| self.name.clone())
    }

    fn number(&self) -> String {
        self.number.clone()
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn random(&self) -> [u8; 16] {
        let mut random = self.random.borrow_mut();
        let [a, b] = [random.next(), random.next()];
        ((u128::from(a) << 64) | u128::from(b)).to_be_bytes()
    }

    fn log_error(&self, message: &str) {
        self.errors.borrow_mut().push(message.to_owned());
        self.journal.borrow_mut().push((self.clock.now_ms(), message.to_owned()));
    }

    fn timer(self: Rc<Self>, ms: u64) -> LocalFuture {
        self.clock.clone().timer(ms)
    }

    fn spawn(&self, work: LocalFuture) {
        self.executor.spawn(self.owner, Work::Spawned, work);
    }

    fn has_sockets(&self) -> bool {
        self.sockets.borrow().values().any(|socket| !socket.forgotten)
    }

    fn open(&self, tag: Option<&str>) -> Vec<Socket> {
        let sockets = self.sockets.borrow();
        let tagged = |socket: &MemorySocket| tag.is_none_or(|tag| socket.tags.iter().any(|own| own == tag));
        let open = sockets.iter().filter(|(_, socket)| Memory::is_open(socket) && tagged(socket));
        let open: Vec<_> = open.map(|(index, _)| *index).collect();
        #[cfg(test)]
        self.see(open.len());
        open
    }

    fn count_open(&self) -> usize {
        self.open(None).len()
    }

    fn is_open(&self, socket: Socket) -> bool {
        #[cfg(test)]
        self.see(1);
        self.sockets.borrow().get(&socket).is_some_and(Memory::is_open)
    }

    fn is_packed(&self, socket: Socket) -> bool {
        self.sockets.borrow().get(&socket).is_some_and(|socket| socket.is_packed)
    }

    fn is_v1(&self, socket: Socket) -> bool {
        self.sockets.borrow().get(&socket).is_some_and(|socket| socket.v1)
    }

    fn tags(&self, socket: Socket) -> Vec<String> {
        self.with_socket(socket, |socket| socket.tags.clone())
    }

    fn attachment(&self, socket: Socket) -> Option<Vec<u8>> {
        self.attachments_read.set(self.attachments_read.get() + 1);
        self.with_socket(socket, |socket| socket.attachment.clone())
    }

    fn attach(&self, socket: Socket, bytes: &[u8]) -> Result<(), PlatformError> {
        #[cfg(test)]
        self.trace(format!("attach {socket}"));
        if bytes.len() > MAX_ATTACHMENT_BYTES {
            return Err(PlatformError(format!("an attachment of {} bytes is too large", bytes.len())));
        }
        let (now_ms, timeout_ms) = (self.clock.now_ms(), self.peer_timeout_ms.get());
        self.with_socket(socket, |socket| {
            let before = socket.attachment.replace(bytes.to_vec());
            if timeout_ms > 0 {
                // The timeout of a peer begins when it is admitted.
                if before.is_none() {
                    socket.heard_at = Some(now_ms);
                }
                socket.store_sign();
            }
        });
        Ok(())
    }

    fn send(&self, frame: Frame<'_>, to: Audience<'_>, max_unread: usize, hold: bool) -> Sent {
        let sockets = match to {
            Audience::All { tag, except } => {
                let mut open = self.open(tag);
                open.retain(|socket| !except.contains(socket));
                open
            }
            Audience::Only(sockets) => sockets.iter().copied().filter(|socket| self.is_open(*socket)).collect(),
        };
        #[cfg(test)]
        self.trace(match frame {
            Frame::Text(text) => format!("send {text}"),
            Frame::Packed(bytes) | Frame::Bytes(bytes) => format!("send {bytes:x?}"),
        });
        let mut outcome = Sent::default();
        let now_ms = self.clock.now_ms();
        for socket in sockets {
            self.with_socket(socket, |at| {
                let is_other = match frame {
                    Frame::Text(_) => at.is_packed,
                    Frame::Packed(_) => !at.is_packed,
                    Frame::Bytes(_) => false,
                };
                if is_other {
                    outcome.others = true;
                } else if at.unread > max_unread && !at.settle(max_unread, now_ms) {
                    outcome.unread.push(socket);
                } else if at.refuses {
                    outcome.failed.push(socket);
                } else {
                    outcome.sent += 1;
                    if max_unread < usize::MAX {
                        at.unread += frame.len();
                    }
                    let is_bytes = matches!(frame, Frame::Bytes(_));
                    let frame = match frame {
                        Frame::Text(text) => OwnedFrame::Text(text.to_owned()),
                        Frame::Packed(bytes) | Frame::Bytes(bytes) => OwnedFrame::Binary(bytes.to_vec()),
                    };
                    if at.v1 && !is_bytes {
                        at.held.push(frame);
                        at.position = self.position.get();
                        at.wait(hold);
                        if !hold && !at.busy {
                            at.release();
                        }
                    } else {
                        // The frame comes after the messages that are held.
                        at.release();
                        at.arrive(frame);
                    }
                }
            });
        }
        outcome.held = self.sockets.borrow().values().any(|socket| socket.batched);
        outcome
    }

    fn mark(&self, position: u64) {
        self.position.set(position);
    }

    fn control(&self, socket: Socket, control: Frame<'_>, hold: bool) {
        #[cfg(test)]
        self.trace(format!(
            "control {}",
            match control {
                Frame::Text(text) => text.to_owned(),
                Frame::Packed(bytes) | Frame::Bytes(bytes) => format!("{bytes:x?}"),
            }
        ));
        self.with_socket(socket, |at| {
            if !Memory::is_open(at) {
                return;
            }
            at.controls.push(match control {
                Frame::Text(text) => OwnedFrame::Text(text.to_owned()),
                Frame::Packed(bytes) | Frame::Bytes(bytes) => OwnedFrame::Binary(bytes.to_vec()),
            });
            at.wait(hold);
            if !hold && !at.busy {
                at.release();
            }
        });
    }

    fn silent(&self) -> Silence {
        let (now_ms, timeout_ms) = (self.clock.now_ms(), self.peer_timeout_ms.get());
        let mut silence = Silence::default();
        if timeout_ms == 0 {
            return silence;
        }
        for (index, socket) in self.sockets.borrow_mut().iter_mut() {
            if !Memory::is_open(socket) || socket.attachment.is_none() {
                continue;
            }
            if socket.heard_at.or(socket.stored_at).is_none() {
                // The attachment is from code without the timeout: the time begins now.
                socket.heard_at = Some(now_ms);
                socket.store_sign();
            }
            // A frame that followed the stored time by less than a part was not stored.
            let stored_at = socket.stored_at.map(|at_ms| at_ms + timeout_ms / SIGN_STEPS);
            let sign = socket.heard_at.or(stored_at).max(socket.answered_at).unwrap_or(now_ms);
            let due_ms = sign.saturating_add(timeout_ms);
            if due_ms <= now_ms {
                silence.sockets.push(*index);
            } else {
                silence.next_ms = silence.next_ms.into_iter().chain([due_ms]).min();
            }
        }
        silence
    }

    fn release(&self) {
        self.sockets.borrow_mut().values_mut().for_each(MemorySocket::release);
    }

    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), PlatformError> {
        let (ended, answers) = self.with_socket(socket, |at| {
            at.release();
            let begun_by_client = at.closing;
            (Memory::end(at, code, reason), !at.unresponsive && !begun_by_client)
        });
        if ended && answers {
            self.to_answer.borrow_mut().push(socket);
        }
        Ok(())
    }

    fn answer_close(&self, socket: Socket, code: u16, reason: &str) {
        #[cfg(test)]
        self.trace(format!("answer_close {socket} {code}"));
        self.with_socket(socket, |socket| Memory::end(socket, code, reason));
    }

    fn detach(&self, socket: Socket) {
        self.with_socket(socket, |socket| socket.attachment = None);
    }

    fn forget(&self, socket: Socket) {
        self.with_socket(socket, |socket| {
            socket.attachment = None;
            socket.forgotten = true;
        });
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        #[cfg(test)]
        self.trace(format!("get {key}"));
        if self.reads_fail.get() {
            return Err(PlatformError("the disk is gone".to_owned()));
        }
        Ok(self.storage.borrow().get(key).cloned())
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), PlatformError> {
        #[cfg(test)]
        self.trace(format!("put {key} {}", String::from_utf8_lossy(value)));
        if self.writes_fail.get() {
            return Err(PlatformError("the disk is full".to_owned()));
        }
        self.storage.borrow_mut().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), PlatformError> {
        #[cfg(test)]
        self.trace(format!("delete {key}"));
        if self.writes_fail.get() {
            return Err(PlatformError("the disk is full".to_owned()));
        }
        self.storage.borrow_mut().remove(key);
        Ok(())
    }

    fn stored_bytes(&self) -> Result<u64, PlatformError> {
        if self.reads_fail.get() {
            return Err(PlatformError("the disk is gone".to_owned()));
        }
        let values: usize = self.storage.borrow().iter().map(|(key, value)| key.len() + value.len()).sum();
        Ok(values as u64 + self.database.size()?)
    }

    fn delete_all(&self) -> Result<(), PlatformError> {
        if self.writes_fail.get() {
            return Err(PlatformError("the disk is full".to_owned()));
        }
        self.storage.borrow_mut().clear();
        self.alarm.set(None);
        self.database.clear();
        Ok(())
    }

    fn sql(&self, statement: &Statement<'_>, parameters: &[SqlValue]) -> Result<SqlRows, PlatformError> {
        if self.reads_fail.get() {
            return Err(PlatformError("the disk is gone".to_owned()));
        }
        self.database.run(statement, parameters, !self.writes_fail.get())
    }

    fn read(
        &self,
        statement: &Statement<'_>,
        parameters: &[SqlValue],
        batch: &mut dyn FnMut(SqlRows) -> bool,
    ) -> Result<(), PlatformError> {
        if self.reads_fail.get() {
            return Err(PlatformError("the disk is gone".to_owned()));
        }
        self.database.read(statement, parameters, !self.writes_fail.get(), batch)
    }

    fn transaction(&self, work: &mut dyn FnMut() -> bool) -> Result<(), PlatformError> {
        /// The values under the keys, and the alarm.
        type Before = (BTreeMap<String, Vec<u8>>, Option<u64>);

        /// The contents that the transaction restores, unless it succeeds. A panic of the work drops it too.
        struct Rollback<'a> {
            memory: &'a Memory,
            before: Option<Before>,
        }

        impl Drop for Rollback<'_> {
            fn drop(&mut self) {
                if let Some((storage, alarm)) = self.before.take() {
                    self.memory.storage.replace(storage);
                    self.memory.alarm.set(alarm);
                    self.memory.database.roll_back();
                }
            }
        }

        self.database.begin()?;
        let before = (self.storage.borrow().clone(), self.alarm.get());
        let mut rollback = Rollback { memory: self, before: Some(before) };
        if work() {
            self.database.commit()?;
            rollback.before = None;
        }
        Ok(())
    }

    fn transport(&self, _binding: &str, class: &str) -> Result<Transport, Unreachable> {
        (self.reach)(class)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Vec<u8>>, PlatformError> {
        if self.reads_fail.get() {
            return Err(PlatformError("the disk is gone".to_owned()));
        }
        let storage = self.storage.borrow();
        let from = storage.range(prefix.to_owned()..);
        Ok(from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value.clone()).collect())
    }

    fn scan(
        &self,
        prefix: &str,
        start: Option<&str>,
        reverse: bool,
        limit: u32,
    ) -> Result<Vec<Vec<u8>>, PlatformError> {
        if self.reads_fail.get() {
            return Err(PlatformError("the disk is gone".to_owned()));
        }
        let storage = self.storage.borrow();
        let from = storage.range(start.unwrap_or(prefix).to_owned()..);
        let values = from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, value)| value.clone());
        let mut values: Vec<_> = values.collect();
        if reverse {
            values.reverse();
        }
        values.truncate(limit as usize);
        Ok(values)
    }

    fn set_alarm(&self, at_ms: Option<u64>) {
        self.alarm.set(at_ms);
    }
}
