//! Schedules: any number of stored alarms, which share the platform's single alarm.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Error, ErrorKind, ScheduleId, SystemFailure,
    platform::*,
    wire::{self, keys},
};

/// The first delay before a failed or crashed alarm is retried. It doubles with each try, up to an hour.
const FIRST_RETRY_MS: u64 = 2_000;
const LONGEST_RETRY_MS: u64 = 3_600_000;

/// The delay before a schedule that is due again is checked again, if its handler is still running.
const STILL_RUNNING_MS: u64 = 60_000;

/// The action of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// An alarm of the room, as JSON. It is decoded when it fires, so that one that does not decode affects no other.
    Alarm(Box<RawValue>),
    /// The grace of the place with this name ends.
    Grace(String),
    /// The empty room is purged.
    Purge,
    /// A durable call that was given up, as JSON, for `on_undelivered`.
    Undelivered(Box<RawValue>),
}

impl Job {
    /// Encodes an alarm of the room.
    pub(crate) fn alarm<A: Serialize>(alarm: &A) -> Result<Job, Error> {
        wire::encode_raw(alarm, 2, "the alarm").map(Job::Alarm)
    }

    fn is_same(&self, other: &Job) -> bool {
        match (self, other) {
            (Job::Alarm(one), Job::Alarm(other)) => one.get() == other.get(),
            (Job::Grace(one), Job::Grace(other)) => one == other,
            (Job::Purge, Job::Purge) => true,
            _ => false,
        }
    }
}

/// One schedule, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pending {
    id: ScheduleId,
    /// The order in which schedules that are due at the same time were set.
    #[serde(deserialize_with = "wire::counted")]
    number: u64,
    due_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_ms: Option<NonZeroU64>,
    /// The time for which it was set. `due_ms` moves with each retry; this does not.
    nominal_ms: u64,
    /// The number of tries since the last success.
    #[serde(default, skip_serializing_if = "is_default")]
    attempts: u32,
    /// True if the last try has not ended. If storage says so after a load, the last try crashed.
    #[serde(default, skip_serializing_if = "is_default")]
    running: bool,
    #[serde(rename = "what")]
    job: Job,
}

impl Pending {
    /// The delay before the next try after a failure or a crash.
    fn retry_ms(&self) -> u64 {
        FIRST_RETRY_MS.saturating_mul(1 << self.attempts.saturating_sub(1).min(20)).min(LONGEST_RETRY_MS)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A schedule that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) id: ScheduleId,
    /// The number of this setting. The same id with another number is a schedule that replaced this one.
    pub(crate) number: u64,
    pub(crate) job: Job,
    /// The number of this try, from 1.
    pub(crate) attempt: u32,
    pub(crate) failure: Option<SystemFailure>,
}

/// The schedules of one room, cached from storage.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    loaded: RefCell<Option<Loaded>>,
    /// The schedules whose handlers run in this incarnation. They are kept when the cache is dropped.
    running: RefCell<BTreeSet<(ScheduleId, u64)>>,
    /// The schedules whose handlers have ended in this incarnation while storage may still say that they run.
    ended: RefCell<BTreeSet<(ScheduleId, u64)>>,
    /// The time at which the runtime needs the platform's alarm for its watchdog.
    watchdog: Cell<Option<u64>>,
    /// The time at which the outbox needs the platform's alarm.
    outbox: Cell<Option<u64>>,
    /// The time of the next look for silent peers. The outer `None` is not known: an earlier incarnation has set the
    /// alarm for it.
    check: Cell<Option<Option<u64>>>,
    /// Finds that time, in a room with a `peer_timeout`.
    find_check: Option<FindCheck>,
    /// True if the room has an `on_alarm`. Without it, alarms of earlier code stay in storage and do not fire.
    has_handler: bool,
    /// The same for `on_undelivered`.
    has_on_undelivered: bool,
    /// True if the platform's alarm was set for a schedule since the last transaction began.
    pub(super) has_armed: Cell<bool>,
}

type FindCheck = fn(&AnyPlatform) -> Option<u64>;

#[derive(Debug, Default)]
struct Loaded {
    by_id: BTreeMap<ScheduleId, Pending>,
    /// Due time, number, id.
    order: BTreeSet<(u64, u64, ScheduleId)>,
    next_number: u64,
    /// The number of places that are kept.
    graces: usize,
}

impl Schedules {
    pub(crate) fn new(has_handler: bool, has_on_undelivered: bool, find_check: Option<FindCheck>) -> Self {
        Schedules { has_handler, has_on_undelivered, find_check, ..Schedules::default() }
    }

