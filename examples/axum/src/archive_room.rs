//! The room: the archive of the closed polls.

use room_runtime::prelude::*;

/// The results of all closed polls, in tables.
#[room]
pub mod archive {
    use std::collections::BTreeMap;

    use room_runtime::prelude::*;

    /// The id of the only archive.
    pub const ID: &str = "all";

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        /// Stores the result of a poll; only a poll sends it.
        Store { poll: RoomId, votes: BTreeMap<String, u32> },
        /// Sends the peer the results with this outcome: those so far, and each later one.
        Watch { outcome: Outcome },
        /// Ends a `Watch`.
        Unwatch { outcome: Outcome },
    }

    pub enum Broadcast {
        Results { results: Vec<PollResult> },
        Stored { result: PollResult },
    }

    #[data]
    #[derive(Copy)]
    pub enum Outcome {
        Winner,
        Tie,
        NoVotes,
    }

    impl Outcome {
        fn of(votes: &BTreeMap<String, u32>) -> Self {
            let most = votes.values().max();
            match votes.values().filter(|votes| Some(*votes) == most).count() {
                0 => Outcome::NoVotes,
                1 => Outcome::Winner,
                _ => Outcome::Tie,
            }
        }

        fn as_str(self) -> &'static str {
            match self {
                Outcome::Winner => "Winner",
                Outcome::Tie => "Tie",
                Outcome::NoVotes => "NoVotes",
            }
        }

        /// The topic of its watchers. A fixed list has no name that a topic cannot have, unlike the ids of polls.
        fn topic(self) -> String {
            format!("outcome:{}", self.as_str())
        }
    }

    /// A row of `polls`.
    #[data]
    pub struct PollResult {
        pub poll: String,
        pub outcome: Outcome,
        pub votes: u64,
    }

    /// The votes for a choice in all polls.
    #[data]
    pub struct Choice {
        pub choice: String,
        pub votes: u64,
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.sql().migrate(&["
            create table polls (
                seq integer primary key, poll text not null unique, outcome text not null, votes integer not null
            );
            create table choices (
                poll text not null, choice text not null, votes integer not null, primary key (poll, choice)
            );
        "])?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Store { poll, votes } => {
                if ctx.sender().is_some() {
                    return Err(ctx.refuse("only a poll stores its result"));
                }
                store(ctx, &poll, &votes)?;
            }
            Event::Watch { outcome } => {
                let peer = ctx.sender().ok_or_else(|| ctx.refuse("only a peer watches"))?;
                peer.subscribe(&outcome.topic())?;
                let results = ctx.sql().query(
                    "select poll, outcome, votes from polls where outcome = ? order by seq desc limit 100",
                    (outcome.as_str(),),
                )?;
                peer.send(&Broadcast::Results { results })?;
            }
            Event::Unwatch { outcome } => {
                let peer = ctx.sender().ok_or_else(|| ctx.refuse("only a peer watches"))?;
                peer.unsubscribe(&outcome.topic())?;
            }
        }
        Ok(())
    }

    /// Answers the requests that the Worker forwards: the newest results, and the most popular choices of all polls.
    pub fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        match request.uri().path() {
            "/archive" => {
                let results: Vec<PollResult> =
                    ctx.sql().query("select poll, outcome, votes from polls order by seq desc limit 100", ())?;
                Json(results).into_response(http::StatusCode::OK)
            }
            "/archive/choices" => {
                let choices: Vec<Choice> = ctx.sql().query(
                    "select choice, sum(votes) as votes from choices group by choice order by 2 desc, 1 limit 10",
                    (),
                )?;
                Json(choices).into_response(http::StatusCode::OK)
            }
            _ => Err(ctx.refuse("the archive has no such page").with_status(http::StatusCode::NOT_FOUND)),
        }
    }

    fn store(ctx: &Ctx, poll: &RoomId, votes: &BTreeMap<String, u32>) -> Result {
        let outcome = Outcome::of(votes);
        let total: u64 = votes.values().copied().map(u64::from).sum();
        ctx.sql().transaction(|sql| {
            // A poll that heard no answer for a day sends its result again, and the archive may have it.
            sql.exec(
                "insert or replace into polls (poll, outcome, votes) values (?, ?, ?)",
                (poll.as_str(), outcome.as_str(), total),
            )?;
            for (choice, votes) in votes {
                sql.exec(
                    "insert or replace into choices (poll, choice, votes) values (?, ?, ?)",
                    (poll.as_str(), choice.as_str(), *votes),
                )?;
            }
            Ok(())
        })?;
        let result = PollResult { poll: poll.to_string(), outcome, votes: total };
        ctx.topic(&outcome.topic()).send(&Broadcast::Stored { result })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use room_runtime::testing::TestRoom;

    use super::archive::*;
    use room_runtime::prelude::*;

    fn store(poll: &str, votes: &[(&str, u32)]) -> Event {
        let votes = votes.iter().map(|(choice, votes)| ((*choice).to_owned(), *votes)).collect();
        Event::Store { poll: poll.into(), votes }
    }

    fn result(poll: &str, outcome: Outcome, votes: u64) -> PollResult {
        PollResult { poll: poll.to_owned(), outcome, votes }
    }

    fn get(archive: &TestRoom<Room>, path: &str) -> (u16, String) {
        let request = http::Request::get(format!("https://room{path}")).body("").expect("a request");
        let response = archive.request(request).expect("an answer");
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).expect("UTF-8"))
    }

    #[test]
    fn a_watcher_gets_the_results_with_its_outcome_only() {
        let archive = TestRoom::<Room>::new(ID);
        archive.send(&store("breakfast", &[("rice", 2), ("soup", 2)])).expect("a result");
        let alice = archive.connect(Upgrade::new(Connection {}));
        alice.send(&Event::Watch { outcome: Outcome::Tie });
        let results = vec![result("breakfast", Outcome::Tie, 4)];
        assert_eq!(alice.received(), [Broadcast::Results { results }]);

        archive.hibernate();
        archive.send(&store("lunch", &[("soup", 3), ("rice", 1)])).expect("a result");
        archive.send(&store("a room 🦀", &[("1", 1), ("2", 1)])).expect("a result");
        assert_eq!(alice.received(), [Broadcast::Stored { result: result("a room 🦀", Outcome::Tie, 2) }]);

        alice.send(&Event::Unwatch { outcome: Outcome::Tie });
        archive.send(&store("dinner", &[("soup", 1), ("rice", 1)])).expect("a result");
        assert_eq!(alice.received(), []);
    }

    #[test]
    fn a_result_that_is_sent_again_is_stored_once() {
        let archive = TestRoom::<Room>::new(ID);
        for _ in 0..2 {
            archive.send(&store("lunch", &[("soup", 3), ("rice", 1)])).expect("a result");
        }
        archive.send(&store("dinner", &[("rice", 4)])).expect("a result");
        archive.send(&store("never", &[])).expect("a result");
        let results = concat!(
            r#"[{"poll":"never","outcome":"NoVotes","votes":0},{"poll":"dinner","outcome":"Winner","votes":4},"#,
            r#"{"poll":"lunch","outcome":"Winner","votes":4}]"#,
        );
        assert_eq!(get(&archive, "/archive"), (200, results.to_owned()));
        let choices = r#"[{"choice":"rice","votes":5},{"choice":"soup","votes":3}]"#;
        assert_eq!(get(&archive, "/archive/choices"), (200, choices.to_owned()));
        assert_eq!(get(&archive, "/archive/other").0, 404);
    }

    #[test]
    fn peers_store_nothing() {
        let archive = TestRoom::<Room>::new(ID);
        let alice = archive.connect(Upgrade::new(Connection {}));
        alice.send(&store("lunch", &[("soup", 1000)]));
        assert_eq!(alice.receive_error().map(|error| error.kind()), Some(ErrorKind::Refused));
        assert_eq!(get(&archive, "/archive").1, "[]");
    }
}
