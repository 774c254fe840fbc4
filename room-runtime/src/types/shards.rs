//! [`Shards`]: the rooms that share the load of one large room.

use std::{iter::FusedIterator, ops::Range};

use crate::{Error, ErrorKind, RoomId};

/// A fixed number of rooms that share the peers or the data of one large room.
///
/// A room runs on one machine and handles one event at a time. An application that outgrows one room divides its users,
/// topics or documents among several: each key belongs to one shard, and a message to all goes to each shard.
///
/// ```
/// use room_runtime::Shards;
///
/// let lobby = Shards::new("lobby", 16)?;
/// assert_eq!(lobby.of("user-17"), "lobby#1");
/// assert_eq!(lobby.iter().len(), 16);
/// # Ok::<(), room_runtime::Error>(())
/// ```
///
/// [`RoomClient::shard`](crate::RoomClient::shard) returns the room of a key, and
/// [`RoomClient::federate`](crate::RoomClient::federate) calls all shards.
///
/// # The names of the shards
/// The id of a shard is the name, `#`, and the number of the shard in decimal digits, from 0: `lobby#0` to `lobby#15`.
///
/// # The shard of a key
/// The same key and the same number of shards always give the same shard, in every release: the function is frozen.
///
/// 1. The bytes of the key in UTF-8 are hashed with FNV-1a of 64 bits. The hash begins as `0xcbf29ce484222325`. Each byte
///    is combined with the hash by exclusive or, and the hash is then multiplied with `0x100000001b3`, modulo 2^64.
/// 2. The hash is the key of the jump consistent hash of Lamping and Veach (2014), which chooses one of the shards:
///    `k` is the hash, `next` is 0. While `next` is less than the number of shards: `shard` is `next`; `k` is
///    `k × 2862933555777941757 + 1`, modulo 2^64; `next` is `(shard + 1) × (2^31 / (⌊k / 2^33⌋ + 1))`, in numbers of 64 bits
///    of IEEE 754, rounded down.
///
/// If the number of shards grows from *n* to *m*, the share of the keys that move is (*m* − *n*) / *m*, the least that is
/// possible, and each of them moves to a new shard. No key moves between two old shards. The data of a key does not move by
/// itself.
///
/// The hash distributes keys evenly. It does not resist an attacker who chooses keys so that they share a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shards {
    name: String,
    count: u32,
}

impl Shards {
    /// The largest number of shards. A Worker on a paid plan can make 10,000 subrequests by default in one invocation,
    /// and a call of each shard is one (<https://developers.cloudflare.com/workers/platform/limits/#subrequests>).
    pub const MAX: u32 = 10_000;

    /// Divides a room into shards.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidShards`] if `count` is 0 or more than [`Shards::MAX`], and [`ErrorKind::InvalidRoomId`] if `name`
    /// is empty, or so long that the id of the last shard has more than [`RoomId::MAX_BYTES`].
    pub fn new(name: impl Into<String>, count: u32) -> Result<Self, Error> {
        let shards = Shards { name: name.into(), count };
        if shards.name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidRoomId, "the name of shards is empty"));
        }
        match count.checked_sub(1) {
            Some(last) if count <= Shards::MAX => shards.number(last).check().map(|()| shards),
            _ => {
                let message = format!("`{}` has {count} shards, and 1 to {} are possible", shards.name, Shards::MAX);
                Err(Error::new(ErrorKind::InvalidShards, message))
            }
        }
    }

    /// The name that the shards share.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of shards.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the id of the shard to which a key belongs. Every key is valid, also an empty one.
    pub fn of(&self, key: impl AsRef<str>) -> RoomId {
        self.number(jump(fnv_1a(key.as_ref().as_bytes()), self.count))
    }

    /// Returns the ids of all shards, from number 0.
    pub fn iter(&self) -> ShardIds<'_> {
        ShardIds { shards: self, numbers: 0..self.count }
    }

    fn number(&self, number: u32) -> RoomId {
        format!("{}#{number}", self.name).into()
    }
}

