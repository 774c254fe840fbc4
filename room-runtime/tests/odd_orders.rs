//! Promises of refusals, resumes and the test kit in unusual orders of events. Each of these promises was broken once.

#![allow(unreachable_pub, reason = "a room is written as in a crate of its own")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use http::StatusCode;
use room_runtime::{
    prelude::*,
    testing::{TestPeer, TestRoom, World},
};

/// A room that keeps the places of lost peers.
#[room(reconnect_grace = "30s")]
pub mod hall {
    use std::time::Duration;

    use http::StatusCode;
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub log: Vec<String>,
        pub init: u32,
    }

    pub struct Connection {
        pub role: String,
    }

    pub enum Event {
        Say { text: String },
        Role,
        Refuse,
        Fail,
        AskTheDesk { how: String },
        SleepThenFail { ms: u64 },
        Purge,
        PretendToPurge,
    }

    pub enum Broadcast {
        Said { text: String },
    }

    fn note(ctx: &Ctx, text: String) -> Result {
        ctx.update(|state| state.log.push(text))?;
        Ok(())
    }

    pub async fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        if upgrade.data.role == "bearer" {
            let token = upgrade.bearer()?;
            upgrade.data.role = format!("{token:?}");
        }
        if upgrade.data.role == "stranger" {
            let refusal = Failure::refuse("sign in").with_status(StatusCode::UNAUTHORIZED);
            return Err(Reject::from(refusal).header("www-authenticate", "Bearer"));
        }
        match upgrade.data.role.as_str() {
            "ask" => {
                let how = "typed".to_owned();
                ctx.room::<super::desk::Room>("main")?.send(&super::desk::Event::Ask { how }).await?;
            }
            "waits" => ctx.sleep(Duration::from_secs(1)).await,
            _ => {}
        }
        Ok(())
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        note(ctx, format!("connect {} {}", peer.id(), peer.data().role))
    }

    pub async fn on_resume(ctx: &Ctx, peer: &Peer) -> Result {
        let role = peer.data().role.clone();
        note(ctx, format!("resume {} {role}", peer.id()))?;
        if role == "expired" {
            // The handler waits, for example for a service.
            ctx.sleep(Duration::from_secs(1)).await;
            return Err(ctx.refuse("sign in again"));
        }
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Say { text } => {
                ctx.broadcast(&Broadcast::Said { text })?;
            }
            Event::Role => {
                if let Some(peer) = ctx.sender() {
                    peer.send(&Broadcast::Said { text: peer.data().role.clone() })?;
                }
            }
            Event::Refuse => return Err(ctx.refuse("no")),
            Event::Purge => return ctx.purge(),
            Event::PretendToPurge => {
                return Err(room_runtime::Error::new(ErrorKind::Purged, "the handler purged the room").into());
            }
            Event::Fail => return Err(Failure::msg("it does not work")),
            Event::SleepThenFail { ms } => {
                ctx.sleep(Duration::from_millis(ms)).await;
                return Err(Failure::msg("it does not work"));
            }
            Event::AskTheDesk { how } => {
                ctx.room::<super::desk::Room>("main")?.send(&super::desk::Event::Ask { how }).await?
            }
        }
        Ok(())
    }

    pub async fn on_away(ctx: &Ctx, peer: &Peer) -> Result {
        note(ctx, format!("away {}", peer.id()))?;
        if peer.data().role == "slow" {
            ctx.sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        note(ctx, format!("close {} {}", peer.id(), close.code))
    }

    pub fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        note(ctx, format!("error {} {}", error.handler(), error.kind()))
    }
}

/// A room that refuses in every possible way.
#[room(max_unread_bytes = 1000)]
pub mod desk {
    use std::time::Duration;

    use http::StatusCode;
    use room_runtime::prelude::*;

    pub struct State {
        pub errors: Vec<String>,
        pub count: u32,
    }

    pub struct Connection {
        pub how: String,
    }

    pub enum Event {
        Ask { how: String },
        Shout { bytes: usize },
        FailThenPanic,
        FailThenWait,
        CountThenFail { how: String },
        CountThenRefuse,
        Schedule,
    }

    pub enum Broadcast {
        Said { text: String },
    }

    pub struct Alarm {}

    pub fn init(ctx: &Ctx) -> Result<State> {
        if ctx.id().as_str() == "closed" {
            return Err(ctx.refuse("an inner secret"));
        }
        Ok(State { errors: Vec::new(), count: 0 })
    }

