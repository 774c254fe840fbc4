use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Pick { r#type: String },
    }
    pub struct Broadcast {}
}

fn main() {}
