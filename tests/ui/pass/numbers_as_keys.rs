//! Numbers are keys of maps in an enum that names itself, has a variant for what is not known, or a tag of its own.

#![deny(warnings)]

use std::collections::BTreeMap;

use room_runtime::{prelude::*, serde_json};

#[data]
pub enum Tree {
    Node { points: BTreeMap<u32, i128>, children: Vec<Self> },
    #[serde(other)]
    Unknown,
}

#[data]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Own {
    SetAll { points: BTreeMap<u32, i128> },
}

fn main() {
    let own = Own::SetAll { points: BTreeMap::from([(7, -1)]) };
    let text = serde_json::to_string(&own).expect("JSON");
    assert_eq!(text, r#"{"op":"setAll","points":{"7":-1}}"#);
    assert_eq!(serde_json::from_str::<Own>(&text).expect(&text), own);

    let leaf = Tree::Node { points: BTreeMap::from([(7, -1)]), children: Vec::new() };
    let tree = Tree::Node { points: BTreeMap::from([(8, 1)]), children: vec![leaf, Tree::Unknown] };
    let text = serde_json::to_string(&tree).expect("JSON");
    assert_eq!(serde_json::from_str::<Tree>(&text).expect(&text), tree);
    assert_eq!(serde_json::from_str::<Tree>(r#"{"type":"Newer","a":1}"#).expect("it decodes"), Tree::Unknown);
}
