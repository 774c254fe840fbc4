//! [`RoomContext`]: the room, for a handler.

use std::{fmt, rc::Rc, time::Duration};

use http::StatusCode;

#[cfg(not(target_arch = "wasm32"))]
use super::typed::room_type;
use super::typed::{encode_broadcast, typed, typed_mut, typed_ref};
use crate::{
    Delivery, Error, Failure, HandlesAlarms, Peer, Peers, Presence, Room, RoomClient, RoomId, Schedule, ScheduleId,
    Sibling, Sql, SystemFailure,
    engine::{Invocation, RoomHost, roster::User},
    platform::Platform,
    types::brief::brief,
};

/// The room, for a handler. `#[room]` adds the alias `Ctx` to the module.
///
/// A clone is cheap.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod auction {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub highest: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Bid { amount: u32 } }
///     # pub enum Broadcast { Highest { amount: u32, by: String } }
///     // The room's schemas are here.
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         let Event::Bid { amount } = event;
///         if amount <= ctx.state()?.highest {
///             return Err(ctx.refuse("bid more"));
///         }
///         ctx.update(|state| state.highest = amount)?;
///         let by = ctx.sender().map_or("the house".into(), |peer| peer.id().to_string());
///         ctx.broadcast(&Broadcast::Highest { amount, by })?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<auction::Room>::new("lot-7");
/// let ada = room.connect(Upgrade::new(auction::Connection {}).id("ada"));
/// ada.send(&auction::Event::Bid { amount: 5 });
/// assert_eq!(ada.receive(), Some(auction::Broadcast::Highest { amount: 5, by: "ada".into() }));
/// ada.send(&auction::Event::Bid { amount: 4 });
/// assert_eq!(ada.receive_error().map(|error| error.kind()), Some(ErrorKind::Refused));
/// # Ok(())
/// # }
/// ```
pub struct RoomContext<R: Room> {
    pub(crate) host: Rc<RoomHost>,
    pub(crate) sender: Option<Peer<R>>,
    /// The life of the room that the handler belongs to. A purge ends it.
    pub(crate) life: u64,
    pub(crate) failure: Option<SystemFailure>,
}

impl<R: Room> RoomContext<R> {
    pub(crate) fn new(call: Invocation) -> Self {
        let Invocation { host, sender, life, failure } = call;
        let sender = sender.map(|slot| Peer::new(host.clone(), slot));
        RoomContext { host, sender, life, failure }
    }

    /// The room's id, for example `r1`.
    pub fn id(&self) -> &RoomId {
        &self.host.id
    }