    /// Drops the cache.
    pub(crate) fn clear(&self) {
        self.loaded.take();
    }

    /// Drops the cache and all records of running handlers, because storage was cleared.
    pub(crate) fn purge(&self) {
        self.clear();
        self.running.take();
        self.ended.take();
        self.watchdog.set(None);
        self.outbox.set(None);
        self.forget_check();
    }

    /// The time at which the watchdog needs the platform's alarm.
    pub(crate) fn watchdog(&self) -> Option<u64> {
        self.watchdog.get()
    }

    pub(crate) fn set_watchdog(&self, at_ms: Option<u64>) {
        self.watchdog.set(at_ms);
    }

    /// The time at which the outbox needs the platform's alarm.
    pub(crate) fn outbox(&self) -> Option<u64> {
        self.outbox.get()
    }

    pub(crate) fn set_outbox(&self, at_ms: Option<u64>) {
        self.outbox.set(at_ms);
    }

    /// Returns whether it is known that a look for silent peers is planned.
    pub(crate) fn has_check(&self) -> bool {
        self.check.get().flatten().is_some()
    }

    /// Returns whether it is known if, and when, a look for silent peers is planned.
    pub(crate) fn knows_check(&self) -> bool {
        self.check.get().is_some()
    }

    pub(crate) fn is_check_due(&self, now_ms: u64) -> bool {
        self.check.get().flatten().is_some_and(|at_ms| at_ms <= now_ms)
    }

    pub(crate) fn set_check(&self, at_ms: Option<u64>) {
        self.check.set(Some(at_ms));
    }

    /// Makes [`own`](Schedules::own) find the time of the next look again.
    pub(crate) fn forget_check(&self) {
        self.check.set(None);
    }

    /// The time at which the runtime itself needs the platform's alarm.
    pub(crate) fn own(&self, platform: &AnyPlatform) -> Option<u64> {
        // A room that wakes leaves the alarm as it is. The peers are looked at only if it is set anew.
        let check = self.find_check.and_then(|find| {
            let check = self.check.get().unwrap_or_else(|| find(platform));
            self.check.set(Some(check));
            check
        });
        self.watchdog.get().into_iter().chain(self.outbox.get()).chain(check).min()
    }

    /// Sets the platform's alarm to the earliest time of the schedules and of the runtime itself.
    pub(crate) fn arm(&self, platform: &AnyPlatform) -> Result<(), Error> {
        let loaded = self.loaded(platform)?;
        self.arm_for(platform, &loaded);
        Ok(())
    }

    fn arm_for(&self, platform: &AnyPlatform, loaded: &Loaded) {
        let earliest = loaded.order.first().map(|(due_ms, ..)| *due_ms);
        self.has_armed.set(true);
        platform.set_alarm(earliest.into_iter().chain(self.own(platform)).min());
    }

    /// Returns whether no schedule can fire.
    pub(crate) fn is_empty(&self, platform: &AnyPlatform) -> Result<bool, Error> {
        Ok(self.loaded(platform)?.order.is_empty())
    }

    /// Returns whether any schedule is due.
    pub(crate) fn is_due(&self, platform: &AnyPlatform) -> Result<bool, Error> {
        let now_ms = platform.now_ms();
        Ok(self.loaded(platform)?.order.first().is_some_and(|(due_ms, ..)| *due_ms <= now_ms))
    }

    pub(crate) fn add(
        &self,
        platform: &AnyPlatform,
        job: Job,
        key: Option<String>,
        due_ms: u64,
        every_ms: Option<NonZeroU64>,
    ) -> Result<ScheduleId, Error> {
        let mut loaded = self.loaded(platform)?;
        let same_period =
            |pending: &Pending| every_ms.is_some() && pending.every_ms == every_ms && pending.job.is_same(&job);
        let replaced = match &key {
            Some(key) => loaded.keyed(key),
            // A period without a key is identified by its job, so that `on_start` can set it each time without
            // duplicates.
            None => loaded.by_id.values().find(|each| each.key.is_none() && same_period(each)).map(|each| each.id),
        };
        if let Some(same) = replaced.and_then(|id| loaded.by_id.get(&id))
            && same_period(same)
        {
            let id = same.id;
            // The platform may have lost its alarm meanwhile.
            self.arm_for(platform, &loaded);
            return Ok(id);
        }
        // The replaced schedule is overwritten under its id, so that a crash leaves exactly one of them.
        let id = replaced.unwrap_or_else(|| {
            let [a, b, c, d, e, f, g, h, ..] = platform.random();
            ScheduleId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
        });
        let number = loaded.next_number;
        let pending =
            Pending { id, number, due_ms, key, every_ms, nominal_ms: due_ms, attempts: 0, running: false, job };
        store(platform, &pending)?;
        loaded.next_number += 1;
        loaded.take(id);
        loaded.insert(pending);
        self.arm_for(platform, &loaded);
        Ok(id)
    }

