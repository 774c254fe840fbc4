//! Controls and observes rooms from outside: it scripts handlers, and counts how often a room was loaded into memory.
//!
//! Its data is in the memory of the isolate, so it outlives the rooms. A separate room ([`backstage`]) gives access to
//! it, because asking a room how often it woke would wake it.

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

/// A request of a case. A room is written as `name/id`.
#[data]
pub enum Order {
    /// Returns how often `on_start` of the room ran.
    Starts { room: String },
    /// Sets the steps for a handler of the room that has no script of its own.
    Script { room: String, handler: String, steps: Vec<Step> },
    /// Makes `services` of all rooms fail from now on, or succeed again.
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

/// Counts a run of the room's `init`, and returns its number.
pub(crate) fn note_init(name: &str, id: &RoomId) -> u32 {
    with(|known| next(known.inits.entry(format!("{name}/{id}")).or_default()))
}

/// Counts a run of `services` in the isolate, and returns its number, or an error if `services` must fail.
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
