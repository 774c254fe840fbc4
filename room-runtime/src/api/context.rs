//! [`RoomContext`]: what a handler sees of its room.

use std::{fmt, rc::Rc, time::Duration};

use http::StatusCode;

use crate::engine::purge;
use crate::{
    Delivery, Error, Failure, HandlesAlarms, Peer, Peers, Presence, Room, RoomClient, RoomHandle, RoomId, Schedule,
    ScheduleId, Sql, SystemFailure, engine::RoomHost, platform::Platform, types::brief::brief, wire,
};

/// The room as a handler sees it. `#[room]` adds the alias `Ctx` to the module.
///
/// Cloning it is cheap.
pub struct RoomContext<R: Room> {
    pub(crate) host: Rc<RoomHost<R>>,
    pub(crate) sender: Option<Peer<R>>,
    /// The life of the room that the handler belongs to: a purge ends it.
    pub(crate) life: u64,
    pub(crate) failure: Option<SystemFailure>,
}

impl<R: Room> RoomContext<R> {
    /// Which room this is, for example `r1`.
    pub fn id(&self) -> &RoomId {
        &self.host.id
    }

    /// The name of the room type, for example `chat`.
    pub fn name(&self) -> &'static str {
        R::NAME
    }

    /// The peer that the handler runs for: the sender of the event or the invalid frame, and the peer that connects, resumes, is
    /// away or leaves. `None` for an event that the Worker sent, and in handlers without a peer.
    pub fn sender(&self) -> Option<&Peer<R>> {
        self.sender.as_ref()
    }

    /// The time of the event being handled, in milliseconds since the Unix epoch. On Cloudflare the clock stands still
    /// while a handler computes; it moves on when it waits.
    pub fn now_ms(&self) -> u64 {
        Platform::now_ms(&*self.host.platform)
    }

    /// The room's state as of now: a snapshot, safe to hold across an await. A room that was never changed has its
    /// initial state.
    ///
    /// # Errors
    /// [`ErrorKind::NestedUpdate`](crate::ErrorKind::NestedUpdate) inside the closure of an `update`, and inside `init`;
    /// what `init` fails with;
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) and [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the
    /// stored state cannot be read.
    pub fn state(&self) -> Result<Rc<R::State>, Error> {
        self.alive()?;
        self.host.state()
    }

    /// Changes the room's state. It is stored before the room next sends, answers or waits, and at the latest when the
    /// handler ends; changes in between share one write.
    ///
    /// # Errors
    /// Those of [`state`](RoomContext::state).
    pub fn update<T>(&self, change: impl FnOnce(&mut R::State) -> T) -> Result<T, Error> {
        self.alive()?;
        self.host.update(change)
    }

    /// Changes the room's state, or leaves it as it was: when `change` fails, none of it happened.
    ///
    /// # Errors
    /// What `change` fails with, and those of [`state`](RoomContext::state).
    pub fn try_update<T>(&self, change: impl FnOnce(&mut R::State) -> Result<T, Failure>) -> Result<T, Failure> {
        self.alive()?;
        self.host.try_update(change)
    }

    /// A refusal for the handler to end with, `return Err(ctx.refuse("the auction is over"))`: an answer that the room expects to
    /// give. It is not logged, and `on_error` does not run. Changes and messages that came before stay; a refusal
    /// in the closure of a [`try_update`](RoomContext::try_update) rolls back what the closure changed.
    ///
    /// | handler | who is told |
    /// |---|---|
    /// | `on_event` from a peer, `on_decode_error` | the sender gets an error frame, `{"$room": {"error": {"code": "refused", "message": "…"}}}` |
    /// | `on_event` from the Worker | [`send`](RoomHandle::send) fails with [`ErrorKind::Refused`](crate::ErrorKind::Refused) |
    /// | `on_connect`, `on_resume` | the peer gets the error frame, and is closed with 1008 and the reason |
    /// | `on_upgrade`, `on_request` | the client gets 403, or [another status](Failure::with_status), and `{"error": {"code": "refused", "message": "…"}}` |
    ///
    /// In all other handlers there is nobody to refuse: there it is an error like any other.
    ///
    /// ```
    /// # use room_runtime::{Failure, Room, RoomContext};
    /// # fn example<R: Room<State = u32>>(ctx: &RoomContext<R>, amount: u32) -> Result<(), Failure> {
    /// ctx.try_update(|highest| {
    ///     if amount <= *highest {
    ///         return Err(ctx.refuse(format!("bid more than {highest}")));
    ///     }
    ///     *highest = amount;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn refuse(&self, reason: impl fmt::Display) -> Failure {
        Failure::refuse(reason)
    }

    /// A [refusal](RoomContext::refuse) that is one of the room's own messages: the sender gets it in place of the error frame,
    /// an HTTP client as the body, and the Worker by [`Error::refusal`].
    ///
    /// If the message cannot be written as JSON, the handler fails with [`ErrorKind::Encode`](crate::ErrorKind::Encode).
    pub fn refuse_with(&self, message: &R::Broadcast) -> Failure {
        match wire::encode_frame(message) {
            Ok(json) => {
                let reason = format!("refused with {}", brief(&json));
                Failure::refused(reason, StatusCode::FORBIDDEN, Some(json.into()))
            }
            Err(error) => error.in_room(self.id()).into(),
        }
    }

    /// Whether the room's state was ever changed.
    ///
    /// # Errors
    /// Those of [`state`](RoomContext::state).
    pub fn is_initialized(&self) -> Result<bool, Error> {
        self.host.is_initialized()
    }

    /// Sends every connected peer one message.
    ///
    /// # Errors
    /// Those of [`Peers::send`].
    pub fn broadcast(&self, message: &R::Broadcast) -> Result<Delivery, Error> {
        self.peers().send(message)
    }

    /// What the room's `services` made when the object came into memory.
    pub fn services(&self) -> &R::Services {
        self.host.services()
    }

    /// Lets work go on when the handler has ended. It gets a context of its own; what it fails with goes to the log and to
    /// `on_error`. It ends with the object: a crash, or a deploy, loses it.
    ///
    /// ```
    /// # use room_runtime::{Room, RoomContext};
    /// # use std::time::Duration;
    /// # fn example<R: Room<State = u32>>(ctx: &RoomContext<R>) {
    /// ctx.spawn(async |ctx| {
    ///     ctx.sleep(Duration::from_secs(1)).await;
    ///     ctx.update(|count| *count += 1)?;
    ///     Ok(())
    /// });
    /// # }
    /// ```
    pub fn spawn(&self, work: impl AsyncFnOnce(RoomContext<R>) -> Result<(), Failure> + 'static) {
        self.host.spawn(self.life, work);
    }

    /// Waits, for at least that long. While a handler waits the room does not sleep, and is billed for; for more than some
    /// seconds [`schedule`](RoomContext::schedule) is better.
    pub async fn sleep(&self, time: Duration) {
        let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Platform::timer(self.host.platform.clone(), ms).await;
    }

    /// The connected peers, to select from, send to, close or read.
    pub fn peers(&self) -> Peers<'_, R> {
        Peers::new(self)
    }
}

