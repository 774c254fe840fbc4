//! Promises that an engine without the room's types could break: the peers and the values that it passes on are the
//! room's own.

#![allow(unreachable_pub, reason = "a room is written as in a crate of its own")]

use std::cell::{Cell, RefCell};

use room_runtime::{
    Room, RoomContext,
    prelude::*,
    testing::{TestRoom, World},
};

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static PEER: RefCell<Option<hall::Peer>> = const { RefCell::new(None) };
    static PADDING: Cell<usize> = const { Cell::new(0) };
}

fn note(text: String) {
    NOTES.with_borrow_mut(|notes| notes.push(text));
}

#[room(reconnect_grace = "30s")]
pub mod hall {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub text: String,
    }

    pub struct Connection {
        pub role: String,
        #[serde(default, serialize_with = "super::padded", deserialize_with = "super::unpadded")]
        #[schemars(with = "String")]
        pub padding: (),
    }

    pub enum Event {
        CloseInside,
        KeepPeer,
    }

    pub enum Broadcast {
        Said,
    }

    pub async fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        if upgrade.data.role == "member" {
            return Ok(());
        }
        upgrade.id = PeerId::from("chosen");
        ctx.update(|state| state.text = "x".repeat(3_000_000))?;
        match upgrade.data.role.as_str() {
            "waits" => {
                ctx.sleep(std::time::Duration::from_secs(1)).await;
                Ok(())
            }
            "refused" => Err(Failure::refuse("no").into()),
            "fails" => Err(Failure::msg("it does not work").into()),
            _ => Ok(()),
        }
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::KeepPeer => {
                super::PEER.set(ctx.sender().cloned());
                Ok(())
            }
            Event::CloseInside => {
                let closed = ctx.update(|_| {
                    let keep = |peer: &Peer| {
                        super::note(format!("filter {}", peer.id()));
                        true
                    };
                    ctx.peers().filter(keep).close(CloseCode::NORMAL, "bye").map_err(|error| error.kind())
                })?;
                super::note(format!("{closed:?}"));
                Ok(())
            }
        }
    }

    pub fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        let sender = ctx.sender().map(|peer| peer.id().to_string());
        super::note(format!("{} {:?} sender {sender:?}", error.handler(), error.peer().map(|id| id.as_str())));
        Ok(())
    }
}

fn padded<S: serde::Serializer>(_: &(), to: S) -> Result<S::Ok, S::Error> {
    if let Some(peer) = PEER.take() {
        let set = peer.set_data(hall::Connection { role: "changed".to_owned(), padding: () });
        note(format!("set {:?}", set.map_err(|error| error.kind())));
    }
    to.serialize_str(&"x".repeat(PADDING.get()))
}

fn unpadded<'de, D: serde::Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    <String as serde::Deserialize>::deserialize(from).map(drop)
}

fn up(role: &str) -> Upgrade<hall::Connection> {
    Upgrade::new(hall::Connection { role: role.to_owned(), padding: () }).id("asked")
}

/// `HandlerError::peer` is the id as `on_upgrade` left it, also if the state could not be stored.
#[test]
fn the_error_of_an_upgrade_names_the_id_that_on_upgrade_chose() {
    for role in ["fails", "waits", "refused", "accepted"] {
        let room = TestRoom::<hall::Room>::new("main");
        room.try_connect(up(role)).expect_err("the state is too large");
        assert_eq!(NOTES.take(), [r#"on_upgrade Some("chosen") sender None"#], "{role}");
        room.take_log();
    }
}

/// `on_resume` runs for the peer that reconnects, and so does the `on_error` of its failure.
#[test]
fn the_error_of_a_resume_that_is_not_stored_has_its_peer_as_sender() {
    let room = TestRoom::<hall::Room>::new("main");
    let first = room.connect(up("member"));
    let token = first.resume_token().expect("a token");
    room.fail_writes(true);
    let _second = room.connect(up("member").resume(&token));
    room.fail_writes(false);
    assert_eq!(NOTES.take(), [r#"on_resume Some("asked") sender Some("asked")"#]);
    room.take_log();
}

/// A deploy can make the encoded data of a connected peer longer, by a field with a default. The limit of stored data
/// does not apply to the list of peers.
#[test]
fn one_peer_whose_data_has_grown_does_not_fail_the_list_of_peers() {
    let room = TestRoom::<hall::Room>::new("main");
    let _ann = room.connect(up("member"));
    room.hibernate();
    PADDING.set(15_000);
    let peers = room.peers(None).map(|peers| peers.len()).map_err(|error| error.to_string());
    PADDING.set(0);
    assert_eq!(peers, Ok(1));
}

/// `Peers::close` inside an `update` fails before a filter runs.
#[test]
fn a_selection_that_cannot_be_closed_runs_no_filter() {
    let room = TestRoom::<hall::Room>::new("main");
    let ann = room.connect(up("member"));
    ann.send(&hall::Event::CloseInside);
    assert_eq!(NOTES.take(), ["Err(NestedUpdate)"]);
}

macro_rules! twin {
    ($name:ident, $services:ty) => {
        #[derive(Debug)]
        pub struct $name;

        impl Room for $name {
            const NAME: &'static str = stringify!($name);
            const BINDING: &'static str = "TWIN";
            const CLASS: &'static str = "Twin";
            type State = ();
            type Connection = ();
            type Event = ();
            type Broadcast = ();
            type Alarm = ();
            type Services = $services;

            fn init(_: &RoomContext<Self>) -> Result<(), Failure> {
                Ok(())
            }

            fn services(_: &worker::Env) -> Result<$services, Failure> {
                Ok(Default::default())
            }

            async fn on_event(ctx: &RoomContext<Self>, (): ()) -> Result<(), Failure> {
                note(format!("{:?}", ctx.services()));
                Ok(())
            }
        }
    };
}
twin!(Left, u32);
twin!(Right, String);

/// The services of a test belong to the type of the room, and not to its class.
#[test]
fn services_of_a_room_are_not_given_to_another_of_its_class() {
    let world = World::new();
    world.provide::<Right>(|| Ok("right".to_owned()));
    world.provide::<Left>(|| Ok(7));
    let room = world.room::<Right>("main");
    assert_eq!(room.send(&()).map_err(|error| error.to_string()), Ok(()));
    assert_eq!(NOTES.take(), [r#""right""#]);
}

/// Serialization is code of the room. It can replace the data that is being encoded.
#[test]
fn data_can_be_replaced_while_the_list_of_peers_is_encoded() {
    let room = TestRoom::<hall::Room>::new("main");
    let ann = room.connect(up("member"));
    ann.send(&hall::Event::KeepPeer);
    let peers = room.peers(None).map(|peers| peers.len()).map_err(|error| error.to_string());
    assert_eq!((peers, NOTES.take()), (Ok(1), vec!["set Ok(())".to_owned()]));
}
