//! [`Delivery`], the outcome of a message to several peers.

use serde::{Deserialize, Serialize};

use crate::PeerId;

/// The outcome of a message to several peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Delivery {
    /// The number of sockets that accepted the message. An accepted message can still be lost on its way to the peer.
    pub sent: usize,
    /// The peers whose socket did not accept the message.
    pub failed: Vec<PeerId>,
    /// The slow consumers that were skipped.
    ///
    /// More than [`Limits::max_unread_bytes`](crate::Limits::max_unread_bytes) wait for them, and their connections are
    /// closed with 1013.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<PeerId>,
}
