//! Runs each case in memory as a test of its own.

macro_rules! memory_tests {
    ($($module:ident { $($name:ident: $about:expr $(, only $platform:ident: $reason:literal)?;)* })*) => {
        $(mod $module {
            $(#[test]
            fn $name() {
                if let Err(error) = conformance::run::one_in_memory(stringify!($name), super::SEEDS) {
                    panic!("{error:#}");
                }
            })*
        })*
    };
}

/// The number of other orders in which each case runs.
const SEEDS: u64 = 3;

conformance::all_cases!(memory_tests);
