//! Topics: which peers are subscribed, and for how long.

use anyhow::Result;
use conformance_rooms::{
    lounge::{hall, lounge},
    plain, probe,
    script::{Broadcast, Scripted, Selector, Step, UpgradeStep},
};
use room_runtime::{ErrorKind, OnDuplicate, OnResume};

use super::{
    lounge::{closes, enter, is_present, lose},
    steps::{
        attempt, close, except, fail, hold, leave, open, rename, send, subscribe, tagged, topic, unsubscribe, with_id,
    },
};
use crate::harness::{Harness, Peer, guest, room, until};

type Probe = probe::Room;

fn topics(changed: bool, topics: &[&str]) -> Broadcast {
    Broadcast::Topics { changed, topics: topics.iter().map(|topic| (*topic).to_owned()).collect() }
}

/// Subscribes a peer to topics that it has not subscribed to.
async fn join<H: Harness, R: Scripted>(peer: &Peer<H, R>, names: &[&str]) -> Result<()> {
    for name in names {
        is!(peer.ask([subscribe(name)]).await?, Broadcast::Topics { changed: true, .. });
    }
    Ok(())
}

async fn selects<H: Harness, R: Scripted>(by: &Peer<H, R>, selectors: &[Selector], wanted: &[&str]) -> Result<()> {
    let ids = wanted.iter().map(|id| (*id).to_owned()).collect();
    let wanted = Broadcast::Selected { ids, len: wanted.len(), is_empty: wanted.is_empty() };
    let found = by.ask([Step::Select(selectors.to_vec())]).await?;
    holds!(found == wanted, "{selectors:?} select {found:?}, not {wanted:?}");
    Ok(())
}

async fn fails<H: Harness, R: Scripted>(peer: &Peer<H, R>, step: Step, wanted: ErrorKind) -> Result<String> {
    let (kind, message) = is!(
        peer.ask([attempt(step)]).await?,
        Broadcast::Outcome { kind, message } => (kind, message)
    );
    same!(kind, Some(wanted));
    Ok(message)
}

pub(super) async fn a_message_to_a_topic_reaches_its_subscribers_only<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(guest("carol")).await?;
    let dave = room.connect(guest("dave")).await?;
    let delivered = |sent| Broadcast::Delivered { sent, failed: Vec::new(), unread: Vec::new() };
    join(&alice, &["news"]).await?;
    join(&bob, &["news", "news/sport"]).await?;
    join(&carol, &["news/sport", "new"]).await?;
    alice.run([send([topic("news")], "one")]).await?;
    alice.hears(Some("alice"), "one").await?;
    alice.expect(delivered(2)).await?;
    alice.run([send([topic("news"), Selector::ExceptSender], "two")]).await?;
    alice.expect(delivered(1)).await?;
    // The Worker sends too, and a peer that is not subscribed may.
    room.run([send([topic("news/sport")], "three")]).await?;
    for peer in [&alice, &dave] {
        peer.expect(delivered(2)).await?;
    }
    dave.run([send([topic("nobodys")], "four")]).await?;
    dave.expect(delivered(0)).await?;
    bob.run([unsubscribe("news")]).await?;
    for (from, text) in [(Some("alice"), "one"), (Some("alice"), "two"), (None, "three")] {
        bob.hears(from, text).await?;
    }
    bob.expect(delivered(2)).await?;
    bob.expect(topics(true, &["news/sport"])).await?;
    alice.run([send([topic("news")], "five")]).await?;
    alice.hears(Some("alice"), "five").await?;
    alice.expect(delivered(1)).await?;
    carol.hears(None, "three").await?;
    carol.expect(delivered(2)).await?;
    for peer in [&bob, &carol, &dave] {
        peer.fence().await?;
    }
    Ok(())
}

