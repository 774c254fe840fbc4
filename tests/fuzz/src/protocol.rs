//! The frames of clients of `room.v1`, and what a client offers in its handshake.

use room_runtime::{
    __private::fuzz::{self, ClientFrame},
    Codec, SUBPROTOCOL, SUBPROTOCOL_MSGPACK,
    testing::TestFrame,
};
use serde_json::value::RawValue;

/// The largest number that a client sends.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A frame in both codecs, or the header of a handshake.
pub fn protocol(data: &[u8]) {
    binary(data);
    if let Ok(text) = std::str::from_utf8(data) {
        json(text);
        handshake(text);
    }
}

/// Checks what holds in both codecs. Returns the parts of the frame.
fn parse(frame: &TestFrame) -> Option<ClientFrame> {
    let early = fuzz::number_of(frame.clone());
    assert!(early <= MAX_NUMBER, "the number {early}");
    match fuzz::client_frame(frame.clone()) {
        Ok(parsed) => {
            let number = match &parsed {
                ClientFrame::Event(number, _) | ClientFrame::Call(number, _, _) => *number,
                // It has no number of its own.
                _ => 0,
            };
            assert_eq!(number, early, "the number is found without parsing the frame");
            Some(parsed)
        }
        Err(back) => {
            assert_eq!(&back, frame, "a frame of another form is given back");
            None
        }
    }
}

fn json(text: &str) {
    let parsed = parse(&TestFrame::Text(text.to_owned()));
    // The frame of a client in JSON is JSON, so what is one is parsed as one.
    let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        if let Some(ClientFrame::Event(_, inner) | ClientFrame::Call(_, _, inner)) = &parsed {
            let TestFrame::Text(inner) = inner else { panic!("a text frame has text inside") };
            // `[1,]` and `[1,2,3]` show later that they are none.
            assert!(serde_json::from_str::<&RawValue>(inner).is_err(), "{text}");
        }
        return;
    };
    let number = parts.first().and_then(|first| first.get().parse::<u64>().ok()).filter(|number| *number <= MAX_NUMBER);
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (number, &parts[..]) {
        (Some(number), [_, event]) => {
            let event = TestFrame::Text(event.get().to_owned());
            assert_eq!(parsed, Some(ClientFrame::Event(number, event)), "{text}");
        }
        (Some(number), [_, name, arguments])
            if let Some(name) = name.get().strip_prefix('"').and_then(|name| name.strip_suffix('"'))
                && is_plain(name) =>
        {
            let arguments = TestFrame::Text(arguments.get().to_owned());
            assert_eq!(parsed, Some(ClientFrame::Call(number, name.to_owned(), arguments)), "{text}");
        }
        (None, _) => assert_eq!(parsed, None, "{text}"),
        _ => {}
    }
}

fn binary(bytes: &[u8]) {
    let parsed = parse(&TestFrame::Binary(bytes.to_vec().into()));
    let inner = |parsed: &ClientFrame| match parsed {
        ClientFrame::Event(_, TestFrame::Binary(inner)) | ClientFrame::Call(_, _, TestFrame::Binary(inner)) => {
            Some(inner.clone())
        }
        ClientFrame::Event(..) | ClientFrame::Call(..) => panic!("a binary frame has bytes inside"),
        _ => None,
    };
    // A list of two or three values is an event or a call if it begins with a number.
    let parts = fuzz::elements(bytes).unwrap_or_default();
    let number = parts.first().and_then(|number| rmp_serde::from_slice::<u64>(number).ok());
    match (number.filter(|number| *number <= MAX_NUMBER), &parts[..]) {
        (Some(number), [_, event]) if bytes[0] == 0x92 => {
            assert_eq!(
                parsed,
                Some(ClientFrame::Event(number, TestFrame::Binary(event.to_vec().into()))),
                "{bytes:x?}"
            );
        }
        (Some(number), [_, name, arguments])
            if bytes[0] == 0x93
                && name.len() < 250
                && let Ok(name) = rmp_serde::from_slice::<String>(name) =>
        {
            let arguments = TestFrame::Binary(arguments.to_vec().into());
            assert_eq!(parsed, Some(ClientFrame::Call(number, name, arguments)), "{bytes:x?}");
        }
        _ => {}
    }
    // And what is inside a frame is its end.
    if let Some(inner) = parsed.as_ref().and_then(inner) {
        assert!(bytes.ends_with(&inner), "{bytes:x?}");
    }
}

fn handshake(text: &str) {
    let headers: Vec<_> = text.lines().collect();
    let mut offered = fuzz::protocols(&headers);
    for name in &offered {
        assert!(!name.is_empty() && name.trim() == name && !name.contains(','), "{name:?}");
    }
    let before = offered.clone();
    let offer = fuzz::take_resume_offer(&mut offered);
    // No handler and no error sees a secret.
    assert!(offered.iter().all(|name| !name.starts_with("room.v1.resume.")), "{offered:?}");
    assert!(offered.iter().all(|name| before.contains(name)) && offered.len() <= before.len());
    if let Some((token, from, at)) = offer {
        assert!(fuzz::is_ticket(&token) && from <= MAX_NUMBER && at <= MAX_NUMBER, "{token} {from} {at}");
        let mut again = vec![format!("room.v1.resume.{token}.{from}.{at}")];
        assert_eq!(fuzz::take_resume_offer(&mut again), Some((token, from, at)));
    }
    let codecs = [Codec::Json, Codec::MessagePack];
    for codecs in [&codecs[..1], &codecs[1..], &codecs[..]] {
        for chosen in [None, offered.last().cloned(), Some("chat".to_owned())] {
            match fuzz::choose_protocol(&offered, chosen.clone(), codecs) {
                Ok((Some(name), is_packed)) => {
                    assert!(offered.contains(&name), "{name} was not offered");
                    assert!(chosen.is_none_or(|chosen| chosen == name));
                    match &*name {
                        SUBPROTOCOL => assert!(!is_packed),
                        SUBPROTOCOL_MSGPACK => assert!(is_packed),
                        _ => {}
                    }
                }
                Ok((None, _)) => assert!(offered.is_empty() && chosen.is_none()),
                Err(reason) => assert!(chosen.is_some() || !offered.is_empty(), "{reason}"),
            }
        }
    }
}
