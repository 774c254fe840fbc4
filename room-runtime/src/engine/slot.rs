//! What the engine keeps of a peer in memory.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use serde_json::value::RawValue;

use super::fair_lock::FairLock;
use crate::{Close, PeerId, Room, platform::*};

/// Where a peer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Accepted; `on_connect` has not finished.
    Connecting,
    Connected,
    /// Its connection is gone, its place is kept, and it may come back.
    Away,
    /// Its `on_close` has begun, or it was never let in.
    Gone,
}

/// What the engine keeps of a peer while the object is in memory.
pub(crate) struct Slot<R: Room> {
    pub(crate) id: PeerId,
    pub(crate) connected_at: u64,
    /// The socket it has now: another one each time it comes back.
    pub(crate) socket: Cell<Socket>,
    /// How often it has come back.
    pub(crate) generation: Cell<u32>,
    pub(crate) status: Cell<Status>,
    pub(crate) data: RefCell<Rc<R::Connection>>,
    pub(crate) tags: OnceCell<Vec<String>>,
    /// What the Worker said once; there until `on_connect` has ended.
    pub(crate) meta: RefCell<Option<Box<RawValue>>>,
    /// How much of what this peer sent waits for its turn.
    pub(crate) queued_bytes: Cell<usize>,
    /// The name of its entry in the roster.
    pub(crate) entry: String,
    /// Whether the entry is known to be this slot's.
    pub(crate) is_enrolled: Cell<bool>,
    /// How its connection has ended.
    pub(crate) ended: RefCell<Option<Close>>,
    /// Whether that is noted in storage, and as the end of one that cannot come back.
    pub(crate) noted: Cell<Option<bool>>,
    /// Whether the room has closed the connection: what still comes of it is not handled.
    pub(crate) is_closing: Cell<bool>,
    /// Whether it cannot come back: the room closed it, or its time is over.
    pub(crate) is_final: Cell<bool>,
    /// Whether the closure of an `update_data` runs.
    pub(crate) is_changing: Cell<bool>,
    /// Held by the handler of this peer that runs now.
    pub(crate) turn: FairLock,
}

impl<R: Room> Slot<R> {
    pub(crate) fn new(
        socket: Socket,
        id: PeerId,
        connected_at: u64,
        data: R::Connection,
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
            data: RefCell::new(Rc::new(data)),
            tags: OnceCell::new(),
            meta: RefCell::new(None),
            queued_bytes: Cell::new(0),
            entry,
            is_enrolled: Cell::new(false),
            ended: RefCell::new(None),
            noted: Cell::new(None),
            is_closing: Cell::new(false),
            is_final: Cell::new(false),
            is_changing: Cell::new(false),
            turn: FairLock::default(),
        }
    }

    /// Whether it has a connection, as far as the room knows: the index of one that is gone may belong to another socket.
    pub(crate) fn has_socket(&self) -> bool {
        matches!(self.status.get(), Status::Connecting | Status::Connected) && self.socket.get() != NO_SOCKET
    }
}
