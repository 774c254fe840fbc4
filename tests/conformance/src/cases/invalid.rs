//! Rule 7: invalid frames.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Scripted, Step},
    silent, small, strict,
};
use room_runtime::ErrorKind;

use super::steps::whisper;
use crate::harness::{Arrival, Harness, guest, room};

/// A frame from a client.
#[derive(Clone, Debug)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
}

fn text(text: impl Into<String>) -> Sent {
    Sent::Text(text.into())
}

impl Sent {
    fn bytes(&self) -> usize {
        match self {
            Sent::Text(text) => text.len(),
            Sent::Binary(bytes) => bytes.len(),
        }
    }
}

/// Asserts that each frame is harmless, and that everything else still works.
///
/// A frame causes one error frame to its sender, one call of the hook with that reason, and no change of the state.
async fn harmless<R: Scripted, H: Harness>(h: H, frames: Vec<Sent>, kind: ErrorKind, reason: &str) -> Result<()> {
    let room = room::<R, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([Step::Add(1)]).await?;
    let mut log = vec!["connect alice".to_owned(), "connect bob".to_owned()];
    for frame in frames {
        let bytes = frame.bytes();
        log.push(format!(
            "decode_error alice: {reason}, {bytes} bytes, {}",
            match &frame {
                Sent::Text(_) if kind == ErrorKind::Decode => "with its text",
                _ => "unread",
            }
        ));
        match frame {
            Sent::Text(text) => alice.send_raw(text).await?,
            Sent::Binary(bytes) => alice.send_binary(bytes).await?,
        }
        let error = alice.next_error().await?;
        same!(error.code, kind);
        holds!(!error.message.is_empty(), "an error frame that says nothing");
        same!(error.retry_after_ms, None);
        alice.fence().await?;
    }
    bob.fence().await?;
    same!(room.count().await?, 1);
    same!(room.log().await?, log);
    Ok(())
}

pub(super) async fn text_that_is_no_json_is_an_error_frame<H: Harness>(h: H) -> Result<()> {
    let frames = ["", " ", "{", "hello", "{\"type\":\"Ping\",\"n\":1", "{\"type\":\"Ping\",\"n\":1}}", "\u{0}", "[1,"];
    harmless::<probe::Room, _>(h, frames.map(text).into(), ErrorKind::Decode, "malformed").await
}

pub(super) async fn json_that_is_no_event_is_an_error_frame<H: Harness>(h: H) -> Result<()> {
    let frames = [
        "null",
        "1",
        "\"Ping\"",
        "{}",
        "[]",
        r#"{"n":1}"#,
        r#"{"type":"Ping"}"#,
        r#"{"type":"Ping","n":"1"}"#,
        r#"{"type":"Ping","n":-1}"#,
        r#"{"type":"Ping","n":1e99}"#,
        r#"{"type":1,"n":1}"#,
        r#"{"type":"ping","n":1}"#,
        r#"{"Ping":{"n":1}}"#,
    ];
    harmless::<probe::Room, _>(h, frames.map(text).into(), ErrorKind::Decode, "malformed").await
}

