//! The Worker: each room's client over HTTP, by the room's name, and unsafe routes that no Worker should have.
//!
//! - `GET  /:name/upgrade?with=…` a [`Joining`](crate::api::Joining), and a WebSocket
//! - `POST /:name/call` a [`Call`](crate::api::Call), answered with its outcome
//! - `POST /:name/federate` a [`Federation`](crate::api::Federation), answered with the result of each room
//! - `POST /:name/dialogue` a [`Dialogue`](crate::api::Dialogue), answered with its replies
//! - `*    /:name/request?with=…` the request that an [`Asking`](crate::api::Asking) describes, forwarded to
//!   `on_request`
//! - `*    /:name/forward/…?to=id` the public request, unchanged, directly to the object
//! - `POST /:name/rpc/:method?to=id` any method of the object, with the body as its argument

use serde::de::DeserializeOwned;
use worker::{
    js_sys::{self, futures::JsFuture},
    wasm_bindgen::{JsCast, JsValue},
    *,
};

use crate::{
    api::{self, Failed},
    archive::archive,
    backstage::backstage,
    batched,
    club::{club, lodge, porch},
    desk::{desk, front},
    embedded, equipped, forgetful, founded, keyed,
    lounge::{booth, cot, dorm, guarded, hall, hut, inn, keep, lounge, motel, moved, parlor, ward},
    metered, mixed, narrow, paced, packed, picky, plain,
    planner::planner,
    probe, raw, ruled,
    script::Scripted,
    silent, small, strict, thrifty,
};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let path = req.path();
    let (name, path) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    match name {
        "probe" => serve::<probe::Room>(path, req, &env).await,
        "plain" => serve::<plain::Room>(path, req, &env).await,
        "keyed" => serve::<keyed::Room>(path, req, &env).await,
        "founded" => serve::<founded::Room>(path, req, &env).await,
        "equipped" => serve::<equipped::Room>(path, req, &env).await,
        "small" => serve::<small::Room>(path, req, &env).await,
        "paced" => serve::<paced::Room>(path, req, &env).await,
        "thrifty" => serve::<thrifty::Room>(path, req, &env).await,
        "metered" => serve::<metered::Room>(path, req, &env).await,
        "embedded" => serve::<embedded::Room>(path, req, &env).await,
        "narrow" => serve::<narrow::Room>(path, req, &env).await,
        "batched" => serve::<batched::Room>(path, req, &env).await,
        "forgetful" => serve::<forgetful::Room>(path, req, &env).await,
        "archive" => serve::<archive::Room>(path, req, &env).await,
        "desk" => serve::<desk::Room>(path, req, &env).await,
        "front" => serve::<front::Room>(path, req, &env).await,
        "packed" => serve::<packed::Room>(path, req, &env).await,
        "mixed" => serve::<mixed::Room>(path, req, &env).await,
        "raw" => serve::<raw::Room>(path, req, &env).await,
        "strict" => serve::<strict::Room>(path, req, &env).await,
        "silent" => serve::<silent::Room>(path, req, &env).await,
        "ruled" => serve::<ruled::Room>(path, req, &env).await,
        "picky" => serve::<picky::Room>(path, req, &env).await,
        "planner" => serve::<planner::Room>(path, req, &env).await,
        "lounge" => serve::<lounge::Room>(path, req, &env).await,
        "parlor" => serve::<parlor::Room>(path, req, &env).await,
        "booth" => serve::<booth::Room>(path, req, &env).await,
        "guarded" => serve::<guarded::Room>(path, req, &env).await,
        "keep" => serve::<keep::Room>(path, req, &env).await,
        "ward" => serve::<ward::Room>(path, req, &env).await,
        "cot" => serve::<cot::Room>(path, req, &env).await,
        "dorm" => serve::<dorm::Room>(path, req, &env).await,
        "hut" => serve::<hut::Room>(path, req, &env).await,
        "hall" => serve::<hall::Room>(path, req, &env).await,
        "motel" => serve::<motel::Room>(path, req, &env).await,
        "inn" => serve::<inn::Room>(path, req, &env).await,
        "moved" => serve::<moved::Room>(path, req, &env).await,
        "club" => serve::<club::Room>(path, req, &env).await,
        "lodge" => serve::<lodge::Room>(path, req, &env).await,
        "porch" => serve::<porch::Room>(path, req, &env).await,
        "backstage" => serve::<backstage::Room>(path, req, &env).await,
        _ => Response::error(format!("there is no room `{name}`"), 404),
    }
}

