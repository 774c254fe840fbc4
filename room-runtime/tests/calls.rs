//! The functions of a room, `#[call]`: by the Worker, by another room, and by peers.

use std::future::IntoFuture;

use room_runtime::{
    CallError, ErrorKind,
    prelude::*,
    testing::{TestRoom, World},
};

#[room]
pub mod desk {
    use room_runtime::OrFailure;
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub names: Vec<String>,
        pub calls: u32,
    }

    pub struct Connection {}

    pub enum Event {
        Nothing,
    }

    pub enum Broadcast {
        Named { name: String },
    }

    #[data]
    pub enum NameError {
        Taken { by: u32 },
        Empty,
    }

    /// Adds a name, and returns the number of names.
    #[call]
    pub async fn add(ctx: &Ctx, name: String) -> Result<u64, OrFailure<NameError>> {
        if name.is_empty() {
            return Err(NameError::Empty.into());
        }
        if let Some(at) = ctx.state()?.names.iter().position(|other| *other == name) {
            return Err(NameError::Taken { by: at as u32 }.into());
        }
        ctx.sleep(std::time::Duration::from_secs(1)).await;
        let count = ctx.update(|state| {
            state.names.push(name.clone());
            state.names.len()
        })?;
        ctx.broadcast(&Broadcast::Named { name })?;
        Ok(count as u64)
    }

    /// Says who called.
    #[call]
    pub fn caller(ctx: &Ctx) -> Option<PeerId> {
        ctx.sender().map(|peer| peer.id().clone())
    }

    #[call]
    pub fn divide(_ctx: &Ctx, dividend: f64, divisor: Option<f64>) -> Result<f64> {
        match divisor {
            Some(divisor) if divisor != 0.0 => Ok(dividend / divisor),
            Some(_) => Err(Failure::msg("division by zero")),
            None => Ok(dividend),
        }
    }

    #[call]
    pub fn strictly(_ctx: &Ctx, number: i32) -> Result<i32, NameError> {
        if number < 0 { Err(NameError::Empty) } else { Ok(number) }
    }

    #[call]
    pub fn touch(ctx: &Ctx) -> Result {
        ctx.update(|state| state.calls += 1)?;
        Ok(())
    }

    #[call]
    pub fn refuse(ctx: &Ctx) -> Result {
        Err(ctx.refuse("not today"))
    }

    /// Removes all names.
    #[call(worker)]
    pub fn clear(ctx: &Ctx) -> Result<u32> {
        Ok(ctx.update(|state| std::mem::take(&mut state.names).len() as u32)?)
    }
}

#[room]
pub mod hall {
    use super::desk::Calls as _;

    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Add { name: String },
    }
    pub enum Broadcast {
        Count { count: u64 },
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Add { name } = event;
        let desk = ctx.room::<super::desk::Room>("d")?;
        let count = desk.add(name).await?;
        assert_eq!(desk.clear().await?, count as u32);
        ctx.broadcast(&Broadcast::Count { count })?;
        Ok(())
    }
}

use desk::Calls as _;

fn own<T>(result: Result<T, CallError<desk::NameError>>) -> Option<desk::NameError> {
    result.err()?.returned()
}

#[test]
fn the_worker_calls_a_function() {
    let room = TestRoom::<desk::Room>::new("d");
    assert_eq!(room.add("ada".into()).expect("it succeeds"), 1);
    assert_eq!(own(room.add("ada".into())), Some(desk::NameError::Taken { by: 0 }));
    assert_eq!(own(room.add(String::new())), Some(desk::NameError::Empty));
    assert_eq!(room.caller().expect("it succeeds"), None);
    assert_eq!(room.divide(1.0, Some(4.0)).expect("it succeeds"), 0.25);
    assert_eq!(room.divide(3.0, None).expect("it succeeds"), 3.0);
    assert_eq!(room.strictly(5).expect("it succeeds"), 5);
    assert_eq!(own(room.strictly(-5)), Some(desk::NameError::Empty));
    room.touch().expect("it succeeds");
    room.assert_no_errors();
    let failed = room.divide(1.0, Some(0.0)).expect_err("it fails");
    assert_eq!((failed.kind(), failed.handler()), (ErrorKind::Handler, Some("divide")));
    assert!(room.take_log()[0].contains("division by zero"));
    let refused = room.refuse().expect_err("it fails");
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Refused, "not today"));
    assert_eq!(room.clear().expect("it succeeds"), 1);
    room.assert_no_errors();
}

#[test]
fn a_call_with_an_idempotency_key_runs_once() {
    let room = TestRoom::<desk::Room>::new("d");
    let call = || room.world().block_on(room.handle().touch().idempotency_key("k").into_future());
    call().expect("it succeeds");
    call().expect("it succeeds");
    assert_eq!(room.state().expect("it succeeds").expect("it succeeds").calls, 1);
    let typed = || room.world().block_on(room.handle().add(String::new()).idempotency_key("a").into_future());
    assert_eq!(own(typed()), Some(desk::NameError::Empty));
    assert_eq!(own(typed()), Some(desk::NameError::Empty));
}

