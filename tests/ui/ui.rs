//! Compile-pass and compile-fail cases. After a change of a message, look at it, then
//! `TRYBUILD=overwrite cargo test -p ui-tests`.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*.rs");
}
