//! The Durable Object class of a room, and its entry points.

#[cfg(all(feature = "bench", not(target_arch = "wasm32")))]
pub(crate) mod bench;
mod class;
pub(crate) mod cloudflare;
