//! The script language of the rooms in this crate. A case reads as a script, and a new case needs no new room.
//!
//! The scripts of handlers come from the peer's data, the upgrade's meta or [`crate::backstage`]. Each handler logs its
//! run in the state.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use room_runtime::{DecodeReason, Error, Peer, Peers, Room, RoomContext, UpgradeRequest, prelude::*};

pub use crate::crash::Crash;
use crate::{backstage, crash, gates};

/// The state of every room here.
#[data]
#[derive(Default)]
pub struct State {
    pub count: i64,
    /// A log of all that happened, in order.
    pub log: Vec<String>,
    /// A string of the length that a case chooses.
    pub blob: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Thing>,
}

/// The data of a peer, with the scripts of its handlers.
#[data]
#[derive(Default, garde::Validate)]
#[garde(allow_unvalidated)]
#[serde(default)]
pub struct Connection {
    #[garde(length(max = 20))]
    pub name: String,
    pub on_connect: Vec<Step>,
    pub on_close: Vec<Step>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Thing>,
}

// A room's own schema, which the runtime reads instead of serde.
pub use crate::probe::Event;

/// A part of an event, with rules of its own.
#[data]
#[derive(garde::Validate)]
pub struct Item {
    #[garde(length(min = 1, max = 20), custom(no_shouting))]
    pub name: String,
}

fn no_shouting(name: &str, _: &()) -> garde::Result {
    if name.contains('!') { Err(garde::Error::new("shouts")) } else { Ok(()) }
}

#[data]
pub struct Alarm {
    pub steps: Vec<Step>,
}

/// Values of all kinds that JSON has, and of some that it lacks.
#[data(externally_tagged)]
pub enum Thing {
    Leaf,
    In(Box<Thing>),
    Float(f64),
    Big(u128),
    Twice(Option<Option<u8>>),
    Unit(Option<()>),
    Json(Option<serde_json::Value>),
    Keys(BTreeMap<Key, u8>),
    Bytes(Vec<u8>),
    Numbered(BTreeMap<u32, String>),
    Flat {
        own: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    },
}

impl Thing {
    /// Wraps it in `levels` others.
    pub fn inside(self, levels: usize) -> Thing {
        (0..levels).fold(self, |inner, _| Thing::In(Box::new(inner)))
    }
}

/// A type whose two variants are the same JSON key: a number, and its text.
#[data]
#[derive(Eq, PartialOrd, Ord)]
#[serde(untagged)]
pub enum Key {
    Number(u8),
    Text(String),
}

/// Values that no frame can contain, because JSON cannot represent them.
#[data(externally_tagged)]
#[derive(Copy)]
pub enum Unwritable {
    /// A value nested this deep.
    Deep(usize),
    NotANumber,
    Large,
    SomeOfNone,
    SomeOfUnit,
    SomeOfNull,
    SameKeys,
    OwnKey,
}

impl Unwritable {
    pub fn thing(self) -> Thing {
        match self {
            Unwritable::Deep(levels) => Thing::Leaf.inside(levels),
            Unwritable::NotANumber => Thing::Float(f64::NAN),
            Unwritable::Large => Thing::Big(u128::MAX),
            Unwritable::SomeOfNone => Thing::Twice(Some(None)),
            Unwritable::SomeOfUnit => Thing::Unit(Some(())),
            Unwritable::SomeOfNull => Thing::Json(Some(serde_json::Value::Null)),
            Unwritable::SameKeys => Thing::Keys([(Key::Number(1), 1), (Key::Text("1".to_owned()), 2)].into()),
            Unwritable::OwnKey => Thing::Flat { own: 1, rest: [("own".to_owned(), 2)].into() },
        }
    }
}

