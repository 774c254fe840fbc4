//! [`RoomHost`]: the engine of one room. Every rule that a room keeps is here; platforms only carry bytes.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use serde::Serialize;

use crate::{
    Close, Error, ErrorKind, Failure, Peer, PeerId, Peers, Room, RoomContext, RoomId,
    peer::{Slot, Status},
    platform::{Frame, LIMITS, Platform, Refusal, Socket},
    schedule::Schedules,
    turn::Turn,
    upgrade::{Tickets, id_tag, user_tag},
    wire::{self, Attachment, Command, FrameErrorCode, Reply, UpgradeOptions, WireError},
};

/// The storage key of the room's state.
const STATE_KEY: &str = "room:state";

/// The storage key of the room's id: for the ways into memory that do not tell it.
const ID_KEY: &str = "room:id";

/// How many frames of one peer may wait behind a handler that awaits. A peer that sends more is told so, frame by frame.
const MAX_QUEUED_FRAMES: usize = 1_024;

pub(crate) struct RoomHost<R: Room> {
    pub(crate) platform: Rc<dyn Platform>,
    pub(crate) id: RoomId,
    id_is_stored: Cell<bool>,
    state: RefCell<Cached<R::State>>,
    slots: RefCell<Vec<Option<Rc<Slot<R>>>>>,
    pub(crate) schedules: Schedules<R::Alarm>,
    /// Held while alarms run.
    firing: Turn,
    tickets: Tickets<R::Connection>,
    started: Cell<bool>,
    /// Held while `on_start` runs; what arrives meanwhile waits for it in order.
    starting: Turn,
}

/// The room's state in memory.
struct Cached<S> {
    value: Option<Rc<S>>,
    /// What storage holds. `Unknown` until it was read in this wake.
    stored: Stored,
    dirty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Unknown,
    Nothing,
    Something,
}

impl<R: Room> RoomHost<R> {
    pub(crate) fn new(platform: Rc<dyn Platform>) -> Rc<Self> {
        let stored = || {
            let bytes = platform.get(ID_KEY).ok().flatten()?;
            String::from_utf8(bytes).ok()
        };
        // An object that was never addressed by a name has only its number.
        let id = platform.name().or_else(stored).unwrap_or_else(|| platform.number());
        Rc::new(RoomHost {
            id: RoomId::from(id),
            id_is_stored: Cell::new(false),
            platform,
            state: RefCell::new(Cached { value: None, stored: Stored::Unknown, dirty: false }),
            slots: RefCell::default(),
            schedules: Schedules::default(),
            firing: Turn::default(),
            tickets: Tickets::default(),
            started: Cell::new(false),
            starting: Turn::default(),
        })
    }

    // What arrives.

    /// One frame of one peer.
    pub(crate) async fn message(self: &Rc<Self>, socket: Socket, frame: Frame<'_>) {
        self.start().await;
        let Some(peer) = self.peer(socket) else { return };
        if peer.slot.turn.queued() >= MAX_QUEUED_FRAMES {
            let message = format!("{MAX_QUEUED_FRAMES} frames are waiting, this one was dropped");
            self.tell(socket, FrameErrorCode::Overloaded, &message);
            return;
        }
        let _turn = peer.slot.turn.take().await;
        if peer.slot.status.get() != Status::Connected {
            return;
        }
        match wire::decode_frame(frame) {
            Ok(event) => {
                let ctx = self.context(Some(&peer));
                let outcome = self.run(R::on_event(&ctx, event)).await;
                self.report(outcome, "on_event", Some(peer.id()));
            }
            Err(error) => self.tell(socket, FrameErrorCode::Decode, error.message()),
        }
    }

    /// A connection ended, or its peer asks to end it.
    pub(crate) async fn closed(self: &Rc<Self>, socket: Socket, close: Close) {
        // Its attachment is readable now; who knows after the handshake.
        let peer = self.peer(socket);
        // First and without a wait: whatever the handlers do, the handshake completes.
        self.platform.answer_close(socket, close.code, &close.reason);
        if let Some(peer) = peer {
            self.start().await;
            let _turn = peer.slot.turn.take().await;
            if peer.slot.status.replace(Status::Gone) == Status::Connected {
                let ctx = self.context(None);
                let outcome = self.run(R::on_close(&ctx, &peer, close)).await;
                self.report(outcome, "on_close", Some(peer.id()));
            }
        }
        self.forget(socket);
    }

    /// The upgrade of the request that carries this ticket. The caller's `accept` makes the socket, given its tags.
    ///
    /// Once there is a socket this does not fail: a peer that `on_connect` refuses is closed with 1011.
    pub(crate) async fn upgrade(
        self: &Rc<Self>,
        ticket: &str,
        accept: impl FnOnce(&[String]) -> Result<Socket, Refusal>,
    ) -> Result<Socket, Error> {
        let options = self.tickets.claim(ticket, self.platform.clone()).await?;
        self.start().await;
        self.connect(options, accept).await
    }

