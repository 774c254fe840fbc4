//! [`ScheduleId`] and [`SystemFailure`].

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id of a schedule, to [cancel](crate::RoomContext::cancel) it. It stays valid after hibernation, and the state
/// can store it.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
/// use std::time::Duration;
///
/// #[room]
/// pub mod auction {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub closing: Option<ScheduleId>, pub is_closed: bool }
///     # pub struct Connection {}
///     # pub enum Event { Open {}, Pause {} }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use std::time::Duration;
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         match event {
///             Event::Open {} => {
///                 let id = ctx.schedule(()).after(Duration::from_secs(60))?;
///                 ctx.update(|state| state.closing = Some(id))?;
///             }
///             Event::Pause {} => {
///                 if let Some(id) = ctx.update(|state| state.closing.take())? {
///                     ctx.cancel(id)?;
///                 }
///             }
///         }
///         Ok(())
///     }
///     # pub fn on_alarm(ctx: &Ctx) -> Result {
///     #     Ok(ctx.update(|state| state.is_closed = true)?)
///     # }
/// }
/// # fn main() -> Result<(), room_runtime::Error> {
/// #     let room = TestRoom::<auction::Room>::new("lot-7");
/// #     room.send(&auction::Event::Open {})?;
/// #     room.hibernate();
/// #     room.send(&auction::Event::Pause {})?;
/// #     room.advance(Duration::from_secs(60));
/// #     assert_eq!(room.state()?, Some(auction::State { closing: None, is_closed: false }));
/// #     Ok(())
/// # }
/// ```
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
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
/// use std::time::Duration;
///
/// #[room]
/// pub mod shop {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub attempts: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Order {} }
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     # use std::time::Duration;
///     # pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
///     #     ctx.schedule(()).after(Duration::ZERO)?;
///     #     Ok(())
///     # }
///     pub async fn on_alarm(ctx: &Ctx) -> Result {
///         // The last attempt may have sent the order: ask the supplier before sending it again.
///         let attempt = ctx.system_failure().map_or(1, |failure| failure.attempt);
///         // …
///         # ctx.update(|state| state.attempts = attempt)?;
///         # ctx.sleep(Duration::from_secs(1)).await;
///         Ok(())
///     }
/// }
/// # fn main() -> Result<(), room_runtime::Error> {
/// #     let room = TestRoom::<shop::Room>::new("main");
/// #     room.send(&shop::Event::Order {})?;
/// #     room.advance(Duration::ZERO);
/// #     room.crash();
/// #     room.advance(Duration::from_secs(10));
/// #     assert_eq!(room.state()?, Some(shop::State { attempts: 2 }));
/// #     Ok(())
/// # }
/// ```
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
