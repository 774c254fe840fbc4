//! The chat room.

use std::time::Duration;

use room_runtime::prelude::*;

/// The user id of messages from the Worker itself.
pub const OPERATOR: &str = "system";

/// The messages that a peer gets when it joins.
const HISTORY: u32 = 100;
/// The messages that the nightly pruning keeps.
const KEPT: u32 = 1_000;
/// The time for which the nightly pruning keeps a message.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The time of the pruning, in UTC.
const NIGHT: Duration = Duration::from_secs(3 * 60 * 60);
/// The largest text of a message, in bytes.
const MAX_TEXT: usize = 16_384;
/// The largest texts of a history together, in bytes. JSON writes some characters with up to six bytes, so a history has at most
/// about 1.5 MB, far less than a peer may leave unread.
const MAX_HISTORY_BYTES: usize = 262_144;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A chat room with messages, their history, pinned notes and typing notices.
// All users of an office or a school can have one address, so it gets many frames.
#[room(rate_limit(burst = 1000, per_second = 50, by = "address"))]
pub mod chat {
    use super::*;

    /// The state of the room.
    #[derive(Default)]
    pub struct State {
        pub message_count: u64,
        pub pinned: Vec<Note>,
    }

    /// The data of one peer.
    pub struct Connection {
        pub user_id: String,
    }

    /// The events that peers and the Worker send to the room.
    pub enum Event {
        Say { text: String },
        Typing,
    }

    /// The messages that the room sends to its peers.
    pub enum Broadcast {
        /// The last messages, for a peer that joins: before any other message. A room without messages sends none.
        /// They are 100, or fewer if they are very long.
        History {
            messages: Vec<Said>,
        },
        Message {
            user_id: String,
            text: String,
            sent_at: u64,
        },
        Joined {
            user_id: String,
        },
        Left {
            user_id: String,
        },
        Typing {
            user_id: String,
        },
    }

    /// The room's alarms.
    pub enum Alarm {
        /// Deletes old messages, every night.
        Prune,
    }

    #[data]
    pub struct Note {
        pub text: String,
    }

    /// A message of the history.
    #[data]
    pub struct Said {
        pub user_id: String,
        pub text: String,
        pub sent_at: u64,
    }

