//! Calls of several rooms, with futures that a test controls.

use std::{cell::Cell, rc::Rc};

use futures_channel::oneshot;
use futures_util::future::join;
use room_runtime::{Error, Federated, RoomClient, RoomHandle, Shards, prelude::*, testing::World};

#[room]
pub mod tally {
    #[derive(Default)]
    pub struct State {
        pub total: u32,
    }

    pub struct Connection {}

    pub struct Event {
        pub add: u32,
    }

    pub struct Broadcast {}

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        if event.add > 100 {
            return Err(ctx.refuse("too much"));
        }
        Ok(ctx.update(|state| state.total += event.add)?)
    }
}

fn rooms(world: &World) -> RoomClient<tally::Room> {
    world.client()
}

fn ids<T>(results: &Federated<T>) -> Vec<&str> {
    results.iter().map(|(id, _)| id.as_str()).collect()
}

#[test]
fn a_framework_that_needs_send_accepts_it() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let world = World::new();
    let (rooms, event) = (rooms(&world), tally::Event { add: 1 });
    world.block_on(is_send(async {
        let _ = is_send(rooms.federate(["a", "b"], |room| room.send(&event))).await;
        let states = is_send(rooms.federate(["a", "b"], |room| room.state()).concurrency(1)).await;
        assert_eq!(is_send(states).succeeded().count(), 2);
    }));
}

#[test]
fn a_closure_may_have_several_steps_and_its_types_are_inferred() {
    let world = World::new();
    let (rooms, event) = (rooms(&world), tally::Event { add: 3 });
    let totals = rooms.federate(["a", "b"], |room: RoomHandle<_>| {
        let sending = room.send(&event);
        async move {
            sending.await?;
            let state = room.state().await?.unwrap_or_default();
            Ok((room.id().clone(), state.total))
        }
    });
    let totals = world.block_on(totals).all().expect("both rooms succeed");
    let of = |id: &str| (RoomId::from(id), (RoomId::from(id), 3));
    assert_eq!(totals, [of("a"), of("b")]);
}

#[test]
fn results_are_read_in_several_ways() {
    let world = World::new();
    let rooms = rooms(&world);
    let add = |room: RoomHandle<tally::Room>| {
        let add = if room.id() == "b" || room.id() == "c" { 101 } else { 1 };
        room.send(&tally::Event { add })
    };
    let sent = world.block_on(rooms.federate(["a", "b", "c", "d"], add));
    assert_eq!((sent.len(), sent.is_empty()), (4, false));
    assert_eq!(sent.succeeded().map(|(id, ())| id.as_str()).collect::<Vec<_>>(), ["a", "d"]);
    let failed: Vec<_> = sent.failed().map(|(id, error)| (id.as_str(), error.kind())).collect();
    assert_eq!(failed, [("b", ErrorKind::Refused), ("c", ErrorKind::Refused)]);
    assert_eq!((&sent).into_iter().filter(|(_, result)| result.is_ok()).count(), 2);
    // The first error, in the order of the ids.
    let error = sent.all().expect_err("two rooms refuse");
    assert_eq!((error.kind(), error.room().map(RoomId::as_str)), (ErrorKind::Refused, Some("b")));

    let sent = world.block_on(rooms.federate(["a", "d"], add));
    let ids: Vec<_> = sent.into_iter().map(|(id, result)| (id, result.is_ok())).collect();
    assert_eq!(ids, [("a".into(), true), ("d".into(), true)]);
}

#[test]
fn an_error_of_the_closure_gets_the_id_of_its_room() {
    let world = World::new();
    let failed = rooms(&world).federate(["a"], async |_| Err::<(), _>(Error::new(ErrorKind::Decode, "not mine")));
    let error = world.block_on(failed).all().expect_err("it fails");
    assert_eq!(error.to_string(), "room `a`: not mine");
}

#[test]
fn results_keep_the_order_of_the_ids_and_the_bound_is_kept_and_used() {
    let world = World::new();
    let rooms = rooms(&world);
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    for bound in [1, 2, 7, 20, 1_000] {
        let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let all = rooms.federate(&names, |room| {
            let (running, most) = (running.clone(), most.clone());
            let number: u64 = room.id().as_str().parse().expect("a number");
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                // Later rooms end earlier.
                pause(20 - number).await;
                running.set(running.get() - 1);
                Ok(number)
            }
        });
        let all = world.block_on(all.concurrency(bound));
        assert_eq!(ids(&all), names.iter().map(String::as_str).collect::<Vec<_>>());
        let numbers: Vec<_> = all.all().expect("no error").into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
        assert_eq!(most.get(), bound.min(20));
    }
}

#[test]
fn no_closure_runs_before_the_future_is_awaited() {
    let world = World::new();
    let calls = Cell::new(0);
    let federate = rooms(&world).federate(["a", "b"], async |_| {
        calls.set(calls.get() + 1);
        Ok(())
    });
    assert_eq!(calls.get(), 0);
    let text = format!("{federate:?}");
    assert!(text.contains("tally") && text.contains("\"a\"") && text.contains('6'), "{text}");
    let _ = world.block_on(federate);
    assert_eq!(calls.get(), 2);
}

#[test]
fn the_rooms_that_wait_are_called_when_others_have_answered() {
    let world = World::new();
    let (gate, opened) = oneshot::channel::<()>();
    let gate = Cell::new(Some(gate));
    let mut opened = Some(opened);
    let federate = rooms(&world).federate(["waits", "opens"], |room| {
        let opened = opened.take();
        let gate = if room.id() == "opens" { gate.take() } else { None };
        async move {
            if let Some(opened) = opened {
                opened.await.map_err(|_| Error::new(ErrorKind::Platform, "nobody opens the gate"))?;
            }
            let _ = gate.map(|gate| gate.send(()));
            Ok(())
        }
    });
    // With one room at a time, the second room would never open the gate of the first.
    assert!(world.block_on(federate.concurrency(2)).all().is_ok());
}

#[test]
fn shards_are_called_like_other_rooms() {
    let world = World::new();
    let rooms = rooms(&world);
    let lobby = Shards::new("lobby", 5).expect("five shards");
    for user in 0..50 {
        let room = rooms.shard(format!("user-{user}"), &lobby);
        world.block_on(room.send(&tally::Event { add: 1 }).into_future()).expect("sent");
    }
    let (states, all) = world.block_on(join(
        rooms.federate(&lobby, |room| room.state()),
        rooms.federate(lobby.iter().rev(), |room| room.peers(None)),
    ));
    assert_eq!(ids(&all), ["lobby#4", "lobby#3", "lobby#2", "lobby#1", "lobby#0"]);
    let states = states.all().expect("all shards answer");
    let totals: Vec<_> = states.into_iter().map(|(_, state)| state.unwrap_or_default().total).collect();
    assert_eq!(totals.iter().sum::<u32>(), 50);
    assert!(totals.iter().all(|total| *total > 0), "{totals:?}");
}

/// Is pending for that number of polls.
async fn pause(polls: u64) {
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
