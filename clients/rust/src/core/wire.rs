//! The frames of `room.v1`, in JSON and in MessagePack.
//!
//! Events, messages and answers stay encoded here: each is a [`Frame`] with one value.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

#[cfg(feature = "msgpack")]
use super::packed;
use crate::{Error, ErrorKind, error::WireError, transport::Frame};

/// The encoding of the frames. The room has to speak it.
///
/// ```
/// use room_client::{Builder, Codec};
///
/// let builder = Builder::new("wss://example.com/ws/game/main").codec(Codec::Json);
/// # #[cfg(feature = "msgpack")]
/// // With the feature `msgpack`, for a room with `codec = "msgpack"`:
/// let builder = Builder::new("wss://example.com/ws/game/main").codec(Codec::MessagePack);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// JSON in text frames.
    #[default]
    Json,
    /// MessagePack in binary frames, for rooms with `codec = "msgpack"` or with both. Structs are maps, and a `Vec<u8>`
    /// is bytes.
    #[cfg(feature = "msgpack")]
    MessagePack,
}

/// A frame of the room.
#[derive(Debug, Default)]
pub(crate) struct RoomFrame {
    pub(crate) controls: Vec<Control>,
    pub(crate) messages: Vec<Frame>,
    /// The reasons why some of the controls could not be read.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) welcome: Option<Welcome>,
    pub(crate) ack: Option<u64>,
    pub(crate) error: Option<WireError>,
    pub(crate) answer: Option<Answer>,
    pub(crate) resend: Option<u64>,
    pub(crate) at: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) session: String,
    pub(crate) resumed: bool,
    pub(crate) last: u64,
    pub(crate) window: u64,
    #[serde(default)]
    pub(crate) gap: bool,
    pub(crate) at: Option<u64>,
    pub(crate) heartbeat: Option<(String, String)>,
    pub(crate) timeout_ms: Option<u64>,
}

/// The answer to a call: its result, or the error that the function returned.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) n: u64,
    pub(crate) outcome: Result<Frame, Frame>,
}

/// The controls without values of the room's types.
#[derive(Deserialize)]
struct Plain {
    welcome: Option<Welcome>,
    ack: Option<u64>,
    error: Option<WireError>,
    resend: Option<u64>,
    at: Option<u64>,
}

impl Plain {
    fn with(self, answer: Option<Answer>) -> Control {
        let Plain { welcome, ack, error, resend, at } = self;
        Control { welcome, ack, error, answer, resend, at }
    }
}

impl Codec {
    /// The subprotocol.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Codec::Json => "room.v1",
            #[cfg(feature = "msgpack")]
            Codec::MessagePack => "room.v1.msgpack",
        }
    }

    pub(crate) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Frame, Error> {
        let unencodable =
            |error: String| Error::new(ErrorKind::Encode, format!("the value is not serializable: {error}"));
        match self {
            Codec::Json => {
                serde_json::to_string(value).map(Frame::Text).map_err(|error| unencodable(error.to_string()))
            }
            #[cfg(feature = "msgpack")]
            Codec::MessagePack => {
                packed::to_vec(value).map(Frame::Binary).map_err(|error| unencodable(error.to_string()))
            }
        }
    }

    /// Encodes the name of a function and its arguments, which follow the number in a frame.
    pub(crate) fn encode_call<T: Serialize + ?Sized>(self, name: &str, args: &T) -> Result<Frame, Error> {
        let no_map = || Error::new(ErrorKind::Encode, "the arguments of a call are a struct, a map, or `()` for none");
        match self.encode(args)? {
            Frame::Text(args) => {
                let args = if args == "null" { "{}" } else { &args };
                let Frame::Text(name) = self.encode(name)? else { return Err(no_map()) };
                if args.starts_with('{') { Ok(Frame::Text(format!("{name},{args}"))) } else { Err(no_map()) }
            }
            #[cfg(feature = "msgpack")]
            Frame::Binary(args) => {
                let args = if args == [packed::NIL] { vec![packed::EMPTY_MAP] } else { args };
                let Frame::Binary(mut body) = self.encode(name)? else { return Err(no_map()) };
                if !packed::is_map(&args) {
                    return Err(no_map());
                }
                body.extend(args);
                Ok(Frame::Binary(body))
            }
            _ => Err(no_map()),
        }
    }

    /// Puts a number before an event, or before the name and the arguments of a call.
    pub(crate) fn join(self, number: u64, is_call: bool, body: &Frame) -> Frame {
        match body {
            Frame::Text(body) => Frame::Text(format!("[{number},{body}]")),
            #[cfg(feature = "msgpack")]
            Frame::Binary(body) => Frame::Binary(packed::join(number, is_call, body)),
            body => {
                let _ = is_call;
                body.clone()
            }
        }
    }

    /// The frame that says that every number below is settled for the client.
    pub(crate) fn settled(self, from: u64) -> Frame {
        match self {
            Codec::Json => Frame::Text(format!("{{\"from\":{from}}}")),
            #[cfg(feature = "msgpack")]
            Codec::MessagePack => Frame::Binary(packed::settled(from)),
        }
    }

    /// Reads a frame of the room.
    pub(crate) fn read(self, frame: &Frame) -> Result<RoomFrame, String> {
        match (self, frame) {
            (Codec::Json, Frame::Text(text)) => read_json(text),
            #[cfg(feature = "msgpack")]
            (Codec::MessagePack, Frame::Binary(bytes)) => packed::read(bytes),
            #[cfg(feature = "msgpack")]
            (Codec::MessagePack, Frame::Text(_)) => Err("a text frame, but the codec is MessagePack".to_owned()),
            _ => Err("not a frame of room.v1".to_owned()),
        }
    }
}

