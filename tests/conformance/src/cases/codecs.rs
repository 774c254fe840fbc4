//! The option `codec`: rooms of MessagePack, and rooms whose clients choose.
//!
//! The clients of these cases write and read MessagePack with another implementation than the room's.

use anyhow::{Context, Result};
use conformance_rooms::{
    api::{Line, Said},
    mixed, packed,
    script::{Broadcast, Event, Scripted, Step, Thing},
};
use room_runtime::{Codec, ErrorKind};
use serde_json::{Value, json};

use super::steps::{fail, log};
use crate::harness::{Arrival, FrameError, Guest, Harness, Peer, guest, room, until};

/// A guest whose client offers a codec.
fn offering(id: &str, codec: Codec) -> Guest {
    guest(id).offering(codec.protocol())
}

async fn send<H: Harness, R: Scripted>(peer: &Peer<H, R>, event: &Event) -> Result<()> {
    peer.send_binary(rmp_serde::to_vec_named(event)?).await
}

async fn run<H: Harness, R: Scripted>(peer: &Peer<H, R>, steps: impl Into<Vec<Step>>) -> Result<()> {
    send(peer, &Event::Do { steps: steps.into() }).await
}

async fn bytes<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<Vec<u8>> {
    Ok(is!(peer.next_of_any_kind().await?, Arrival::Binary(bytes) => bytes))
}

async fn next<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<Broadcast> {
    let bytes = bytes(peer).await?;
    rmp_serde::from_slice(&bytes).with_context(|| format!("not a message: {bytes:x?}"))
}

/// The next frame of the runtime, as JSON.
async fn notice<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<Value> {
    let bytes = bytes(peer).await?;
    let frame: Value = rmp_serde::from_slice(&bytes).with_context(|| format!("not a frame: {bytes:x?}"))?;
    frame.get("$room").cloned().with_context(|| format!("{frame} is not from the runtime"))
}

async fn error<H: Harness, R: Scripted>(peer: &Peer<H, R>) -> Result<FrameError> {
    let notice = notice(peer).await?;
    let error = notice.get("error").cloned().with_context(|| format!("{notice} is no error"))?;
    Ok(serde_json::from_value(error)?)
}

/// Asserts that no other frame has arrived.
async fn fence<H: Harness, R: Scripted>(peer: &Peer<H, R>, n: u32) -> Result<()> {
    send(peer, &Event::Ping { n }).await?;
    same!(next(peer).await?, Broadcast::Pong { n });
    Ok(())
}

/// Connects to the room of MessagePack, and takes the resume token.
async fn enter<H: Harness>(
    h: &H,
    guest: Guest,
) -> Result<(crate::harness::Room<H, packed::Room>, Peer<H, packed::Room>, String)> {
    let room = room::<packed::Room, _>(h, "r");
    let peer = room.connect(guest).await?;
    let notice = notice(&peer).await?;
    let token = notice.get("resume").and_then(Value::as_str).context("no token")?.to_owned();
    Ok((room, peer, token))
}

