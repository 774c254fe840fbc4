//! Numbers can be keys of maps in an enum that serde alone would buffer. The enums here contain themselves, or have a
//! variant for unknown values, their own tag, or attributes that depend on a `cfg`.

#![deny(warnings)]

use std::collections::BTreeMap;

use room_runtime::{prelude::*, serde_json};

#[data]
pub enum Tree {
    #[cfg_attr(all(), serde(alias = "Inner"))]
    Node {
        #[cfg_attr(all(), serde(alias = "keys"), doc = "They are numbers.")]
        points: BTreeMap<u32, i128>,
        children: Vec<Self>,
    },
    #[serde(other)]
    Unknown,
}

#[data]
#[cfg_attr(all(), allow(clippy::large_enum_variant), serde(deny_unknown_fields))]
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
    let other_names = text.replace("Node", "Inner").replace("points", "keys");
    assert_eq!(serde_json::from_str::<Tree>(&other_names).expect(&text), tree);
    assert_eq!(serde_json::from_str::<Tree>(r#"{"type":"Newer","a":1}"#).expect("it decodes"), Tree::Unknown);
}
