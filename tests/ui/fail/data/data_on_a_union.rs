use room_runtime::prelude::*;

#[data]
pub union Bits {
    pub number: u32,
    pub bytes: [u8; 4],
}

fn main() {}