pub(super) async fn subscribing_twice_changes_nothing_and_topics_are_sorted<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run(["b", "a", "c", "b"].map(subscribe)).await?;
    alice.expect(topics(true, &["b"])).await?;
    alice.expect(topics(true, &["a", "b"])).await?;
    alice.expect(topics(true, &["a", "b", "c"])).await?;
    alice.expect(topics(false, &["a", "b", "c"])).await?;
    alice.run(["b", "b", "z"].map(unsubscribe)).await?;
    alice.expect(topics(true, &["a", "c"])).await?;
    alice.expect(topics(false, &["a", "c"])).await?;
    alice.expect(topics(false, &["a", "c"])).await?;
    selects(&alice, &[topic("b")], &[]).await?;
    selects(&alice, &[topic("c")], &["alice"]).await
}

pub(super) async fn a_topic_intersects_with_every_other_selector<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x", "y"])).await?;
    let bob = room.connect(guest("bob").tags(["x"])).await?;
    let carol = room.connect(guest("carol").tags(["y"])).await?;
    room.connect(guest("dave").tags(["t"])).await?;
    join(&alice, &["t", "u"]).await?;
    join(&bob, &["t"]).await?;
    join(&carol, &["u", "t"]).await?;
    let any = |tags: &[&str]| Selector::TaggedAny(tags.iter().map(|tag| (*tag).to_owned()).collect());
    let only = |ids: &[&str]| Selector::Only(ids.iter().map(|id| (*id).to_owned()).collect());
    let named = |start: &str| Selector::Named(start.to_owned());
    let table: &[(&[Selector], &[&str])] = &[
        (&[topic("t")], &["alice", "bob", "carol"]),
        (&[topic("t"), topic("u")], &["alice", "carol"]),
        (&[topic("u"), topic("t")], &["alice", "carol"]),
        (&[topic("t"), topic("u"), topic("v")], &[]),
        (&[topic("t"), topic("t")], &["alice", "bob", "carol"]),
        (&[topic("t"), tagged("x")], &["alice", "bob"]),
        (&[tagged("x"), tagged("y"), topic("t")], &["alice"]),
        (&[topic("t"), tagged("t")], &[]),
        (&[topic("t"), any(&["y"])], &["alice", "carol"]),
        (&[any(&["x"]), topic("u"), any(&["y"])], &["alice"]),
        (&[topic("t"), any(&[])], &[]),
        (&[topic("t"), with_id("carol")], &["carol"]),
        (&[topic("t"), with_id("dave")], &[]),
        (&[topic("t"), with_id("x")], &[]),
        (&[topic("t"), except("bob")], &["alice", "carol"]),
        (&[topic("t"), Selector::ExceptSender, except("bob")], &["carol"]),
        (&[topic("t"), only(&["bob", "dave"])], &["bob"]),
        (&[only(&["alice", "bob"]), topic("t"), topic("u")], &["alice"]),
        (&[topic("t"), only(&[])], &[]),
        (&[topic("t"), named("c")], &["carol"]),
        (&[topic("t"), named("c"), tagged("x")], &[]),
    ];
    // Each twice: before and after a wake.
    for round in 0..2 {
        for (selectors, wanted) in table {
            selects(&alice, selectors, wanted).await?;
        }
        if round == 0 {
            room.hibernate().await?;
        }
    }
    // A closing peer is not selected.
    alice.run([close([topic("t"), tagged("x"), Selector::ExceptSender], 4_000, "out")]).await?;
    let left = ["alice", "carol", "dave"].map(str::to_owned).to_vec();
    alice.expect(Broadcast::Closed { count: 1, left }).await?;
    same!(bob.closed().await?, (4_000, "out".to_owned()));
    selects(&alice, &[topic("t")], &["alice", "carol"]).await
}

