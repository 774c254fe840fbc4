//! Compiles the blocks of Rust of the documents, and runs their tests.
//!
//! The build script writes one file for each document, with the blocks at the lines of the document. The modules have names such
//! as `docs_recipes::line_16`.

// Fragments leave out the rest of their program.
#![allow(
    dead_code,
    missing_debug_implementations,
    nonstandard_style,
    unreachable_code,
    unreachable_pub,
    unused,
    clippy::all
)]
#![allow(clippy::unimplemented, clippy::unwrap_used)]
// A reader should not copy these.
#![deny(deprecated)]

mod rooms;

include!(concat!(env!("OUT_DIR"), "/documents.rs"));
