//! The functions of a room: calls by peers, by the Worker, and by other rooms.

use anyhow::Result;
use conformance_rooms::{
    desk::{desk, front},
    script::{Event, Scripted, Step},
};
use room_runtime::{ErrorKind, SUBPROTOCOL, SUBPROTOCOL_MSGPACK};
use serde_json::{Value, json};

use super::{
    steps::{log, open},
    v1::{Client, Part, ack, heard, join, modern, resend, returning},
};
use crate::harness::{Arrival, Harness, Peer, guest, room};

type Desk = desk::Room;

impl<H: Harness, R: Scripted> Client<H, R> {
    async fn call(&self, number: u64, name: &str, arguments: Value) -> Result<()> {
        self.raw(format!("[{number},\"{name}\",{arguments}]")).await
    }
}

fn answer(number: u64, value: impl Into<Value>) -> Part {
    Part::Control(json!({ "answer": { "n": number, "value": value.into() } }))
}

fn own_error(number: u64, error: Value) -> Part {
    Part::Control(json!({ "answer": { "n": number, "error": error } }))
}

pub(super) async fn a_peer_gets_the_value_or_the_error_of_the_function<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "add", json!({ "amount": 2 })).await?;
    alice.call(2, "add", json!({ "amount": 0, "gate": null })).await?;
    alice.call(3, "add", json!({ "amount": -5 })).await?;
    alice.call(4, "caller", json!({})).await?;
    alice.expect([answer(1, 2), own_error(2, json!({ "type": "Nothing" }))]).await?;
    alice.expect([own_error(3, json!({ "type": "Wrong", "count": -3 })), answer(4, "alice")]).await?;
    // Only a failure takes nothing back; an error of the function's own is as good as a value.
    same!(room.count().await?, -3);
    alice.raw(r#"[5,"echo",{"number":18446744073709551615,"float":1e300,"list":[null,true]}]"#).await?;
    let Arrival::Text(text) = alice.peer.next_of_any_kind().await? else { anyhow::bail!("a text") };
    same!(text, r#"[[{"answer":{"n":5,"value":[18446744073709551615,1e+300,[null,true]]}}]]"#);
    Ok(())
}

pub(super) async fn an_answer_follows_the_messages_of_its_function<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "announce", json!({ "text": "hi" })).await?;
    let said = conformance_rooms::script::Broadcast::Said { from: Some("alice".to_owned()), text: "hi".to_owned() };
    same!(alice.frame().await?, (vec![json!({ "answer": { "n": 1, "value": null } })], vec![said]));
    Ok(())
}

pub(super) async fn a_call_that_fails_is_answered_with_its_number<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "fail", json!({})).await?;
    same!(alice.fails(1, ErrorKind::Handler).await?, "the room could not handle this call");
    alice.call(2, "decline", json!({})).await?;
    same!(alice.fails(2, ErrorKind::Refused).await?, "not now");
    for (number, name, arguments, part) in [
        (3, "nothing", json!({}), "the room has no call `nothing`"),
        // The same words as for a function that does not exist.
        (4, "reset", json!({}), "the room has no call `reset`"),
        (5, "add", json!({}), "missing field `amount`"),
        (6, "add", json!({ "amount": "2" }), "invalid type: string"),
        (7, "add", json!({ "amount": 2, "amont": 2 }), "unknown field `amont`"),
        (8, "add", json!(2), "the arguments of a call are an object by name"),
        (9, "add", json!([2]), "the arguments of a call are an object by name"),
    ] {
        alice.call(number, name, arguments).await?;
        let message = alice.fails(number, ErrorKind::Decode).await?;
        holds!(message.starts_with("this is not a call of this room: ") && message.contains(part), "{message}");
    }
    alice.call(10, "text", json!({ "length": 1_000_001 })).await?;
    alice.fails(10, ErrorKind::Handler).await?;
    alice.call(0, "caller", json!({})).await?;
    alice.fails(None, ErrorKind::Decode).await?;
    alice.call(11, "text", json!({ "length": "x".repeat(100_001) })).await?;
    alice.fails(11, ErrorKind::TooLarge).await?;
    alice.call(12, "caller", json!({})).await?;
    alice.expect([answer(12, "alice")]).await?;
    same!(room.count().await?, 100);
    let log = room.log().await?;
    holds!(log.iter().any(|line| line.contains("fail") && line.contains("a secret")), "{log:?}");
    Ok(())
}

pub(super) async fn a_plain_client_cannot_call<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice: Peer<H, Desk> = room.connect(guest("alice").offering("chat").protocol("chat")).await?;
    alice.send_raw(r#"[1,"caller",{}]"#).await?;
    same!(alice.next_error().await?.code, ErrorKind::Decode);
    Ok(())
}

