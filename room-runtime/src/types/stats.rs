//! [`Stats`], the figures of a room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ErrorKind;

/// The figures of a room, from [`RoomHandle::stats`](crate::RoomHandle::stats).
///
/// The counters are in memory only, so that they cost no write. They begin at 0 each time the platform loads the room:
/// after hibernation, a crash, a restart or a deploy. [`since`](Stats::since) is that time.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Say { text: String } }
///     # pub struct Broadcast {}
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}));
/// ada.send(&chat::Event::Say { text: "hi".into() });
/// ada.send_raw("no JSON");
///
/// let stats = room.stats()?; // in a Worker: `rooms.room("main").stats().await?`
/// assert_eq!((stats.peers, stats.frames_in), (1, 2));
/// assert_eq!(stats.refused.get(&ErrorKind::Decode), Some(&1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct Stats {
    /// The time from which the counters count, in milliseconds since the Unix epoch.
    pub since: u64,
    /// The number of connected peers.
    pub peers: usize,
    /// The number of disconnected peers whose place is kept for a reconnect.
    pub away: usize,
    /// The number of frames that wait for the handler of an earlier frame of the same peer.
    pub queued: usize,
    /// The number of frames that peers have sent, also of those that were dropped or refused. Heartbeats are not counted.
    pub frames_in: u64,
    /// The bytes of those frames.
    pub bytes_in: u64,
    /// The number of messages and error frames that were sent to peers: a message to ten peers counts ten times.
    ///
    /// Messages that wait for a [batch](crate::Room::BATCH_MS) count one by one, and before the batch is sent.
    pub frames_out: u64,
    /// The bytes of those messages, without the framing of WebSockets and of batches.
    pub bytes_out: u64,
    /// The number of frames and upgrades that the room did not accept, by the kind of the error.
    ///
    /// A frame counts once, also if `on_decode_error` refuses it. A refusal by a handler has the kind [`ErrorKind::Refused`], and so has an upgrade that the room refused.
    pub refused: BTreeMap<ErrorKind, u64>,
    /// The number of failed handlers. A refusal is no failure.
    pub handler_errors: u64,
    /// The number of alarms that are set.
    pub schedules: usize,
    /// The size of the room's storage, in bytes: state, peers, schedules and tables.
    ///
    /// It is the size of the database, which has whole pages of 4,096 bytes. Natively it is the size of the stored values
    /// and of the tables.
    pub stored_bytes: u64,
}
