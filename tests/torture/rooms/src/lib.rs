//! The rooms of the torture suite, and the Worker that makes them reachable.

#![forbid(unsafe_code)]

#[path = "../../../conformance/rooms/src/crash.rs"]
mod crash;
pub mod crowd_room;
pub mod log;
pub mod porch_room;
pub mod shelf_room;
pub mod vault_room;

pub use crash::Crash;
use room_runtime::{Error, ErrorKind, Upgrade};
use serde::{Serialize, de::DeserializeOwned};
use worker::{Context, Env, Method, Request, Response, event};

use crate::{
    crowd_room::crowd,
    porch_room::porch,
    shelf_room::{shelf, shelf_next},
    vault_room::{depot, vault},
};

/// The text of every intended panic.
const PANIC: &str = "asked to panic";

#[event(fetch)]
async fn fetch(request: Request, env: Env, _ctx: Context) -> worker::Result<Response> {
    match route(request, env).await {
        Ok(response) => Ok(response),
        Err(error) => error.into_response(),
    }
}

async fn route(mut request: Request, env: Env) -> Result<Response, Error> {
    let path = request.path();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let url = request.inner().url();
    let query = url.split_once('?').map_or("", |(_, query)| query).to_owned();
    let parameter = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let after = || parameter("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    match &*path {
        ["vault", id, "ws"] => {
            let room = vault::RoomClient::from_env(&env)?.room(*id);
            room.upgrade(request, Upgrade::new(vault::Connection {})).await
        }
        ["vault", id, "send"] if request.method() == Method::Post => {
            let event: vault::Event = body(&mut request).await?;
            let room = vault::RoomClient::from_env(&env)?.room(*id);
            let sending = room.send(&event);
            match parameter("key") {
                Some(key) => sending.idempotency_key(key).await?,
                None => sending.await?,
            }
            answer(&())
        }
        ["vault", id, "state"] => answer(&vault::RoomClient::from_env(&env)?.room(*id).state().await?),
        ["vault", id, "log"] => {
            use vault::Calls as _;
            answer(&vault::RoomClient::from_env(&env)?.room(*id).log(after()).await?)
        }
        ["depot", id, "log"] => {
            use depot::Calls as _;
            answer(&depot::RoomClient::from_env(&env)?.room(*id).log(after()).await?)
        }
        ["porch", id, "ws"] => {
            let connection = match parameter("with") {
                Some(with) => decode(with.as_bytes())?,
                None => porch::Connection { crash: None },
            };
            let mut upgrade = Upgrade::new(connection);
            if let Some(id) = parameter("id") {
                upgrade = upgrade.id(id);
            }
            if let Some(token) = parameter("token") {
                upgrade = upgrade.resume(token);
            }
            porch::RoomClient::from_env(&env)?.room(*id).upgrade(request, upgrade).await
        }
        ["porch", id, "request"] => porch::RoomClient::from_env(&env)?.room(*id).request(request).await,
        ["porch", id, "log"] => {
            use porch::Calls as _;
            answer(&porch::RoomClient::from_env(&env)?.room(*id).log(after()).await?)
        }
        ["shelf", id, rest] => match is_next(&env) {
            false => {
                use shelf::Calls as _;
                let room = shelf::RoomClient::from_env(&env)?.room(*id);
                match *rest {
                    "ws" => room.upgrade(request, Upgrade::new(shelf::Connection { name: "ada".to_owned() })).await,
                    "state" => answer(&room.state().await?),
                    _ => answer(&room.log(after()).await?),
                }
            }
            true => {
                use shelf_next::Calls as _;
                let room = shelf_next::RoomClient::from_env(&env)?.room(*id);
                match *rest {
                    "ws" => {
                        let connection =
                            shelf_next::Connection { name: "ada".to_owned(), colour: Some("red".to_owned()) };
                        room.upgrade(request, Upgrade::new(connection)).await
                    }
                    "state" => answer(&room.state().await?),
                    _ => answer(&room.log(after()).await?),
                }
            }
        },
        ["crowd", id, "ws"] => {
            let topic = parameter("topic").and_then(|topic| topic.parse().ok()).unwrap_or(0);
            let upgrade = Upgrade::new(crowd::Connection { topic });
            crowd::RoomClient::from_env(&env)?.room(*id).upgrade(request, upgrade).await
        }
        ["crowd", id, "stats"] => answer(&crowd::RoomClient::from_env(&env)?.room(*id).stats().await?),
        ["memory"] => answer(&memory()),
        // Unsafe on purpose, and rooms must survive it: the public request, unchanged, directly to the object.
        ["forward", id, ..] => {
            let forwarding = async { env.durable_object("VAULT")?.get_by_name(id)?.fetch_with_request(request).await };
            forwarding.await.map_err(|error| Error::new(ErrorKind::Platform, error.to_string()))
        }
        _ => Response::error("there is nothing here", 404)
            .map_err(|error| Error::new(ErrorKind::Platform, error.to_string())),
    }
}

/// Returns whether the second release of the shelf is deployed.
fn is_next(env: &Env) -> bool {
    env.durable_object("SHELF_NEXT").is_ok()
}

async fn body<T: DeserializeOwned>(request: &mut Request) -> Result<T, Error> {
    let bytes = request.bytes().await.map_err(|error| Error::new(ErrorKind::Platform, error.to_string()))?;
    decode(&bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(ErrorKind::Decode, error.to_string()))
}

fn answer<T: Serialize>(value: &T) -> Result<Response, Error> {
    Response::from_json(value).map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))
}

/// The size of the WebAssembly memory, in bytes. It never shrinks.
fn memory() -> usize {
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_size::<0>() << 16;
    #[cfg(not(target_arch = "wasm32"))]
    0
}
