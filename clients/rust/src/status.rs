//! [`Status`] and [`Close`].

use std::time::Duration;

use crate::Error;

/// The state of a connection.
///
/// ```
/// use room_client::Status;
///
/// /// The text of a page's status line.
/// fn text(status: &Status) -> String {
///     match status {
///         Status::Connecting => "connecting".to_owned(),
///         Status::Open { .. } => "online".to_owned(),
///         Status::Reconnecting { attempt, delay, .. } => format!("offline, attempt {attempt} in {delay:?}"),
///         Status::Closed(close) => format!("closed: {}", close.reason),
///         _ => String::new(),
///     }
/// }
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// # let upgrade = || Upgrade::new(Connection {}).id("ada");
/// # let (room_client, mut messages, driver) = room_client::Builder::default().connect_room(room.handle(), upgrade);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// # let room = room_client;
/// room.wait_for_open().await?;
/// assert_eq!(text(&room.status()), "online");
/// room.close(1000, "bye")?;
/// assert_eq!(text(&room.status()), "closed: bye");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// The first connection is being made.
    Connecting,
    /// The room has welcomed the client.
    #[non_exhaustive]
    Open {
        /// True if the session goes on: outcomes that were missed arrive now.
        resumed: bool,
        /// True if messages of the room can be missing.
        gap: bool,
    },
    /// The connection was lost, or an attempt failed.
    #[non_exhaustive]
    Reconnecting {
        /// The failed attempts in a row.
        attempt: u32,
        /// The wait before the next attempt.
        delay: Duration,
        /// The reason.
        reason: Close,
    },
    /// There is no further attempt.
    Closed(Close),
}

/// The reason for the end of a connection.
///
/// ```
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let room = TestRoom::<chat::Room>::new("main");
/// # let upgrade = || Upgrade::new(Connection {}).id("ada");
/// # let (room_client, mut messages, driver) = room_client::Builder::default().connect_room(room.handle(), upgrade);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// # let room = room_client;
/// room.close(4000, "moved")?;
/// let close = room.closed().await;
/// assert_eq!((close.code, &*close.reason), (4000, "moved"));
/// assert!(close.error.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Close {
    /// The close code; 1006 for a connection that was lost.
    pub code: u16,
    /// The reason that the other side gave.
    pub reason: String,
    /// The cause, if it was no close of the room: an error of the provider, of the network, or of the client.
    pub error: Option<Error>,
}

/// The code of a connection that ended without a close frame.
pub(crate) const LOST: u16 = 1006;

impl Close {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Close { code, reason: reason.into(), error: None }
    }

    pub(crate) fn lost(error: Option<Error>) -> Self {
        Close { code: LOST, reason: String::new(), error }
    }

    /// True if the room does not want this client to connect again.
    pub(crate) fn is_final(&self) -> bool {
        match self.code {
            1000 | 1003 | 1007 | 1008 | 1009 => true,
            1012 => self.reason == "replaced by a new connection",
            3000..=4999 => self.code != 3008,
            _ => false,
        }
    }
}
