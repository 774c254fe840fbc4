//! The room: one document, and those who edit it.

use room_runtime::prelude::*;

/// A document that unmodified Yjs clients edit together, by the protocol of y-websocket.
///
/// The room's own codec stays JSON, which leaves binary frames to `on_binary`: with MessagePack they would be events. No text frame ever
/// reaches a client, because the provider takes every frame for bytes of the protocol and throws at anything else. So the room ignores
/// what is no message (`on_invalid`) and closes the connection itself.
#[room(max_message_bytes = 1048576, max_peers = 200, on_invalid = "ignore")]
pub mod document {
    use std::{
        cell::{RefCell, RefMut},
        time::Duration,
    };

    use room_runtime::prelude::*;

    use crate::{
        presence::Presence,
        store::{Document, MIGRATIONS, Rejected},
        wire::{self, Entry, Message},
    };

    /// The largest message of a client, in bytes. An update is a message.
    pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

    /// The largest document, in bytes of its stored form, with what was deleted and is not compacted yet.
    ///
    /// In memory it takes several times as much, and an object has 128 MB.
    pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

    /// The largest state of a client in the awareness, in bytes of JSON.
    pub const MAX_STATE_BYTES: usize = 4096;

    /// The close code for a message that is not one of the protocol. A provider does not reconnect after a code from 4400 to 4499.
    pub const MALFORMED: u16 = 4400;

    /// The close code for a message or a document that is too large.
    pub const TOO_LARGE: u16 = 4413;

    /// The delay between an update and its compaction, which the updates of that time share.
    const COMPACT_AFTER: Duration = Duration::from_secs(60);

    /// The document is in tables and not in the state, which is written as a whole with each change.
    #[derive(Default)]
    pub struct State {}

    #[derive(Default)]
    pub struct Connection {
        /// The connection's client in the awareness. It leaves with the connection, also after hibernation.
        pub client: Option<u64>,
    }

    /// No client sends JSON.
    pub enum Event {}

    pub enum Broadcast {}

    pub enum Alarm {
        Compact,
    }

    /// The memory of one incarnation. A message that wakes the room reads the document only if it needs it: the states that clients
    /// send every 15 seconds do not.
    #[derive(Debug, Default)]
    pub struct Services {
        document: RefCell<Option<Document>>,
        presence: RefCell<Option<Presence>>,
    }

    pub fn services(_env: &worker::Env) -> Result<Services> {
        Ok(Services::default())
    }

    pub fn on_start(ctx: &Ctx) -> Result {
        ctx.sql().migrate(MIGRATIONS)?;
        Ok(())
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        let step_1 = guarded(ctx, peer, || Ok(wire::step_1(&document(ctx)?.state_vector())))?;
        let Some(step_1) = step_1 else { return Ok(()) };
        peer.send_bytes(&step_1)?;
        send_states(ctx, peer)
    }

    pub fn on_binary(ctx: &Ctx, bytes: Bytes) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        guarded(ctx, peer, || {
            for message in wire::read(&bytes)? {
                match message {
                    Message::Step1(state_vector) => {
                        let missing = document(ctx)?.missing(state_vector)?;
                        peer.send_bytes(&wire::step_2(&missing)).map_err(Failure::from)?;
                    }
                    Message::Step2(update) => drop(change(ctx, peer, update)?),
                    Message::Update(update) => {
                        if change(ctx, peer, update)? {
                            // Not after an answer: a client that lacks something too would be asked forever.
                            let state_vector = document(ctx)?.state_vector();
                            peer.send_bytes(&wire::step_1(&state_vector)).map_err(Failure::from)?;
                        }
                    }
                    Message::Awareness(entries) => receive_states(ctx, peer, entries)?,
                    Message::QueryAwareness => send_states(ctx, peer)?,
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// A text frame, or a frame of more than [`MAX_MESSAGE_BYTES`].
    pub fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        let code = if error.kind() == ErrorKind::TooLarge { TOO_LARGE } else { MALFORMED };
        expel(ctx, peer, code, "a message is binary and has at most 1048576 bytes")
    }

    pub fn on_close(ctx: &Ctx, peer: &Peer, _close: Close) -> Result {
        if ctx.peers().is_empty() {
            // The last one has left: what is stored need not stay in memory.
            ctx.services().document.take();
        }
        remove_states(ctx, peer)
    }

    pub fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        let Alarm::Compact = alarm;
        document(ctx)?.compact(ctx)?;
        if ctx.peers().is_empty() {
            ctx.services().document.take();
        }
        Ok(())
    }

    pub(crate) fn schedule_compaction(ctx: &Ctx) -> Result {
        ctx.schedule(Alarm::Compact).key("compact").after(COMPACT_AFTER)?;
        Ok(())
    }

    /// The document, which is read from the database if it is not in memory.
    fn document(ctx: &Ctx) -> Result<RefMut<'_, Document>> {
        let mut loaded = ctx.services().document.borrow_mut();
        if loaded.as_ref().is_none_or(Document::is_stale) {
            *loaded = Some(Document::load(ctx)?);
        }
        RefMut::filter_map(loaded, Option::as_mut).map_err(|_| Failure::msg("the document is not loaded"))
    }

    fn presence(ctx: &Ctx) -> RefMut<'_, Presence> {
        RefMut::map(ctx.services().presence.borrow_mut(), |presence| {
            presence.get_or_insert_with(|| {
                let mut peers: Vec<_> = ctx.peers().iter().collect();
                peers.sort_by_key(Peer::connected_at);
                let owned = peers.into_iter().map(|peer| (peer.id().clone(), peer.data().client));
                Presence::restore(owned, ctx.now_ms())
            })
        })
    }

