//! Rules for values, beyond their types: the option `validate`.

use anyhow::Result;
use conformance_rooms::{
    api::{Failed, Line, Said},
    picky, probe, ruled,
    script::{Broadcast, Event, Item, Selector, Step, UpgradeStep},
    small,
};
use room_runtime::{Codec, ErrorKind, Violation};

use super::{
    codecs,
    steps::{attempt, rename, say, send, set_data, subscribe, topic, whisper, with_id},
    v1::{join, modern},
};
use crate::harness::{Arrival, Harness, guest, room};

/// A name that is too long for a peer of `ruled`.
const LONG: &str = "a name of 25 characters..";

fn order(text: &str, items: &[&str]) -> Event {
    let items = items.iter().map(|name| Item { name: (*name).to_owned() }).collect();
    Event::Order { text: text.to_owned(), items }
}

fn texts(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}

pub(super) async fn an_event_that_breaks_a_rule_is_an_error_frame_with_the_path_of_the_field<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([Step::Add(1)]).await?;
    let mut log = vec!["connect alice".to_owned(), "connect bob".to_owned()];
    let large = Event::Ping { n: u32::MAX };
    let events = [
        (order("", &[]), "text", "length is lower than 1"),
        (order(LONG, &["a", "b"]), "text", "length is greater than 20"),
        (order("x", &["a", "b", "c", ""]), "items[3].name", "length is lower than 1"),
        (order("x", &["a!"]), "items[0].name", "shouts"),
        (large.clone(), "n", "greater than 4000000000"),
        (
            Event::In { event: Box::new(Event::In { event: Box::new(large) }) },
            "event.event.n",
            "greater than 4000000000",
        ),
    ];
    for (event, path, message) in events {
        alice.send(&event).await?;
        let error = alice.next_error().await?;
        same!(error.code, ErrorKind::Invalid);
        let [violation] = &*error.violations else { anyhow::bail!("one violation: {error:?}") };
        same!((violation.path(), violation.message()), (path, message));
        same!(error.message, format!("this event breaks a rule of this room: `{path}`: {message}"));
        same!(error.retry_after_ms, None);
        let bytes = serde_json::to_string(&event)?.len();
        log.push(format!("decode_error alice: invalid, {bytes} bytes, with its text"));
        log.push(format!("invalid at {path:?}: `{path}`: {message}"));
        alice.fence().await?;
    }
    alice.send(&order("x", &["a", "b"])).await?;
    alice.expect(Broadcast::Pong { n: 2 }).await?;
    bob.fence().await?;
    same!(room.count().await?, 1);
    same!(room.log().await?, log);
    Ok(())
}

pub(super) async fn an_event_in_messagepack_that_breaks_a_rule_is_an_error_frame_in_messagepack<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(codecs::offering("alice", Codec::MessagePack)).await?;
    let event = order("x", &["a", ""]);
    codecs::send(&alice, &event).await?;
    let error = codecs::error(&alice).await?;
    same!(error.code, ErrorKind::Invalid);
    same!(texts(&error.violations), ["`items[1].name`: length is lower than 1"]);
    same!(error.message, "this event breaks a rule of this room: `items[1].name`: length is lower than 1");
    codecs::fence(&alice, 1).await?;
    let log = room.log().await?;
    same!(log.len(), 3);
    holds!(log[1].starts_with("decode_error alice: invalid, ") && log[1].ends_with("bytes, unread"), "{log:?}");
    same!(log[2], "invalid at \"items[1].name\": `items[1].name`: length is lower than 1");
    Ok(())
}

pub(super) async fn many_broken_rules_are_counted_and_some_are_shown<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.send(&order("", &["a", "!", ""])).await?;
    let error = alice.next_error().await?;
    // garde checks the fields of a type in the order of their names.
    let expected =
        ["`items[1].name`: shouts", "`items[2].name`: length is lower than 1", "`text`: length is lower than 1"];
    same!(texts(&error.violations), expected);
    same!(error.message, format!("this event breaks 3 rules of this room: {}", expected.join("; ")));

    alice.send(&order("x", &[""; 100])).await?;
    let error = alice.next_error().await?;
    let shown = error.violations.len();
    holds!((2..50).contains(&shown), "{shown} violations");
    same!(error.violations[0].path(), "items[0].name");
    let start = format!("this event breaks 100 rules of this room, shown are {shown}: `items[0].name`: ");
    holds!(error.message.starts_with(&start), "{error:?}");
    holds!(error.message.len() < 1_000, "a message of {} bytes", error.message.len());
    alice.fence().await?;
    Ok(())
}

