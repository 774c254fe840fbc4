//! The Durable Object class of a room, and its entry points.

#[cfg(all(feature = "bench", not(target_arch = "wasm32")))]
#[allow(clippy::panic, reason = "it is there for benchmarks only, which end with their first mistake")]
pub(crate) mod bench;
mod class;
pub(crate) mod cloudflare;
