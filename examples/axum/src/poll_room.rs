//! The room: a poll.

use room_runtime::prelude::*;

/// A poll in which everyone sees the votes.
#[room(validate(event))]
pub mod poll {
    use std::collections::BTreeMap;

    use room_runtime::{Bytes, Undelivered, http};

    use crate::archive_room::archive;

    #[derive(Default)]
    pub struct State {
        pub votes: BTreeMap<String, u32>,
        pub is_closed: bool,
    }

    pub struct Connection {}

    #[derive(garde::Validate)]
    pub enum Event {
        Vote {
            #[garde(length(chars, min = 1, max = 100))]
            choice: String,
        },
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
                if ctx.state()?.is_closed {
                    return Ok(());
                }
                ctx.update(|state| state.is_closed = true)?;
                report(ctx)?;
                ctx.broadcast(&Broadcast::Closed)?;
            }
        }
        Ok(())
    }

    /// Sends the archive the result. The call is stored together with the end of the poll, so a crash loses neither.
    fn report(ctx: &Ctx) -> Result {
        let result = archive::Event::Store { poll: ctx.id().clone(), votes: ctx.state()?.votes.clone() };
        ctx.room::<archive::Room>(archive::ID)?.send(&result).durably()?;
        Ok(())
    }

    /// Sends the result again. The archive refuses none, so it was out of reach for a day.
    pub fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {
        tracing::warn!(error = %undelivered.error(), attempts = undelivered.attempts(), "the archive has not answered");
        report(ctx)
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
    use std::time::Duration;

    use room_runtime::testing::{TestRoom, World};

    use super::poll::*;
    use crate::archive_room::archive;
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
    fn an_invalid_vote_is_refused_with_the_path_of_its_field() {
        let room = TestRoom::<Room>::new("lunch");
        let alice = room.connect(Upgrade::new(Connection {}));
        for choice in ["", &"🦀".repeat(101)] {
            alice.send(&vote(choice));
            let error = alice.receive_error().expect("an error frame");
            assert_eq!((error.kind(), error.violations()[0].path()), (ErrorKind::Invalid, "choice"));
        }
        assert_eq!(room.state().expect("a state"), None);
        room.send(&vote(&"🦀".repeat(100))).expect("a vote");
    }

    /// The page of the archive.
    fn archived(world: &World) -> String {
        let request = http::Request::get("https://room/archive").body("").expect("a request");
        let response = world.room::<archive::Room>(archive::ID).request(request).expect("an answer");
        String::from_utf8(response.body().to_vec()).expect("UTF-8")
    }

    #[test]
    fn the_result_reaches_the_archive_also_after_a_crash() {
        let world = World::new();
        let (room, archive) = (world.room::<Room>("lunch"), world.room::<archive::Room>(archive::ID));
        room.send(&vote("soup")).expect("a vote");
        archive.fail_calls(true);
        room.send(&Event::Close).expect("the Worker may close it");
        room.crash();
        archive.fail_calls(false);
        assert_eq!(archived(&world), "[]");
        // After a crash, the delivery continues within 10 seconds.
        world.advance(Duration::from_secs(15));
        assert_eq!(archived(&world), r#"[{"poll":"lunch","outcome":"Winner","votes":1}]"#);
    }

    #[test]
    fn the_result_is_sent_again_after_a_day_without_the_archive() {
        let world = World::new();
        let (room, archive) = (world.room::<Room>("lunch"), world.room::<archive::Room>(archive::ID));
        room.send(&vote("soup")).expect("a vote");
        archive.fail_calls(true);
        room.send(&Event::Close).expect("the Worker may close it");
        world.advance(Duration::from_secs(30 * 3600));
        archive.fail_calls(false);
        world.advance(Duration::from_secs(600));
        assert_eq!(archived(&world), r#"[{"poll":"lunch","outcome":"Winner","votes":1}]"#);
    }

    #[test]
    fn a_poll_that_is_closed_twice_ends_once() {
        let world = World::new();
        let room = world.room::<Room>("lunch");
        let alice = room.connect(Upgrade::new(Connection {}));
        for _ in 0..2 {
            room.send(&Event::Close).expect("the Worker may close it");
        }
        assert_eq!(alice.received(), [Broadcast::Votes { votes: [].into() }, Broadcast::Closed]);
        assert_eq!(archived(&world), r#"[{"poll":"lunch","outcome":"NoVotes","votes":0}]"#);
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