/// One step of a script.
#[data(externally_tagged)]
pub enum Step {
    /// Stores it in the state, nested in this many others.
    Keep(usize, Thing),
    /// Stores it in the peer's data.
    KeepInData(Thing),
    /// Answers [`Broadcast::Kept`] with the values in the state and in the sender's data.
    Show,
    /// Stores it in the state.
    KeepUnwritable(Unwritable),
    /// Stores it in the peer's data.
    KeepUnwritableInData(Unwritable),
    /// Broadcasts it to all.
    SayUnwritable(Unwritable),
    /// Adds to the count.
    Add(i64),
    /// Adds to the count in a `try_update` that then fails.
    TryAddAndFail(i64),
    /// Adds a line to the log.
    Log(String),
    /// Logs the room's name and id.
    LogPlace,
    /// Makes the state this long.
    Fill(usize),
    /// Uses the state inside the closure of an `update`; answers [`Broadcast::Kinds`].
    Nest,
    /// Sends, closes, subscribes and purges inside the closure of an `update`, and changes the peer's data inside that of an
    /// `update_data`; answers [`Broadcast::Kinds`].
    NestEffects,
    /// Adds to the count in a `try_update` that sends something and then fails.
    TryAddTellAndFail(i64),
    /// Takes a snapshot and adds one; answers [`Broadcast::Snapshot`].
    Snapshot,
    /// Answers [`Broadcast::Initialized`].
    IsInitialized,
    /// Answers [`Broadcast::Report`].
    Report,
    /// Answers [`Broadcast::Now`].
    Now,
    /// Answers [`Broadcast::Meta`] with the upgrade's meta.
    Meta,

    /// Changes the peer's data with `update_data`.
    Rename(String),
    /// Changes the peer's data to a name this long.
    RenameTo(usize),
    /// Replaces the peer's data with `set_data`.
    SetData(Box<Connection>),

    /// Subscribes the sender to a topic; answers [`Broadcast::Topics`].
    Subscribe(String),
    /// Ends a subscription of the sender; answers [`Broadcast::Topics`].
    Unsubscribe(String),
    /// Subscribes the sender to this many topics with names of 100 bytes.
    SubscribeToMany(usize),
    /// Logs the topics of the sender.
    LogTopics,

    /// Broadcasts a text to all.
    Say(String),
    /// Sends a text to the sender.
    Whisper(String),
    /// Sends a text to the selected peers; answers [`Broadcast::Delivered`].
    Send(Vec<Selector>, String),
    /// Answers [`Broadcast::Selected`].
    Select(Vec<Selector>),
    /// Closes the selected peers; answers [`Broadcast::Closed`].
    Close(Vec<Selector>, u16, String),
    /// Closes the sender's own connection.
    Leave(u16, String),

    /// Waits for this many milliseconds.
    Sleep(u64),
    /// Broadcasts [`Broadcast::Holding`] and waits until the gate is opened.
    Hold(String),
    /// Opens the gate of the room for all handlers that wait there.
    Open(String),
    /// Runs steps after the handler has ended.
    Spawn(Vec<Step>),

    /// Fails with this text.
    Fail(String),
    /// Refuses with this reason.
    Refuse(String),
    /// Refuses with [`Broadcast::Said`].
    RefuseWith(String),
    /// Refuses with this HTTP status.
    RefuseWithStatus(u16, Box<Step>),
    /// Adds to the count in a `try_update` that then refuses.
    TryAddAndRefuse(i64, String),
    /// Fails with an error of the runtime.
    FailTyped,
    /// Runs a step that may fail; answers [`Broadcast::Outcome`].
    Try(Box<Step>),
    Panic,
    /// Ends the room's life.
    Purge,
    /// Crashes in this way.
    Crash(Crash),
}

/// A selection of peers.
#[data(externally_tagged)]
pub enum Selector {
    Tagged(String),
    TaggedAny(Vec<String>),
    WithId(String),
    Topic(String),
    /// Excludes all peers with that id.
    Except(String),
    ExceptSender,
    /// Includes all peers with those ids, passed as peers.
    Only(Vec<String>),
    /// Includes peers whose name starts with this.
    Named(String),
}

#[data]
#[derive(garde::Validate)]
#[garde(allow_unvalidated)]
pub enum Broadcast {
    Pong {
        n: u32,
    },
    Said {
        from: Option<String>,
        #[garde(length(max = 40))]
        text: String,
    },
    Holding {
        gate: String,
    },
    Kinds {
        kinds: Vec<String>,
    },
    Snapshot {
        before: i64,
        after: i64,
    },
    Initialized {
        is: bool,
    },
    Report {
        report: Report,
    },
    Now {
        ms: u64,
    },
    Meta {
        meta: Option<Visa>,
    },
    Kept {
        state: Vec<Thing>,
        data: Vec<Thing>,
    },
    Outcome {
        kind: Option<ErrorKind>,
        message: String,
    },
    /// The topics of the peer, and true if a subscription changed.
    Topics {
        changed: bool,
        topics: Vec<String>,
    },
    Selected {
        ids: Vec<String>,
        len: usize,
        is_empty: bool,
    },
    Delivered {
        sent: usize,
        failed: Vec<String>,
        unread: Vec<String>,
    },
    Closed {
        count: usize,
        left: Vec<String>,
    },
}

