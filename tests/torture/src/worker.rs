//! Requests to the Worker of the rooms.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes};
use serde::{Serialize, de::DeserializeOwned};
use test_client::{Client, ConnectError, http};
use tokio::time::{sleep, timeout};
use torture_rooms::log::Row;

/// The longest time for one answer. Nothing may hang, whatever happens to the room meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// The wait before a request is repeated.
const AGAIN: Duration = Duration::from_millis(50);

/// Sends a request, and returns the whole response; `None` if the connection failed.
pub(crate) async fn fetch(request: Request<Bytes>) -> Result<Option<Response<Bytes>>> {
    let what = format!("{} {}", request.method(), request.uri());
    let fetching = async { http::collect(http::send(request.map(Full::new)).await?).await };
    let outcome = timeout(PATIENCE, fetching).await.with_context(|| format!("{what} hangs"))?;
    Ok(outcome.ok())
}

/// Sends JSON, and returns the status; `None` if the connection failed.
pub(crate) async fn post(uri: &str, body: &impl Serialize) -> Result<Option<StatusCode>> {
    let request = Request::post(uri).body(serde_json::to_vec(body)?.into())?;
    let response = fetch(request).await?;
    Ok(response.map(|response| response.status()))
}

/// Reads JSON, and repeats the request while the room is not there.
pub(crate) async fn read<T: DeserializeOwned>(uri: &str) -> Result<T> {
    let mut last = String::from("no response");
    for _ in 0..100 {
        if let Some(response) = fetch(Request::get(uri).body(Bytes::new())?).await? {
            if response.status() == StatusCode::OK {
                return serde_json::from_slice(response.body()).with_context(|| format!("the answer of {uri}"));
            }
            last = format!("{} {}", response.status(), String::from_utf8_lossy(response.body()));
        }
        sleep(AGAIN).await;
    }
    bail!("{uri} fails: {last}")
}

/// The whole log of a room.
pub(crate) async fn log(room: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row.seq);
        let more: Vec<Row> = read(&format!("{room}/log?after={after}")).await?;
        if more.is_empty() {
            break;
        }
        rows.extend(more);
    }
    for (at, row) in rows.iter().enumerate() {
        ensure!(row.seq == at as u64 + 1, "the log of {room} misses the row {}", at + 1);
    }
    Ok(rows)
}

/// Opens a WebSocket; `None` if the connection failed or was refused.
pub(crate) async fn open(uri: &str) -> Result<Option<Client>> {
    let request = Request::get(uri).body(())?;
    let opening = timeout(PATIENCE, Client::connect(request)).await.with_context(|| format!("{uri} hangs"))?;
    match opening {
        Ok(client) => Ok(Some(client)),
        Err(error @ ConnectError::Handshake(_)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}
