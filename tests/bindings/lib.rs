//! The tests are in `bindings.rs`.

#![forbid(unsafe_code)]
