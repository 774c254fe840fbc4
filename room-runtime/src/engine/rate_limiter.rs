//! Token buckets, one for each peer id.

use std::{cell::RefCell, collections::HashMap};

use crate::{PeerId, RateLimit};

/// The buckets that may not be full.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(RefCell<HashMap<PeerId, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at_ms: u64,
}

/// The number of buckets at which full ones are removed.
const SWEEP_AT: usize = 1_024;

impl RateLimiter {
    /// Takes a token from the bucket of this peer. The error is the wait until the next token, in milliseconds.
    pub(crate) fn take(&self, id: &PeerId, limit: RateLimit, now_ms: u64) -> Result<(), u64> {
        if self.0.borrow().len() >= SWEEP_AT {
            self.sweep(limit, now_ms);
        }
        let mut buckets = self.0.borrow_mut();
        let full = Bucket { tokens: f64::from(limit.burst), at_ms: now_ms };
        let bucket = buckets.entry(id.clone()).or_insert(full);
        *bucket = Bucket { tokens: bucket.filled(limit, now_ms), at_ms: now_ms };
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        // A cast from a float saturates: without a refill the wait is `u64::MAX`.
        Err(((1.0 - bucket.tokens) / limit.per_second * 1_000.0).ceil() as u64)
    }

    /// Removes the full buckets.
    pub(crate) fn sweep(&self, limit: RateLimit, now_ms: u64) {
        let mut buckets = self.0.borrow_mut();
        buckets.retain(|_, bucket| bucket.filled(limit, now_ms) < f64::from(limit.burst));
        if buckets.is_empty() {
            *buckets = HashMap::new();
        }
    }

    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

impl Bucket {
    fn filled(self, limit: RateLimit, now_ms: u64) -> f64 {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        (self.tokens + seconds * limit.per_second).min(f64::from(limit.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_each_time_there_is_a_token_again() {
        let (rates, id, limit) = (RateLimiter::default(), PeerId::from("a"), RateLimit::new(2, 4.0));
        let take = |now_ms| rates.take(&id, limit, now_ms);
        assert_eq!([take(1_000), take(1_000), take(1_000)], [Ok(()), Ok(()), Err(250)]);
        assert_eq!([take(1_100), take(1_250), take(1_250)], [Err(150), Ok(()), Err(250)]);
        // A bucket never holds more than `burst` tokens.
        assert_eq!([take(9_000), take(9_000), take(9_000)], [Ok(()), Ok(()), Err(250)]);
        assert_eq!(rates.take(&PeerId::from("b"), limit, 9_000), Ok(()));
    }

    #[test]
    fn those_who_have_none_are_remembered_until_all_are_cleared() {
        let (rates, limit) = (RateLimiter::default(), RateLimit::new(1, 0.5));
        for n in 0..SWEEP_AT as u64 {
            assert_eq!(rates.take(&PeerId::from(n.to_string()), limit, 1_000), Ok(()));
        }
        assert_eq!(rates.take(&PeerId::from("last"), limit, 1_000), Ok(()));
        assert_eq!(rates.take(&PeerId::from("7"), limit, 2_000), Err(1_000));
        rates.clear();
        assert_eq!(rates.take(&PeerId::from("7"), limit, 2_000), Ok(()));
        assert_eq!(rates.0.borrow().len(), 1);
    }

    #[test]
    fn full_buckets_are_not_kept_for_ever() {
        let (rates, limit) = (RateLimiter::default(), RateLimit::new(2, 1.0));
        for n in 0..SWEEP_AT as u64 {
            assert_eq!(rates.take(&PeerId::from(n.to_string()), limit, n), Ok(()));
        }
        assert_eq!(rates.take(&PeerId::from("last"), limit, 3_000_000), Ok(()));
        assert_eq!(rates.0.borrow().len(), 1);
    }
}
