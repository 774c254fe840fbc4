//! The optional schemas, with the handlers that belong to them.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused, warnings)]
#![allow(clippy::duration_suboptimal_units, clippy::equatable_if_let, clippy::missing_errors_doc, clippy::unused_async)]

use room_runtime::prelude::*;

/// An auction.
#[room]
pub mod auction {
    /// A state without a default: `init` makes the first one.
    pub struct State {
        /// The highest bid.
        pub highest: u32,
    }
    /// A bidder.
    pub struct Connection {}
    /// A bid.
    pub struct Event {
        /// The amount.
        pub amount: u32,
    }
    /// The end.
    pub struct Broadcast {}

    /// A scheduled alarm.
    pub enum Alarm {
        /// The auction ends.
        End {
            /// True if there was no bid.
            early: bool,
        },
        /// An empty alarm.
        Tick,
    }

    /// A type that is not serializable.
    #[expect(missing_debug_implementations)]
    pub struct Services {
        /// The minimum of the first bid.
        pub minimum: Box<dyn Fn() -> u32>,
    }

    /// The first state.
    pub fn init(ctx: &Ctx) -> Result<State> {
        Ok(State { highest: (ctx.services().minimum)() })
    }

    /// The services.
    pub fn services(env: &worker::Env) -> Result<Services> {
        let minimum: u32 = env.var("MINIMUM")?.to_string().parse()?;
        Ok(Services { minimum: Box::new(move || minimum) })
    }

    /// Schedules the end.
    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        ctx.update(|state| state.highest = state.highest.max(event.amount))?;
        ctx.schedule(Alarm::End { early: false }).after(std::time::Duration::from_secs(60))?;
        Ok(())
    }

    /// Ends the auction.
    pub async fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        if let Alarm::End { early: false } = alarm {
            ctx.broadcast(&Broadcast {})?;
        }
        Ok(())
    }
}

fn stores_first_state<R: room_runtime::Room>(_: R::Alarm) -> bool {
    R::STORES_FIRST_STATE
}

fn main() {
    assert!(stores_first_state::<auction::Room>(auction::Alarm::Tick));
}
