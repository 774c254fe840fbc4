//! Users: `on_join` for the first connection of a peer id, and `on_leave` after the last one.

use anyhow::Result;
use conformance_rooms::{
    club::{club, lodge, porch},
    script::{Scripted, Step},
};
use room_runtime::{ErrorKind, OnDuplicate};

use super::{
    lounge::{LONG, enter, is_present, lose, presence},
    places::starts_unvisited,
    steps::{close, fail, hold, leave, log, open, say, with_id},
};
use crate::{
    harness::{Harness, Room, guest, room, until},
    memory::Memory,
};

/// Waits until the log ends with this line, and returns the whole log.
async fn log_up_to<H: Harness, R: Scripted>(room: &Room<H, R>, line: &str) -> Result<Vec<String>> {
    until(room.harness(), line, || room.log(), |log| log.last().is_some_and(|last| last == line)).await
}

// First and last connections

pub(super) async fn a_user_joins_with_its_first_connection_and_leaves_after_its_last<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let one = room.connect(guest("alice").name("one")).await?;
    let two = room.connect(guest("alice").name("two")).await?;
    let bob = room.connect(guest("bob")).await?;
    two.fence().await?;
    bob.fence().await?;
    one.close().await?;
    log_up_to(&room, "close alice 1000 left, one []").await?;
    two.close().await?;
    let log = log_up_to(&room, "leave alice by two, absent").await?;
    same!(
        log,
        [
            "connect alice",
            "join alice by one, present",
            "connect alice",
            "connect bob",
            "join bob by bob, present",
            "close alice 1000 left, one []",
            "close alice 1000 left, two []",
            "leave alice by two, absent",
        ]
    );
    // The next connection is a new visit.
    let three = room.connect(guest("alice").name("three")).await?;
    three.fence().await?;
    same!(room.log().await?[8..], ["connect alice", "join alice by three, present"]);
    Ok(())
}

pub(super) async fn no_user_joins_or_leaves_when_a_room_hibernates<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    room.hibernate().await?;
    alice.fence().await?;
    let two = room.connect(guest("alice").name("two")).await?;
    room.hibernate().await?;
    alice.close().await?;
    two.fence().await?;
    room.hibernate().await?;
    two.close().await?;
    let log = log_up_to(&room, "leave alice by two, absent").await?;
    same!(log.iter().filter(|line| line.starts_with("join") || line.starts_with("leave")).count(), 2);
    Ok(())
}

pub(super) async fn on_join_ends_before_the_first_frame_of_the_user<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    bob.fence().await?;
    room.script("on_join", [hold("door"), log("joined")]).await?;
    let one = room.connect(guest("alice")).await?;
    bob.holding("door").await?;
    let two = room.connect(guest("alice")).await?;
    one.run([log("one")]).await?;
    two.run([log("two")]).await?;
    // Frames of others are handled meanwhile.
    bob.run([log("bob"), open("door")]).await?;
    bob.fence().await?;
    let frames = |log: &Vec<String>| log.iter().filter(|line| !line.contains(' ')).cloned().collect::<Vec<_>>();
    let log = until(&h, "the frames", || room.log(), |log| frames(log).len() == 4).await?;
    let frames = frames(&log);
    same!(frames[..2], ["bob", "joined"]);
    Ok(())
}

pub(super) async fn two_connections_at_the_same_instant_join_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    bob.fence().await?;
    // Both wait in `on_connect` at the same time.
    let one = room.begin_connect(guest("alice").on_connect([hold("door")]));
    bob.holding("door").await?;
    let two = room.begin_connect(guest("alice").on_connect([hold("door")]));
    bob.holding("door").await?;
    bob.run([open("door")]).await?;
    is!(one.await?, Ok(_));
    is!(two.await?, Ok(_));
    let log = log_up_to(&room, "join alice by alice, present").await?;
    same!(log[2..], ["connect alice", "connect alice", "join alice by alice, present"]);
    Ok(())
}

// Connections that are not admitted, or not for long

pub(super) async fn a_user_whose_on_connect_fails_neither_joins_nor_leaves<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let eve = room.connect(guest("eve").on_connect([fail("not you")])).await?;
    same!(eve.closed().await?.0, 1011);
    let eve = room.connect(guest("eve").on_connect([Step::Refuse("not you".to_owned())])).await?;
    same!(eve.next_error().await?.code, ErrorKind::Refused);
    same!(eve.closed().await?.0, 1008);
    let log = room.log().await?;
    same!(log, ["connect eve", "error on_connect eve: handler not you", "connect eve"]);
    Ok(())
}