pub(super) async fn a_room_of_messagepack_reads_events_and_sends_messages_in_binary_frames<H: Harness>(
    h: H,
) -> Result<()> {
    let (room, alice, _) = enter(&h, guest("alice")).await?;
    same!(alice.protocol(), None);
    fence(&alice, 7).await?;
    run(&alice, [Step::Add(2), Step::Say("hi".to_owned())]).await?;
    same!(next(&alice).await?, Broadcast::Said { from: Some("alice".to_owned()), text: "hi".to_owned() });
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn bytes_integers_keys_and_enums_read_back_in_messagepack<H: Harness>(h: H) -> Result<()> {
    let (_, alice, _) = enter(&h, guest("alice")).await?;
    for thing in [
        Thing::Bytes((0..=255).collect()),
        Thing::Bytes(Vec::new()),
        Thing::Numbered([(0, "zero".to_owned()), (u32::MAX, "most".to_owned())].into()),
        Thing::Float(0.1),
        Thing::Float(-1e300),
        Thing::In(Box::new(Thing::Leaf)),
        Thing::Json(Some(json!({ "a": [1, -1, 1.5, null, "x"], "b": i64::MIN }))),
    ] {
        run(&alice, [Step::Keep(0, thing.clone()), Step::KeepInData(thing.clone()), Step::Show]).await?;
        let shown = next(&alice).await?;
        let expected = is!(&shown, Broadcast::Kept { .. } => serde_json::to_value(&shown)?);
        let thing = serde_json::to_string(&thing)?;
        holds!(expected.to_string().matches(&thing).count() == 2, "{expected} does not have {thing} twice");
    }
    Ok(())
}

pub(super) async fn a_text_frame_in_a_room_of_messagepack_is_one_error_frame_in_messagepack<H: Harness>(
    h: H,
) -> Result<()> {
    let (room, alice, _) = enter(&h, guest("alice")).await?;
    for text in [r#"{"type":"Ping","n":1}"#, "", "x"] {
        alice.send_raw(text).await?;
        let error = error(&alice).await?;
        same!(error.code, ErrorKind::Decode);
        holds!(error.message.contains("text frame"), "{}", error.message);
        fence(&alice, 1).await?;
    }
    let log = room.log().await?;
    holds!(log.iter().any(|line| line.starts_with("decode_error alice: text, ")), "{log:?}");
    Ok(())
}

pub(super) async fn messagepack_that_is_no_event_is_one_error_frame_in_messagepack<H: Harness>(h: H) -> Result<()> {
    let (room, alice, _) = enter(&h, guest("alice")).await?;
    let ping = rmp_serde::to_vec_named(&Event::Ping { n: 1 })?;
    let deep = [vec![0x91; 10_000], vec![0xc0]].concat();
    let unknown = rmp_serde::to_vec_named(&json!({ "type": "Dance" }))?;
    for (bytes, reason) in [
        (vec![], "the input ends"),
        (vec![0xc1], "0xc1"),
        (vec![0xdd, 0xff, 0xff, 0xff, 0xff], "announces"),
        (vec![0xdf, 0x7f, 0xff, 0xff, 0xff, 0xa1], "announces"),
        (vec![0xdb, 0xff, 0xff, 0xff, 0xff, 0x41], "announces"),
        (ping[..ping.len() - 1].to_vec(), "the input ends"),
        ([&ping[..], &[0xc0]].concat(), "1 bytes follow"),
        (deep, ""),
        (unknown, "unknown variant `Dance`"),
        (vec![0xd4, 1, 2], "extension"),
        (vec![0xff; 70_000], ""),
    ] {
        let size = bytes.len();
        alice.send_binary(bytes).await?;
        let error = error(&alice).await?;
        same!(error.code, ErrorKind::Decode);
        holds!(error.message.contains(reason), "{size} bytes: {}", error.message);
    }
    fence(&alice, 2).await?;
    let log = room.log().await?;
    holds!(log.iter().filter(|line| line.starts_with("decode_error alice: malformed, ")).count() == 11, "{log:?}");
    Ok(())
}

pub(super) async fn a_client_chooses_its_codec_by_a_subprotocol<H: Harness>(h: H) -> Result<()> {
    let room = room::<mixed::Room, _>(&h, "r");
    let plain = room.connect(guest("plain")).await?;
    same!(plain.protocol(), None);
    plain.fence().await?;
    let json = room.connect(offering("json", Codec::Json)).await?;
    same!(json.protocol().as_deref(), Some("room.json"));
    json.fence().await?;
    let packed = room.connect(guest("packed").offering("chat, room.msgpack, room.json")).await?;
    same!(packed.protocol().as_deref(), Some("room.msgpack"));
    fence(&packed, 1).await?;
    // A room of JSON does not choose MessagePack.
    let response = crate::harness::room::<conformance_rooms::probe::Room, _>(&h, "r")
        .refused(offering("nobody", Codec::MessagePack))
        .await?;
    same!(response.status().as_u16(), 400);
    Ok(())
}

pub(super) async fn a_broadcast_reaches_peers_of_both_codecs<H: Harness>(h: H) -> Result<()> {
    let room = room::<mixed::Room, _>(&h, "r");
    let json = room.connect(guest("json")).await?;
    let packed = room.connect(offering("packed", Codec::MessagePack)).await?;
    let said = |text: &str| Broadcast::Said { from: Some("json".to_owned()), text: text.to_owned() };
    json.run([Step::Say("all".to_owned()), Step::Whisper("me".to_owned())]).await?;
    json.expect(said("all")).await?;
    json.expect(said("me")).await?;
    same!(next(&packed).await?, said("all"));
    run(&packed, [Step::Whisper("me".to_owned())]).await?;
    same!(next(&packed).await?, Broadcast::Said { from: Some("packed".to_owned()), text: "me".to_owned() });
    json.fence().await?;
    // The report counts the peers of both.
    let delivery = is!(room.try_broadcast(said("worker"), None).await?, Ok(delivery) => delivery);
    same!(delivery.sent, 2);
    Ok(())
}

pub(super) async fn a_peer_keeps_its_codec_while_the_room_sleeps<H: Harness>(h: H) -> Result<()> {
    let room = room::<mixed::Room, _>(&h, "r");
    let json = room.connect(guest("json")).await?;
    let packed = room.connect(offering("packed", Codec::MessagePack)).await?;
    room.hibernate().await?;
    run(&packed, [Step::Say("awake".to_owned())]).await?;
    let said = Broadcast::Said { from: Some("packed".to_owned()), text: "awake".to_owned() };
    same!(next(&packed).await?, said.clone());
    json.expect(said).await?;
    Ok(())
}

pub(super) async fn a_binary_frame_of_a_json_peer_in_a_mixed_room_is_an_error_frame_in_json<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<mixed::Room, _>(&h, "r");
    let json = room.connect(guest("json")).await?;
    json.send_binary(rmp_serde::to_vec_named(&Event::Ping { n: 1 })?).await?;
    let error = json.next_error().await?;
    same!(error.code, ErrorKind::Decode);
    holds!(error.message.contains("binary frame"), "{}", error.message);
    json.fence().await?;
    Ok(())
}