    pub(crate) async fn connect(
        self: &Rc<Self>,
        options: UpgradeOptions<R::Connection>,
        accept: impl FnOnce(&[String]) -> Result<Socket, Refusal>,
    ) -> Result<Socket, Error> {
        let UpgradeOptions { data, id, tags } = options;
        let connected_at = self.platform.now_ms();
        let id = id.unwrap_or_else(|| self.random_peer_id(connected_at));
        // Before there is a socket: what does not fit is refused while that is still possible.
        self.encode_attachment(&id, connected_at, &data)?;
        let mut marked = Vec::with_capacity(tags.len() + 1);
        marked.push(id_tag(id.as_str()));
        marked.extend(tags.iter().map(|tag| user_tag(tag)));
        let socket = accept(&marked).map_err(|refusal| {
            Error::new(ErrorKind::Platform, format!("the platform refused the socket: {refusal}")).of_peer(&id)
        })?;

        let slot = Rc::new(Slot::new(socket, id, connected_at, data, Status::Connecting));
        let _ = slot.tags.set(tags);
        self.keep(&slot);
        let peer = Peer { host: self.clone(), slot };
        let _turn = peer.slot.turn.take().await;
        let ctx = self.context(None);
        let outcome = self.run(R::on_connect(&ctx, &peer)).await.and_then(|()| Ok(self.admit(&peer)?));
        if outcome.is_err() {
            peer.slot.status.set(Status::Gone);
            if let Err(refusal) = self.platform.close(socket, 1011, "the room could not let this peer in") {
                self.platform.log_error(&format!("room `{}`: closing a refused peer: {refusal}", self.id));
            }
        }
        self.report(outcome, "on_connect", Some(peer.id()));
        Ok(socket)
    }

    /// A command of the Worker's client; the answer to send back.
    pub(crate) async fn call(self: &Rc<Self>, command: &str) -> String {
        self.start().await;
        let command = match serde_json::from_str(command) {
            Ok(command) => command,
            Err(error) => {
                let message = format!("the room does not understand this: {error}");
                return answer::<()>(Err(WireError::new(ErrorKind::Decode, message)));
            }
        };
        match command {
            Command::<R::Event, R::Broadcast, R::Connection>::Send(event) => {
                let ctx = self.context(None);
                let outcome = self.run(R::on_event(&ctx, event)).await;
                let reply = outcome.as_ref().map(|&()| ()).map_err(|failure| {
                    failure.downcast_ref::<Error>().map_or_else(
                        || WireError::new(ErrorKind::Handler, format!("on_event: {failure}")),
                        WireError::from,
                    )
                });
                self.report(outcome, "on_event", None);
                answer(reply)
            }
            Command::State => {
                let state = self.stored_state();
                answer(state.as_ref().map(Option::as_deref).map_err(WireError::from))
            }
            Command::Peers { tag } => {
                let ctx = self.context(None);
                let peers = match &tag {
                    Some(tag) => Peers::new(&ctx).tagged(tag),
                    None => Peers::new(&ctx),
                };
                answer(Ok(peers.iter().map(|peer| peer.info()).collect::<Vec<_>>()))
            }
            Command::Broadcast(message) => {
                answer(self.context(None).broadcast(&message).map_err(|error| WireError::from(&error)))
            }
            Command::Prepare { ticket, upgrade } => {
                let prepared = self.tickets.prepare(ticket, upgrade, self.platform.now_ms());
                answer(prepared.map_err(|error| WireError::from(&error)))
            }
        }
    }

    /// The object's alarm: runs what is due, in order of time. An error is one of storage; what a handler fails with is
    /// reported, and its alarm stays for another try.
    pub(crate) async fn alarm(self: &Rc<Self>) -> Result<(), Error> {
        self.start().await;
        let _turn = self.firing.take().await;
        while let Some(due) = self.schedules.begin(&*self.platform).map_err(|error| error.in_room(&self.id))? {
            let ctx = self.context(None);
            let outcome = self.run(R::on_alarm(&ctx, due.alarm)).await;
            match outcome {
                Ok(()) => self.schedules.finish(&*self.platform, due.id).map_err(|error| error.in_room(&self.id))?,
                failed => self.report(failed, "on_alarm", None),
            }
        }
        Ok(())
    }

    async fn start(self: &Rc<Self>) {
        // Who came while it ran goes first, also when it has just ended.
        if self.started.get() && !self.starting.is_taken() {
            return;
        }
        let _turn = self.starting.take().await;
        if !self.started.get() {
            let ctx = self.context(None);
            let outcome = self.run(R::on_start(&ctx)).await;
            self.started.set(true);
            self.report(outcome, "on_start", None);
        }
    }