    fn refusal(ctx: &Ctx, how: &str) -> Failure {
        match how {
            "typed" => ctx.refuse_with(&Broadcast::Said { text: "sold".to_owned() }).with_status(StatusCode::CONFLICT),
            "down" => ctx.refuse("closed for today").with_status(StatusCode::SERVICE_UNAVAILABLE),
            how => ctx.refuse(how),
        }
    }

    pub fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        match upgrade.data.how.as_str() {
            "" => Ok(()),
            how => Err(refusal(ctx, how).into()),
        }
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Ask { how } => {
                ctx.state()?;
                return Err(refusal(ctx, &how));
            }
            Event::Shout { bytes } => {
                if let Some(peer) = ctx.sender() {
                    peer.send(&Broadcast::Said { text: "x".repeat(bytes) })?;
                }
                return Err(refusal(ctx, "typed"));
            }
            Event::FailThenPanic => return Err(Failure::msg("panic")),
            Event::FailThenWait => return Err(Failure::msg("wait")),
            Event::CountThenFail { how } => {
                ctx.update(|state| state.count += 1)?;
                return Err(Failure::msg(how));
            }
            Event::CountThenRefuse => {
                ctx.update(|state| state.count += 1)?;
                return Err(refusal(ctx, "typed"));
            }
            Event::Schedule => {
                ctx.schedule(Alarm {}).after(Duration::from_secs(60))?;
            }
        }
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, _alarm: Alarm) -> Result {
        Err(refusal(ctx, "typed"))
    }

    pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        let text = error.failure().to_string();
        assert!(text != "panic", "on_error broke");
        if text == "wait" {
            ctx.sleep(Duration::from_secs(1)).await;
        }
        ctx.update(|state| state.errors.push(text))?;
        Ok(())
    }
}

/// A room whose `on_start` takes time, with a grace and with batched messages.
#[room(reconnect_grace = "30s", batch = "20ms")]
pub mod slow {
    use std::time::Duration;

    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {
        pub name: String,
    }

    pub enum Event {
        Name,
        NameThenFail,
        NameThenWaitAndFail,
    }

    pub enum Broadcast {
        Named { name: String },
    }

    pub async fn on_start(ctx: &Ctx) {
        ctx.sleep(Duration::from_millis(100)).await;
    }

    pub fn on_resume(_ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::Named { name: "back".to_owned() })?;
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        if let Some(peer) = ctx.sender() {
            peer.send(&Broadcast::Named { name: peer.data().name.clone() })?;
        }
        match event {
            Event::Name => Ok(()),
            Event::NameThenFail => Err(Failure::msg("it does not work")),
            Event::NameThenWaitAndFail => {
                ctx.sleep(Duration::from_millis(5)).await;
                Err(Failure::msg("it does not work"))
            }
        }
    }
}

type Hall = TestRoom<hall::Room>;

fn up(id: &str, role: &str) -> Upgrade<hall::Connection> {
    Upgrade::new(hall::Connection { role: role.to_owned() }).id(id)
}

fn ask(how: &str) -> desk::Event {
    desk::Event::Ask { how: how.to_owned() }
}

fn log(room: &Hall) -> Vec<String> {
    room.state().expect("a state").map(|state| state.log).unwrap_or_default()
}

fn role(peer: &TestPeer<hall::Room>) -> Option<String> {
    peer.send(&hall::Event::Role);
    peer.received().pop().map(|hall::Broadcast::Said { text }| text)
}

fn body(response: &http::Response<Bytes>) -> String {
    String::from_utf8(response.body().to_vec()).expect("UTF-8")
}

// Tests of resumes.

/// Reconnecting, 4: "If the token names a place of that id, the peer takes it", and the room handles its frames.
#[test]
fn a_peer_that_resumes_while_its_on_away_waits_is_served() {
    for before in ["nothing", "a crash", "a sleep"] {
        let room = Hall::new("main");
        let first = room.connect(up("ann", "slow"));
        let token = first.resume_token().expect("a token");
        match before {
            "a crash" => room.crash(),
            "a sleep" => room.hibernate(),
            _ => {}
        }
        first.disconnect();
        let second = room.connect(up("ann", "slow").resume(&token));
        room.advance(Duration::from_secs(5));
        assert_eq!(role(&second).as_deref(), Some("slow"), "after {before}: {:?}", log(&room));
    }
}

