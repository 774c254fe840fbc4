//! The option `validate` of `#[room]`: the rules of the crate `garde`, as the rules of a room.

use crate::Violations;

/// A schema with rules.
#[cfg_attr(
    feature = "garde",
    diagnostic::on_unimplemented(
        message = "`validate` needs rules of garde, and `{Self}` has none",
        label = "`{Self}` does not implement `garde::Validate`",
        note = "add `#[derive(garde::Validate)]` to `{Self}`",
        note = "if it has the derive: its rules cannot have a context, and `Cargo.toml` needs `garde = \"0.23\"`, the series of the runtime"
    )
)]
pub trait Validated {
    /// Returns the rules that the value breaks.
    fn violations(&self) -> Violations;
}

#[cfg(feature = "garde")]
#[diagnostic::do_not_recommend]
impl<T: garde::Validate<Context = ()>> Validated for T {
    fn violations(&self) -> Violations {
        let mut violations = Violations::default();
        if let Err(report) = self.validate() {
            report.iter().for_each(|(path, error)| violations.add(path, error.message()));
        }
        violations
    }
}

/// Without the feature, `__needs_garde` reports the option. A schema without rules must not be a second error.
#[cfg(not(feature = "garde"))]
impl<T> Validated for T {
    fn violations(&self) -> Violations {
        Violations::default()
    }
}

/// Reports the option `validate` if the runtime has no rules.
#[cfg(feature = "garde")]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_garde {
    () => {};
}

#[cfg(not(feature = "garde"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __needs_garde {
    () => {
        ::core::compile_error! {
            "option `validate` needs the feature `garde` of `room-runtime`\nwrite in `Cargo.toml`, \
with the rest of the dependency unchanged: `room-runtime = { …, features = [\"garde\"] }`"
        }
    };
}
