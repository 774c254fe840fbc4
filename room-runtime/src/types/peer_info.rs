//! [`PeerInfo`], a peer for the Worker's client.

use serde::{Deserialize, Serialize};

use crate::PeerId;

/// A peer as the Worker's client sees it, from [`RoomHandle::peers`](crate::RoomHandle::peers).
///
/// ```
/// use room_runtime::{Error, prelude::*, testing::TestRoom};
///
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub name: String }
///     # pub struct Event {}
///     # pub struct Broadcast {}
/// # }
/// /// The names in a room, longest visit first: for a page of the Worker.
/// async fn names(room: RoomHandle<chat::Room>) -> Result<Vec<String>, Error> {
///     let mut peers = room.peers(None).await?;
///     peers.sort_by_key(|peer| peer.connected_at);
///     Ok(peers.into_iter().map(|peer| peer.data.name).collect())
/// }
///
/// # fn main() -> Result<(), Error> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection { name: "Ada".into() }));
/// assert_eq!(room.world().block_on(names(room.handle()))?, ["Ada"]);
/// # Ok(())
/// # }
/// ```
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
