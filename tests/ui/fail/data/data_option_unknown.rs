use room_runtime::prelude::*;

#[data(omit(Clone))]
pub struct Note {
    pub text: String,
}

fn main() {}