    pub(crate) fn cancel(&self, platform: &AnyPlatform, id: ScheduleId) -> Result<bool, Error> {
        let mut loaded = self.loaded(platform)?;
        if !loaded.by_id.contains_key(&id) {
            return Ok(false);
        }
        remove(platform, id)?;
        loaded.take(id);
        self.arm_for(platform, &loaded);
        Ok(true)
    }

    pub(crate) fn cancel_keyed(&self, platform: &AnyPlatform, key: &str) -> Result<bool, Error> {
        let id = self.loaded(platform)?.keyed(key);
        id.map_or(Ok(false), |id| self.cancel(platform, id))
    }

    /// Cancels the runtime's own schedules for which `which` returns true.
    pub(crate) fn cancel_own(&self, platform: &AnyPlatform, which: impl Fn(&Job) -> bool) -> Result<(), Error> {
        let own = |job: &Job| !matches!(job, Job::Alarm(_)) && which(job);
        let ids: Vec<_> = self.loaded(platform)?.by_id.values().filter(|each| own(&each.job)).map(|p| p.id).collect();
        ids.into_iter().try_for_each(|id| self.cancel(platform, id).map(drop))
    }

    /// The number of places that are kept.
    pub(crate) fn graces(&self, platform: &AnyPlatform) -> Result<usize, Error> {
        Ok(self.loaded(platform)?.graces)
    }

    pub(crate) fn count_alarms(&self, platform: &AnyPlatform) -> Result<usize, Error> {
        let loaded = self.loaded(platform)?;
        Ok(loaded.by_id.values().filter(|pending| matches!(pending.job, Job::Alarm(_))).count())
    }

    /// The names of the places that are kept.
    pub(crate) fn grace_names(&self, platform: &AnyPlatform) -> Result<Vec<String>, Error> {
        let loaded = self.loaded(platform)?;
        let name = |pending: &Pending| match &pending.job {
            Job::Grace(name) => Some(name.clone()),
            _ => None,
        };
        Ok(loaded.by_id.values().filter_map(name).collect())
    }

    pub(crate) fn has_purge(&self, platform: &AnyPlatform) -> Result<bool, Error> {
        Ok(self.loaded(platform)?.by_id.values().any(|pending| matches!(pending.job, Job::Purge)))
    }

    /// The time at which the room's next own alarm is due.
    pub(crate) fn next(&self, platform: &AnyPlatform) -> Result<Option<u64>, Error> {
        let loaded = self.loaded(platform)?;
        let mut own = loaded.order.iter().filter(|(_, _, id)| loaded.is_alarm(*id));
        Ok(own.next().map(|(due_ms, ..)| *due_ms))
    }

    /// Returns whether [`begin`](Self::begin) finds a schedule.
    pub(crate) fn has_due(&self, platform: &AnyPlatform, before: u64) -> Result<bool, Error> {
        let mut loaded = self.loaded(platform)?;
        Ok(self.find_due(platform, &mut loaded, before).is_some())
    }

    /// Begins the earliest schedule that is due and whose number is less than `before`.
    ///
    /// It is first stored with the time of its next try. If its handler crashes the object, it is tried again.
    pub(crate) fn begin(&self, platform: &AnyPlatform, before: u64) -> Result<Option<Due>, Error> {
        let mut loaded = self.loaded(platform)?;
        match self.find_due(platform, &mut loaded, before) {
            Some(id) => self.begin_one(platform, &mut loaded, id),
            None => Ok(None),
        }
    }

    fn find_due(&self, platform: &AnyPlatform, loaded: &mut Loaded, before: u64) -> Option<ScheduleId> {
        let now_ms = platform.now_ms();
        let due: Vec<_> = loaded.order.iter().take_while(|(due_ms, ..)| *due_ms <= now_ms).copied().collect();
        for (_, number, id) in due {
            if self.running.borrow().contains(&(id, number)) {
                // The handler takes longer than the retry delay that covers a crash. The schedule must not run twice at
                // once.
                loaded.put_off(id, now_ms + STILL_RUNNING_MS);
            } else if number < before {
                return Some(id);
            }
        }
        None
    }

