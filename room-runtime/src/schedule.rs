//! Schedules: any number of alarms of a room, kept in storage, sharing the platform's one.

use std::{cell::RefCell, fmt, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind, Room, RoomContext,
    platform::{Platform, SIZES},
    wire,
};

/// The storage key of the schedules.
const KEY: &str = "room:schedules";

/// How long after a failure, or a crash, an alarm is tried again: doubled each time, up to an hour.
const FIRST_RETRY_MS: u64 = 2_000;
const LONGEST_RETRY_MS: u64 = 3_600_000;

/// An alarm to be set: [`RoomContext::schedule`].
#[must_use = "say when: `.after(…)` or `.at(…)`"]
pub struct Schedule<'a, R: Room> {
    ctx: &'a RoomContext<R>,
    alarm: R::Alarm,
}

impl<'a, R: Room> Schedule<'a, R> {
    pub(crate) fn new(ctx: &'a RoomContext<R>, alarm: R::Alarm) -> Self {
        Schedule { ctx, alarm }
    }

    /// Fires after that time, rounded up to a millisecond. It is stored when this returns.
    ///
    /// # Errors
    /// Those of [`at`](Schedule::at).
    pub fn after(self, delay: Duration) -> Result<(), Error> {
        let ms = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let due_ms = self.ctx.now_ms().saturating_add(ms);
        self.at(due_ms)
    }

    /// Fires at that time, in milliseconds since the Unix epoch; at once when it has passed. It is stored when this
    /// returns.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] when the alarm cannot be JSON, [`ErrorKind::ValueTooLarge`] when all schedules together
    /// are larger than the platform stores under one key, [`ErrorKind::Storage`]; then nothing is changed.
    pub fn at(self, due_ms: u64) -> Result<(), Error> {
        let host = &self.ctx.host;
        host.flush()?;
        host.store_id()?;
        let added = host.schedules.add(&*host.platform, self.alarm, due_ms);
        added.map_err(|error| error.in_room(&host.id))
    }
}

impl<R: Room> fmt::Debug for Schedule<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").finish_non_exhaustive()
    }
}

/// One stored alarm.
#[derive(Debug, Serialize, Deserialize)]
struct Pending<A> {
    id: u64,
    due_ms: u64,
    /// How often it was begun.
    #[serde(default, skip_serializing_if = "is_zero")]
    attempts: u32,
    alarm: A,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// An alarm that is to run now.
#[derive(Debug)]
pub(crate) struct Due<A> {
    pub(crate) id: u64,
    pub(crate) alarm: A,
}

/// The pending alarms of one room: a cache of what is stored.
#[derive(Debug)]
pub(crate) struct Schedules<A>(RefCell<Option<Vec<Pending<A>>>>);

impl<A> Default for Schedules<A> {
    fn default() -> Self {
        Schedules(RefCell::new(None))
    }
}

impl<A> Schedules<A> {
    /// Lets go of the cache.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

impl<A: Serialize + DeserializeOwned + Clone> Schedules<A> {
    fn add(&self, platform: &dyn Platform, alarm: A, due_ms: u64) -> Result<(), Error> {
        self.change(platform, |pending| {
            let id = pending.iter().map(|each| each.id + 1).max().unwrap_or_default();
            pending.push(Pending { id, due_ms, attempts: 0, alarm });
        })
    }

    /// The earliest alarm that is due. It is put off before it is given out: if it takes the object down with it, it
    /// is tried again.
    pub(crate) fn begin(&self, platform: &dyn Platform) -> Result<Option<Due<A>>, Error> {
        let now = platform.now_ms();
        let next = self.earliest(platform)?;
        if next.is_none_or(|due_ms| due_ms > now) {
            // The platform's alarm is used up, and may have come early.
            platform.set_alarm(next);
            return Ok(None);
        }
        self.change(platform, |pending| {
            let due = pending.iter_mut().min_by_key(|each| (each.due_ms, each.id))?;
            let retry = FIRST_RETRY_MS.saturating_mul(1 << due.attempts.min(20)).min(LONGEST_RETRY_MS);
            due.attempts += 1;
            due.due_ms = now + retry;
            Some(Due { id: due.id, alarm: due.alarm.clone() })
        })
    }

    fn earliest(&self, platform: &dyn Platform) -> Result<Option<u64>, Error> {
        let mut cached = self.0.borrow_mut();
        if cached.is_none() {
            *cached = Some(load(platform)?);
        }
        Ok(cached.iter().flatten().map(|each| each.due_ms).min())
    }

    /// The alarm has done its work.
    pub(crate) fn finish(&self, platform: &dyn Platform, id: u64) -> Result<(), Error> {
        self.change(platform, |pending| pending.retain(|each| each.id != id))
    }

    /// Changes what is stored, and sets the platform's alarm to the earliest. What cannot be stored is not changed.
    fn change<T>(&self, platform: &dyn Platform, change: impl FnOnce(&mut Vec<Pending<A>>) -> T) -> Result<T, Error> {
        let mut cached = self.0.borrow_mut();
        let mut pending = match cached.take() {
            Some(pending) => pending,
            None => load(platform)?,
        };
        let value = change(&mut pending);
        let bytes = wire::encode_value(&pending, "the room's schedules")?;
        if bytes.len() > SIZES.value {
            let (n, max) = (bytes.len(), SIZES.value);
            let message = format!("the room's schedules have {n} bytes as JSON, the limit is {max}");
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        let stored = platform.put(KEY, &bytes);
        stored.map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room's schedules could not be stored: {refusal}"))
        })?;
        platform.set_alarm(pending.iter().map(|each| each.due_ms).min());
        *cached = Some(pending);
        Ok(value)
    }
}

fn load<A: DeserializeOwned>(platform: &dyn Platform) -> Result<Vec<Pending<A>>, Error> {
    let stored = platform.get(KEY).map_err(|refusal| {
        Error::new(ErrorKind::Storage, format!("the room's schedules could not be read: {refusal}"))
    })?;
    stored.map_or(Ok(Vec::new()), |bytes| wire::decode_value(&bytes, "the room's stored schedules"))
}
