//! Rule 5: which peers receive a message.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Broadcast, Selector, Step},
};
use room_runtime::ErrorKind;

use super::steps::{UNWRITABLE, attempt, close, except, say, send, tagged, with_id};
use crate::{
    harness::{Harness, Peer, Room, guest, room},
    memory::Memory,
};

type Probe = probe::Room;

/// Four peers: alice with the tags x and y, bob with x, carol with y, dave without tags.
async fn four<H: Harness>(h: &H) -> Result<(Room<H, Probe>, [Peer<H, Probe>; 4])> {
    let room = room::<Probe, _>(h, "r");
    let alice = room.connect(guest("alice").tags(["x", "y"])).await?;
    let bob = room.connect(guest("bob").tags(["x"])).await?;
    let carol = room.connect(guest("carol").tags(["y"])).await?;
    let dave = room.connect(guest("dave")).await?;
    Ok((room, [alice, bob, carol, dave]))
}

fn any(tags: &[&str]) -> Selector {
    Selector::TaggedAny(tags.iter().map(|tag| (*tag).to_owned()).collect())
}

fn only(ids: &[&str]) -> Selector {
    Selector::Only(ids.iter().map(|id| (*id).to_owned()).collect())
}

fn named(start: &str) -> Selector {
    Selector::Named(start.to_owned())
}

async fn selected<H: Harness>(by: &Peer<H, Probe>, table: &[(&[Selector], &[&str])]) -> Result<()> {
    for (selectors, wanted) in table {
        by.run([Step::Select(selectors.to_vec())]).await?;
        let ids = wanted.iter().map(|id| (*id).to_owned()).collect();
        let wanted = Broadcast::Selected { ids, len: wanted.len(), is_empty: wanted.is_empty() };
        let found = by.next().await?;
        holds!(found == wanted, "{selectors:?} select {found:?}, not {wanted:?}");
    }
    Ok(())
}

pub(super) async fn each_selector_selects<H: Harness>(h: H) -> Result<()> {
    let (_room, [alice, ..]) = four(&h).await?;
    selected(
        &alice,
        &[
            (&[], &["alice", "bob", "carol", "dave"]),
            (&[tagged("x")], &["alice", "bob"]),
            (&[tagged("nobody's")], &[]),
            (&[any(&["x", "y"])], &["alice", "bob", "carol"]),
            (&[any(&[])], &[]),
            (&[with_id("carol")], &["carol"]),
            (&[with_id("x")], &[]),
            (&[except("bob")], &["alice", "carol", "dave"]),
            (&[Selector::ExceptSender], &["bob", "carol", "dave"]),
            (&[only(&["bob", "dave"])], &["bob", "dave"]),
            (&[only(&[])], &[]),
            (&[named("da")], &["dave"]),
        ],
    )
    .await
}

pub(super) async fn selectors_intersect<H: Harness>(h: H) -> Result<()> {
    let (_room, [alice, ..]) = four(&h).await?;
    selected(
        &alice,
        &[
            (&[tagged("x"), tagged("y")], &["alice"]),
            (&[tagged("x"), Selector::ExceptSender], &["bob"]),
            (&[any(&["x", "y"]), except("bob")], &["alice", "carol"]),
            (&[any(&["x"]), any(&["y"])], &["alice"]),
            (&[tagged("y"), with_id("carol")], &["carol"]),
            (&[tagged("x"), with_id("carol")], &[]),
            (&[with_id("alice"), with_id("bob")], &[]),
            (&[only(&["alice", "bob"]), only(&["bob", "carol"])], &["bob"]),
            (&[only(&["alice", "bob"]), tagged("y")], &["alice"]),
            (&[named("a"), tagged("x")], &["alice"]),
            (&[named("a"), named("b")], &[]),
            (&[except("alice"), except("bob"), except("carol"), except("dave")], &[]),
        ],
    )
    .await
}

pub(super) async fn a_tag_cannot_pass_for_an_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let eve = room.connect(guest("eve").tags(["=alice", "#x", "alice", ""])).await?;
    selected(
        &eve,
        &[
            (&[with_id("alice")], &[]),
            (&[with_id("=alice")], &[]),
            (&[tagged("x")], &[]),
            (&[tagged("eve")], &[]),
            (&[tagged("#x")], &["eve"]),
            (&[tagged("=alice")], &["eve"]),
            (&[tagged("")], &["eve"]),
        ],
    )
    .await
}

