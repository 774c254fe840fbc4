//! The values in storage and in attachments of sockets, as JSON.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Unexpected},
};
use serde_json::value::RawValue;

use super::{encode_error, json::round_trip::RoundTrip};
use crate::{Error, ErrorKind, Limits, types::brief::brief};

/// Encodes a stored value.
pub(crate) fn encode_value<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&RoundTrip::new(value)).map_err(|error| encode_error(what, &error))
}

/// Encodes a part of a stored value separately, with `around` levels reserved for the value around it.
pub(crate) fn encode_raw<T: Serialize + ?Sized>(value: &T, around: u8, what: &str) -> Result<Box<RawValue>, Error> {
    let limited = RoundTrip::within(value, Limits::MAX_DEPTH - around);
    serde_json::value::to_raw_value(&limited).map_err(|error| encode_error(what, &error))
}

/// Turns the bytes of an encoded value into a part of another value.
pub(crate) fn raw_json(json: Vec<u8>, what: &str) -> Result<Box<RawValue>, Error> {
    let text = String::from_utf8(json)
        .map_err(|error| Error::new(ErrorKind::Encode, format!("{what} is not UTF-8: {error}")))?;
    RawValue::from_string(text).map_err(|error| encode_error(what, &error))
}

pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    // Frames are read as text too. serde_json has separate code for bytes, and a room would contain both.
    let text = str::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::Decode, format!("{what} does not decode: it is not UTF-8, {error}")).because(error)
    })?;
    serde_json::from_str(text).map_err(|error| decode_failed(what, error))
}

/// The largest number to which a room counts. Sums of a few of them do not overflow, so no arithmetic needs a check.
const MAX_COUNTED: u64 = (1 << 53) - 1;

/// Parses a stored number of a room's own sequences. A larger one was not written by a room.
pub(crate) fn parse_counted(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number <= MAX_COUNTED)
}

/// Reads such a number as a field of a stored value.
pub(crate) fn counted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number <= MAX_COUNTED {
        return Ok(number);
    }
    Err(serde::de::Error::invalid_value(Unexpected::Unsigned(number), &"a number to which a room can have counted"))
}

/// Returns whether a text is JSON, so that it can be a part of a frame.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The error of a stored value that does not decode.
pub(crate) fn decode_failed(what: &str, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Decode, format!("{what} does not decode: {}", brief(&error))).because(error)
}

/// The attachment of a socket. It is a tuple, because every byte counts against the platform's limit.
///
/// It has the peer's id, the time of its connection, its data, the name of its roster entry with its topics, the number of
/// its earlier resumes, and, in a room that limits the rate of an address, the client's address.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attachment<I, C, E>(
    pub(crate) I,
    pub(crate) u64,
    pub(crate) C,
    pub(crate) E,
    pub(crate) u32,
    #[serde(default, skip_serializing_if = "Option::is_none")] pub(crate) Option<E>,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerId;

    #[test]
    fn a_number_that_no_room_counts_to_is_not_read() {
        #[derive(Debug, Deserialize)]
        struct Row(#[serde(deserialize_with = "counted")] u64);

        for (text, expected) in [("0", Some(0)), ("9007199254740991", Some(MAX_COUNTED)), ("9007199254740992", None)] {
            assert_eq!(parse_counted(text), expected);
            assert_eq!(serde_json::from_str::<Row>(text).map(|row| row.0).ok(), expected);
        }
        assert_eq!(parse_counted("18446744073709551615"), None);
        assert_eq!(parse_counted("-1"), None);
    }

    #[test]
    fn an_attachment_reads_back() {
        let id = PeerId::from("al\"ice");
        for (address, expected) in
            [(None, r#"["al\"ice",7,"data","x",2]"#), (Some("::/64"), r#"["al\"ice",7,"data","x",2,"::/64"]"#)]
        {
            let bytes = encode_value(&Attachment(&id, 7, "data", "x", 2, address), "it").expect("encodes");
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
            let read = decode_value::<Attachment<PeerId, String, String>>(&bytes, "it").expect("decodes");
            let Attachment(id, at, data, entry, generation, read) = read;
            assert_eq!((id.as_str(), at, &*data, &*entry, generation), ("al\"ice", 7, "data", "x", 2));
            assert_eq!(read.as_deref(), address);
        }
    }
}
