//! Compile-fail cases with the default features of `room-runtime`; `tests/ui` has the cases with its features.

#![forbid(unsafe_code)]

#[test]
fn ui() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}
