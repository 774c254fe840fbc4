//! Checks that `docs/parity.md` names existing cases and files, and that the check detects missing ones.

use conformance::parity::{self, Parity, ROWS};

#[test]
fn every_row_names_what_is_there() {
    if let Err(error) = parity::read() {
        panic!("{error:#}");
    }
}

#[test]
fn a_row_that_names_nothing_or_what_is_not_there_is_an_error() -> anyhow::Result<()> {
    const GOOD: &str = "| a | b | `state_survives_hibernation` |\n";
    let table = |last: &str| Parity::parse(&format!("| x | y | z |\n|---|---|---|\n{}{last}", GOOD.repeat(ROWS - 1)));
    table(GOOD)?.check()?;
    let too_few = format!("{} rows", ROWS - 1);
    for (last, says) in [
        ("", &*too_few),
        ("| a | b | nothing |\n", "names nothing"),
        ("| a | b | `no_such_case` |\n", "`no_such_case`"),
        ("| a | b | `tests/e2e/no_such.mjs` |\n", "`tests/e2e/no_such.mjs`"),
    ] {
        let error = table(last)?.check().expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(Parity::parse("| x |\n|---|\n| a | b |\n").is_err());
    let error = table(GOOD)?.ran(|_, _| false).expect_err("it did not run").to_string();
    assert!(error.contains("did not run"), "{error}");
    Ok(())
}
