use room_runtime::prelude::*;

#[data]
#[data]
pub struct Note {
    pub text: String,
}

fn main() {}
