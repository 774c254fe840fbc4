//! Rule 8: a refusal is an answer, not an error.

use anyhow::Result;
use conformance_rooms::{
    lounge::lounge,
    probe,
    script::{Broadcast, Step, UpgradeStep},
};
use hyper::{Request, body::Bytes};
use room_runtime::ErrorKind;

use super::steps::{hold, log, open, say};
use crate::harness::{Harness, guest, room, until};

type Probe = probe::Room;

fn refuse(reason: &str) -> Step {
    Step::Refuse(reason.to_owned())
}

fn refuse_with(text: &str) -> Step {
    Step::RefuseWith(text.to_owned())
}

pub(super) async fn a_refused_event_is_reported_to_its_sender_and_is_not_an_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([Step::Add(1), say("kept"), refuse("too \"low\""), Step::Add(100)]).await?;
    for peer in [&alice, &bob] {
        peer.hears(Some("alice"), "kept").await?;
    }
    let error = alice.next_error().await?;
    same!((error.code, &*error.message), (ErrorKind::Refused, "too \"low\""));
    alice.fence().await?;
    bob.fence().await?;
    same!(room.count().await?, 1);
    // Neither `on_error` nor `on_close` ran.
    same!(room.log().await?, ["connect alice", "connect bob"]);
    Ok(())
}

pub(super) async fn a_refusal_with_a_message_is_that_message<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([refuse_with("sold ✨")]).await?;
    alice.hears(None, "sold ✨").await?;
    alice.fence().await?;
    bob.fence().await?;
    same!(room.log().await?, ["connect alice", "connect bob"]);
    Ok(())
}

pub(super) async fn a_refusal_inside_a_try_update_rolls_it_back<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Add(1), Step::TryAddAndRefuse(10, "too low".to_owned())]).await?;
    same!(alice.next_error().await?.message, "too low");
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_refusal_of_the_workers_send_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let error = is!(room.try_run([Step::Add(1), refuse("too low")]).await?, Err(error) => error);
    same!((error.kind, &*error.message, error.status), (ErrorKind::Refused, "too low", 403));
    same!((error.handler.as_deref(), error.refusal), (Some("on_event"), None));
    let error = is!(room.try_run([refuse_with("sold")]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Refused);
    same!(error.refusal.as_deref(), Some(&Broadcast::Said { from: None, text: "sold".to_owned() }));
    same!(room.log().await?.len(), 0);
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_refusal_is_the_answer_to_its_idempotency_key<H: Harness>(h: H) -> Result<()> {
    use conformance_rooms::script::Event;

    let room = room::<Probe, _>(&h, "r");
    let event = Event::Do { steps: vec![Step::Add(1), refuse_with("sold")] };
    let first = is!(room.try_send_once("k", event.clone()).await?, Err(error) => error);
    let again = is!(room.try_send_once("k", event).await?, Err(error) => error);
    same!(again, first);
    same!(again.refusal.as_deref(), Some(&Broadcast::Said { from: None, text: "sold".to_owned() }));
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_refused_connection_is_closed_with_1008_and_the_reason<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let long = "ä".repeat(100);
    let eve = room.connect(guest("eve").on_connect([refuse(&long)]).on_close([log("on_close of eve")])).await?;
    let error = eve.next_error().await?;
    same!((error.code, &error.message), (ErrorKind::Refused, &long));
    // A close reason has at most 123 bytes.
    same!(eve.closed().await?, (1008, "ä".repeat(61)));
    let mallory = room.connect(guest("mallory").on_connect([refuse_with("banned")])).await?;
    mallory.hears(None, "banned").await?;
    same!(mallory.closed().await?.0, 1008);
    bob.fence().await?;
    same!(room.peer_ids().await?, ["bob"]);
    same!(room.log().await?, ["connect bob", "connect eve", "connect mallory"]);
    Ok(())
}

pub(super) async fn a_refused_resume_is_closed_with_1008_and_runs_on_close<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (alice, token) = super::lounge::enter(&room, guest("alice")).await?;
    room.script("on_resume", [refuse("too late")]).await?;
    let (again, _) = super::lounge::enter(&room, guest("alice").resume(&token)).await?;
    same!(alice.closed().await?.0, 1012);
    same!(again.next_error().await?.message, "too late");
    same!(again.closed().await?, (1008, "too late".to_owned()));
    let ended = |log: &Vec<String>| log.iter().any(|line| line.starts_with("close alice 1008"));
    until(&h, "on_close", || room.log(), ended).await?;
    Ok(())
}

pub(super) async fn a_refused_resume_does_not_end_the_connection_that_followed_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let (_first, token) = super::lounge::enter(&room, guest("alice")).await?;
    room.script("on_resume", [hold("gate"), refuse("too late")]).await?;
    let (second, _) = super::lounge::enter(&room, guest("alice").resume(&token)).await?;
    second.holding("gate").await?;
    let (third, _) = super::lounge::enter(&room, guest("alice").resume(&token)).await?;
    room.script("on_resume", []).await?;
    room.run([open("gate")]).await?;
    same!(second.closed().await?.0, 1012);
    third.fence().await?;
    same!(room.peer_ids().await?, ["alice"]);
    Ok(())
}

