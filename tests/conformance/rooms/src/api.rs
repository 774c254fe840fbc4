//! The rooms' client as data: the requests of a case, carried out natively or by the Worker.

use room_runtime::{
    Delivery, Error, ErrorKind, Incoming, Jurisdiction, LocationHint, OnDuplicate, OnResume, Room, RoomClient,
    RoomHandle, RoomId, Shards, Upgrade,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The address of a room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Address {
    pub id: String,
    pub jurisdiction: Option<String>,
    pub location_hint: Option<String>,
}

impl Address {
    fn find<R: Room>(&self, rooms: RoomClient<R>) -> RoomHandle<R> {
        let rooms = match self.jurisdiction.as_deref() {
            Some("eu") => rooms.jurisdiction(Jurisdiction::Eu),
            Some("fedramp") => rooms.jurisdiction(Jurisdiction::FedRamp),
            _ => rooms,
        };
        let room = rooms.room(&self.id);
        match self.location_hint.as_deref() {
            Some("weur") => room.location_hint(LocationHint::Weur),
            Some("apac") => room.location_hint(LocationHint::Apac),
            _ => room,
        }
    }
}

/// A new peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join<C> {
    pub data: C,
    pub id: Option<String>,
    pub tags: Vec<String>,
    pub meta: Option<Value>,
    pub on_duplicate: Option<OnDuplicate>,
    pub on_resume: Option<OnResume>,
    pub resume: Option<String>,
    pub protocol: Option<String>,
}

impl<C> Join<C> {
    pub fn into_upgrade(self) -> Upgrade<C> {
        let Join { data, id, tags, meta, on_duplicate, on_resume, resume, protocol } = self;
        let mut upgrade = Upgrade::new(data).tags(tags);
        if let Some(id) = id {
            upgrade = upgrade.id(id);
        }
        if let Some(meta) = meta {
            upgrade = upgrade.meta(&meta);
        }
        if let Some(on_resume) = on_resume {
            upgrade = upgrade.on_resume(on_resume);
        }
        if let Some(token) = resume {
            upgrade = upgrade.resume(token);
        }
        if let Some(protocol) = protocol {
            upgrade = upgrade.protocol(protocol);
        }
        match on_duplicate {
            Some(on_duplicate) => upgrade.on_duplicate(on_duplicate),
            None => upgrade,
        }
    }
}

/// An upgrade: a new peer, and its room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joining<C> {
    pub room: Address,
    pub join: Join<C>,
}

/// A request for `on_request`, without its body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asking {
    pub room: Address,
    pub method: String,
    pub uri: String,
    pub headers: Vec<(String, String)>,
}

/// The header that marks a response as a [`Failed`] instead of the room's response.
pub const FAILED_HEADER: &str = "conformance-failed";

/// The header that the Worker adds to a room's response.
pub const WORKER_HEADER: &str = "conformance-worker";

/// A call of the client, and its idempotency key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call<E, B> {
    pub room: Address,
    pub what: What<E, B>,
    pub key: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What<E, B> {
    Send(E),
    State,
    Peers { tag: Option<String> },
    Broadcast(B),
}

/// An error of the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    pub kind: ErrorKind,
    pub message: String,
    /// The error's [`Display`](std::fmt::Display) text.
    pub display: String,
    pub room: Option<String>,
    pub peer: Option<Box<str>>,
    pub retryable: bool,
    pub handler: Option<Box<str>>,
    pub status: u16,
    /// The message of a refusal by a handler of these rooms.
    pub refusal: Option<Box<crate::script::Broadcast>>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed {
            kind: error.kind(),
            message: error.message().to_owned(),
            display: error.to_string(),
            room: error.room().map(ToString::to_string),
            peer: error.peer().map(|peer| peer.as_str().into()),
            retryable: error.is_retryable(),
            handler: error.handler().map(Into::into),
            status: error.status().as_u16(),
            // Rooms with other schemas never refuse with a message.
            refusal: error.refusal().unwrap_or_default(),
        }
    }
}

/// Makes a call.
///
/// # Errors
/// Returns the errors of the call.
pub async fn call<R: Room>(rooms: RoomClient<R>, call: Call<R::Event, R::Broadcast>) -> Result<Value, Failed> {
    Ok(make(call.room.find(rooms), &call.what, call.key.as_deref()).await?)
}

async fn make<R: Room>(
    room: RoomHandle<R>,
    what: &What<R::Event, R::Broadcast>,
    key: Option<&str>,
) -> Result<Value, Error> {
    match what {
        What::Send(event) => {
            let sending = room.send(event);
            value(match key {
                Some(key) => sending.idempotency_key(key).await,
                None => sending.await,
            })
        }
        What::State => value(room.state().await),
        What::Peers { tag } => value(room.peers(tag.as_deref()).await),
        What::Broadcast(message) => {
            let sending = room.broadcast(message);
            let delivery: Result<Delivery, Error> = match key {
                Some(key) => sending.idempotency_key(key).await,
                None => sending.await,
            };
            value(delivery)
        }
    }
}

