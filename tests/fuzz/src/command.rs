//! The texts between a Worker and a room: commands, answers, requests, handshakes, tickets and origins.

use http::Request;
use room_runtime::{
    __private::fuzz,
    ErrorKind, PeerId, Upgrade,
    testing::{Refusal, TestRoom},
};
use serde_json::Value;

use crate::input::Input;

/// A room that echoes, and that an honest peer uses beside the commands.
#[room_runtime::room(reconnect_grace = "1m", replay = 8, codec = "json, msgpack")]
mod desk {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub events: Vec<String>,
    }

    #[derive(Default)]
    pub struct Connection {
        pub name: Option<String>,
    }

    pub enum Event {
        Say { text: String },
        Refuse { text: String },
    }

    pub enum Broadcast {
        Said { text: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Say { text } => {
                ctx.update(|state| state.events.push(text.clone()))?;
                ctx.broadcast(&Broadcast::Said { text })?;
            }
            Event::Refuse { text } => return Err(ctx.refuse_with(&Broadcast::Said { text })),
        }
        Ok(())
    }

    #[call]
    pub fn add(ctx: &Ctx, text: String, times: Option<u8>) -> Result<usize> {
        ctx.update(|state| state.events.extend(std::iter::repeat_n(text, times.unwrap_or(1).into())))?;
        Ok(ctx.state()?.events.len())
    }

    pub fn on_alarm(_ctx: &Ctx) -> Result {
        Ok(())
    }

    pub fn on_request(_ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let mut response = http::Response::new(request.body().clone());
        *response.status_mut() = http::StatusCode::from_u16(request.uri().path().len() as u16).unwrap_or_default();
        Ok(response)
    }
}

/// A word of a first byte, and then the text that it is about.
pub fn command(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match first {
        b'h' => handshake(&mut Input::new(rest)),
        b'n' => no_socket(&mut Input::new(rest)),
        b'u' => upgrade(&mut Input::new(rest)),
        first => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            match first {
                b'c' => commands(text),
                b'p' => parse(text),
                b'r' => reply(text),
                b'q' => request(text),
                b'o' => origin(text),
                _ => {}
            }
        }
    }
}

/// A command reads back.
fn parse(text: &str) {
    if let Some(again) = fuzz::rewrite_command(text) {
        assert_eq!(fuzz::rewrite_command(&again).as_ref(), Some(&again), "{text:?}");
    }
}

