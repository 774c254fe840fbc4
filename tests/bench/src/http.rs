//! Sends requests to the Worker.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time};

use crate::peer::Room;

/// The longest wait for a response: one request makes hundreds of calls.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    room: Room,
}

impl Http {
    pub(crate) async fn connect(room: Room) -> Result<Http> {
        let connecting = time::timeout(PATIENCE, async {
            let stream = TcpStream::connect(room.address).await?;
            stream.set_nodelay(true)?;
            anyhow::Ok(handshake(TokioIo::new(stream)).await?)
        });
        let connected = connecting.await.with_context(|| format!("waited {PATIENCE:?} for a connection"))?;
        let (sender, connection) = connected.context("cannot connect to the Worker")?;
        // Errors of the connection appear in its requests.
        tokio::spawn(connection);
        Ok(Http { sender, room })
    }

    /// Makes the Worker send `event` to the room that many times.
    pub(crate) async fn post(&mut self, event: &str, times: u64) -> Result<()> {
        let uri = format!("/{}?times={times}", self.room.name);
        let request = Request::post(uri).header(HOST, self.room.address.to_string());
        let request = request.body(Full::from(event.to_owned()))?;
        let answering = time::timeout(PATIENCE, async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.collect().await?.to_bytes()))
        });
        let answered = answering.await.with_context(|| format!("waited {PATIENCE:?} for {times} calls"))?;
        let (status, body) = answered.context("the Worker did not answer")?;
        if status != StatusCode::NO_CONTENT {
            bail!("the Worker answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}
