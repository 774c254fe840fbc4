//! serde's derives on a schema need no import, because `#[room]` derives them anyway.

#![deny(warnings)]

use room_runtime::{prelude::*, serde_json};

#[room]
pub mod chat {
    #[derive(Default, Serialize, Deserialize)]
    pub struct State {}
    #[derive(Deserialize)]
    pub struct Connection {}
    #[derive(Serialize, Deserialize)]
    pub enum Event {
        Say { text: String },
    }
    #[derive(Clone, Serialize)]
    pub enum Broadcast {
        Said,
    }
}

fn main() {
    let event = chat::Event::Say { text: String::new() };
    let text = serde_json::to_string(&event).expect("JSON");
    assert_eq!(text, r#"{"type":"Say","text":""}"#);
    assert_eq!(serde_json::from_str::<chat::Event>(&text).expect(&text), event);
}