pub(super) async fn a_user_that_on_connect_closes_neither_joins_nor_leaves<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let eve = room.connect(guest("eve").on_connect([leave(4401, "sign in")])).await?;
    same!(eve.closed().await?.0, 4401);
    let log = log_up_to(&room, "close eve 4401 left, eve []").await?;
    same!(log, ["connect eve", "close eve 4401 left, eve []"]);
    // The next connection joins.
    let eve = room.connect(guest("eve")).await?;
    eve.fence().await?;
    same!(room.log().await?[2..], ["connect eve", "join eve by eve, present"]);
    Ok(())
}

pub(super) async fn a_replaced_connection_neither_joins_nor_leaves<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let old = room.connect(guest("alice").name("old")).await?;
    old.fence().await?;
    let new = room.connect(guest("alice").name("new").on_duplicate(OnDuplicate::Replace)).await?;
    same!(old.closed().await?.0, 1012);
    log_up_to(&room, "close alice 1012 left, old []").await?;
    new.close().await?;
    let log = log_up_to(&room, "leave alice by new, absent").await?;
    same!(
        log,
        [
            "connect alice",
            "join alice by old, present",
            "connect alice",
            "close alice 1012 left, old []",
            "close alice 1000 left, new []",
            "leave alice by new, absent",
        ]
    );
    Ok(())
}

pub(super) async fn a_kicked_user_leaves_after_the_on_close_of_its_last_connection<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    alice.mute();
    room.run([close([with_id("alice")], 4000, "out")]).await?;
    // The client has not answered: `on_close` waits, and the user has not left.
    let two = room.connect(guest("alice").name("two")).await?;
    two.fence().await?;
    same!(room.log().await?, ["connect alice", "join alice by alice, present", "connect alice"]);
    room.hibernate().await?;
    log_up_to(&room, "close alice 4000 left, alice []").await?;
    two.run([leave(4000, "out")]).await?;
    same!(two.closed().await?.0, 4000);
    let log = log_up_to(&room, "leave alice by two, absent").await?;
    same!(log[3..], ["close alice 4000 left, alice []", "close alice 4000 left, two []", "leave alice by two, absent"]);
    Ok(())
}

pub(super) async fn a_purge_ends_the_visits_of_users_without_on_leave<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    room.run([Step::Purge]).await?;
    same!(alice.closed().await?.0, 1000);
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "join alice by alice, present"]);
    Ok(())
}

// Kept places

pub(super) async fn a_user_that_is_away_has_not_left<H: Harness>(h: H) -> Result<()> {
    let room = room::<lodge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    // A resume takes the place; another connection is of a user that is here.
    let (alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    alice.fence().await?;
    lose(&room, &alice, "alice").await?;
    let (two, _) = enter(&room, guest("alice").name("two")).await?;
    two.fence().await?;
    let expected = "close alice 1006 left, alice []";
    log_up_to(&room, expected).await?;
    let log = room.log().await?;
    same!(log.iter().filter(|line| line.starts_with("join") || line.starts_with("leave")).count(), 1);
    two.close().await?;
    log_up_to(&room, "leave alice by two, absent").await?;
    Ok(())
}

pub(super) async fn a_user_leaves_when_its_grace_ends<H: Harness>(h: H) -> Result<()> {
    let room = room::<lodge::Room, _>(&h, "r");
    let (alice, _) = enter(&room, guest("alice")).await?;
    lose(&room, &alice, "alice").await?;
    h.pass(LONG).await;
    let log = log_up_to(&room, "leave alice by alice, absent").await?;
    same!(
        log,
        [
            "connect alice",
            "join alice by alice, present",
            "away alice, here: false, send is Err(PeerGone)",
            "close alice 1006 left, alice []",
            "leave alice by alice, absent",
        ]
    );
    Ok(())
}

pub(super) async fn a_user_whose_kept_place_is_replaced_neither_joins_nor_leaves<H: Harness>(h: H) -> Result<()> {
    let room = room::<lodge::Room, _>(&h, "r");
    let (alice, _) = enter(&room, guest("alice").name("old")).await?;
    lose(&room, &alice, "alice").await?;
    let (new, _) = enter(&room, guest("alice").name("new").on_duplicate(OnDuplicate::Replace)).await?;
    let log = log_up_to(&room, "close alice 1006 left, old []").await?;
    same!(log.iter().filter(|line| line.starts_with("join") || line.starts_with("leave")).count(), 1);
    new.fence().await?;
    same!(presence(&room).await?, ["alice x1"]);
    Ok(())
}

// Restarts

pub(super) async fn users_lost_in_a_restart_leave_after_the_on_close_of_their_last_place<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    for name in ["one", "two"] {
        room.connect(guest("alice").name(name)).await?.fence().await?;
    }
    room.restart().await?;
    let log = until(&h, "on_leave", || room.log(), |log| log.iter().any(|line| line.starts_with("leave"))).await?;
    same!(log.iter().filter(|line| line.starts_with("close")).count(), 2);
    holds!(log.last().is_some_and(|line| line.starts_with("leave alice by ")), "on_leave is not the last: {log:?}");
    // Nor after the next wake.
    room.restart().await?;
    same!(room.log().await?, log);
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    same!(room.log().await?[log.len()..], ["connect alice", "join alice by alice, present"]);
    Ok(())
}