    /// The name of the room type, for example `chat`.
    pub fn name(&self) -> &'static str {
        R::NAME
    }

    /// The peer that the handler runs for.
    ///
    /// It is the sender of the event or of the invalid frame, or the peer that connects, resumes, is away or leaves.
    /// `None` for an event that the Worker sent, and in handlers without a peer.
    pub fn sender(&self) -> Option<&Peer<R>> {
        self.sender.as_ref()
    }

    /// The current time, in milliseconds since the Unix epoch.
    ///
    /// On Cloudflare the clock stands still while a handler computes, and advances when the handler awaits.
    pub fn now_ms(&self) -> u64 {
        Platform::now_ms(&*self.host.platform)
    }

    /// The room's state as of now: a snapshot, safe to keep across an await.
    ///
    /// A room that was never changed has its initial state.
    ///
    /// # Errors
    /// - [`ErrorKind::NestedUpdate`](crate::ErrorKind::NestedUpdate) inside the closure of an `update`, and inside
    ///   `init`.
    /// - The error of `init`.
    /// - [`ErrorKind::Storage`](crate::ErrorKind::Storage) and [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the
    ///   stored state cannot be read.
    pub fn state(&self) -> Result<Rc<R::State>, Error> {
        self.alive()?;
        self.host.state().map(typed)
    }

    /// Changes the room's state.
    ///
    /// The change is stored before the room next sends or answers and before the handler awaits, at the latest when the
    /// handler ends. The changes between two of these moments share one write.
    ///
    /// # Errors
    /// The errors of [`state`](RoomContext::state).
    pub fn update<T>(&self, change: impl FnOnce(&mut R::State) -> T) -> Result<T, Error> {
        self.alive()?;
        self.host.update(|state| change(typed_mut(state)))
    }

    /// Changes the room's state, and rolls the change back if `change` fails.
    ///
    /// # Errors
    /// The error of `change`, and the errors of [`state`](RoomContext::state).
    pub fn try_update<T>(&self, change: impl FnOnce(&mut R::State) -> Result<T, Failure>) -> Result<T, Failure> {
        self.alive()?;
        self.host.try_update(|state| {
            let mut state = R::State::clone(typed_ref(&**state));
            let value = change(&mut state)?;
            Ok((Rc::new(state), value))
        })
    }

    /// Creates a refusal, an expected negative answer: `return Err(ctx.refuse("the auction is over"))`.
    ///
    /// A refusal is not logged, and `on_error` does not run. Changes and messages before the refusal stay. A refusal in
    /// the closure of a [`try_update`](RoomContext::try_update) rolls back the changes of that closure.
    ///
    /// | handler | effect |
    /// |---|---|
    /// | `on_event` from a peer, `on_decode_error` | the sender gets an error frame, `{"$room": {"error": {"code": "refused", "message": "…"}}}` |
    /// | `on_event` from the Worker | [`send`](crate::RoomHandle::send) fails with [`ErrorKind::Refused`](crate::ErrorKind::Refused) |
    /// | `on_connect`, `on_resume` | the peer gets the error frame, and is closed with 1008 and the reason |
    /// | `on_upgrade`, `on_request` | the client gets 403, or [another status](Failure::with_status), and `{"error": {"code": "refused", "message": "…"}}` |
    ///
    /// In every other handler a refusal has no recipient: there it is an error like any other.
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

    /// Creates a [refusal](RoomContext::refuse) that carries one of the room's own messages.
    ///
    /// The sender gets the message in place of the error frame, an HTTP client gets it as the body, and the Worker gets
    /// it from [`Error::refusal`].
    ///
    /// If the message is not serializable as JSON, the handler fails with
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode). If it breaks a rule of the room, the handler fails with
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub fn refuse_with(&self, message: &R::Broadcast) -> Failure {
        match encode_broadcast::<R>(message) {
            Ok(json) => {
                let reason = format!("refused with {}", brief(&json));
                Failure::refused(reason, StatusCode::FORBIDDEN, Some(json.into()))
            }
            Err(error) => error.by_the_room().in_room(self.id()).into(),
        }
    }

    /// Returns whether the room's state was ever changed.
    ///
    /// # Errors
    /// The errors of [`state`](RoomContext::state).
    pub fn is_initialized(&self) -> Result<bool, Error> {
        self.host.is_initialized()
    }

    /// Sends one message to every connected peer.
    ///
    /// # Errors
    /// The errors of [`Peers::send`].
    pub fn broadcast(&self, message: &R::Broadcast) -> Result<Delivery, Error> {
        self.peers().send(message)
    }

    /// The services that the room's `services` returned when the object was loaded into memory.
    pub fn services(&self) -> &R::Services {
        typed_ref(self.host.services())
    }

    /// Runs work that continues after the handler has ended.
    ///
    /// The work gets its own context. An error is logged and goes to `on_error`. The work ends with the object: a crash
    /// or a deploy loses it.
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
        let call = Invocation { host: self.host.clone(), sender: None, life: self.life, failure: None };
        let ctx = RoomContext::new(call.clone());
        // The work begins with its first poll, and so not at all in a room that was purged before it.
        self.host.spawn(call, Box::pin(async move { work(ctx).await }));
    }

    /// Waits for at least this time.
    ///
    /// A room with a waiting handler does not hibernate and is billed. Use [`schedule`](RoomContext::schedule) for more
    /// than some seconds.
    pub async fn sleep(&self, time: Duration) {
        let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Platform::timer(self.host.platform.clone(), ms).await;
    }

    /// The connected peers, to select from, send to, close or iterate over.
    pub fn peers(&self) -> Peers<'_, R> {
        Peers::new(self)
    }

    /// The peers that are [subscribed](Peer::subscribe) to a topic: the same as `ctx.peers().topic(name)`.
    ///
    /// ```
    /// # use room_runtime::{Failure, Room, RoomContext};
    /// # fn example<R: Room>(ctx: &RoomContext<R>, message: &R::Broadcast) -> Result<(), Failure> {
    /// if let Some(sender) = ctx.sender() {
    ///     sender.subscribe("doc:7")?;
    /// }
    /// ctx.topic("doc:7").except_sender().send(message)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn topic(&self, name: &str) -> Peers<'_, R> {
        self.peers().topic(name)
    }
}