fn value<T: Serialize>(outcome: Result<T, Error>) -> Result<Value, Error> {
    let value = serde_json::to_value(outcome?);
    value.map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))
}

/// A call of several rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Federation<E, B> {
    pub rooms: Rooms,
    /// Calls only the rooms whose ids begin with it.
    pub prefix: Option<String>,
    pub concurrency: Option<usize>,
    pub what: What<E, B>,
}

/// The rooms of a [`Federation`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Rooms {
    Ids(Vec<String>),
    /// All shards.
    Shards {
        name: String,
        count: u32,
    },
    /// The shard of a key.
    Shard {
        name: String,
        count: u32,
        key: String,
    },
}

/// The result of each room of a [`Federation`].
pub type Results = Vec<(String, Result<Value, Failed>)>;

/// Makes a call of several rooms.
///
/// # Errors
/// Fails if the shards are invalid. The errors of single rooms are in the results.
pub async fn federate<R: Room>(
    rooms: RoomClient<R>,
    federation: Federation<R::Event, R::Broadcast>,
) -> Result<Results, Failed> {
    let Federation { rooms: which, prefix, concurrency, what } = federation;
    let ids: Vec<RoomId> = match which {
        Rooms::Ids(ids) => ids.into_iter().map(RoomId::from).collect(),
        Rooms::Shards { name, count } => Shards::new(name, count)?.iter().collect(),
        Rooms::Shard { name, count, key } => vec![rooms.shard(key, &Shards::new(name, count)?).id().clone()],
    };
    let mut federate = rooms.federate(ids, |room| make(room, &what, None));
    if let Some(prefix) = prefix {
        federate = federate.filter(|id| id.as_str().starts_with(&prefix));
    }
    if let Some(concurrency) = concurrency {
        federate = federate.concurrency(concurrency);
    }
    let results = federate.await.into_iter();
    Ok(results.map(|(id, result)| (id.to_string(), result.map_err(Failed::from))).collect())
}

/// A connection that the Worker makes, and its script.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dialogue<C, E> {
    pub room: Address,
    pub join: Join<C>,
    pub lines: Vec<Line<E>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Line<E> {
    Send(E),
    SendBytes(Vec<u8>),
    Heartbeat,
    Receive,
    /// Shows the resume token.
    ResumeToken,
    Close {
        code: u16,
        reason: String,
    },
}

/// The outcome of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said<B> {
    /// The line was sent, or the connection was closed.
    Done,
    Message(B),
    Bytes(Vec<u8>),
    ResumeToken(Option<String>),
    Closed {
        code: u16,
        reason: String,
    },
    Failed(Failed),
}

/// Runs a dialogue, from the first line to the last.
///
/// # Errors
/// Fails if there is no connection.
pub async fn dialogue<R: Room>(
    rooms: RoomClient<R>,
    dialogue: Dialogue<R::Connection, R::Event>,
) -> Result<Vec<Said<R::Broadcast>>, Failed> {
    let mut socket = dialogue.room.find(rooms).connect(dialogue.join.into_upgrade()).await?;
    let mut answers = Vec::new();
    for line in dialogue.lines {
        let done =
            |outcome: Result<(), Error>| outcome.map_or_else(|error| Said::Failed(error.into()), |()| Said::Done);
        answers.push(match line {
            Line::Send(event) => done(socket.send(&event)),
            Line::SendBytes(bytes) => done(socket.send_bytes(&bytes)),
            Line::Heartbeat => done(socket.heartbeat()),
            Line::Close { code, reason } => done(code.try_into().and_then(|code| socket.close(code, &reason))),
            Line::ResumeToken => Said::ResumeToken(socket.resume_token().map(str::to_owned)),
            Line::Receive => match (socket.receive_any().await, socket.closed()) {
                (Ok(Some(Incoming::Message(message))), _) => Said::Message(message),
                (Ok(Some(Incoming::Bytes(bytes))), _) => Said::Bytes(bytes.into()),
                (Ok(Some(_)), _) => unreachable!("a frame is a message or bytes"),
                (Ok(None), Some(close)) => Said::Closed { code: close.code, reason: close.reason.clone() },
                (Ok(None), None) => Said::Failed(Error::new(ErrorKind::Platform, "closed without a close").into()),
                (Err(error), _) => Said::Failed(error.into()),
            },
        });
    }
    Ok(answers)
}

/// The handle of a room, for uses that are not a [`Call`].
pub fn handle<R: Room>(rooms: RoomClient<R>, room: &Address) -> RoomHandle<R> {
    room.find(rooms)
}
