//! The sessions of `room.v1`: numbers, outcomes, and clients that resume.

use anyhow::Result;
use conformance_rooms::{
    forgetful,
    lounge::lounge,
    metered, packed, probe,
    script::{Broadcast, Event, Scripted, Step},
};
use room_runtime::ErrorKind;
use serde_json::{Value, json};

use super::{
    steps::{fail, hold, log, open, say, whisper},
    v1::{Part, ack, heard, join, modern, resend, returning},
};
use crate::harness::{Arrival, Harness, Peer, anonymous, guest, room};

type Probe = probe::Room;

pub(super) async fn the_first_frame_welcomes_the_client<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    same!(alice.token().len(), 32);
    let expected = json!({
        "session": alice.token(), "resumed": false, "last": 0, "window": 64, "gap": false, "heartbeat": ["ping", "pong"],
    });
    same!(alice.welcome, expected);
    alice.peer.heartbeat().await?;
    let bob = join(&room, modern("bob")).await?;
    holds!(bob.token() != alice.token(), "both have one session");
    Ok(())
}

pub(super) async fn a_number_is_acknowledged_in_the_frame_of_the_answer<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.run(1, [Step::Add(1), whisper("one"), say("two")]).await?;
    let said = |text: &str| Broadcast::Said { from: Some("alice".to_owned()), text: text.to_owned() };
    same!(alice.frame().await?, (vec![json!({ "ack": 1 })], vec![said("one"), said("two")]));
    // The messages of a handler that waits are sent as they come, and the acknowledgement after its end.
    alice.run(2, [whisper("before"), Step::Sleep(20), whisper("after")]).await?;
    same!(alice.frame().await?, (vec![], vec![said("before")]));
    same!(alice.frame().await?, (vec![], vec![said("after")]));
    same!(alice.frame().await?, (vec![json!({ "ack": 2 })], vec![]));
    Ok(())
}

pub(super) async fn an_event_without_a_number_is_handled_and_not_acknowledged<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.run(0, [whisper("one")]).await?;
    alice.run(1, [whisper("two")]).await?;
    alice.expect([heard(Some("alice"), "one"), heard(Some("alice"), "two"), ack(1)]).await?;
    alice.run(0, [fail("no")]).await?;
    alice.fails(None, ErrorKind::Handler).await?;
    alice.fence().await
}

pub(super) async fn a_number_is_handled_once_also_after_a_wake<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.run(1, [Step::Add(1)]).await?;
    alice.expect([ack(1)]).await?;
    room.hibernate().await?;
    alice.run(1, [Step::Add(100)]).await?;
    alice.run(2, [Step::Add(1)]).await?;
    alice.expect([ack(1), ack(2)]).await?;
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn a_number_is_handled_once_also_after_a_restart<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    for number in [1, 2] {
        alice.run(number, [Step::Add(1)]).await?;
        alice.expect([ack(number)]).await?;
    }
    alice.run(1, [Step::Add(100)]).await?;
    alice.run(2, [Step::Add(100)]).await?;
    alice.expect([ack(1), ack(2)]).await?;
    alice.run(3, [Step::Add(1)]).await?;
    alice.expect([ack(3)]).await?;
    room.restart().await?;
    let again = join(&room, returning(guest("alice"), alice.token(), 3, 0)).await?;
    same!((again.field::<bool>("resumed")?, again.field::<u64>("last")?), (true, 3));
    again.expect([ack(3)]).await?;
    again.run(3, [Step::Add(100)]).await?;
    again.run(4, [Step::Add(1)]).await?;
    again.expect([ack(3), ack(4)]).await?;
    same!(room.count().await?, 4);
    Ok(())
}

pub(super) async fn a_number_that_is_too_high_is_ignored_and_the_missing_one_asked_for_once<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    for number in [2, 3] {
        alice.run(number, [Step::Add(100)]).await?;
    }
    alice.expect([resend(1)]).await?;
    for number in [1, 2, 3] {
        alice.run(number, [Step::Add(1)]).await?;
        alice.expect([ack(number)]).await?;
    }
    alice.run(5, [Step::Add(100)]).await?;
    alice.expect([resend(4)]).await?;
    // The client has an outcome for everything below 5.
    alice.raw(r#"{"from":5}"#).await?;
    alice.run(5, [Step::Add(1)]).await?;
    alice.expect([ack(5)]).await?;
    same!(room.count().await?, 4);
    Ok(())
}