    // Handlers.

    fn context(self: &Rc<Self>, sender: Option<&Peer<R>>) -> RoomContext<R> {
        RoomContext { host: self.clone(), sender: sender.cloned() }
    }

    /// Runs a handler: what it changed is stored before it first waits, each time it waits, and at its end.
    async fn run(&self, handler: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        let mut handler = pin!(handler);
        poll_fn(|cx| {
            let poll = handler.as_mut().poll(cx);
            // A handler's own failure says more than the write that came after it, which is logged.
            match (self.flush(), poll) {
                (Ok(()), poll) => poll,
                (Err(error), Poll::Ready(Ok(()))) => Poll::Ready(Err(error.into())),
                (Err(error), poll) => {
                    self.platform.log_error(&error.to_string());
                    poll
                }
            }
        })
        .await
    }

    fn report(&self, outcome: Result<(), Failure>, handler: &'static str, peer: Option<&PeerId>) {
        if let Err(failure) = outcome {
            self.log_failure(&failure, handler, peer);
        }
    }

    fn log_failure(&self, failure: &Failure, handler: &'static str, peer: Option<&PeerId>) {
        let (name, room) = (R::NAME, &self.id);
        self.platform.log_error(&match peer {
            Some(peer) => format!("{name} room `{room}`, peer `{peer}`: {handler} failed: {failure}"),
            None => format!("{name} room `{room}`: {handler} failed: {failure}"),
        });
    }

    /// Sends one peer an error frame.
    fn tell(&self, socket: Socket, code: FrameErrorCode, message: &str) {
        let frame = wire::error_frame(code, message);
        // One that cannot be told is closing: there is no one left to tell.
        self.platform.send(Frame::Text(&frame), crate::platform::Audience::Only(&[socket]));
    }

    // Peers.

    /// The peer of a socket, from memory or, once in a wake, from what is kept with the socket.
    pub(crate) fn peer(self: &Rc<Self>, socket: Socket) -> Option<Peer<R>> {
        let known = self.slots.borrow().get(socket as usize).cloned().flatten();
        let slot = match known {
            Some(slot) => slot,
            None => self.restore(socket)?,
        };
        Some(Peer { host: self.clone(), slot })
    }

    fn restore(&self, socket: Socket) -> Option<Rc<Slot<R>>> {
        let restored = match self.platform.attachment(socket) {
            Some(bytes) => wire::decode_value(&bytes, "what is kept with a socket"),
            None => Err(Error::new(ErrorKind::PeerGone, "a socket that was never let in")),
        };
        match restored {
            Ok(Attachment(id, connected_at, data)) => {
                let slot = Rc::new(Slot::new(socket, id, connected_at, data, Status::Connected));
                self.keep(&slot);
                Some(slot)
            }
            Err(error) => {
                self.platform.log_error(&error.in_room(&self.id).to_string());
                // It may be closing already; either way it is not a peer.
                let _ = self.platform.close(socket, 1011, "the room lost this connection");
                None
            }
        }
    }

    fn keep(&self, slot: &Rc<Slot<R>>) {
        let mut slots = self.slots.borrow_mut();
        let index = slot.socket as usize;
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        slots[index] = Some(slot.clone());
    }

