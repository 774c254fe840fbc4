//! The log of a room: clients that resume get what they have missed.

use anyhow::{Context, Result, ensure};
use conformance_rooms::{
    archive::archive,
    script::{Broadcast, Event, Scripted, Selector, Step},
};
use serde_json::{Value, json};

use super::{
    steps::{hold, log, open, say, send, tagged, whisper, with_id},
    v1::{Client, join, modern, returning},
};
use crate::harness::{Arrival, Harness, Room, guest, room, until};

type Archive = archive::Room;

/// Reads frames until these texts have arrived. Returns the position of the last one.
async fn hears<H: Harness, R: Scripted>(client: &Client<H, R>, texts: &[&str]) -> Result<u64> {
    let (mut heard, mut at) = (Vec::new(), 0);
    while heard.len() < texts.len() {
        let (controls, messages) = client.frame().await.with_context(|| format!("{heard:?} of {texts:?}"))?;
        let said = messages.into_iter().filter_map(|message| match message {
            Broadcast::Said { text, .. } => Some(text),
            _ => None,
        });
        heard.extend(said);
        at = controls.iter().find_map(|control| control["at"].as_u64()).unwrap_or(at);
    }
    ensure!(heard == texts, "heard {heard:?}, not {texts:?}");
    ensure!(at > 0, "the messages have no position");
    Ok(at)
}

/// Reads frames until this text has arrived.
async fn hears_at_last<H: Harness, R: Scripted>(client: &Client<H, R>, last: &str) -> Result<()> {
    loop {
        let (_, messages) = client.frame().await?;
        if messages.iter().any(|message| matches!(message, Broadcast::Said { text, .. } if text == last)) {
            return Ok(());
        }
    }
}

/// Asserts that alice has got nothing else.
async fn hears_nothing<H: Harness, R: Scripted>(client: &Client<H, R>, room: &Room<H, R>) -> Result<u64> {
    room.run([send([with_id("alice")], "nothing else")]).await?;
    hears(client, &["nothing else"]).await
}

/// Connects alice again, with everything up to a position.
async fn again<H: Harness>(
    room: &Room<H, Archive>,
    client: &Client<H, Archive>,
    at: u64,
) -> Result<Client<H, Archive>> {
    join(room, returning(guest("alice"), client.token(), 1, at)).await
}

fn is_gap<H: Harness>(client: &Client<H, Archive>) -> Result<bool> {
    client.field("gap")
}

pub(super) async fn a_client_that_resumes_gets_what_it_missed_in_order_and_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let begun: u64 = alice.field("at")?;
    let bob = join(&room, modern("bob")).await?;
    bob.run(1, [say("one"), say("two")]).await?;
    let at = hears(&alice, &["one", "two"]).await?;
    holds!(begun < at, "{begun} {at}");
    hears(&bob, &["one", "two"]).await?;
    alice.peer.disconnect();
    bob.run(2, [say("three")]).await?;
    bob.run(3, [say("four"), say("five")]).await?;
    hears(&bob, &["three", "four", "five"]).await?;
    let back = again(&room, &alice, at).await?;
    same!((back.field::<bool>("resumed")?, is_gap(&back)?), (true, false));
    hears(&back, &["three", "four", "five"]).await?;
    bob.run(4, [say("six")]).await?;
    let at = hears(&back, &["six"]).await?;
    // A second time there is nothing to replay.
    back.peer.disconnect();
    let back = again(&room, &back, at).await?;
    same!(is_gap(&back)?, false);
    hears_nothing(&back, &room).await?;
    let log = room.log().await?;
    same!(log.iter().filter(|line| line.starts_with("resume")).count(), 2);
    holds!(log.contains(&"resume alice, gap: false".to_owned()), "{log:?}");
    Ok(())
}

