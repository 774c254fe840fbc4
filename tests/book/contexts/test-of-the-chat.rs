use crate::rooms::chat;
use room_runtime::prelude::*;
use room_runtime::testing::TestRoom;

#[test]
fn block() -> Result<(), Box<dyn std::error::Error>> {
    // BLOCK
    Ok(())
}