pub(super) async fn a_frame_that_fails_is_answered_with_its_number_and_settled<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.raw(r#"[1,{"type":"Unknown"}]"#).await?;
    alice.fails(1, ErrorKind::Decode).await?;
    alice.run(2, [Step::Add(1), fail("no")]).await?;
    same!(alice.fails(2, ErrorKind::Handler).await?, "the room could not handle this event");
    alice.run(3, [Step::Add(1), Step::Refuse("not you".to_owned())]).await?;
    same!(alice.fails(3, ErrorKind::Refused).await?, "not you");
    alice.run(4, [Step::RefuseWith("look".to_owned())]).await?;
    alice.expect([heard(None, "look")]).await?;
    alice.fails(4, ErrorKind::Refused).await?;
    alice.raw(r#"[5,{"type":"Order","text":"","items":[]}]"#).await?;
    alice.fails(5, ErrorKind::Invalid).await?;
    alice.run(6, [Step::Add(1)]).await?;
    alice.expect([ack(6)]).await?;
    // Each is answered as before, also by an object that was loaded again.
    for _ in 0..2 {
        alice.run(2, [Step::Add(100)]).await?;
        alice.fails(2, ErrorKind::Handler).await?;
        alice.run(3, [Step::Add(100)]).await?;
        same!(alice.fails(3, ErrorKind::Refused).await?, "not you");
        room.hibernate().await?;
    }
    same!(room.count().await?, 3);
    Ok(())
}

pub(super) async fn a_frame_of_another_form_is_an_error_without_a_number<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    for text in ["{", "[]", "[1]", "7", "", r#"{"type":"Ping","n":1}"#, r#"{"from":"x"}"#] {
        alice.raw(text).await?;
        alice.fails(None, ErrorKind::Decode).await?;
    }
    alice.raw(r#"[1,"nothing",{}]"#).await?;
    let message = alice.fails(1, ErrorKind::Decode).await?;
    holds!(message.contains("nothing"), "{message}");
    alice.run(2, [Step::Add(1)]).await?;
    alice.expect([ack(2)]).await?;
    Ok(())
}

pub(super) async fn frames_over_the_rate_are_settled_in_their_turn<H: Harness>(h: H) -> Result<()> {
    let room = room::<metered::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    // The bucket has four tokens.
    alice.run(1, [hold("gate")]).await?;
    alice.expect([Part::Message(Broadcast::Holding { gate: "gate".to_owned() })]).await?;
    for number in 2..=5 {
        alice.run(number, [whisper(&number.to_string())]).await?;
    }
    room.run([open("gate")]).await?;
    alice.expect([ack(1)]).await?;
    for number in 2..=4 {
        alice.expect([heard(Some("alice"), &number.to_string()), ack(number)]).await?;
    }
    alice.fails(5, ErrorKind::RateLimited).await?;
    Ok(())
}

pub(super) async fn a_crash_fails_the_running_frame_and_asks_for_the_waiting_ones<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run(1, [Step::Add(1)]).await?;
    alice.expect([ack(1)]).await?;
    alice.run(2, [Step::Add(1), hold("gate")]).await?;
    alice.expect([Part::Message(Broadcast::Holding { gate: "gate".to_owned() })]).await?;
    bob.holding("gate").await?;
    for number in 3..=4 {
        alice.run(number, [Step::Add(1)]).await?;
    }
    // The room has taken the frames before it panics.
    alice.peer.heartbeat().await?;
    bob.run([Step::Panic]).await?;
    alice.fails(2, ErrorKind::Restarted).await?;
    alice.expect([resend(3)]).await?;
    alice.raw(r#"{"from":3}"#).await?;
    for number in 3..=4 {
        alice.run(number, [Step::Add(1)]).await?;
        alice.expect([ack(number)]).await?;
    }
    // The part before the crash was stored.
    same!(room.count().await?, 4);
    Ok(())
}

pub(super) async fn messages_before_a_crash_reach_their_sender<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.run(1, [whisper("one"), say("two"), Step::Panic]).await?;
    alice.expect([heard(Some("alice"), "one"), heard(Some("alice"), "two")]).await?;
    alice.fails(1, ErrorKind::Restarted).await?;
    Ok(())
}