    fn forget(&self, socket: Socket) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(socket as usize) {
            *slot = None;
        }
        self.platform.forget(socket);
    }

    /// `on_connect` has succeeded: from here on the peer survives hibernation.
    fn admit(&self, peer: &Peer<R>) -> Result<(), Error> {
        let Slot { socket, id, connected_at, data, status, .. } = &*peer.slot;
        let bytes = self.encode_attachment(id, *connected_at, &**data.borrow())?;
        self.platform
            .attach(*socket, &bytes)
            .map_err(|refusal| Error::new(ErrorKind::Platform, refusal.0).of_peer(id))?;
        status.set(Status::Connected);
        Ok(())
    }

    pub(crate) fn encode_attachment(
        &self,
        id: &PeerId,
        connected_at: u64,
        data: &R::Connection,
    ) -> Result<Vec<u8>, Error> {
        let encoded = wire::encode_value(&Attachment(id, connected_at, data), "the peer's data");
        let checked = encoded.and_then(|bytes| match bytes.len() {
            n if n > LIMITS.attachment => Err(Error::new(
                ErrorKind::AttachmentTooLarge,
                format!("the peer's data has {n} bytes with its id, the limit is {}", LIMITS.attachment),
            )),
            _ => Ok(bytes),
        });
        checked.map_err(|error| error.in_room(&self.id).of_peer(id))
    }

    fn random_peer_id(&self, now_ms: u64) -> PeerId {
        let [.., a, b, c, d, e, f, g, h, i, j] = self.platform.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid();
        PeerId::from(uuid.to_string())
    }

    /// Sees to it that the room knows its id when an alarm is what brings it into memory.
    pub(crate) fn store_id(&self) -> Result<(), Error> {
        if self.id_is_stored.get() {
            return Ok(());
        }
        let id = self.id.as_str().as_bytes();
        let stored = self.platform.get(ID_KEY).and_then(|stored| match stored {
            Some(stored) if stored == id => Ok(()),
            _ => self.platform.put(ID_KEY, id),
        });
        stored.map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room's id could not be stored: {refusal}")).in_room(&self.id)
        })?;
        self.id_is_stored.set(true);
        Ok(())
    }

    // State.

    pub(crate) fn state(&self) -> Result<Rc<R::State>, Error> {
        let mut cached = self.borrow_state()?;
        Ok(self.loaded(&mut cached)?.clone())
    }

    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut R::State) -> T) -> Result<T, Error> {
        let mut cached = self.borrow_state()?;
        // A snapshot that a handler still holds is copied, not changed under it.
        let value = change(Rc::make_mut(self.loaded(&mut cached)?));
        cached.dirty = true;
        Ok(value)
    }

    pub(crate) fn try_update<T>(&self, change: impl FnOnce(&mut R::State) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut cached = self.borrow_state()?;
        let mut state = R::State::clone(self.loaded(&mut cached)?);
        let value = change(&mut state)?;
        cached.value = Some(Rc::new(state));
        cached.dirty = true;
        Ok(value)
    }

    pub(crate) fn is_initialized(&self) -> Result<bool, Error> {
        let mut cached = self.borrow_state()?;
        self.loaded(&mut cached)?;
        Ok(cached.dirty || cached.stored == Stored::Something)
    }

    /// The state as the Worker's client sees it: `None` until there was a first change.
    fn stored_state(&self) -> Result<Option<Rc<R::State>>, Error> {
        Ok(if self.is_initialized()? { Some(self.state()?) } else { None })
    }

    /// Stores the state if it changed since it was last stored.
    ///
    /// A state that cannot be stored is given up: what is served is what would be there after a restart.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        // Nothing can be changed inside an `update` either.
        let Ok(mut cached) = self.state.try_borrow_mut() else { return Ok(()) };
        let Cached { value: Some(value), dirty: true, .. } = &*cached else { return Ok(()) };
        let written = wire::encode_value(&**value, "the room's state").and_then(|bytes| match bytes.len() {
            n if n > LIMITS.value => Err(Error::new(
                ErrorKind::ValueTooLarge,
                format!("the room's state has {n} bytes as JSON, the limit is {}", LIMITS.value),
            )),
            _ => self.platform.put(STATE_KEY, &bytes).map_err(|refusal| {
                Error::new(ErrorKind::Storage, format!("the room's state could not be stored: {refusal}"))
            }),
        });
        cached.dirty = false;
        match written {
            Ok(()) => {
                cached.stored = Stored::Something;
                Ok(())
            }
            Err(error) => {
                cached.value = None;
                cached.stored = Stored::Unknown;
                Err(error.in_room(&self.id))
            }
        }
    }

    fn borrow_state(&self) -> Result<std::cell::RefMut<'_, Cached<R::State>>, Error> {
        self.state.try_borrow_mut().map_err(|_| {
            Error::new(ErrorKind::NestedUpdate, "the room's state was used inside the closure of an `update`")
                .in_room(&self.id)
        })
    }

    fn loaded<'c>(&self, cached: &'c mut Cached<R::State>) -> Result<&'c mut Rc<R::State>, Error> {
        let value = match cached.value.take() {
            Some(value) => value,
            None => {
                let stored = self.platform.get(STATE_KEY).map_err(|refusal| {
                    Error::new(ErrorKind::Storage, format!("the room's state could not be read: {refusal}"))
                        .in_room(&self.id)
                })?;
                match stored {
                    Some(bytes) => {
                        let state = wire::decode_value(&bytes, "the room's stored state");
                        let state = state.map_err(|error| error.in_room(&self.id))?;
                        cached.stored = Stored::Something;
                        Rc::new(state)
                    }
                    None => {
                        cached.stored = Stored::Nothing;
                        Rc::new(R::initial_state())
                    }
                }
            }
        };
        Ok(cached.value.insert(value))
    }
}

impl<R: Room> fmt::Debug for RoomHost<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHost").field("name", &R::NAME).field("id", &self.id).finish_non_exhaustive()
    }
}

fn answer<T: Serialize>(outcome: Result<T, WireError>) -> String {
    let reply = match outcome {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Err(error),
    };
    serde_json::to_string(&reply).unwrap_or_else(|error| {
        let message = format!("the answer cannot be written as JSON: {error}");
        answer::<()>(Err(WireError::new(ErrorKind::Encode, message)))
    })
}

#[cfg(test)]
mod tests;
