//! A WebSocket and HTTP client for native programs, which shows each frame and each answer to the tests.

#![forbid(unsafe_code)]

mod client;
pub mod http;

pub use client::{Client, Closed, ConnectError, Frame, SendError};
pub use http::HttpError;