impl<R: Room> RoomContext<R> {
    /// Sets an alarm for `on_alarm`: `ctx.schedule(()).after(Duration::from_secs(30))?`.
    ///
    /// A room can have any number of alarms. Each survives hibernation and restarts, and fires at least once, in order
    /// of time. An alarm is retried if its handler fails or the object crashes or restarts during it: after 2 s at
    /// first, with a back-off of up to an hour.
    pub fn schedule(&self, alarm: R::Alarm) -> Schedule<'_, R>
    where
        R: HandlesAlarms,
    {
        Schedule::new(self, alarm)
    }

    /// Cancels a schedule. Returns false if there is none with this id, for example because it has fired.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage); then the schedule stays.
    pub fn cancel(&self, schedule: ScheduleId) -> Result<bool, Error> {
        self.alive()?;
        self.host.not_updating()?;
        self.located(self.host.schedules.cancel(self.host.platform.as_ref(), schedule))
    }

    /// Cancels the schedule with this [key](Schedule::key). Returns false if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage); then the schedule stays.
    pub fn cancel_keyed(&self, key: &str) -> Result<bool, Error> {
        self.alive()?;
        self.host.not_updating()?;
        self.located(self.host.schedules.cancel_keyed(self.host.platform.as_ref(), key))
    }

    /// The time when the next alarm is due, in milliseconds since the Unix epoch; `None` if none is set.
    ///
    /// An alarm whose handler runs is due when it would be retried.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) and [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the
    /// schedules cannot be read.
    pub fn next_alarm(&self) -> Result<Option<u64>, Error> {
        self.located(self.host.schedules.next(self.host.platform.as_ref()))
    }

    /// In `on_alarm`, the crash or restart that interrupted the last attempt of this alarm; `None` otherwise.
    pub fn system_failure(&self) -> Option<&SystemFailure> {
        self.failure.as_ref()
    }

    /// The room's own database.
    pub fn sql(&self) -> Sql<'_, R> {
        Sql::new(self)
    }

    /// Returns another room, of this type or of another, with the Worker's interface.
    ///
    /// Its [`send`](Sibling::send) can also be [durable](crate::SiblingCall::durably).
    ///
    /// # Errors
    /// [`ErrorKind::Binding`](crate::ErrorKind::Binding) if the Worker has no binding for the type of the other room.
    /// The message shows the configuration to add.
    pub fn room<Other: Room>(&self, id: impl Into<RoomId>) -> Result<Sibling<R, Other>, Error> {
        Ok(Sibling::new(self.rooms()?.room(id), self.host.clone(), self.life))
    }

    /// Returns the client for other rooms, of this type or of another, for example to
    /// [call several](RoomClient::federate).
    ///
    /// # Errors
    /// Those of [`room`](RoomContext::room).
    pub fn rooms<Other: Room>(&self) -> Result<RoomClient<Other>, Error> {
        #[cfg(not(target_arch = "wasm32"))]
        crate::engine::room::register(room_type::<Other>());
        let transport = Platform::transport(&*self.host.platform, Other::BINDING, Other::CLASS);
        self.located(RoomClient::<Other>::reaching(transport))
    }

    /// The users of the room: each peer id with its connections, also if it is away and can still reconnect.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) and [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the
    /// roster cannot be read.
    pub fn presence(&self) -> Result<Vec<Presence<R>>, Error> {
        let users = self.host.presence()?.into_iter().map(|User { id, peers, away_since }| {
            let peers = peers.into_iter().map(|slot| Peer::new(self.host.clone(), slot)).collect();
            Presence { id, peers, away_since }
        });
        Ok(users.collect())
    }

    /// Ends the life of the room: deletes all its data and closes all its connections.
    ///
    /// The room deletes its state, schedules, tables and everything else that it stores. It closes the connections with
    /// 1000, without `on_close`, and ends every running handler. The next event starts a fresh room.
    ///
    /// This always fails with [`ErrorKind::Purged`](crate::ErrorKind::Purged), so that the handler can end with it:
    /// `return ctx.purge();`. A purge is no error for the caller of the handler: a purge in `on_request` is answered
    /// with 204, and a purge in `on_upgrade` with 410.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage), and
    /// [`ErrorKind::NestedUpdate`](crate::ErrorKind::NestedUpdate) inside the closure of an `update`; then nothing
    /// changes.
    pub fn purge<T, E: From<Error>>(&self) -> Result<T, E> {
        self.alive()?;
        self.host.purge()?;
        Err(Error::own_purge().in_room(self.id()).into())
    }

    /// Checks that no purge has ended the life of the room that the handler belongs to.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        self.host.check_life(self.life)
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