pub(super) async fn a_session_resumes_as_a_new_peer_with_its_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let first = join(&room, anonymous().offering("room.v1")).await?;
    first.run(1, [Step::Report]).await?;
    let id =
        is!(first.next().await?, Part::Message(Broadcast::Report { report }) => report.sender.map(|sender| sender.id));
    first.expect([ack(1)]).await?;
    first.run(2, [fail("no")]).await?;
    first.fails(2, ErrorKind::Handler).await?;
    first.peer.disconnect();
    let again = join(&room, returning(anonymous(), first.token(), 1, 0)).await?;
    same!(again.token(), first.token());
    same!((again.field::<bool>("resumed")?, again.field::<u64>("last")?, again.field::<bool>("gap")?), (true, 2, true));
    // The outcomes that the client does not know.
    again.fails(2, ErrorKind::Handler).await?;
    again.expect([ack(2)]).await?;
    again.run(3, [Step::Report]).await?;
    let now =
        is!(again.next().await?, Part::Message(Broadcast::Report { report }) => report.sender.map(|sender| sender.id));
    same!(now, id);
    again.expect([ack(3)]).await?;
    Ok(())
}

pub(super) async fn a_session_of_another_id_and_an_unknown_one_are_not_resumed<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.run(1, [Step::Add(1)]).await?;
    alice.expect([ack(1)]).await?;
    let unknown = "0f".repeat(16);
    for (id, token) in [("mallory", alice.token()), ("alice", &unknown)] {
        let other = join(&room, returning(guest(id), token, 1, 0)).await?;
        holds!(other.token() != token, "{id} resumes it");
        same!(
            (other.field::<bool>("resumed")?, other.field::<u64>("last")?, other.field::<bool>("gap")?),
            (false, 0, true)
        );
        other.run(1, [Step::Add(1)]).await?;
        other.expect([ack(1)]).await?;
    }
    alice.fence().await?;
    same!(room.count().await?, 3);
    Ok(())
}

pub(super) async fn a_session_that_resumes_closes_its_old_connection<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let old = join(&room, modern("alice")).await?;
    old.run(1, [Step::Add(1), hold("gate"), Step::Add(1)]).await?;
    old.expect([Part::Message(Broadcast::Holding { gate: "gate".to_owned() })]).await?;
    let new = join(&room, returning(guest("alice"), old.token(), 1, 0)).await?;
    same!(old.peer.closed().await?, (1012, "resumed by a new connection".to_owned()));
    // The handler of the old connection still runs: the same number waits for its outcome.
    new.run(1, [Step::Add(100)]).await?;
    room.run([open("gate")]).await?;
    let part = new.next().await?;
    same!(part, ack(1));
    new.run(2, [Step::Add(1)]).await?;
    // The end of the old handler may have been acknowledged on its own.
    let mut next = new.next().await?;
    if next == ack(1) {
        next = new.next().await?;
    }
    same!(next, ack(2));
    same!(room.count().await?, 3);
    Ok(())
}

pub(super) async fn a_session_resumes_its_place_within_the_grace<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    // Without a number there is no stored session, and the place is found all the same.
    alice.peer.disconnect();
    let second = join(&room, returning(anonymous(), alice.token(), 1, 0)).await?;
    same!((second.token(), second.field::<bool>("resumed")?), (alice.token(), true));
    second.run(1, [log("one")]).await?;
    second.expect([ack(1)]).await?;
    second.peer.disconnect();
    let third = join(&room, returning(guest("alice"), alice.token(), 2, 0)).await?;
    same!((third.field::<bool>("resumed")?, third.field::<u64>("last")?), (true, 1));
    third.run(2, [log("two")]).await?;
    third.expect([ack(2)]).await?;
    let log = room.log().await?;
    let resumed = log.iter().filter(|line| *line == "resume alice").count();
    same!((resumed, log.iter().filter(|line| line.starts_with("connect")).count()), (2, 1));
    Ok(())
}

