use crate::rooms::shop;
use room_runtime::prelude::*;
use room_runtime::testing::TestRoom;

#[test]
fn block() {
    let room = TestRoom::<shop::Room>::new("main");
    let alice = room.connect(Upgrade::new(shop::Connection {}));
    let items = ["tea", "milk", "sugar", ""].map(|name| shop::Item { name: name.to_owned() });
    alice.send(&shop::Event::Order { items: items.to_vec() });
    // BLOCK
}