impl<'a> IntoIterator for &'a Shards {
    type Item = RoomId;
    type IntoIter = ShardIds<'a>;

    fn into_iter(self) -> ShardIds<'a> {
        self.iter()
    }
}

/// The ids of all shards: the iterator of [`Shards::iter`].
///
/// ```
/// use room_runtime::Shards;
///
/// # fn main() -> Result<(), room_runtime::Error> {
/// let lobby = Shards::new("lobby", 3)?;
/// let ids: Vec<_> = lobby.iter().map(|id| id.to_string()).collect();
/// assert_eq!(ids, ["lobby#0", "lobby#1", "lobby#2"]);
/// assert_eq!(lobby.iter().next_back(), Some("lobby#2".into()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ShardIds<'a> {
    shards: &'a Shards,
    numbers: Range<u32>,
}

impl Iterator for ShardIds<'_> {
    type Item = RoomId;

    fn next(&mut self) -> Option<RoomId> {
        self.numbers.next().map(|number| self.shards.number(number))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.numbers.size_hint()
    }
}

impl DoubleEndedIterator for ShardIds<'_> {
    fn next_back(&mut self) -> Option<RoomId> {
        self.numbers.next_back().map(|number| self.shards.number(number))
    }
}

impl ExactSizeIterator for ShardIds<'_> {}

impl FusedIterator for ShardIds<'_> {}

