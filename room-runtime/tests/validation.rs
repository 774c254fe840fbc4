//! The option `validate`, through the test kit: what the conformance cases cannot arrange on both platforms.

use std::cell::Cell;

use room_runtime::{ErrorKind, OnResume, Upgrade, prelude::*, testing::TestRoom};

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
