//! A client of a room in a Worker, over the Worker's own sockets.

use std::{cell::Cell, rc::Rc, time::Duration};

use room_client::{Builder, Incoming, Reconnect, Status, WorkerTransport};
use serde::{Deserialize, Serialize};
use worker::{Response, Result, wasm_bindgen_futures::spawn_local};

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
