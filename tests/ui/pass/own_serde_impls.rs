//! Traits that `skip` omits from `#[data]` are implemented by hand.

#![deny(warnings)]
#![allow(clippy::use_self)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[data(skip(Serialize, Deserialize))]
    pub enum Event {
        Word(String),
    }
    pub struct Broadcast {}

    impl serde::Serialize for Event {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            let Event::Word(word) = self;
            serializer.serialize_str(word)
        }
    }

    impl<'de> serde::Deserialize<'de> for Event {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Event, D::Error> {
            String::deserialize(deserializer).map(Event::Word)
        }
    }
}

fn main() {}