pub(super) async fn messages_that_were_lost_with_the_connection_are_sent_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    room.run([say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    // As far as the room knows, they have arrived.
    room.run([say("two"), send([with_id("alice")], "three")]).await?;
    hears(&alice, &["two", "three"]).await?;
    let back = again(&room, &alice, at).await?;
    let code = loop {
        if let Arrival::Closed(code, _) = alice.peer.next_of_any_kind().await? {
            break code;
        }
    };
    same!(code, 1012);
    hears(&back, &["two", "three"]).await?;
    Ok(())
}

pub(super) async fn a_client_gets_only_what_was_addressed_to_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice").name("al").tags(["red", "big"])).await?;
    let bob = join(&room, modern("bob").tags(["blue"])).await?;
    alice.run(1, [Step::Subscribe("news".to_owned()), whisper("ready")]).await?;
    let at = hears(&alice, &["ready"]).await?;
    alice.peer.disconnect();
    // The loss is noticed, so that nobody is left who could hear of it.
    let told = async |steps: Vec<Step>| bob.run(0, steps).await;
    let any = |tags: &[&str]| Selector::TaggedAny(tags.iter().map(|tag| (*tag).to_owned()).collect());
    let topic = |name: &str| Selector::Topic(name.to_owned());
    told(vec![
        send([tagged("red")], "red"),
        send([tagged("blue")], "blue"),
        send([tagged("red"), tagged("big")], "red and big"),
        send([tagged("red"), tagged("small")], "red and small"),
        send([any(&["red", "blue"])], "any"),
        send([any(&["blue"])], "blue again"),
        send([with_id("alice")], "direct"),
        send([with_id("bob")], "to bob"),
        send([Selector::Except("bob".to_owned())], "not bob"),
        send([Selector::ExceptSender], "others"),
        send([Selector::ExceptSender, tagged("blue")], "other blues"),
        send([topic("news")], "news"),
        send([topic("other")], "other"),
        send([topic("news"), tagged("red")], "red news"),
        send([topic("news"), tagged("blue")], "blue news"),
        send([Selector::Named("al".to_owned())], "named"),
        send([Selector::Named("bo".to_owned())], "named otherwise"),
        say("all"),
    ])
    .await?;
    hears_at_last(&bob, "all").await?;
    let back = again(&room, &alice, at).await?;
    same!(is_gap(&back)?, false);
    let expected = ["red", "red and big", "any", "direct", "not bob", "others", "news", "red news", "named", "all"];
    hears(&back, &expected).await?;
    hears_nothing(&back, &room).await?;
    Ok(())
}

pub(super) async fn a_peer_that_a_message_excepted_does_not_get_it_later<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let at: u64 = alice.field("at")?;
    let except = Selector::Except("alice".to_owned());
    alice.run(0, [send([Selector::ExceptSender], "others"), send([except], "not alice"), whisper("me")]).await?;
    hears(&alice, &["me"]).await?;
    alice.peer.disconnect();
    let back = again(&room, &alice, at).await?;
    same!(is_gap(&back)?, false);
    hears(&back, &["me"]).await?;
    hears_nothing(&back, &room).await?;
    Ok(())
}

pub(super) async fn nobody_gets_what_was_sent_before_it_joined<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    room.run([say("a secret")]).await?;
    hears(&alice, &["a secret"]).await?;
    alice.peer.close().await?;
    let eve = join(&room, modern("alice")).await?;
    eve.peer.disconnect();
    let back = again(&room, &eve, 0).await?;
    same!(is_gap(&back)?, true);
    hears_nothing(&back, &room).await?;
    // A position that the room never gave is a gap too.
    back.peer.disconnect();
    let back = again(&room, &back, 1 << 50).await?;
    same!(is_gap(&back)?, true);
    Ok(())
}