/// The room and the sender, as a handler sees them.
#[data]
pub struct Report {
    pub room: String,
    pub name: String,
    pub sender: Option<PeerReport>,
    pub count: i64,
    pub peers: Vec<String>,
}

#[data]
pub struct PeerReport {
    pub id: String,
    pub tags: Vec<String>,
    pub connected_at: u64,
    pub name: String,
}

/// The meta of an upgrade that the rooms here expect.
#[data]
#[derive(Default)]
#[serde(default)]
pub struct Visa {
    pub on_upgrade: Vec<UpgradeStep>,
    pub note: String,
}

/// One step of `on_upgrade`.
#[data(externally_tagged)]
pub enum UpgradeStep {
    Log(String),
    LogPlace,
    /// Logs the path, the `token` in the query, the header `x-token`, and any headers of the runtime itself.
    LogRequest,
    /// Logs the note in the upgrade's meta.
    LogMeta,
    SetId(String),
    AddTag(String),
    SetName(String),
    /// Sets a name of this length.
    SetNameTo(usize),
    SetOnDuplicate(OnDuplicate),
    SetOnResume(OnResume),
    /// Drops the resumed place.
    ForgetResume,
    /// Logs the bearer token, and then the chosen subprotocol.
    LogBearer,
    /// Logs the subprotocols that the client offers, and the chosen one.
    LogProtocols,
    SetProtocol(String),
    Refuse {
        status: u16,
        body: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
    },
    /// Fails with an error, by `?`.
    Fail(String),
    /// Refuses in the way of other handlers.
    RefuseByFailure(String),
    Hold(String),
    Panic,
    Purge,
    /// Crashes in this way.
    Crash(Crash),
}

/// A room of this crate.
pub trait Scripted: Room<State = State, Connection = Connection, Event = Event, Broadcast = Broadcast> {}

impl<R: Room<State = State, Connection = Connection, Event = Event, Broadcast = Broadcast>> Scripted for R {}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

pub async fn on_start<R: Scripted>(ctx: &RoomContext<R>) -> Result<(), Failure> {
    backstage::note_start(R::NAME, ctx.id());
    run(ctx, None, &backstage::script(R::NAME, ctx.id(), "on_start")).await
}

pub async fn on_upgrade<R: Scripted>(ctx: &RoomContext<R>, upgrade: &mut UpgradeRequest<R>) -> Result<(), Reject> {
    let visa: Visa = upgrade.meta()?.unwrap_or_default();
    for step in visa.on_upgrade {
        match step {
            UpgradeStep::Log(text) => log(ctx, text)?,
            UpgradeStep::LogPlace => log(ctx, place(ctx))?,
            UpgradeStep::LogRequest => {
                let uri = upgrade.uri()?;
                let token = upgrade.query("token")?;
                let headers = upgrade.headers()?;
                let header = headers.get("x-token").and_then(|value| value.to_str().ok());
                let ours: Vec<_> =
                    headers.keys().map(|name| name.as_str()).filter(|name| name.contains("room")).collect();
                log(ctx, format!("saw {} {token:?} {header:?} {ours:?}", uri.path()))?;
            }
            UpgradeStep::LogMeta => log(ctx, format!("meta {}", visa.note))?,
            UpgradeStep::SetId(id) => upgrade.id = id.into(),
            UpgradeStep::AddTag(tag) => upgrade.tags.push(tag),
            UpgradeStep::SetName(name) => upgrade.data.name = name,
            UpgradeStep::SetNameTo(bytes) => upgrade.data.name = "x".repeat(bytes),
            UpgradeStep::SetOnDuplicate(on_duplicate) => upgrade.on_duplicate = on_duplicate,
            UpgradeStep::SetOnResume(on_resume) => upgrade.on_resume = on_resume,
            UpgradeStep::ForgetResume => upgrade.resume = None,
            UpgradeStep::LogBearer => {
                let token = upgrade.bearer()?;
                log(ctx, format!("bearer {token:?}, chosen {:?}", upgrade.protocol))?;
            }
            UpgradeStep::LogProtocols => {
                log(ctx, format!("offers {:?}, chosen {:?}", upgrade.protocols(), upgrade.protocol))?;
            }
            UpgradeStep::SetProtocol(protocol) => upgrade.protocol = Some(protocol),
            UpgradeStep::Refuse { status, body, headers } => {
                let reject = Reject::new(status, body);
                return Err(headers.iter().fold(reject, |reject, (name, value)| reject.header(name, value)));
            }
            UpgradeStep::Fail(text) => Err(std::io::Error::other(text))?,
            UpgradeStep::RefuseByFailure(reason) => Err(ctx.refuse(reason))?,
            UpgradeStep::Hold(gate) => hold(ctx, &gate).await?,
            UpgradeStep::Panic => panic!("{}", crate::PANIC),
            UpgradeStep::Purge => return ctx.purge(),
            UpgradeStep::Crash(how) => crash::crash(how),
        }
    }
    Ok(())
}