/// Returns the outcomes of a client that loses its connection and reconnects at once. There is one outcome for each
/// order in which the room may see the two events.
fn resume_at_once(sleeps: bool) -> Vec<(u64, bool, Option<String>)> {
    let outcome = |seed| {
        let world = World::with_seed(seed);
        let room = world.room::<hall::Room>("main");
        let first = room.connect(up("ann", "member"));
        let token = first.resume_token().expect("a token");
        if sleeps {
            room.hibernate();
        }
        let connecting = world.together(|| {
            first.disconnect();
            room.begin_connect(up("ann", "admin").resume(&token).on_resume(OnResume::ReplaceData))
        });
        let second = world.block_on(connecting).expect("a peer");
        room.advance(Duration::from_secs(1));
        (seed, log(&room).contains(&"resume ann admin".to_owned()), role(&second))
    };
    (0..40).map(outcome).collect()
}

/// Reconnecting, 4: "If the token names a place of that id, the peer takes it", also if the room sees the upgrade
/// first.
#[test]
fn a_resume_that_the_room_sees_before_the_close_takes_the_place() {
    for sleeps in [false, true] {
        let new: Vec<_> = resume_at_once(sleeps).into_iter().filter(|(_, resumed, _)| !resumed).collect();
        assert!(new.is_empty(), "slept: {sleeps}, {} of 40 are new peers: {new:?}", new.len());
    }
}

#[test]
fn a_peer_that_resumes_at_once_is_served() {
    for sleeps in [false, true] {
        let deaf: Vec<_> = resume_at_once(sleeps).into_iter().filter(|(_, _, role)| role.is_none()).collect();
        assert!(deaf.is_empty(), "slept: {sleeps}, {} of 40 are not heard: {deaf:?}", deaf.len());
    }
}

/// The upgrade wakes a room that starts slowly, and the close of the old connection arrives during the start.
#[test]
fn a_peer_that_resumes_while_the_room_starts_is_served() {
    for sleeps in [false, true] {
        let room = TestRoom::<slow::Room>::new("main");
        let up = || Upgrade::new(slow::Connection { name: "ann".to_owned() }).id("ann");
        let first = room.connect(up());
        let token = first.resume_token().expect("a token");
        if sleeps {
            room.hibernate();
        }
        let world = room.world().clone();
        let connecting = room.begin_connect(up().resume(&token));
        world.advance(Duration::from_millis(10));
        first.disconnect();
        let second = world.block_on(connecting).expect("a peer");
        room.advance(Duration::from_secs(1));
        second.send(&slow::Event::Name);
        room.advance(Duration::from_secs(1));
        let names: Vec<_> = second.received().into_iter().map(|slow::Broadcast::Named { name }| name).collect();
        assert_eq!(names, ["back", "ann"], "slept: {sleeps}");
    }
}

/// Rules, "Several messages in one frame": the controls of a batch, and then its messages, each in order.
#[test]
fn the_errors_and_the_messages_of_a_batch_are_in_order() {
    let room = TestRoom::<slow::Room>::new("main");
    let request = http::Request::get("/").header("sec-websocket-protocol", "room.v1").body(()).expect("a request");
    let up = || Upgrade::new(slow::Connection { name: "ann".to_owned() }).id("ann");
    let first = room.try_connect_with(request.clone(), up()).expect("a peer");
    room.advance(Duration::from_millis(20));
    first.receive_raw().expect("the welcome");
    first.send(&slow::Event::NameThenFail);
    first.send(&slow::Event::NameThenWaitAndFail);
    first.send_raw("{");
    room.advance(Duration::from_millis(100));
    let frames: Vec<_> = std::iter::from_fn(|| first.receive_raw()).collect();
    let mut parts = Vec::new();
    for frame in &frames {
        let frame: Vec<serde_json::Value> = serde_json::from_str(frame).expect("a list");
        let (controls, messages) = frame.split_first().expect("controls");
        parts.extend(messages.iter().map(|message| message["type"].clone()));
        parts.extend(controls.as_array().expect("a list").iter().map(|control| control["error"]["code"].clone()));
    }
    assert_eq!(parts, ["Named", "Named", "handler", "handler", "decode"], "{frames:?}");
}

/// Reconnecting, 4: the data of `OnResume::ReplaceData` survives hibernation, a crash and a restart.
#[test]
fn replaced_data_survives_hibernation_a_crash_and_a_restart() {
    let room = Hall::new("main");
    let first = room.connect(up("ann", "admin"));
    let token = first.resume_token().expect("a token");
    let second = room.connect(up("ann", "guest").resume(&token).on_resume(OnResume::ReplaceData));
    room.hibernate();
    assert_eq!(role(&second).as_deref(), Some("guest"));
    room.crash();
    assert_eq!(role(&second).as_deref(), Some("guest"));
    room.restart();
    let third = room.connect(up("ann", "admin").resume(&token));
    assert_eq!(role(&third).as_deref(), Some("guest"), "{:?}", log(&room));
}

