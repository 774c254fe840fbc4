//! An empty library: the lints run on the examples.

#![forbid(unsafe_code)]