pub(super) async fn an_invalid_topic_is_a_typed_error_and_selects_nobody<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let long = "x".repeat(129);
    for name in ["", "a b", "a\n", "é", "a,b", "*", "room topic", &long] {
        let message = fails(&alice, subscribe(name), ErrorKind::InvalidTopic).await?;
        holds!(message.contains("1 to 128 characters") && message.contains("alice"), "{message}");
        fails(&alice, unsubscribe(name), ErrorKind::InvalidTopic).await?;
        fails(&alice, send([topic(name)], "x"), ErrorKind::InvalidTopic).await?;
        fails(&alice, send([topic("fine"), topic(name)], "x"), ErrorKind::InvalidTopic).await?;
        fails(&alice, close([topic(name)], 4_000, "x"), ErrorKind::InvalidTopic).await?;
        selects(&alice, &[topic(name)], &[]).await?;
    }
    let longest = "x".repeat(128);
    let names = ["A-Z_a-z.0-9", "doc:7/page", &longest];
    join(&alice, &names).await?;
    for name in names {
        selects(&alice, &[topic(name)], &["alice"]).await?;
    }
    Ok(())
}

pub(super) async fn topics_over_the_cap_are_a_typed_error_and_change_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    // A topic of 100 bytes takes 101 of the 16,320.
    alice.run([Step::SubscribeToMany(150)]).await?;
    alice.fence().await?;
    let message = fails(&alice, Step::SubscribeToMany(200), ErrorKind::AttachmentTooLarge).await?;
    holds!(message.contains("the limit is 16320") && message.contains("alice"), "{message}");
    let before = room.peers(None).await?[0].topics.clone();
    holds!((155..=160).contains(&before.len()), "{} topics", before.len());
    fails(&alice, subscribe(&"y".repeat(128)), ErrorKind::AttachmentTooLarge).await?;
    selects(&alice, &[topic(&"y".repeat(128))], &[]).await?;
    room.hibernate().await?;
    same!(room.peers(None).await?[0].topics, before);
    selects(&alice, &[topic(&before[0]), topic(&before[before.len() - 1])], &["alice"]).await?;
    selects(&alice, &[topic(&"y".repeat(128))], &[]).await
}

pub(super) async fn data_that_does_not_fit_beside_topics_is_a_typed_error_and_changes_nothing<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    // In `on_connect`, and later.
    let steps = [Step::SubscribeToMany(50), attempt(Step::RenameTo(13_000))];
    let alice = room.connect(guest("alice").on_connect(steps)).await?;
    is!(alice.next().await?, Broadcast::Outcome { kind: Some(ErrorKind::AttachmentTooLarge), .. });
    fails(&alice, Step::RenameTo(13_000), ErrorKind::AttachmentTooLarge).await?;
    for _ in 0..2 {
        let info = room.peers(None).await?.remove(0);
        same!((&*info.data.name, info.topics.len()), ("alice", 50));
        room.hibernate().await?;
    }
    alice.run([rename("Alice")]).await?;
    alice.fence().await?;
    same!(room.peers(None).await?[0].data.name, "Alice");
    Ok(())
}

pub(super) async fn topics_that_do_not_fit_are_a_typed_error_in_on_connect<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice").on_connect([attempt(Step::SubscribeToMany(200))])).await?;
    is!(alice.next().await?, Broadcast::Outcome { kind: Some(ErrorKind::AttachmentTooLarge), .. });
    let before = room.peers(None).await?[0].topics.clone();
    // Its data also has the script.
    holds!((150..=160).contains(&before.len()), "{} topics", before.len());
    room.hibernate().await?;
    same!(room.peers(None).await?[0].topics, before);
    selects(&alice, &[topic(&before[0])], &["alice"]).await
}

pub(super) async fn a_topic_is_the_same_after_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(guest("carol")).await?;
    join(&alice, &["t", "u"]).await?;
    join(&bob, &["t"]).await?;
    alice.run([unsubscribe("u")]).await?;
    alice.expect(topics(true, &["t"])).await?;
    room.hibernate().await?;
    // The first event after the wake is of a peer that is not subscribed.
    carol.run([send([topic("t")], "awake")]).await?;
    alice.hears(Some("carol"), "awake").await?;
    bob.hears(Some("carol"), "awake").await?;
    is!(carol.next().await?, Broadcast::Delivered { sent: 2, .. });
    room.hibernate().await?;
    // A change before the topic is read.
    carol.run([subscribe("t"), send([topic("t"), Selector::ExceptSender], "me too")]).await?;
    carol.expect(topics(true, &["t"])).await?;
    is!(carol.next().await?, Broadcast::Delivered { sent: 2, .. });
    alice.hears(Some("carol"), "me too").await?;
    room.hibernate().await?;
    bob.hears(Some("carol"), "me too").await?;
    bob.run([unsubscribe("t")]).await?;
    bob.expect(topics(true, &[])).await?;
    selects(&bob, &[topic("t")], &["alice", "carol"]).await?;
    selects(&bob, &[topic("u")], &[]).await
}