pub(super) async fn a_call_runs_once_also_after_a_wake<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "add", json!({ "amount": 2 })).await?;
    alice.expect([answer(1, 2)]).await?;
    room.hibernate().await?;
    alice.call(1, "add", json!({ "amount": 100 })).await?;
    alice.call(2, "announce", json!({ "text": "x" })).await?;
    alice.expect([answer(1, 2), heard(Some("alice"), "x"), answer(2, Value::Null)]).await?;
    alice.call(2, "announce", json!({ "text": "y" })).await?;
    alice.expect([answer(2, Value::Null)]).await?;
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn a_client_that_resumes_gets_the_answer_that_it_missed<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "add", json!({ "amount": 2, "gate": "door" })).await?;
    alice.expect([Part::Message(conformance_rooms::script::Broadcast::Holding { gate: "door".to_owned() })]).await?;
    alice.peer.disconnect();
    room.run([open("door")]).await?;
    let alice = join(&room, returning(guest("alice"), alice.token(), 1, 0)).await?;
    // The frame that went on after the loss of its connection is settled by now, or is soon.
    match alice.next().await? {
        part if part == answer(1, 2) => alice.expect([ack(1)]).await?,
        part => holds!(part == ack(0), "{part:?}"),
    }
    alice.call(1, "add", json!({ "amount": 100 })).await?;
    alice.expect([answer(1, 2)]).await?;
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn a_session_keeps_the_last_of_its_large_answers<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    let large = |number| answer(number, Value::String("x".repeat(20_000)));
    for number in 1..=2 {
        alice.call(number, "text", json!({ "length": 20_000 })).await?;
        alice.expect([large(number)]).await?;
    }
    alice.call(3, "text", json!({ "length": 1 })).await?;
    alice.expect([answer(3, "x")]).await?;
    let alice = join(&room, returning(guest("alice"), alice.token(), 1, 0)).await?;
    let message = alice.fails(1, ErrorKind::ValueTooLarge).await?;
    holds!(message.contains("the call was handled"), "{message}");
    alice.expect([large(2), answer(3, "x"), ack(3)]).await?;
    Ok(())
}

pub(super) async fn a_call_that_is_lost_in_a_panic_fails<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "panics", json!({})).await?;
    alice.fails(1, ErrorKind::Restarted).await?;
    // The room has not stored the outcome of what ended it.
    alice.call(2, "add", json!({ "amount": 2 })).await?;
    alice.expect([resend(1)]).await?;
    alice.raw(r#"{"from":2}"#).await?;
    alice.call(2, "add", json!({ "amount": 2 })).await?;
    alice.expect([answer(2, 2)]).await?;
    alice.call(4, "add", json!({ "amount": 2 })).await?;
    alice.expect([resend(3)]).await?;
    Ok(())
}

pub(super) async fn calls_and_events_of_a_peer_run_in_order<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    alice.call(1, "add", json!({ "amount": 1, "gate": "door" })).await?;
    alice.run(2, [log("event")]).await?;
    alice.call(3, "add", json!({ "amount": 1 })).await?;
    alice.next().await?;
    let bob = join(&room, modern("bob")).await?;
    bob.call(1, "add", json!({ "amount": 5 })).await?;
    bob.expect([answer(1, 5)]).await?;
    room.run([open("door")]).await?;
    alice.expect([answer(1, 6), ack(2), answer(3, 7)]).await?;
    Ok(())
}

pub(super) async fn a_client_of_messagepack_calls_in_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice: Peer<H, Desk> = room.connect(guest("alice").offering(SUBPROTOCOL_MSGPACK)).await?;
    let next = async || match alice.next_of_any_kind().await? {
        Arrival::Binary(bytes) => Ok(rmp_serde::from_slice::<Value>(&bytes)?),
        other => anyhow::bail!("waited for a binary frame and got {other:?}"),
    };
    next().await?;
    alice.send_binary(rmp_serde::to_vec_named(&json!([1, "add", { "amount": 2 }]))?).await?;
    same!(next().await?, json!([[{ "answer": { "n": 1, "value": 2 } }]]));
    alice.send_binary(rmp_serde::to_vec_named(&json!([2, "add", { "amount": "x" }]))?).await?;
    let failed = next().await?;
    same!(failed[0][0]["error"]["n"], 2);
    same!(failed[0][0]["error"]["code"], "decode");
    alice
        .send_binary(rmp_serde::to_vec_named(&json!([3, "echo", { "number": u64::MAX, "float": 1.5, "list": [] }]))?)
        .await?;
    same!(next().await?, json!([[{ "answer": { "n": 3, "value": [u64::MAX, 1.5, []] } }]]));
    Ok(())
}

pub(super) async fn another_room_calls_with_the_types_of_the_function<H: Harness>(h: H) -> Result<()> {
    let (front, desk) = (room::<front::Room, _>(&h, "r"), room::<Desk, _>(&h, "r"));
    let alice = front.connect(guest("alice")).await?;
    let ask = async |n: u32| {
        alice.send(&Event::Ping { n }).await?;
        match alice.next().await? {
            conformance_rooms::script::Broadcast::Said { text, .. } => anyhow::Ok(text),
            other => anyhow::bail!("{other:?}"),
        }
    };
    same!(ask(0).await?, "Err(Returned(Nothing))");
    same!(ask(2).await?, "Some(2)");
    same!(ask(200).await?, "Some(3) Some(3)");
    same!(ask(100).await?, "Some(None)");
    same!(ask(107).await?, "Some(Wrong { count: -997 })");
    same!(ask(101).await?, "Some(-997)");
    same!(ask(102).await?, "Some((18446744073709551615, 0.1, [None, Some(true)]))");
    same!(ask(103).await?, "handler 500 Some(\"fail\") a secret");
    same!(ask(104).await?, "refused 409 Some(\"decline\") not now");
    holds!(ask(105).await?.starts_with("value_too_large"), "the result is too large");
    holds!(ask(106).await?.starts_with("purged"), "a purge leaves no answer");
    same!(desk.count().await?, 0);
    Ok(())
}

pub(super) async fn a_client_that_offers_room_v1_and_a_room_without_functions<H: Harness>(h: H) -> Result<()> {
    let room = room::<conformance_rooms::probe::Room, _>(&h, "r");
    let alice = join(&room, modern("alice")).await?;
    same!(alice.peer.protocol().as_deref(), Some(SUBPROTOCOL));
    alice.call(1, "add", json!({ "amount": 2 })).await?;
    alice.fails(1, ErrorKind::Decode).await?;
    alice.run(2, [Step::Add(1)]).await?;
    alice.expect([ack(2)]).await
}
