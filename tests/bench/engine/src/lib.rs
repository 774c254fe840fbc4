//! Benchmarks only: `cargo bench --package bench-engine`.
