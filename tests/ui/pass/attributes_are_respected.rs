//! `allow`, `cfg_attr`, `inline`, `must_use` and documentation on schemas, handlers and the module.

#![deny(warnings)]
#![allow(clippy::missing_panics_doc, clippy::unused_async)]

use room_runtime::prelude::*;

/// A room.
#[allow(clippy::needless_pass_by_value)]
#[room]
#[cfg_attr(all(), allow(non_snake_case))]
#[doc(alias = "lobby")]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    /// An event.
    #[must_use]
    #[derive(Eq, Hash)]
    #[non_exhaustive]
    #[cfg_attr(all(), derive(PartialOrd), serde(rename_all = "snake_case"))]
    pub enum Event {
        /// Continues.
        GoOn {
            #[serde(default)]
            times: u8,
        },
    }
    pub struct Broadcast {}

    #[inline]
    #[cfg_attr(all(), allow(unused_variables))]
    #[doc(hidden)]
    pub fn on_event(ctx: &Ctx, event: Event) {
        let CamelCase = 1;
        assert_eq!(CamelCase, 1);
    }

    #[allow(unused_mut)]
    pub async fn on_connect(#[allow(unused_variables)] ctx: &Ctx, _: &Peer) {
        let mut unused = 1;
        assert_eq!(unused, 1);
    }
}

fn main() {
    let event = room_runtime::serde_json::to_value(chat::Event::GoOn { times: 1 }).expect("JSON");
    assert_eq!(event, room_runtime::serde_json::json!({ "type": "go_on", "times": 1 }));
}