/// Decodes one value.
pub(crate) fn decode<T: DeserializeOwned>(value: &Frame) -> Result<T, Error> {
    let reason = match value {
        Frame::Text(text) => match serde_json::from_str(text) {
            Ok(value) => return Ok(value),
            Err(error) => error.to_string(),
        },
        #[cfg(feature = "msgpack")]
        Frame::Binary(bytes) => match rmp_serde::from_slice(bytes) {
            Ok(value) => return Ok(value),
            Err(error) => error.to_string(),
        },
        _ => "not a value of this codec".to_owned(),
    };
    Err(Error::new(ErrorKind::Decode, format!("the value does not decode: {reason}")))
}

fn read_json(text: &str) -> Result<RoomFrame, String> {
    let not_a_frame = |error: serde_json::Error| format!("not a frame of room.v1: {error}");
    let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(not_a_frame)?;
    let Some((controls, messages)) = parts.split_first() else {
        return Err("not a frame of room.v1: an empty list".to_owned());
    };
    let controls: Vec<&RawValue> = serde_json::from_str(controls.get()).map_err(not_a_frame)?;
    let mut frame = RoomFrame::default();
    for control in controls {
        match read_json_control(control.get()) {
            Ok(control) => frame.controls.push(control),
            Err(error) => frame.faults.push(format!("not a control of room.v1: {error}")),
        }
    }
    frame.messages.extend(messages.iter().map(|message| Frame::Text(message.get().to_owned())));
    Ok(frame)
}

fn read_json_control(text: &str) -> serde_json::Result<Control> {
    #[derive(Deserialize)]
    struct WithAnswer<'a> {
        #[serde(borrow)]
        answer: Option<Parts<'a>>,
    }

    #[derive(Deserialize)]
    struct Parts<'a> {
        n: u64,
        // An `Option` would take `null`, which is the result of a function without one, for a field that is missing.
        #[serde(borrow, default, deserialize_with = "present")]
        value: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "present")]
        error: Option<&'a RawValue>,
    }

    fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }

    let plain: Plain = serde_json::from_str(text)?;
    let mut answer = None;
    // Most controls are acknowledgements, which need no second reading.
    if text.contains("\"answer\"") {
        let with: WithAnswer<'_> = serde_json::from_str(text)?;
        answer = with.answer.map(|Parts { n, value, error }| {
            let frame = |value: &RawValue| Frame::Text(value.get().to_owned());
            let outcome = match (value, error) {
                (_, Some(error)) => Err(frame(error)),
                (Some(value), None) => Ok(frame(value)),
                (None, None) => Ok(Frame::Text("null".to_owned())),
            };
            Answer { n, outcome }
        });
    }
    Ok(plain.with(answer))
}

#[cfg(feature = "msgpack")]
pub(super) fn read_packed_control(bytes: &[u8]) -> Result<Control, String> {
    let plain: Plain = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    let entries = packed::entries(bytes).ok_or("not a map")?;
    let mut answer = None;
    for (key, value) in entries {
        if key != "answer" {
            continue;
        }
        let parts = packed::entries(value).ok_or("an answer is a map")?;
        let find = |name: &str| parts.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let n = find("n").ok_or("an answer has no number")?;
        let n = rmp_serde::from_slice(n).map_err(|error| error.to_string())?;
        let outcome = match (find("value"), find("error")) {
            (_, Some(error)) => Err(Frame::Binary(error.to_vec())),
            (Some(value), None) => Ok(Frame::Binary(value.to_vec())),
            (None, None) => Ok(Frame::Binary(vec![packed::NIL])),
        };
        answer = Some(Answer { n, outcome });
    }
    Ok(plain.with(answer))
}
