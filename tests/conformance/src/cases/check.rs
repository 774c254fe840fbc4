//! The assertions of cases: a failed one ends the case with its location.

/// Asserts that two values are equal.
macro_rules! same {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => anyhow::ensure!(
                left == right,
                "{}:{}: `{}` is {left:?}, not {right:?}",
                file!(),
                line!(),
                stringify!($left),
            ),
        }
    };
}

/// Asserts that a value matches a pattern; returns the pattern's bindings.
macro_rules! is {
    ($value:expr, $form:pat => $bound:expr) => {
        match $value {
            $form => $bound,
            other => anyhow::bail!(
                "{}:{}: `{}` is {other:?}, not {}",
                file!(),
                line!(),
                stringify!($value),
                stringify!($form),
            ),
        }
    };
    ($value:expr, $form:pat) => {
        is!($value, $form => ())
    };
}

/// Asserts a condition.
macro_rules! holds {
    ($condition:expr, $($what:tt)+) => {
        anyhow::ensure!($condition, "{}:{}: {}", file!(), line!(), format_args!($($what)+))
    };
}