/// FNV-1a of 64 bits.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The jump consistent hash of Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014). Shards are
/// numbered and are never removed from the middle, so it needs no table, unlike a ring, and not one hash for each
/// shard, unlike rendezvous hashing.
fn jump(mut key: u64, count: u32) -> u32 {
    let (mut shard, mut next) = (0, 0);
    while next < u64::from(count) {
        shard = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Both operands of the division are at most 2^31, so the conversions to `f64` are exact. IEEE 754 defines the
        // division and the product to the last bit, in WebAssembly as natively.
        next = ((shard + 1) as f64 * ((1_u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    // A shard is less than the count.
    shard as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Keys with their hash and their shard of 1, 2, 3, 16, 100 and 10,000, computed by a program in another language.
    ///
    /// A change of this table gives users' keys another room, in which their data is not: it may only grow.
    const FROZEN: [(&str, u64, [u32; 6]); 10] = [
        ("", 0xcbf2_9ce4_8422_2325, [0, 1, 1, 13, 90, 6_858]),
        ("a", 0xaf63_dc4c_8601_ec8c, [0, 1, 2, 12, 31, 4_279]),
        ("room", 0xa355_141f_f0c4_8eda, [0, 1, 2, 6, 6, 5_057]),
        ("user-1", 0xf84b_a2aa_754a_4bd4, [0, 1, 1, 12, 47, 2_355]),
        ("user-2", 0xf84b_a5aa_754a_50ed, [0, 0, 0, 7, 17, 7_498]),
        ("user-17", 0x32d1_4aa5_4d3e_f2b9, [0, 1, 1, 1, 1, 8_651]),
        ("general", 0x9e27_5796_a0d9_a90b, [0, 1, 1, 6, 88, 8_679]),
        ("räume ✨", 0x8d97_0498_6350_3869, [0, 0, 0, 8, 8, 5_727]),
        ("0", 0xaf63_ad4c_8601_9caf, [0, 0, 0, 12, 84, 3_690]),
        ("018f2c5e-7a1b-7000-8000-000000000001", 0xc57c_4e9f_06e3_86d4, [0, 0, 2, 11, 24, 661]),
    ];

    fn shards(count: u32) -> Shards {
        Shards::new("s", count).expect("a number of shards")
    }

    #[test]
    fn the_shard_of_a_key_is_frozen() {
        for (key, hash, numbers) in FROZEN {
            assert_eq!(fnv_1a(key.as_bytes()), hash, "{key}");
            for (count, number) in [1, 2, 3, 16, 100, 10_000].into_iter().zip(numbers) {
                assert_eq!(shards(count).of(key), *format!("s#{number}"), "`{key}` in {count}");
            }
        }
    }

    #[test]
    fn the_hashes_are_the_published_ones() {
        // The test vectors of the hash's authors, and of other implementations of the jump hash.
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
        for (key, count, shard) in [(1, 1, 0), (42, 57, 43), (0xdead_10cc, 666, 361), (256, 1_024, 520)] {
            assert_eq!(jump(key, count), shard);
        }
    }

    #[test]
    fn keys_are_distributed_evenly() {
        for form in ["user-{}", "{}", "018f2c5e-7a1b-7000-8000-{}", "{}@example.com"] {
            for count in [2, 7, 16, 100] {
                let mut keys = BTreeMap::new();
                for n in 0..20_000 {
                    *keys.entry(shards(count).of(form.replace("{}", &n.to_string()))).or_default() += 1;
                }
                let expected = 20_000.0 / f64::from(count);
                let off: f64 = keys.values().map(|found: &u32| (f64::from(*found) - expected).powi(2) / expected).sum();
                // Chi-squared: its mean is the degrees of freedom, its variance twice that. Five deviations are allowed.
                let freedom = f64::from(count - 1);
                assert_eq!(keys.len(), count as usize, "{form}: a shard of {count} has no key");
                assert!(off < freedom + 5.0 * (2.0 * freedom).sqrt(), "{form} in {count}: {keys:?}");
            }
        }
    }

    #[test]
    fn more_shards_move_few_keys_and_only_to_new_shards() {
        for (few, many) in [(1, 2), (4, 5), (16, 24), (99, 100)] {
            let (before, after) = (shards(few), shards(many));
            let new: Vec<_> = after.iter().skip(few as usize).collect();
            let mut moved = 0;
            for n in 0..10_000 {
                let key = format!("user-{n}");
                let (old, now) = (before.of(&key), after.of(&key));
                if old != now {
                    assert!(new.contains(&now), "`{key}` moved from {old} to {now}");
                    moved += 1;
                }
            }
            let share = f64::from(many - few) / f64::from(many);
            let expected = 10_000.0 * share;
            assert!((f64::from(moved) - expected).abs() < 5.0 * (expected * (1.0 - share)).sqrt(), "{moved} moved");
        }
    }

    #[test]
    fn all_shards_are_listed_in_order_from_either_end() {
        let shards = Shards::new("lobby", 3).expect("three");
        assert_eq!((shards.name(), shards.count()), ("lobby", 3));
        assert_eq!(shards.iter().collect::<Vec<_>>(), ["lobby#0", "lobby#1", "lobby#2"]);
        assert_eq!(shards.iter().rev().collect::<Vec<_>>(), ["lobby#2", "lobby#1", "lobby#0"]);
        assert_eq!((&shards).into_iter().len(), 3);
        for n in 0..100 {
            let of = shards.of(n.to_string());
            assert!(shards.iter().any(|id| id == of), "{of} is not listed");
        }
    }

    #[test]
    fn bad_numbers_and_names_are_typed_errors() {
        let fails = |name: &str, count| Shards::new(name, count).map_err(|error| (error.kind(), error.to_string()));
        for count in [0, 10_001, u32::MAX] {
            let (kind, message) = fails("lobby", count).expect_err("a bad number");
            assert_eq!(kind, ErrorKind::InvalidShards);
            assert!(message.contains("lobby") && message.contains(&count.to_string()), "{message}");
            assert!(message.contains("10000"), "the limit is missing: {message}");
        }
        assert!(fails("lobby", 1).is_ok() && fails("lobby", Shards::MAX).is_ok());
        assert_eq!(fails("", 1).expect_err("no name").0, ErrorKind::InvalidRoomId);
        // The number of the last shard counts: `#9` has two bytes, `#10` has three.
        let name = "x".repeat(RoomId::MAX_BYTES - 2);
        assert!(fails(&name, 10).is_ok());
        assert_eq!(fails(&name, 11).expect_err("too long").0, ErrorKind::InvalidRoomId);
    }
}