pub(super) async fn a_session_of_which_no_number_arrived_resumes<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.peer.disconnect();
    room.restart().await?;
    let again = join(&room, returning(guest("alice"), alice.token(), 1, 0)).await?;
    same!((again.field::<bool>("resumed")?, again.field::<u64>("last")?), (true, 0));
    // It goes on under a token that names its present place.
    again.peer.disconnect();
    let again = join(&room, returning(guest("alice"), again.token(), 1, 0)).await?;
    same!((again.field::<bool>("resumed")?, again.field::<u64>("last")?), (true, 0));
    again.run(1, [Step::Add(1)]).await?;
    again.expect([ack(1)]).await?;
    Ok(())
}

pub(super) async fn a_room_remembers_as_many_sessions_as_it_is_told_for_as_long<H: Harness>(h: H) -> Result<()> {
    let room = room::<forgetful::Room, _>(&h, "r");
    let mut tokens = Vec::new();
    for id in ["alice", "bob", "carol"] {
        let client = join(&room, modern(id)).await?;
        client.run(1, [Step::Add(1)]).await?;
        client.expect([ack(1)]).await?;
        client.peer.disconnect();
        tokens.push((id, client.token().to_owned()));
        // The next session is later, on a clock of milliseconds.
        h.clone().pass(std::time::Duration::from_millis(5)).await;
    }
    let resumed = async |(id, token): &(&str, String)| {
        let again = join(&room, returning(guest(id), token, 2, 0)).await?;
        let resumed: bool = again.field("resumed")?;
        again.peer.disconnect();
        anyhow::Ok(resumed)
    };
    same!((resumed(&tokens[0]).await?, resumed(&tokens[2]).await?), (false, true));
    h.clone().pass(std::time::Duration::from_secs(4)).await;
    same!(resumed(&tokens[2]).await?, false);
    Ok(())
}

pub(super) async fn a_purge_ends_the_sessions<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = join(&room, modern("bob")).await?;
    bob.run(1, [Step::Add(1)]).await?;
    bob.expect([ack(1)]).await?;
    alice.run(1, [Step::Purge]).await?;
    same!(alice.peer.closed().await?.0, 1000);
    same!(bob.peer.closed().await?.0, 1000);
    let again = join(&room, returning(guest("bob"), bob.token(), 1, 0)).await?;
    same!(again.field::<bool>("resumed")?, false);
    again.run(1, [Step::Add(1)]).await?;
    again.expect([ack(1)]).await?;
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn the_token_reaches_no_handler_and_is_not_echoed<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let guest = returning(guest("bob"), alice.token(), 1, 0);
    let bob = join(&room, guest).await?;
    same!(bob.peer.protocol().as_deref(), Some("room.v1"));
    let refused =
        room.refused(crate::harness::guest("carol").offering(&format!("x, room.v1.resume.{}.1.0", alice.token())));
    let text = String::from_utf8_lossy(refused.await?.body()).into_owned();
    holds!(text.contains("`x`") && !text.contains(alice.token()), "{text}");
    Ok(())
}

/// Sends a script with a number in MessagePack.
async fn run_packed<H: Harness, R: Scripted>(
    peer: &Peer<H, R>,
    number: u64,
    steps: impl Into<Vec<Step>>,
) -> Result<()> {
    peer.send_binary(rmp_serde::to_vec_named(&(number, Event::Do { steps: steps.into() }))?).await
}

/// Returns the next frame in MessagePack: its controls, and its messages.
async fn packed_frame<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<(Value, Vec<Value>)> {
    let bytes = is!(peer.next_of_any_kind().await?, Arrival::Binary(bytes) => bytes);
    let mut parts: Vec<Value> = rmp_serde::from_slice(&bytes)?;
    Ok((parts.remove(0), parts))
}