pub(super) async fn a_message_goes_to_the_selected_peers_only<H: Harness>(h: H) -> Result<()> {
    let (_room, [alice, bob, carol, dave]) = four(&h).await?;
    let delivered = |sent| Broadcast::Delivered { sent, failed: Vec::new(), unread: Vec::new() };
    alice.run([send([tagged("x"), Selector::ExceptSender], "to x")]).await?;
    alice.expect(delivered(1)).await?;
    alice.run([send([tagged("y")], "to y")]).await?;
    alice.hears(Some("alice"), "to y").await?;
    alice.expect(delivered(2)).await?;
    alice.run([send([named("d"), except("alice")], "to d")]).await?;
    alice.expect(delivered(1)).await?;
    alice.run([send([only(&["bob", "carol"]), any(&["x", "y"])], "to both")]).await?;
    alice.expect(delivered(2)).await?;
    alice.run([send([with_id("nobody")], "to nobody")]).await?;
    alice.expect(delivered(0)).await?;

    bob.hears(Some("alice"), "to x").await?;
    bob.hears(Some("alice"), "to both").await?;
    bob.fence().await?;
    carol.hears(Some("alice"), "to y").await?;
    carol.hears(Some("alice"), "to both").await?;
    carol.fence().await?;
    dave.hears(Some("alice"), "to d").await?;
    dave.fence().await?;
    Ok(())
}

pub(super) async fn selections_are_the_same_after_hibernation<H: Harness>(h: H) -> Result<()> {
    let (room, [alice, bob, ..]) = four(&h).await?;
    room.hibernate().await?;
    // The first event after the wake.
    bob.run([send([tagged("x"), Selector::ExceptSender], "awake")]).await?;
    alice.hears(Some("bob"), "awake").await?;
    is!(bob.next().await?, Broadcast::Delivered { sent: 1, .. });
    selected(
        &alice,
        &[(&[tagged("x"), tagged("y")], &["alice"]), (&[named("c")], &["carol"]), (&[only(&["dave"])], &["dave"])],
    )
    .await
}

pub(super) async fn except_sender_selects_all_peers_when_the_worker_sends<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    room.run([send([Selector::ExceptSender], "all")]).await?;
    for peer in [&alice, &bob] {
        peer.hears(None, "all").await?;
        is!(peer.next().await?, Broadcast::Delivered { sent: 2, .. });
    }
    Ok(())
}

pub(super) async fn a_connecting_peer_is_the_sender_in_its_on_connect<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = guest("bob").on_connect([send([Selector::ExceptSender], "hello")]).on_close([say("bye")]);
    let bob = room.connect(bob).await?;
    alice.hears(Some("bob"), "hello").await?;
    bob.expect(Broadcast::Delivered { sent: 1, failed: Vec::new(), unread: Vec::new() }).await?;
    bob.close().await?;
    alice.hears(Some("bob"), "bye").await?;
    alice.fence().await
}

pub(super) async fn peers_that_are_closing_are_skipped<H: Harness>(h: H) -> Result<()> {
    let (_room, [alice, bob, carol, dave]) = four(&h).await?;
    alice.run([close([with_id("bob")], 4_000, "out"), send([], "to the rest")]).await?;
    let left = ["alice", "carol", "dave"].map(str::to_owned).to_vec();
    alice.expect(Broadcast::Closed { count: 1, left }).await?;
    alice.hears(Some("alice"), "to the rest").await?;
    alice.expect(Broadcast::Delivered { sent: 3, failed: Vec::new(), unread: Vec::new() }).await?;
    for peer in [&carol, &dave] {
        peer.hears(Some("alice"), "to the rest").await?;
    }
    same!(bob.closed().await?, (4_000, "out".to_owned()));
    Ok(())
}

pub(super) async fn a_socket_that_fails_is_reported_and_affects_no_other(h: Memory) -> Result<()> {
    let (_room, [alice, bob, carol, dave]) = four(&h).await?;
    bob.socket().fail_sends(true);
    alice.run([send([], "all")]).await?;
    alice.hears(Some("alice"), "all").await?;
    alice.expect(Broadcast::Delivered { sent: 3, failed: vec!["bob".to_owned()], unread: Vec::new() }).await?;
    for peer in [&carol, &dave] {
        peer.hears(Some("alice"), "all").await?;
    }
    bob.socket().fail_sends(false);
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_message_that_would_not_decode_is_a_typed_error_and_is_not_sent<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for what in UNWRITABLE {
        alice.run([attempt(Step::SayUnwritable(what))]).await?;
        let (kind, message) = is!(alice.next().await?, Broadcast::Outcome { kind, message } => (kind, message));
        holds!(kind == Some(ErrorKind::Encode), "{what:?}: {kind:?} {message}");
        holds!(message.contains("the message cannot be written as JSON: it "), "{what:?}: {message}");
    }
    Ok(())
}
