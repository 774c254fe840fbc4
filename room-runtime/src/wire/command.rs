//! The commands of the Worker's client to a room over RPC, and their answers.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{encode_error, is_ticket, json::round_trip::RoundTrip};
use crate::{
    Error, ErrorKind, Failure, Limits, OnDuplicate, OnResume, PeerId, RoomId,
    types::{error::Refused, violations},
};

/// Encodes the Worker's half of an upgrade.
pub(crate) fn encode_upgrade<C: Serialize>(options: &UpgradeOptions<C>) -> Result<String, Error> {
    serde_json::to_string(&RoundTrip::new(options)).map_err(|error| encode_error("the upgrade", &error))
}

/// Encodes the value that the Worker gives a peer for one read.
pub(crate) fn encode_meta<T: Serialize + ?Sized>(meta: &T) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(&RoundTrip::new(meta)).map_err(|error| encode_error("the peer's meta", &error))
}

/// Encodes the answer to a command. The depth of its content was checked when the content was written, and the answer
/// adds at most three levels.
pub(crate) fn encode_reply<T: Serialize>(reply: &Reply<T>) -> Result<String, Error> {
    const MAX_DEPTH: u8 = Limits::MAX_DEPTH + 3;
    serde_json::to_string(&RoundTrip::within(reply, MAX_DEPTH)).map_err(|error| encode_error("the answer", &error))
}

/// The answer to a command that returns nothing.
pub(crate) const DONE: &str = r#"{"ok":null}"#;

/// Makes the answer to a command from the JSON of its value.
pub(crate) fn ok_reply(json: &str) -> String {
    format!("{{\"ok\":{json}}}")
}

