//! Tuple variants that never have the tag, or whose tagging has a place for them.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc, clippy::wildcard_imports)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub enum Connection {
        Named {
            name: String,
        },
        #[serde(skip)]
        Cached(u64),
        #[serde(untagged)]
        Other(String),
    }
    #[serde(tag = "op", content = "of")]
    pub enum Event {
        Say(String),
        Move(f64, f64),
    }
    #[serde(tag = "op")]
    pub enum Broadcast {
        Said(Said),
    }

    #[data]
    pub struct Said {
        pub text: String,
    }

    pub fn on_connect(ctx: &Ctx, _peer: &Peer) -> Result {
        let _ = (Connection::Cached(1), Connection::Named { name: String::new() }, Connection::Other(String::new()));
        ctx.broadcast(&Broadcast::Said(Said { text: String::new() }))?;
        Ok(())
    }
}

fn main() {}
