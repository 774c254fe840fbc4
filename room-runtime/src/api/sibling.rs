//! [`Sibling`]: another room, for a handler, and the durable calls to it.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    ops::Deref,
    pin::Pin,
    rc::Rc,
};

use crate::{
    Call, Error, LocationHint, Room, RoomHandle,
    engine::RoomHost,
    wire::{self, Command, Target},
};

/// A room with [`on_undelivered`](Room::on_undelivered). Only such a room can make [durable](SiblingCall::durably) calls.
///
/// Without the handler a call that cannot be delivered would be lost. `#[room]` implements this trait for a room that has
/// the handler; a room that is written by hand implements it beside [`Room`].
///
/// If a later deploy removes the handler, the waiting calls stay in storage until a deploy has the handler again.
///
/// A function that makes durable calls for several rooms has it as a bound:
///
/// ```
/// use room_runtime::{Error, HandlesUndelivered, Room, RoomContext};
///
/// /// Reports to the room `main` of another type, also if that room cannot be reached now.
/// fn report<R: HandlesUndelivered, Other: Room>(ctx: &RoomContext<R>, event: &Other::Event) -> Result<(), Error> {
///     ctx.room::<Other>("main")?.send(event).durably()
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes a durable call, but has no handler `on_undelivered`",
    label = "a call that cannot be delivered would be lost",
    note = "add `fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {{ … }}` to the room's module"
)]
pub trait HandlesUndelivered: Room {}

/// Another room, from [`RoomContext::room`](crate::RoomContext::room), with the interface of [`RoomHandle`].
///
/// `R` is the room that calls, and `Other` is the room that is called.
///
/// ```
/// use room_runtime::{prelude::*, testing::World};
///
/// # #[room]
/// # pub mod lobby {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub games: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Started {} }
///     # pub struct Broadcast {}
/// #     pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
/// #         Ok(ctx.update(|state| state.games += 1)?)
/// #     }
/// # }
/// #[room]
/// pub mod game {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Start {} }
///     # pub enum Broadcast { Games { count: u32 } }
///     // The room's schemas are here.
///     # use super::lobby;
///     pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
///         let lobby = ctx.room::<lobby::Room>("main")?;
///         lobby.send(&lobby::Event::Started {}).await?;
///         let count = lobby.state().await?.unwrap_or_default().games;
///         ctx.broadcast(&Broadcast::Games { count })?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let world = World::new();
/// let ada = world.room::<game::Room>("g1").connect(Upgrade::new(game::Connection {}));
/// ada.send(&game::Event::Start {});
/// assert_eq!(ada.receive(), Some(game::Broadcast::Games { count: 1 }));
/// # Ok(())
/// # }
/// ```
pub struct Sibling<R, Other> {
    handle: RoomHandle<Other>,
    host: Rc<RoomHost>,
    life: u64,
    room: PhantomData<fn() -> R>,
}

impl<R: Room, Other: Room> Sibling<R, Other> {
    pub(crate) fn new(handle: RoomHandle<Other>, host: Rc<RoomHost>, life: u64) -> Self {
        Sibling { handle, host, life, room: PhantomData }
    }

    /// Suggests where Cloudflare places the room, if the room does not exist yet.
    pub fn location_hint(mut self, hint: LocationHint) -> Self {
        self.handle = self.handle.location_hint(hint);
        self
    }

    /// Sends the room an event, at once or [durably](SiblingCall::durably).
    ///
    /// An awaited call is that of [`RoomHandle::send`], with its errors.
    ///
    /// ```
    /// # use room_runtime::{Failure, HandlesUndelivered, Room, RoomContext};
    /// # async fn example<R, Other>(ctx: &RoomContext<R>, event: Other::Event) -> Result<(), Failure>
    /// # where R: HandlesUndelivered, Other: Room {
    /// ctx.room::<Other>("main")?.send(&event).await?; // waits for the other room
    /// ctx.room::<Other>("main")?.send(&event).durably()?; // stores the call
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, event: &Other::Event) -> SiblingCall<R, Other> {
        SiblingCall { to: self.clone(), event: wire::encode_event(event) }
    }
}

impl<R, Other> Deref for Sibling<R, Other> {
    type Target = RoomHandle<Other>;

    fn deref(&self) -> &RoomHandle<Other> {
        &self.handle
    }
}

impl<R, Other> From<Sibling<R, Other>> for RoomHandle<Other> {
    fn from(sibling: Sibling<R, Other>) -> Self {
        sibling.handle
    }
}

impl<R, Other> Clone for Sibling<R, Other> {
    fn clone(&self) -> Self {
        Sibling { handle: self.handle.clone(), host: self.host.clone(), life: self.life, room: PhantomData }
    }
}

