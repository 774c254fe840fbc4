//! The messages of the room, and the expected answers.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A message from a peer or the Worker.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Event<'a> {
    Echo { text: &'a str },
    Say { text: &'a str },
    Add { amount: i64 },
    Note { text: &'a str },
}

impl Event<'_> {
    pub(crate) fn encode(&self) -> Result<String> {
        serde_json::to_string(self).context("cannot encode an event")
    }
}

/// A message from the room. A variant with any other answer is wrong, and the run fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "type")]
pub(crate) enum Answer {
    Echo { user_id: String, text: String },
    Message { user_id: String, text: String },
    Count { count: i64 },
    Error { message: String },
}

/// Decodes a frame with one answer.
pub(crate) fn decode(frame: &str) -> Result<Answer> {
    serde_json::from_str(frame).with_context(|| format!("not an answer: {}", shortened(frame)))
}

/// Decodes a frame with one answer or, in the subprotocol `room.v1`, with several after the list of its controls.
pub(crate) fn decode_batch(frame: &str) -> Result<Vec<Answer>> {
    if !frame.starts_with('[') {
        return Ok(vec![decode(frame)?]);
    }
    let parts = serde_json::from_str::<Vec<serde_json::Value>>(frame);
    let answers = parts.and_then(|parts| parts.into_iter().skip(1).map(serde_json::from_value).collect());
    answers.with_context(|| format!("not answers: {}", shortened(frame)))
}

pub(crate) fn check(frame: &str, expected: &Answer) -> Result<()> {
    if decode(frame)? != *expected {
        bail!("expected {}, got {}", shortened(&format!("{expected:?}")), shortened(frame));
    }
    Ok(())
}

/// A text of that many bytes, unique for each number.
pub(crate) fn text(bytes: usize, number: u64) -> String {
    const FILLER: &str = "the quick brown fox jumps over the lazy dog, ";
    let mut text = String::with_capacity(bytes);
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{number:012} ");
    text.extend(FILLER.chars().cycle().take(bytes.saturating_sub(text.len())));
    text.truncate(bytes);
    text
}

/// The number in a text.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.split(' ').next()?.parse().ok()
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_number() {
        assert_eq!(text(64, 7).len(), 64);
        assert_eq!(text(8_192, 7).len(), 8_192);
        assert_eq!(number(&text(64, 7)), Some(7));
        assert_eq!(number("hello"), None);
    }

    #[test]
    fn events_are_what_the_rooms_read() {
        let said = Event::Say { text: "hi" }.encode().expect("an event");
        assert_eq!(said, r#"{"type":"Say","text":"hi"}"#);
        assert_eq!(Event::Add { amount: 1 }.encode().expect("an event"), r#"{"type":"Add","amount":1}"#);
    }

    #[test]
    fn another_answer_is_a_mistake() {
        let expected = Answer::Echo { user_id: "u".into(), text: "a".into() };
        assert!(check(r#"{"type":"Echo","user_id":"u","text":"a"}"#, &expected).is_ok());
        for frame in [
            r#"{"type":"Echo","user_id":"u","text":"b"}"#,
            r#"{"type":"Echo","user_id":"v","text":"a"}"#,
            r#"{"type":"Count","count":1}"#,
            "[]",
            "",
        ] {
            assert!(check(frame, &expected).is_err(), "{frame}");
        }
    }

    #[test]
    fn a_batch_is_several_answers() {
        let one = r#"{"type":"Count","count":1}"#;
        let count = |count| Answer::Count { count };
        assert_eq!(decode_batch(one).expect("one"), [count(1)]);
        let two = format!(r#"[[{{"ack":2}}],{one},{{"type":"Count","count":2}}]"#);
        assert_eq!(decode_batch(&two).expect("two"), [count(1), count(2)]);
    }
}
