//! [`Messages`] and its items.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use serde::de::DeserializeOwned;

use crate::{
    Error, Status,
    core::{Event, wire},
    shared::{Received, Shared},
    transport::Frame,
};

/// The messages of a room with the broadcasts `B`, and what else happens to its connection.
///
/// It is a [`Stream`], whose last item is [`Status::Closed`]. It has a bounded buffer, [`Builder::buffer`](crate::Builder::buffer): if
/// the program reads too slowly, the oldest items are skipped and their number is an item. Outcomes of events do not wait
/// for it. If it is dropped, the items are dropped and the connection stays open.
///
/// ```
/// use room_client::Incoming;
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
/// room.send(&Event::Say { text: "hi".to_owned() }).await?;
/// room.close(1000, "that was all")?;
/// let mut said = Vec::new();
/// while let Some(incoming) = messages.next().await {
///     if let Incoming::Message(Broadcast::Said { text }) = incoming {
///         said.push(text);
///     }
/// }
/// assert_eq!(said, ["hi"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
pub struct Messages<B> {
    shared: Arc<Shared>,
    messages: PhantomData<fn() -> B>,
}

/// An item of [`Messages`].
///
/// ```
/// use room_client::{Incoming, Status};
///
/// /// Returns the line that a terminal shows for an item.
/// fn line(incoming: Incoming<String>) -> Option<String> {
///     match incoming {
///         Incoming::Message(text) => Some(text),
///         Incoming::Status(Status::Reconnecting { delay, .. }) => Some(format!("(connecting again in {delay:?})")),
///         Incoming::Gap { .. } => Some("(messages are missing)".to_owned()),
///         Incoming::Lagged { skipped } => Some(format!("({skipped} messages were skipped)")),
///         Incoming::Error(error) => Some(format!("({error})")),
///         _ => None,
///     }
/// }
///
/// assert_eq!(line(Incoming::Message("hi".to_owned())).as_deref(), Some("hi"));
/// assert_eq!(line(Incoming::Lagged { skipped: 2 }).as_deref(), Some("(2 messages were skipped)"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Incoming<B> {
    /// A message of the room.
    Message(B),
    /// A change of the connection.
    Status(Status),
    /// Messages of the room can be missing: state that was built from them is to be asked for anew.
    ///
    /// It comes after the [`Status::Open`] that also says so, and before the messages that the room sends with its welcome.
    #[non_exhaustive]
    Gap {
        /// True if the session goes on, so that events were not lost.
        resumed: bool,
    },
    /// An error of the room that belongs to no numbered event.
    Error(Error),
    /// A frame or a message that is not what the protocol or the type `B` says.
    Undecodable(Undecodable),
    /// A binary frame of a room with a binary protocol of its own, if the codec is JSON.
    Bytes(Vec<u8>),
    /// The program reads too slowly: this many items were skipped.
    Lagged {
        /// The number of items.
        skipped: u64,
    },
}

/// A frame or a message that does not decode.
///
/// ```
/// use room_client::Incoming;
/// # #[derive(Debug, serde::Deserialize)]
/// # struct Other {}
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
/// # let transport = room_client::RoomTransport::new(room.handle(), || Upgrade::new(Connection {}));
/// # let (client, mut messages, driver) = room_client::Builder::default().connect_with::<Event, u32, _>(transport);
/// # room.world().spawn(driver);
/// # room.world().block_on(async {
/// // This program expects numbers, and the room sends `Broadcast::Said`.
/// client.send(&Event::Say { text: "hi".to_owned() }).await?;
/// client.close(1000, "")?;
/// let mut faults = Vec::new();
/// while let Some(incoming) = messages.next().await {
///     if let Incoming::Undecodable(undecodable) = incoming {
///         faults.push(undecodable.data);
///     }
/// }
/// assert_eq!(faults, [room_client::Frame::Text(r#"{"type":"Said","text":"hi"}"#.to_owned())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Undecodable {
    /// The reason.
    pub error: Error,
    /// The message in the codec of the connection, or the whole frame.
    pub data: Frame,
}

impl<B> Messages<B> {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Messages { shared, messages: PhantomData }
    }
}

impl<B: DeserializeOwned> Messages<B> {
    /// Returns the next item; `None` after the last one.
    ///
    /// It is the `next` of `futures_util::StreamExt`, for programs without that crate. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming<B>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<B: DeserializeOwned> Stream for Messages<B> {
    type Item = Incoming<B>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming<B>>> {
        // The message is decoded here, in the task of its reader, and not in that of the connection.
        self.shared.poll_receive(cx).map(|received| {
            Some(match received? {
                Received::Skipped(skipped) => Incoming::Lagged { skipped },
                Received::Event(Event::Message(data)) => match wire::decode(&data) {
                    Ok(message) => Incoming::Message(message),
                    Err(error) => Incoming::Undecodable(Undecodable { error, data }),
                },
                Received::Event(Event::Status(status)) => Incoming::Status(status),
                Received::Event(Event::Gap { resumed }) => Incoming::Gap { resumed },
                Received::Event(Event::Error(error)) => Incoming::Error(error),
                Received::Event(Event::Undecodable(error, data)) => Incoming::Undecodable(Undecodable { error, data }),
                Received::Event(Event::Bytes(bytes)) => Incoming::Bytes(bytes),
            })
        })
    }
}

impl<B> Drop for Messages<B> {
    fn drop(&mut self) {
        self.shared.abandon_inbox();
    }
}

impl<B> fmt::Debug for Messages<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}
