//! The tests are in `bindings.rs`.
