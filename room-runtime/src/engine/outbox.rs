//! The outbox: durable calls to other rooms. It stores each call in the turn of the handler that makes it, and delivers
//! it at least once.
//!
//! The calls to one room form a lane: they are delivered in order, one at a time. A call has a number that rises within
//! the life of the room, and the target keeps the highest number that it has handled (`inbox`). A repeated call is thus
//! handled once.
//!
//! A delivery runs while the object is in memory anyway. The platform's alarm covers a crash, and each wait for the next
//! attempt, so that a target that is down does not keep this room awake.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{RoomHost, schedules::Job};
use crate::{
    Error, ErrorKind,
    platform::{
        transport::{Address, LocationHint, Transport, Unreachable},
        *,
    },
    types::brief::brief,
    wire::{self, Command, Target, UndeliveredCall, WireError, keys, new_ticket},
};

/// The largest event of a durable call, in bytes of JSON. A stored value has at most 2,000,000 bytes; the rest is for the
/// address of the call and for the error of one that is not delivered.
const MAX_EVENT_BYTES: usize = MAX_VALUE_BYTES - 50_000;

/// The most calls that wait in an outbox, and the most bytes of them. A room reads its outbox when it wakes, into 128 MB
/// of memory.
const MAX_CALLS: usize = 10_000;
const MAX_BYTES: usize = 16 * 1_048_576;

/// The most targets to which calls are under way at the same time. Each is a request in flight.
const MAX_DELIVERIES: usize = 32;

/// The longest time to wait for the answer to one attempt. A room with a request in flight does not hibernate.
const ATTEMPT_LIMIT_MS: u64 = 30_000;

/// The alarm that covers a crash during a delivery fires after this time.
const SAFETY_MS: u64 = 10_000;

/// The back-off before the second attempt. It doubles with each attempt, up to the longest, and a random jitter adds up to
/// as much again.
const FIRST_BACKOFF_MS: u64 = 1_000;
const LONGEST_BACKOFF_MS: u64 = 300_000;

/// The time for which a call is repeated that the target does not understand. During a deploy, two versions of the code run
/// side by side for up to 5 minutes, and the older one may not know a new event.
const DECODE_PATIENCE_MS: u64 = 600_000;

/// The number of call numbers that one write of the source reserves.
const RESERVED: u64 = 256;

/// The longest message of a refusal that is kept for `on_undelivered`, in bytes of JSON.
const MAX_REFUSAL_BYTES: usize = 4_096;

/// The part of the engine for rooms with `on_undelivered`.
pub(crate) struct Delivering {
    load: fn(&RoomHost) -> Result<(), Error>,
    deliver: fn(&Rc<RoomHost>),
    clear: fn(&RoomHost),
    purge: fn(&RoomHost),
}

impl Delivering {
    pub(super) const PART: Delivering = Delivering {
        load: |host| {
            host.outbox().loaded(host)?;
            host.schedules.set_outbox(host.next_delivery());
            Ok(())
        },
        deliver: RoomHost::deliver_due,
        clear: |host| drop(host.outbox().loaded.take()),
        purge: |host| {
            host.outbox().loaded.take();
            host.outbox().delivering.take();
        },
    };

    /// Reads the outbox from storage, so that the room's alarm covers it.
    pub(super) fn load(&self, host: &RoomHost) -> Result<(), Error> {
        (self.load)(host)
    }

    /// Begins the deliveries that are due.
    pub(super) fn deliver(&self, host: &Rc<RoomHost>) {
        (self.deliver)(host);
    }

    /// Drops everything that can be read again.
    pub(super) fn clear(&self, host: &RoomHost) {
        (self.clear)(host);
    }

    /// Drops everything, because storage was cleared.
    pub(super) fn purge(&self, host: &RoomHost) {
        (self.purge)(host);
    }
}

/// The outbox as a room holds it, behind a pointer: see [`RoomHost::outbox`].
pub(super) trait HeldOutbox {
    fn outbox(&self) -> &Outbox;
}

impl HeldOutbox for Outbox {
    fn outbox(&self) -> &Outbox {
        self
    }
}

/// The outbox of one room, cached from storage.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    loaded: RefCell<Option<Loaded>>,
    /// The targets to which this incarnation delivers. They are kept when the cache is dropped.
    delivering: RefCell<BTreeSet<Rc<Target>>>,
}