    /// Stores an update and sends it to the others. Returns whether a part of it builds on something that the room lacks.
    fn change(ctx: &Ctx, sender: &Peer, update: &[u8]) -> Result<bool, Rejected> {
        let change = document(ctx)?.change(ctx, update)?;
        if let Some(update) = &change.update {
            // The others get it whether or not the compaction succeeds: it is stored.
            publish(ctx, sender, &wire::update(update))?;
            document(ctx)?.tidy(ctx)?;
        }
        Ok(change.is_incomplete)
    }

    /// Sends a message to all but its sender.
    fn publish(ctx: &Ctx, sender: &Peer, message: &[u8]) -> Result {
        let delivery = ctx.peers().except(sender).send_bytes(message)?;
        // A peer that missed an update must not stay: it reconnects, and gets what it lacks.
        for id in &delivery.failed {
            ctx.peers().with_id(id).close(CloseCode::TRY_AGAIN, "an update could not be sent")?;
        }
        Ok(())
    }

    fn receive_states(ctx: &Ctx, peer: &Peer, entries: Vec<Entry>) -> Result<(), Rejected> {
        if entries.iter().any(|entry| entry.state.as_ref().is_some_and(|state| state.len() > MAX_STATE_BYTES)) {
            return Err(Rejected::Malformed("the state of a client has at most 4096 bytes"));
        }
        let outcome = presence(ctx).receive(peer.id(), peer.data().client, entries, ctx.now_ms());
        if outcome.claimed.is_some() {
            peer.set_data(Connection { client: outcome.claimed }).map_err(Failure::from)?;
        }
        if !outcome.news.is_empty() {
            ctx.peers().send_bytes(&wire::awareness(outcome.news.iter())).map_err(Failure::from)?;
        }
        if !outcome.replies.is_empty() {
            peer.send_bytes(&wire::awareness(outcome.replies.iter())).map_err(Failure::from)?;
        }
        Ok(())
    }

    /// Sends a peer the states of all clients. Those that the room forgot while it hibernated follow: it asks for them.
    fn send_states(ctx: &Ctx, peer: &Peer) -> Result {
        let (states, unknown) = {
            let presence = presence(ctx);
            (presence.states(), presence.unknown())
        };
        if !states.is_empty() {
            peer.send_bytes(&wire::awareness(states.iter()))?;
        }
        for owner in unknown {
            ctx.peers().with_id(owner).send_bytes(&wire::query_awareness())?;
        }
        Ok(())
    }

    /// Removes the states of a peer for the others.
    fn remove_states(ctx: &Ctx, peer: &Peer) -> Result {
        let departure = presence(ctx).depart(peer.id(), peer.data().client);
        if !departure.news.is_empty() {
            ctx.peers().except(peer).send_bytes(&wire::awareness(departure.news.iter()))?;
        }
        if departure.asks {
            ctx.peers().except(peer).send_bytes(&wire::query_awareness())?;
        }
        Ok(())
    }

    /// Closes the connection of a peer. Its `on_close` follows when the client answers, which it may never do.
    fn expel(ctx: &Ctx, peer: &Peer, code: u16, reason: &str) -> Result {
        peer.close(CloseCode::new(code)?, reason)?;
        tracing::warn!(code, reason, "closed a connection");
        remove_states(ctx, peer)
    }

    /// Runs a part of a handler. If it fails, the peer's connection is closed with a code and a reason.
    fn guarded<T>(ctx: &Ctx, peer: &Peer, work: impl FnOnce() -> Result<T, Rejected>) -> Result<Option<T>> {
        let rejected = match work() {
            Ok(value) => return Ok(Some(value)),
            Err(rejected) => rejected,
        };
        match rejected {
            Rejected::Malformed(reason) => expel(ctx, peer, MALFORMED, reason)?,
            Rejected::Full => expel(ctx, peer, TOO_LARGE, &rejected.to_string())?,
            Rejected::Failed(failure) => {
                // Closed first: the client could not read the error frame of a failed handler. It reconnects after this code.
                expel(ctx, peer, CloseCode::ERROR.get(), "the room failed")?;
                return Err(failure);
            }
        }
        Ok(None)
    }
}
