//! A Worker's end of a connection to a room, on each platform.

use std::{
    fmt,
    task::{Context, Poll},
};

use super::{OwnedFrame, cloudflare::namespace::WorkerSocket};
use crate::{Close, CloseCode, Error};

/// The socket of a client that is a program, not a browser.
pub(crate) struct ClientSocket {
    pub(crate) end: ClientEnd,
    /// The subprotocol that the room chose.
    pub(crate) protocol: Option<String>,
}

pub(crate) enum ClientEnd {
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

impl ClientSocket {
    pub(crate) fn send(&self, frame: OwnedFrame) -> Result<(), Error> {
        match &self.end {
            ClientEnd::Cloudflare(socket) => socket.send(&frame),
            #[cfg(not(target_arch = "wasm32"))]
            ClientEnd::Memory(socket) => socket.send(frame),
        }
    }

    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        match &mut self.end {
            ClientEnd::Cloudflare(socket) => socket.poll_receive(cx),
            #[cfg(not(target_arch = "wasm32"))]
            ClientEnd::Memory(socket) => socket.poll_receive(cx),
        }
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        match &self.end {
            ClientEnd::Cloudflare(socket) => socket.close(code, reason),
            #[cfg(not(target_arch = "wasm32"))]
            ClientEnd::Memory(socket) => {
                socket.close(code, reason);
                Ok(())
            }
        }
    }

    /// Ends the connection without a close frame, where the platform can do that.
    pub(crate) fn abandon(&self) {
        match &self.end {
            ClientEnd::Cloudflare(_) => {}
            #[cfg(not(target_arch = "wasm32"))]
            ClientEnd::Memory(socket) => socket.abandon(),
        }
    }
}

impl fmt::Debug for ClientSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSocket").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
