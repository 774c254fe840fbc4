//! Events in both codecs: an event that was decoded is encoded and decoded again, and is the same.

use room_runtime::{__private::fuzz, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A room with an event of every form that serde knows.
#[room_runtime::room(codec = "json, msgpack")]
mod zoo {
    use std::collections::{BTreeMap, HashMap};

    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Unit,
        Empty {},
        Scalars {
            u: u64,
            i: i64,
            f: f64,
            small: u8,
            byte: i8,
            flag: bool,
            letter: char,
            single: f32,
        },
        Texts {
            text: String,
            maybe: Option<String>,
            list: Vec<String>,
            #[serde(default)]
            count: u32,
        },
        Bytes {
            bytes: Vec<u8>,
            #[serde(with = "serde_bytes", default)]
            own: Vec<u8>,
            maybe: Option<Vec<u8>>,
        },
        Maps {
            #[serde(default)]
            numbers: BTreeMap<u32, String>,
            #[serde(default)]
            signed: BTreeMap<i64, u64>,
            #[serde(default)]
            texts: HashMap<String, Option<i64>>,
            #[serde(default)]
            letters: BTreeMap<char, u8>,
            #[serde(default)]
            flags: BTreeMap<bool, u8>,
            #[serde(default)]
            colors: BTreeMap<Color, u8>,
        },
        Tuples {
            pair: (u64, f64),
            triple: (Option<bool>, (), String),
            array: [i32; 3],
        },
        Tree {
            tree: Tree,
        },
        Shapes {
            shapes: Vec<Shape>,
            by_name: BTreeMap<String, Shape>,
        },
        Steps {
            steps: Vec<Step>,
        },
        Cases {
            inner: Vec<Inside>,
            adjacent: Option<Adjacent>,
            either: Option<Either>,
        },
        Again {
            event: Box<Event>,
        },
        Flat {
            first: u8,
            #[serde(flatten)]
            rest: BTreeMap<String, String>,
        },
        #[serde(rename = "re\"named")]
        Renamed {
            #[serde(alias = "b", rename = "a b")]
            a: Option<u64>,
        },
        Any {
            any: serde_json::Value,
        },
    }

    #[derive(PartialOrd, Eq, Ord)]
    #[data]
    pub enum Color {
        Red,
        Blue,
    }

    #[data]
    pub struct Tree {
        pub value: i64,
        #[serde(default)]
        pub children: Vec<Tree>,
        pub next: Option<Box<Tree>>,
    }

    #[data]
    pub enum Shape {
        Circle { radius: f64 },
        Empty,
        Group { parts: Vec<Shape>, names: BTreeMap<i32, String> },
    }

    #[data(externally_tagged)]
    pub enum Step {
        Wait { ms: u64 },
        Say(String),
        Move(f64, f64),
        Bytes(Vec<u8>),
        Maybe(Option<u8>),
        Stop,
    }

    #[data]
    #[serde(tag = "kind")]
    pub enum Inside {
        One { n: u64, map: BTreeMap<String, i64> },
        Other(Named),
        Neither,
    }

    #[data]
    pub struct Named {
        pub name: String,
    }

    #[data]
    #[serde(tag = "t", content = "c")]
    pub enum Adjacent {
        Text(String),
        Pair(u64, i64),
        Fields { a: u8 },
        Unit,
    }

    #[data]
    #[serde(untagged)]
    pub enum Either {
        Text(String),
        Whole(u64),
        Signed(i64),
        List(Vec<bool>),
        Fields { x: f64 },
    }

    pub struct Broadcast {}
}

use zoo::Event;