pub(super) async fn a_log_that_does_not_reach_back_is_a_gap<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = join(&room, modern("bob")).await?;
    room.run([say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    alice.peer.disconnect();
    room.run((0..100).map(|n| say(&n.to_string())).collect::<Vec<_>>()).await?;
    room.script("on_resume", [whisper("a snapshot")]).await?;
    let back = again(&room, &alice, at).await?;
    same!((back.field::<bool>("resumed")?, is_gap(&back)?), (true, true));
    hears(&back, &["a snapshot"]).await?;
    // The welcome was lost: the client says the same again, and learns the same again.
    back.peer.disconnect();
    let back = again(&room, &back, at).await?;
    same!(is_gap(&back)?, true);
    let from: u64 = back.field("at")?;
    hears(&back, &["a snapshot"]).await?;
    // From the position in the welcome on, nothing is missing.
    back.peer.disconnect();
    room.script("on_resume", []).await?;
    room.run([say("after")]).await?;
    let back = again(&room, &back, from).await?;
    same!(is_gap(&back)?, false);
    hears(&back, &["a snapshot", "after"]).await?;
    let gaps: Vec<_> = room.log().await?.into_iter().filter(|line| line.starts_with("resume alice")).collect();
    same!(gaps, ["resume alice, gap: true", "resume alice, gap: true", "resume alice, gap: false"]);
    drop(bob);
    Ok(())
}

pub(super) async fn the_log_is_bounded_in_bytes_and_a_message_beyond_it_is_a_gap<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = join(&room, modern("bob")).await?;
    room.run([say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    alice.peer.disconnect();
    room.run([send([with_id("bob")], &"x".repeat(30_000)), say("two")]).await?;
    hears(&bob, &["one"]).await?;
    let back = again(&room, &alice, at).await?;
    // The long message was not for alice, so nothing is missing.
    same!(is_gap(&back)?, false);
    let at = hears(&back, &["two"]).await?;
    back.peer.disconnect();
    room.run([say(&"x".repeat(30_000)), say("three")]).await?;
    let back = again(&room, &back, at).await?;
    same!(is_gap(&back)?, true);
    let at: u64 = back.field("at")?;
    back.peer.disconnect();
    room.run((0..12).map(|n| say(&n.to_string().repeat(1_000))).collect::<Vec<_>>()).await?;
    let back = again(&room, &back, at).await?;
    same!(is_gap(&back)?, false);
    back.peer.disconnect();
    room.run((0..12).map(|n| say(&n.to_string().repeat(2_000))).collect::<Vec<_>>()).await?;
    let back = again(&room, &back, at).await?;
    same!(is_gap(&back)?, true);
    Ok(())
}

pub(super) async fn a_replay_survives_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice").tags(["red"])).await?;
    let bob = join(&room, modern("bob").tags(["red"])).await?;
    bob.run(1, [say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    hears(&bob, &["one"]).await?;
    room.hibernate().await?;
    bob.run(2, [send([tagged("red")], "two"), send([Selector::Named(String::new())], "three")]).await?;
    hears(&alice, &["two", "three"]).await?;
    let back = again(&room, &alice, at).await?;
    same!(is_gap(&back)?, false);
    let later = hears(&back, &["two", "three"]).await?;
    holds!(later > at, "{later} {at}");
    Ok(())
}

pub(super) async fn a_replay_survives_a_restart<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = join(&room, modern("bob")).await?;
    bob.run(1, [say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    let bobs = hears(&bob, &["one"]).await?;
    bob.run(2, [say("two")]).await?;
    hears(&bob, &["two"]).await?;
    room.restart().await?;
    let bob = join(&room, returning(guest("bob"), bob.token(), 3, bobs)).await?;
    hears(&bob, &["two"]).await?;
    bob.run(3, [say("three"), send([Selector::Named(String::new())], "four")]).await?;
    hears(&bob, &["three", "four"]).await?;
    let back = again(&room, &alice, at).await?;
    same!((back.field::<bool>("resumed")?, is_gap(&back)?), (true, false));
    hears(&back, &["two", "three", "four"]).await?;
    Ok(())
}

pub(super) async fn a_message_of_on_start_reaches_a_client_that_is_still_away<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    room.run([say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    room.restart().await?;
    room.script("on_start", [say("two")]).await?;
    room.run([say("three")]).await?;
    let back = again(&room, &alice, at).await?;
    same!(is_gap(&back)?, false);
    hears(&back, &["two", "three"]).await?;
    Ok(())
}

pub(super) async fn a_handler_that_holds_a_peer_reaches_it_after_it_has_resumed<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    room.script("on_away", [log("away")]).await?;
    let alice = join(&room, modern("alice")).await?;
    let at: u64 = alice.field("at")?;
    alice.run(0, [Step::Spawn(vec![hold("door"), whisper("late")])]).await?;
    alice.frame().await?;
    alice.peer.disconnect();
    until(&h, "on_away", || room.log(), |log| log.contains(&"away".to_owned())).await?;
    let back = again(&room, &alice, at).await?;
    room.run([open("door")]).await?;
    hears(&back, &["late"]).await?;
    Ok(())
}

pub(super) async fn a_place_that_was_given_up_is_a_gap<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    room.run([say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    alice.run(1, [log("x")]).await?;
    alice.frame().await?;
    // Its client gives the place up, and keeps the session.
    alice.peer.close().await?;
    room.run([say("two")]).await?;
    let back = join(&room, returning(guest("alice"), alice.token(), 2, at).on_connect([whisper("hello")])).await?;
    same!((back.field::<bool>("resumed")?, is_gap(&back)?), (true, true));
    let from: u64 = back.field("at")?;
    hears(&back, &["hello"]).await?;
    // The log of the new place has the message of `on_connect`.
    back.peer.disconnect();
    let back = again(&room, &back, from).await?;
    same!(is_gap(&back)?, false);
    hears(&back, &["hello"]).await?;
    holds!(room.log().await?.contains(&"connect alice with a gap".to_owned()), "no gap in on_connect");
    Ok(())
}

pub(super) async fn a_purge_ends_the_log<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    room.run([say("one")]).await?;
    let at = hears(&alice, &["one"]).await?;
    room.run([Step::Purge]).await?;
    let back = again(&room, &alice, at).await?;
    same!((back.field::<bool>("resumed")?, is_gap(&back)?), (false, true));
    hears_nothing(&back, &room).await?;
    Ok(())
}

pub(super) async fn a_message_to_a_peer_that_is_away_waits_for_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    room.script("on_away", [whisper("come back"), log("sent")]).await?;
    let alice = join(&room, modern("alice")).await?;
    let at: u64 = alice.field("at")?;
    alice.peer.disconnect();
    until(&h, "on_away", || room.log(), |log| log.contains(&"sent".to_owned())).await?;
    let back = again(&room, &alice, at).await?;
    hears(&back, &["come back"]).await?;
    Ok(())
}

pub(super) async fn the_workers_broadcast_is_replayed<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let at: u64 = alice.field("at")?;
    alice.peer.disconnect();
    room.broadcast(Broadcast::Said { from: None, text: "from the worker".to_owned() }).await?;
    let back = again(&room, &alice, at).await?;
    hears(&back, &["from the worker"]).await?;
    Ok(())
}

pub(super) async fn a_client_of_messagepack_gets_what_it_missed_in_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let offer = |names: &str| guest("alice").offering(&format!("room.v1.msgpack{names}"));
    let frame = async |peer: &crate::harness::Peer<H, Archive>| -> Result<Vec<Value>> {
        let bytes = is!(peer.next_of_any_kind().await?, Arrival::Binary(bytes) => bytes);
        Ok(rmp_serde::from_slice(&bytes)?)
    };
    let alice = room.connect(offer("")).await?;
    let welcome = frame(&alice).await?[0][0]["welcome"].take();
    let (token, at) = (welcome["session"].as_str().unwrap_or_default().to_owned(), welcome["at"].clone());
    room.run([say("one")]).await?;
    let one = frame(&alice).await?;
    same!(one[1]["text"], json!("one"));
    holds!(one[0][0]["at"].as_f64() > at.as_f64(), "{one:?}");
    alice.disconnect();
    let back = room.connect(offer(&format!(", room.v1.resume.{token}.1.{at}"))).await?;
    same!(frame(&back).await?[0][0]["welcome"]["gap"], json!(false));
    same!(frame(&back).await?, one);
    Ok(())
}

pub(super) async fn a_plain_client_of_a_room_with_a_log_gets_plain_messages<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let token = is!(alice.next_of_any_kind().await?, Arrival::Text(text) => text);
    holds!(token.starts_with("{\"$room\":{\"resume\""), "{token}");
    alice.send(&Event::Do { steps: vec![say("one")] }).await?;
    let text = is!(alice.next_of_any_kind().await?, Arrival::Text(text) => text);
    same!(serde_json::from_str::<Value>(&text)?, json!({ "type": "Said", "from": "alice", "text": "one" }));
    Ok(())
}
