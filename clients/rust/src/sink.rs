//! [`EventSink`].

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_sink::Sink;
use serde::Serialize;

use crate::{Client, Error, Pending};

/// A [`Sink`] of the events of a room, from [`Client::sink`].
///
/// - It is ready while the client's queue has room.
/// - A flush waits until the room has handled all its events. If some fail, the next operation returns the error of the
///   first one that is known, and the others are still handled.
/// - Closing it is a flush. The connection stays open as long as there is a handle.
/// - If it is dropped, its events are still sent.
///
/// ```
/// use futures_util::{SinkExt, StreamExt, stream};
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
/// let lines = stream::iter(["one", "two", "three"]);
/// let events = lines.map(|line| Ok(Event::Say { text: line.to_owned() }));
/// // It ends when the room has handled all of them.
/// events.forward(room.sink()).await?;
/// assert_eq!(room.pending(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })
/// # }
/// ```
pub struct EventSink<E> {
    client: Client<E>,
    events: VecDeque<Pending>,
}

impl<E> EventSink<E> {
    pub(crate) fn new(client: Client<E>) -> Self {
        EventSink { client, events: VecDeque::new() }
    }

    /// Takes the outcomes that have arrived. They arrive in the order of the events, but for failures.
    fn poll_outcomes(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while let Some(first) = self.events.front_mut() {
            match Pin::new(first).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => {
                    self.events.pop_front();
                    result?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<E> Unpin for EventSink<E> {}

impl<E: Serialize> Sink<E> for EventSink<E> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Poll::Ready(Err(error)) = self.poll_outcomes(cx) {
            return Poll::Ready(Err(error));
        }
        self.client.poll_room(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, event: E) -> Result<(), Error> {
        let pending = self.client.send(&event);
        self.events.push_back(pending);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_outcomes(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(cx)
    }
}

impl<E> Drop for EventSink<E> {
    fn drop(&mut self) {
        self.events.drain(..).for_each(Pending::detach);
    }
}

impl<E> fmt::Debug for EventSink<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSink").field("client", &self.client).field("pending", &self.events.len()).finish()
    }
}
