//! Types that are part of schemas, in all possible ways.

#![deny(warnings)]
#![allow(clippy::derive_partial_eq_without_eq, clippy::use_self, clippy::wildcard_imports, unreachable_pub)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub notes: Vec<Note>,
        pub tree: Option<Box<Tree>>,
        #[serde(skip)]
        pub cache: Cache,
        #[serde(with = "as_text")]
        #[schemars(with = "String")]
        pub point: Point,
    }
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[data]
    pub struct Note {
        // For the feature `bindings`; without it the macro removes the attribute.
        #[schemars(with = "serde_json::Value")]
        pub author: Author,
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Author {
        pub name: String,
    }

    #[data]
    pub struct Tree {
        pub children: Vec<Tree>,
        #[schemars(with = "std::collections::HashMap<String, serde_json::Value>")]
        pub owner: std::collections::HashMap<String, Author>,
    }

    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Cache {
        pub hits: u64,
    }

    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Point {
        pub x: i32,
    }

    mod as_text {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::Point;

        pub fn serialize<S: Serializer>(point: &Point, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&point.x)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Point, D::Error> {
            let x = String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)?;
            Ok(Point { x })
        }
    }
}

fn main() {}
