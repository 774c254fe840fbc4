//! Token buckets, one for each peer id or client address. `rates` has their rules.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
};

use crate::{PeerId, RateLimit, engine::slot::Slot};

/// The buckets that may not be full.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    buckets: RefCell<HashMap<Key, Bucket>>,
    /// The number of buckets at which full ones are removed.
    sweep_at: Cell<usize>,
    /// The time at which full buckets were last removed from storage, once it is read.
    pub(super) swept_at: Cell<Option<u64>>,
}

/// The owner of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Peer(PeerId),
    Address(Rc<str>),
}

impl Key {
    pub(super) fn of(slot: &Slot) -> Self {
        match &*slot.address.borrow() {
            Some(address) => Key::Address(address.clone()),
            None => Key::Peer(slot.id.clone()),
        }
    }

    /// The name of the bucket in storage. The prefix separates addresses from peers that have the same id.
    pub(super) fn name(&self) -> String {
        match self {
            Key::Peer(id) => format!("p:{id}"),
            Key::Address(address) => format!("a:{address}"),
        }
    }
}

/// The tokens of a bucket at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    pub(super) tokens: f64,
    pub(super) at_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: Level,
    /// The bucket in storage. It never has more tokens than this one.
    stored: Option<Level>,
}

/// Too few tokens are left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The whole tokens that are left.
    pub(super) left: u64,
    /// The wait until there are enough, in milliseconds.
    pub(super) wait_ms: u64,
}

/// The smallest number of buckets at which full ones are removed.
const SWEEP_AT: usize = 1_024;

/// The most buckets of a room. An attacker with many addresses can fill no more memory or storage.
pub(super) const MAX_BUCKETS: usize = 16_384;

/// The part of the burst that is written ahead.
const AHEAD: f64 = 16.0;

impl Default for RateLimiter {
    fn default() -> Self {
        RateLimiter { buckets: RefCell::default(), sweep_at: Cell::new(SWEEP_AT), swept_at: Cell::new(None) }
    }
}

impl RateLimiter {
    /// Takes `count` tokens from a bucket; if too few are left, none. The wait is for `wanted` tokens.
    ///
    /// `read` returns the stored bucket, and `write` stores it.
    pub(super) fn take(
        &self,
        key: &Key,
        limit: RateLimit,
        now_ms: u64,
        (count, wanted): (u32, u32),
        read: impl FnOnce() -> Option<Level>,
        write: impl FnOnce(Level) -> bool,
    ) -> Result<(), Refused> {
        if self.buckets.borrow().len() >= self.sweep_at.get() {
            self.sweep(limit, now_ms);
        }
        let mut buckets = self.buckets.borrow_mut();
        let bucket = match buckets.entry(key.clone()) {
            Entry::Occupied(bucket) => bucket.into_mut(),
            Entry::Vacant(place) => {
                let stored = read();
                let level = stored.unwrap_or(Level { tokens: f64::from(limit.burst), at_ms: now_ms });
                place.insert(Bucket { level, stored })
            }
        };
        let Level { tokens, .. } = bucket.level.filled(limit, now_ms);
        bucket.level = Level { tokens, at_ms: now_ms };
        if tokens < f64::from(count) {
            // A cast from a float saturates: without a refill the wait is `u64::MAX`.
            let wait_ms = ((f64::from(wanted) - tokens) / limit.per_second * 1_000.0).ceil() as u64;
            return Err(Refused { left: tokens as u64, wait_ms });
        }
        bucket.level.tokens -= f64::from(count);
        let is_ahead = |stored: Level| stored.filled(limit, now_ms).tokens <= bucket.level.tokens;
        if !bucket.stored.is_some_and(is_ahead) {
            let ahead = limit.per_second.max(f64::from(limit.burst) / AHEAD).max(1.0) - 1.0;
            let level = Level { tokens: (bucket.level.tokens - ahead).max(0.0), at_ms: now_ms };
            if write(level) {
                bucket.stored = Some(level);
            }
        }
        Ok(())
    }

    /// Gives one token back.
    pub(super) fn give_back(&self, key: &Key, limit: RateLimit) {
        if let Some(Bucket { level, .. }) = self.buckets.borrow_mut().get_mut(key) {
            level.tokens = (level.tokens + 1.0).min(f64::from(limit.burst));
        }
    }

    /// Removes the full buckets from memory, and the fullest if there are too many.
    pub(super) fn sweep(&self, limit: RateLimit, now_ms: u64) {
        let mut buckets = self.buckets.borrow_mut();
        buckets.retain(|_, bucket| !bucket.level.filled(limit, now_ms).is_full(limit));
        if buckets.len() >= MAX_BUCKETS {
            let mut levels: Vec<_> =
                buckets.iter().map(|(key, bucket)| (key.clone(), bucket.level.filled(limit, now_ms).tokens)).collect();
            levels.sort_by(|(_, a), (_, b)| a.total_cmp(b));
            for (key, _) in levels.drain(MAX_BUCKETS / 2..) {
                buckets.remove(&key);
            }
        }
        if buckets.is_empty() {
            *buckets = HashMap::new();
        }
        // The next sweep comes after as many new buckets, so that a sweep costs each of them the same.
        self.sweep_at.set((2 * buckets.len()).clamp(SWEEP_AT, MAX_BUCKETS));
    }

    pub(crate) fn clear(&self) {
        self.buckets.take();
        self.sweep_at.set(SWEEP_AT);
        self.swept_at.set(None);
    }
}