/// Reconnecting: "If the resume cannot be stored, the room closes the new connection with 1011 and the place stays
/// unchanged."
#[test]
fn a_replacement_that_cannot_be_stored_changes_nothing() {
    let room = Hall::new("main");
    let first = room.connect(up("ann", "admin"));
    let token = first.resume_token().expect("a token");
    let replace = |role: &str| up("ann", role).resume(&token).on_resume(OnResume::ReplaceData);
    room.fail_writes(true);
    let second = room.connect(replace("guest"));
    assert_eq!(second.closed().map(|(code, _)| code), Some(1011));
    room.fail_writes(false);
    assert_eq!(role(&first).as_deref(), Some("admin"));
    assert!(room.try_connect(replace(&"x".repeat(20_000))).is_err());
    assert_eq!(role(&first).as_deref(), Some("admin"));
    room.hibernate();
    let third = room.connect(replace("guest"));
    assert_eq!(role(&third).as_deref(), Some("guest"), "{:?}", log(&room));
}

// Tests of refusals.

/// `Failure::with_status`: "Sets the HTTP status of a refusal […]. The clients of `on_upgrade` and `on_request` get
/// this status, and the Worker gets it from `Error::status` and `Error::into_response`."
#[test]
fn a_refused_connect_of_the_worker_keeps_status_and_message() {
    let room = TestRoom::<desk::Room>::new("main");
    let connect = |how: &str| room.handle().connect(Upgrade::new(desk::Connection { how: how.to_owned() }));
    let error = room.world().block_on(connect("typed")).map(drop).expect_err("it is refused");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, StatusCode::CONFLICT), "{error}");
    let sold = desk::Broadcast::Said { text: "sold".to_owned() };
    assert_eq!(error.refusal::<desk::Broadcast>().expect("decodes"), Some(sold));
}

/// `RoomContext::refuse`: "In every other handler a refusal has no recipient: there it is an error like any other", and
/// `RoomHandle::fire_alarm`: "`ErrorKind::Handler`, or the kind of the runtime's error, if `on_alarm` failed".
#[test]
fn a_refusal_in_on_alarm_is_an_error_like_any_other_for_the_worker() {
    let room = TestRoom::<desk::Room>::new("main");
    room.send(&desk::Event::Schedule).expect("scheduled");
    let error = room.fire_alarm().expect_err("it fails");
    assert_eq!(room.take_log().len(), 1);
    assert_eq!((error.kind(), error.status()), (ErrorKind::Handler, StatusCode::INTERNAL_SERVER_ERROR), "{error}");
}

/// A refusal in `init` is an error like any other: its text must not reach a client with a 403.
#[test]
fn a_refusal_in_init_is_an_error_like_any_other() {
    let room = TestRoom::<desk::Room>::new("closed");
    let error = room.send(&ask("no")).expect_err("it fails");
    assert_eq!(room.take_log().len(), 2, "it is logged, and so is on_error");
    let status = error.status();
    let response = http::Response::<Bytes>::from(error);
    assert_eq!((status.as_u16(), body(&response).contains("an inner secret")), (500, false), "{}", body(&response));
}

/// Rule 8: the refusal of another room is an error of this room, for the peer, for the Worker and in the log.
#[test]
fn a_refusal_that_crosses_two_rooms_is_the_same_for_peer_worker_and_log() {
    let world = World::new();
    let room = world.room::<hall::Room>("main");
    world.room::<desk::Room>("main");
    let event = hall::Event::AskTheDesk { how: "typed".to_owned() };
    let error = room.send(&event).expect_err("refused");
    assert_eq!((error.kind(), error.status().as_u16()), (ErrorKind::Handler, 500));
    assert_eq!(error.refusal::<desk::Broadcast>().expect("none"), None, "a message of the other room");
    assert_eq!(room.take_log().len(), 1);
    let ann = room.connect(up("ann", "member"));
    ann.send(&event);
    assert_eq!(ann.receive_error().map(|error| error.kind()), Some(ErrorKind::Handler));
    assert_eq!(room.take_log().len(), 1);
}

