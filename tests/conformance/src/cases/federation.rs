//! Calls of several rooms, and shards.

use anyhow::Result;
use conformance_rooms::{
    api::{Federation, Results, Rooms, What},
    planner::Plan,
    probe,
    script::{Broadcast, Event, State, Step},
};
use room_runtime::ErrorKind;
use serde_json::{Value, json};

use super::{
    planner::{Planner, ask},
    steps::{fail, hold, open},
};
use crate::harness::{Harness, Peer, Room, federate, federation, guest, room, room_called};

type Probe = probe::Room;

/// Rooms of this case, and their ids.
fn rooms<H: Harness>(h: &H, names: &[&str]) -> (Vec<Room<H, Probe>>, Rooms) {
    let rooms: Vec<_> = names.iter().map(|name| room::<Probe, _>(h, name)).collect();
    let ids = Rooms::Ids(rooms.iter().map(|room| room.id().to_owned()).collect());
    (rooms, ids)
}

async fn results<H: Harness>(h: &H, federation: Federation<Event, Broadcast>) -> Result<Results> {
    Ok(is!(federate::<Probe, _>(h, federation).await?, Ok(results) => results))
}

fn ids(results: &Results) -> Vec<&str> {
    results.iter().map(|(id, _)| id.as_str()).collect()
}

/// The result of rooms that all ran a script.
fn done<H: Harness>(rooms: &[Room<H, Probe>]) -> Results {
    rooms.iter().map(|room| (room.id().to_owned(), Ok(Value::Null))).collect()
}

async fn counts<H: Harness>(rooms: &[Room<H, Probe>]) -> Result<Vec<i64>> {
    let mut counts = Vec::new();
    for room in rooms {
        counts.push(room.count().await?);
    }
    Ok(counts)
}

pub(super) async fn a_federated_call_reaches_each_room_and_the_results_have_the_order_of_the_ids<H: Harness>(
    h: H,
) -> Result<()> {
    let (rooms, all) = rooms(&h, &["c", "a", "räume ✨", "b"]);
    for (room, count) in rooms.iter().zip([10, 20, 30, 40]) {
        room.run([Step::Add(count)]).await?;
    }
    same!(results(&h, federation(all.clone(), [Step::Add(1)])).await?, done(&rooms));
    let states = Federation { rooms: all, prefix: None, concurrency: None, what: What::State };
    let states = results(&h, states).await?;
    for ((id, state), (room, count)) in states.iter().zip(rooms.iter().zip([11, 21, 31, 41])) {
        let state: State = serde_json::from_value(is!(state, Ok(state) => state.clone()))?;
        same!((id.as_str(), state.count), (room.id(), count));
    }
    same!(states.len(), 4);
    Ok(())
}

pub(super) async fn a_room_that_fails_affects_no_other_room_of_a_federation<H: Harness>(h: H) -> Result<()> {
    let (good, bad, late) = (room::<Probe, _>(&h, "good"), room::<Probe, _>(&h, "bad"), room::<Probe, _>(&h, "late"));
    bad.script("on_start", [fail("not today")]).await?;
    let long = "x".repeat(1_025);
    let all = Rooms::Ids([good.id(), "", bad.id(), &long, late.id()].map(str::to_owned).to_vec());
    let results = results(&h, federation(all, [Step::Add(1)])).await?;
    same!(ids(&results), [good.id(), "", bad.id(), &long, late.id()]);
    let expected =
        [None, Some(ErrorKind::InvalidRoomId), Some(ErrorKind::NotStarted), Some(ErrorKind::InvalidRoomId), None];
    for ((id, result), expected) in results.iter().zip(expected) {
        same!(result.as_ref().err().map(|error| error.kind), expected);
        if let Err(error) = result {
            same!(error.room.as_deref(), Some(id.as_str()));
        }
    }
    same!(counts(&[good, late]).await?, [1, 1]);
    Ok(())
}

pub(super) async fn a_federation_calls_a_room_once_though_its_id_occurs_twice<H: Harness>(h: H) -> Result<()> {
    let (rooms, _) = rooms(&h, &["a", "b"]);
    let [a, b] = [rooms[0].id(), rooms[1].id()];
    let all = Rooms::Ids([b, a, b, a, b].map(str::to_owned).to_vec());
    same!(ids(&results(&h, federation(all, [Step::Add(1)])).await?), [b, a]);
    same!(counts(&rooms).await?, [1, 1]);
    Ok(())
}

pub(super) async fn a_federation_with_a_filter_calls_the_rooms_that_satisfy_it<H: Harness>(h: H) -> Result<()> {
    let (rooms, all) = rooms(&h, &["eu:1", "us:1", "eu:2", "us:2"]);
    let told = Federation { prefix: Some("eu:".to_owned()), ..federation(all, [Step::Add(1)]) };
    same!(ids(&results(&h, told).await?), [rooms[0].id(), rooms[2].id()]);
    same!(counts(&rooms).await?, [1, 0, 1, 0]);
    Ok(())
}

