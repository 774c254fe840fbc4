//! Limits the rate of frames: a frame takes a token before it is decoded, and the rest of its cost after that.
//!
//! A bucket that needs longer to fill than the room stays in memory is also in storage. It is written ahead of its use:
//! the stored bucket never has more tokens than the real one, so hibernation, crashes and restarts refill nothing, and
//! most frames need no write.

use std::{
    net::{IpAddr, Ipv6Addr},
    rc::Rc,
};

use super::{
    RoomHost,
    rate_limiter::{Key, Level, MAX_BUCKETS, Refused},
};
use crate::{
    ErrorKind, RateLimit, RateLimitBy,
    engine::slot::Slot,
    platform::*,
    wire::{self, Notice, handshake::Handshake, keys},
};

/// The frames over the limit in a row that the room answers, for each connection. Answers to a flood would fill the
/// memory, because a flood looks like a peer that reads.
const MAX_ANSWERED: u32 = 100;

/// The shortest time between two removals of full buckets from storage.
const SWEEP_MS: u64 = 60_000;

/// Returns the address of a client.
type AddressOf = fn(&dyn Handshake) -> Option<Rc<str>>;

/// The part of the engine for rooms with a rate limit.
pub(crate) struct Rates {
    /// Takes the token of a frame.
    pub(super) admit: fn(&RoomHost, &Slot) -> Result<(), Limited>,
    /// Takes the rest of the cost of an event.
    pub(super) charge: fn(&RoomHost, &Slot, u32) -> Result<(), Limited>,
    /// Removes the full buckets from memory.
    pub(super) release: fn(&RoomHost),
    address_of: Option<AddressOf>,
    stored: Option<StoredBuckets>,
}

/// The reason why a frame or an event is over the limit.
pub(super) struct Limited {
    message: String,
    wait_ms: Option<u64>,
    /// False in a flood.
    is_answered: bool,
}

/// The part for buckets that are stored.
struct StoredBuckets {
    read: fn(&RoomHost, &Key) -> Option<Level>,
    write: fn(&RoomHost, &Key, Level) -> bool,
}

impl Rates {
    pub(super) const fn of(limit: RateLimit) -> Self {
        let by_address = matches!(limit.by, RateLimitBy::Address);
        let stored = StoredBuckets { read: RoomHost::read_bucket, write: RoomHost::write_bucket };
        Rates {
            admit: RoomHost::admit_frame,
            charge: RoomHost::charge_event,
            release: RoomHost::release_buckets,
            address_of: if by_address { Some(|handshake| shared_address(&handshake.address()?)) } else { None },
            stored: if limit.is_stored() { Some(stored) } else { None },
        }
    }
}

impl RoomHost {
    /// The address that an upgrade's client is counted by, in a room that limits the rate of an address.
    pub(super) fn address_of(&self, handshake: &dyn Handshake) -> Option<Rc<str>> {
        self.room.parts.rates.as_ref()?.address_of.and_then(|address_of| address_of(handshake))
    }

    /// Answers a frame over the limit. `number` is its number, for a client of `room.v1`.
    pub(super) fn answer_limited(self: &Rc<Self>, limited: Limited, slot: &Slot, number: u64) {
        self.note_refused(Some(slot), ErrorKind::RateLimited);
        let Limited { message, wait_ms, is_answered } = limited;
        if !is_answered {
            if let Some(session) = &*slot.session.borrow() {
                session.note_dropped();
            }
            return;
        }
        let notice = || Notice::error(ErrorKind::RateLimited, &message, wait_ms);
        self.settle_failed(slot, self.life.get(), number, notice());
        self.send_notice(notice(), number, slot);
    }

    fn admit_frame(&self, slot: &Slot) -> Result<(), Limited> {
        let Some(limit) = self.room.limits.rate_limit else { return Ok(()) };
        let Err(Refused { wait_ms, .. }) = self.take_tokens(slot, limit, 1, 1) else {
            slot.over_rate.set(0);
            return Ok(());
        };
        let dropped = slot.over_rate.get().saturating_add(1);
        slot.over_rate.set(dropped);
        let is_answered = dropped <= MAX_ANSWERED;
        let sender = if slot.address.borrow().is_some() { "address" } else { "peer" };
        let message = match is_answered {
            true => format!("this {sender} sends more than {} frames a second, this one was dropped", limit.per_second),
            false => String::new(),
        };
        Err(Limited { message, wait_ms: Some(wait_ms), is_answered })
    }

    fn charge_event(&self, slot: &Slot, cost: u32) -> Result<(), Limited> {
        let Some(limit) = self.room.limits.rate_limit else { return Ok(()) };
        let (message, wait_ms) = match cost {
            1 => return Ok(()),
            0 => {
                self.rates.give_back(&Key::of(slot), limit);
                return Ok(());
            }
            // The burst is checked first, because such an event never passes.
            cost if cost > limit.burst => {
                let message =
                    format!("this event costs {cost} tokens, and the rate limit allows at most {}", limit.burst);
                (message, None)
            }
            cost => match self.take_tokens(slot, limit, cost - 1, cost) {
                Ok(()) => return Ok(()),
                Err(Refused { left, wait_ms }) => {
                    let message = format!("this event costs {cost} tokens of the rate limit, and {left} were left");
                    (message, Some(wait_ms))
                }
            },
        };
        Err(Limited { message, wait_ms, is_answered: true })
    }

