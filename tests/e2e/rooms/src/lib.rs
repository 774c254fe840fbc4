//! Rooms for the end-to-end tests: they report their own history, and misbehave on request.

#![forbid(unsafe_code)]

#[path = "../../../../examples/axum/src/archive_room.rs"]
pub mod archive_room;
#[cfg(target_arch = "wasm32")]
mod client;
pub mod ledger;
#[path = "../../../../examples/axum/src/poll_room.rs"]
pub mod poll_room;
mod router;
pub mod timer;

use std::{cell::RefCell, time::Duration};

use futures_channel::oneshot;
use room_runtime::prelude::*;
use worker::{
    js_sys::{self, futures::JsFuture},
    wasm_bindgen::{JsCast, JsValue},
    *,
};

thread_local! {
    /// The handlers that wait for a `Release`, in all rooms of this isolate.
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Held {
    room: String,
    peer: String,
    release: oneshot::Sender<()>,
}

/// Waits until a `Release` for this peer. It lets a test choose the order of events.
async fn hold(room: &RoomId, peer: &str) {
    let (release, released) = oneshot::channel();
    let held = Held { room: room.to_string(), peer: peer.to_owned(), release };
    HELD.with_borrow_mut(|all| all.push(held));
    let _ = released.await;
}

fn release(room: &RoomId, peer: &str) {
    let released: Vec<_> =
        HELD.with_borrow_mut(|all| all.extract_if(.., |held| *room == *held.room && held.peer == peer).collect());
    for held in released {
        // The receiver is gone if the handler ended together with its request.
        let _ = held.release.send(());
    }
}

/// A room that counts its events in the state, and reports them.
#[room(tag = "_tag")]
pub mod probe {
    use super::*;

    #[derive(Default)]
    pub struct State {
        /// The number of times that the object was loaded into memory.
        pub starts: u32,
        pub connects: u32,
        pub closes: Vec<Closed>,
        pub value: i64,
        /// A string of the length that a test chooses.
        pub blob: String,
    }

    #[data]
    pub struct Closed {
        pub id: String,
        pub code: u16,
        pub reason: String,
        pub was_clean: bool,
    }

    pub struct Connection {
        pub name: String,
        pub visits: u32,
    }

    pub enum Event {
        /// Sends the sender a report of the room.
        Report,
        /// Changes the sender's data.
        Visit,
        /// Changes the state.
        Add { amount: i64 },
        /// Changes the state, then fails.
        AddAndFail { amount: i64 },
        /// Sends a text to all, or to the peers with a tag, after a delay.
        Say { text: String, tag: Option<String>, delay_ms: u32 },
        /// Broadcasts that it waits, waits for a `Release`, and broadcasts a text.
        Hold { text: String },
        /// Releases the waiting handlers of a peer; `worker` stands for the Worker's `send`.
        Release { id: String },
        /// Changes the sender's data, and sends the sender the result.
        Rename { name: String },
        /// Makes the state this long, then broadcasts.
        Fill { with: String, times: u32 },
        /// Closes the connections of a peer, then broadcasts the remaining peers.
        Kick { id: String, code: u16, reason: String },
        /// Panics after a delay.
        Panic { delay_ms: u32 },
        /// Changes the state, broadcasts, then panics.
        AddAndPanic { amount: i64 },
    }

    pub enum Broadcast {
        Report {
            room: String,
            sender: Option<String>,
            starts: u32,
            connects: u32,
            value: i64,
            visits: u32,
            name: String,
            tags: Vec<String>,
            peers: Vec<String>,
        },
        Said {
            from: Option<String>,
            text: String,
        },
        Value {
            value: i64,
        },
        Holding {
            id: String,
        },
        Renamed {
            bytes: usize,
        },
        Failed {
            kind: String,
            message: String,
        },
        Filled {
            bytes: usize,
        },
        Kicked {
            count: usize,
            left: Vec<String>,
        },
        Closed {
            closed: Closed,
        },
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.update(|state| state.starts += 1)?;
        Ok(())
    }

    pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        match upgrade.data.name.as_str() {
            "forbidden" => Err(Reject::new(403, "not you")),
            _ => Ok(()),
        }
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        match peer.data().name.as_str() {
            "refuse-me" => return Err(Failure::msg("this one is refused")),
            "panic-on-connect" => {
                Delay::from(Duration::from_millis(20)).await;
                panic!("asked to, by on_connect");
            }
            "held" => {
                ctx.broadcast(&Broadcast::Holding { id: peer.id().to_string() })?;
                hold(ctx.id(), peer.id().as_str()).await;
            }
            "slow" => Delay::from(Duration::from_millis(200)).await,
            _ => {}
        }
        ctx.update(|state| state.connects += 1)?;
        Ok(())
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Report => {
                let state = ctx.state()?;
                let data = ctx.sender().map(|peer| peer.data());
                let mut peers: Vec<_> = ctx.peers().iter().map(|peer| peer.id().to_string()).collect();
                peers.sort();
                let report = Broadcast::Report {
                    room: ctx.id().to_string(),
                    sender: ctx.sender().map(|peer| peer.id().to_string()),
                    starts: state.starts,
                    connects: state.connects,
                    value: state.value,
                    visits: data.as_ref().map_or(0, |data| data.visits),
                    name: data.map_or_else(String::new, |data| data.name.clone()),
                    tags: ctx.sender().map_or_else(Vec::new, |peer| peer.tags().to_vec()),
                    peers,
                };
                match ctx.sender() {
                    Some(peer) => peer.send(&report)?,
                    None => {
                        ctx.broadcast(&report)?;
                    }
                }
            }
            Event::Visit => {
                if let Some(peer) = ctx.sender() {
                    peer.update_data(|data| data.visits += 1)?;
                }
            }
            Event::Add { amount } => {
                let value = ctx.update(|state| {
                    state.value += amount;
                    state.value
                })?;
                ctx.broadcast(&Broadcast::Value { value })?;
            }
            Event::AddAndFail { amount } => {
                ctx.update(|state| state.value += amount)?;
                "not a number".parse::<u32>()?;
            }
            Event::Say { text, tag, delay_ms } => {
                if delay_ms > 0 {
                    Delay::from(Duration::from_millis(delay_ms.into())).await;
                }
                let from = ctx.sender().map(|peer| peer.id().to_string());
                let said = Broadcast::Said { from, text };
                match tag {
                    Some(tag) => ctx.peers().tagged(&tag).send(&said)?,
                    None => ctx.broadcast(&said)?,
                };
            }
            Event::Hold { text } => {
                let from = ctx.sender().map(|peer| peer.id().to_string());
                let id = from.clone().unwrap_or_else(|| "worker".to_owned());
                ctx.broadcast(&Broadcast::Holding { id: id.clone() })?;
                hold(ctx.id(), &id).await;
                ctx.broadcast(&Broadcast::Said { from, text })?;
            }
            Event::Release { id } => release(ctx.id(), &id),
            Event::Rename { name } => {
                if let Some(peer) = ctx.sender() {
                    let bytes = name.len();
                    let answer = match peer.update_data(|data| data.name = name) {
                        Ok(()) => Broadcast::Renamed { bytes },
                        Err(error) => {
                            Broadcast::Failed { kind: error.kind().as_str().to_owned(), message: error.to_string() }
                        }
                    };
                    peer.send(&answer)?;
                }
            }
            Event::Fill { with, times } => {
                let bytes = ctx.update(|state| {
                    state.blob = with.repeat(times as usize);
                    state.blob.len()
                })?;
                ctx.broadcast(&Broadcast::Filled { bytes })?;
            }
            Event::Kick { id, code, reason } => {
                let count = ctx.peers().with_id(id).close(CloseCode::new(code)?, &reason)?;
                let mut left: Vec<_> = ctx.peers().iter().map(|peer| peer.id().to_string()).collect();
                left.sort();
                ctx.broadcast(&Broadcast::Kicked { count, left })?;
            }
            Event::Panic { delay_ms } => {
                if delay_ms > 0 {
                    Delay::from(Duration::from_millis(delay_ms.into())).await;
                }
                panic!("asked to");
            }
            Event::AddAndPanic { amount } => {
                let value = ctx.update(|state| {
                    state.value += amount;
                    state.value
                })?;
                ctx.broadcast(&Broadcast::Value { value })?;
                panic!("asked to, after a change");
            }
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        let closed =
            Closed { id: peer.id().to_string(), code: close.code, reason: close.reason, was_clean: close.was_clean };
        ctx.update(|state| state.closes.push(closed.clone()))?;
        ctx.broadcast(&Broadcast::Closed { closed })?;
        match peer.data().name.as_str() {
            "fail-on-close" => Err(Failure::msg("asked to, by on_close")),
            "panic-on-close" => panic!("asked to, by on_close"),
            _ => Ok(()),
        }
    }
}

