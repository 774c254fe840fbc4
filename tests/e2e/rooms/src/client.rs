//! Clients of rooms in a Worker: over the Worker's own sockets, and through the handle of a room.

use std::{cell::Cell, rc::Rc, time::Duration};

use room_client::{Builder, Incoming, Reconnect, Status, WorkerTransport};
use room_runtime::{RoomHandle, Upgrade};
use serde::{Deserialize, Serialize};
use worker::{Response, Result, wasm_bindgen_futures::spawn_local};

use crate::ledger::ledger::{self, Calls as _};

/// The events of `examples/counter`.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Event {
    Add { amount: i64 },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Broadcast {
    Count {
        #[expect(dead_code, reason = "the test reads the count itself")]
        count: i64,
    },
}

/// Adds one by one until the session was resumed, and a little longer. Answers with the number of acknowledged events, and
/// of messages that did not decode.
pub(crate) async fn add(to: String) -> Result<Response> {
    let reconnect = Reconnect::default().base(Duration::from_millis(50)).max(Duration::from_millis(500));
    let builder = Builder::new(to).reconnect(reconnect);
    let (room, mut messages, driver) = builder.connect_with::<Event, Broadcast, _>(WorkerTransport::new());
    spawn_local(driver);
    let (is_resumed, undecodable) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let (resumed, strange) = (is_resumed.clone(), undecodable.clone());
    spawn_local(async move {
        while let Some(item) = messages.next().await {
            match item {
                Incoming::Status(Status::Open { resumed: true, .. }) => resumed.set(true),
                Incoming::Undecodable(_) => strange.set(strange.get() + 1),
                _ => {}
            }
        }
    });
    let (mut acknowledged, mut left) = (0, 10);
    while left > 0 {
        room.send(&Event::Add { amount: 1 }).await.map_err(|error| error.to_string())?;
        acknowledged += 1;
        if is_resumed.get() {
            left -= 1;
        }
    }
    room.close(1000, "").map_err(|error| error.to_string())?;
    let close = room.closed().await;
    Response::from_json(&serde_json::json!({
        "acknowledged": acknowledged,
        "undecodable": undecodable.get(),
        "code": close.code,
    }))
}

/// Writes ten entries through the handle of a ledger: events and calls, by turns. Answers with the indices that the calls
/// returned, and with the entries that arrived as messages.
pub(crate) async fn write(room: RoomHandle<ledger::Room>) -> Result<Response> {
    let upgrade = || Upgrade::new(ledger::Connection {}).id("writer");
    let (client, mut messages, driver) = Builder::default().connect_room(room, upgrade);
    spawn_local(driver);
    let mut indices = Vec::new();
    for n in 0..10 {
        let entry = format!("entry {n}");
        match n % 2 {
            0 => client.send(&ledger::Event::Add { entry }).await.map_err(|error| error.to_string())?,
            _ => indices.push(client.add(entry).await.map_err(|error| error.to_string())?),
        }
    }
    let mut entries = Vec::new();
    while entries.len() < 10 {
        match messages.next().await {
            Some(Incoming::Message(ledger::Broadcast::Added { entry, .. })) => entries.push(entry),
            Some(Incoming::Status(Status::Connecting | Status::Open { .. }) | Incoming::Gap { .. }) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    client.close(1000, "").map_err(|error| error.to_string())?;
    let close = client.closed().await;
    Response::from_json(&serde_json::json!({ "indices": indices, "entries": entries, "code": close.code }))
}