#[test]
fn another_room_calls_a_function() {
    let world = World::new();
    let (hall, desk) = (world.room::<hall::Room>("h"), world.room::<desk::Room>("d"));
    let peer = hall.connect(Upgrade::new(hall::Connection {}));
    peer.send(&hall::Event::Add { name: "ada".into() });
    world.advance(std::time::Duration::from_secs(1));
    assert_eq!(peer.received(), [hall::Broadcast::Count { count: 1 }]);
    assert!(desk.state().expect("it succeeds").expect("it succeeds").names.is_empty());
    world.assert_no_errors();
}

#[test]
fn a_peer_calls_a_function() {
    let room = TestRoom::<desk::Room>::new("d");
    let ada = room.connect(Upgrade::new(desk::Connection {}).id("ada"));
    let bob = room.connect(Upgrade::new(desk::Connection {}).id("bob"));
    assert_eq!(ada.add("x".into()).expect("it succeeds"), 1);
    assert_eq!(bob.received(), [desk::Broadcast::Named { name: "x".into() }]);
    assert_eq!(ada.received(), [desk::Broadcast::Named { name: "x".into() }]);
    assert_eq!(own(bob.add("x".into())), Some(desk::NameError::Taken { by: 0 }));
    assert_eq!(bob.caller().expect("it succeeds"), Some("bob".into()));
    ada.touch().expect("it succeeds");
    let failed = ada.divide(1.0, Some(0.0)).expect_err("it fails");
    assert_eq!((failed.kind(), failed.message()), (ErrorKind::Handler, "the room could not handle this call"));
    room.take_log();
    assert_eq!(ada.refuse().expect_err("it fails").kind(), ErrorKind::Refused);
    assert!(ada.receive_error().is_none(), "the outcome of a call is not an error frame too");
    // A plain event of the same client still works.
    ada.send(&desk::Event::Nothing);
    room.assert_no_errors();
    ada.disconnect();
    assert_eq!(ada.touch().expect_err("it fails").kind(), ErrorKind::PeerGone);
}

#[test]
fn what_a_peer_must_not_call_is_not_there_for_it() {
    let room = TestRoom::<desk::Room>::new("d");
    let ada = room.connect(Upgrade::new(desk::Connection {}));
    ada.receive_raw();
    for (call, code) in [
        (
            r#"[1,"clear",{}]"#,
            r#"{"n":1,"code":"decode","message":"this is not a call of this room: the room has no call `clear`"}"#,
        ),
        (
            r#"[2,"nothing",{}]"#,
            r#"{"n":2,"code":"decode","message":"this is not a call of this room: the room has no call `nothing`"}"#,
        ),
    ] {
        ada.send_raw(call);
        assert_eq!(ada.receive_raw().expect("it succeeds"), format!("[[{{\"error\":{code}}}]]"));
    }
    for (call, part) in [
        (r#"[3,"add",{}]"#, "missing field `name`"),
        (r#"[4,"add",{"name":7}]"#, "invalid type"),
        (r#"[5,"add",{"name":"a","also":1}]"#, "unknown field `also`"),
        (r#"[6,"add",null]"#, "an object by name"),
        (r#"[6,"add",["a"]]"#, "an object by name"),
        (r#"[0,"touch",{}]"#, "a call has a number"),
    ] {
        ada.send_raw(call);
        let answer = ada.receive_raw().expect("it succeeds");
        assert!(answer.contains(part) && answer.contains("\"code\":\"decode\""), "{call}: {answer}");
    }
    ada.send_raw(r#"[7,"touch",{}]"#);
    assert_eq!(ada.receive_raw().expect("it succeeds"), r#"[[{"answer":{"n":7,"value":null}}]]"#);
    // Sent again, it does not run again, and has the same answer.
    room.hibernate();
    ada.send_raw(r#"[7,"touch",{}]"#);
    assert_eq!(ada.receive_raw().expect("it succeeds"), r#"[[{"answer":{"n":7,"value":null}}]]"#);
    assert_eq!(room.state().expect("it succeeds").expect("it succeeds").calls, 1);
    room.assert_no_errors();
}

#[test]
fn a_peer_receives_the_messages_that_follow_an_answer() {
    let room = TestRoom::<desk::Room>::new("d");
    let ada = room.connect(Upgrade::new(desk::Connection {}).id("ada"));
    ada.divide(1.0, None).expect("it succeeds");
    let named = desk::Broadcast::Named { name: "bob".to_owned() };
    room.broadcast(&named).expect("sent");
    // The frame of the answer has no message.
    assert_eq!(ada.received(), [named]);
}
