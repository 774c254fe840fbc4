//! (c) The same room on the `worker` crate, in the usual style.
//!
//! It uses serde for the messages, `serialize_attachment` for the attachment, one `send_with_str` for each socket,
//! and an internal HTTP request from the Worker.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use worker::*;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum ClientMessage {
    Echo { text: String },
    Say { text: String },
    Add { amount: i64 },
    Note { text: String },
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum ServerMessage {
    Echo { user_id: String, text: String },
    Message { user_id: String, text: String },
    Count { count: i64 },
    Error { message: String },
}

#[derive(Serialize, Deserialize)]
struct Attachment {
    user_id: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    count: i64,
}

#[durable_object]
#[derive(Debug)]
pub struct PlainRoom {
    state: State,
}

impl PlainRoom {
    fn send(socket: &WebSocket, message: &ServerMessage) -> Result<()> {
        socket.send_with_str(serde_json::to_string(message)?)
    }

    fn broadcast(&self, message: &ServerMessage) -> Result<()> {
        let text = serde_json::to_string(message)?;
        for socket in self.state.get_websockets() {
            if let Err(error) = socket.send_with_str(&text) {
                console_error!("cannot send: {error}");
            }
        }
        Ok(())
    }

    async fn handle(&self, socket: &WebSocket, message: ClientMessage) -> Result<()> {
        let Some(Attachment { user_id }) = socket.deserialize_attachment()? else {
            return Err(Error::RustError("a socket without an attachment".into()));
        };
        match message {
            ClientMessage::Echo { text } => Self::send(socket, &ServerMessage::Echo { user_id, text })?,
            ClientMessage::Say { text } => {
                self.broadcast(&ServerMessage::Message { user_id, text })?;
            }
            ClientMessage::Add { amount } => {
                let mut counter = self.state.storage().get::<Counter>("state").await?.unwrap_or_default();
                counter.count += amount;
                self.state.storage().put("state", &counter).await?;
                Self::send(socket, &ServerMessage::Count { count: counter.count })?;
            }
            ClientMessage::Note { .. } => {}
        }
        Ok(())
    }
}

impl DurableObject for PlainRoom {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        if request.method() == Method::Post {
            let ClientMessage::Note { .. } = request.json().await? else {
                return Response::error("no such event", 400);
            };
            return Response::empty();
        }
        let user_id = request.headers().get("x-user")?.unwrap_or_default();
        let pair = WebSocketPair::new()?;
        self.state.accept_web_socket(&pair.server);
        pair.server.serialize_attachment(Attachment { user_id })?;
        Response::from_websocket(pair.client)
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let WebSocketIncomingMessage::String(text) = message else {
            return Self::send(&socket, &ServerMessage::Error { message: "a frame is text".into() });
        };
        match serde_json::from_str(&text) {
            Ok(message) => self.handle(&socket, message).await,
            Err(error) => Self::send(&socket, &ServerMessage::Error { message: error.to_string() }),
        }
    }

    async fn websocket_close(&self, socket: WebSocket, code: usize, reason: String, _was_clean: bool) -> Result<()> {
        match code {
            1005 => socket.close::<&str>(None, None),
            _ => socket.close(Some(code as u16), Some(reason)),
        }
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }
}

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _ctx: Context) -> Result<Response> {
    let url = request.url()?;
    let room = env.durable_object("ROOM")?.id_from_name(&url.path()[1..])?.get_stub()?;
    let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if request.method() == Method::Post {
        let event = request.text().await?;
        let times: u32 = query("times").and_then(|times| times.parse().ok()).unwrap_or(1);
        for _ in 0..times {
            let mut init = RequestInit::new();
            init.with_method(Method::Post).with_body(Some(event.as_str().into()));
            room.fetch_with_request(Request::new_with_init("http://room/send", &init)?).await?;
        }
        return Ok(Response::empty()?.with_status(204));
    }
    let headers = request.headers().clone();
    headers.set("x-user", &query("user").unwrap_or_default())?;
    let mut init = RequestInit::new();
    init.with_headers(headers);
    room.fetch_with_request(Request::new_with_init(url.as_str(), &init)?).await
}
