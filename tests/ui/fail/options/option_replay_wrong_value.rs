// 4 errors: one for each room
use room_runtime::prelude::*;

#[room(reconnect_grace = "10s", replay = "1000")]
pub mod a {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

#[room(reconnect_grace = "10s", replay)]
pub mod b {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

#[room(reconnect_grace = "10s", replay(age = "1h"))]
pub mod c {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

#[room(reconnect_grace = "10s", replay(messages = 10, age = "1h", byte = 7))]
pub mod d {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

fn main() {}