    /// A room in figures, for its operator and for a list of rooms.
    #[data]
    pub struct Info {
        /// The users who are present.
        pub users: usize,
        /// Their connections.
        pub connections: usize,
        /// The messages since the beginning of the room.
        pub message_count: u64,
        /// The messages that the room has stored.
        pub stored: u64,
        /// The times of the oldest and of the newest stored message, in milliseconds since the Unix epoch.
        pub first_sent_at: Option<u64>,
        pub last_sent_at: Option<u64>,
        /// The time of the next pruning; `None` while there is nothing to prune.
        pub next_prune_at: Option<u64>,
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.sql().migrate(&["
            create table messages (id integer primary key, user_id text not null, text text not null, sent_at integer not null);
            create table names (user_id text primary key, key text);
        "])?;
        Ok(())
    }

    // Nothing here waits, so no message can come between the history and the messages after it.
    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        claim_name(ctx, peer)?;
        let mut messages: Vec<Said> =
            ctx.sql().query("select user_id, text, sent_at from messages order by id desc limit ?", (HISTORY,))?;
        let mut bytes = 0;
        messages.retain(|said| {
            bytes += said.text.len();
            bytes <= MAX_HISTORY_BYTES
        });
        if !messages.is_empty() {
            messages.reverse();
            peer.send(&Broadcast::History { messages })?;
        }
        ctx.peers().except(peer).send(&Broadcast::Joined { user_id: peer.data().user_id.clone() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let user_id = ctx.sender().map_or(OPERATOR.into(), |peer| peer.data().user_id.clone());
        match event {
            Event::Say { text } => {
                if text.len() > MAX_TEXT {
                    return Err(ctx.refuse(format!("a message has at most {MAX_TEXT} bytes")));
                }
                let sent_at = ctx.now_ms();
                ctx.sql().transaction(|sql| {
                    let row = (&user_id, &text, sent_at);
                    sql.exec("insert into messages (user_id, text, sent_at) values (?, ?, ?)", row)?;
                    // The only alarm of this room.
                    if ctx.next_alarm()?.is_none() {
                        ctx.schedule(Alarm::Prune).key("prune").at(next_night(sent_at))?;
                    }
                    Ok(ctx.update(|state| state.message_count += 1)?)
                })?;
                ctx.broadcast(&Broadcast::Message { user_id, text, sent_at })?;
            }
            Event::Typing => {
                ctx.peers().except_sender().send(&Broadcast::Typing { user_id })?;
            }
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, _close: Close) -> Result {
        let name = &peer.data().user_id;
        if ctx.peers().with_id(name).is_empty() {
            ctx.sql().exec("delete from names where user_id = ?", (name,))?;
        }
        ctx.broadcast(&Broadcast::Left { user_id: name.clone() })?;
        Ok(())
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        let Alarm::Prune = alarm;
        let now = ctx.now_ms();
        let oldest = now.saturating_sub(millis(KEPT_FOR));
        ctx.sql().transaction(|sql| {
            sql.exec("delete from messages where sent_at < ?", (oldest,))?;
            // Ids are not reused while a later message is stored, and have no holes but at the beginning.
            sql.exec("delete from messages where id <= (select max(id) from messages) - ?", (KEPT,))?;
            if sql.query_one::<(u64,)>("select count(*) from messages", ())?.is_some_and(|(stored,)| stored > 0) {
                ctx.schedule(Alarm::Prune).key("prune").at(next_night(now))?;
            }
            Ok(())
        })
    }

    /// Describes the room. A page gets this from the Worker.
    #[call(worker)]
    pub fn info(ctx: &Ctx) -> Result<Info> {
        let figures = ctx.sql().query_one("select count(*), min(sent_at), max(sent_at) from messages", ())?;
        let (stored, first_sent_at, last_sent_at) = figures.unwrap_or_default();
        Ok(Info {
            users: ctx.presence()?.len(),
            connections: ctx.peers().len(),
            message_count: ctx.state()?.message_count,
            stored,
            first_sent_at,
            last_sent_at,
            next_prune_at: ctx.next_alarm()?,
        })
    }

    /// Gives the name to the connections of one browser, for as long as one of them is here.
    ///
    /// A browser proves with its key that it is the same one. Clients without a key count as one.
    fn claim_name(ctx: &Ctx, peer: &Peer) -> Result {
        let name = &peer.data().user_id;
        let key: Option<String> = peer.meta()?;
        let is_held = !ctx.peers().with_id(name).except(peer).is_empty();
        let holder: Option<(Option<String>,)> =
            ctx.sql().query_one("select key from names where user_id = ?", (name,))?;
        match holder {
            Some((holder,)) if holder == key => Ok(()),
            Some(_) if is_held => Err(ctx.refuse("this name is taken")),
            _ => {
                ctx.sql().exec("insert or replace into names (user_id, key) values (?, ?)", (name, key))?;
                Ok(())
            }
        }
    }
}

/// The next time of the pruning.
fn next_night(now: u64) -> u64 {
    let (day, night) = (millis(DAY), millis(NIGHT));
    let tonight = now - now % day + night;
    if tonight > now { tonight } else { tonight + day }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use room_runtime::testing::{TestPeer, TestRoom};

    use super::{
        chat::{Calls as _, *},
        *,
    };

    fn join(room: &TestRoom<Room>, user_id: &str) -> TestPeer<Room> {
        room.connect(Upgrade::new(Connection { user_id: user_id.to_owned() }).id(user_id))
    }

    fn say(text: &str) -> Event {
        Event::Say { text: text.to_owned() }
    }

    fn message(user_id: &str, text: &str, sent_at: u64) -> Broadcast {
        Broadcast::Message { user_id: user_id.to_owned(), text: text.to_owned(), sent_at }
    }

    #[test]
    fn a_peer_that_joins_is_announced_to_the_others() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        let bob = join(&room, "bob");
        assert_eq!(alice.received(), [Broadcast::Joined { user_id: "bob".to_owned() }]);
        assert_eq!(bob.received(), []);
    }

    #[test]
    fn a_message_reaches_all_peers_and_is_counted() {
        let room = TestRoom::new("r1");
        let (alice, bob) = (join(&room, "alice"), join(&room, "bob"));
        alice.received();
        alice.send(&say("hello"));
        let now = room.world().now_ms();
        assert_eq!(alice.received(), [message("alice", "hello", now)]);
        assert_eq!(bob.received(), [message("alice", "hello", now)]);
        assert_eq!(room.state().expect("a state").map(|state| state.message_count), Some(1));
    }

    #[test]
    fn the_typing_indicator_is_not_sent_to_its_sender() {
        let room = TestRoom::new("r1");
        let (alice, bob) = (join(&room, "alice"), join(&room, "bob"));
        bob.received();
        bob.send(&Event::Typing);
        assert_eq!(alice.received().last(), Some(&Broadcast::Typing { user_id: "bob".to_owned() }));
        assert_eq!(bob.received(), []);
    }

    #[test]
    fn a_peer_that_leaves_is_announced_however_the_connection_ends() {
        let room = TestRoom::new("r1");
        let (alice, bob, carol) = (join(&room, "alice"), join(&room, "bob"), join(&room, "carol"));
        alice.received();
        bob.close();
        carol.disconnect();
        let left = |user_id: &str| Broadcast::Left { user_id: user_id.to_owned() };
        assert_eq!(alice.received(), [left("bob"), left("carol")]);
        assert_eq!(room.peers(None).expect("an answer").len(), 1);
    }

    #[test]
    fn the_operator_speaks_through_the_worker() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        room.send(&say("welcome")).expect("said");
        assert_eq!(alice.received(), [message(OPERATOR, "welcome", room.world().now_ms())]);
    }

    #[test]
    fn sleep_and_a_crash_lose_nothing() {
        let room = TestRoom::new("r1");
        let (alice, bob) = (join(&room, "alice"), join(&room, "bob"));
        alice.send(&say("one"));
        room.hibernate();
        bob.send(&say("two"));
        room.crash();
        alice.send(&say("three"));
        let texts: Vec<_> = bob.received().into_iter().filter_map(text).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!(room.state().expect("a state").map(|state| state.message_count), Some(3));
    }

    fn texts(peer: &TestPeer<Room>) -> Vec<String> {
        let live = |message| match message {
            Broadcast::History { messages } => messages.into_iter().map(|said| said.text).collect(),
            Broadcast::Message { text, .. } => vec![text],
            _ => Vec::new(),
        };
        peer.received().into_iter().flat_map(live).collect()
    }

    #[test]
    fn a_peer_that_joins_gets_the_last_hundred_messages_first() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        for n in 0..150 {
            alice.send(&say(&n.to_string()));
            room.advance(Duration::from_millis(100));
        }
        let all: Vec<_> = (0..150).map(|n| n.to_string()).collect();
        assert_eq!(texts(&alice), all);
        room.hibernate();
        let bob = join(&room, "bob");
        alice.send(&say("live"));
        let received = bob.received();
        let [Broadcast::History { messages }, Broadcast::Message { text, .. }] = &*received else {
            panic!("{received:?}")
        };
        assert_eq!(messages.iter().map(|said| said.text.clone()).collect::<Vec<_>>(), all[50..]);
        assert_eq!((&*messages[0].user_id, &**text), ("alice", "live"));
    }