#[derive(Debug, Default)]
struct Loaded {
    /// `None` until it is first needed.
    source: Option<Source>,
    lanes: BTreeMap<Rc<Target>, Lane>,
    /// The times of the next attempts, for the lanes to which nothing is being delivered.
    due: BTreeSet<(u64, Rc<Target>)>,
    count: usize,
    bytes: usize,
}

/// The identity of the outbox in one life of the room, and the numbers of its calls.
#[derive(Debug)]
struct Source {
    id: Rc<str>,
    next: u64,
    /// The first number that is not reserved in storage.
    reserved: u64,
}

/// The source, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredSource {
    id: Rc<str>,
    /// A number above that of each call.
    #[serde(deserialize_with = "wire::counted")]
    next: u64,
}

/// The calls that wait for one target. It is never empty.
#[derive(Debug, Default)]
struct Lane {
    calls: VecDeque<Queued>,
    /// The number of failed attempts in a row.
    failures: u32,
    due_ms: u64,
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
struct Queued {
    number: u64,
    sent_at: u64,
    bytes: usize,
    attempts: u32,
}

/// A call, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredCall {
    #[serde(deserialize_with = "wire::counted")]
    number: u64,
    sent_at: u64,
    to: Target,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    near: Option<String>,
    event: Box<RawValue>,
}

/// The failed attempts of a call, as they are stored. They are apart from the call, because its event can be large.
#[derive(Serialize, Deserialize)]
struct StoredAttempts {
    number: u64,
    attempts: u32,
    due_ms: u64,
}

/// The next step of a delivery.
enum Next {
    /// The next call of the lane is tried at once.
    Call,
    /// The lane is empty, or waits for its next attempt.
    Stop,
}

impl Outbox {
    fn loaded(&self, host: &RoomHost) -> Result<RefMut<'_, Loaded>, Error> {
        let mut loaded = self.loaded.borrow_mut();
        if loaded.is_none() {
            *loaded = Some(self.load(host).map_err(|error| error.in_room(&host.id))?);
        }
        Ok(RefMut::map(loaded, |loaded| loaded.get_or_insert_default()))
    }

    fn load(&self, host: &RoomHost) -> Result<Loaded, Error> {
        let platform = host.platform.as_ref();
        let stored = |prefix: &str| {
            platform.list(prefix).map_err(|refusal| storage_error("the outbox could not be read", &refusal))
        };
        let mut loaded = Loaded::default();
        let mut lanes: BTreeMap<Rc<Target>, Vec<Queued>> = BTreeMap::new();
        for bytes in stored(keys::OUTBOX_CALLS)? {
            match wire::decode_value::<StoredCall>(&bytes, "a stored call") {
                Ok(StoredCall { number, sent_at, to, .. }) => {
                    let call = Queued { number, sent_at, bytes: bytes.len(), attempts: 0 };
                    lanes.entry(Rc::new(to)).or_default().push(call);
                }
                Err(error) => platform.log_error(&format!("{error}: it stays in storage and is not delivered")),
            }
        }
        if lanes.is_empty() {
            return Ok(loaded);
        }
        let mut attempts = BTreeMap::new();
        for bytes in stored(keys::OUTBOX_ATTEMPTS)? {
            // Without the record a call is tried at once, so an unreadable one harms nothing.
            if let Ok(failed) = wire::decode_value::<StoredAttempts>(&bytes, "the attempts of a call") {
                attempts.insert(failed.number, failed);
            }
        }
        for (to, mut calls) in lanes {
            calls.sort_by_key(|call| call.number);
            let mut lane = Lane::default();
            for mut call in calls {
                let failed = attempts.get(&call.number);
                call.attempts = failed.map_or(0, |failed| failed.attempts);
                if let (true, Some(failed)) = (lane.calls.is_empty(), failed) {
                    (lane.failures, lane.due_ms) = (failed.attempts, failed.due_ms);
                }
                loaded.count += 1;
                loaded.bytes += call.bytes;
                lane.calls.push_back(call);
            }
            if !self.delivering.borrow().contains(&to) {
                loaded.due.insert((lane.due_ms, to.clone()));
            }
            loaded.lanes.insert(to, lane);
        }
        Ok(loaded)
    }
}

