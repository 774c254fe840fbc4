//! The chat room.

use room_runtime::prelude::*;

/// The user id of messages from the Worker itself.
pub const OPERATOR: &str = "system";

/// A chat room with messages, pinned notes and typing notices.
#[room]
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
        Message { user_id: String, text: String, sent_at: u64 },
        Joined { user_id: String },
        Left { user_id: String },
        Typing { user_id: String },
    }

    #[data]
    pub struct Note {
        pub text: String,
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        ctx.peers().except(peer).send(&Broadcast::Joined { user_id: peer.data().user_id.clone() })?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let user_id = ctx.sender().map_or(OPERATOR.into(), |peer| peer.data().user_id.clone());
        match event {
            Event::Say { text } => {
                ctx.update(|state| state.message_count += 1)?;
                ctx.broadcast(&Broadcast::Message { user_id, text, sent_at: ctx.now_ms() })?;
            }
            Event::Typing => {
                ctx.peers().except_sender().send(&Broadcast::Typing { user_id })?;
            }
        }
        Ok(())
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, _close: Close) -> Result {
        ctx.broadcast(&Broadcast::Left { user_id: peer.data().user_id.clone() })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use room_runtime::testing::{TestPeer, TestRoom};

    use super::{chat::*, *};

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
