//! The Worker: it passes the WebSockets at `/ws/ROOM` to the rooms. The platform serves the page, from `public`.

pub mod room;

use room_runtime::prelude::*;
use worker::*;

use crate::room::{{crate_name}}::{Connection, RoomClient};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    let path = req.path();
    let Some(name) = path.strip_prefix("/ws/").filter(|name| is_room_name(name)) else {
        return Response::error(
            "rooms are at /ws/ROOM; a name has 1 to 40 of a-z, 0-9 and `-`",
            404,
        );
    };
    let room = RoomClient::from_env(&env)?.room(name);
    // Sign your users in here, or in the room's `on_upgrade`: this upgrade lets everyone in.
    match room.upgrade(req, Upgrade::new(Connection {})).await {
        Ok(response) => Ok(response),
        Err(error) => error.into_response(),
    }
}

/// Each name is a room, so that a short list of characters keeps one room from having several names.
fn is_room_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_is_part_of_a_url_without_escapes() {
        for name in ["main", "team-7", "a", &"x".repeat(40)] {
            assert!(is_room_name(name), "{name}");
        }
        for name in ["", "Main", "a/b", "a%20b", "a_b", "é", &"x".repeat(41)] {
            assert!(!is_room_name(name), "{name}");
        }
    }
}
