//! Traits that the module implements itself are not derived, and `#[data]` may stand below the derives.

#![deny(warnings)]
#![allow(clippy::wildcard_imports)]

use std::fmt;

use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub notes: Vec<Note>,
        pub late: Late,
    }
    pub struct Connection {}
    pub enum Event {
        Say { text: String },
    }
    pub struct Broadcast {}

    impl fmt::Debug for Event {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an event")
        }
    }

    #[data]
    pub struct Note {
        pub secret: String,
    }

    impl fmt::Debug for Note {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a note")
        }
    }

    #[derive(Clone, Default, serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    #[data]
    pub struct Late {
        pub two_words: u8,
    }
}

fn main() {
    assert_eq!(format!("{:?}", chat::Event::Say { text: String::new() }), "an event");
    assert_eq!(format!("{:?}", chat::Note { secret: String::new() }), "a note");
    let late = room_runtime::serde_json::to_value(chat::Late { two_words: 1 }).expect("JSON");
    assert_eq!(late, room_runtime::serde_json::json!({ "twoWords": 1 }));
}
