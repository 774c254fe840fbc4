//! JSON that reads back as what it was, or is refused while it is written.

pub(crate) mod depth;
pub(crate) mod round_trip;
pub(crate) mod tagged;