impl Loaded {
    fn source(&mut self, platform: &AnyPlatform) -> Result<&mut Source, Error> {
        let source = match self.source.take() {
            Some(source) => source,
            None => {
                let stored = platform
                    .get(keys::OUTBOX_SOURCE)
                    .map_err(|refusal| storage_error("the source of the outbox could not be read", &refusal))?;
                let StoredSource { id, next } = match stored {
                    Some(bytes) => wire::decode_value(&bytes, "the source of the outbox")?,
                    // A new life has a new id: its numbers begin again, and no target may take them for those of the
                    // last.
                    None => StoredSource { id: new_ticket(platform.random()).into(), next: 1 },
                };
                Source { id, next, reserved: next }
            }
        };
        Ok(self.source.insert(source))
    }

    /// Returns the number of a new call. Numbers that a crash leaves unused are skipped.
    fn number(&mut self, platform: &AnyPlatform) -> Result<u64, Error> {
        let source = self.source(platform)?;
        if source.next == source.reserved {
            let reserved = source.next + RESERVED;
            let stored = wire::encode_value(&StoredSource { id: source.id.clone(), next: reserved }, "the outbox")?;
            put(platform, keys::OUTBOX_SOURCE, &stored)?;
            source.reserved = reserved;
        }
        let number = source.next;
        source.next += 1;
        Ok(number)
    }

    fn push(&mut self, to: &Rc<Target>, call: Queued, is_delivering: bool) {
        self.count += 1;
        self.bytes += call.bytes;
        let is_new = !self.lanes.contains_key(to);
        let lane = self.lanes.entry(to.clone()).or_default();
        lane.calls.push_back(call);
        if is_new && !is_delivering {
            self.due.insert((lane.due_ms, to.clone()));
        }
    }

    /// Removes the first call of a lane.
    fn pop(&mut self, to: &Rc<Target>) {
        let Some(lane) = self.lanes.get_mut(to) else { return };
        if let Some(call) = lane.calls.pop_front() {
            self.count -= 1;
            self.bytes -= call.bytes;
        }
        if lane.calls.is_empty() {
            self.due.remove(&(lane.due_ms, to.clone()));
            self.lanes.remove(to);
        }
    }
}

impl RoomHost {
    /// The room's outbox. It is made at its first use and reached through this file only, so that a plain room does not
    /// contain the code that drops it.
    fn outbox(&self) -> &Outbox {
        self.outbox.get_or_init(|| Box::<Outbox>::default()).outbox()
    }

    /// Stores a durable call, together with the state's changes so far, and begins its delivery.
    pub(crate) fn send_durably(
        self: &Rc<Self>,
        life: u64,
        to: Target,
        near: Option<LocationHint>,
        event: String,
    ) -> Result<(), Error> {
        self.check_life(life)?;
        to.room.check().map_err(|error| error.in_room(&self.id))?;
        if event.len() > MAX_EVENT_BYTES {
            let message =
                format!("the event of the call has {} bytes as JSON, the limit is {MAX_EVENT_BYTES}", event.len());
            return Err(Error::new(ErrorKind::ValueTooLarge, message).in_room(&self.id));
        }
        // In a transaction, a rollback undoes both. The delivery begins after it in any case.
        self.store_state()?;
        self.store_id()?;
        self.queue_call(to, near, event).map_err(|error| error.in_room(&self.id))?;
        self.deliver_due();
        Ok(())
    }

    fn queue_call(&self, to: Target, near: Option<LocationHint>, event: String) -> Result<(), Error> {
        let (platform, outbox) = (self.platform.as_ref(), self.outbox());
        let mut loaded = outbox.loaded(self)?;
        if loaded.count >= MAX_CALLS || loaded.bytes + event.len() > MAX_BYTES {
            let message = format!(
                "{} calls of {} bytes wait in the outbox, which has room for {MAX_CALLS} calls and {MAX_BYTES} bytes",
                loaded.count, loaded.bytes
            );
            return Err(Error::new(ErrorKind::OutboxFull, message));
        }
        let number = loaded.number(platform)?;
        let sent_at = platform.now_ms();
        let event = wire::raw_json(event.into_bytes(), "the event")?;
        let call = StoredCall { number, sent_at, to, near: near.map(|hint| hint.as_str().to_owned()), event };
        let bytes = wire::encode_value(&call, "the call")?;
        put(platform, &call_key(number), &bytes)?;
        let to = Rc::new(call.to);
        let is_delivering = outbox.delivering.borrow().contains(&to);
        loaded.push(&to, Queued { number, sent_at, bytes: bytes.len(), attempts: 0 }, is_delivering);
        Ok(())
    }

