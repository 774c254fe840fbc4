//! The room: it lets in the bearers of valid tokens.

use room_runtime::prelude::*;

/// A room for signed-in users.
#[room]
pub mod lounge {
    use room_runtime::{OnResume, prelude::*};

    use crate::token::{Invalid, Keys};

    /// The close code for a peer whose token has expired. A page sees the code and the reason.
    pub const EXPIRED: u16 = 4401;

    #[derive(Default)]
    pub struct State {}

    /// The Worker knows nothing of a new peer: `on_upgrade` fills in what its token says.
    #[derive(Default)]
    pub struct Connection {
        pub expires_ms: u64,
    }

    pub enum Event {
        Say { text: String },
    }

    pub enum Broadcast {
        Joined { user: String },
        Said { user: String, text: String },
    }

    #[derive(Debug)]
    pub struct Services {
        pub keys: Keys,
    }

    pub fn services(env: &worker::Env) -> Result<Services> {
        let secret = env.secret("TOKEN_KEYS")?.to_string();
        Ok(Services { keys: Keys::parse(&secret).map_err(Failure::msg)? })
    }

    pub fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        let token = upgrade.bearer()?.unwrap_or_default();
        let valid = ctx.services().keys.check(&token, ctx.id().as_str(), ctx.now_ms()).map_err(refusal)?;
        upgrade.id = valid.bearer.user.into();
        upgrade.data = Connection { expires_ms: valid.expires_ms };
        // The rights of a peer are those of its latest token.
        upgrade.on_resume = OnResume::ReplaceData;
        Ok(())
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.broadcast(&Broadcast::Joined { user: peer.id().to_string() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        // The token was checked at the upgrade. The connection may have outlived it.
        if peer.data().expires_ms <= ctx.now_ms() {
            peer.close(CloseCode::new(EXPIRED)?, "the token has expired")?;
            return Ok(());
        }
        let Event::Say { text } = event;
        ctx.broadcast(&Broadcast::Said { user: peer.id().to_string(), text })?;
        Ok(())
    }

    /// The answer to an upgrade without a valid token, as RFC 6750 has it.
    fn refusal(why: Invalid) -> Reject {
        let (status, error) = match why {
            Invalid::Room => (403, "insufficient_scope"),
            Invalid::Malformed | Invalid::Signature | Invalid::Expired => (401, "invalid_token"),
        };
        let challenge = format!("Bearer error=\"{error}\", error_description=\"{why}\"");
        Reject::new(status, why.to_string()).header("www-authenticate", &challenge)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use room_runtime::testing::{Refusal, TestPeer, TestRoom};

    use super::lounge::*;
    use crate::token::{Bearer, Keys};

    const SECRET: &str = "test=0123456789abcdef0123456789abcdef";

    fn keys() -> Keys {
        Keys::parse(SECRET).expect("a key")
    }

    fn room(id: &str) -> TestRoom<Room> {
        TestRoom::with_services(id, || Ok(Services { keys: keys() }))
    }

    fn token(room: &TestRoom<Room>, user: &str) -> String {
        let bearer = Bearer { user: user.to_owned(), room: room.id().to_string() };
        keys().sign(bearer, room.world().now_ms()).expect("signed")
    }

    fn enter(room: &TestRoom<Room>, token: &str) -> Result<TestPeer<Room>, Refusal> {
        let request = room_runtime::http::Request::get("https://example.com/ws/r1")
            .header("sec-websocket-protocol", format!("bearer, {token}"))
            .body(())
            .expect("a request");
        room.try_connect_with(request, room_runtime::Upgrade::new(Connection::default()))
    }

    fn refused(room: &TestRoom<Room>, token: &str) -> (u16, String) {
        match enter(room, token) {
            Err(Refusal::Response(response)) => {
                let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_owned();
                (response.status().as_u16(), challenge)
            }
            other => panic!("{other:?} in place of a refusal"),
        }
    }

    #[test]
    fn the_bearer_of_a_token_speaks_under_its_name() {
        let room = room("r1");
        let ada = enter(&room, &token(&room, "ada")).expect("admitted");
        assert_eq!(ada.protocol().as_deref(), Some("bearer"));
        ada.send(&Event::Say { text: "hello".to_owned() });
        let (user, text) = ("ada".to_owned(), "hello".to_owned());
        assert_eq!(ada.received(), [Broadcast::Joined { user: user.clone() }, Broadcast::Said { user, text }]);
    }

    #[test]
    fn a_token_for_another_room_or_an_old_one_is_refused() {
        let (room, other) = (room("r1"), room("r2"));
        assert_eq!(refused(&room, &token(&other, "ada")).0, 403);
        let token = token(&room, "ada");
        room.advance(Duration::from_secs(301));
        let (status, challenge) = refused(&room, &token);
        assert_eq!(status, 401);
        assert!(challenge.contains("the token has expired"), "{challenge}");
        assert_eq!(refused(&room, "x.y.z").0, 401);
    }

    #[test]
    fn a_connection_that_outlives_its_token_is_closed_when_it_speaks() {
        let room = room("r1");
        let ada = enter(&room, &token(&room, "ada")).expect("admitted");
        room.advance(Duration::from_secs(300));
        ada.send(&Event::Say { text: "hello".to_owned() });
        assert_eq!(ada.received(), [Broadcast::Joined { user: "ada".to_owned() }]);
        assert_eq!(ada.closed(), Some((EXPIRED, "the token has expired".to_owned())));
    }
}