/// Rule 8: the refusal of another room is an error of this room, also in `on_upgrade`.
#[test]
fn a_refusal_of_another_room_in_on_upgrade_is_an_error() {
    let world = World::new();
    let room = world.room::<hall::Room>("main");
    let status = room.try_connect(up("ann", "ask")).map(drop).expect_err("refused").status();
    assert_eq!((status, room.take_log().len()), (Some(500), 1));
}

/// Purge: "Each handler that still waits ends with an error of the kind `purged`".
///
/// The `ErrorKind::status` of that kind is 410. The new life reports nothing of the old one.
#[test]
fn an_on_upgrade_that_waits_while_the_room_is_purged_is_answered_with_410() {
    let room = Hall::new("main");
    let other = room.connect(up("bob", "member"));
    let world = room.world().clone();
    let connecting = room.begin_connect(up("ann", "waits"));
    room.advance(Duration::ZERO);
    other.send(&hall::Event::Purge);
    let status = world.block_on(connecting).map(drop).expect_err("refused").status();
    assert_eq!((status, room.take_log()), (Some(410), vec![]));
}

/// `Reject::header`: "Adds a header."
#[test]
fn a_header_of_a_reject_that_is_a_refusal_is_sent() {
    let room = Hall::new("main");
    match room.try_connect(up("eve", "stranger")) {
        Err(room_runtime::testing::Refusal::Response(response)) => {
            assert_eq!(response.status(), 401);
            assert_eq!(response.headers().get("www-authenticate").map(|value| value.as_bytes()), Some(&b"Bearer"[..]));
        }
        other => panic!("{other:?}"),
    }
}

/// Rule 8: the sender gets the refusal. Rule 12: a slow consumer "is skipped and closed with 1013". One of the two must
/// happen.
#[test]
fn a_refusal_for_a_slow_consumer_arrives_or_closes_it() {
    let room = TestRoom::<desk::Room>::new("main");
    let ann = room.connect(Upgrade::new(desk::Connection { how: String::new() }));
    ann.send(&desk::Event::Shout { bytes: 2000 });
    let arrived = ann.received().len();
    assert!(arrived == 2 || ann.closed().is_some(), "{arrived} messages, and {:?}", ann.closed());
}

/// Recipes: an error frame with the code `handler` or `refused` "belongs to the oldest request without an answer". One
/// event therefore gets one error frame.
#[test]
fn an_event_that_fails_is_answered_once_although_on_error_panics() {
    let room = TestRoom::<desk::Room>::new("main");
    let ann = room.connect(Upgrade::new(desk::Connection { how: String::new() }));
    ann.send(&desk::Event::FailThenPanic);
    let codes: Vec<_> = std::iter::from_fn(|| ann.receive_error()).map(|error| error.kind()).collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
}

#[test]
fn an_event_that_fails_is_answered_once_although_the_room_crashes_in_on_error() {
    let room = TestRoom::<desk::Room>::new("main");
    let ann = room.connect(Upgrade::new(desk::Connection { how: String::new() }));
    ann.send(&desk::Event::FailThenWait);
    room.crash();
    let codes: Vec<_> = std::iter::from_fn(|| ann.receive_error()).map(|error| error.kind()).collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
}

/// `Call::idempotency_key`: "The same call with the same key gets the stored answer and does not run again. […] The
/// answer is stored together with the handler's last changes." Here the handler does not wait, but `on_error` does.
#[test]
fn a_failed_call_with_a_key_happens_once_although_the_room_crashes_in_on_error() {
    let room = TestRoom::<desk::Room>::new("main");
    let event = desk::Event::CountThenFail { how: "wait".to_owned() };
    let call = room.handle().send(&event).idempotency_key("k").into_future();
    let crash = async { room.crash() };
    let (answer, ()) = room.world().block_on(futures_util::future::join(call, crash));
    assert_eq!(answer.map_err(|error| error.kind()), Err(ErrorKind::Handler));
    assert_eq!(room.state().expect("a state").map(|state| state.count), Some(1));
}

#[test]
fn a_failed_call_with_a_key_happens_once_although_on_error_panics() {
    let room = TestRoom::<desk::Room>::new("main");
    let event = desk::Event::CountThenFail { how: "panic".to_owned() };
    let call = room.handle().send(&event).idempotency_key("k").into_future();
    let _ = room.world().block_on(call);
    assert_eq!(room.state().expect("a state").map(|state| state.count), Some(1));
}

