//! The platform that the engine runs on, as bytes and indices.
//!
//! The trait is object-safe, sealed and shaped by the hot path: a socket is an index, a broadcast is one call, and
//! storage is synchronous. It has two implementations: [`cloudflare`], over JavaScript values, and [`memory`], on which
//! rooms run natively.

pub(crate) mod cloudflare;
#[cfg(not(target_arch = "wasm32"))]
#[allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "it is a part of the test kit, and a mistake of a test shall end the test"
)]
pub(crate) mod memory;
pub(crate) mod socket;
pub(crate) mod sql;
pub(crate) mod transport;

use std::{fmt, future::Future, pin::Pin, rc::Rc};

use self::{
    sql::{SqlRows, SqlValue, statement::Statement},
    transport::{Transport, Unreachable},
};
pub(crate) use crate::wire::{Frame, OwnedFrame};

/// The index of a socket of this object, valid while the object stays in memory.
///
/// [`Platform::forget`] frees the index, and a later socket may reuse it.
pub(crate) type Socket = u32;

/// The index of a peer without a socket. No socket has this index.
pub(crate) const NO_SOCKET: Socket = Socket::MAX;

pub(crate) type LocalFuture<T = ()> = Pin<Box<dyn Future<Output = T>>>;

/// The platform's message about a failed operation. The engine adds the kind, the room and the peer.
#[derive(Debug)]
pub(crate) struct PlatformError(pub(crate) String);

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlatformError {}

/// The receivers of a frame. Sockets that are closing are skipped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience<'a> {
    /// Every socket, or every socket that carries `tag`, except those in `except`.
    All { tag: Option<&'a str>, except: &'a [Socket] },
    /// Exactly these sockets.
    Only(&'a [Socket]),
}

/// The outcome of a send.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The number of sockets that accepted the frame.
    pub(crate) sent: usize,
    /// The sockets whose send failed.
    pub(crate) failed: Vec<Socket>,
    /// The slow consumers that were skipped.
    pub(crate) unread: Vec<Socket>,
    /// True if the platform holds any frame for a later batch, from this send or an earlier one.
    pub(crate) held: bool,
    /// True if sockets were skipped because they speak another codec.
    pub(crate) others: bool,
}

/// The parts of the [timeout](crate::Room::PEER_TIMEOUT_MS) of peers: the time of a peer's last frame is stored with its
/// socket if the stored time is older than one part, and two looks for silent peers are at least one part apart.
///
/// After a wake the stored time is taken to be one part later, so that no peer is closed early. A silent peer is
/// therefore closed after ten parts at the latest. `room.js` has the same number.
pub(crate) const SIGN_STEPS: u64 = 8;

/// The outcome of a look for silent sockets.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// The open sockets that showed no sign of life for the timeout.
    pub(crate) sockets: Vec<Socket>,
    /// The earliest time at which another open socket can be one of them.
    pub(crate) next_ms: Option<u64>,
}

/// The largest value under one key, in bytes. Cloudflare stores 2 MB, with a few bytes of its format around the value.
///
/// The memory platform has the same limit, so that a test that passes natively does not fail on Cloudflare.
pub(crate) const MAX_VALUE_BYTES: usize = 2_000_000;

/// The platform of this build.
///
/// On Cloudflare it is a concrete type, called without a vtable, so that the wasm of a room contains only the functions
/// that it uses.
//
// Other modules import everything from here. The trait must be in scope to call its methods on the concrete type, and
// would be an unused import for the trait object.
#[cfg(target_arch = "wasm32")]
pub(crate) type AnyPlatform = cloudflare::Cloudflare;
/// The platform of this build. Natively it is a trait object for either implementation.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type AnyPlatform = dyn Platform;

pub(crate) trait Platform: fmt::Debug {
    /// The name by which this object is addressed.
    ///
    /// It is `None` if the platform did not say it, for example in an alarm after a restart.
    fn name(&self) -> Option<String>;
    /// The object's id as the platform writes it. It is always known.
    fn number(&self) -> String;
    fn now_ms(&self) -> u64;
    fn random(&self) -> [u8; 16];
    fn log_error(&self, message: &str);
    fn timer(self: Rc<Self>, ms: u64) -> LocalFuture;
    /// Runs a task to its end, concurrently with all others.
    fn spawn(&self, work: LocalFuture);

