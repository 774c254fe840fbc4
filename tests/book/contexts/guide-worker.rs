// The Worker of the room of the chapter "Concepts".
use crate::rooms::shout;
use room_runtime::prelude::*;
use worker::*;

// BLOCK
