//! [`RoomContext`]: what a handler sees of its room.

use std::{fmt, rc::Rc, time::Duration};

use crate::{Delivery, Error, Failure, Peer, Peers, Room, RoomId, Schedule, host::RoomHost};

/// The room as a handler sees it. `#[room]` adds the alias `Ctx` to the module.
///
/// Cloning it is cheap.
pub struct RoomContext<R: Room> {
    pub(crate) host: Rc<RoomHost<R>>,
    pub(crate) sender: Option<Peer<R>>,
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

    /// The peer that sent the event being handled; `None` when the Worker sent it, and in handlers that are told of a
    /// peer by a parameter.
    pub fn sender(&self) -> Option<&Peer<R>> {
        self.sender.as_ref()
    }

    /// The time of the event being handled, in milliseconds since the Unix epoch. On Cloudflare the clock stands still
    /// while a handler computes; it moves on when it waits.
    pub fn now_ms(&self) -> u64 {
        self.host.platform.now_ms()
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
        self.host.state()
    }

    /// Changes the room's state. It is stored before the room next sends, answers or waits, and at the latest when the
    /// handler ends; changes in between share one write.
    ///
    /// # Errors
    /// Those of [`state`](RoomContext::state).
    pub fn update<T>(&self, change: impl FnOnce(&mut R::State) -> T) -> Result<T, Error> {
        self.host.update(change)
    }

    /// Changes the room's state, or leaves it as it was: when `change` fails, none of it happened.
    ///
    /// # Errors
    /// What `change` fails with, and those of [`state`](RoomContext::state).
    pub fn try_update<T>(&self, change: impl FnOnce(&mut R::State) -> Result<T, Failure>) -> Result<T, Failure> {
        self.host.try_update(change)
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
        self.host.spawn(work);
    }

    /// Waits, for at least that long. While a handler waits the room does not sleep, and is billed for; for more than some
    /// seconds [`schedule`](RoomContext::schedule) is better.
    pub async fn sleep(&self, time: Duration) {
        let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.host.platform.clone().timer(ms).await;
    }

    /// The connected peers, to select from, send to, close or read.
    pub fn peers(&self) -> Peers<'_, R> {
        Peers::new(self)
    }
}

impl<R: Room> RoomContext<R> {
    /// Sets an alarm, for `on_alarm` to handle: `ctx.schedule(()).after(Duration::from_secs(30))?`. There may be any
    /// number; each survives hibernation and restarts, and fires at least once, in order of time.
    pub fn schedule(&self, alarm: R::Alarm) -> Schedule<'_, R> {
        Schedule::new(self, alarm)
    }
}

impl<R: Room> Clone for RoomContext<R> {
    fn clone(&self) -> Self {
        RoomContext { host: self.host.clone(), sender: self.sender.clone() }
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