pub async fn on_connect<R: Scripted>(ctx: &RoomContext<R>, peer: &Peer<R>) -> Result<(), Failure> {
    log(ctx, format!("connect {}", peer.id()))?;
    run(ctx, Some(peer), &peer.data().on_connect).await
}

pub async fn on_event<R: Scripted>(ctx: &RoomContext<R>, event: Event) -> Result<(), Failure> {
    match event {
        Event::Do { steps } => run(ctx, ctx.sender(), &steps).await,
        Event::Ping { n } => answer(ctx, ctx.sender(), &Broadcast::Pong { n }),
        Event::In { event } => Box::pin(on_event(ctx, *event)).await,
        Event::Order { items, .. } => answer(ctx, ctx.sender(), &Broadcast::Pong { n: items.len() as u32 }),
        Event::Schedule { .. } => Err(Failure::msg("this room has no alarms")),
    }
}

pub async fn on_close<R: Scripted>(ctx: &RoomContext<R>, peer: &Peer<R>, close: Close) -> Result<(), Failure> {
    let Close { code, reason, was_clean, .. } = close;
    let clean = if was_clean { "clean" } else { "lost" };
    let sent = peer.send(&Broadcast::Pong { n: 0 }).map_err(|error| error.kind());
    let left = ids(ctx.peers());
    log(ctx, format!("close {} {code} {reason:?} {clean}, {left:?} left, send is {sent:?}", peer.id()))?;
    run(ctx, None, &peer.data().on_close).await
}

pub async fn on_decode_error<R: Scripted>(ctx: &RoomContext<R>, error: &DecodeError) -> Result<(), Failure> {
    let reason = match error.reason() {
        DecodeReason::Malformed => "malformed",
        DecodeReason::Binary => "binary",
        DecodeReason::Text => "text",
        DecodeReason::TooLarge => "too large",
        DecodeReason::Invalid => "invalid",
        _ => "something else",
    };
    let sender = ctx.sender().map_or("nobody", |peer| peer.id().as_str());
    let text = if error.text().is_some() { "with its text" } else { "unread" };
    log(ctx, format!("decode_error {sender}: {reason}, {} bytes, {text}", error.bytes()))?;
    if let Some(path) = error.path() {
        let all: Vec<_> = error.violations().iter().map(ToString::to_string).collect();
        log(ctx, format!("invalid at {path:?}: {}", all.join(", ")))?;
    }
    run(ctx, ctx.sender(), &backstage::script(R::NAME, ctx.id(), "on_decode_error")).await
}

pub async fn on_error<R: Scripted>(ctx: &RoomContext<R>, error: &HandlerError) -> Result<(), Failure> {
    let peer = error.peer().map_or("nobody", |peer| peer.as_str());
    log(ctx, format!("error {} {peer}: {} {}", error.handler(), error.kind(), error.failure()))?;
    run(ctx, ctx.sender(), &backstage::script(R::NAME, ctx.id(), "on_error")).await
}

pub async fn on_alarm<R: Scripted>(ctx: &RoomContext<R>, alarm: &Alarm) -> Result<(), Failure> {
    run(ctx, None, &alarm.steps).await?;
    run(ctx, None, &backstage::script(R::NAME, ctx.id(), "on_alarm")).await
}