pub(super) async fn a_user_lost_in_a_restart_that_resumes_has_not_left<H: Harness>(h: H) -> Result<()> {
    let room = room::<lodge::Room, _>(&h, "r");
    let (_, token) = enter(&room, guest("alice")).await?;
    room.restart().await?;
    is_present(&room, &["alice away"]).await?;
    let (alice, again) = enter(&room, guest("alice").resume(&token)).await?;
    same!(again, token);
    alice.fence().await?;
    let log = room.log().await?;
    same!(log.iter().filter(|line| line.starts_with("join") || line.starts_with("leave")).count(), 1);
    alice.close().await?;
    log_up_to(&room, "leave alice by alice, absent").await?;
    Ok(())
}

pub(super) async fn a_room_without_on_close_notices_a_lost_user_without_a_request<H: Harness>(h: H) -> Result<()> {
    let room = room::<porch::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.fence().await?;
    starts_unvisited(&room).await?;
    let log = log_up_to(&room, "leave alice by alice, absent").await?;
    same!(log, ["connect alice", "join alice by alice, present", "leave alice by alice, absent"]);
    Ok(())
}

// Crashes

pub(super) async fn a_panic_in_on_close_does_not_lose_on_leave<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice").on_close([say("alice goes"), Step::Sleep(5), Step::Panic])).await?;
    // The call ends with the panic, which shows nowhere else.
    let held = h.begin(room.try_run([hold("gate")]));
    bob.holding("gate").await?;
    alice.holding("gate").await?;
    alice.begin_close(1000, "").await?;
    bob.hears(Some("alice"), "alice goes").await?;
    same!(is!(held.await?, Err(error) => error).kind, ErrorKind::Restarted);
    let log = log_up_to(&room, "leave alice by alice, absent").await?;
    same!(log[4..], ["close alice 1000 left, alice []", "leave alice by alice, absent"]);
    room.hibernate().await?;
    bob.fence().await?;
    same!(room.log().await?, log);
    Ok(())
}

pub(super) async fn a_panic_in_on_join_or_on_leave_does_not_run_it_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let crash = |handler: &str| [say(handler), Step::Sleep(5), Step::Panic];
    room.script("on_join", crash("on_join")).await?;
    let held = h.begin(room.try_run([hold("gate")]));
    bob.holding("gate").await?;
    let alice = room.connect(guest("alice")).await?;
    bob.hears(Some("alice"), "on_join").await?;
    same!(is!(held.await?, Err(error) => error).kind, ErrorKind::Restarted);
    // The connection survives.
    alice.hears(Some("alice"), "on_join").await?;
    alice.fence().await?;
    // The panic has ended the instance, and with it the scripts of all rooms.
    room.script("on_leave", crash("on_leave")).await?;
    let held = h.begin(room.try_run([hold("gate")]));
    bob.holding("gate").await?;
    alice.holding("gate").await?;
    alice.begin_close(1000, "").await?;
    bob.hears(Some("alice"), "on_leave").await?;
    same!(is!(held.await?, Err(error) => error).kind, ErrorKind::Restarted);
    for handler in ["on_join", "on_leave"] {
        room.script(handler, []).await?;
    }
    bob.fence().await?;
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    same!(
        room.log().await?[2..],
        [
            "connect alice",
            "join alice by alice, present",
            "close alice 1000 left, alice []",
            "leave alice by alice, absent",
            "connect alice",
            "join alice by alice, present",
        ]
    );
    Ok(())
}

