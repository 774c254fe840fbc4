//! [`Undelivered`], for `on_undelivered`.

use std::{fmt, time::Duration};

use serde_json::value::RawValue;

use crate::{
    Error, ErrorKind, Room, RoomId,
    types::brief::brief,
    wire::{self, Target, UndeliveredCall},
};

/// A [durable call](crate::SiblingCall::durably) that was given up, for `on_undelivered`.
///
/// The target may have handled the call: its answer can be lost every time.
///
/// ```
/// use room_runtime::{prelude::*, testing::World};
/// use std::time::Duration;
///
/// # #[room]
/// # pub mod bank {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Pay { cents: u32 } }
///     # pub struct Broadcast {}
/// #     pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
/// #         Err(ctx.refuse("no money"))
/// #     }
/// # }
/// #[room]
/// pub mod shop {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub unpaid: Vec<(u32, String)> }
///     # pub struct Connection {}
///     # pub enum Event { Buy { cents: u32 } }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use super::bank;
///     # pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///     #     let Event::Buy { cents } = event;
///     #     Ok(ctx.room::<bank::Room>("main")?.send(&bank::Event::Pay { cents }).durably()?)
///     # }
///     pub fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {
///         if let Some(bank::Event::Pay { cents }) = undelivered.event::<bank::Room>()? {
///             let why = undelivered.error().message().to_owned();
///             ctx.update(|state| state.unpaid.push((cents, why)))?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let world = World::new();
/// let shop = world.room::<shop::Room>("s1");
/// shop.send(&shop::Event::Buy { cents: 500 })?;
/// // A call that the bank refuses is given up at once.
/// world.advance(Duration::ZERO);
/// assert_eq!(shop.state()?, Some(shop::State { unpaid: vec![(500, "no money".into())] }));
/// # Ok(())
/// # }
/// ```
pub struct Undelivered {
    to: Target,
    event: Box<RawValue>,
    error: Error,
    attempts: u32,
    sent_at: u64,
    given_up_at: u64,
}

impl Undelivered {
    pub(crate) fn new(call: UndeliveredCall) -> Self {
        let UndeliveredCall { to, event, error, attempts, sent_at, given_up_at } = call;
        let error = error.into_error().in_room(&to.room);
        Undelivered { to, event, error, attempts, sent_at, given_up_at }
    }

    /// The name of the target's room type, for example `lobby`.
    pub fn room_name(&self) -> &str {
        &self.to.name
    }

    /// The Durable Object binding of the target, for example `LOBBY`.
    pub fn binding(&self) -> &str {
        &self.to.binding
    }

    /// The id of the target.
    pub fn room_id(&self) -> &RoomId {
        &self.to.room
    }

    /// Returns the event if the call was for a room of this type; `None` if it was for another.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the stored event does not match the type's schema, for example after a deploy.
    pub fn event<Other: Room>(&self) -> Result<Option<Other::Event>, Error> {
        if self.to.binding != Other::BINDING {
            return Ok(None);
        }
        wire::decode_event(self.event.get()).map(Some).map_err(|error| {
            let message = format!("the event of an undelivered call does not decode: {}", brief(&error));
            Error::new(ErrorKind::Decode, message).because(error).in_room(&self.to.room)
        })
    }

    /// The event as JSON.
    pub fn event_json(&self) -> &str {
        self.event.get()
    }

    /// The error of the last attempt.
    ///
    /// It has its [kind](Error::kind), and the message of a [refusal](Error::refusal) of up to 4,096 bytes.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The number of attempts. It can be 0 for a call that waited behind others for an unreachable target.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The time of the call, in milliseconds since the Unix epoch.
    pub fn sent_at_ms(&self) -> u64 {
        self.sent_at
    }

    /// The age of the call when it was given up.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.given_up_at.saturating_sub(self.sent_at))
    }
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undelivered")
            .field("to", &self.to)
            .field("event", &self.event_json())
            .field("error", &self.error)
            .field("attempts", &self.attempts)
            .field("age", &self.age())
            .finish_non_exhaustive()
    }
}