pub(super) async fn a_refusal_of_the_workers_connection_keeps_status_and_message<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let refuse = guest("bot").on_upgrade([UpgradeStep::RefuseByFailure("not today".to_owned())]);
    let error = is!(room.dialogue(refuse, vec![]).await?, Err(error) => error);
    same!((error.kind, &*error.message, error.status), (ErrorKind::Refused, "not today", 403));
    let refuse = guest("bot").on_upgrade([super::steps::refuse(401, "who are you?")]);
    let error = is!(room.dialogue(refuse, vec![]).await?, Err(error) => error);
    same!(
        (error.kind, &*error.message, error.status),
        (ErrorKind::Refused, "the room answered 401: who are you?", 401)
    );
    let fail = guest("bot").on_upgrade([UpgradeStep::Fail("the secret is 42".to_owned())]);
    let error = is!(room.dialogue(fail, vec![]).await?, Err(error) => error);
    same!((error.kind, error.status), (ErrorKind::Handler, 500));
    Ok(())
}

pub(super) async fn a_refusal_in_on_upgrade_is_answered_with_403<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let refuse = UpgradeStep::RefuseByFailure("not today".to_owned());
    let response = room.refused(guest("alice").on_upgrade([refuse])).await?;
    same!(response.status(), 403);
    same!(response.headers()["content-type"], "application/json");
    same!(std::str::from_utf8(response.body())?, r#"{"error":{"code":"refused","message":"not today"}}"#);
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_refusal_in_on_request_is_answered_with_403<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for (step, body) in [
        (refuse("no"), r#"{"error":{"code":"refused","message":"no"}}"#),
        (refuse_with("no"), r#"{"type":"Said","from":null,"text":"no"}"#),
    ] {
        let request = Request::post("https://room/do").body(Bytes::from(serde_json::to_vec(&[step])?))?;
        let response = room.request(request).await?;
        same!((response.status().as_u16(), std::str::from_utf8(response.body())?), (403, body));
        same!(response.headers()["content-type"], "application/json");
    }
    same!(room.log().await?.len(), 0);
    Ok(())
}

pub(super) async fn a_refusal_has_the_status_that_it_was_given<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let with = |status: u16, step: Step| Step::RefuseWithStatus(status, Box::new(step));
    let post = async |step: Step| {
        let request = Request::post("https://room/do").body(Bytes::from(serde_json::to_vec(&[step])?))?;
        anyhow::Ok(room.request(request).await)
    };
    for (status, step, body) in [
        (409, refuse("sold"), r#"{"error":{"code":"refused","message":"sold"}}"#),
        (503, refuse("later"), r#"{"error":{"code":"refused","message":"later"}}"#),
        (404, refuse_with("no"), r#"{"type":"Said","from":null,"text":"no"}"#),
    ] {
        let response = post(with(status, step.clone())).await??;
        same!((response.status().as_u16(), std::str::from_utf8(response.body())?), (status, body));
        let error = is!(room.try_run([with(status, step)]).await?, Err(error) => error);
        same!((error.kind, error.status), (ErrorKind::Refused, status));
    }
    same!(room.log().await?.len(), 0);
    // A failure has no status, and a refusal with a success status is not allowed.
    let error = is!(room.try_run([with(409, super::steps::fail("oops"))]).await?, Err(error) => error);
    same!((error.kind, &*error.message, error.status), (ErrorKind::Handler, "oops", 500));
    let error = is!(room.try_run([with(204, refuse("no"))]).await?, Err(error) => error);
    same!((error.kind, error.status), (ErrorKind::Encode, 500));
    holds!(error.message.contains("cannot have the status 204"), "{error:?}");
    Ok(())
}

pub(super) async fn a_refusal_without_a_recipient_is_an_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let alice = room.connect(guest("alice").on_close([refuse("stay")])).await?;
    alice.close().await?;
    let line = "error on_close alice: refused stay";
    until(&h, line, || room.log(), |log| log.iter().any(|l| l == line)).await?;
    bob.fence().await?;
    Ok(())
}

pub(super) async fn json_bodies_are_exchanged_and_invalid_ones_are_answered_with_400<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let post = |body: &str| Request::post("https://room/json").body(Bytes::from(body.to_owned()));
    let response = room.request(post(r#"[{"Add":1}]"#)?).await?;
    same!((response.status().as_u16(), std::str::from_utf8(response.body())?), (201, r#"[{"Add":1}]"#));
    same!(response.headers()["content-type"], "application/json");
    for body in ["", "[{\"Add\":\"one\"}]", "\u{0}", &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))] {
        let response = room.request(post(body)?).await?;
        same!(response.status(), 400);
        let text = std::str::from_utf8(response.body())?;
        holds!(
            text.starts_with(r#"{"error":{"code":"refused","message":"the body is not what is expected: "#),
            "{text}"
        );
    }
    same!(room.log().await?.len(), 0);
    Ok(())
}
