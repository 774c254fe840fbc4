//! `#[data]` omits traits that the type derives itself.

#![deny(warnings)]
#![allow(clippy::derive_partial_eq_without_eq, clippy::wildcard_imports)]

use room_runtime::prelude::*;
use serde::{Deserialize, Serialize};

#[room]
pub mod chat {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub struct State {}
    #[derive(Serialize)]
    pub struct Connection {}
    #[derive(Serialize, Deserialize)]
    pub enum Event {
        Say { text: String },
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    pub enum Broadcast {
        SaidIt { text: String },
    }
}

fn main() {}