pub(super) async fn a_topic_is_the_same_after_a_panic<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    join(&alice, &["t"]).await?;
    bob.run([subscribe("t"), Step::Panic]).await?;
    bob.expect(topics(true, &["t"])).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    selects(&alice, &[topic("t")], &["alice", "bob"]).await?;
    bob.run([unsubscribe("t"), Step::Panic]).await?;
    bob.expect(topics(true, &[])).await?;
    same!(bob.next_error().await?.code, ErrorKind::Restarted);
    selects(&alice, &[topic("t")], &["alice"]).await
}

/// Loses the connection of a subscriber, and resumes it.
async fn resumes<H: Harness>(h: H, sleeps: bool) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (bob, _) = enter(&room, guest("bob")).await?;
    let (alice, token) = enter(&room, guest("alice").tags(["x"])).await?;
    join(&alice, &["t", "u"]).await?;
    alice.run([unsubscribe("u")]).await?;
    alice.expect(topics(true, &["t"])).await?;
    selects(&bob, &[topic("t")], &["alice"]).await?;
    if sleeps {
        room.hibernate().await?;
        alice.disconnect();
        is_present(&room, &["alice away", "bob x1"]).await?;
    } else {
        lose(&room, &alice, "alice").await?;
    }
    selects(&bob, &[topic("t")], &[]).await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    selects(&bob, &[topic("t"), tagged("x")], &["alice"]).await?;
    bob.run([send([topic("t")], "again")]).await?;
    is!(bob.next().await?, Broadcast::Delivered { sent: 1, .. });
    alice.hears(Some("bob"), "again").await?;
    alice.run([unsubscribe("u"), unsubscribe("t")]).await?;
    alice.expect(topics(false, &["t"])).await?;
    alice.expect(topics(true, &[])).await?;
    selects(&bob, &[topic("t")], &[]).await
}

pub(super) async fn a_peer_that_resumes_keeps_its_topics<H: Harness>(h: H) -> Result<()> {
    resumes(h, false).await
}

pub(super) async fn a_peer_that_resumes_while_its_room_sleeps_keeps_its_topics<H: Harness>(h: H) -> Result<()> {
    resumes(h, true).await
}

pub(super) async fn a_peer_lost_in_a_restart_keeps_its_topics_when_it_resumes<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    join(&alice, &["b", "a"]).await?;
    room.restart().await?;
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    let (bob, _) = enter(&room, guest("bob")).await?;
    bob.run([send([topic("a"), topic("b")], "again")]).await?;
    is!(bob.next().await?, Broadcast::Delivered { sent: 1, .. });
    alice.hears(Some("bob"), "again").await?;
    alice.run([subscribe("a")]).await?;
    alice.expect(topics(false, &["a", "b"])).await
}

pub(super) async fn without_a_resume_a_restart_ends_all_subscriptions<H: Harness>(h: H) -> Result<()> {
    // With a roster, and without.
    let hall = room::<hall::Room, _>(&h, "h");
    let plain = room::<plain::Room, _>(&h, "p");
    join(&hall.connect(guest("alice")).await?, &["t"]).await?;
    join(&plain.connect(guest("alice")).await?, &["t"]).await?;
    hall.restart().await?;
    plain.restart().await?;
    let alice = hall.connect(guest("alice")).await?;
    closes(&hall, 1).await?;
    selects(&alice, &[topic("t")], &[]).await?;
    let alice = plain.connect(guest("alice")).await?;
    selects(&alice, &[topic("t")], &[]).await?;
    alice.run([subscribe("u")]).await?;
    alice.expect(topics(true, &["u"])).await
}

