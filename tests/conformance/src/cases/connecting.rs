//! Rule 1: how peers connect.

use anyhow::Result;
use conformance_rooms::{probe, script::Step};

use super::steps::{fail, hold, leave, log, open, rename, report, say, sender, whisper};
use crate::harness::{Harness, guest, room, until};

pub(super) async fn on_connect_runs_once_for_each_socket<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.connect(guest("bob")).await?;
    // The same id, but another socket.
    room.connect(guest("alice")).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice", "connect bob", "connect alice"]);
    Ok(())
}

pub(super) async fn on_connect_is_not_run_again_when_the_room_wakes<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    alice.run([log("awake"), whisper("yes")]).await?;
    alice.hears(Some("alice"), "yes").await?;
    same!(room.log().await?, ["connect alice", "awake"]);
    Ok(())
}

pub(super) async fn changes_of_on_connect_are_visible_to_the_first_frame<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let on_connect = [rename("early"), Step::Sleep(50), rename("late"), Step::Add(7)];
    let alice = room.connect(guest("alice").on_connect(on_connect)).await?;
    let report = report(alice.ask([Step::Report]).await?)?;
    same!(report.count, 7);
    same!(report.sender.map(|sender| sender.name), Some("late".to_owned()));
    Ok(())
}

pub(super) async fn data_changed_by_on_connect_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").on_connect([rename("changed")])).await?;
    room.hibernate().await?;
    same!(sender(alice.ask([Step::Report]).await?)?.name, "changed");
    Ok(())
}

pub(super) async fn other_peers_are_served_while_on_connect_waits<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let connecting = room.begin_connect(guest("carol").on_connect([hold("door"), say("carol is in")]));
    bob.holding("door").await?;
    bob.fence().await?;
    bob.run([open("door")]).await?;
    bob.hears(Some("carol"), "carol is in").await?;
    let carol = is!(connecting.await?, Ok(carol) => carol);
    carol.holding("door").await?;
    carol.hears(Some("carol"), "carol is in").await?;
    carol.fence().await?;
    Ok(())
}

pub(super) async fn a_failing_on_connect_closes_with_1011_and_is_reported<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let eve = room.connect(guest("eve").on_connect([say("hello"), fail("not you")])).await?;
    // Messages that were already sent are not rolled back.
    eve.hears(Some("eve"), "hello").await?;
    bob.hears(Some("eve"), "hello").await?;
    let (code, reason) = eve.closed().await?;
    same!(code, 1011);
    holds!(!reason.contains("not you"), "the reason says what is for the log: {reason:?}");
    bob.fence().await?;
    same!(room.peer_ids().await?, ["bob"]);
    same!(room.log().await?, ["connect bob", "connect eve", "error on_connect eve: handler not you"]);
    Ok(())
}

pub(super) async fn a_peer_that_on_connect_refused_gets_no_on_close_and_leaves_no_ghost<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let eve = room.connect(guest("eve").on_connect([fail("not you")]).on_close([log("on_close of eve")])).await?;
    same!(eve.closed().await?.0, 1011);
    room.hibernate().await?;
    same!(report(bob.ask([Step::Report]).await?)?.peers, ["bob"]);
    same!(room.log().await?, ["connect bob", "connect eve", "error on_connect eve: handler not you"]);
    Ok(())
}

pub(super) async fn a_peer_that_on_connect_closes_itself_gets_its_on_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let eve = room.connect(guest("eve").on_connect([leave(4_000, "not today")])).await?;
    same!(eve.closed().await?, (4_000, "not today".to_owned()));
    let log = until(&h, "on_close of eve", || room.log(), |log| log.len() >= 3).await?;
    same!(log[..2], ["connect bob", "connect eve"]);
    holds!(log[2].starts_with("close eve 4000 \"not today\" clean"), "{log:?}");
    bob.fence().await?;
    same!(room.log().await?.len(), 3);
    Ok(())
}