impl<R: Room, Other: Room> fmt::Debug for Sibling<R, Other> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sibling").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The `send` of a room to another room. It is sent when it is awaited, or stored by [`durably`](SiblingCall::durably).
///
/// An awaited call is sent once, as a [`Call`] is.
///
/// ```
/// use room_runtime::{prelude::*, testing::World};
/// use std::time::Duration;
///
/// # #[room]
/// # pub mod lobby {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub finished: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Finished {} }
///     # pub struct Broadcast {}
/// #     pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
/// #         Ok(ctx.update(|state| state.finished += 1)?)
/// #     }
/// # }
/// #[room]
/// pub mod game {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub is_over: bool }
///     # pub struct Connection {}
///     # pub enum Event { Win {} }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use super::lobby;
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         ctx.update(|state| state.is_over = true)?;
///         // Stored together with the state, and delivered also if the lobby cannot be reached now.
///         ctx.room::<lobby::Room>("main")?.send(&lobby::Event::Finished {}).durably()?;
///         Ok(())
///     }
///
///     pub fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {
///         // …
///         # let _ = (ctx, undelivered);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let world = World::new();
/// let (game, lobby) = (world.room::<game::Room>("g1"), world.room::<lobby::Room>("main"));
/// lobby.fail_calls(true);
/// game.send(&game::Event::Win {})?;
/// lobby.fail_calls(false);
/// world.advance(Duration::from_secs(15));
/// assert_eq!(lobby.state()?, Some(lobby::State { finished: 1 }));
/// # Ok(())
/// # }
/// ```
#[must_use = "a call is made when it is awaited, or by `.durably()?`"]
pub struct SiblingCall<R, Other> {
    to: Sibling<R, Other>,
    event: Result<String, Error>,
}

impl<R: Room, Other: Room> SiblingCall<R, Other> {
    /// Makes the call idempotent, as [`Call::idempotency_key`] does. A durable call has a key of its own.
    pub fn idempotency_key(self, key: impl Into<String>) -> Call<()> {
        self.into_call().idempotency_key(key)
    }

    /// Stores the call, and delivers it at least once.
    ///
    /// The call is stored when this returns, together with the changes of the state before it: a crash keeps both or
    /// neither. The delivery begins when the handler next waits or ends, and this does not wait for it. Inside a
    /// [transaction](crate::Sql::transaction), a rollback undoes the call.
    ///
    /// The calls to one room are delivered in order, one at a time, and each is handled once: the target recognizes a
    /// repeated call. The target's `on_event` has no [sender](crate::RoomContext::sender). A call that fails is repeated
    /// with a back-off from 1 second to 10 minutes, also across hibernation and restarts of both rooms. The calls behind it
    /// wait.
    ///
    /// | failure | effect |
    /// |---|---|
    /// | the target cannot be reached, is overloaded, or cannot start | repeated until [`OUTBOX_TIMEOUT_MS`](Room::OUTBOX_TIMEOUT_MS) has passed |
    /// | the target's `on_event` fails | repeated in the same way |
    /// | the target's `on_event` [refuses](crate::RoomContext::refuse) | given up at once |
    /// | the event does not decode in the target | given up after 10 minutes, as the target may run older code during a deploy |
    /// | the target does not answer within 30 seconds | repeated, while the first attempt may still run; the repetition waits for it |
    ///
    /// [`on_undelivered`](Room::on_undelivered) gets a call that is given up, and the next call of that target follows.
    ///
    /// A purge of this room forgets its waiting calls. A purge of the target forgets the calls that it has handled: a call
    /// whose answer was lost in that moment is handled again in the next life.
    ///
    /// # Errors
    /// - [`ErrorKind::OutboxFull`](crate::ErrorKind::OutboxFull) if 10,000 calls wait, or 16 MiB of them.
    /// - [`ErrorKind::ValueTooLarge`](crate::ErrorKind::ValueTooLarge) for an event of more than 1,950,000 bytes of JSON:
    ///   Cloudflare stores at most 2 MB under one key.
    /// - [`ErrorKind::Encode`](crate::ErrorKind::Encode) if the event is not serializable as JSON.
    /// - [`ErrorKind::InvalidRoomId`](crate::ErrorKind::InvalidRoomId).
    /// - [`ErrorKind::NestedUpdate`](crate::ErrorKind::NestedUpdate) inside the closure of an `update`.
    /// - [`ErrorKind::Storage`](crate::ErrorKind::Storage).
    ///
    /// An error stores no call.
    pub fn durably(self) -> Result<(), Error>
    where
        R: HandlesUndelivered,
    {
        let SiblingCall { to: Sibling { handle, host, life, .. }, event } = self;
        let event = event.map_err(|error| error.in_room(&host.id))?;
        let to = Target {
            binding: Other::BINDING.to_owned(),
            class: Other::CLASS.to_owned(),
            name: Other::NAME.to_owned(),
            room: handle.id().clone(),
        };
        host.send_durably(life, to, handle.hint(), event)
    }

    fn into_call(self) -> Call<()> {
        let command = self.event.map(|event| Command::Send(&event).to_string());
        self.to.handle.call(command)
    }
}

impl<R: Room, Other: Room> IntoFuture for SiblingCall<R, Other> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.into_call().into_future()
    }
}

impl<R: Room, Other: Room> fmt::Debug for SiblingCall<R, Other> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiblingCall").field("to", &self.to).field("event", &self.event).finish_non_exhaustive()
    }
}
