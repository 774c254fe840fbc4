//! The subprotocol `room.v1`, and the option `batch`: several messages in one frame.

use anyhow::Result;
use conformance_rooms::{
    batched, probe,
    script::{Broadcast, Scripted, Step},
};
use room_runtime::{ErrorKind, SUBPROTOCOL};

use super::{
    steps::{close, send, with_id},
    v1::{Client, join, modern},
};
use crate::harness::{Harness, guest, room};

fn said(text: &str) -> Broadcast {
    Broadcast::Said { from: Some("bob".to_owned()), text: text.to_owned() }
}

fn say<const N: usize>(texts: [&str; N]) -> Vec<Step> {
    texts.iter().map(|text| Step::Say((*text).to_owned())).collect()
}

/// The messages of the next frame with messages.
async fn frame<H: Harness, R: Scripted>(client: &Client<H, R>) -> Result<Vec<Broadcast>> {
    loop {
        match client.frame().await? {
            (_, messages) if messages.is_empty() => {}
            (_, messages) => return Ok(messages),
        }
    }
}

pub(super) async fn messages_of_one_window_leave_in_one_frame_in_order<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.run(say(["one", "two", "three"])).await?;
    same!(frame(&alice).await?, [said("one"), said("two"), said("three")]);
    bob.run(say(["four"])).await?;
    same!(frame(&alice).await?, [said("four")]);
    Ok(())
}

pub(super) async fn a_plain_client_gets_each_message_in_a_frame_of_its_own<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let _alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.run(say(["one", "two"])).await?;
    bob.expect(said("one")).await?;
    bob.expect(said("two")).await?;
    Ok(())
}

pub(super) async fn a_message_to_some_keeps_its_place_among_those_to_all<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let carol = join(&room, modern("carol")).await?;
    let bob = room.connect(guest("bob")).await?;
    let steps = [say(["one"]), vec![send([with_id("alice")], "two")], say(["three"])].concat();
    bob.run(steps).await?;
    same!(frame(&alice).await?, [said("one"), said("two"), said("three")]);
    same!(frame(&carol).await?, [said("one"), said("three")]);
    Ok(())
}

pub(super) async fn a_pending_batch_is_sent_before_its_connection_is_closed<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let steps = [say(["one", "two"]), vec![close([with_id("alice")], 4_000, "enough")]].concat();
    bob.run(steps).await?;
    same!(frame(&alice).await?, [said("one"), said("two")]);
    same!(alice.peer.closed().await?, (4_000, "enough".to_owned()));
    Ok(())
}

pub(super) async fn a_pending_batch_survives_a_panic_in_this_room_and_in_another<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let other = crate::harness::room::<batched::Room, _>(&h, "other");
    let carol = join(&other, modern("carol")).await?;
    let dave = other.connect(guest("bob")).await?;
    dave.run(say(["elsewhere"])).await?;
    bob.run([say(["one", "two"]), vec![Step::Panic]].concat()).await?;
    same!(frame(&alice).await?, [said("one"), said("two")]);
    bob.expect(said("one")).await?;
    bob.expect(said("two")).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    same!(frame(&carol).await?, [said("elsewhere")]);
    Ok(())
}

pub(super) async fn an_error_is_one_of_the_controls<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.raw("{").await?;
    alice.fails(None, ErrorKind::Decode).await?;
    Ok(())
}

pub(super) async fn in_a_room_without_batches_each_message_has_a_frame_of_its_own<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.run(say(["one", "two"])).await?;
    same!(frame(&alice).await?, [said("one")]);
    same!(frame(&alice).await?, [said("two")]);
    bob.expect(said("one")).await?;
    Ok(())
}

pub(super) async fn the_subprotocol_survives_hibernation_and_lets_the_room_sleep<H: Harness>(h: H) -> Result<()> {
    let room = room::<batched::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.run(say(["before"])).await?;
    same!(frame(&alice).await?, [said("before")]);
    room.hibernate().await?;
    bob.run(say(["one", "two"])).await?;
    same!(frame(&alice).await?, [said("one"), said("two")]);
    Ok(())
}

pub(super) async fn the_largest_data_still_fits_beside_the_subprotocol<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let (mut fits, mut fails) = (1, 16_384);
    // The exact limit depends on the rest of the data, so search for it.
    while fails - fits > 1 {
        let length = (fits + fails) / 2;
        alice.run(0, [Step::Try(Box::new(Step::RenameTo(length)))]).await?;
        match is!(&*frame(&alice).await?, [Broadcast::Outcome { kind, .. }] => kind) {
            None => fits = length,
            Some(kind) => {
                same!(*kind, ErrorKind::AttachmentTooLarge);
                fails = length;
            }
        }
    }
    holds!(fits > 14_000, "{fits} is not much");
    bob.fence().await?;
    room.hibernate().await?;
    bob.run(say(["one"])).await?;
    same!(frame(&alice).await?, [said("one")]);
    Ok(())
}

pub(super) async fn a_client_that_offers_the_subprotocol_is_answered_with_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    same!(join(&room, modern("alice")).await?.peer.protocol(), Some(SUBPROTOCOL.to_owned()));
    same!(room.connect(guest("bob")).await?.protocol(), None);
    Ok(())
}
