//! A room that may lose nothing, and the room to which it passes things on.

use std::time::Duration;

use room_runtime::prelude::*;

use crate::{crash::Crash, log};

/// Entries of clients and of the Worker, by events and calls; schedules; and durable calls to [`depot`].
#[room(
    codec = "json, msgpack",
    reconnect_grace = "10m",
    session_timeout = "1h",
    replay(messages = 20000),
    allowed_origins("https://vault.example")
)]
pub mod vault {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    pub struct State {
        /// The number of entries in the log. State and log change in one write, so they always agree.
        pub entries: u64,
        /// The last entry of each client.
        pub last: BTreeMap<String, u64>,
        /// Something that can be too large to be stored.
        pub ballast: String,
    }

    pub struct Connection {}

    pub enum Event {
        Add {
            who: String,
            n: u64,
        },
        /// Passes an entry on to the depot, by a durable call.
        Forward {
            who: String,
            n: u64,
        },
        /// Logs an entry, then makes the state too large: neither may be stored.
        Overfill {
            who: String,
            n: u64,
        },
        /// Changes the state, and crashes.
        Crash {
            how: Crash,
            wait_ms: u64,
        },
        /// A handler that never ends.
        Hang {},
    }

    pub enum Broadcast {
        Added { seq: u64, who: String, n: u64 },
    }

    pub enum Alarm {
        Due {
            id: String,
            due_ms: u64,
            /// The alarm crashes in its first attempt.
            crash: Option<Crash>,
        },
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        log::start(ctx)?;
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Add { who, n } => drop(enter(ctx, who, n)?),
            Event::Forward { who, n } => {
                log::append(ctx, "forward", &who, n)?;
                let from = format!("{}/{who}", ctx.id());
                ctx.room::<depot::Room>("main")?.send(&depot::Event::Receive { from, n }).durably()?;
            }
            Event::Overfill { who, n } => {
                log::append(ctx, "overfill", &who, n)?;
                ctx.update(|state| state.ballast = "x".repeat(3 << 20))?;
            }
            Event::Crash { how, wait_ms } => {
                // This is stored if the handler waits before it crashes, and dropped otherwise.
                log::append(ctx, "crash", "", wait_ms)?;
                if wait_ms > 0 {
                    ctx.sleep(Duration::from_millis(wait_ms)).await;
                }
                crate::crash::crash(how);
            }
            Event::Hang {} => {
                log::append(ctx, "hang", "", 0)?;
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }

    /// Adds an entry, and returns its position in the log.
    #[call]
    pub fn add(ctx: &Ctx, who: String, n: u64) -> Result<u64> {
        enter(ctx, who, n)
    }

    /// Schedules an alarm, which replaces the one with the same key, and returns when it is due.
    #[call]
    pub fn plan(ctx: &Ctx, id: String, after_ms: u64, key: Option<String>, crash: Option<Crash>) -> Result<u64> {
        let due_ms = ctx.now_ms() + after_ms;
        let mut schedule = ctx.schedule(Alarm::Due { id: id.clone(), due_ms, crash });
        if let Some(key) = key {
            schedule = schedule.key(key);
        }
        schedule.at(due_ms)?;
        log::append(ctx, "planned", &id, due_ms)?;
        Ok(due_ms)
    }

    /// Cancels the alarm with a key. Returns whether there was one.
    #[call]
    pub fn cancel(ctx: &Ctx, key: String) -> Result<bool> {
        let is_cancelled = ctx.cancel_keyed(&key)?;
        log::append(ctx, "cancelled", &key, is_cancelled.into())?;
        Ok(is_cancelled)
    }

    /// The rows of the log after a position.
    #[call(worker)]
    pub fn log(ctx: &Ctx, after: u64) -> Result<Vec<log::Row>> {
        Ok(log::after(ctx, after)?)
    }

    pub async fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        let Alarm::Due { id, due_ms, crash } = alarm;
        if let Some(how) = crash
            && ctx.system_failure().is_none()
        {
            ctx.sleep(Duration::from_millis(1)).await;
            crate::crash::crash(how);
        }
        log::append(ctx, "fired", &id, due_ms)?;
        Ok(())
    }

    pub fn on_undelivered(ctx: &Ctx, _undelivered: &Undelivered) -> Result {
        log::append(ctx, "undelivered", "", 0)?;
        Ok(())
    }

    fn enter(ctx: &Ctx, who: String, n: u64) -> Result<u64> {
        let seq = log::append(ctx, "entry", &who, n)?;
        ctx.update(|state| {
            state.entries += 1;
            state.last.insert(who.clone(), n);
        })?;
        ctx.broadcast(&Broadcast::Added { seq, who, n })?;
        Ok(seq)
    }
}

/// The receiver of durable calls.
#[room]
pub mod depot {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub received: u64,
    }

    pub struct Connection {}

    pub enum Event {
        Receive { from: String, n: u64 },
    }

    pub struct Broadcast {}

    pub fn on_start(ctx: &Ctx) -> Result {
        log::start(ctx)?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Receive { from, n } = event;
        log::append(ctx, "received", &from, n)?;
        ctx.update(|state| state.received += 1)?;
        Ok(())
    }

    /// The rows of the log after a position.
    #[call(worker)]
    pub fn log(ctx: &Ctx, after: u64) -> Result<Vec<log::Row>> {
        Ok(log::after(ctx, after)?)
    }
}