    /// Takes tokens. If too few are left, the wait ends when there are `wanted`.
    fn take_tokens(&self, slot: &Slot, limit: RateLimit, count: u32, wanted: u32) -> Result<(), Refused> {
        let (key, now_ms) = (Key::of(slot), self.platform.now_ms());
        let Some(stored) = self.room.parts.rates.as_ref().and_then(|rates| rates.stored.as_ref()) else {
            return self.rates.take(&key, limit, now_ms, (count, wanted), || None, |_| false);
        };
        let read = || (stored.read)(self, &key);
        self.rates.take(&key, limit, now_ms, (count, wanted), read, |level| (stored.write)(self, &key, level))
    }

    fn release_buckets(&self) {
        if let Some(limit) = self.room.limits.rate_limit {
            self.rates.sweep(limit, self.platform.now_ms());
        }
    }

    fn read_bucket(&self, key: &Key) -> Option<Level> {
        let bytes = self.platform.get(&bucket_key(&key.name()));
        let stored = bytes.map_err(|refusal| self.log_rate_error("read", &refusal)).ok()??;
        Some(decode_bucket(&stored)?.1)
    }

    fn write_bucket(&self, key: &Key, level: Level) -> bool {
        let name = key.name();
        let written = encode_bucket(&name, level).map(|bytes| self.platform.put(&bucket_key(&name), &bytes));
        let written = match written {
            Some(Err(refusal)) => {
                self.log_rate_error("written", &refusal);
                false
            }
            written => written.is_some(),
        };
        self.sweep_stored();
        written
    }

    /// Removes the full buckets from storage, from time to time, so that storage does not grow without bound.
    fn sweep_stored(&self) {
        let Some(limit) = self.room.limits.rate_limit else { return };
        let now_ms = self.platform.now_ms();
        let last = self.rates.swept_at.get().or_else(|| {
            let stored = self.platform.get(keys::RATES_SWEPT).ok()??;
            wire::decode_value(&stored, "a time").ok()
        });
        let is_due = last.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) >= limit.fill_ms().max(SWEEP_MS));
        if last.is_some() && !is_due {
            self.rates.swept_at.set(last);
            return;
        }
        // A failure leaves buckets in storage until the next sweep.
        let swept = if is_due { self.remove_full(limit, now_ms) } else { Ok(()) };
        let noted = swept.and_then(|()| self.platform.put(keys::RATES_SWEPT, now_ms.to_string().as_bytes()));
        if let Err(refusal) = noted {
            self.log_rate_error("removed", &refusal);
        }
        self.rates.swept_at.set(Some(now_ms));
    }

    fn remove_full(&self, limit: RateLimit, now_ms: u64) -> Result<(), PlatformError> {
        let stored = self.platform.list(keys::RATES)?;
        let mut buckets: Vec<_> = stored.iter().filter_map(|bytes| decode_bucket(bytes)).collect();
        // The emptiest first: the fullest are removed if there are too many.
        buckets.sort_by(|(_, a), (_, b)| a.filled(limit, now_ms).tokens.total_cmp(&b.filled(limit, now_ms).tokens));
        let full = |level: &Level| level.filled(limit, now_ms).is_full(limit);
        let kept = buckets.iter().take(MAX_BUCKETS / 2).take_while(|(_, level)| !full(level)).count();
        buckets.drain(kept..).try_for_each(|(name, _)| self.platform.delete(&bucket_key(&name)))
    }

    fn log_rate_error(&self, what: &str, refusal: &PlatformError) {
        self.platform
            .log_error(&format!("{} room `{}`: a rate limit was not {what}: {refusal}", self.room.name, self.id));
    }
}

fn bucket_key(name: &str) -> String {
    format!("{}{name}", keys::RATES)
}

/// A bucket in storage: its name, its tokens, and the time at which it had them.
fn encode_bucket(name: &str, level: Level) -> Option<Vec<u8>> {
    // Strings and finite numbers are always serializable.
    serde_json::to_vec(&(name, level.tokens, level.at_ms)).ok()
}

/// An unreadable bucket counts as none.
fn decode_bucket(bytes: &[u8]) -> Option<(String, Level)> {
    let (name, tokens, at_ms) = wire::decode_value::<(String, f64, u64)>(bytes, "a bucket").ok()?;
    Some((name, Level { tokens, at_ms }))
}

/// The address that counts for a client: an IPv4 address, or the /64 network of an IPv6 address.
fn shared_address(header: &str) -> Option<Rc<str>> {
    match header.trim().parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => Some(address.to_string().into()),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            Some(format!("{network}/64").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        for (header, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            (" 203.0.113.7 ", Some("203.0.113.7")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::/64")),
            ("2001:0DB8:1:2::1", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:3::1", Some("2001:db8:1:3::/64")),
            ("::1", Some("::/64")),
            ("", None),
            ("203.0.113.7, 203.0.113.8", None),
            ("203.0.113.7:80", None),
            ("[::1]", None),
            ("localhost", None),
        ] {
            assert_eq!(shared_address(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn a_bucket_reads_back() {
        let bytes = encode_bucket("a:::/64", Level { tokens: 0.25, at_ms: 7 }).expect("encodes");
        assert_eq!(decode_bucket(&bytes), Some(("a:::/64".to_owned(), Level { tokens: 0.25, at_ms: 7 })));
        assert_eq!(decode_bucket(b"7"), None);
    }
}
