//! Benchmarks only: `cargo bench --package bench-engine`.

#![forbid(unsafe_code)]
