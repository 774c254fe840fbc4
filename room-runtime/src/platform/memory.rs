//! A platform in memory: virtual time, sockets that remember what they were sent, storage that can be made to fail.
//!
//! The world outlives the room: dropping a [`RoomHost`](crate::host::RoomHost) and making a new one over the same world
//! is what hibernation, and a panic, are to a room.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use super::{Audience, Frame, LocalFuture, Platform, Refusal, Sent, Socket};

/// When time begins: late in 2023.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// A socket as both of its ends see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySocket {
    /// Text frames that were sent to it.
    pub(crate) received: Vec<String>,
    /// The close that the room began or answered.
    pub(crate) closed: Option<(u16, String)>,
    /// Whether its peer has begun to close.
    pub(crate) closing: bool,
    /// Whether it refuses frames.
    pub(crate) refuses: bool,
    attachment: Option<Vec<u8>>,
    tags: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Memory {
    name: String,
    /// Whether the object comes into memory without being told its name.
    pub(crate) nameless: Cell<bool>,
    now_ms: Cell<u64>,
    /// One index is used once: what speaks of a forgotten socket shows.
    sockets: RefCell<BTreeMap<Socket, MemorySocket>>,
    next_socket: Cell<Socket>,
    storage: RefCell<BTreeMap<String, Vec<u8>>>,
    pub(crate) errors: RefCell<Vec<String>>,
    /// Everything that reached storage or a socket, in order.
    pub(crate) trace: RefCell<Vec<String>>,
    pub(crate) attachments_read: Cell<usize>,
    pub(crate) reads_fail: Cell<bool>,
    pub(crate) writes_fail: Cell<bool>,
    pub(crate) alarm: Cell<Option<u64>>,
    timers: RefCell<Vec<(u64, Waker)>>,
    random: Cell<u8>,
}

impl Memory {
    pub(crate) fn new(name: &str) -> Rc<Self> {
        Rc::new(Memory { name: name.to_owned(), now_ms: Cell::new(START_MS), ..Memory::default() })
    }

    pub(crate) fn accept(&self, tags: &[String]) -> Socket {
        let socket = self.next_socket.get();
        self.next_socket.set(socket + 1);
        let accepted = MemorySocket { tags: tags.to_vec(), ..MemorySocket::default() };
        self.sockets.borrow_mut().insert(socket, accepted);
        socket
    }

    pub(crate) fn socket(&self, socket: Socket) -> MemorySocket {
        self.sockets.borrow()[&socket].clone()
    }

    pub(crate) fn with_socket<T>(&self, socket: Socket, change: impl FnOnce(&mut MemorySocket) -> T) -> T {
        change(self.sockets.borrow_mut().get_mut(&socket).expect("a socket that was accepted"))
    }

    pub(crate) fn stored(&self, key: &str) -> Option<String> {
        self.storage.borrow().get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(crate) fn store(&self, key: &str, value: &str) {
        self.storage.borrow_mut().insert(key.to_owned(), value.as_bytes().to_vec());
    }

    /// Moves the clock on, past every timer that is due.
    pub(crate) fn advance(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
        let now = self.now_ms.get();
        let mut due = Vec::new();
        self.timers.borrow_mut().retain(|(at, waker)| {
            let is_due = *at <= now;
            if is_due {
                due.push(waker.clone());
            }
            !is_due
        });
        due.iter().for_each(Waker::wake_by_ref);
    }

    fn trace(&self, what: String) {
        self.trace.borrow_mut().push(what);
    }

    fn is_open(socket: &MemorySocket) -> bool {
        socket.closed.is_none() && !socket.closing
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
        "0f".repeat(32)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn random(&self) -> [u8; 16] {
        self.random.set(self.random.get().wrapping_add(1));
        [self.random.get(); 16]
    }

    fn log_error(&self, message: &str) {
        self.errors.borrow_mut().push(message.to_owned());
    }

    fn timer(self: Rc<Self>, ms: u64) -> LocalFuture {
        let at = self.now_ms.get() + ms;
        Box::pin(poll_fn(move |cx| {
            if self.now_ms.get() >= at {
                return Poll::Ready(());
            }
            self.timers.borrow_mut().push((at, cx.waker().clone()));
            Poll::Pending
        }))
    }

    fn open(&self, tag: Option<&str>) -> Vec<Socket> {
        let sockets = self.sockets.borrow();
        let tagged = |socket: &MemorySocket| tag.is_none_or(|tag| socket.tags.iter().any(|own| own == tag));
        let open = sockets.iter().filter(|(_, socket)| Memory::is_open(socket) && tagged(socket));
        open.map(|(index, _)| *index).collect()
    }

    fn is_open(&self, socket: Socket) -> bool {
        self.sockets.borrow().get(&socket).is_some_and(Memory::is_open)
    }

    fn tags(&self, socket: Socket) -> Vec<String> {
        self.socket(socket).tags
    }

    fn attachment(&self, socket: Socket) -> Option<Vec<u8>> {
        self.attachments_read.set(self.attachments_read.get() + 1);
        self.socket(socket).attachment
    }

    fn attach(&self, socket: Socket, bytes: &[u8]) -> Result<(), Refusal> {
        self.trace(format!("attach {socket}"));
        self.with_socket(socket, |socket| socket.attachment = Some(bytes.to_vec()));
        Ok(())
    }

    fn send(&self, frame: Frame<'_>, to: Audience<'_>) -> Sent {
        let Frame::Text(text) = frame else { unreachable!("the engine sends text") };
        let sockets = match to {
            Audience::All { tag, except } => {
                let mut open = self.open(tag);
                open.retain(|socket| !except.contains(socket));
                open
            }
            Audience::Only(sockets) => sockets.iter().copied().filter(|socket| self.is_open(*socket)).collect(),
        };
        self.trace(format!("send {text}"));
        let (mut sent, mut failed) = (0, Vec::new());
        for socket in sockets {
            self.with_socket(socket, |at| {
                if at.refuses {
                    failed.push(socket);
                } else {
                    at.received.push(text.to_owned());
                    sent += 1;
                }
            });
        }
        Sent { sent, failed }
    }

    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), Refusal> {
        self.with_socket(socket, |socket| {
            socket.closed.get_or_insert_with(|| (code, reason.to_owned()));
        });
        Ok(())
    }

    fn answer_close(&self, socket: Socket, code: u16, reason: &str) {
        self.trace(format!("answer_close {socket} {code}"));
        self.with_socket(socket, |socket| {
            socket.closed.get_or_insert_with(|| (code, reason.to_owned()));
        });
    }

    fn forget(&self, socket: Socket) {
        self.with_socket(socket, |socket| socket.attachment = None);
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.trace(format!("get {key}"));
        if self.reads_fail.get() {
            return Err(Refusal("the disk is gone".to_owned()));
        }
        Ok(self.storage.borrow().get(key).cloned())
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Refusal> {
        self.trace(format!("put {key} {}", String::from_utf8_lossy(value)));
        if self.writes_fail.get() {
            return Err(Refusal("the disk is full".to_owned()));
        }
        self.storage.borrow_mut().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn set_alarm(&self, at_ms: Option<u64>) {
        self.alarm.set(at_ms);
    }
}
