//! An enum with `#[data]` has a schema's form; one of unit variants only is a string; and the author's choices win.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused, warnings)]
#![allow(clippy::needless_pass_by_value, clippy::use_self, clippy::wildcard_imports)]

use std::{collections::BTreeMap, fmt::Debug};

use room_runtime::{
    Room,
    prelude::*,
    serde_json::{self, Value, json},
};
use serde::{Serialize, de::DeserializeOwned};

/// Types that several rooms share.
pub mod shared {
    use super::*;

    /// A re-exported `Event` keeps its tag.
    #[data]
    pub enum Event {
        /// A bid.
        Bid {
            /// In cents.
            cents: u64,
        },
        /// No bid.
        Pass,
    }

    /// An enum of unit variants only, to be used as a schema.
    #[data(tag = "type")]
    pub enum Signal {
        /// Go.
        Go,
        /// Stop.
        Stop,
    }

    /// A string.
    #[data]
    #[derive(Copy, Eq, PartialOrd, Ord)]
    pub enum Color {
        /// Red.
        Red,
        /// Dark blue.
        #[serde(rename = "dark-blue")]
        DarkBlue,
    }

    /// Unit variants, and any other text.
    #[data]
    pub enum Fruit {
        /// An apple.
        Apple,
        /// Never serialized.
        #[serde(skip)]
        Cached(u64),
        /// Something else.
        #[serde(untagged)]
        Other(String),
    }

    /// Nested parts, with numbers as keys.
    #[data]
    #[serde(rename_all = "snake_case")]
    pub enum Tree {
        /// A leaf.
        Leaf {
            /// By number.
            points: BTreeMap<u32, i64>,
            /// By color.
            colors: BTreeMap<Color, u8>,
        },
        /// A node.
        InnerNode {
            /// The children.
            children: Vec<Tree>,
        },
        /// Nothing.
        Empty,
    }

    /// A different key.
    #[data(tag = "_tag")]
    pub enum Keyed {
        /// One.
        One {
            /// Not the key.
            r#type: u8,
        },
    }

    /// serde's default.
    #[data(externally_tagged)]
    pub enum Step {
        /// Without a field name.
        Say(String),
        /// With two values.
        Move(f64, f64),
        /// With field names.
        Wait {
            /// The time.
            ms: u64,
        },
        /// Without fields.
        Stop,
    }

    /// Another tagging of serde.
    #[data]
    #[serde(tag = "op", content = "of")]
    pub enum Adjacent {
        /// One.
        One(u8),
    }

    /// Another tagging of serde.
    #[data]
    #[serde(untagged)]
    pub enum Untagged {
        /// A number.
        Number(u8),
        /// A text.
        Text(String),
    }

    /// Both derives of serde itself.
    #[data]
    #[derive(serde::Serialize, serde::Deserialize)]
    pub enum Own {
        /// One.
        One(u8),
    }

    /// One derive of serde itself.
    #[data]
    #[derive(serde::Serialize)]
    pub enum HalfOwn {
        /// One.
        One {
            /// One.
            one: u8,
        },
    }

    /// Serialized by hand, and deserialized from the same form.
    #[data(skip(Serialize))]
    #[serde(rename_all = "camelCase")]
    pub enum HalfByHand {
        /// One.
        OneTwo {
            /// One.
            one: u8,
        },
    }

    impl Serialize for HalfByHand {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let HalfByHand::OneTwo { one } = self;
            json!({ "type": "oneTwo", "one": one }).serialize(serializer)
        }
    }

    /// A type that borrows.
    #[data]
    pub enum Borrowed<'a> {
        /// A text.
        Text {
            /// The text.
            text: &'a str,
        },
    }

    /// A generic type.
    #[data]
    pub enum Over<T> {
        /// One.
        One {
            /// One.
            one: T,
        },
    }

    /// With a variant for unknown values.
    #[data]
    pub enum Buffered {
        /// The parts have tags of their own.
        Parts {
            /// A part.
            tree: Tree,
            /// Another.
            color: Color,
        },
        /// Any newer variant.
        #[serde(other)]
        Else,
    }

    /// An enum whose parts go through serde's buffer.
    #[data]
    pub struct Flat {
        /// A map by name.
        #[serde(flatten)]
        pub trees: BTreeMap<String, Tree>,
    }
}

use shared::*;

/// The shared types as schemas.
#[room(tag = "kind")]
pub mod game {
    pub use super::shared::Event;
    pub use super::shared::Signal as Broadcast;

    /// A schema of unit variants only has a tag.
    #[derive(Default)]
    pub enum State {
        /// The only one.
        #[default]
        New,
    }