    /// Begins the deliveries that are due, and sets the alarm for the others.
    fn deliver_due(self: &Rc<Self>) {
        let outbox = self.outbox();
        let now_ms = self.platform.now_ms();
        match outbox.loaded(self) {
            Ok(mut loaded) => {
                while outbox.delivering.borrow().len() < MAX_DELIVERIES
                    && loaded.due.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms)
                    && let Some((_, to)) = loaded.due.pop_first()
                {
                    outbox.delivering.borrow_mut().insert(to.clone());
                    // The task begins after the handler's poll, and so after its changes are stored.
                    self.platform.spawn(Box::pin(self.clone().deliver(to, self.life.get())));
                }
            }
            Err(error) => self.log_error(&error.to_string()),
        }
        self.arm_outbox(now_ms);
    }

    /// The time at which the outbox needs the platform's alarm.
    fn next_delivery(&self) -> Option<u64> {
        let outbox = self.outbox();
        let under_way = outbox.delivering.borrow().len();
        let safety_ms = self.platform.now_ms().saturating_add(SAFETY_MS);
        let waiting_ms = match &*outbox.loaded.borrow() {
            // A lane beyond the limit begins when another ends, not by the alarm.
            Some(_) if under_way >= MAX_DELIVERIES => None,
            Some(loaded) => loaded.due.first().map(|(due_ms, _)| *due_ms),
            // The outbox could not be read, and may have calls.
            None => Some(safety_ms),
        };
        (under_way > 0).then_some(safety_ms).into_iter().chain(waiting_ms).min()
    }

    fn arm_outbox(&self, now_ms: u64) {
        let (set, wanted) = (self.schedules.outbox(), self.next_delivery());
        // An alarm that is a little early is cheaper than setting it again for each call of a busy outbox.
        let is_covered = match (set, wanted) {
            (Some(set), Some(wanted)) if !self.outbox().delivering.borrow().is_empty() => now_ms < set && set <= wanted,
            _ => set == wanted,
        };
        if !is_covered {
            self.schedules.set_outbox(wanted);
            self.arm();
        }
    }

    /// Delivers the calls to one target until one fails or none is left.
    async fn deliver(self: Rc<Self>, to: Rc<Target>, life: u64) {
        let transport = Platform::transport(&*self.platform, &to.binding, &to.class);
        while let Some((number, calling)) = self.begin_attempt(&to, &transport) {
            let outcome = self.within_limit(calling).await;
            if self.life.get() != life {
                // The purge has deleted the call. The next life may deliver to the same target.
                return;
            }
            match self.end_attempt(&to, number, outcome) {
                Ok(Next::Call) => {}
                Ok(Next::Stop) => break,
                Err(error) => {
                    self.log_error(&error.in_room(&self.id).to_string());
                    self.put_off(&to);
                    break;
                }
            }
        }
        let outbox = self.outbox();
        outbox.delivering.borrow_mut().remove(&to);
        if let Some(loaded) = &mut *outbox.loaded.borrow_mut()
            && let Some(lane) = loaded.lanes.get(&to)
        {
            loaded.due.insert((lane.due_ms, to));
        }
        self.deliver_due();
    }

    /// Reads the first call of a lane and begins to send it. Returns `None` if there is nothing to send now.
    fn begin_attempt(
        &self,
        to: &Rc<Target>,
        transport: &Result<Transport, Unreachable>,
    ) -> Option<(u64, impl Future<Output = Result<(), Error>> + use<>)> {
        let begin = || {
            let platform = self.platform.as_ref();
            let mut loaded = self.outbox().loaded(self)?;
            let source = loaded.source(platform)?.id.clone();
            let stored = loop {
                let Some(call) = loaded.lanes.get(to).and_then(|lane| lane.calls.front()) else { return Ok(None) };
                let stored = platform.get(&call_key(call.number));
                match stored.map_err(|refusal| storage_error("a call could not be read", &refusal))? {
                    Some(stored) => break stored,
                    None => loaded.pop(to),
                }
            };
            let StoredCall { number, near, event, .. } = wire::decode_value(&stored, "a stored call")?;
            let command = Command::Durable { source: &source, number, event: event.get() }.to_string();
            Ok(Some((number, command, near.as_deref().and_then(LocationHint::named))))
        };
        let (number, command, location_hint) = match begin() {
            Ok(begun) => begun?,
            Err(error) => {
                let error: Error = error;
                self.log_error(&error.in_room(&self.id).to_string());
                self.put_off(to);
                return None;
            }
        };
        let address = Address { id: to.room.clone(), jurisdiction: None, location_hint };
        let calling = match transport {
            Ok(transport) => Ok(transport.call(&address, &command)),
            Err(reason) => Err(unreachable(to, reason)),
        };
        Some((number, async move { wire::decode_reply::<()>(&calling?.await?) }))
    }

    /// Ends an attempt that exceeds [`ATTEMPT_LIMIT_MS`].
    async fn within_limit(&self, attempt: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let mut attempt = pin!(attempt);
        let mut limit: Option<LocalFuture> = None;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            let limit = limit.get_or_insert_with(|| Platform::timer(self.platform.clone(), ATTEMPT_LIMIT_MS));
            limit.as_mut().poll(cx).map(|()| {
                let message = format!("the room did not answer within {} seconds", ATTEMPT_LIMIT_MS / 1_000);
                Err(Error::new(ErrorKind::Timeout, message))
            })
        })
        .await
    }

    /// Records the outcome of an attempt. An error is one of this room's storage.
    fn end_attempt(&self, to: &Rc<Target>, number: u64, outcome: Result<(), Error>) -> Result<Next, Error> {
        let (platform, now_ms) = (self.platform.as_ref(), self.platform.now_ms());
        let timeout_ms = self.room.outbox_timeout_ms;
        let mut loaded = self.outbox().loaded(self)?;
        let Some(lane) = loaded.lanes.get_mut(to) else { return Ok(Next::Stop) };
        let Some(call) = lane.calls.front_mut().filter(|call| call.number == number) else { return Ok(Next::Call) };
        let Err(error) = outcome else {
            let call = *call;
            remove(platform, call)?;
            lane.failures = 0;
            lane.due_ms = 0;
            loaded.pop(to);
            return Ok(Next::Call);
        };
        call.attempts = call.attempts.saturating_add(1);
        let (call, age_ms) = (*call, now_ms.saturating_sub(call.sent_at));
        let fault = Fault::of(&error);
        let patience_ms = match fault {
            Fault::Refused => 0,
            Fault::NotUnderstood => timeout_ms.min(DECODE_PATIENCE_MS),
            Fault::Handler | Fault::Target => timeout_ms,
        };
        if age_ms < patience_ms {
            lane.failures = lane.failures.saturating_add(1);
            lane.due_ms = (now_ms + self.backoff_ms(lane.failures)).min(call.sent_at.saturating_add(patience_ms));
            let failed = StoredAttempts { number, attempts: call.attempts, due_ms: lane.due_ms };
            let stored = wire::encode_value(&failed, "the attempts of a call")?;
            put(platform, &attempts_key(number), &stored)?;
            return Ok(Next::Stop);
        }
        self.give_up(call, to, &error)?;
        if fault == Fault::Target {
            // The target was unreachable for as long as the others have waited too. They would fail one by one.
            let late = lane.calls.iter().skip(1).copied();
            let late: Vec<_> = late.take_while(|other| now_ms.saturating_sub(other.sent_at) >= timeout_ms).collect();
            lane.failures = lane.failures.saturating_add(1);
            lane.due_ms = now_ms + self.backoff_ms(lane.failures);
            loaded.pop(to);
            for other in late {
                self.give_up(other, to, &error)?;
                loaded.pop(to);
            }
            return Ok(Next::Stop);
        }
        lane.failures = 0;
        lane.due_ms = 0;
        loaded.pop(to);
        Ok(Next::Call)
    }

    /// Moves a call from the outbox to the schedules, as an `on_undelivered` that is due.
    fn give_up(&self, call: Queued, to: &Target, error: &Error) -> Result<(), Error> {
        let platform = self.platform.as_ref();
        let stored = platform
            .get(&call_key(call.number))
            .map_err(|refusal| storage_error("a call could not be read", &refusal))?;
        let Some(stored) = stored else { return Ok(()) };
        let StoredCall { event, .. } = wire::decode_value(&stored, "a stored call")?;
        let undelivered = UndeliveredCall {
            to: to.clone(),
            event,
            error: WireError::from(error).shortened(brief(error.message()), MAX_REFUSAL_BYTES),
            attempts: call.attempts,
            sent_at: call.sent_at,
            given_up_at: platform.now_ms(),
        };
        let bytes = wire::encode_value(&undelivered, "the call")?;
        let job = Job::Undelivered(wire::raw_json(bytes, "the call")?);
        self.schedules.add(platform, job, None, platform.now_ms(), None)?;
        remove(platform, call)
    }

    fn backoff_ms(&self, failures: u32) -> u64 {
        let backoff_ms = (FIRST_BACKOFF_MS << failures.saturating_sub(1).min(20)).min(LONGEST_BACKOFF_MS);
        let [chance, ..] = self.platform.random();
        backoff_ms + backoff_ms * u64::from(chance) / 256
    }

    /// Puts a lane off after a failure of this room's own storage. The delay is in memory only.
    fn put_off(&self, to: &Rc<Target>) {
        if let Some(loaded) = &mut *self.outbox().loaded.borrow_mut()
            && let Some(lane) = loaded.lanes.get_mut(to)
        {
            lane.failures = lane.failures.saturating_add(1);
            lane.due_ms = self.platform.now_ms() + self.backoff_ms(lane.failures);
        }
    }
}

