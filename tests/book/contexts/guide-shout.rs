// Tests of the room of the chapter "Concepts".
use crate::rooms::shout::{self, Broadcast, Connection, Event};
use room_runtime::prelude::*;
use room_runtime::testing::{TestRoom, World};
use std::time::Duration;

// BLOCK