    /// With a key other than the room's.
    #[super::data(tag = "_tag")]
    pub enum Connection {
        /// A peer.
        Player {
            /// Its name.
            name: String,
        },
    }

    /// Without a key.
    #[super::data(externally_tagged)]
    pub enum Alarm {
        /// The round is over.
        Over(u32),
    }

    fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {}
}

fn travels<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, expected: Value) {
    assert_eq!(serde_json::to_value(&value).expect("it is JSON"), expected);
    assert_eq!(serde_json::from_value::<T>(expected.clone()).expect("it decodes"), value, "{expected}");
    assert_eq!(serde_json::from_str::<T>(&expected.to_string()).expect("it decodes"), value, "{expected}");
}

fn decodes<T: DeserializeOwned + PartialEq + Debug>(text: &str, expected: T) {
    assert_eq!(serde_json::from_str::<T>(text).expect(text), expected);
    let value: Value = serde_json::from_str(text).expect(text);
    assert_eq!(serde_json::from_value::<T>(value).expect(text), expected);
}

/// A type inside a function.
fn in_a_function() {
    #[data]
    enum Local {
        One { one: u8 },
    }
    travels(Local::One { one: 1 }, json!({ "type": "One", "one": 1 }));
}

fn main() {
    travels(Event::Bid { cents: 7 }, json!({ "type": "Bid", "cents": 7 }));
    travels(Event::Pass, json!({ "type": "Pass" }));
    travels(Signal::Go, json!({ "type": "Go" }));
    travels(Color::Red, json!("Red"));
    travels(BTreeMap::from([(Color::DarkBlue, 1)]), json!({ "dark-blue": 1 }));
    travels(Fruit::Apple, json!("Apple"));
    travels(Fruit::Other("pear".to_owned()), json!("pear"));
    let leaf = || Tree::Leaf { points: BTreeMap::from([(7, -1)]), colors: BTreeMap::from([(Color::Red, 1)]) };
    let leaf_as_json = json!({ "type": "leaf", "points": { "7": -1 }, "colors": { "Red": 1 } });
    travels(
        Tree::InnerNode { children: vec![leaf(), Tree::Empty] },
        json!({ "type": "inner_node", "children": [leaf_as_json, { "type": "empty" }] }),
    );
    travels(Keyed::One { r#type: 1 }, json!({ "_tag": "One", "type": 1 }));
    travels(Step::Say("hi".to_owned()), json!({ "Say": "hi" }));
    travels(Step::Move(1.0, 2.0), json!({ "Move": [1.0, 2.0] }));
    travels(Step::Wait { ms: 1 }, json!({ "Wait": { "ms": 1 } }));
    travels(Step::Stop, json!("Stop"));
    travels(Adjacent::One(1), json!({ "op": "One", "of": 1 }));
    travels(Untagged::Text("one".to_owned()), json!("one"));
    travels(Own::One(1), json!({ "One": 1 }));
    travels(HalfOwn::One { one: 1 }, json!({ "type": "One", "one": 1 }));
    travels(HalfByHand::OneTwo { one: 1 }, json!({ "type": "oneTwo", "one": 1 }));
    assert_eq!(serde_json::from_str(r#"{"type":"Text","text":"a"}"#).ok(), Some(Borrowed::Text { text: "a" }));
    travels(Over::One { one: Color::Red }, json!({ "type": "One", "one": "Red" }));
    travels(
        Buffered::Parts { tree: leaf(), color: Color::Red },
        json!({ "type": "Parts", "tree": leaf_as_json, "color": "Red" }),
    );
    travels(Flat { trees: BTreeMap::from([("a".to_owned(), leaf())]) }, json!({ "a": leaf_as_json }));

    travels(game::State::New, json!({ "kind": "New" }));
    travels(game::Connection::Player { name: "a".to_owned() }, json!({ "_tag": "Player", "name": "a" }));
    travels(game::Alarm::Over(3), json!({ "Over": 3 }));
    travels::<<game::Room as Room>::Event>(Event::Pass, json!({ "type": "Pass" }));

    let leaf_in_another_order = r#"{"colors":{"Red":1},"points":{"7":-1},"type":"leaf"}"#;
    decodes(leaf_in_another_order, leaf());
    decodes(
        &format!(r#"{{"children":[{leaf_in_another_order}],"type":"inner_node"}}"#),
        Tree::InnerNode { children: vec![leaf()] },
    );
    decodes(
        &format!(r#"{{"color":"Red","type":"Parts","tree":{leaf_in_another_order}}}"#),
        Buffered::Parts { tree: leaf(), color: Color::Red },
    );
    decodes(&format!(r#"{{"a":{leaf_in_another_order}}}"#), Flat { trees: BTreeMap::from([("a".to_owned(), leaf())]) });
    in_a_function();
}