impl Level {
    /// The bucket at a later time.
    pub(super) fn filled(self, limit: RateLimit, now_ms: u64) -> Self {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        let tokens = (self.tokens + seconds * limit.per_second).min(f64::from(limit.burst));
        Level { tokens, at_ms: now_ms }
    }

    pub(super) fn is_full(self, limit: RateLimit) -> bool {
        self.tokens >= f64::from(limit.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> Key {
        Key::Peer(PeerId::from(id))
    }

    fn take(rates: &RateLimiter, id: &str, limit: RateLimit, now_ms: u64) -> Result<(), u64> {
        rates.take(&peer(id), limit, now_ms, (1, 1), || None, |_| false).map_err(|refused| refused.wait_ms)
    }

    #[test]
    fn a_burst_then_one_each_time_there_is_a_token_again() {
        let (rates, limit) = (RateLimiter::default(), RateLimit::new(2, 4.0));
        let take = |id: &str, now_ms| take(&rates, id, limit, now_ms);
        assert_eq!([take("a", 1_000), take("a", 1_000), take("a", 1_000)], [Ok(()), Ok(()), Err(250)]);
        assert_eq!([take("a", 1_100), take("a", 1_250), take("a", 1_250)], [Err(150), Ok(()), Err(250)]);
        // A bucket never holds more than `burst` tokens.
        assert_eq!([take("a", 9_000), take("a", 9_000), take("a", 9_000)], [Ok(()), Ok(()), Err(250)]);
        assert_eq!(take("b", 9_000), Ok(()));
    }

    #[test]
    fn those_who_have_none_are_remembered_until_all_are_cleared() {
        let (rates, limit) = (RateLimiter::default(), RateLimit::new(1, 0.5));
        for n in 0..SWEEP_AT as u64 {
            assert_eq!(take(&rates, &n.to_string(), limit, 1_000), Ok(()));
        }
        assert_eq!(take(&rates, "last", limit, 1_000), Ok(()));
        assert_eq!(take(&rates, "7", limit, 2_000), Err(1_000));
        rates.clear();
        assert_eq!(take(&rates, "7", limit, 2_000), Ok(()));
        assert_eq!(rates.buckets.borrow().len(), 1);
    }

    #[test]
    fn full_buckets_are_not_kept_for_ever() {
        let (rates, limit) = (RateLimiter::default(), RateLimit::new(2, 1.0));
        for n in 0..SWEEP_AT as u64 {
            assert_eq!(take(&rates, &n.to_string(), limit, n), Ok(()));
        }
        assert_eq!(take(&rates, "last", limit, 3_000_000), Ok(()));
        assert_eq!(rates.buckets.borrow().len(), 1);
    }

    #[test]
    fn the_fullest_buckets_are_dropped_when_there_are_too_many() {
        let (rates, limit) = (RateLimiter::default(), RateLimit::new(2, 0.001));
        assert_eq!([take(&rates, "empty", limit, 1_000), take(&rates, "empty", limit, 1_000)], [Ok(()), Ok(())]);
        for n in 1..MAX_BUCKETS as u64 {
            assert_eq!(take(&rates, &n.to_string(), limit, 1_000), Ok(()));
        }
        assert_eq!(take(&rates, "last", limit, 1_000), Ok(()));
        assert_eq!(rates.buckets.borrow().len(), MAX_BUCKETS / 2 + 1);
        assert!(take(&rates, "empty", limit, 1_000).is_err());
    }

    #[test]
    fn a_larger_cost_waits_for_all_its_tokens() {
        let (rates, limit, key) = (RateLimiter::default(), RateLimit::new(10, 2.0), peer("a"));
        let charge = |count, wanted, now_ms| rates.take(&key, limit, now_ms, (count, wanted), || None, |_| false);
        assert_eq!(charge(7, 7, 0), Ok(()));
        assert_eq!(charge(4, 5, 0), Err(Refused { left: 3, wait_ms: 1_000 }));
        assert_eq!(charge(4, 5, 1_000), Ok(()));
        rates.give_back(&key, limit);
        assert_eq!(charge(2, 2, 1_000), Ok(()));
        // A token that is given back does not exceed the burst.
        assert_eq!(charge(1, 1, 60_000), Ok(()));
        rates.give_back(&key, limit);
        rates.give_back(&key, limit);
        assert_eq!(charge(11, 11, 60_000), Err(Refused { left: 10, wait_ms: 500 }));
    }

    #[test]
    fn the_stored_bucket_never_has_more_tokens_and_is_written_ahead() {
        for (limit, most_writes) in
            [(RateLimit::new(3, 0.1), 3), (RateLimit::new(160, 1.0), 17), (RateLimit::new(2_000, 100.0), 21)]
        {
            let (rates, key) = (RateLimiter::default(), peer("a"));
            let (stored, writes) = (Cell::new(None::<Level>), Cell::new(0));
            let write = |level| {
                stored.set(Some(level));
                writes.set(writes.get() + 1);
                true
            };
            for left in (0..limit.burst).rev() {
                assert_eq!(rates.take(&key, limit, 0, (1, 1), || None, write), Ok(()));
                let level = stored.get().expect("written");
                assert!(level.tokens <= f64::from(left), "{limit:?}: {level:?} with {left} left");
            }
            assert!((1..=most_writes).contains(&writes.get()), "{limit:?}: {} writes", writes.get());
            // The next incarnation finds an empty bucket.
            let woken = RateLimiter::default();
            assert!(woken.take(&key, limit, 0, (1, 1), || stored.get(), write).is_err());
        }
    }
}
