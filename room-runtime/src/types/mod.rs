//! The values that every layer uses: ids, limits, closes, errors.

pub(crate) mod brief;
pub(crate) mod close;
pub(crate) mod codec;
pub(crate) mod decode_error;
pub(crate) mod delivery;
pub(crate) mod error;
pub(crate) mod handler_error;
pub(crate) mod id;
pub(crate) mod limits;
pub(crate) mod peer_info;
pub(crate) mod schedule;
pub(crate) mod shards;
pub(crate) mod topic;
pub(crate) mod upgrade;