/// Runs the script in the body of `POST /do`. Echoes any other request, with the status it asks for.
pub async fn on_request<R: Scripted>(
    ctx: &RoomContext<R>,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, Failure> {
    if request.uri().path() == "/json" {
        let Json(steps) = Json::<Vec<Step>>::from_request(&request)?;
        return Json(steps).into_response(http::StatusCode::CREATED);
    }
    if request.uri().path() == "/do" {
        let steps: Vec<Step> = serde_json::from_slice(request.body())?;
        run(ctx, None, &steps).await?;
        return Ok(http::Response::new(Bytes::from_static(b"done")));
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status: u16 = header("x-status").parse()?;
    let echo = http::Response::builder()
        .status(status)
        .header("x-method", request.method().as_str())
        .header("x-uri", request.uri().to_string())
        .header("x-echo", header("x-echo"))
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2");
    Ok(echo.body(request.body().clone())?)
}

/// Runs a script.
pub fn run<'a, R: Scripted>(ctx: &'a RoomContext<R>, peer: Option<&'a Peer<R>>, steps: &'a [Step]) -> Running<'a> {
    Box::pin(async move {
        for step in steps {
            carry_out(ctx, peer, step).await?;
        }
        Ok(())
    })
}

async fn carry_out<R: Scripted>(ctx: &RoomContext<R>, peer: Option<&Peer<R>>, step: &Step) -> Result<(), Failure> {
    let me = || peer.ok_or_else(|| Failure::msg("there is no peer here"));
    match step {
        Step::Keep(levels, thing) => ctx.update(|state| state.kept.push(thing.clone().inside(*levels)))?,
        Step::KeepInData(thing) => me()?.update_data(|data| data.kept.push(thing.clone()))?,
        Step::Show => {
            let data = peer.map(|peer| peer.data().kept.clone()).unwrap_or_default();
            answer(ctx, peer, &Broadcast::Kept { state: ctx.state()?.kept.clone(), data })?;
        }
        Step::KeepUnwritable(what) => {
            ctx.update(|state| state.kept.push(what.thing()))?;
            // The broadcast stores the change now, so an error of the change appears here.
            drop(ctx.broadcast(&Broadcast::Pong { n: 1 })?);
        }
        Step::KeepUnwritableInData(what) => me()?.update_data(|data| data.kept.push(what.thing()))?,
        Step::SayUnwritable(what) => {
            drop(ctx.broadcast(&Broadcast::Kept { state: vec![what.thing()], data: Vec::new() })?);
        }
        Step::Add(amount) => ctx.update(|state| state.count += amount)?,
        Step::TryAddAndFail(amount) => ctx.try_update(|state| {
            state.count += amount;
            Err(Failure::msg("it changed its mind"))
        })?,
        Step::Log(text) => log(ctx, text.clone())?,
        Step::LogPlace => log(ctx, place(ctx))?,
        Step::Fill(bytes) => ctx.update(|state| state.blob = "x".repeat(*bytes))?,
        Step::Nest => {
            let kinds = ctx.update(|state| {
                state.count += 1;
                [
                    kind(ctx.state().map(drop)),
                    kind(ctx.update(|state| state.count += 100)),
                    ctx.try_update(|state| {
                        state.count += 100;
                        Ok(())
                    })
                    .map_or_else(|failure| failure.kind().to_string(), |()| "ok".to_owned()),
                ]
            })?;
            answer(ctx, peer, &Broadcast::Kinds { kinds: kinds.into() })?;
        }
        Step::NestEffects => {
            let me = me()?;
            let mut kinds = ctx.update(|state| {
                state.count += 1;
                [
                    kind(ctx.broadcast(&Broadcast::Pong { n: 0 }).map(drop)),
                    kind(me.send(&Broadcast::Pong { n: 0 })),
                    kind(me.close(CloseCode::NORMAL, "")),
                    kind(ctx.peers().close(CloseCode::NORMAL, "").map(drop)),
                    kind(me.subscribe("x").map(drop)),
                    kind(me.unsubscribe("x").map(drop)),
                    kind(ctx.purge()),
                ]
                .to_vec()
            })?;
            kinds.push(kind(me.update_data(|_| me.update_data(|data| data.name.push('x')))?));
            kinds.push(kind(me.update_data(|_| me.set_data(Connection::default()))?));
            answer(ctx, peer, &Broadcast::Kinds { kinds })?;
        }
        Step::TryAddTellAndFail(amount) => ctx.try_update(|state| {
            state.count += amount;
            ctx.broadcast(&Broadcast::Pong { n: 0 })?;
            Ok(())
        })?,
        Step::Snapshot => {
            let before = ctx.state()?;
            let after = ctx.update(|state| {
                state.count += 1;
                state.count
            })?;
            answer(ctx, peer, &Broadcast::Snapshot { before: before.count, after })?;
        }
        Step::IsInitialized => answer(ctx, peer, &Broadcast::Initialized { is: ctx.is_initialized()? })?,
        Step::Report => {
            let sender = ctx.sender().map(|peer| PeerReport {
                id: peer.id().to_string(),
                tags: peer.tags().to_vec(),
                connected_at: peer.connected_at(),
                name: peer.data().name.clone(),
            });
            let report = Report {
                room: ctx.id().to_string(),
                name: ctx.name().to_owned(),
                sender,
                count: ctx.state()?.count,
                peers: ids(ctx.peers()),
            };
            answer(ctx, peer, &Broadcast::Report { report })?;
        }
        Step::Now => answer(ctx, peer, &Broadcast::Now { ms: ctx.now_ms() })?,
        Step::Meta => answer(ctx, peer, &Broadcast::Meta { meta: me()?.meta()? })?,

        Step::Rename(name) => me()?.update_data(|data| data.name.clone_from(name))?,
        Step::RenameTo(bytes) => me()?.update_data(|data| data.name = "x".repeat(*bytes))?,
        Step::SetData(data) => me()?.set_data((**data).clone())?,

        Step::Subscribe(topic) => {
            let me = subject(ctx, peer)?;
            let changed = me.subscribe(topic)?;
            answer(ctx, peer, &Broadcast::Topics { changed, topics: me.topics() })?;
        }
        Step::Unsubscribe(topic) => {
            let me = subject(ctx, peer)?;
            let changed = me.unsubscribe(topic)?;
            answer(ctx, peer, &Broadcast::Topics { changed, topics: me.topics() })?;
        }
        Step::SubscribeToMany(count) => {
            for n in 0..*count {
                me()?.subscribe(&format!("{n:0>100}"))?;
            }
        }
        Step::LogTopics => {
            let me = subject(ctx, peer)?;
            log(ctx, format!("topics of {}: {:?}", me.id(), me.topics()))?;
        }

        Step::Say(text) => drop(ctx.broadcast(&said(ctx, text))?),
        Step::Whisper(text) => me()?.send(&said(ctx, text))?,
        Step::Send(selectors, text) => {
            let Delivery { sent, failed, unread, .. } = with(ctx, selectors, |peers| peers.send(&said(ctx, text)))?;
            let names = |ids: Vec<PeerId>| ids.iter().map(PeerId::to_string).collect();
            answer(ctx, peer, &Broadcast::Delivered { sent, failed: names(failed), unread: names(unread) })?;
        }
        Step::Select(selectors) => {
            let (len, is_empty) = (with(ctx, selectors, |p| p.len()), with(ctx, selectors, |p| p.is_empty()));
            answer(ctx, peer, &Broadcast::Selected { ids: with(ctx, selectors, ids), len, is_empty })?;
        }
        Step::Close(selectors, code, reason) => {
            let code = CloseCode::new(*code)?;
            let count = with(ctx, selectors, |peers| peers.close(code, reason))?;
            answer(ctx, peer, &Broadcast::Closed { count, left: ids(ctx.peers()) })?;
        }
        Step::Leave(code, reason) => me()?.close(CloseCode::new(*code)?, reason)?,

        Step::Sleep(ms) => ctx.sleep(Duration::from_millis(*ms)).await,
        Step::Hold(gate) => hold(ctx, gate).await?,
        Step::Open(gate) => gates::open(R::NAME, ctx.id(), gate)?,
        Step::Spawn(steps) => {
            let (steps, peer) = (steps.clone(), peer.cloned());
            ctx.spawn(async move |ctx| run(&ctx, peer.as_ref(), &steps).await);
        }

        Step::Fail(text) => return Err(Failure::msg(text)),
        Step::Refuse(reason) => return Err(ctx.refuse(reason)),
        Step::RefuseWith(text) => {
            return Err(ctx.refuse_with(&Broadcast::Said { from: None, text: text.clone() }));
        }
        Step::RefuseWithStatus(status, step) => {
            let status = http::StatusCode::from_u16(*status)?;
            return run(ctx, peer, std::slice::from_ref(step)).await.map_err(|failure| failure.with_status(status));
        }
        Step::TryAddAndRefuse(amount, reason) => ctx.try_update(|state| {
            state.count += amount;
            Err(ctx.refuse(reason))
        })?,
        Step::FailTyped => drop(CloseCode::new(1005)?),
        Step::Try(step) => {
            let outcome = match Box::pin(carry_out(ctx, peer, step)).await {
                Ok(()) => Broadcast::Outcome { kind: None, message: String::new() },
                Err(failure) => Broadcast::Outcome { kind: Some(failure.kind()), message: failure.to_string() },
            };
            answer(ctx, peer, &outcome)?;
        }
        Step::Panic => panic!("{}", crate::PANIC),
        Step::Purge => return ctx.purge(),
        Step::Crash(how) => crash::crash(*how),
    }
    Ok(())
}