/// The cause of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The target's handler refused: a repetition would be refused again.
    Refused,
    /// The target knows no such event, or its rules forbid the event. A deploy can change that.
    NotUnderstood,
    /// The target's handler failed, panicked or took too long.
    Handler,
    /// The target was not reached, or could not start.
    Target,
}

impl Fault {
    fn of(error: &Error) -> Self {
        match (error.kind(), error.handler()) {
            (ErrorKind::Refused, _) => Fault::Refused,
            (ErrorKind::Decode | ErrorKind::Invalid, None) => Fault::NotUnderstood,
            // The target was reached. A handler that takes too long or panics is the fault of its event, so the calls
            // behind it are tried.
            (_, Some(_)) | (ErrorKind::Timeout | ErrorKind::Restarted, None) => Fault::Handler,
            (_, None) => Fault::Target,
        }
    }
}

fn unreachable(to: &Target, reason: &Unreachable) -> Error {
    let reason = match reason {
        Unreachable::NotBound(reason) => reason,
        Unreachable::WithoutRpc => "its compatibility date is before 2024-04-03",
    };
    Error::new(ErrorKind::Binding, format!("the Worker has no Durable Object binding `{}` ({reason})", to.binding))
}

fn call_key(number: u64) -> String {
    format!("{}{number:016x}", keys::OUTBOX_CALLS)
}

fn attempts_key(number: u64) -> String {
    format!("{}{number:016x}", keys::OUTBOX_ATTEMPTS)
}

fn put(platform: &AnyPlatform, key: &str, value: &[u8]) -> Result<(), Error> {
    platform.put(key, value).map_err(|refusal| storage_error("the outbox could not be stored", &refusal))
}

fn remove(platform: &AnyPlatform, call: Queued) -> Result<(), Error> {
    // The attempts go first: a call that stays is repeated, and a record without a call would stay forever.
    let forgotten = if call.attempts > 0 { platform.delete(&attempts_key(call.number)) } else { Ok(()) };
    let removed = forgotten.and_then(|()| platform.delete(&call_key(call.number)));
    removed.map_err(|refusal| storage_error("a call could not be taken out of storage", &refusal))
}

fn storage_error(what: &str, refusal: &PlatformError) -> Error {
    Error::new(ErrorKind::Storage, format!("{what}: {refusal}"))
}