pub(super) async fn topics_that_do_not_fit_beside_new_data_refuse_a_resume_that_can_be_retried<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    alice.run([Step::SubscribeToMany(50)]).await?;
    alice.fence().await?;
    lose(&room, &alice, "alice").await?;
    let back = || guest("alice").resume(&token).on_resume(OnResume::ReplaceData);
    let error = room.failed(back().on_upgrade([UpgradeStep::SetNameTo(13_000)])).await?;
    same!(error.kind, ErrorKind::AttachmentTooLarge);
    let (alice, again) = enter(&room, back()).await?;
    same!(again, token);
    alice.fence().await?;
    same!(room.peers(None).await?[0].topics.len(), 50);
    Ok(())
}

pub(super) async fn a_subscription_ends_before_on_close_which_knows_the_last_topics<H: Harness>(h: H) -> Result<()> {
    let room = room::<hall::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let last = [
        Step::LogTopics,
        send([topic("t")], "left"),
        attempt(subscribe("t")),
        attempt(subscribe("new")),
        attempt(unsubscribe("t")),
    ];
    let alice = room.connect(guest("alice").on_close(last)).await?;
    join(&alice, &["t", "u"]).await?;
    join(&bob, &["t"]).await?;
    alice.close().await?;
    // The answers of `on_close` go to all.
    bob.hears(Some("alice"), "left").await?;
    is!(bob.next().await?, Broadcast::Delivered { sent: 1, .. });
    for _ in 0..3 {
        is!(bob.next().await?, Broadcast::Outcome { kind: Some(ErrorKind::PeerGone), .. });
    }
    selects(&bob, &[topic("t")], &["bob"]).await?;
    selects(&bob, &[topic("u")], &[]).await?;
    let log = room.log().await?;
    holds!(log.contains(&"topics of alice: [\"t\", \"u\"]".to_owned()), "{log:?}");
    // A new connection of the same id begins without topics.
    let alice = room.connect(guest("alice")).await?;
    selects(&alice, &[topic("t")], &["bob"]).await
}

pub(super) async fn a_subscription_ends_with_a_replacement_and_with_a_kick<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let old = room.connect(guest("alice")).await?;
    join(&old, &["t"]).await?;
    room.hibernate().await?;
    let alice = room.connect(guest("alice").on_duplicate(OnDuplicate::Replace)).await?;
    same!(old.closed().await?.0, 1012);
    selects(&bob, &[topic("t")], &[]).await?;
    join(&alice, &["t"]).await?;
    selects(&bob, &[topic("t")], &["alice"]).await?;
    alice.run([leave(4_000, "bye")]).await?;
    same!(alice.closed().await?.0, 4_000);
    selects(&bob, &[topic("t")], &[]).await?;
    room.hibernate().await?;
    selects(&bob, &[topic("t")], &[]).await
}

pub(super) async fn a_subscription_ends_with_a_connection_that_has_no_on_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice")).await?;
    join(&alice, &["t"]).await?;
    join(&bob, &["t"]).await?;
    room.hibernate().await?;
    alice.close().await?;
    selects(&bob, &[topic("t")], &["bob"]).await?;
    let alice = room.connect(guest("alice")).await?;
    join(&alice, &["t"]).await?;
    alice.disconnect();
    until(&h, "alice to be gone", || room.peer_ids(), |ids| *ids == ["bob"]).await?;
    selects(&bob, &[topic("t")], &["bob"]).await?;
    room.hibernate().await?;
    selects(&bob, &[topic("t")], &["bob"]).await
}

pub(super) async fn a_purge_ends_all_subscriptions<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = enter(&room, guest("alice")).await?;
    join(&alice, &["t"]).await?;
    room.run([Step::Purge]).await?;
    same!(alice.closed().await?.0, 1000);
    let (alice, _) = enter(&room, guest("alice").resume(&token)).await?;
    selects(&alice, &[topic("t")], &[]).await?;
    alice.run([subscribe("t")]).await?;
    alice.expect(topics(true, &["t"])).await?;
    selects(&alice, &[topic("t")], &["alice"]).await
}

