//! A room whose alarms fire, fail and panic on request.

use room_runtime::prelude::*;

#[room]
pub mod timer {
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    pub struct State {
        /// The number of times that the object was loaded into memory.
        pub starts: u32,
        /// The data of each alarm that fired.
        pub fired: Vec<Fired>,
        /// The number of next alarms that fail, and of the ones after them that panic.
        pub failures: u32,
        pub panics: u32,
    }

    #[data]
    pub struct Fired {
        pub room: String,
        pub at: u64,
        pub starts: u32,
        pub peers: usize,
    }

    pub struct Connection {}

    pub enum Event {
        /// Sets alarms, the first of which fail or panic.
        Set { after_ms: Vec<u64>, failures: u32, panics: u32 },
    }

    pub enum Broadcast {
        Set { now: u64 },
        Fired { fired: Fired },
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.update(|state| state.starts += 1)?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Set { after_ms, failures, panics } = event;
        let now = ctx.now_ms();
        ctx.update(|state| {
            state.failures = failures;
            state.panics = panics;
        })?;
        for ms in after_ms {
            ctx.schedule(()).after(Duration::from_millis(ms))?;
        }
        ctx.broadcast(&Broadcast::Set { now })?;
        Ok(())
    }

    pub async fn on_alarm(ctx: &Ctx) -> Result {
        let starts = ctx.state()?.starts;
        let fired = Fired { room: ctx.id().to_string(), at: ctx.now_ms(), starts, peers: ctx.peers().len() };
        let (fails, panics) = ctx.update(|state| {
            state.fired.push(fired.clone());
            let fails = state.failures > 0;
            let panics = !fails && state.panics > 0;
            state.failures -= u32::from(fails);
            state.panics -= u32::from(panics);
            (fails, panics)
        })?;
        ctx.broadcast(&Broadcast::Fired { fired })?;
        if fails {
            return Err(Failure::msg("asked to"));
        }
        if panics {
            // A panic in the first poll takes another path through the platform than one after a wait.
            worker::Delay::from(Duration::from_millis(1)).await;
            panic!("asked to");
        }
        Ok(())
    }
}
