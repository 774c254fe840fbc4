use room_runtime::prelude::*;

#[data(skip(Hash))]
pub struct Note {
    pub text: String,
}

fn main() {}
