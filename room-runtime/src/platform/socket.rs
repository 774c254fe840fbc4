//! A Worker's end of a connection to a room, on each platform.

use crate::Close;

use super::cloudflare::namespace::WorkerSocket;

/// The socket of a client that is a program, not a browser.
pub(crate) enum ClientSocket {
    Cloudflare(WorkerSocket),
    #[cfg(not(target_arch = "wasm32"))]
    Memory(Box<dyn super::memory::NativeSocket>),
}

/// An event of a client's socket.
#[derive(Debug)]
pub(crate) enum Arrival {
    Text(String),
    Binary(Vec<u8>),
    Closed(Close),
}