/// A refusal is also a stored answer, after hibernation, a crash and a restart.
#[test]
fn a_refused_call_with_a_key_happens_once() {
    let room = TestRoom::<desk::Room>::new("main");
    let call = || {
        let call = room.handle().send(&desk::Event::CountThenRefuse).idempotency_key("k").into_future();
        let error = room.world().block_on(call).expect_err("refused");
        let sold = desk::Broadcast::Said { text: "sold".to_owned() };
        assert_eq!((error.status().as_u16(), error.refusal().expect("decodes")), (409, Some(sold)));
    };
    call();
    room.hibernate();
    call();
    room.crash();
    call();
    room.restart();
    call();
    assert_eq!(room.state().expect("a state").map(|state| state.count), Some(1));
    room.assert_no_errors();
}

/// Rule 8: "If the changes that stay cannot be stored, the outcome is that error."
#[test]
fn a_refusal_that_could_not_be_stored_is_an_error_and_may_be_repeated() {
    let room = TestRoom::<desk::Room>::new("main");
    let call = || {
        let call = room.handle().send(&desk::Event::CountThenRefuse).idempotency_key("k").into_future();
        room.world().block_on(call).expect_err("refused").kind()
    };
    room.fail_writes(true);
    assert_eq!(call(), ErrorKind::Storage);
    room.fail_writes(false);
    room.hibernate();
    assert_eq!(call(), ErrorKind::Refused);
    assert_eq!(room.state().expect("a state").map(|state| state.count), Some(1));
}

/// Rule 8: after a resume, the error frame goes to the peer's current connection.
#[test]
fn the_error_frame_goes_to_the_current_connection_of_the_peer() {
    let room = Hall::new("main");
    let first = room.connect(up("ann", "member"));
    let token = first.resume_token().expect("a token");
    first.send(&hall::Event::SleepThenFail { ms: 1000 });
    let second = room.connect(up("ann", "member").resume(&token));
    room.advance(Duration::from_secs(2));
    assert_eq!(first.receive_error().map(|error| error.kind()), None);
    assert_eq!(second.receive_error().map(|error| error.kind()), Some(ErrorKind::Handler));
}

// Tests of the bearer token.

fn offer(headers: &[(&str, &str)]) -> Result<(Option<String>, Option<String>), String> {
    let room = Hall::new("main");
    let mut request = http::Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer = room.try_connect_with(request.body(()).expect("a request"), up("ann", "bearer"));
    let peer = peer.map_err(|refusal| refusal.to_string())?;
    Ok((role(&peer), peer.protocol()))
}

/// `UpgradeRequest::bearer`: "The handshake is then answered with `bearer`, unless another protocol is chosen".
#[test]
fn a_token_in_the_header_does_not_refuse_a_client_that_offers_bearer_as_well() {
    let both = offer(&[("authorization", "Bearer abc"), ("sec-websocket-protocol", "bearer, abc")]);
    assert_eq!(both, Ok((Some("Some(\"abc\")".to_owned()), Some("bearer".to_owned()))));
}

#[test]
fn the_runtimes_own_subprotocol_after_bearer_is_not_a_token() {
    let got = offer(&[("sec-websocket-protocol", "bearer, room.v1")]).expect("a peer");
    assert_eq!(got.0.as_deref(), Some("None"));
}

#[test]
fn an_empty_bearer_token_is_none() {
    let got = offer(&[("authorization", "Bearer  ")]).expect("a peer");
    assert_eq!(got.0.as_deref(), Some("None"));
}

/// An error with the text of a purge is an error like any other.
#[test]
fn a_purge_cannot_be_forged() {
    let room = Hall::new("main");
    let error = room.send(&hall::Event::PretendToPurge).expect_err("it purged nothing");
    assert_eq!(error.kind(), ErrorKind::Purged);
    assert_eq!(room.take_log().len(), 1);
    assert_eq!(log(&room), ["error on_event purged"]);
}

// Tests of the kit.

/// `TestPeer::receive_error`: "Earlier messages stay in place."
#[test]
fn receive_error_leaves_the_frames_of_room_v1_before_it() {
    let room = Hall::new("main");
    let request = http::Request::get("/").header("sec-websocket-protocol", "room.v1").body(()).expect("a request");
    let ann = room.try_connect_with(request, up("ann", "member")).expect("a peer");
    assert!(ann.receive_raw().is_some(), "the welcome");
    ann.send(&hall::Event::Say { text: "hello".to_owned() });
    ann.send(&hall::Event::Refuse);
    assert_eq!(ann.receive_error().map(|error| error.kind()), Some(ErrorKind::Refused));
    assert_eq!(ann.received(), [hall::Broadcast::Said { text: "hello".to_owned() }]);
}