/// The peer of the script. The scripts of `on_close` have no peer to answer, but a sender.
fn subject<'a, R: Scripted>(ctx: &'a RoomContext<R>, peer: Option<&'a Peer<R>>) -> Result<&'a Peer<R>, Failure> {
    peer.or(ctx.sender()).ok_or_else(|| Failure::msg("there is no peer here"))
}

/// Answers the sender, or all peers if the Worker sent the script.
fn answer<R: Scripted>(ctx: &RoomContext<R>, peer: Option<&Peer<R>>, message: &Broadcast) -> Result<(), Failure> {
    match peer {
        Some(peer) => peer.send(message)?,
        None => drop(ctx.broadcast(message)?),
    }
    Ok(())
}

fn said<R: Scripted>(ctx: &RoomContext<R>, text: &str) -> Broadcast {
    Broadcast::Said { from: ctx.sender().map(|peer| peer.id().to_string()), text: text.to_owned() }
}

fn log<R: Scripted>(ctx: &RoomContext<R>, text: String) -> Result<(), Error> {
    ctx.update(|state| state.log.push(text))
}

fn place<R: Scripted>(ctx: &RoomContext<R>) -> String {
    format!("{}/{}", ctx.name(), ctx.id())
}

async fn hold<R: Scripted>(ctx: &RoomContext<R>, gate: &str) -> Result<(), Error> {
    let opened = gates::wait(R::NAME, ctx.id(), gate);
    ctx.broadcast(&Broadcast::Holding { gate: gate.to_owned() })?;
    opened.await;
    Ok(())
}