pub(super) async fn size_and_type_are_checked_before_rules<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for (frame, kind) in [
        (format!(r#"{{"type":"Order","text":"{}","items":[]}}"#, "x".repeat(2_000)), ErrorKind::TooLarge),
        (format!(r#"{{"type":"Order","text":"{LONG}","items":[1]}}"#), ErrorKind::Decode),
        (format!(r#"{{"type":"Order","text":"{LONG}","items":[]}}"#), ErrorKind::Invalid),
    ] {
        alice.send_raw(frame).await?;
        same!(alice.next_error().await?.code, kind);
        alice.fence().await?;
    }
    Ok(())
}

pub(super) async fn a_frame_over_the_rate_is_not_validated<H: Harness>(h: H) -> Result<()> {
    let room = room::<picky::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for n in 1..=3 {
        alice.send(&Event::Ping { n }).await?;
        alice.expect(Broadcast::Pong { n }).await?;
    }
    // If the room had validated the frame, it would have closed the connection.
    alice.send(&order("", &[])).await?;
    same!(alice.next_error().await?.code, ErrorKind::RateLimited);
    Ok(())
}

pub(super) async fn a_room_that_closes_on_invalid_frames_closes_after_a_broken_rule<H: Harness>(h: H) -> Result<()> {
    let room = room::<picky::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.send(&order("", &[])).await?;
    let (code, reason) = is!(alice.next_of_any_kind().await?, Arrival::Closed(code, reason) => (code, reason));
    same!(code, 1007);
    same!(reason, "this event breaks a rule of this room: `text`: length is lower than 1");
    Ok(())
}

pub(super) async fn a_frame_that_breaks_a_rule_wakes_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    alice.send(&order("", &[])).await?;
    same!(alice.next_error().await?.code, ErrorKind::Invalid);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn an_event_of_the_worker_that_breaks_a_rule_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let failed = is!(room.try_send(order("x", &["a", ""])).await?, Err(failed) => failed);
    same!((failed.kind, failed.status), (ErrorKind::Invalid, 422));
    same!(texts(&failed.violations), ["`items[1].name`: length is lower than 1"]);
    same!(failed.message, "this event breaks a rule of this room: `items[1].name`: length is lower than 1");
    same!((failed.room.as_deref(), failed.handler), (Some(room.id()), None));
    // The answer to a key is stored like any other.
    for _ in 0..2 {
        let failed = is!(room.try_send_once("key", order("", &[])).await?, Err(failed) => failed);
        same!(
            (failed.kind, texts(&failed.violations)),
            (ErrorKind::Invalid, vec!["`text`: length is lower than 1".into()])
        );
    }
    is!(room.try_send(order("x", &["a"])).await?, Ok(()));
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_peer_of_the_worker_gets_the_broken_rules<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let lines = vec![Line::Send(order("", &[])), Line::Receive];
    let said = is!(room.dialogue(guest("alice"), lines).await?, Ok(said) => said);
    let failed = is!(&said[1], Said::Failed(failed) => failed);
    same!(
        (failed.kind, texts(&failed.violations)),
        (ErrorKind::Invalid, vec!["`text`: length is lower than 1".into()])
    );
    Ok(())
}

fn about_the_name(failed: &Failed, status: u16) -> Result<()> {
    same!((failed.kind, failed.status), (ErrorKind::Invalid, status));
    same!(texts(&failed.violations), ["`name`: length is greater than 20"]);
    same!(failed.message, "the peer's data breaks a rule of this room: `name`: length is greater than 20");
    Ok(())
}

pub(super) async fn data_of_an_upgrade_that_breaks_a_rule_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    // `on_upgrade` would repair the data, but sees valid data only.
    let repaired = guest("alice")
        .name(LONG)
        .on_upgrade([UpgradeStep::Log("asked".to_owned()), UpgradeStep::SetName("alice".to_owned())]);
    about_the_name(&room.failed(repaired).await?, 422)?;
    let bob = room.connect(guest("bob")).await?;
    bob.fence().await?;
    same!(room.peer_ids().await?, ["bob"]);
    same!(room.log().await?, ["connect bob"]);
    Ok(())
}

pub(super) async fn data_that_on_upgrade_makes_invalid_is_an_error_of_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    about_the_name(&room.failed(guest("alice").on_upgrade([UpgradeStep::SetNameTo(21)])).await?, 500)?;
    let alice = room.connect(guest("alice").on_upgrade([UpgradeStep::SetNameTo(20)])).await?;
    alice.fence().await?;
    same!(room.log().await?, ["connect alice"]);
    Ok(())
}

pub(super) async fn a_change_of_data_that_breaks_a_rule_is_a_typed_error_and_changes_nothing<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").on_connect([attempt(rename(LONG))])).await?;
    let invalid = |outcome| match outcome {
        Broadcast::Outcome { kind, message } => {
            same!(kind, Some(ErrorKind::Invalid));
            holds!(message.contains("`name`: length is greater than 20"), "{message}");
            Ok(())
        }
        other => anyhow::bail!("not an outcome: {other:?}"),
    };
    invalid(alice.next().await?)?;
    for step in [rename(LONG), set_data(LONG)] {
        invalid(alice.ask([attempt(step)]).await?)?;
        same!(room.peers(None).await?[0].data.name, "alice");
    }
    alice.run([rename("carol")]).await?;
    room.hibernate().await?;
    alice.fence().await?;
    same!(room.peers(None).await?[0].data.name, "carol");
    Ok(())
}

pub(super) async fn a_message_that_breaks_a_rule_is_a_typed_error_and_nobody_gets_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let long = "x".repeat(41);
    for step in [say(&long), whisper(&long), send([], &long), Step::RefuseWith(long.clone())] {
        let (kind, message) =
            is!(alice.ask([attempt(step)]).await?, Broadcast::Outcome { kind, message } => (kind, message));
        same!(kind, Some(ErrorKind::Invalid));
        holds!(
            message.contains("the message breaks a rule of this room: `text`: length is greater than 40"),
            "{message}"
        );
    }
    // The handler made the message, so its caller is not at fault.
    let failed = is!(room.try_run([say(&long)]).await?, Err(failed) => failed);
    same!((failed.kind, failed.status, failed.handler.as_deref()), (ErrorKind::Invalid, 500, Some("on_event")));
    // The Worker made this one.
    let failed =
        is!(room.try_broadcast(Broadcast::Said { from: None, text: long }, None).await?, Err(failed) => failed);
    same!((failed.kind, failed.status), (ErrorKind::Invalid, 422));
    same!(texts(&failed.violations), ["`text`: length is greater than 40"]);
    alice.run([say(&"x".repeat(40))]).await?;
    for peer in [&alice, &bob] {
        peer.hears(Some("alice"), &"x".repeat(40)).await?;
        peer.fence().await?;
    }
    Ok(())
}

