use room_runtime::prelude::*;

#[data]
pub struct Note {
    pub text: &'static str,
}

fn main() {}