fn ids<R: Scripted>(peers: Peers<'_, R>) -> Vec<String> {
    let mut ids: Vec<_> = peers.iter().map(|peer| peer.id().to_string()).collect();
    ids.sort();
    ids
}

fn kind(outcome: Result<(), Error>) -> String {
    outcome.map_or_else(|error| error.kind().to_string(), |()| "ok".to_owned())
}

/// Applies `then` to the selected peers.
fn with<R: Scripted, T>(ctx: &RoomContext<R>, selectors: &[Selector], then: impl FnOnce(Peers<'_, R>) -> T) -> T {
    let named: Vec<Peer<R>> = ctx.peers().iter().collect();
    let mut peers = ctx.peers();
    for selector in selectors {
        peers = match selector {
            Selector::Tagged(tag) => peers.tagged(tag),
            Selector::TaggedAny(tags) => peers.tagged_any(tags),
            Selector::WithId(id) => peers.with_id(id),
            Selector::Topic(name) => peers.topic(name),
            Selector::Except(id) => {
                named.iter().filter(|peer| peer.id().as_str() == id).fold(peers, |peers, peer| peers.except(peer))
            }
            Selector::ExceptSender => peers.except_sender(),
            Selector::Only(ids) => {
                peers.only(named.iter().filter(|peer| ids.iter().any(|id| peer.id().as_str() == id)))
            }
            Selector::Named(start) => peers.filter(move |peer| peer.data().name.starts_with(start.as_str())),
        };
    }
    then(peers)
}
