//! HTTP that the Worker forwards: `on_request`.

use anyhow::Result;
use conformance_rooms::{plain, probe, script::Step};
use hyper::{Request, body::Bytes};
use room_runtime::ErrorKind;

use super::steps::say;
use crate::harness::{Harness, guest, room};

type Probe = probe::Room;

pub(super) async fn a_request_and_its_answer_arrive_whole<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let request = Request::put("https://rooms.example/a%20b/c?x=1&y=%C3%A4")
        .header("x-status", "201")
        .header("x-echo", "an echo")
        .body(Bytes::from(body.clone()))?;
    let response = room.request(request).await?;
    same!(response.status(), 201);
    same!(response.headers()["x-method"], "PUT");
    same!(response.headers()["x-uri"], "https://rooms.example/a%20b/c?x=1&y=%C3%A4");
    same!(response.headers()["x-echo"], "an echo");
    same!(response.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    holds!(response.body() == &body, "the body is another one");
    Ok(())
}

pub(super) async fn any_method_and_any_status_is_accepted<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for (method, status) in [("GET", 200), ("POST", 302), ("DELETE", 404), ("PATCH", 422), ("OPTIONS", 500)] {
        let request = Request::builder().method(method).uri("https://room/").header("x-status", status);
        let response = room.request(request.body(Bytes::new())?).await?;
        same!(response.status(), status);
        same!(response.headers()["x-method"], method);
    }
    Ok(())
}

pub(super) async fn an_answer_without_a_body_is_accepted<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for status in [204, 304] {
        let request = Request::get("https://room/").header("x-status", status).body(Bytes::new())?;
        let response = room.request(request).await?;
        same!(response.status(), status);
        same!(response.body().len(), 0);
    }
    Ok(())
}

pub(super) async fn an_answer_that_the_platform_cannot_send_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for status in [100, 101, 199, 600, 999] {
        let request = Request::get("https://room/").header("x-status", status).body(Bytes::new())?;
        let error = is!(room.try_request(request).await?, Err(error) => error);
        same!(error.kind, ErrorKind::Encode);
        holds!(error.message.contains(&status.to_string()), "the status is missing in {error:?}");
    }
    Ok(())
}

pub(super) async fn without_on_request_the_answer_is_404<H: Harness>(h: H) -> Result<()> {
    let room = room::<plain::Room, _>(&h, "r");
    same!(room.request(Request::get("https://room/").body(Bytes::new())?).await?.status(), 404);
    Ok(())
}

pub(super) async fn on_request_changes_the_room_and_sends_to_its_peers<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let body = serde_json::to_vec(&[Step::Add(1), Step::Sleep(5), Step::Add(1), say("by request")])?;
    let response = room.request(Request::post("https://room/do").body(Bytes::from(body))?).await?;
    same!((response.status().as_u16(), &**response.body()), (200, &b"done"[..]));
    alice.hears(None, "by request").await?;
    same!(room.count().await?, 2);
    Ok(())
}

pub(super) async fn a_request_wakes_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    let body = serde_json::to_vec(&[say("good morning")])?;
    room.request(Request::post("https://room/do").body(Bytes::from(body))?).await?;
    alice.hears(None, "good morning").await?;
    Ok(())
}
