use crate::rooms::{game, lobby};
use room_runtime::prelude::*;
use room_runtime::testing::World;
use std::time::Duration;

#[test]
fn block() -> Result<(), Box<dyn std::error::Error>> {
    // BLOCK
    Ok(())
}
