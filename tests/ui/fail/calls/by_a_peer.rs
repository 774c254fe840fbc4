use room_runtime::{prelude::*, testing::TestRoom};

#[room]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[call(worker)]
    pub fn ban(_ctx: &Ctx, _id: PeerId) {}
}

use chat::Calls;

fn main() {
    let room = TestRoom::<chat::Room>::new("r");
    let peer = room.connect(Upgrade::new(chat::Connection {}));
    let _ = peer.ban("ada".into());
}