/// The same enum by serde's own implementation and by ours, which is read in one pass.
mod twins {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    macro_rules! note {
        ($($attribute:meta),*) => {
            $(#[$attribute])*
            pub(crate) enum Note {
                Unit,
                Empty {},
                Say { text: String, #[serde(default)] loud: bool },
                List { list: Vec<(i64, f64)>, #[serde(alias = "m")] maybe: Option<u64> },
                Deep { note: Box<Note>, notes: Vec<Note> },
                Flat { first: u8, #[serde(flatten)] rest: BTreeMap<String, String> },
            }
        };
    }

    pub(super) mod theirs {
        use super::*;
        note!(derive(Clone, Debug, PartialEq, Serialize, Deserialize), serde(tag = "type"));
    }

    pub(super) mod ours {
        use super::*;
        note!(room_runtime::data(tag = "type"));
    }
}

/// Returns whether a value is refused when it is written, for a reason that docs/rules.md names.
fn is_refused(error: &room_runtime::Error) -> bool {
    error.kind() == ErrorKind::Encode
}

/// Checks an event that was decoded from either codec.
fn check(event: &Event) {
    let text = fuzz::event_to_json(event);
    match &text {
        Ok(text) => {
            let again: Event = fuzz::event_from_json(text).expect("the JSON of an event is an event");
            assert_eq!(&again, event, "an event in JSON: {text}");
        }
        Err(error) => assert!(is_refused(error), "{error:?}"),
    }
    match fuzz::event_to_msgpack(event) {
        Ok(bytes) => {
            let again: Event = fuzz::event_from_msgpack(&bytes).expect("the MessagePack of an event is an event");
            assert_eq!(&again, event, "an event in MessagePack: {bytes:x?}");
        }
        // A message does not depend on the codec of a peer.
        Err(error) => {
            assert!(is_refused(&error) && text.is_err(), "JSON has {text:?}, and MessagePack fails: {error:?}")
        }
    }
}

/// Returns whether a value of JSON has a form that no room writes, although it reads it.
fn is_unwritable(event: &Event) -> bool {
    // A flattened map with the key of the variant, or of a field, is two entries with one key.
    matches!(event, Event::Flat { .. }) || fuzz::event_to_json(event).is_err_and(|error| is_refused(&error))
}

/// Text of a peer that speaks JSON.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let event = fuzz::event_from_json::<Event>(text);
    if let Ok(event) = &event {
        check(event);
    }
    same_as_serde(text);
    if let Ok(value) = fuzz::event_from_json::<Value>(text) {
        // Whatever is JSON can be stored and sent as it was read.
        let written = fuzz::event_to_json(&value).expect("JSON of an event's depth is written");
        assert_eq!(fuzz::event_from_json::<Value>(&written).expect("it reads back"), value);
        // An event that is read from a value, as `migrate` and serde's buffers do, is the one that is read from text.
        if let Ok(from_value) = Event::deserialize(&value)
            && let Ok(event) = &event
        {
            assert!(from_value == *event || is_unwritable(event), "{from_value:?} from a value, {event:?} from {text}");
        }
    }
    let rewritten = fuzz::rewrite_notice(text);
    if let Some(notice) = rewritten {
        assert_eq!(fuzz::rewrite_notice(&notice).as_ref(), Some(&notice), "a notice reads back");
    }
}

/// Compares the reader of tagged enums with serde's.
fn same_as_serde(text: &str) {
    fn json<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).expect("it was read from JSON")
    }

    let Ok(theirs) = serde_json::from_str::<twins::theirs::Note>(text) else { return };
    match fuzz::event_from_json::<twins::ours::Note>(text) {
        Ok(ours) => assert_eq!(json(&ours), json(&theirs), "{text}"),
        // serde_json reads 127 levels.
        Err(error) => assert!(error.to_string().contains("nested more than"), "{error}: {text}"),
    }
}

/// Bytes of a peer that speaks MessagePack.
pub fn msgpack(data: &[u8]) {
    if let Ok(event) = fuzz::event_from_msgpack::<Event>(data) {
        check(&event);
    }
    if let Ok(value) = fuzz::event_from_msgpack::<Value>(data) {
        let theirs = rmp_serde::from_slice::<Value>(data).expect("another decoder reads what ours reads");
        assert_eq!(value, theirs);
        let written = fuzz::event_to_msgpack(&value).expect("a value of an event's depth is written");
        assert_eq!(fuzz::event_from_msgpack::<Value>(&written).expect("it reads back"), value);
    }
    if let Some(elements) = fuzz::elements(data) {
        let head = data.len() - elements.iter().map(|element| element.len()).sum::<usize>();
        assert!(head <= 5 && data[head..] == *elements.concat(), "the elements are the list");
    }
    if let Some(json) = fuzz::unpack_notice(data) {
        serde_json::from_str::<Value>(&json).expect("a frame of the runtime becomes JSON");
    }
}