pub(super) async fn a_refusal_reaches_the_peer_in_its_own_codec<H: Harness>(h: H) -> Result<()> {
    let (_, alice, _) = enter(&h, guest("alice")).await?;
    run(&alice, [Step::Refuse("no".to_owned())]).await?;
    let refused = error(&alice).await?;
    same!((refused.code, &*refused.message), (ErrorKind::Refused, "no"));
    run(&alice, [Step::RefuseWith("other".to_owned())]).await?;
    same!(next(&alice).await?, Broadcast::Said { from: None, text: "other".to_owned() });
    run(&alice, [fail("broken")]).await?;
    same!(error(&alice).await?.code, ErrorKind::Handler);
    Ok(())
}

pub(super) async fn the_worker_broadcasts_to_peers_of_messagepack<H: Harness>(h: H) -> Result<()> {
    let (room, alice, _) = enter(&h, guest("alice")).await?;
    let said = Broadcast::Said { from: None, text: "news".to_owned() };
    let delivery = is!(room.try_broadcast(said.clone(), None).await?, Ok(delivery) => delivery);
    same!(delivery.sent, 1);
    same!(next(&alice).await?, said);
    Ok(())
}

pub(super) async fn the_worker_is_a_peer_of_a_room_of_messagepack<H: Harness>(h: H) -> Result<()> {
    let room = room::<packed::Room, _>(&h, "r");
    let lines = vec![
        Line::Send(Event::Ping { n: 3 }),
        Line::Receive,
        Line::SendBytes(vec![0xc1]),
        Line::Receive,
        Line::ResumeToken,
    ];
    let said = is!(room.dialogue(guest("bot"), lines).await?, Ok(said) => said);
    same!(said[1], Said::Message(Broadcast::Pong { n: 3 }));
    let failed = is!(&said[3], Said::Failed(failed) => failed);
    same!(failed.kind, ErrorKind::Decode);
    holds!(matches!(&said[4], Said::ResumeToken(Some(_))), "{said:?}");
    Ok(())
}

pub(super) async fn a_peer_resumes_with_the_token_of_a_packed_frame<H: Harness>(h: H) -> Result<()> {
    let (room, alice, token) = enter(&h, guest("alice")).await?;
    run(&alice, [log("before")]).await?;
    fence(&alice, 1).await?;
    alice.disconnect();
    until(room.harness(), "the end", || room.peers(None), |peers| peers.is_empty()).await?;
    let alice = room.connect(offering("alice", Codec::MessagePack).resume(&token)).await?;
    same!(alice.protocol().as_deref(), Some("room.msgpack"));
    notice(&alice).await?;
    fence(&alice, 2).await?;
    Ok(())
}

pub(super) async fn a_crash_is_reported_to_its_sender_in_messagepack<H: Harness>(h: H) -> Result<()> {
    let room = room::<mixed::Room, _>(&h, "r");
    let packed = room.connect(offering("packed", Codec::MessagePack)).await?;
    run(&packed, [Step::Panic]).await?;
    same!(error(&packed).await?.code, ErrorKind::Restarted);
    fence(&packed, 1).await?;
    Ok(())
}