/// A command of the Worker's client to a room: one string over RPC, of a word, a space and the argument. Only the
/// argument of the command that is called is decoded. The code is small, because it is in the wasm of every room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// The argument is the JSON of an event.
    Send(&'a str),
    State,
    /// `None` asks for all peers, and `Some` for those with this tag.
    Peers(Option<&'a str>),
    /// The argument is the JSON of a broadcast, which is sent to the peers unchanged.
    Broadcast(&'a str),
    FireAlarm,
    Stats,
    /// A call of a function, with the JSON of its arguments.
    Call {
        name: &'a str,
        arguments: &'a str,
    },
    /// A command with an idempotency key. The room runs it once.
    Once {
        key: &'a str,
        command: &'a str,
    },
    /// A durable call of another room. `source` and `number` identify it, and `event` is the JSON of an event.
    Durable {
        source: &'a str,
        number: u64,
        event: &'a str,
    },
    /// The Worker's half of an upgrade, as the JSON of [`UpgradeOptions`]. The request with the ticket is the other
    /// half.
    Prepare {
        ticket: &'a str,
        upgrade: &'a str,
    },
}

impl<'a> Command<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "send" => Command::Send(rest),
            "state" => Command::State,
            "peers" => Command::Peers(None),
            "tagged" => Command::Peers(Some(rest)),
            "broadcast" => Command::Broadcast(rest),
            "fire_alarm" => Command::FireAlarm,
            "stats" => Command::Stats,
            "call" => {
                let (name, arguments) = rest.split_once(' ')?;
                Command::Call { name, arguments }
            }
            "once" => {
                // The length comes first, because a key can contain spaces.
                let (length, rest) = rest.split_once(' ')?;
                let (key, rest) = rest.split_at_checked(length.parse().ok()?)?;
                Command::Once { key, command: rest.strip_prefix(' ')? }
            }
            "durable" => {
                let (source, rest) = rest.split_once(' ')?;
                let (number, event) = rest.split_once(' ')?;
                // The source becomes a part of a storage key.
                is_ticket(source).then_some(Command::Durable { source, number: number.parse().ok()?, event })?
            }
            "prepare" => {
                let (ticket, upgrade) = rest.split_once(' ')?;
                Command::Prepare { ticket, upgrade }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Send(event) => write!(f, "send {event}"),
            Command::State => f.write_str("state"),
            Command::Peers(None) => f.write_str("peers"),
            Command::Peers(Some(tag)) => write!(f, "tagged {tag}"),
            Command::Broadcast(message) => write!(f, "broadcast {message}"),
            Command::FireAlarm => f.write_str("fire_alarm"),
            Command::Stats => f.write_str("stats"),
            Command::Call { name, arguments } => write!(f, "call {name} {arguments}"),
            Command::Once { key, command } => write!(f, "once {} {key} {command}", key.len()),
            Command::Durable { source, number, event } => write!(f, "durable {source} {number} {event}"),
            Command::Prepare { ticket, upgrade } => write!(f, "prepare {ticket} {upgrade}"),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UpgradeOptions<C> {
    pub(crate) data: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<PeerId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) on_duplicate: OnDuplicate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<String>,
    #[serde(default)]
    pub(crate) on_resume: OnResume,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<String>,
}

/// The room's answer to a command: the value, or an error with its kind.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply<T> {
    Ok(T),
    Err(WireError),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireError {
    kind: ErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<PeerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handler: Option<String>,
    /// The JSON of the message of a refusal, as a string, because only the reader knows the type of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<Box<str>>,
    /// The broken rules, as [`violations::pack`] writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    violations: Option<Box<str>>,
    /// The HTTP status, because a Worker of an older deploy may not know the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

impl WireError {
    /// Converts an error of a handler. Not every handler can refuse. A refusal of another room is an error of this
    /// room, because the message is not a message of this room.
    pub(crate) fn of_handler(handler: &str, failure: &Failure, can_refuse: bool) -> Self {
        let refused = failure.as_refused().filter(|_| can_refuse);
        let error = match failure.downcast_ref::<Error>() {
            Some(error) if error.kind() == ErrorKind::Refused => {
                WireError { kind: ErrorKind::Handler, refusal: None, status: None, ..WireError::from(error) }
            }
            Some(error) => WireError::from(error),
            None => WireError {
                kind: if refused.is_some() { ErrorKind::Refused } else { failure.fault_kind() },
                message: failure.to_string(),
                room: None,
                peer: None,
                handler: None,
                refusal: refused.and_then(Refused::message).map(Into::into),
                violations: None,
                status: refused.map(|refused| refused.status().as_u16()),
            },
        };
        // An error that came from another room keeps the handler of that room.
        WireError { handler: error.handler.or_else(|| Some(handler.to_owned())), ..error }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error with this message, and without the message of a refusal if that is longer.
    pub(crate) fn shortened(self, message: String, max_refusal_bytes: usize) -> Self {
        WireError { message, refusal: self.refusal.filter(|refusal| refusal.len() <= max_refusal_bytes), ..self }
    }

    pub(crate) fn into_error(self) -> Error {
        // Another status would make the error a success for the client of the Worker.
        let status = self.status.filter(|status| (400..600).contains(status));
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let error = Error::new(self.kind, self.message).with_refusal(self.refusal).with_status(status);
        let error = error.with_violations(self.violations.as_deref().map(violations::unpack).unwrap_or_default());
        let error = match self.handler {
            Some(handler) => error.by_handler(handler),
            None => error,
        };
        // The room is not always the room that was called, because a room can pass on the error of another.
        let error = match self.room {
            Some(room) => error.in_room(&room),
            None => error,
        };
        match self.peer {
            Some(peer) => error.of_peer(&peer),
            None => error,
        }
    }
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        WireError {
            kind: error.kind(),
            message: error.message().to_owned(),
            room: error.room().cloned(),
            peer: error.peer().cloned(),
            handler: error.handler().map(str::to_owned),
            refusal: error.refusal_json().map(Into::into),
            violations: violations::pack(error.violations()),
            status: Some(error.status().as_u16()),
        }
    }
}

/// Decodes the answer to a command in the client.
pub(crate) fn decode_reply<T: DeserializeOwned>(answer: &str) -> Result<T, Error> {
    match serde_json::from_str(answer) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Err(error)) => Err(error.into_error()),
        Err(error) => {
            Err(Error::new(ErrorKind::Decode, format!("the room's answer does not decode: {error}")).because(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_returns_nothing_has_one_answer() {
        assert_eq!(encode_reply(&Reply::Ok(())).expect("it encodes"), DONE);
    }

    #[test]
    fn an_error_is_no_success_whatever_its_status() {
        let status = |status: u16| {
            let answer = format!(r#"{{"err":{{"kind":"invalid","message":"no","status":{status}}}}}"#);
            decode_reply::<()>(&answer).expect_err("an error").status().as_u16()
        };
        let of_the_kind = ErrorKind::Invalid.status().as_u16();
        assert_eq!(
            [200, 303, 399, 409, 599, 600].map(status),
            [of_the_kind, of_the_kind, of_the_kind, 409, 599, of_the_kind]
        );
    }

    #[test]
    fn a_command_reads_back() {
        let send = Command::Send(r#"{"type":"Say","text":"a b"}"#).to_string();
        for command in [
            Command::Send("null"),
            Command::State,
            Command::Peers(None),
            Command::Peers(Some("")),
            Command::Peers(Some(" two words ")),
            Command::Broadcast("[1, 2]"),
            Command::FireAlarm,
            Command::Stats,
            Command::Call { name: "rename", arguments: r#"{"name":"a b"}"# },
            Command::Once { key: "a ké y", command: &send },
            Command::Durable { source: &"0f".repeat(16), number: u64::MAX, event: r#"{"type":"Say"}"# },
            Command::Prepare { ticket: "abc", upgrade: r#"{"data": {}}"# },
        ] {
            assert_eq!(Command::parse(&command.to_string()), Some(command));
        }
        for text in
            ["", " ", "what", "once", "once 9 k send", "once 1 ké", "once x k send", "once 1 ksend", "prepare x"]
        {
            assert_eq!(Command::parse(text), None, "{text:?}");
        }
    }
}
