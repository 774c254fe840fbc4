//! The rooms of `examples/axum` behind a `worker::Router`, with the same routes.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use room_runtime::{Error, prelude::*, query};
use worker::{Env, Request, Response, Result, RouteContext, Router};

use crate::{archive_room::archive, poll_room::poll};

type Route = RouteContext<Rooms>;

struct Rooms {
    polls: poll::RoomClient,
    archives: archive::RoomClient,
}

#[data]
struct Vote {
    choice: String,
}

pub(crate) async fn serve(request: Request, env: Env) -> Result<Response> {
    let rooms = Rooms { polls: poll::RoomClient::from_env(&env)?, archives: archive::RoomClient::from_env(&env)? };
    let router = Router::with_data(rooms)
        .get_async("/polls/:id", |_, route| async move {
            Response::from_json(&room(&route)?.state().await?.unwrap_or_default())
        })
        .post_async("/polls/:id/votes", |mut request, route| async move {
            let Vote { choice } = match request.json().await {
                Ok(vote) => vote,
                Err(error) => return Response::error(error.to_string(), 422),
            };
            room(&route)?.send(&poll::Event::Vote { choice }).await?;
            Ok(Response::empty()?.with_status(204))
        })
        .post_async("/polls/:id/close", |_, route| async move {
            room(&route)?.send(&poll::Event::Close).await?;
            Ok(Response::empty()?.with_status(204))
        })
        .get_async("/polls/:id/ws", |request, route| async move {
            let Some(voter) = parameter(&request, "voter") else {
                return Response::error("the query needs a `voter`", 400);
            };
            Ok(room(&route)?.upgrade(request, Upgrade::new(poll::Connection {}).id(voter)).await?)
        })
        .on_async("/polls/:id/room/*path", |request, route| async move { Ok(room(&route)?.request(request).await?) })
        .get_async("/polls/:id/stats", |_, route| async move { Response::from_json(&room(&route)?.stats().await?) })
        .get_async("/archive", archived)
        .get_async("/archive/choices", archived)
        .get_async("/archive/ws", |request, route| async move {
            let upgrade = Upgrade::new(archive::Connection {});
            Ok(route.data.archives.room(archive::ID).upgrade(request, upgrade).await?)
        })
        .get_async("/totals", |request, route| async move {
            let polls = parameter(&request, "polls").unwrap_or_default();
            let states = route.data.polls.federate(polls.split(','), |room| room.state()).await;
            let total = |state: Option<poll::State>| state.unwrap_or_default().votes.values().sum();
            let totals = states.into_iter().map(|(id, state)| (id.to_string(), state.ok().map(total)));
            Response::from_json(&totals.collect::<BTreeMap<String, Option<u32>>>())
        });
    let mut response = match router.run(request, env).await {
        // An error of a room has its own status. The second `?` returns any other error unchanged.
        Err(error) => Error::try_from(error)?.into_response()?,
        Ok(response) => response,
    };
    response.headers_mut().set("cache-control", "no-store")?;
    Ok(response)
}

/// Forwards a request to the `on_request` of the archive.
async fn archived(request: Request, route: Route) -> Result<Response> {
    Ok(route.data.archives.room(archive::ID).request(request).await?)
}

/// The poll of a route. The router does not decode the path.
fn room(route: &Route) -> Result<RoomHandle<poll::Room>> {
    let id = percent_decode_str(route.param("id").map_or("", String::as_str)).decode_utf8();
    let id = id.map_err(|_| Error::new(ErrorKind::InvalidRoomId, "the id of the poll is not UTF-8"))?;
    Ok(route.data.polls.room(id.as_ref()))
}

fn parameter(request: &Request, name: &str) -> Option<String> {
    query(&request.inner().url().parse().ok()?, name)
}
