//! Generated code for an item behind a `cfg` has the same `cfg`, or uses the default if the item is absent.

#![deny(warnings)]
#![allow(
    clippy::assertions_on_constants,
    clippy::missing_const_for_fn,
    clippy::non_minimal_cfg,
    clippy::unnecessary_wraps
)]

use room_runtime::{Room, prelude::*, serde_json::Value};

#[room(state_version = 1, reconnect_grace = "10s", rate_limit(burst = 10, per_second = 2))]
mod without {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[cfg(any())]
    pub struct Alarm {}

    #[cfg(any())]
    pub struct Services {}

    #[cfg(any())]
    fn init(_ctx: &Ctx) -> Result<State> {
        Ok(State {})
    }

    #[cfg(any())]
    fn migrate(_version: u32, _state: Value) -> Result<State> {
        Ok(State {})
    }

    #[cfg(any())]
    fn on_join(_ctx: &Ctx, _user: &PeerId) {}

    #[cfg(any())]
    fn on_leave(_ctx: &Ctx, _user: &PeerId) {}

    #[cfg(any())]
    fn on_resume(_ctx: &Ctx, _peer: &Peer) {}

    #[cfg(any())]
    fn on_away(_ctx: &Ctx, _peer: &Peer) {}

    #[cfg(any())]
    fn event_cost(_event: &Event) -> u32 {
        1
    }

    #[cfg(any())]
    fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services {})
    }

    #[cfg(any())]
    fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {}

    #[cfg(any())]
    fn on_undelivered(_ctx: &Ctx, _undelivered: &room_runtime::Undelivered) {}
}

#[room(state_version = 1, reconnect_grace = "10s")]
mod with {
    use room_runtime::{PeerId, serde_json::Value};

    #[cfg(all())]
    pub struct State {}
    #[cfg(any())]
    pub enum State {}
    pub struct Connection {}
    #[cfg(any())]
    pub struct Event {}
    #[cfg(all(not(any())))]
    pub enum Event {
        Go,
    }
    pub struct Broadcast {}

    #[cfg(all())]
    #[cfg(all())]
    pub struct Alarm {}

    #[cfg(all())]
    pub struct Services {}

    #[cfg(all())]
    fn init(_ctx: &Ctx) -> Result<State> {
        Ok(State {})
    }

    #[cfg(all())]
    fn migrate(_version: u32, _state: Value) -> Result<State> {
        Ok(State {})
    }

    #[cfg(any())]
    fn migrate(_version: u32, _state: Value) -> Result<DoesNotExist> {
        Ok(DoesNotExist {})
    }

    #[cfg(all())]
    fn on_join(_ctx: &Ctx, _user: &PeerId) {}

    #[cfg(all())]
    fn on_leave(_ctx: &Ctx, _user: &PeerId) {}

    #[cfg(all())]
    fn on_resume(_ctx: &Ctx, _peer: &Peer) {}

    #[cfg(all())]
    fn on_away(_ctx: &Ctx, _peer: &Peer) {}

    #[cfg(all())]
    fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services {})
    }

    #[cfg(any())]
    fn services(_env: &worker::Env) -> Result<DoesNotExist> {
        Ok(DoesNotExist {})
    }

    #[cfg(all())]
    fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {}

    #[cfg(all())]
    fn on_undelivered(_ctx: &Ctx, _undelivered: &room_runtime::Undelivered) {}
}

fn handles_alarms<R: room_runtime::HandlesAlarms>() {}
fn handles_undelivered<R: room_runtime::HandlesUndelivered>() {}

fn main() {
    let (): <without::Room as Room>::Alarm = ();
    let (): <without::Room as Room>::Services = ();
    let (_, _): (<with::Room as Room>::Alarm, <with::Room as Room>::Services) = (with::Alarm {}, with::Services {});
    let _: <with::Room as Room>::Event = with::Event::Go;
    assert!(!<without::Room as Room>::STORES_FIRST_STATE);
    assert!(<with::Room as Room>::STORES_FIRST_STATE);
    assert!(<without::Room as Room>::migrate(0, Value::Null).is_err());
    assert!(<with::Room as Room>::migrate(0, Value::Null).is_ok());
    assert!(!<without::Room as Room>::HAS_ON_AWAY && !<without::Room as Room>::HAS_ON_ALARM);
    assert!(<with::Room as Room>::HAS_ON_AWAY && <with::Room as Room>::HAS_ON_ALARM);
    assert!(!<without::Room as Room>::HAS_ON_JOIN && !<without::Room as Room>::HAS_ON_LEAVE);
    assert!(<with::Room as Room>::HAS_ON_JOIN && <with::Room as Room>::HAS_ON_LEAVE);
    assert!(!<without::Room as Room>::HAS_ON_UNDELIVERED && <with::Room as Room>::HAS_ON_UNDELIVERED);
    handles_alarms::<with::Room>();
    handles_undelivered::<with::Room>();
}
