#![doc = include_str!("../README.md")]
//!
//! # Where to find what
//!
//! | for | see |
//! |---|---|
//! | a connection and its options | [`Builder`], [`Endpoint`], [`Codec`], [`Reconnect`], [`Queue`], [`Overflow`] |
//! | an address or a token that changes | [`Provide`], [`Builder::with_provider`] |
//! | events | [`Client::send`], [`Pending`]; many of them: [`EventSink`] |
//! | functions of the room | [`Client::call`], [`PendingCall`], [`CallError`] |
//! | messages, and what else arrives | [`Messages`], [`Incoming`], [`Undecodable`] |
//! | the state of the connection, and its end | [`Client::status`], [`Status`], [`Close`] |
//! | errors | [`Error`], [`ErrorKind`], [`Violation`] |
//! | tokio, and the handle of a room | [`NativeTransport`], [`RoomTransport`] |
//! | another platform | [`Transport`], [`Socket`], [`Frame`], [`UpgradeRequest`], [`ConnectError`], [`Driver`] |
//!
// The links of the index to what this build does not have.
#![cfg_attr(
    not(feature = "native"),
    doc = "[`NativeTransport`]: https://docs.rs/room-client/latest/room_client/struct.NativeTransport.html"
)]
#![cfg_attr(
    not(feature = "room"),
    doc = "[`RoomTransport`]: https://docs.rs/room-client/latest/room_client/struct.RoomTransport.html"
)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// A frame of a server must not end the program of its client.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::get_unwrap,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::panic_in_result_fn,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod builder;
mod client;
mod core;
mod driver;
mod error;
mod messages;
mod shared;
mod sink;
mod status;
mod transport;

/// The release of rustls that [`NativeTransport::tls`] takes the configuration of.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;

#[cfg(feature = "native")]
pub use crate::transport::native::{NativeSocket, NativeTransport};
#[cfg(feature = "room")]
pub use crate::transport::room::{RoomTransport, RoomTransportSocket};
#[cfg(all(feature = "worker", target_arch = "wasm32"))]
pub use crate::transport::worker::{WorkerSocket, WorkerTransport};
pub use crate::{
    builder::{Builder, Endpoint, Overflow, Provide, Queue, Reconnect},
    client::{Client, Pending, PendingCall},
    core::Codec,
    driver::Driver,
    error::{BoxError, CallError, Error, ErrorKind, Violation},
    messages::{Incoming, Messages, Undecodable},
    sink::EventSink,
    status::{Close, Status},
    transport::{ConnectError, Frame, Socket, Transport, UpgradeRequest},
};

/// Connects to a room with the events `E` and the broadcasts `B`, with the default options, in a task of tokio.
///
/// It does not wait for the connection: see [`Client::wait_for_open`]. [`Builder`] has the options.
///
/// # Panics
/// Panics outside a runtime of tokio with its I/O and its time enabled.
#[cfg(feature = "native")]
pub fn connect<E, B>(endpoint: impl Into<Endpoint>) -> (Client<E>, Messages<B>) {
    Builder::new(endpoint).connect()
}