    /// The open sockets: all of them, or those that carry `tag`.
    fn open(&self, tag: Option<&str>) -> Vec<Socket>;
    fn is_open(&self, socket: Socket) -> bool;
    /// The number of open sockets.
    fn count_open(&self) -> usize;
    /// Returns whether there is any socket, open or closing.
    fn has_sockets(&self) -> bool;
    /// Returns whether the socket speaks MessagePack.
    fn is_packed(&self, socket: Socket) -> bool;
    /// Returns whether the socket's client speaks `room.v1`.
    fn is_v1(&self, socket: Socket) -> bool;
    fn tags(&self, socket: Socket) -> Vec<String>;
    /// The attachment of a socket; `None` if it has none.
    fn attachment(&self, socket: Socket) -> Option<Vec<u8>>;
    fn attach(&self, socket: Socket, bytes: &[u8]) -> Result<(), PlatformError>;
    /// Sends a frame to the open sockets of an audience. Those that speak another codec than the frame's are skipped.
    ///
    /// A socket with more than `max_unread` bytes sent since it last showed that it reads is skipped; with `usize::MAX`, none
    /// is, and the frame does not count. With `hold`,
    /// frames to sockets that accept several messages in one frame are held for a batch, and count as sent.
    fn send(&self, frame: Frame<'_>, to: Audience<'_>, max_unread: usize, hold: bool) -> Sent;
    /// Sets the position in the log of the room that the clients of `room.v1` get with the messages which follow; 0 for
    /// none.
    fn mark(&self, position: u64);
    /// Sends a control to a socket whose client speaks `room.v1`, in the codec of the socket. With `hold` it waits for a
    /// batch, as a message does.
    ///
    /// While the first poll of a frame's handling runs, the platform holds the controls and messages to the frame's socket,
    /// and then sends them as one frame.
    fn control(&self, socket: Socket, control: Frame<'_>, hold: bool);
    /// Returns the sockets that showed no sign of life for the room's `peer_timeout`.
    ///
    /// A socket without an attachment belongs to a peer that is still connecting, and has no timeout.
    fn silent(&self) -> Silence;
    /// Sends the held frames, as one frame for each socket. A close also sends the held frames of its socket first.
    fn release(&self);
    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), PlatformError>;
    /// Completes a close handshake that the client began. Every received code and reason is a valid argument.
    fn answer_close(&self, socket: Socket, code: u16, reason: &str);
    /// Deletes the attachment of a socket that the room has closed.
    ///
    /// If the platform delivers another event of it, even after hibernation, the socket has no peer and is not open.
    fn detach(&self, socket: Socket);
    /// Frees the index of a socket that is gone.
    fn forget(&self, socket: Socket);

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PlatformError>;
    fn put(&self, key: &str, value: &[u8]) -> Result<(), PlatformError>;
    /// The values of all keys with this prefix.
    fn list(&self, prefix: &str) -> Result<Vec<Vec<u8>>, PlatformError>;
    /// At most `limit` values of the keys with this prefix, in the order of the keys from `start` on, or with `reverse`
    /// from the last one back.
    fn scan(&self, prefix: &str, start: Option<&str>, reverse: bool, limit: u32)
    -> Result<Vec<Vec<u8>>, PlatformError>;
    fn delete(&self, key: &str) -> Result<(), PlatformError>;
    /// The size of all storage, in bytes.
    fn stored_bytes(&self) -> Result<u64, PlatformError>;
    /// Deletes all storage: values, tables and the alarm.
    fn delete_all(&self) -> Result<(), PlatformError>;
    /// Runs a statement on the object's database, with one value for each of its parameters.
    fn sql(&self, statement: &Statement<'_>, parameters: &[SqlValue]) -> Result<SqlRows, PlatformError>;
    /// Runs one statement and passes its rows on in batches, until the closure returns false.
    ///
    /// A batch ends at 256 rows or 256 KiB. The statement must not be [atomic](Statement::is_atomic), and nothing may use
    /// the database in between. An error comes after the rows before it, except that it can hide the last of them.
    fn read(
        &self,
        statement: &Statement<'_>,
        parameters: &[SqlValue],
        batch: &mut dyn FnMut(SqlRows) -> bool,
    ) -> Result<(), PlatformError>;
    /// Runs work in a transaction of the storage: values, tables and the alarm.
    ///
    /// If the work returns false or panics, everything that it stored is rolled back. Transactions nest. An error means
    /// that nothing was stored.
    fn transaction(&self, work: &mut dyn FnMut() -> bool) -> Result<(), PlatformError>;
    /// The transport to the rooms of another binding.
    fn transport(&self, binding: &str, class: &str) -> Result<Transport, Unreachable>;
    /// Sets the object's single alarm, or deletes it.
    fn set_alarm(&self, at_ms: Option<u64>);
}
