//! The option `validate`, through the test kit: what the conformance cases cannot arrange on both platforms.

use std::cell::Cell;

use room_runtime::{Error, ErrorKind, OnResume, Upgrade, prelude::*, testing::TestRoom};

thread_local! {
    /// The largest valid level. A deploy with stricter rules lowers it.
    static MOST: Cell<u32> = const { Cell::new(10) };
}

#[room(validate(event, connection), reconnect_grace = "10s")]
pub mod game {
    #[derive(Default)]
    pub struct State {
        pub handled: u32,
    }

    #[derive(garde::Validate)]
    pub struct Connection {
        #[garde(custom(super::at_most))]
        pub level: u32,
    }

    #[derive(garde::Validate)]
    pub enum Event {
        Raise {
            #[garde(range(min = 1))]
            by: u32,
        },
    }

    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Raise { by } = event;
        ctx.update(|state| state.handled += 1)?;
        if let Some(peer) = ctx.sender() {
            peer.update_data(|data| data.level += by)?;
        }
        Ok(())
    }
}

/// A room of MessagePack only.
#[room(validate(event, broadcast), codec = "msgpack")]
pub mod packed {
    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    #[derive(garde::Validate)]
    pub enum Event {
        Say {
            #[garde(length(min = 1))]
            text: String,
        },
    }

    #[derive(garde::Validate)]
    pub struct Broadcast {
        #[garde(length(max = 3))]
        pub text: String,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Say { text } = event;
        ctx.peers().send(&Broadcast { text })?;
        Ok(())
    }
}

fn at_most(level: &u32, _: &()) -> garde::Result {
    if *level > MOST.get() { Err(garde::Error::new("too high")) } else { Ok(()) }
}

fn upgrade(level: u32) -> Upgrade<game::Connection> {
    Upgrade::new(game::Connection { level }).id("alice")
}

fn level(room: &TestRoom<game::Room>) -> u32 {
    room.peers(None).expect("an answer")[0].data.level
}

#[test]
fn a_peer_gets_the_path_of_the_field_and_the_worker_a_typed_error() {
    let room = TestRoom::<game::Room>::new("r");
    let alice = room.connect(upgrade(1));
    let invalid = game::Event::Raise { by: 0 };
    alice.send(&invalid);
    let errors = [alice.receive_error().expect("an error frame"), room.send(&invalid).expect_err("invalid")];
    for error in errors {
        assert_eq!((error.kind(), error.violations()[0].path()), (ErrorKind::Invalid, "by"));
    }
    assert_eq!(room.state().expect("a state"), None);
    room.world().assert_no_errors();
}

#[test]
fn stored_data_is_valid_by_the_rules_of_its_time() {
    let room = TestRoom::<game::Room>::new("r");
    let alice = room.connect(upgrade(8));
    assert!(alice.receive().is_none());
    let token = alice.resume_token().expect("a token");
    room.hibernate();
    MOST.set(5);
    // The room wakes with the data, and its peer reconnects with it.
    assert_eq!(level(&room), 8);
    alice.disconnect();
    let alice = room.connect(upgrade(1).resume(token.clone()));
    assert_eq!(level(&room), 8);

    // A change is checked as a whole.
    alice.send(&game::Event::Raise { by: 1 });
    assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Handler));
    assert_eq!(level(&room), 8);
    let log = room.take_log();
    assert!(
        log.iter().any(|line| line.contains("the peer's data breaks a rule of this room: `level`: too high")),
        "{log:?}"
    );

    // New data of a peer that reconnects is checked.
    alice.disconnect();
    let refused = room.try_connect(upgrade(6).resume(token.clone()).on_resume(OnResume::ReplaceData));
    assert!(refused.expect_err("invalid").to_string().contains("too high"));
    let _alice = room.connect(upgrade(5).resume(token).on_resume(OnResume::ReplaceData));
    assert_eq!(level(&room), 5);
    MOST.set(10);
}

#[test]
fn a_peer_and_the_worker_get_the_broken_rules_in_a_room_of_messagepack() {
    let room = TestRoom::<packed::Room>::new("r");
    let alice = room.connect(Upgrade::new(packed::Connection {}).id("alice"));
    let say = |text: &str| packed::Event::Say { text: text.to_owned() };
    let is_about_the_text = |error: &Error| {
        assert_eq!((error.kind(), error.violations()[0].path()), (ErrorKind::Invalid, "text"));
        assert_eq!(error.violations()[0].message(), "length is lower than 1");
    };
    alice.send(&say(""));
    is_about_the_text(&alice.receive_error().expect("an error frame"));
    is_about_the_text(&room.send(&say("")).expect_err("invalid"));
    let world = room.world().clone();
    world.block_on(async {
        let upgrade = Upgrade::new(packed::Connection {});
        let mut socket = world.client::<packed::Room>().room("r").connect(upgrade).await.expect("a socket");
        socket.send(&say("")).expect("sent");
        is_about_the_text(&socket.receive().await.expect_err("an error frame"));
    });

    // The message that a handler makes of a valid event is invalid. The caller is not at fault.
    let error = room.send(&say("long")).expect_err("invalid");
    assert_eq!((error.kind(), error.status().as_u16(), error.handler()), (ErrorKind::Invalid, 500, Some("on_event")));
    let error = room.broadcast(&packed::Broadcast { text: "long".to_owned() }).expect_err("invalid");
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Invalid, 422));
    assert!(alice.receive().is_none());
    room.broadcast(&packed::Broadcast { text: "yes".to_owned() }).expect("valid");
    assert_eq!(alice.receive().map(|message| message.text), Some("yes".to_owned()));
}
