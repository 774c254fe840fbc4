//! The room: a poll.

use room_runtime::prelude::*;

/// A poll in which everyone sees the votes.
#[room]
pub mod poll {
    use std::collections::BTreeMap;

    use room_runtime::{Bytes, http};

    #[derive(Default)]
    pub struct State {
        pub votes: BTreeMap<String, u32>,
        pub is_closed: bool,
    }

    pub struct Connection {}

    pub enum Event {
        Vote { choice: String },
        Close,
    }

    pub enum Broadcast {
        Votes { votes: BTreeMap<String, u32> },
        Closed,
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        peer.send(&Broadcast::Votes { votes: ctx.state()?.votes.clone() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Vote { choice } => {
                if ctx.state()?.is_closed {
                    return Err(ctx.refuse("the poll is closed").with_status(http::StatusCode::CONFLICT));
                }
                let votes = ctx.update(|state| {
                    *state.votes.entry(choice).or_default() += 1;
                    state.votes.clone()
                })?;
                ctx.broadcast(&Broadcast::Votes { votes })?;
            }
            Event::Close => {
                if ctx.sender().is_some() {
                    return Err(ctx.refuse("only the Worker closes a poll"));
                }
                ctx.update(|state| state.is_closed = true)?;
                ctx.broadcast(&Broadcast::Closed)?;
            }
        }
        Ok(())
    }

    /// Answers the requests that the Worker forwards: routes of the room itself.
    pub fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        if !request.uri().path().ends_with("/results.csv") {
            return Err(ctx.refuse("a poll has no such file").with_status(http::StatusCode::NOT_FOUND));
        }
        let lines: String = ctx.state()?.votes.iter().map(|(choice, votes)| format!("{choice},{votes}\n")).collect();
        Ok(http::Response::builder().header("content-type", "text/csv; charset=utf-8").body(lines.into())?)
    }
}

#[cfg(test)]
mod tests {
    use room_runtime::testing::TestRoom;

    use super::poll::*;
    use room_runtime::prelude::*;

    fn vote(choice: &str) -> Event {
        Event::Vote { choice: choice.to_owned() }
    }

    #[test]
    fn everyone_sees_the_votes_until_the_poll_is_closed() {
        let room = TestRoom::<Room>::new("lunch");
        let alice = room.connect(Upgrade::new(Connection {}));
        alice.send(&vote("soup"));
        room.send(&vote("soup")).expect("a vote of the Worker");
        let soups = |count| Broadcast::Votes { votes: [("soup".to_owned(), count)].into() };
        assert_eq!(alice.received(), [Broadcast::Votes { votes: [].into() }, soups(1), soups(2)]);

        room.hibernate();
        room.send(&Event::Close).expect("the Worker may close it");
        assert_eq!(alice.received(), [Broadcast::Closed]);
        let error = room.send(&vote("rice")).expect_err("it is closed");
        assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, http::StatusCode::CONFLICT));
        assert_eq!(room.state().expect("a state").map(|state| state.votes), Some([("soup".to_owned(), 2)].into()));
    }

    #[test]
    fn peers_cannot_close_the_poll() {
        let room = TestRoom::<Room>::new("lunch");
        let alice = room.connect(Upgrade::new(Connection {}));
        alice.send(&Event::Close);
        assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Refused));
        assert!(room.send(&vote("soup")).is_ok());
    }

    #[test]
    fn the_results_are_a_file() {
        let room = TestRoom::<Room>::new("lunch");
        for choice in ["soup", "rice", "soup"] {
            room.send(&vote(choice)).expect("a vote");
        }
        let get = |path: &str| room.request(http::Request::get(path).body("").expect("a request")).expect("an answer");
        assert_eq!(get("https://room/polls/lunch/room/results.csv").body(), "rice,1\nsoup,2\n");
        assert_eq!(get("https://room/polls/lunch/room/other").status(), http::StatusCode::NOT_FOUND);
    }
}