/// `World::together`: "Runs nothing until `work` has ended".
#[test]
fn a_panic_within_together_does_not_stop_the_world() {
    let room = Hall::new("main");
    let ann = room.connect(up("ann", "member"));
    let panicked = catch_unwind(AssertUnwindSafe(|| room.world().together(|| panic!("the test's own"))));
    assert!(panicked.is_err());
    ann.send(&hall::Event::Say { text: "hello".to_owned() });
    assert_eq!(ann.received().len(), 1);
}

/// `World::advance`: "Lets time pass, together with everything that happens in it": a year, with one peer in the room.
#[test]
fn a_year_passes_in_a_room_with_a_peer() {
    let room = Hall::new("main");
    let _ann = room.connect(up("ann", "member"));
    room.advance(Duration::from_secs(365 * 86_400));
}

// Random runs.

/// Runs one user who resumes in every way. The room must handle the user's frames while the user is connected, with the
/// data of the last upgrade. At the end there must be one `on_close` for each `on_connect`.
fn live(seed: u64, slow: bool) -> Result<(), String> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) % n
    };
    let world = World::with_seed(seed);
    let room = world.room::<hall::Room>("main");
    let mut story = Vec::new();
    let (mut peer, mut expected) = (room.connect(up("ann", "r0")), "r0".to_owned());
    let mut old = Vec::new();
    for step in 1..25 {
        match next(9) {
            0 => {
                story.push("disconnect".to_owned());
                peer.disconnect();
            }
            1 if !slow && !room.is_busy() => {
                story.push("hibernate".to_owned());
                room.hibernate();
            }
            // A crash during `on_away` makes the room ignore a peer that reconnects. That is known, and so is the same
            // effect of hibernation.
            2 if !slow => {
                story.push("crash".to_owned());
                room.crash();
            }
            3 => {
                story.push("advance".to_owned());
                room.advance(Duration::from_millis(next(1500)));
            }
            4 => {
                story.push("sleep and fail".to_owned());
                peer.send(&hall::Event::SleepThenFail { ms: next(500) });
            }
            5 if next(4) == 0 => {
                story.push("restart".to_owned());
                room.restart();
            }
            kind => {
                let role = match (slow, kind) {
                    (true, 6) => "slow".to_owned(),
                    (_, 7) => "expired".to_owned(),
                    _ => format!("r{step}"),
                };
                let token = peer.resume_token();
                let mut upgrade = up("ann", &role).on_resume(OnResume::ReplaceData).on_duplicate(OnDuplicate::Replace);
                if let Some(token) = token {
                    upgrade = upgrade.resume(token);
                }
                story.push(format!("resume as {role}"));
                match room.try_connect(upgrade) {
                    Ok(new) => {
                        old.push(std::mem::replace(&mut peer, new));
                        expected = role;
                    }
                    Err(refusal) => return Err(format!("{story:?}: {refusal}")),
                }
                // A refused resume is known to end the next connection, so the refusal comes first.
                if expected == "expired" {
                    room.advance(Duration::from_secs(2));
                }
            }
        }
        if peer.is_open() && next(3) == 0 {
            room.advance(Duration::from_secs(3));
            if peer.is_open() {
                while peer.receive_error().is_some() {}
                if role(&peer).as_deref() != Some(&expected) {
                    return Err(format!("seed {seed}: {story:?} not heard as {expected}: {:?}", log(&room)));
                }
            }
        }
    }
    old.iter().chain([&peer]).for_each(TestPeer::disconnect);
    room.advance(Duration::from_secs(700));
    room.hibernate();
    let log = log(&room);
    let count = |what: &str| log.iter().filter(|line| line.starts_with(what)).count();
    match (count("connect "), count("close ")) {
        (connects, closes) if connects == closes => Ok(()),
        counts => Err(format!("seed {seed}: {story:?}: {counts:?} {log:?}")),
    }
}

#[test]
fn no_life_of_resumes_and_refusals_breaks_a_promise() {
    for slow in [false, true] {
        let broken: Vec<_> = (0..200).filter_map(|seed| live(seed, slow).err()).collect();
        assert!(broken.is_empty(), "slow: {slow}, {} of 200, the first: {}", broken.len(), broken[0]);
    }
}

