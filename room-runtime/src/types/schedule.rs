//! [`ScheduleId`] and [`SystemFailure`].

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id of a schedule, to [cancel](crate::RoomContext::cancel) it. It stays valid after hibernation, and the state
/// can store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(pub(crate) u64);

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ScheduleId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(ScheduleId)
    }
}

impl Serialize for ScheduleId {
    /// Serializes the id as text, because a JavaScript number cannot hold 64 bits.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScheduleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A crash or a restart that interrupted the last attempt of an alarm.
///
/// [`RoomContext::system_failure`](crate::RoomContext::system_failure) returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemFailure {
    /// The number of this attempt: 2 after the first interruption.
    pub attempt: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_text() {
        let id = ScheduleId(0x00ab_cdef_0123_4567);
        assert_eq!(serde_json::to_string(&id).expect("encodes"), r#""00abcdef01234567""#);
        assert_eq!(serde_json::from_str::<ScheduleId>(r#""00abcdef01234567""#).expect("decodes"), id);
        assert!(serde_json::from_str::<ScheduleId>(r#""nine""#).is_err());
    }
}
