//! JSON that reads back as the same value, or is refused when it is written.

pub(crate) mod depth;
pub(crate) mod round_trip;
pub(crate) mod tagged;