    #[test]
    fn the_users_are_right_after_a_sleep_and_after_a_restart() {
        let room = TestRoom::new("r1");
        let (alice, bob) = (join(&room, "alice"), join(&room, "bob"));
        let ids = || {
            let peers = room.peers(None).expect("an answer");
            peers.into_iter().map(|peer| peer.id.to_string()).collect::<std::collections::BTreeSet<_>>()
        };
        room.hibernate();
        assert_eq!(ids().into_iter().collect::<Vec<_>>(), ["alice", "bob"]);
        bob.close();
        assert_eq!(ids().into_iter().collect::<Vec<_>>(), ["alice"]);
        assert_eq!(alice.received().last(), Some(&Broadcast::Left { user_id: "bob".to_owned() }));
        room.restart();
        assert!(ids().is_empty(), "a restart ends every connection");
        let carol = join(&room, "carol");
        join(&room, "alice");
        assert_eq!(carol.received().last(), Some(&Broadcast::Joined { user_id: "alice".to_owned() }));
        assert_eq!(ids().into_iter().collect::<Vec<_>>(), ["alice", "carol"]);
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_and_not_stored() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        alice.send(&say(&"x".repeat(MAX_TEXT + 1)));
        let error = alice.receive_error().expect("an error");
        assert!(error.message().contains("at most 16384 bytes"), "{error}");
        alice.send(&say(&"x".repeat(MAX_TEXT)));
        assert_eq!(texts(&join(&room, "bob")).len(), 1);
    }