    /// The number of the next schedule to be set.
    pub(crate) fn next_number(&self, platform: &AnyPlatform) -> Result<u64, Error> {
        Ok(self.loaded(platform)?.next_number)
    }

    /// Begins the room's own earliest alarm that is not running, even if it is not due yet.
    pub(crate) fn begin_next(&self, platform: &AnyPlatform) -> Result<Option<Due>, Error> {
        let mut loaded = self.loaded(platform)?;
        let is_next = |(_, number, id): &&(u64, u64, ScheduleId)| {
            loaded.is_alarm(*id) && !self.running.borrow().contains(&(*id, *number))
        };
        let next = loaded.order.iter().find(is_next).map(|(.., id)| *id);
        match next {
            Some(id) => self.begin_one(platform, &mut loaded, id),
            None => Ok(None),
        }
    }

    fn begin_one(&self, platform: &AnyPlatform, loaded: &mut Loaded, id: ScheduleId) -> Result<Option<Due>, Error> {
        let Some(pending) = loaded.by_id.get(&id) else { return Ok(None) };
        let attempt = pending.attempts.saturating_add(1);
        // The handler is not running in this incarnation, so the try that storage reports as running has crashed.
        let failure = pending.running.then_some(SystemFailure { attempt });
        let mut begun = Pending { attempts: attempt, running: true, ..pending.clone() };
        begun.due_ms = platform.now_ms().saturating_add(begun.retry_ms());
        store(platform, &begun)?;
        let (number, job) = (begun.number, begun.job.clone());
        loaded.take(id);
        loaded.insert(begun);
        self.running.borrow_mut().insert((id, number));
        self.ended.borrow_mut().remove(&(id, number));
        self.arm_for(platform, loaded);
        Ok(Some(Due { id, number, job, attempt, failure }))
    }

    /// Records that a handler has ended, with success or not.
    pub(crate) fn ended(&self, (id, number): (ScheduleId, u64)) {
        self.running.borrow_mut().remove(&(id, number));
        self.ended.borrow_mut().insert((id, number));
        if let Some(loaded) = &mut *self.loaded.borrow_mut()
            && let Some(pending) = loaded.by_id.get_mut(&id)
            && pending.number == number
        {
            // The flag is cleared in memory too: if the following write fails, the next try must not report a crash.
            pending.running = false;
        }
    }

    /// Records a success: deletes the schedule, or sets the next time of a periodic one.
    pub(crate) fn finish(&self, platform: &AnyPlatform, (id, number): (ScheduleId, u64)) -> Result<(), Error> {
        let mut loaded = self.loaded(platform)?;
        // The schedule may have been cancelled or replaced, perhaps by its own handler.
        let Some(pending) = loaded.by_id.get(&id).filter(|pending| pending.number == number) else {
            self.ended.borrow_mut().remove(&(id, number));
            return Ok(());
        };
        match pending.every_ms {
            None => {
                remove(platform, id)?;
                loaded.take(id);
                self.ended.borrow_mut().remove(&(id, number));
            }
            Some(every_ms) => {
                let next = next_period(pending.nominal_ms, every_ms, platform.now_ms());
                let pending =
                    Pending { due_ms: next, nominal_ms: next, attempts: 0, running: false, ..pending.clone() };
                store(platform, &pending)?;
                self.ended.borrow_mut().remove(&(id, number));
                loaded.take(id);
                loaded.insert(pending);
            }
        }
        self.arm_for(platform, &loaded);
        Ok(())
    }

    /// Records a failure: the schedule is tried again after a delay that starts now.
    pub(crate) fn fail(&self, platform: &AnyPlatform, (id, number): (ScheduleId, u64)) -> Result<(), Error> {
        let mut loaded = self.loaded(platform)?;
        let Some(pending) = loaded.by_id.get(&id).filter(|pending| pending.number == number) else { return Ok(()) };
        let mut failed = Pending { running: false, ..pending.clone() };
        failed.due_ms = platform.now_ms().saturating_add(failed.retry_ms());
        store(platform, &failed)?;
        self.ended.borrow_mut().remove(&(id, number));
        loaded.take(id);
        loaded.insert(failed);
        self.arm_for(platform, &loaded);
        Ok(())
    }

