//! What the engine needs from the world, as bytes and indices.
//!
//! Object-safe, sealed and shaped by the hot path: a socket is an index, one call is one broadcast, storage is
//! synchronous. It has two implementations: [`cloudflare`], the only place that touches a JavaScript value, and
//! [`memory`], on which rooms run natively.

pub(crate) mod cloudflare;
#[cfg(not(target_arch = "wasm32"))]
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

/// A socket of this object, for as long as the object stays in memory. An index is used again after
/// [`Platform::forget`].
pub(crate) type Socket = u32;

/// The socket of a peer whose socket is gone. Nothing is open under this index.
pub(crate) const NO_SOCKET: Socket = Socket::MAX;

pub(crate) type LocalFuture<T = ()> = Pin<Box<dyn Future<Output = T>>>;

/// What the platform said when it refused; the engine adds the kind, the room and the peer.
#[derive(Debug)]
pub(crate) struct PlatformError(pub(crate) String);

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlatformError {}

/// Who gets a frame. The open ones of these; a socket that is closing is passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience<'a> {
    /// Every socket, or every one that carries `tag`, but those in `except`.
    All { tag: Option<&'a str>, except: &'a [Socket] },
    /// Exactly these.
    Only(&'a [Socket]),
}

/// What became of a frame.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How many sockets took it.
    pub(crate) sent: usize,
    /// Those that refused it.
    pub(crate) failed: Vec<Socket>,
    /// Those that were passed over because they do not read.
    pub(crate) unread: Vec<Socket>,
    /// Whether anything is kept, of this frame or of one before.
    pub(crate) held: bool,
}

/// The largest value under one key, in bytes: 2 MB on Cloudflare, with a few bytes of the format around our own. The memory
/// platform keeps it as well: a test that passes natively must not fail there.
pub(crate) const MAX_VALUE_BYTES: usize = 2_000_000;

/// The platform of this build: on Cloudflare the one there is, called without a table of functions, so that a room contains
/// what it uses of it and nothing else.
//
// The engine takes this module's names all at once: a trait has to be in scope where its methods are called on a type, and
// is unused where they are called on a trait object.
#[cfg(target_arch = "wasm32")]
pub(crate) type AnyPlatform = cloudflare::Cloudflare;
/// The platform of this build: natively either, behind a pointer.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type AnyPlatform = dyn Platform;

pub(crate) trait Platform: fmt::Debug {
    /// The name by which this object is addressed. Not every way to come into memory tells it: an alarm after a restart
    /// does not.
    fn name(&self) -> Option<String>;
    /// The object's own number, which it always knows.
    fn number(&self) -> String;
    fn now_ms(&self) -> u64;
    fn random(&self) -> [u8; 16];
    fn log_error(&self, message: &str);
    fn timer(self: Rc<Self>, ms: u64) -> LocalFuture;
    /// Runs it to its end, beside whatever else runs.
    fn spawn(&self, work: LocalFuture);

    /// The open sockets: all, or those that carry `tag`.
    fn open(&self, tag: Option<&str>) -> Vec<Socket>;
    fn is_open(&self, socket: Socket) -> bool;
    /// How many are open.
    fn count_open(&self) -> usize;
    /// Whether there is any socket, open or closing.
    fn has_sockets(&self) -> bool;
    fn tags(&self, socket: Socket) -> Vec<String>;
    /// What is kept with the socket; `None` when nothing ever was.
    fn attachment(&self, socket: Socket) -> Option<Vec<u8>>;
    fn attach(&self, socket: Socket, bytes: &[u8]) -> Result<(), PlatformError>;
    /// A socket that has more than `max_unread` bytes before it since it last showed that it reads is passed over. With
    /// `hold`, what goes to sockets that take several messages in one frame is kept, and counts as sent.
    fn send(&self, frame: Frame<'_>, to: Audience<'_>, max_unread: usize, hold: bool) -> Sent;
    /// What is kept leaves, in one frame for each socket. What is kept for one socket also leaves before it is closed.
    fn release(&self);
    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), PlatformError>;
    /// Completes a close handshake that the other side began. Whatever arrived is a valid argument.
    fn answer_close(&self, socket: Socket, code: u16, reason: &str);
    /// Takes away what is kept with a socket that the room has closed: should the platform mention it again, also after a
    /// sleep, it is no peer's and is not open.
    fn detach(&self, socket: Socket);
    /// The socket is gone, and its index may be used again.
    fn forget(&self, socket: Socket);

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PlatformError>;
    fn put(&self, key: &str, value: &[u8]) -> Result<(), PlatformError>;
    /// Every stored value whose key begins like that.
    fn list(&self, prefix: &str) -> Result<Vec<Vec<u8>>, PlatformError>;
    fn delete(&self, key: &str) -> Result<(), PlatformError>;
    /// Takes everything out of storage: values, tables, the alarm.
    fn delete_all(&self) -> Result<(), PlatformError>;
    /// Runs a statement, which has as many parameters, on the object's database.
    fn sql(&self, statement: &Statement<'_>, parameters: &[SqlValue]) -> Result<SqlRows, PlatformError>;
    /// How to reach the rooms under another binding.
    fn transport(&self, binding: &str, class: &'static str) -> Result<Transport, Unreachable>;
    /// Sets the object's one alarm, or takes it away.
    fn set_alarm(&self, at_ms: Option<u64>);
}
