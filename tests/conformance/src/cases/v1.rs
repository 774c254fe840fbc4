//! A client of `room.v1` that shows its frames one part at a time.

use std::{cell::RefCell, collections::VecDeque};

use anyhow::{Context, Result, bail, ensure};
use conformance_rooms::script::{Broadcast, Event, Scripted, Step};
use room_runtime::{ErrorKind, SUBPROTOCOL};
use serde_json::{Value, json};

use crate::harness::{Arrival, Guest, Harness, Peer, Room, guest};

/// A part of a frame from the room.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Message(Broadcast),
    Control(Value),
}

/// A guest whose client supports the subprotocol.
pub(super) fn modern(id: &str) -> Guest {
    guest(id).offering(&format!("chat, {SUBPROTOCOL}"))
}

/// A guest whose client offers to resume a session.
pub(super) fn returning(guest: Guest, token: &str, from: u64, at: u64) -> Guest {
    guest.offering(&format!("{SUBPROTOCOL}, {SUBPROTOCOL}.resume.{token}.{from}.{at}"))
}

pub(super) fn ack(number: u64) -> Part {
    Part::Control(json!({ "ack": number }))
}

pub(super) fn resend(number: u64) -> Part {
    Part::Control(json!({ "resend": number }))
}

pub(super) fn heard(from: Option<&str>, text: &str) -> Part {
    Part::Message(Broadcast::Said { from: from.map(str::to_owned), text: text.to_owned() })
}

pub(super) struct Client<H: Harness, R: Scripted> {
    pub(super) peer: Peer<H, R>,
    /// The fields of the welcome.
    pub(super) welcome: Value,
    parts: RefCell<VecDeque<Part>>,
}

/// Connects a client, and takes its welcome.
pub(super) async fn join<H: Harness, R: Scripted>(room: &Room<H, R>, guest: Guest) -> Result<Client<H, R>> {
    let peer = room.connect(guest).await?;
    ensure!(peer.protocol().as_deref() == Some(SUBPROTOCOL), "the room chose {:?}", peer.protocol());
    let mut client = Client { peer, welcome: Value::Null, parts: RefCell::default() };
    client.welcome = match client.next().await? {
        Part::Control(mut control) if control.get("welcome").is_some() => control["welcome"].take(),
        other => bail!("the first part of a connection is the welcome, not {other:?}"),
    };
    Ok(client)
}

impl<H: Harness, R: Scripted> Client<H, R> {
    /// The session's token.
    pub(super) fn token(&self) -> &str {
        self.welcome["session"].as_str().unwrap_or_default()
    }

    /// A field of the welcome.
    pub(super) fn field<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_value(self.welcome[name].clone()).with_context(|| format!("`{name}` in {}", self.welcome))
    }

    /// Sends a script with a number.
    pub(super) async fn run(&self, number: u64, steps: impl Into<Vec<Step>>) -> Result<()> {
        let event = serde_json::to_string(&Event::Do { steps: steps.into() })?;
        self.raw(format!("[{number},{event}]")).await
    }

    /// Sends any text.
    pub(super) async fn raw(&self, text: impl Into<String>) -> Result<()> {
        self.peer.send_raw(text).await
    }

    /// Returns the next part. The messages of a frame come before its controls.
    pub(super) async fn next(&self) -> Result<Part> {
        loop {
            if let Some(part) = self.parts.borrow_mut().pop_front() {
                return Ok(part);
            }
            let (controls, messages) = self.frame().await?;
            let mut parts = self.parts.borrow_mut();
            parts.extend(messages.into_iter().map(Part::Message));
            parts.extend(controls.into_iter().map(Part::Control));
        }
    }

    /// Returns the parts of the next frame.
    pub(super) async fn frame(&self) -> Result<(Vec<Value>, Vec<Broadcast>)> {
        let text = match self.peer.next_of_any_kind().await? {
            Arrival::Text(text) => text,
            other => bail!("waited for a frame of room.v1 and got {other:?}"),
        };
        parse(&text).with_context(|| format!("this is no frame of room.v1: {text}"))
    }

    /// Asserts that these are the next parts.
    pub(super) async fn expect<const N: usize>(&self, parts: [Part; N]) -> Result<()> {
        for (at, wanted) in parts.into_iter().enumerate() {
            let part = self.next().await.with_context(|| format!("part {at}, in place of {wanted:?}"))?;
            ensure!(part == wanted, "part {at} is {part:?}, not {wanted:?}");
        }
        Ok(())
    }

    /// Asserts that the next part is the error of this number, or one without a number. Returns its message.
    pub(super) async fn fails(&self, number: impl Into<Option<u64>>, code: ErrorKind) -> Result<String> {
        let part = self.next().await?;
        let number = number.into();
        if let Part::Control(control) = &part
            && let Some(error) = control.get("error")
            && error.get("n").and_then(Value::as_u64) == number
            && error["code"] == code.as_str()
        {
            return Ok(error["message"].as_str().unwrap_or_default().to_owned());
        }
        bail!("waited for the error {code} of {number:?} and got {part:?}")
    }

    /// Asserts that nothing else has arrived: the next part is the answer to this.
    pub(super) async fn fence(&self) -> Result<()> {
        let n = 4_711;
        self.raw(format!("[0,{}]", serde_json::to_string(&Event::Ping { n })?)).await?;
        self.expect([Part::Message(Broadcast::Pong { n })]).await
    }
}

fn parse(text: &str) -> Result<(Vec<Value>, Vec<Broadcast>)> {
    let mut parts: VecDeque<Value> = serde_json::from_str(text)?;
    let controls = serde_json::from_value(parts.pop_front().context("an empty list")?)?;
    let messages = parts.into_iter().map(serde_json::from_value).collect::<Result<_, _>>()?;
    Ok((controls, messages))
}
