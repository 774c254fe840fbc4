//! The engine of a room by itself, over memory: for benchmarks and nothing else.

use std::{
    fmt,
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::Request;

use crate::{
    Error, Room,
    engine::{RoomHost, Upgraded},
    platform::{OwnedFrame, Socket, memory::Memory},
    wire::{UpgradeOptions, handshake::Handshake},
};

/// A room without an executor around it: whatever it is given has to be done without a wait.
pub struct Engine<R: Room> {
    host: Rc<RoomHost<R>>,
    memory: Rc<Memory>,
}

impl<R: Room> fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// A request that says nothing.
struct Nobody;

impl Handshake for Nobody {
    fn head(&self) -> Result<Request<()>, Error> {
        Ok(Request::default())
    }

    fn protocols(&self) -> Vec<String> {
        Vec::new()
    }
}

fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a handler waits, which a benchmark of the engine does not"),
    }
}

impl<R: Room> Engine<R> {
    /// A new room with these services.
    pub fn new(services: impl Fn() -> R::Services + 'static) -> Self {
        let memory = Memory::alone("bench");
        let host = RoomHost::new(memory.clone(), Box::new(move || Ok(services())));
        Engine { host, memory }
    }

    /// Lets a peer in; its socket.
    ///
    /// # Panics
    /// When the room does not.
    pub fn connect(&self, data: R::Connection) -> Socket {
        let options = UpgradeOptions {
            data,
            id: None,
            tags: Vec::new(),
            meta: None,
            on_duplicate: crate::OnDuplicate::Allow,
            resume: None,
            on_resume: crate::OnResume::KeepData,
            protocol: None,
        };
        let mut accepted = None;
        let accept = |tags: &[String], _: Option<&str>| Ok(*accepted.insert(self.memory.accept(tags)));
        let upgraded = now(self.host.connect(options, || Rc::new(Nobody), accept));
        match (upgraded, accepted) {
            (Ok(Upgraded::Accepted), Some(socket)) => socket,
            (upgraded, _) => panic!("the room did not let a peer in: {upgraded:?}"),
        }
    }

    /// Handles a frame, from its arrival to its end.
    pub fn frame(&self, socket: Socket, text: String) {
        self.memory.with_socket(socket, |socket| socket.unread = 0);
        now(self.host.message(socket, OwnedFrame::Text(text)));
    }

    /// Takes what a peer was sent; how many frames that were.
    pub fn take(&self, socket: Socket) -> usize {
        self.memory.with_socket(socket, |socket| std::mem::take(&mut socket.received).len())
    }
}