pub(super) async fn a_message_to_a_topic_that_breaks_a_rule_reaches_no_peer_of_either_codec<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<ruled::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let carol = room.connect(codecs::offering("carol", Codec::MessagePack)).await?;
    is!(bob.ask([subscribe("news")]).await?, Broadcast::Topics { .. });
    codecs::run(&carol, [subscribe("news")]).await?;
    is!(codecs::next(&carol).await?, Broadcast::Topics { .. });
    let (long, valid) = ("x".repeat(41), "x".repeat(40));
    for to in [vec![topic("news")], vec![topic("news"), Selector::ExceptSender], vec![with_id("bob")]] {
        let kind = is!(alice.ask([attempt(send(to, &long))]).await?, Broadcast::Outcome { kind, .. } => kind);
        same!(kind, Some(ErrorKind::Invalid));
    }
    // A peer of MessagePack sends by the same rules.
    codecs::run(&carol, [attempt(say(&long))]).await?;
    is!(codecs::next(&carol).await?, Broadcast::Outcome { kind: Some(ErrorKind::Invalid), .. });
    alice.run([send([topic("news")], &valid)]).await?;
    bob.hears(Some("alice"), &valid).await?;
    same!(codecs::next(&carol).await?, Broadcast::Said { from: Some("alice".to_owned()), text: valid });
    Ok(())
}

pub(super) async fn a_batch_has_no_message_that_breaks_a_rule<H: Harness>(h: H) -> Result<()> {
    let room = room::<picky::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    bob.run([say("one"), attempt(say(&"x".repeat(41))), say("two")]).await?;
    bob.hears(Some("bob"), "one").await?;
    is!(bob.next().await?, Broadcast::Outcome { kind: Some(ErrorKind::Invalid), .. });
    bob.hears(Some("bob"), "two").await?;
    let said = |text: &str| Broadcast::Said { from: Some("bob".to_owned()), text: text.to_owned() };
    same!(alice.frame().await?, (vec![], vec![said("one"), said("two")]));
    Ok(())
}

pub(super) async fn a_room_without_the_option_checks_types_only<H: Harness>(h: H) -> Result<()> {
    let room = room::<small::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").name(LONG)).await?;
    alice.send(&order("", &[""])).await?;
    alice.expect(Broadcast::Pong { n: 1 }).await?;
    alice.run([rename(&"x".repeat(21)), say(&"x".repeat(41))]).await?;
    alice.hears(Some("alice"), &"x".repeat(41)).await?;
    // A room that validates events only checks nothing else.
    let room = crate::harness::room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice").name(LONG)).await?;
    alice.run([say(&"x".repeat(41))]).await?;
    alice.hears(Some("alice"), &"x".repeat(41)).await?;
    Ok(())
}
