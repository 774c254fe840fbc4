//! One of serde's two traits is implemented by hand.

#![deny(warnings)]
#![allow(clippy::use_self)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    #[data(skip(Serialize))]
    pub enum Broadcast {
        Word { word: String },
    }

    impl serde::Serialize for Broadcast {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            let Broadcast::Word { word } = self;
            serializer.collect_map([("type", "Word"), ("word", word)])
        }
    }
}

fn main() {}
