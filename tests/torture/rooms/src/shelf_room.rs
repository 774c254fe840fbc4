//! One room in two releases, between which each schema changes. A deploy replaces one class by the other, over the same storage.

use room_runtime::prelude::*;

use crate::log;

/// The first release.
#[room(reconnect_grace = "10m", replay(messages = 20000), session_timeout = "1h")]
pub mod shelf {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub items: u64,
    }

    pub struct Connection {
        pub name: String,
    }

    pub enum Event {
        Put { who: String, n: u64 },
    }

    pub enum Broadcast {
        Put { seq: u64, who: String, n: u64 },
    }

    pub enum Alarm {
        Due { id: String, due_ms: u64 },
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        log::start(ctx)?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Put { who, n } = event;
        let seq = log::append(ctx, "entry", &who, n)?;
        ctx.update(|state| state.items += 1)?;
        ctx.broadcast(&Broadcast::Put { seq, who, n })?;
        Ok(())
    }

    /// Schedules an alarm, and returns when it is due.
    #[call]
    pub fn plan(ctx: &Ctx, id: String, after_ms: u64) -> Result<u64> {
        let due_ms = ctx.now_ms() + after_ms;
        ctx.schedule(Alarm::Due { id: id.clone(), due_ms }).at(due_ms)?;
        log::append(ctx, "planned", &id, due_ms)?;
        Ok(due_ms)
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        let Alarm::Due { id, due_ms } = alarm;
        log::append(ctx, "fired", &id, due_ms)?;
        Ok(())
    }

    /// The rows of the log after a position.
    #[call(worker)]
    pub fn log(ctx: &Ctx, after: u64) -> Result<Vec<log::Row>> {
        Ok(log::after(ctx, after)?)
    }
}

/// The second release: more variants, and more fields with defaults. A rollback to the first one can read all of it.
#[room(reconnect_grace = "10m", replay(messages = 20000), session_timeout = "1h")]
pub mod shelf_next {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    pub struct State {
        pub items: u64,
        #[serde(default)]
        pub last: BTreeMap<String, u64>,
    }

    pub struct Connection {
        pub name: String,
        #[serde(default)]
        pub colour: Option<String>,
    }

    pub enum Event {
        Put {
            who: String,
            n: u64,
            #[serde(default)]
            note: Option<String>,
        },
        Look {},
    }

    pub enum Broadcast {
        Put {
            seq: u64,
            who: String,
            n: u64,
            #[serde(default)]
            note: Option<String>,
        },
    }

    pub enum Alarm {
        Due {
            id: String,
            due_ms: u64,
            #[serde(default)]
            note: Option<String>,
        },
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        log::start(ctx)?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Put { who, n, note } = event else { return Ok(()) };
        let seq = log::append(ctx, "entry", &who, n)?;
        ctx.update(|state| {
            state.items += 1;
            state.last.insert(who.clone(), n);
        })?;
        ctx.broadcast(&Broadcast::Put { seq, who, n, note })?;
        Ok(())
    }

    /// Schedules an alarm, and returns when it is due.
    #[call]
    pub fn plan(ctx: &Ctx, id: String, after_ms: u64) -> Result<u64> {
        let due_ms = ctx.now_ms() + after_ms;
        let note = Some("from the second release".to_owned());
        ctx.schedule(Alarm::Due { id: id.clone(), due_ms, note }).at(due_ms)?;
        log::append(ctx, "planned", &id, due_ms)?;
        Ok(due_ms)
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        let Alarm::Due { id, due_ms, .. } = alarm;
        log::append(ctx, "fired", &id, due_ms)?;
        Ok(())
    }

    /// The rows of the log after a position.
    #[call(worker)]
    pub fn log(ctx: &Ctx, after: u64) -> Result<Vec<log::Row>> {
        Ok(log::after(ctx, after)?)
    }
}
