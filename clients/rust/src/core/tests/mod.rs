//! The rules of the protocol, in virtual time.

mod lives;
mod room;
mod rules;

use std::time::Duration;

use super::{Codec, Config};
use crate::{Queue, Reconnect};

fn config() -> Config {
    Config {
        codec: Codec::Json,
        queue: Queue::default(),
        reconnect: Reconnect::default(),
        connect_timeout: Duration::from_secs(10),
    }
}
