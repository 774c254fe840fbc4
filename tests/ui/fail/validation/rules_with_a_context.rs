use room_runtime::prelude::*;

pub struct Longest(usize);

#[room(validate(event))]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[derive(garde::Validate)]
    #[garde(context(super::Longest as ctx))]
    pub enum Event {
        Say {
            #[garde(length(max = ctx.0))]
            text: String,
        },
    }
    pub struct Broadcast {}
}

fn main() {}
