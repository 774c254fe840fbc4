//! Rule 12: the origins of the pages that may connect.

use anyhow::Result;
use conformance_rooms::{embedded, plain};

use crate::harness::{Harness, guest, room};

/// Origins that the room does not list. The first ones resemble a listed one.
const FORGED: [&str; 19] = [
    "http://example.com",
    "https://example.com:8443",
    "https://example.com.",
    "https://example.com/",
    "https://example.com.evil.net",
    "https://evil.net#https://example.com",
    "https://example.com@evil.net",
    "https://evilexample.com",
    "https://example.com, https://example.com",
    "https://evil.net https://example.com",
    "example.com",
    "https://example.org",
    "https://a.b.example.org",
    "https://evil.net/.example.org",
    "https://*.example.org.evil.net",
    "http://localhost",
    "http://localhost:87870",
    "null",
    "*",
];

pub(super) async fn a_page_of_another_origin_is_refused_before_the_room_is_called<H: Harness>(h: H) -> Result<()> {
    let room = room::<embedded::Room, _>(&h, "r");
    for origin in FORGED {
        let response = room.refused(guest("eve").header("origin", origin)).await?;
        same!((origin, response.status().as_u16()), (origin, 403));
        let text = String::from_utf8_lossy(response.body()).into_owned();
        holds!(text.contains("origin"), "the reason is missing in {text:?}");
    }
    same!(room.starts().await?, 0);
    Ok(())
}

pub(super) async fn a_page_of_an_allowed_origin_connects<H: Harness>(h: H) -> Result<()> {
    let room = room::<embedded::Room, _>(&h, "r");
    let allowed = [
        "https://example.com",
        "https://EXAMPLE.com:443",
        "https://app.example.org",
        "https://App-2.Example.org",
        "http://localhost:8787",
    ];
    for origin in allowed {
        room.connect(guest(origin).header("origin", origin)).await?.fence().await?;
    }
    same!(room.peer_ids().await?.len(), allowed.len());
    Ok(())
}

pub(super) async fn a_client_without_an_origin_connects<H: Harness>(h: H) -> Result<()> {
    let room = room::<embedded::Room, _>(&h, "r");
    room.connect(guest("alice")).await?.fence().await?;
    // A connection of the Worker itself has no request.
    let said = room.dialogue(guest("robot"), Vec::new()).await?;
    is!(said, Ok(_));
    Ok(())
}

pub(super) async fn a_room_without_the_option_accepts_every_origin<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    for origin in ["https://example.com", "null", ""] {
        room.connect(guest("alice").header("origin", origin)).await?.fence().await?;
    }
    Ok(())
}