pub(super) async fn an_unknown_variant_is_an_error_frame_that_names_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.send_raw(r#"{"type":"Dance"}"#).await?;
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::Decode);
    holds!(error.message.contains("Dance"), "{error:?}");
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_binary_frame_is_an_error_frame<H: Harness>(h: H) -> Result<()> {
    let frames = vec![
        Sent::Binary(br#"{"type":"Ping","n":1}"#.to_vec()),
        Sent::Binary(Vec::new()),
        Sent::Binary(vec![0xff, 0xfe, 0x00]),
    ];
    harmless::<probe::Room, _>(h, frames, ErrorKind::Decode, "binary").await
}

pub(super) async fn json_ten_thousand_deep_is_an_error_frame<H: Harness>(h: H) -> Result<()> {
    const DEPTH: usize = 10_000;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
    let frames = vec![
        text(deep("[", "]")),
        text(deep(r#"{"a":"#, "}")),
        text(format!(r#"{{"type":"Ping","n":1,"more":{}}}"#, deep("[", "]"))),
        text("[".repeat(DEPTH)),
    ];
    harmless::<probe::Room, _>(h, frames, ErrorKind::Decode, "malformed").await
}

/// An event nested in `levels` others; `tag_first` decides for each level whether the tag comes first or last.
fn nested(levels: usize, event: &str, tag_first: fn(usize) -> bool) -> String {
    let mut opening = String::new();
    let mut closing = Vec::new();
    for level in 0..levels {
        if tag_first(level) {
            opening.push_str(r#"{"type":"In","event":"#);
            closing.push("}");
        } else {
            opening.push_str(r#"{"event":"#);
            closing.push(r#","type":"In"}"#);
        }
    }
    closing.reverse();
    format!("{opening}{event}{}", closing.concat())
}

/// The orders of the tag: first, last, and alternating.
const ORDERS: [fn(usize) -> bool; 3] = [|_| true, |_| false, |level| level % 2 == 0];

pub(super) async fn events_in_events_are_understood_in_any_order_of_keys<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    for tag_first in ORDERS {
        for event in [r#"{"type":"Ping","n":7}"#, r#"{"n":7,"type":"Ping"}"#] {
            alice.send_raw(nested(99, event, tag_first)).await?;
            is!(alice.next().await?, conformance_rooms::script::Broadcast::Pong { n: 7 });
            alice.send_raw(nested(100, event, tag_first)).await?;
            let error = alice.next_error().await?;
            same!(error.code, ErrorKind::Decode);
            holds!(error.message.contains("100 levels"), "{error:?}");
        }
    }
    Ok(())
}

pub(super) async fn events_ten_thousand_deep_are_an_error_frame_in_any_order_of_keys<H: Harness>(h: H) -> Result<()> {
    const DEPTH: usize = 10_000;
    let mut frames = ORDERS.map(|tag_first| text(nested(DEPTH, r#"{"type":"Ping","n":7}"#, tag_first))).to_vec();
    frames.push(text(nested(DEPTH, r#"{"n":7,"type":"Ping"}"#, |_| false).replace("event", r"\u0065vent")));
    harmless::<probe::Room, _>(h, frames, ErrorKind::Decode, "malformed").await
}

pub(super) async fn events_in_events_that_are_long_are_understood_when_their_tags_come_first<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let long = format!(r#"{{"type":"Ping","n":7,"more":"{}"}}"#, "x".repeat(500_000));
    for (levels, tag_first) in [(90, ORDERS[0]), (5, ORDERS[1])] {
        alice.send_raw(nested(levels, &long, tag_first)).await?;
        is!(alice.next().await?, conformance_rooms::script::Broadcast::Pong { n: 7 });
    }
    alice.send_raw(nested(90, &long, ORDERS[1])).await?;
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::Decode);
    holds!(error.message.contains("put the key that says the variant first"), "{error:?}");
    alice.fence().await?;
    Ok(())
}

pub(super) async fn an_error_frame_quotes_a_bounded_part_of_the_frame<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.send_raw(format!(r#"{{"type":"Dance{}"}}"#, "e".repeat(100_000))).await?;
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::Decode);
    holds!(error.message.contains("Dance"), "{error:?}");
    holds!(error.message.len() < 1_000, "an error frame of {} bytes", error.message.len());
    Ok(())
}

pub(super) async fn a_frame_that_is_too_large_gets_an_error_frame_and_is_not_decoded<H: Harness>(h: H) -> Result<()> {
    let padded = format!(r#"{{"type":"Ping","n":1,"x":"{}"}}"#, "x".repeat(1_000));
    let frames = vec![text(padded), text("ä".repeat(501)), Sent::Binary(vec![0; 1_001]), text("[".repeat(100_000))];
    harmless::<small::Room, _>(h, frames, ErrorKind::TooLarge, "too large").await
}

pub(super) async fn on_decode_error_may_answer_after_the_error_frame<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.script("on_decode_error", [Step::Sleep(10), whisper("what did you say?")]).await?;
    alice.send_raw("?").await?;
    alice.send(&conformance_rooms::script::Event::Ping { n: 1 }).await?;
    same!(alice.next_error().await?.code, ErrorKind::Decode);
    alice.hears(Some("alice"), "what did you say?").await?;
    is!(alice.next().await?, conformance_rooms::script::Broadcast::Pong { n: 1 });
    Ok(())
}

pub(super) async fn a_frame_that_is_no_event_wakes_the_room_and_is_an_error_frame<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    alice.send_raw("{").await?;
    same!(alice.next_error().await?.code, ErrorKind::Decode);
    alice.fence().await?;
    Ok(())
}

pub(super) async fn a_room_that_ignores_invalid_frames_reports_them_only_to_on_decode_error<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<silent::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.send_raw("{").await?;
    alice.send_binary(vec![1, 2, 3]).await?;
    alice.fence().await?;
    same!(
        room.log().await?,
        [
            "connect alice",
            "decode_error alice: malformed, 1 bytes, with its text",
            "decode_error alice: binary, 3 bytes, unread",
        ]
    );
    Ok(())
}

pub(super) async fn a_room_that_closes_on_invalid_frames_closes_with_1007_or_1009<H: Harness>(h: H) -> Result<()> {
    let room = room::<strict::Room, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let frames = [(text("{"), 1007), (Sent::Binary(vec![1]), 1007), (text("x".repeat(1_001)), 1009)];
    for (frame, code) in frames {
        let alice = room.connect(guest("alice")).await?;
        match frame {
            Sent::Text(text) => alice.send_raw(text).await?,
            Sent::Binary(bytes) => alice.send_binary(bytes).await?,
        }
        // No error frame precedes the close.
        let (closed, reason) = is!(alice.next_of_any_kind().await?, Arrival::Closed(code, reason) => (code, reason));
        same!(closed, code);
        holds!(!reason.is_empty(), "a close with {code} that does not say why");
        bob.fence().await?;
        same!(room.peer_ids().await?, ["bob"]);
    }
    let log = crate::harness::until(
        &h,
        "three times on_close",
        || room.log(),
        |log| log.iter().filter(|line| line.starts_with("close alice")).count() == 3,
    );
    let log = log.await?;
    same!(log.iter().filter(|line| line.starts_with("decode_error alice")).count(), 3);
    Ok(())
}
