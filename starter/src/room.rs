//! The room: a list that everyone in it sees and changes.

use room_runtime::prelude::*;

pub const MAX_ITEMS: u32 = 100;
/// In characters.
pub const MAX_TEXT: u32 = 200;

/// A list that everyone in the room sees and changes.
///
/// A client that loses its connection keeps its place for two minutes, and gets the messages that it missed.
#[room(
    reconnect_grace = "2m",
    replay = 500,
    max_message_bytes = 4096,
    rate_limit(burst = 30, per_second = 5)
)]
pub mod {{crate_name}} {
    use super::*;

    /// The memory of the room. It is stored before the room answers.
    #[derive(Default)]
    pub struct State {
        pub items: Vec<Item>,
        pub last_id: u32,
    }

    /// The data of one peer, from the Worker. A user's name belongs here.
    pub struct Connection {}

    pub enum Event {
        Check { id: u32, done: bool },
        Remove { id: u32 },
    }

    pub enum Broadcast {
        /// The whole list, for a peer that has nothing.
        List {
            items: Vec<Item>,
        },
        Added {
            item: Item,
        },
        Changed {
            item: Item,
        },
        Removed {
            id: u32,
        },
        /// The number of peers that are connected.
        People {
            count: u32,
        },
    }

    #[data]
    pub struct Item {
        pub id: u32,
        pub text: String,
        pub done: bool,
    }

    /// The reasons why an item is not added.
    #[data]
    pub enum AddError {
        Empty,
        TooLong { max: u32 },
        Full { max: u32 },
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::List {
            items: ctx.state()?.items.clone(),
        })?;
        count_people(ctx)
    }

    /// Runs in place of `on_connect` for a peer that is back in time, after the room has sent what the peer missed.
    pub fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        if peer.has_gap() {
            peer.send(&Broadcast::List {
                items: ctx.state()?.items.clone(),
            })?;
        }
        count_people(ctx)
    }

    /// Adds an item, and returns its id.
    #[call]
    pub fn add(ctx: &Ctx, text: String) -> Result<u32, OrFailure<AddError>> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddError::Empty.into());
        }
        if text.chars().count() > MAX_TEXT as usize {
            return Err(AddError::TooLong { max: MAX_TEXT }.into());
        }
        if ctx.state()?.items.len() >= MAX_ITEMS as usize {
            return Err(AddError::Full { max: MAX_ITEMS }.into());
        }
        let item = ctx.update(|state| {
            state.last_id += 1;
            let item = Item {
                id: state.last_id,
                text: text.to_owned(),
                done: false,
            };
            state.items.push(item.clone());
            item
        })?;
        let id = item.id;
        ctx.broadcast(&Broadcast::Added { item })?;
        Ok(id)
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Check { id, done } => {
                let item = ctx.try_update(|state| {
                    let item = state.items.iter_mut().find(|item| item.id == id);
                    let item = item.ok_or_else(|| ctx.refuse("someone has removed this item"))?;
                    item.done = done;
                    Ok(item.clone())
                })?;
                ctx.broadcast(&Broadcast::Changed { item })?;
            }
            // Two peers can remove the same item: both get what they want.
            Event::Remove { id } => {
                ctx.update(|state| state.items.retain(|item| item.id != id))?;
                ctx.broadcast(&Broadcast::Removed { id })?;
            }
        }
        Ok(())
    }

    pub fn on_away(ctx: &Ctx, _peer: &Peer) -> Result {
        count_people(ctx)
    }

    pub fn on_close(ctx: &Ctx, _peer: &Peer, _close: Close) -> Result {
        count_people(ctx)
    }

    fn count_people(ctx: &Ctx) -> Result {
        let count = ctx.peers().len() as u32;
        ctx.broadcast(&Broadcast::People { count })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use room_runtime::testing::{TestPeer, TestRoom};

    use super::{{crate_name}}::*;
    use super::*;

    fn join(room: &TestRoom<Room>) -> TestPeer<Room> {
        room.connect(Upgrade::new(Connection {}))
    }

    fn item(id: u32, text: &str, done: bool) -> Item {
        Item {
            id,
            text: text.to_owned(),
            done,
        }
    }

    /// The messages without the number of people.
    fn changes(peer: &TestPeer<Room>) -> Vec<Broadcast> {
        peer.received()
            .into_iter()
            .filter(|message| !matches!(message, Broadcast::People { .. }))
            .collect()
    }

    #[test]
    fn everyone_sees_each_change_also_after_the_room_has_slept() {
        let room = TestRoom::new("main");
        let (ada, bob) = (join(&room), join(&room));
        assert_eq!(ada.add("milk".into()).expect("added"), 1);
        room.hibernate();
        assert_eq!(bob.add(" bread ".into()).expect("added"), 2);
        ada.send(&Event::Check { id: 2, done: true });
        bob.send(&Event::Remove { id: 1 });
        let expected = [
            Broadcast::List { items: vec![] },
            Broadcast::Added {
                item: item(1, "milk", false),
            },
            Broadcast::Added {
                item: item(2, "bread", false),
            },
            Broadcast::Changed {
                item: item(2, "bread", true),
            },
            Broadcast::Removed { id: 1 },
        ];
        assert_eq!(changes(&ada), expected);
        assert_eq!(changes(&bob), expected);
        assert_eq!(
            changes(&join(&room)),
            [Broadcast::List {
                items: vec![item(2, "bread", true)]
            }]
        );
    }

    #[test]
    fn an_item_that_cannot_be_added_is_an_error_of_its_own_type() {
        let room = TestRoom::new("main");
        let ada = join(&room);
        let error = |text: &str| match ada.add(text.to_owned()) {
            Err(CallError::Returned(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(error("  "), AddError::Empty);
        assert_eq!(error(&"é".repeat(201)), AddError::TooLong { max: 200 });
        for n in 0..MAX_ITEMS {
            room.add(format!("item {n}"))
                .expect("the Worker adds an item");
        }
        assert_eq!(error("one more"), AddError::Full { max: 100 });
    }

    #[test]
    fn an_item_that_is_gone_cannot_be_checked() {
        let room = TestRoom::new("main");
        let ada = join(&room);
        ada.send(&Event::Check { id: 7, done: true });
        assert_eq!(
            ada.receive_error().map(|error| error.kind()),
            Some(ErrorKind::Refused)
        );
    }

    #[test]
    fn a_peer_that_is_back_in_time_gets_what_it_missed() {
        let room = TestRoom::new("main");
        let (ada, bob) = (join(&room), join(&room));
        ada.received();
        ada.disconnect();
        bob.add("milk".into()).expect("added");
        let ada = ada.reconnect(Connection {});
        assert_eq!(
            changes(&ada),
            [Broadcast::Added {
                item: item(1, "milk", false)
            }]
        );
    }

    #[test]
    fn the_number_of_people_is_that_of_the_connected_peers() {
        let room = TestRoom::new("main");
        let people = |peer: &TestPeer<Room>| match peer.received().pop() {
            Some(Broadcast::People { count }) => count,
            other => panic!("{other:?}"),
        };
        let (ada, bob) = (join(&room), join(&room));
        assert_eq!((people(&ada), people(&bob)), (2, 2));
        bob.disconnect();
        assert_eq!(people(&ada), 1);
        let bob = bob.reconnect(Connection {});
        assert_eq!((people(&ada), people(&bob)), (2, 2));
        bob.close();
        assert_eq!(people(&ada), 1);
    }

    #[test]
    fn the_page_has_the_types_of_the_room() {
        room_runtime::bindings::check::<Room>("bindings/room.ts");
    }
}
