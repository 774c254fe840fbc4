use counter::counter;
use room_runtime::prelude::*;

#[test]
fn block() {
    // BLOCK
}
