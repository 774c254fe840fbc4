//! [`PeerInfo`], a peer for the Worker's client.

use serde::{Deserialize, Serialize};

use crate::PeerId;

/// A peer as the Worker's client sees it, from [`RoomHandle::peers`](crate::RoomHandle::peers).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PeerInfo<C> {
    /// The peer's id.
    pub id: PeerId,
    /// The peer's tags.
    pub tags: Vec<String>,
    /// The time when the peer connected, in milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// The topics that the peer is [subscribed to](crate::Peer::subscribe), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The peer's data.
    pub data: C,
}