impl<R: Room> RoomContext<R> {
    /// Sets an alarm, for `on_alarm` to handle: `ctx.schedule(()).after(Duration::from_secs(30))?`. There may be any
    /// number; each survives hibernation and restarts, and fires at least once, in order of time. One whose handler fails
    /// is tried again, after 2 s and then ever later, up to an hour; so is one during which the object went down.
    pub fn schedule(&self, alarm: R::Alarm) -> Schedule<'_, R>
    where
        R: HandlesAlarms,
    {
        Schedule::new(self, alarm)
    }

    /// Takes a schedule away; false when there is none of that id, because it has fired for example.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage); then it stays.
    pub fn cancel(&self, schedule: ScheduleId) -> Result<bool, Error> {
        self.alive()?;
        self.host.not_updating()?;
        self.located(self.host.schedules.cancel(self.host.platform.as_ref(), schedule))
    }

    /// Takes the schedule away that has this [key](Schedule::key); false when there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage); then it stays.
    pub fn cancel_keyed(&self, key: &str) -> Result<bool, Error> {
        self.alive()?;
        self.host.not_updating()?;
        self.located(self.host.schedules.cancel_keyed(self.host.platform.as_ref(), key))
    }

    /// When the next alarm is due, in milliseconds since the Unix epoch; `None` when none is set. An alarm that is being
    /// handled is due when it would be tried again.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) and [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the
    /// schedules cannot be read.
    pub fn next_alarm(&self) -> Result<Option<u64>, Error> {
        self.located(self.host.schedules.next(self.host.platform.as_ref()))
    }

    /// In `on_alarm`, when the object went down during the last try of this alarm; `None` otherwise.
    pub fn system_failure(&self) -> Option<&SystemFailure> {
        self.failure.as_ref()
    }

    /// The room's own database.
    pub fn sql(&self) -> Sql<'_, R> {
        Sql::new(self)
    }

    /// Another room, of this type or another, as the Worker would see it.
    ///
    /// # Errors
    /// [`ErrorKind::Binding`](crate::ErrorKind::Binding) when the Worker has no binding for its type; the text shows the
    /// configuration to add.
    pub fn room<Other: Room>(&self, id: impl Into<RoomId>) -> Result<RoomHandle<Other>, Error> {
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::register::<Other>();
        let transport = Platform::transport(&*self.host.platform, Other::BINDING, Other::CLASS);
        let client = self.located(RoomClient::<Other>::reaching(transport))?;
        Ok(client.room(id))
    }

    /// Who is in the room, by peer id, each with their connections; and who lost theirs and may still come back.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) and [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the
    /// roster cannot be read.
    pub fn presence(&self) -> Result<Vec<Presence<R>>, Error> {
        self.host.presence()
    }

    /// Ends the life of the room: clears state, schedules, tables and whatever else is stored, closes the connections with
    /// 1000, without `on_close`, and ends every handler that runs. What comes next finds a new room.
    ///
    /// It always fails, with [`ErrorKind::Purged`](crate::ErrorKind::Purged), for the handler to end with:
    /// `return ctx.purge();`. That is no error for whoever called the handler: a purge in `on_request` is answered with 204, one
    /// in `on_upgrade` with 410.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage), and [`ErrorKind::NestedUpdate`](crate::ErrorKind::NestedUpdate)
    /// inside the closure of an `update`; then nothing is changed.
    pub fn purge<T, E: From<Error>>(&self) -> Result<T, E> {
        self.alive()?;
        self.host.purge()?;
        Err(purge::purged(purge::OWN_PURGE).in_room(self.id()).into())
    }

    /// Whether the handler may still change the room.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        match self.life == self.host.life.get() {
            true => Ok(()),
            false => Err(purge::purged(purge::OTHER_PURGE).in_room(self.id())),
        }
    }

    fn located<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        outcome.map_err(|error| error.in_room(self.id()))
    }
}

impl<R: Room> Clone for RoomContext<R> {
    fn clone(&self) -> Self {
        RoomContext { host: self.host.clone(), sender: self.sender.clone(), life: self.life, failure: self.failure }
    }
}

impl<R: Room> fmt::Debug for RoomContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomContext")
            .field("name", &R::NAME)
            .field("id", &self.host.id)
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}
