//! Rule 4: the data of a peer.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Broadcast, Step},
};
use room_runtime::ErrorKind;

use super::steps::{EVENT_DEPTH, UNWRITABLE, attempt, deep_event, rename, sender, set_data};
use crate::harness::{Harness, guest, room};

pub(super) async fn data_tags_id_and_time_of_connecting_survive_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").name("Al").tags(["x", "y"])).await?;
    alice.run([rename("Alice")]).await?;
    let before = sender(alice.ask([Step::Report]).await?)?;
    same!((&*before.id, &*before.name), ("alice", "Alice"));
    same!(before.tags, ["x", "y"]);
    holds!(before.connected_at > 1_600_000_000_000, "{before:?}");
    room.hibernate().await?;
    same!(sender(alice.ask([Step::Report]).await?)?, before);
    Ok(())
}

pub(super) async fn the_client_sees_data_and_tags_of_peers_that_sleep<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x"])).await?;
    room.connect(guest("bob")).await?;
    alice.run([rename("Alice")]).await?;
    alice.fence().await?;
    let before = room.peers(None).await?;
    room.hibernate().await?;
    same!(room.peers(None).await?, before);
    let tagged = room.peers(Some("x")).await?;
    same!(tagged, before[..1]);
    same!((tagged[0].id.as_str(), &*tagged[0].data.name), ("alice", "Alice"));
    Ok(())
}

pub(super) async fn data_over_the_cap_is_a_typed_error_and_changes_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let limit = room_runtime::Peer::<probe::Room>::MAX_DATA_BYTES;
    alice.run([attempt(Step::RenameTo(limit)), attempt(set_data(&"x".repeat(limit)))]).await?;
    for _ in 0..2 {
        let (kind, message) = is!(alice.next().await?, Broadcast::Outcome { kind, message } => (kind, message));
        same!(kind, Some(ErrorKind::AttachmentTooLarge));
        holds!(message.contains(&limit.to_string()), "the limit is missing in {message:?}");
        holds!(message.contains("alice"), "the peer is missing in {message:?}");
    }
    same!(sender(alice.ask([Step::Report]).await?)?.name, "alice");
    room.hibernate().await?;
    same!(sender(alice.ask([Step::Report]).await?)?.name, "alice");
    Ok(())
}

pub(super) async fn data_as_large_as_it_may_be_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    // The data also contains the id, the time and two empty scripts.
    let bytes = room_runtime::Peer::<probe::Room>::MAX_DATA_BYTES - 100;
    alice.run([Step::RenameTo(bytes)]).await?;
    same!(sender(alice.ask([Step::Report]).await?)?.name.len(), bytes);
    room.hibernate().await?;
    same!(sender(alice.ask([Step::Report]).await?)?.name.len(), bytes);
    Ok(())
}

pub(super) async fn set_data_replaces_and_update_data_changes<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").on_close([Step::Add(100)])).await?;
    alice.run([rename("changed")]).await?;
    same!(room.peers(None).await.map(|_| ())?, ());
    alice.fence().await?;
    let changed = &room.peers(None).await?[0].data;
    same!((&*changed.name, changed.on_close.len()), ("changed", 1));
    alice.run([set_data("replaced")]).await?;
    alice.fence().await?;
    let replaced = &room.peers(None).await?[0].data;
    same!((&*replaced.name, replaced.on_close.len()), ("replaced", 0));
    Ok(())
}

pub(super) async fn sockets_of_one_id_have_data_of_their_own<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let one = room.connect(guest("alice").name("one")).await?;
    let other = room.connect(guest("alice").name("other").tags(["x"])).await?;
    one.run([rename("first")]).await?;
    one.fence().await?;
    room.hibernate().await?;
    same!(sender(one.ask([Step::Report]).await?)?.name, "first");
    let other = sender(other.ask([Step::Report]).await?)?;
    same!((&*other.name, &*other.tags), ("other", &["x".to_owned()][..]));
    Ok(())
}

pub(super) async fn data_as_deep_as_an_event_may_be_is_read_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let (event, thing) = deep_event(EVENT_DEPTH, Step::KeepInData)?;
    alice.send_raw(serde_json::to_string(&event)?).await?;
    alice.fence().await?;
    // Deeper than the depth at which the room stores it.
    same!(room.peers(None).await?[0].data.kept, std::slice::from_ref(&thing));
    room.hibernate().await?;
    same!(room.peers(None).await?[0].data.kept, std::slice::from_ref(&thing));
    same!(alice.ask([Step::Show]).await?, Broadcast::Kept { state: Vec::new(), data: vec![thing] });
    Ok(())
}

pub(super) async fn data_that_would_not_be_read_again_is_a_typed_error_and_changes_nothing<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for what in UNWRITABLE {
        alice.run([attempt(Step::KeepUnwritableInData(what))]).await?;
        let (kind, message) = is!(alice.next().await?, Broadcast::Outcome { kind, message } => (kind, message));
        holds!(kind == Some(ErrorKind::Encode), "{what:?}: {kind:?} {message}");
        holds!(message.contains("the peer's data cannot be written as JSON: it "), "{what:?}: {message}");
    }
    let nothing = Broadcast::Kept { state: Vec::new(), data: Vec::new() };
    same!(alice.ask([Step::Show]).await?, nothing);
    room.hibernate().await?;
    same!(alice.ask([Step::Show]).await?, nothing);
    Ok(())
}
