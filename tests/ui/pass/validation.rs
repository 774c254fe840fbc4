//! Rules of garde on schemas and their parts, and the option `validate`.

#![deny(warnings)]

use room_runtime::{Room, prelude::*};

/// Rules under another name of the derive, under a `cfg_attr`, and on parts.
#[room(validate(event, connection, broadcast))]
pub mod chat {
    use garde::Validate as Rules;
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    #[cfg_attr(all(), derive(garde::Validate))]
    pub struct Connection {
        #[cfg_attr(all(), garde(ascii))]
        pub name: String,
    }

    #[derive(Rules)]
    pub enum Event {
        Say {
            #[garde(length(min = 1, max = 5))]
            text: String,
        },
        Buy {
            #[garde(dive, length(max = 2))]
            items: Vec<Item>,
        },
        Stop,
    }

    #[data]
    #[derive(garde::Validate)]
    pub struct Item {
        #[garde(length(min = 1))]
        pub name: String,
        #[garde(skip)]
        pub note: Option<String>,
    }

    #[derive(room_runtime::garde::Validate)]
    #[garde(context(()))]
    pub struct Broadcast {
        #[garde(range(max = 9))]
        pub number: u8,
    }
}

/// A schema with a `Validate` written by hand, and schemas of another room.
#[room(validate(event, broadcast,))]
pub mod other {
    pub use super::chat::{Broadcast, Connection, State};

    pub struct Event {
        pub from: u8,
        pub to: u8,
    }

    impl garde::Validate for Event {
        type Context = ();

        fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> garde::Path, report: &mut garde::Report) {
            if self.from > self.to {
                report.append(parent(), garde::Error::new("ends before it begins"));
            }
        }
    }
}

fn broken<T>(rules: Option<fn(&T) -> room_runtime::Violations>, value: &T) -> Vec<String> {
    let rules = rules.expect("there are rules");
    rules(value).shown().iter().map(ToString::to_string).collect()
}

fn main() {
    let event = chat::Event::Say { text: String::new() };
    assert_eq!(broken(chat::Room::EVENT_RULES, &event), ["`text`: length is lower than 1"]);
    assert!(broken(chat::Room::EVENT_RULES, &chat::Event::Stop).is_empty());
    let item = |name: &str| chat::Item { name: name.to_owned(), note: None };
    let event = chat::Event::Buy { items: vec![item("a"), item("")] };
    assert_eq!(broken(chat::Room::EVENT_RULES, &event), ["`items[1].name`: length is lower than 1"]);
    let data = chat::Connection { name: "\u{e4}".to_owned() };
    assert_eq!(broken(chat::Room::CONNECTION_RULES, &data), ["`name`: not ascii"]);
    assert_eq!(broken(chat::Room::BROADCAST_RULES, &chat::Broadcast { number: 10 }), ["`number`: greater than 9"]);

    assert_eq!(broken(other::Room::EVENT_RULES, &other::Event { from: 2, to: 1 }), ["ends before it begins"]);
    assert!(other::Room::CONNECTION_RULES.is_none());
    assert!(other::Room::BROADCAST_RULES.is_some());
}