async fn serve<R: Scripted>(path: &str, mut req: Request, env: &Env) -> Result<Response> {
    let rooms = room_runtime::RoomClient::<R>::from_env(env)?;
    let url = req.inner().url();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let parameter = |name: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).ok_or_else(|| Error::from(format!("there is no `{name}`")))
    };
    match path.split('/').next().unwrap_or_default() {
        "upgrade" => {
            let api::Joining { room, join } = parse(&parameter("with")?)?;
            match api::handle(rooms, &room).upgrade(req, join.into_upgrade()).await {
                Ok(response) => signed(response),
                Err(error) => failed(&error.into()),
            }
        }
        "call" => Response::from_json(&api::call(rooms, parse(&req.text().await?)?).await),
        "federate" => Response::from_json(&api::federate(rooms, parse(&req.text().await?)?).await),
        "dialogue" => Response::from_json(&api::dialogue(rooms, parse(&req.text().await?)?).await),
        "request" => {
            let api::Asking { room, method, uri, headers } = parse(&parameter("with")?)?;
            let body = req.bytes().await?;
            let asked = Headers::new();
            for (name, value) in headers {
                asked.append(&name, &value)?;
            }
            let mut init = RequestInit::new();
            init.with_method(Method::from(method)).with_headers(asked);
            if !body.is_empty() {
                init.with_body(Some(js_sys::Uint8Array::from(&*body).into()));
            }
            let request = Request::new_with_init(&uri, &init)?;
            match api::handle(rooms, &room).request(request).await {
                Ok(response) => signed(response),
                Err(error) => failed(&error.into()),
            }
        }
        "forward" => env.durable_object(R::BINDING)?.get_by_name(&parameter("to")?)?.fetch_with_request(req).await,
        "rpc" => {
            let stub = env.durable_object(R::BINDING)?.get_by_name(&parameter("to")?)?.into_rpc();
            let (_, method) = path.split_once('/').unwrap_or_default();
            match rpc(stub, method, &JsValue::from_str(&req.text().await?)).await {
                Ok(answer) => Response::ok(answer.as_string().unwrap_or_else(|| format!("{answer:?}"))),
                Err(error) => Response::error(format!("{error:?}"), 500),
            }
        }
        what => Response::error(format!("a room has no `{what}`"), 404),
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::from(format!("{error} in {text}")))
}

/// Adds a header of the Worker to the room's response, as a Worker would add a session cookie.
fn signed(mut response: Response) -> Result<Response> {
    response.headers_mut().set(api::WORKER_HEADER, "1")?;
    Ok(response)
}

/// An error of the client, in place of the room's response.
fn failed(failed: &Failed) -> Result<Response> {
    let response = Response::from_json(failed)?.with_status(500);
    response.headers().set(api::FAILED_HEADER, "1")?;
    Ok(response)
}

async fn rpc(stub: JsValue, method: &str, argument: &JsValue) -> std::result::Result<JsValue, JsValue> {
    let function = js_sys::Reflect::get(&stub, &JsValue::from_str(method))?.dyn_into::<js_sys::Function>()?;
    // Not `call`: a stub treats that name as one more method of the object.
    let answer = js_sys::Reflect::apply(&function, &stub, &js_sys::Array::of1(argument))?;
    JsFuture::from(js_sys::Promise::resolve(&answer)).await
}
