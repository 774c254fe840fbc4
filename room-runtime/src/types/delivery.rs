//! [`Delivery`], the outcome of a message to several peers.

use serde::{Deserialize, Serialize};

use crate::PeerId;

/// The outcome of a message to several peers.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub lost: usize }
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub enum Broadcast { Said { text: String } }
///     // The room's schemas are here.
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         let Event::Say { text } = event;
///         let delivery = ctx.broadcast(&Broadcast::Said { text })?;
///         let lost = delivery.failed.len() + delivery.unread.len();
///         ctx.update(|state| state.lost += lost)?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}).id("ada"));
/// let bob = room.connect(Upgrade::new(chat::Connection {}).id("bob"));
/// bob.fail_sends(true);
/// ada.send(&chat::Event::Say { text: "hi".into() });
/// assert_eq!(room.state()?, Some(chat::State { lost: 1 }));
/// # Ok(())
/// # }
/// ```
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
