//! The engine of a room over the memory platform, for benchmarks only.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::Request;

use crate::{
    Error, Room,
    api::typed::room_type,
    engine::{RoomHost, Upgraded, Value, upgrade::Accept},
    platform::{OwnedFrame, Socket, memory::Memory},
    wire::{UpgradeOptions, handshake::Handshake},
};

/// A room without an executor: its handlers must not wait.
pub struct Engine<R: Room> {
    host: Rc<RoomHost>,
    memory: Rc<Memory>,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// An empty request.
struct Nobody;

impl Handshake for Nobody {
    fn head(&self) -> Result<Request<()>, Error> {
        Ok(Request::default())
    }

    fn protocols(&self) -> Vec<String> {
        Vec::new()
    }

    fn address(&self) -> Option<String> {
        None
    }
}

fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("a handler waits, which a benchmark of the engine does not"),
    }
}

impl<R: Room> Engine<R> {
    /// Makes a new room with these services.
    pub fn new(services: impl Fn() -> R::Services + 'static) -> Self {
        let memory = Memory::alone("bench");
        let make_services = Box::new(move || Ok(Box::new(services()) as Box<dyn Any>));
        let host = RoomHost::new(room_type::<R>(), memory.clone(), make_services);
        Engine { host, memory, room: PhantomData }
    }

    /// Connects a peer and returns its socket.
    ///
    /// # Panics
    /// If the room refuses the peer.
    pub fn connect(&self, data: R::Connection) -> Socket {
        let options = UpgradeOptions {
            data: Rc::new(data) as Value,
            id: None,
            tags: Vec::new(),
            meta: None,
            on_duplicate: crate::OnDuplicate::Allow,
            resume: None,
            on_resume: crate::OnResume::KeepData,
            protocol: None,
        };
        let accepted = Rc::new(Cell::new(None));
        let (memory, to) = (self.memory.clone(), accepted.clone());
        let accept: Accept = Box::new(move |tags, _| {
            let socket = memory.accept(tags);
            to.set(Some(socket));
            Ok(socket)
        });
        let upgraded = now(self.host.connect(options, Rc::new(Nobody), accept));
        match (upgraded, accepted.get()) {
            (Ok(Upgraded::Accepted), Some(socket)) => socket,
            (upgraded, _) => panic!("the room did not let a peer in: {upgraded:?}"),
        }
    }

    /// Handles a frame, from its arrival to its end.
    pub fn frame(&self, socket: Socket, text: String) {
        self.memory.with_socket(socket, |socket| socket.unread = 0);
        now(self.host.message(socket, OwnedFrame::Text(text)));
    }

    /// Drops the frames that were sent to a peer, and returns their number.
    pub fn take(&self, socket: Socket) -> usize {
        self.memory.with_socket(socket, |socket| std::mem::take(&mut socket.received).len())
    }
}
