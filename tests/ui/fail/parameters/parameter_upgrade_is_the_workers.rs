use room_runtime::prelude::*;

#[room]
pub mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    pub fn on_upgrade(_ctx: &Ctx, _upgrade: &mut Upgrade<Connection>) {}
}

fn main() {}