/// A second room type in the same Worker, whose binding is missing from the configuration.
#[room(binding = "NOT_BOUND", class = "Unbound")]
pub mod unbound {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
}

#[event(start)]
fn start() {
    room_runtime::logs::init(room_runtime::logs::Level::DEBUG);
}

#[event(fetch)]
async fn fetch(mut req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let path = req.path();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let url = req.inner().url();
    let query = url.split_once('?').map_or("", |(_, query)| query).to_owned();
    let parameter = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let answer = match &*path {
        ["polls" | "archive", ..] | ["totals"] => return router::serve(req, env).await,
        // Unsafe on purpose, and rooms must survive it: the public request, unchanged, directly to the object.
        ["forward", room, ..] => {
            return env.durable_object("PROBE")?.get_by_name(room)?.fetch_with_request(req).await;
        }
        // The holder of the binding can do this without the room's client: any method, with any argument.
        ["rpc", room, method] => {
            let argument = match req.text().await?.as_str() {
                "" => JsValue::UNDEFINED,
                json => js_sys::JSON::parse(json)?,
            };
            let stub = env.durable_object("PROBE")?.get_by_name(room)?.into_rpc();
            return match rpc(stub, method, &argument).await {
                Ok(answer) => Response::ok(answer.as_string().unwrap_or_else(|| format!("{answer:?}"))),
                Err(error) => Response::error(format!("{error:?}"), 500),
            };
        }
        #[cfg(target_arch = "wasm32")]
        ["client"] => return client::add(parameter("to").unwrap_or_default()).await,
        ["timer", room] => {
            let room = timer::timer::RoomClient::from_env(&env)?.room(*room);
            match req.headers().get("upgrade")? {
                Some(_) => room.upgrade(req, Upgrade::new(timer::timer::Connection {})).await,
                None => room.state().await.and_then(json),
            }
        }
        #[cfg(target_arch = "wasm32")]
        ["ledger", room, "client"] => {
            return client::write(ledger::ledger::RoomClient::from_env(&env)?.room(*room)).await;
        }
        ["ledger", room] => {
            let room = ledger::ledger::RoomClient::from_env(&env)?.room(*room);
            room.upgrade(req, Upgrade::new(ledger::ledger::Connection {})).await
        }
        ["unbound"] => Err(unbound::RoomClient::from_env(&env).map(|_| ()).expect_err("it is not bound")),
        ["ws", room] => {
            let times = parameter("times").and_then(|times| times.parse().ok()).unwrap_or(1);
            let name = parameter("name").unwrap_or_default().repeat(times);
            let connection = probe::Connection { name, visits: 0 };
            let mut upgrade = Upgrade::new(connection);
            if let Some(id) = parameter("id") {
                upgrade = upgrade.id(id);
            }
            if let Some(tags) = parameter("tags") {
                upgrade = upgrade.tags(tags.split(','));
            }
            if let Some(protocol) = parameter("protocol") {
                upgrade = upgrade.protocol(protocol);
            }
            let upgrading = probe::RoomClient::from_env(&env)?.room(*room).upgrade(req, upgrade).await;
            match (upgrading, parameter("session")) {
                (Ok(mut response), Some(session)) => {
                    // A Worker may add headers to every response, including the room's.
                    let headers = response.headers_mut();
                    headers.append("set-cookie", &format!("session={session}; HttpOnly"))?;
                    headers.append("set-cookie", "seen=1")?;
                    headers.set("access-control-allow-origin", "https://app.example")?;
                    headers.set("access-control-allow-credentials", "true")?;
                    Ok(response)
                }
                (upgrading, _) => upgrading,
            }
        }
        ["api", room, what] => {
            let room = probe::RoomClient::from_env(&env)?.room(*room);
            match *what {
                "state" => room.state().await.and_then(json),
                "peers" => room.peers(parameter("tag").as_deref()).await.and_then(json),
                "send" => room.send(&req.json().await?).await.and_then(json),
                "broadcast" => room.broadcast(&req.json().await?).await.and_then(json),
                _ => return Response::error("no such call", 404),
            }
        }
        _ => return Response::error("no such path", 404),
    };
    match answer {
        Ok(response) => Ok(response),
        Err(error) => {
            #[data]
            struct Failed {
                kind: String,
                message: String,
            }
            let failed = Failed { kind: error.kind().as_str().to_owned(), message: error.to_string() };
            Ok(Response::from_json(&failed)?.with_status(500))
        }
    }
}

fn json<T: serde::Serialize>(value: T) -> std::result::Result<Response, room_runtime::Error> {
    Response::from_json(&value).map_err(|error| room_runtime::Error::new(ErrorKind::Encode, error.to_string()))
}

async fn rpc(stub: JsValue, method: &str, argument: &JsValue) -> std::result::Result<JsValue, JsValue> {
    let function = js_sys::Reflect::get(&stub, &JsValue::from_str(method))?.dyn_into::<js_sys::Function>()?;
    // Not `call`: a stub treats that name as one more method of the object.
    let answer = js_sys::Reflect::apply(&function, &stub, &js_sys::Array::of1(argument))?;
    JsFuture::from(js_sys::Promise::resolve(&answer)).await
}
