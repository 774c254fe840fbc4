use room_runtime::prelude::*;

#[room]
use std::fmt;

fn main() {}
