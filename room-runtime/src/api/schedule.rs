//! [`Schedule`]: an alarm that a handler sets.

use std::{fmt, num::NonZeroU64, time::Duration};

use crate::{Error, ErrorKind, Room, RoomContext, ScheduleId, engine::schedules::Job};

/// A room with [`on_alarm`](Room::on_alarm). Only such a room can [schedule](RoomContext::schedule) an alarm.
///
/// Without the handler an alarm would never fire. `#[room]` implements this trait for a room that has the handler; a
/// room that is written by hand implements it beside [`Room`].
///
/// If a later deploy removes the handler, its schedules stay in storage until a deploy has the handler again. A room
/// without the handler can [cancel](RoomContext::cancel) them.
///
/// A function that schedules for several rooms has it as a bound:
///
/// ```
/// use room_runtime::{Error, HandlesAlarms, RoomContext, prelude::*, testing::TestRoom};
/// use std::time::Duration;
///
/// /// Sets the alarm that ends a round, or sets it later.
/// fn extend<R: HandlesAlarms<Alarm = ()>>(ctx: &RoomContext<R>) -> Result<ScheduleId, Error> {
///     ctx.schedule(()).key("round").after(Duration::from_secs(30))
/// }
///
/// #[room]
/// pub mod quiz {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub rounds: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Begin {} }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use super::extend;
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         extend(ctx)?;
///         Ok(())
///     }
///
///     pub fn on_alarm(ctx: &Ctx) -> Result {
///         ctx.update(|state| state.rounds += 1)?;
///         Ok(())
///     }
/// }
/// # fn main() -> Result<(), Error> {
/// #     let room = TestRoom::<quiz::Room>::new("main");
/// #     room.send(&quiz::Event::Begin {})?;
/// #     room.send(&quiz::Event::Begin {})?;
/// #     room.advance(Duration::from_secs(30));
/// #     assert_eq!(room.state()?, Some(quiz::State { rounds: 1 }));
/// #     Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` schedules an alarm, but has no handler `on_alarm`",
    label = "this alarm would never fire",
    note = "add `fn on_alarm(ctx: &Ctx) -> Result {{ … }}` to the room's module",
    note = "in a room with a type `Alarm` it is `fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {{ … }}`"
)]
pub trait HandlesAlarms: Room {}

/// An alarm that is not set yet, from [`RoomContext::schedule`].
///
/// ```
/// # use room_runtime::{Failure, HandlesAlarms, Room, RoomContext};
/// # use std::time::Duration;
/// # fn example<R: HandlesAlarms + Room<Alarm = String>>(ctx: &RoomContext<R>) -> Result<(), Failure> {
/// let id = ctx.schedule("close the auction".to_owned()).after(Duration::from_secs(30))?;
/// ctx.schedule("tidy up".to_owned()).key("tidy").every(Duration::from_secs(3_600))?;
/// ctx.cancel(id)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "say when: `.after(…)`, `.at(…)` or `.every(…)`"]
pub struct Schedule<'a, R: Room> {
    ctx: &'a RoomContext<R>,
    alarm: R::Alarm,
    key: Option<String>,
}

impl<'a, R: Room> Schedule<'a, R> {
    pub(crate) fn new(ctx: &'a RoomContext<R>, alarm: R::Alarm) -> Self {
        Schedule { ctx, alarm, key: None }
    }

    /// Gives the schedule a key. It replaces the schedule with the same key, if there is one.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the alarm to fire once, after this time, rounded up to a millisecond.
    ///
    /// The schedule is stored when this returns.
    ///
    /// # Errors
    /// The errors of [`at`](Schedule::at).
    pub fn after(self, delay: Duration) -> Result<ScheduleId, Error> {
        let due_ms = self.ctx.now_ms().saturating_add(millis(delay));
        self.at(due_ms)
    }

    /// Sets the alarm to fire once, at this time, in milliseconds since the Unix epoch.
    ///
    /// A time in the past fires at once. The schedule is stored when this returns.
    ///
    /// # Errors
    /// - [`ErrorKind::NestedUpdate`] inside the closure of an `update`.
    /// - [`ErrorKind::Encode`] if the alarm is not serializable as JSON.
    /// - [`ErrorKind::ValueTooLarge`] if the alarm is larger than the platform stores under one key.
    /// - [`ErrorKind::Storage`].
    ///
    /// An error changes nothing.
    pub fn at(self, due_ms: u64) -> Result<ScheduleId, Error> {
        self.set(due_ms, None)
    }

    /// Sets the alarm to fire after each period, of at least a millisecond.
    ///
    /// Ticks that were missed while the room could not run, or while the alarm was retried, are skipped.
    ///
    /// A call with the same alarm, period and key (or with no key both times) keeps the existing schedule and its time.
    /// Therefore `on_start` can call it each time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSchedule`] for a period of zero, and the errors of [`at`](Schedule::at).
    pub fn every(self, period: Duration) -> Result<ScheduleId, Error> {
        let Some(every_ms) = NonZeroU64::new(millis(period)) else {
            return Err(Error::new(ErrorKind::InvalidSchedule, "a period has at least a millisecond"));
        };
        let due_ms = self.ctx.now_ms().saturating_add(every_ms.get());
        self.set(due_ms, Some(every_ms))
    }

    fn set(self, due_ms: u64, every_ms: Option<NonZeroU64>) -> Result<ScheduleId, Error> {
        self.ctx.alive()?;
        let host = &self.ctx.host;
        host.store_state()?;
        host.store_id()?;
        let job = Job::alarm(&self.alarm).map_err(|error| error.in_room(&host.id))?;
        let added = host.schedules.add(host.platform.as_ref(), job, self.key, due_ms, every_ms);
        added.map_err(|error| error.in_room(&host.id))
    }
}

impl<R: Room> fmt::Debug for Schedule<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("key", &self.key).finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
