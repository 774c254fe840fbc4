//! What cases arrange, and learn, behind a room's back: which handlers shall do what, how often a room came into memory.
//!
//! It is kept in the memory of the isolate, where it outlives the rooms, and reached through a room of its own
//! ([`backstage`]): to ask a room how often it woke would wake it.

use std::{cell::RefCell, collections::HashMap};

use room_runtime::{RoomId, prelude::*};

use crate::script::Step;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

#[derive(Debug, Default)]
struct Known {
    starts: HashMap<String, u32>,
    inits: HashMap<String, u32>,
    services: u32,
    scripts: HashMap<String, Vec<Step>>,
    services_fail: bool,
}

/// What a case asks for. A room is written `name/id`.
#[data]
pub enum Order {
    /// How often `on_start` of the room ran.
    Starts { room: String },
    /// What a handler of the room that has no script of its own is to do from now on.
    Script { room: String, handler: String, steps: Vec<Step> },
    /// Whether `services` of all rooms fails from now on.
    FailServices { fail: bool },
}

fn with<T>(work: impl FnOnce(&mut Known) -> T) -> T {
    KNOWN.with_borrow_mut(work)
}

fn next(count: &mut u32) -> u32 {
    *count += 1;
    *count
}

pub(crate) fn note_start(name: &str, id: &RoomId) {
    with(|known| next(known.starts.entry(format!("{name}/{id}")).or_default()));
}

/// Which `init` of the room this is.
pub(crate) fn note_init(name: &str, id: &RoomId) -> u32 {
    with(|known| next(known.inits.entry(format!("{name}/{id}")).or_default()))
}

/// Which `services` of the isolate this is, or that it is to fail.
pub(crate) fn note_services() -> Result<u32, Failure> {
    with(|known| match known.services_fail {
        true => Err(Failure::msg("the secret ingredient is missing")),
        false => Ok(next(&mut known.services)),
    })
}

pub(crate) fn script(name: &str, id: &RoomId, handler: &str) -> Vec<Step> {
    with(|known| known.scripts.get(&format!("{name}/{id}/{handler}")).cloned().unwrap_or_default())
}

fn carry_out(order: Order) -> u32 {
    with(|known| match order {
        Order::Starts { room } => known.starts.get(&room).copied().unwrap_or_default(),
        Order::Script { room, handler, steps } => {
            known.scripts.insert(format!("{room}/{handler}"), steps);
            0
        }
        Order::FailServices { fail } => {
            known.services_fail = fail;
            0
        }
    })
}

/// Takes an [`Order`] as the body of a request, and answers with a number.
#[room]
pub mod backstage {
    use super::{Order, carry_out};
    pub use crate::script::{Broadcast, Connection, Event, State};
    use room_runtime::prelude::*;

    pub fn on_request(_ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let order: Order = serde_json::from_slice(request.body())?;
        Ok(http::Response::new(Bytes::from(carry_out(order).to_string())))
    }
}