pub(super) async fn a_peer_may_subscribe_in_on_connect<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let steps = [subscribe("t"), subscribe("u"), unsubscribe("u"), send([topic("t")], "I am here"), hold("gate")];
    let connecting = room.begin_connect(guest("alice").on_connect(steps));
    bob.holding("gate").await?;
    // The peer is selected while its `on_connect` waits.
    selects(&bob, &[topic("t")], &["alice"]).await?;
    selects(&bob, &[topic("u")], &[]).await?;
    bob.run([open("gate")]).await?;
    let alice = is!(connecting.await?, Ok(peer) => peer);
    alice.expect(topics(true, &["t"])).await?;
    alice.expect(topics(true, &["t", "u"])).await?;
    alice.expect(topics(true, &["t"])).await?;
    alice.hears(Some("alice"), "I am here").await?;
    is!(alice.next().await?, Broadcast::Delivered { sent: 1, .. });
    alice.holding("gate").await?;
    room.hibernate().await?;
    selects(&bob, &[topic("t")], &["alice"]).await?;
    alice.run([subscribe("t")]).await?;
    alice.expect(topics(false, &["t"])).await
}

pub(super) async fn a_failing_on_connect_undoes_its_subscriptions<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    for end in [fail("no"), Step::Refuse("no".to_owned())] {
        // Once before the room reads the topic in this incarnation, and once after.
        for _ in 0..2 {
            let alice = room.connect(guest("alice").on_connect([subscribe("t"), end.clone()])).await?;
            alice.expect(topics(true, &["t"])).await?;
            selects(&bob, &[topic("t")], &[]).await?;
        }
        room.hibernate().await?;
    }
    selects(&bob, &[topic("t")], &[]).await
}

pub(super) async fn a_panic_in_on_connect_undoes_its_subscriptions<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice").on_connect([subscribe("t"), Step::Sleep(5), Step::Panic])).await?;
    alice.expect(topics(true, &["t"])).await?;
    same!(alice.closed().await?.0, 1011);
    selects(&bob, &[topic("t")], &[]).await?;
    let alice = room.connect(guest("alice")).await?;
    alice.run([subscribe("t")]).await?;
    alice.expect(topics(true, &["t"])).await?;
    selects(&bob, &[topic("t")], &["alice"]).await
}

pub(super) async fn sockets_of_one_id_have_topics_of_their_own<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let one = room.connect(guest("alice").tags(["one"])).await?;
    let other = room.connect(guest("alice").tags(["other"])).await?;
    join(&one, &["a", "both"]).await?;
    join(&other, &["b", "both"]).await?;
    for _ in 0..2 {
        selects(&one, &[topic("a")], &["alice"]).await?;
        selects(&one, &[topic("a"), tagged("other")], &[]).await?;
        selects(&one, &[topic("b"), tagged("other")], &["alice"]).await?;
        selects(&one, &[topic("both")], &["alice", "alice"]).await?;
        room.hibernate().await?;
    }
    other.close().await?;
    selects(&one, &[topic("both")], &["alice"]).await?;
    selects(&one, &[topic("b")], &[]).await?;
    one.run([send([topic("a")], "mine")]).await?;
    one.hears(Some("alice"), "mine").await?;
    is!(one.next().await?, Broadcast::Delivered { sent: 1, .. });
    Ok(())
}

pub(super) async fn the_client_sees_the_topics_of_each_peer<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x"])).await?;
    room.connect(guest("bob")).await?;
    join(&alice, &["b", "a"]).await?;
    for _ in 0..2 {
        let peers = room.peers(None).await?;
        let peers: Vec<_> = peers.iter().map(|peer| (peer.id.as_str(), peer.topics.join(","))).collect();
        same!(peers, [("alice", "a,b".to_owned()), ("bob", String::new())]);
        room.hibernate().await?;
    }
    same!(room.peers(Some("x")).await?[0].topics, ["a", "b"]);
    Ok(())
}