    fn join_with(room: &TestRoom<Room>, user_id: &str, key: &str) -> TestPeer<Room> {
        let upgrade = Upgrade::new(Connection { user_id: user_id.to_owned() }).id(user_id).meta(key);
        room.connect(upgrade)
    }

    #[test]
    fn a_name_belongs_to_one_browser_while_it_is_here() {
        let room = TestRoom::new("r1");
        let bob = join(&room, "bob");
        let ada = join_with(&room, "ada", "her key");
        let again = join_with(&room, "ada", "her key");
        bob.received();
        for other in [join_with(&room, "ada", "another key"), join(&room, "ada")] {
            assert_eq!(other.closed(), Some((1008, "this name is taken".to_owned())));
        }
        assert_eq!(bob.received(), [], "a refused peer is not announced");

        ada.close();
        room.restart();
        assert!(again.closed().is_some());
        // The restart ended both connections, so that the name is free.
        let other = join_with(&room, "ada", "another key");
        assert!(other.closed().is_none());
        let refused = join_with(&room, "ada", "her key");
        assert_eq!(refused.closed().map(|(code, _)| code), Some(1008));
        // A client without a key cannot take it either, and shares its name with others of its kind.
        let (first, second) = (join(&room, "eve"), join(&room, "eve"));
        assert!(first.closed().is_none() && second.closed().is_none());
    }

    #[test]
    fn a_name_is_forgotten_with_its_last_connection() {
        let room = TestRoom::new("r1");
        let names = || room.query::<(u64,)>("select count(*) from names", ()).expect("a count")[0].0;
        let (first, second) = (join(&room, "ada"), join(&room, "ada"));
        first.close();
        assert_eq!(names(), 1);
        second.close();
        for n in 0..50 {
            join(&room, &format!("guest-{n}")).close();
        }
        assert_eq!(names(), 0);
        join(&room, "ada");
        room.restart();
        room.advance(Duration::from_secs(10 * 60));
        assert_eq!(names(), 0, "a lost connection leaves none either");
    }

    #[test]
    fn a_history_of_long_messages_is_shorter() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        for _ in 0..100 {
            alice.send(&say(&"\u{1}".repeat(MAX_TEXT)));
            room.advance(Duration::from_secs(1));
        }
        assert_eq!(texts(&join(&room, "bob")).len(), MAX_HISTORY_BYTES / MAX_TEXT);
    }

    #[test]
    fn every_night_the_old_messages_are_deleted() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        assert_eq!(room.info().expect("figures").next_prune_at, None, "a room without messages has no alarm");
        for n in 0..KEPT + 200 {
            alice.send(&say(&n.to_string()));
            room.advance(Duration::from_millis(50));
        }
        let night = room.info().expect("figures").next_prune_at.expect("an alarm");
        assert_eq!(night % millis(DAY), millis(NIGHT));
        room.advance(DAY);
        let info = room.info().expect("figures");
        assert_eq!((info.stored, info.message_count), (u64::from(KEPT), u64::from(KEPT) + 200));
        assert_eq!(info.next_prune_at, Some(night + millis(DAY)), "one alarm, the next night");

        // A restart does not lose the alarm.
        room.restart();
        room.advance(KEPT_FOR + DAY);
        let info = room.info().expect("figures");
        assert_eq!((info.stored, info.next_prune_at), (0, None), "an empty room stays asleep");
    }

    #[test]
    fn a_frame_that_is_no_event_is_answered_and_changes_nothing() {
        let room = TestRoom::new("r1");
        let alice = join(&room, "alice");
        alice.send_raw(r#"{"type":"Shout","text":"hey"}"#);
        let error = alice.receive_raw().expect("an answer");
        assert!(error.contains("unknown variant `Shout`, expected `Say` or `Typing`"), "{error}");
        assert_eq!(room.state().expect("no state"), None);
    }

    #[test]
    fn the_page_has_the_types_of_the_room() {
        room_runtime::bindings::check::<Room>("bindings/chat.ts");
        room_runtime::bindings::check::<Room>("bindings/chat.json");
        room_runtime::bindings::check::<Room>("bindings/chat.asyncapi.json");
    }

    fn text(message: Broadcast) -> Option<String> {
        match message {
            Broadcast::Message { text, .. } => Some(text),
            _ => None,
        }
    }
}