/// Checks that a federation over rooms whose handlers wait calls `bound` rooms, and the next when one has answered.
async fn bounded<H: Harness>(h: H, concurrency: Option<usize>, bound: usize) -> Result<()> {
    let names: Vec<_> = (0..bound + 2).map(|n| n.to_string()).collect();
    let (rooms, all) = rooms(&h, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut peers: Vec<Peer<H, Probe>> = Vec::new();
    for room in &rooms {
        peers.push(room.connect(guest("alice")).await?);
    }
    let told = Federation { concurrency, ..federation(all, [hold("gate"), Step::Add(1)]) };
    let told = h.begin(federate::<Probe, _>(&h, told));
    for peer in &peers[..bound] {
        peer.holding("gate").await?;
    }
    // A call that had started too early would have arrived before this answer.
    for peer in &peers[bound..] {
        peer.fence().await?;
    }
    // The last of those that wait answers first.
    let mut next = peers[bound..].iter();
    for room in rooms[..bound].iter().rev() {
        room.run([open("gate")]).await?;
        if let Some(peer) = next.next() {
            peer.holding("gate").await?;
        }
    }
    for room in &rooms[bound..] {
        room.run([open("gate")]).await?;
    }
    same!(is!(told.await?, Ok(results) => results), done(&rooms));
    same!(counts(&rooms).await?, vec![1; bound + 2]);
    Ok(())
}

pub(super) async fn a_federation_calls_six_rooms_at_a_time<H: Harness>(h: H) -> Result<()> {
    bounded(h, None, 6).await
}

pub(super) async fn a_federation_calls_as_many_rooms_at_a_time_as_it_is_told<H: Harness>(h: H) -> Result<()> {
    bounded(h.clone(), Some(2), 2).await
}

pub(super) async fn a_bound_of_no_rooms_is_a_typed_error_and_calls_no_room<H: Harness>(h: H) -> Result<()> {
    let (rooms, all) = rooms(&h, &["a", "b"]);
    let told = Federation { concurrency: Some(0), ..federation(all, [Step::Add(1)]) };
    let results = results(&h, told).await?;
    same!(ids(&results), [rooms[0].id(), rooms[1].id()]);
    for (id, result) in &results {
        let error = is!(result, Err(error) => error);
        same!((error.kind, error.room.as_deref()), (ErrorKind::InvalidConcurrency, Some(id.as_str())));
    }
    same!(counts(&rooms).await?, [0, 0]);
    Ok(())
}

pub(super) async fn a_federation_of_no_rooms_has_no_results<H: Harness>(h: H) -> Result<()> {
    same!(results(&h, federation(Rooms::Ids(Vec::new()), [Step::Add(1)])).await?, []);
    Ok(())
}

pub(super) async fn a_room_may_federate_a_call_of_other_rooms<H: Harness>(h: H) -> Result<()> {
    let (rooms, _) = rooms(&h, &["a", "b"]);
    let planner = room::<Planner, _>(&h, "p");
    let ids = [rooms[0].id(), "", rooms[1].id()].map(str::to_owned).to_vec();
    let told = ask(&planner, Plan::Federate { rooms: ids, steps: vec![Step::Add(1)] }).await?;
    same!(told, json!([2, [["", "invalid_room_id"]]]));
    same!(counts(&rooms).await?, [1, 1]);
    Ok(())
}

// Shards.

pub(super) async fn a_key_belongs_to_the_same_shard_always<H: Harness>(h: H) -> Result<()> {
    let name = format!("lobby.{}", h.scope().name());
    // The numbers are from the frozen table of `room-runtime/src/types/shards.rs`.
    let keys = [("user-1", 12), ("user-2", 7), ("user-17", 1), ("", 13), ("räume ✨", 8)];
    for (key, number) in keys {
        let shard = Rooms::Shard { name: name.clone(), count: 16, key: key.to_owned() };
        let told = results(&h, federation(shard, [Step::Add(number)])).await?;
        same!(told, [(format!("{name}#{number}"), Ok(Value::Null))]);
    }
    for (_, number) in keys {
        same!(room_called::<Probe, _>(&h, &format!("{name}#{number}")).count().await?, number);
    }
    Ok(())
}

pub(super) async fn a_message_to_all_shards_reaches_each_once<H: Harness>(h: H) -> Result<()> {
    let name = format!("lobby.{}", h.scope().name());
    let shards: Vec<_> = (0..11).map(|n| room_called::<Probe, _>(&h, &format!("{name}#{n}"))).collect();
    let all = Rooms::Shards { name, count: 11 };
    same!(results(&h, federation(all, [Step::Add(1)])).await?, done(&shards));
    same!(counts(&shards).await?, [1; 11]);
    Ok(())
}

pub(super) async fn a_number_of_shards_that_is_out_of_range_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    for (name, count, kind) in [
        ("lobby", 0, ErrorKind::InvalidShards),
        ("lobby", 10_001, ErrorKind::InvalidShards),
        ("", 1, ErrorKind::InvalidRoomId),
        (&*"x".repeat(1_022), 11, ErrorKind::InvalidRoomId),
    ] {
        let all = Rooms::Shards { name: name.to_owned(), count };
        let error = is!(federate::<Probe, _>(&h, federation(all, [])).await?, Err(error) => error);
        same!(error.kind, kind);
        let one = Rooms::Shard { name: name.to_owned(), count, key: "user-1".to_owned() };
        same!(federate::<Probe, _>(&h, federation(one, [])).await?, Err(error));
    }
    Ok(())
}