pub(super) async fn a_session_in_messagepack_has_the_same_frames<H: Harness>(h: H) -> Result<()> {
    let room = room::<packed::Room, _>(&h, "r");
    let offer = |names: &str| guest("alice").offering(&format!("room.v1, room.v1.msgpack{names}"));
    let alice = room.connect(offer("")).await?;
    same!(alice.protocol().as_deref(), Some("room.v1.msgpack"));
    let (welcome, _) = packed_frame(&alice).await?;
    let token = welcome[0]["welcome"]["session"].as_str().unwrap_or_default().to_owned();
    let said = |text: &str| json!({ "type": "Said", "from": "alice", "text": text });
    run_packed(&alice, 1, [whisper("one"), say("two")]).await?;
    same!(packed_frame(&alice).await?, (json!([{ "ack": 1 }]), vec![said("one"), said("two")]));
    // More messages than the shortest head of a list can count.
    run_packed(&alice, 2, (0..20).map(|n| whisper(&n.to_string())).collect::<Vec<_>>()).await?;
    let (controls, messages) = packed_frame(&alice).await?;
    same!((controls, messages.len(), messages[19].clone()), (json!([{ "ack": 2 }]), 20, said("19")));
    run_packed(&alice, 4, [Step::Add(100)]).await?;
    same!(packed_frame(&alice).await?, (json!([{ "resend": 3 }]), vec![]));
    run_packed(&alice, 3, [fail("no")]).await?;
    let (controls, _) = packed_frame(&alice).await?;
    same!((&controls[0]["error"]["n"], &controls[0]["error"]["code"]), (&json!(3), &json!("handler")));
    // A text frame has no number.
    alice.send_raw("[4,7]").await?;
    let (controls, _) = packed_frame(&alice).await?;
    same!((&controls[0]["error"]["n"], &controls[0]["error"]["code"]), (&Value::Null, &json!("decode")));
    alice.disconnect();
    let again = room.connect(offer(&format!(", room.v1.resume.{token}.1.0"))).await?;
    let (welcome, _) = packed_frame(&again).await?;
    same!((&welcome[0]["welcome"]["resumed"], &welcome[0]["welcome"]["last"]), (&json!(true), &json!(3)));
    let (controls, _) = packed_frame(&again).await?;
    same!(&controls[0]["error"]["n"], &json!(3));
    same!(packed_frame(&again).await?, (json!([{ "ack": 3 }]), vec![]));
    again.send_binary(b"\x81\xa4from\x06".to_vec()).await?;
    run_packed(&again, 6, [Step::Add(1)]).await?;
    same!(packed_frame(&again).await?, (json!([{ "ack": 6 }]), vec![]));
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_crash_is_reported_to_a_session_in_messagepack<H: Harness>(h: H) -> Result<()> {
    let room = room::<packed::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").offering("room.v1.msgpack")).await?;
    packed_frame(&alice).await?;
    run_packed(&alice, 1, [hold("gate")]).await?;
    same!(packed_frame(&alice).await?, (json!([]), vec![json!({ "type": "Holding", "gate": "gate" })]));
    for number in 2..=3 {
        run_packed(&alice, number, [Step::Add(1)]).await?;
    }
    alice.heartbeat().await?;
    same!(room.try_run([Step::Panic]).await?.is_err(), true);
    let (controls, _) = packed_frame(&alice).await?;
    same!((&controls[0]["error"]["n"], &controls[0]["error"]["code"]), (&json!(1), &json!("restarted")));
    same!(packed_frame(&alice).await?, (json!([{ "resend": 2 }]), vec![]));
    Ok(())
}

pub(super) async fn a_plain_client_sees_nothing_of_sessions<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run(1, [say("hi")]).await?;
    alice.expect([heard(Some("alice"), "hi"), ack(1)]).await?;
    bob.hears(Some("alice"), "hi").await?;
    bob.send_raw(r#"[1,{"type":"Ping","n":1}]"#).await?;
    same!(bob.next_error().await?.code, ErrorKind::Decode);
    bob.fence().await?;
    let _: Value = alice.field("session")?;
    Ok(())
}