/// Commands, one in each line. The room answers each, and goes on.
fn commands(text: &str) {
    let room = TestRoom::<desk::Room>::new("desk");
    let honest = room.connect(Upgrade::new(desk::Connection::default()).id("honest"));
    for line in text.split('\n').take(16) {
        parse(line);
        let before = room.stored_state();
        let answer = fuzz::call(&room, line).expect("no command ends a room");
        if let Err(error) = fuzz::decode_reply(&answer) {
            assert_ne!(error.message(), "", "{line:?}");
            // Each answer has the form of an answer.
            assert!(!error.message().starts_with("the room's answer does not decode"), "{line:?}: {error}");
        }
        let word = line.split(' ').next();
        if !matches!(word, Some("send" | "call" | "once" | "durable")) {
            assert_eq!(room.stored_state(), before, "{line:?} changes the state");
        }
    }
    while honest.receive_any().is_some() {}
    honest.send_raw(r#"[0,{"type":"Say","text":"still here"}]"#);
    let said = honest.receive_raw().expect("an echo");
    assert!(said.contains(r#"{"type":"Said","text":"still here"}"#), "{said}");
    let log = room.take_log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
}

/// The Worker's half of an upgrade, with a request.
fn upgrade(input: &mut Input<'_>) {
    let room = TestRoom::<desk::Room>::new("desk");
    let mut connected = Vec::new();
    for _ in 0..4 {
        if input.is_empty() {
            break;
        }
        let (ticket, protocols, json) = (input.text(), input.bytes(), input.text());
        // The ticket is one word of the command.
        let ticket = ticket.replace(' ', "_");
        let mut request = Request::default();
        if let Ok(value) = http::HeaderValue::from_bytes(protocols) {
            request.headers_mut().insert("sec-websocket-protocol", value);
        }
        match fuzz::connect(&room, &ticket, request, &json) {
            Ok(peer) => connected.push(peer),
            Err(Refusal::Response(response)) => assert!(!response.status().is_success(), "{response:?}"),
            Err(Refusal::Error(error)) => assert_ne!(error.message(), ""),
            Err(other) => panic!("{other}"),
        }
    }
    for peer in &connected {
        assert!((1..=PeerId::MAX_BYTES).contains(&peer.id().as_str().len()), "the room accepted the id {}", peer.id());
        peer.disconnect();
    }
    assert!(room.state().expect("the state is readable").is_none_or(|state| state.events.is_empty()));
    let log = room.take_log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
}

/// The answer of a room.
fn reply(text: &str) {
    let Err(error) = fuzz::decode_reply(text) else { return };
    let Ok(written) = fuzz::encode_error(&error) else { return };
    let again = fuzz::decode_reply(&written).expect_err("an error reads back as an error");
    let parts = |error: &room_runtime::Error| {
        let ids = (error.room().cloned(), error.peer().cloned(), error.handler().map(str::to_owned));
        (error.kind(), error.message().to_owned(), ids, error.status(), error.violations().to_vec())
    };
    assert_eq!(parts(&again), parts(&error), "{text}");
    let response = http::Response::from(again);
    assert!(!response.status().is_success() || error.kind() == ErrorKind::Refused, "{response:?}");
}

/// The head of a request.
fn request(text: &str) {
    match fuzz::decode_request(text) {
        Ok(request) => {
            let again = fuzz::decode_request(&fuzz::encode_request(&request)).expect("a head reads back");
            assert_eq!((again.method(), again.uri()), (request.method(), request.uri()), "{text}");
            assert_eq!(again.headers(), request.headers(), "{text}");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Decode, "{text}"),
    }
}

/// The headers of a handshake.
fn handshake(input: &mut Input<'_>) {
    let method = input.text();
    let mut headers = Vec::new();
    for name in ["upgrade", "host", "sec-websocket-version", "sec-websocket-key", "content-length", "transfer-encoding"]
    {
        let value = input.text();
        headers.extend((!value.is_empty()).then_some((name, value)));
    }
    let header = |name: &'static str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    match fuzz::check_handshake(&method, header) {
        Ok(()) => {
            assert_eq!(method, "GET");
            assert!(header("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")));
            assert!(header("transfer-encoding").is_none());
        }
        Err(status) => assert!(status == 400 || status == 426, "{status}"),
    }
}

/// An answer without a socket.
fn no_socket(input: &mut Input<'_>) {
    let (status, content_type, body) = (input.short(), input.text(), input.rest());
    let (error, response) = fuzz::no_socket(status, Some(&content_type), body);
    // A refusal in JSON is a message of the room, of a type that only the reader knows.
    if let Ok(Some(refusal)) = error.refusal::<Value>() {
        assert_eq!(serde_json::from_slice::<Value>(response.body()).ok(), Some(refusal));
    }
    assert!(error.status() == response.status(), "{error:?} {response:?}");
}

const ORIGINS: &[&str] =
    &["https://example.com", "http://localhost:8787", "https://*.example.org", "http://[::1]:3000", "null"];

/// The origin of a page.
fn origin(text: &str) {
    if !fuzz::is_allowed(ORIGINS, text) {
        return;
    }
    let lower = text.to_ascii_lowercase();
    let known = lower.strip_suffix(":443").unwrap_or(&lower);
    let label = known.strip_prefix("https://").and_then(|host| host.strip_suffix(".example.org"));
    assert!(
        ORIGINS.contains(&known) || label.is_some_and(|label| !label.is_empty() && !label.contains('.')),
        "{text:?}"
    );
}