// Races

pub(super) async fn a_user_that_is_back_before_on_close_has_ended_neither_joins_nor_leaves<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice").name("old").on_close([hold("door"), log("closed")])).await?;
    alice.begin_close(1000, "").await?;
    bob.holding("door").await?;
    let alice = room.connect(guest("alice").name("new")).await?;
    alice.fence().await?;
    bob.run([open("door")]).await?;
    log_up_to(&room, "closed").await?;
    bob.fence().await?;
    alice.close().await?;
    let log = log_up_to(&room, "leave alice by new, absent").await?;
    same!(
        log[2..],
        [
            "connect alice",
            "join alice by old, present",
            "close alice 1000 left, old []",
            "connect alice",
            "closed",
            "close alice 1000 left, new []",
            "leave alice by new, absent",
        ]
    );
    Ok(())
}

pub(super) async fn a_user_does_not_leave_while_on_connect_of_its_next_connection_waits<H: Harness>(
    h: H,
) -> Result<()> {
    for (fails, last) in [(false, "connected"), (true, "leave alice by old, absent")] {
        let room = room::<club::Room, _>(&h, if fails { "fails" } else { "succeeds" });
        let bob = room.connect(guest("bob")).await?;
        let old = room.connect(guest("alice").name("old")).await?;
        old.fence().await?;
        let end = if fails { fail("not you") } else { log("connected") };
        let new = room.begin_connect(guest("alice").name("new").on_connect([hold("door"), end]));
        bob.holding("door").await?;
        old.holding("door").await?;
        old.close().await?;
        log_up_to(&room, "close alice 1000 left, old []").await?;
        bob.run([open("door")]).await?;
        let new = is!(new.await?, Ok(new) => new);
        let log = log_up_to(&room, last).await?;
        same!(log.iter().filter(|line| line.starts_with("join alice")).count(), 1);
        same!(log.iter().filter(|line| line.starts_with("leave alice")).count(), usize::from(fails));
        new.holding("door").await?;
        if fails {
            same!(new.closed().await?.0, 1011);
        } else {
            new.fence().await?;
            same!(room.log().await?, log);
        }
    }
    Ok(())
}

pub(super) async fn a_user_that_comes_back_while_on_leave_runs_joins_after_its_end<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    bob.fence().await?;
    room.script("on_leave", [hold("door"), log("left")]).await?;
    room.connect(guest("alice").name("old")).await?.close().await?;
    bob.holding("door").await?;
    let new = room.connect(guest("alice").name("new")).await?;
    new.run([log("frame")]).await?;
    bob.run([open("door")]).await?;
    let log = log_up_to(&room, "frame").await?;
    same!(log[6..], ["connect alice", "left", "join alice by new, present", "frame"]);
    same!(log[5], "leave alice by old, absent");
    Ok(())
}

// Errors

pub(super) async fn errors_of_on_join_and_on_leave_are_reported_and_change_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    room.script("on_join", [fail("no welcome")]).await?;
    room.script("on_leave", [Step::Refuse("no farewell".to_owned())]).await?;
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    alice.close().await?;
    let log = log_up_to(&room, "error on_leave alice: refused no farewell").await?;
    same!(
        log,
        [
            "connect alice",
            "join alice by alice, present",
            "error on_join alice: handler no welcome",
            "close alice 1000 left, alice []",
            "leave alice by alice, absent",
            "error on_leave alice: refused no farewell",
        ]
    );
    Ok(())
}

pub(super) async fn a_user_whose_connection_cannot_be_stored_neither_joins_nor_leaves(h: Memory) -> Result<()> {
    let room = room::<club::Room, _>(&h, "r");
    let stored = h.room::<club::Room>(room.id());
    let bob = room.connect(guest("bob")).await?;
    bob.fence().await?;
    // The handler changes no state, so the first write is that of the place.
    stored.fail_writes(true);
    let alice = room.connect(guest("alice")).await?;
    same!(alice.closed().await?.0, 1011);
    stored.fail_writes(false);
    same!(presence(&room).await?, ["bob x1"]);
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    alice.close().await?;
    let log = log_up_to(&room, "leave alice by alice, absent").await?;
    same!(log.iter().filter(|line| line.starts_with("join alice") || line.starts_with("leave alice")).count(), 2);
    Ok(())
}
