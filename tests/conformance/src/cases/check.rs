//! What cases assert with: a case that fails ends, and says where.

/// That two values are equal.
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

/// That a value is of a form; gives what the form binds.
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

/// That something holds.
macro_rules! holds {
    ($condition:expr, $($what:tt)+) => {
        anyhow::ensure!($condition, "{}:{}: {}", file!(), line!(), format_args!($($what)+))
    };
}
