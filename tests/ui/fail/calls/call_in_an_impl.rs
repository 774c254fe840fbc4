use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub struct Names;

    impl Names {
        #[call]
        pub fn rename() {}
    }
}

fn main() {}
