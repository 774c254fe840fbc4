//! The engine's record of a peer in memory.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use serde_json::value::RawValue;

use super::{Value, fair_lock::FairLock, sessions::SessionCell};
use crate::{Close, PeerId, platform::*};

/// The phase of a peer's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The socket is accepted, and `on_connect` has not finished.
    Connecting,
    Connected,
    /// The connection is lost, and the place is kept for a reconnect.
    Away,
    /// `on_close` has begun, or the peer was never admitted.
    Gone,
}

/// The engine's record of a peer while the object is in memory.
pub(crate) struct Slot {
    pub(crate) id: PeerId,
    pub(crate) connected_at: u64,
    /// The current socket of the peer. A reconnect replaces it.
    pub(crate) socket: Cell<Socket>,
    /// The number of reconnects to this place.
    pub(crate) generation: Cell<u32>,
    pub(crate) status: Cell<Status>,
    /// The peer's data.
    pub(crate) data: RefCell<Value>,
    pub(crate) tags: OnceCell<Vec<String>>,
    /// The topics of the peer, sorted. After its end they are those that it had last.
    pub(crate) topics: RefCell<Vec<String>>,
    /// The metadata of the upgrade. It is dropped when `on_connect` or `on_resume` ends.
    pub(crate) meta: RefCell<Option<Box<RawValue>>>,
    /// The bytes of this peer's frames that wait for its turn.
    pub(crate) queued_bytes: Cell<usize>,
    /// The number of those frames.
    pub(crate) queued_frames: Cell<usize>,
    /// The name of the peer's entry in the roster.
    pub(crate) entry: String,
    /// True if the roster's entry is known to belong to this connection.
    pub(crate) is_enrolled: Cell<bool>,
    /// The close of the connection, once it has ended.
    pub(crate) ended: RefCell<Option<Close>>,
    /// `Some` if the end of the connection is stored; true if it is stored as final.
    pub(crate) noted: Cell<Option<bool>>,
    /// True if the room has closed the connection. Its further frames are ignored.
    pub(crate) is_closing: Cell<bool>,
    /// True if a reconnect is excluded: the room closed the connection, or the grace is over.
    pub(crate) is_final: Cell<bool>,
    /// True if the closure of an `update_data` is running.
    pub(crate) is_changing: Cell<bool>,
    /// The client's address, in a room that limits the rate of an address.
    pub(crate) address: RefCell<Option<Rc<str>>>,
    /// The frames over the rate limit since a frame last passed it.
    pub(crate) over_rate: Cell<u32>,
    /// The position in the log at which the place began; 0 if there is no log, or for a plain client.
    pub(crate) begun: Cell<u64>,
    /// True if the client can have missed messages before its present connection.
    pub(crate) has_gap: Cell<bool>,
    /// The session of the peer; `None` for a plain client.
    pub(crate) session: SessionCell,
    /// Taken by the running handler of this peer.
    pub(crate) turn: FairLock,
}

impl Slot {
    pub(crate) fn new(
        socket: Socket,
        id: PeerId,
        connected_at: u64,
        data: Value,
        status: Status,
        entry: String,
        generation: u32,
    ) -> Self {
        Slot {
            id,
            connected_at,
            socket: Cell::new(socket),
            generation: Cell::new(generation),
            status: Cell::new(status),
            data: RefCell::new(data),
            tags: OnceCell::new(),
            topics: RefCell::default(),
            meta: RefCell::new(None),
            queued_bytes: Cell::new(0),
            queued_frames: Cell::new(0),
            entry,
            is_enrolled: Cell::new(false),
            ended: RefCell::new(None),
            noted: Cell::new(None),
            is_closing: Cell::new(false),
            is_final: Cell::new(false),
            is_changing: Cell::new(false),
            address: RefCell::new(None),
            over_rate: Cell::new(0),
            begun: Cell::new(0),
            has_gap: Cell::new(false),
            session: SessionCell::default(),
            turn: FairLock::default(),
        }
    }

    /// Returns whether the peer has a connection, as far as the room knows. A stale index may belong to another socket.
    pub(crate) fn has_socket(&self) -> bool {
        matches!(self.status.get(), Status::Connecting | Status::Connected) && self.socket.get() != NO_SOCKET
    }
}