/// A room that closes its peers and then panics.
#[room]
pub mod exit {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub closed: Vec<String>,
    }

    pub struct Connection {}

    pub enum Event {
        CloseAllAndPanic,
    }

    pub enum Broadcast {}

    pub fn on_event(ctx: &Ctx, _: Event) -> Result {
        ctx.peers().close(CloseCode::POLICY, "out")?;
        panic!("the room panics");
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, _: Close) -> Result {
        ctx.update(|state| state.closed.push(peer.id().to_string()))?;
        Ok(())
    }
}

#[test]
fn peers_that_a_crashing_handler_has_closed_have_one_on_close_each() {
    for seed in 0..200 {
        let room = World::with_seed(seed).room::<exit::Room>("r");
        let ids = ["ann", "bob", "cat"];
        let peers = ids.map(|id| room.connect(Upgrade::new(exit::Connection {}).id(id)));
        peers[0].send(&exit::Event::CloseAllAndPanic);
        assert_eq!(room.peers(None).expect("the room answers").len(), 0);
        let mut closed = room.state().expect("readable").unwrap_or_default().closed;
        closed.sort();
        assert_eq!(closed, ids, "seed {seed}");
    }
}

/// A room that is purged when it is empty, and whose `on_close` waits or panics.
#[room(purge_after = "1m")]
pub mod short_lived {
    use std::time::Duration;

    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub events: u32,
    }

    pub struct Connection {
        pub seconds: u64,
    }

    pub enum Event {
        Count,
    }

    pub enum Broadcast {}

    pub fn on_event(ctx: &Ctx, _: Event) -> Result {
        ctx.update(|state| state.events += 1)?;
        Ok(())
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, _: Close) -> Result {
        assert_ne!(peer.data().seconds, 0, "on_close panics");
        ctx.sleep(Duration::from_secs(peer.data().seconds)).await;
        ctx.update(|state| state.events += 1)?;
        Ok(())
    }
}

#[test]
fn a_room_is_purged_although_its_last_on_close_panics() {
    let room = TestRoom::<short_lived::Room>::new("r");
    let ann = room.connect(Upgrade::new(short_lived::Connection { seconds: 0 }));
    ann.send(&short_lived::Event::Count);
    ann.close();
    assert!(room.stored_state().is_some());
    room.advance(Duration::from_secs(61));
    assert_eq!(room.stored_state(), None);
}

#[test]
fn a_purge_waits_for_the_last_on_close() {
    let room = TestRoom::<short_lived::Room>::new("r");
    let ann = room.connect(Upgrade::new(short_lived::Connection { seconds: 90 }));
    ann.send(&short_lived::Event::Count);
    ann.close();
    room.advance(Duration::from_secs(89));
    assert_eq!(room.state().expect("readable").map(|state| state.events), Some(1));
    room.advance(Duration::from_secs(2));
    assert_eq!(room.state().expect("readable").map(|state| state.events), Some(2));
    room.advance(Duration::from_secs(61));
    assert_eq!(room.stored_state(), None);
}

/// A room that cancels its alarm at the moment at which it is due.
#[room]
pub mod undecided {
    use std::time::Duration;

    #[derive(Default)]
    pub struct State {
        pub log: Vec<String>,
    }

    pub struct Connection {}

    pub enum Event {
        SetAndCancel,
    }

    pub enum Broadcast {}

    pub struct Alarm {}

    pub async fn on_event(ctx: &Ctx, _: Event) -> Result {
        ctx.schedule(Alarm {}).key("it").after(Duration::from_secs(1))?;
        ctx.sleep(Duration::from_secs(1)).await;
        ctx.cancel_keyed("it")?;
        ctx.update(|state| state.log.push("cancelled".to_owned()))?;
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, _: Alarm) -> Result {
        ctx.update(|state| state.log.push("alarm".to_owned()))?;
        Ok(())
    }
}

#[test]
fn an_alarm_that_is_cancelled_when_it_is_due_does_not_begin_afterwards() {
    let mut began = 0;
    for seed in 0..200 {
        let room = World::with_seed(seed).room::<undecided::Room>("r");
        let ann = room.connect(Upgrade::new(undecided::Connection {}));
        ann.send(&undecided::Event::SetAndCancel);
        room.advance(Duration::from_secs(10));
        let log = room.state().expect("readable").unwrap_or_default().log;
        assert_eq!(log.last().map(String::as_str), Some("cancelled"), "seed {seed}: {log:?}");
        began += log.len() - 1;
    }
    assert!((1..200).contains(&began), "both orders have to occur: {began}");
}