    fn loaded(&self, platform: &AnyPlatform) -> Result<RefMut<'_, Loaded>, Error> {
        let mut loaded = self.loaded.borrow_mut();
        if loaded.is_none() {
            *loaded = Some(self.load(platform)?);
        }
        Ok(RefMut::map(loaded, |loaded| loaded.get_or_insert_default()))
    }

    fn load(&self, platform: &AnyPlatform) -> Result<Loaded, Error> {
        let stored = platform.list(keys::SCHEDULES).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the room's schedules could not be read: {refusal}"))
        })?;
        let mut loaded = Loaded::default();
        for bytes in stored {
            let mut pending: Pending = match wire::decode_value(&bytes, "a stored schedule") {
                Ok(pending) => pending,
                Err(error) => {
                    platform.log_error(&format!("{error}: it stays in storage and does not fire"));
                    continue;
                }
            };
            loaded.next_number = loaded.next_number.max(pending.number + 1);
            let lacks_handler = match pending.job {
                Job::Alarm(_) => !self.has_handler,
                Job::Undelivered(_) => !self.has_on_undelivered,
                Job::Grace(_) | Job::Purge => false,
            };
            if lacks_handler {
                loaded.take(pending.id);
                // Without a handler it never fires, but an alarm can be cancelled.
                loaded.by_id.insert(pending.id, pending);
                continue;
            }
            let schedule = (pending.id, pending.number);
            if self.running.borrow().contains(&schedule) || self.ended.borrow().contains(&schedule) {
                pending.running = false;
            }
            loaded.insert(pending);
        }
        Ok(loaded)
    }
}

/// The first time after `now_ms` that is a whole number of periods after `nominal_ms`.
fn next_period(nominal_ms: u64, every_ms: NonZeroU64, now_ms: u64) -> u64 {
    let passed = (now_ms.saturating_sub(nominal_ms) / every_ms).saturating_add(1);
    nominal_ms.saturating_add(every_ms.get().saturating_mul(passed))
}

impl Loaded {
    fn insert(&mut self, pending: Pending) {
        // An id has one schedule, also if storage has two of it.
        self.take(pending.id);
        self.graces += usize::from(matches!(pending.job, Job::Grace(_)));
        self.order.insert((pending.due_ms, pending.number, pending.id));
        self.by_id.insert(pending.id, pending);
    }

    fn take(&mut self, id: ScheduleId) -> Option<Pending> {
        let pending = self.by_id.remove(&id)?;
        self.graces -= usize::from(matches!(pending.job, Job::Grace(_)));
        self.order.remove(&(pending.due_ms, pending.number, id));
        Some(pending)
    }

    fn put_off(&mut self, id: ScheduleId, due_ms: u64) {
        if let Some(pending) = self.take(id) {
            self.insert(Pending { due_ms, ..pending });
        }
    }

    fn keyed(&self, key: &str) -> Option<ScheduleId> {
        self.by_id.values().find(|pending| pending.key.as_deref() == Some(key)).map(|pending| pending.id)
    }

    fn is_alarm(&self, id: ScheduleId) -> bool {
        self.by_id.get(&id).is_some_and(|pending| matches!(pending.job, Job::Alarm(_)))
    }
}

fn storage_key(id: ScheduleId) -> String {
    format!("{}{id}", keys::SCHEDULES)
}

fn store(platform: &AnyPlatform, pending: &Pending) -> Result<(), Error> {
    let bytes = wire::encode_value(pending, "the alarm")?;
    if bytes.len() > MAX_VALUE_BYTES {
        let message = format!("the alarm has {} bytes as JSON, the limit is {}", bytes.len(), MAX_VALUE_BYTES);
        return Err(Error::new(ErrorKind::ValueTooLarge, message));
    }
    platform
        .put(&storage_key(pending.id), &bytes)
        .map_err(|refusal| Error::new(ErrorKind::Storage, format!("the schedule could not be stored: {refusal}")))
}

fn remove(platform: &AnyPlatform, id: ScheduleId) -> Result<(), Error> {
    platform.delete(&storage_key(id)).map_err(|refusal| {
        Error::new(ErrorKind::Storage, format!("the schedule could not be taken out of storage: {refusal}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_that_passed_are_skipped_and_the_grid_is_kept() {
        let next = |nominal_ms, every_ms, now_ms| {
            next_period(nominal_ms, NonZeroU64::new(every_ms).expect("a period"), now_ms)
        };
        assert_eq!(next(1_000, 100, 1_000), 1_100);
        assert_eq!(next(1_000, 100, 1_099), 1_100);
        assert_eq!(next(1_000, 100, 1_100), 1_200);
        assert_eq!(next(1_000, 100, 1_950), 2_000);
        // Fired by hand before its time.
        assert_eq!(next(1_000, 100, 500), 1_100);
        assert_eq!(next(u64::MAX - 1, 100, u64::MAX), u64::MAX);
        assert_eq!(next(0, 1, u64::MAX), u64::MAX);
    }
}
