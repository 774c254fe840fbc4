//! Admits peers. The steps are: limits, `on_upgrade`, the check for duplicates, the accept, `on_connect`, and the close
//! of the replaced peers.
//!
//! Nothing waits between the check for duplicates and the accept.

use std::{cell::OnceCell, rc::Rc};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{MAX_QUEUED_FRAMES, RoomHost, commands::unless_refused, roster::new_name, shortened};
use crate::wire::handshake::choose_protocol;
use crate::{
    CloseCode, Error, ErrorKind, Failure, HandlerError, OnDuplicate, OnResume, Peer, PeerId, Reject, Room, RoomContext,
    UpgradeRequest,
    api::upgrade,
    engine::{
        purge::is_own_purge,
        slot::{Slot, Status},
    },
    platform::*,
    types::error::Refused,
    wire::{
        self, UpgradeOptions,
        handshake::{Handshake, NoProtocol, id_tag, user_tag},
    },
};

/// The close reason of a peer whose `on_connect` failed.
const NOT_LET_IN: &str = "the room could not let this peer in";

const REPLACED: &str = "replaced by a new connection";

/// The outcome of an upgrade.
#[derive(Debug)]
pub(crate) enum Upgraded {
    /// The socket was accepted. This includes a peer that `on_connect` refused; its socket is closed with 1011.
    Accepted,
    /// The engine refused the upgrade with this status and text.
    Refused(u16, String),
    /// `on_upgrade` answered with this response.
    Answered(Response<Bytes>),
}

/// An upgrade that `on_upgrade` may still change.
struct Asked<R: Room> {
    data: R::Connection,
    id: PeerId,
    tags: Vec<String>,
    meta: Option<Box<RawValue>>,
    on_duplicate: OnDuplicate,
    resume: Option<String>,
    on_resume: OnResume,
    protocol: Option<String>,
}

impl<R: Room> RoomHost<R> {
    /// Admits the peer of the request that carries this ticket.
    ///
    /// The closure `accept` makes the socket. It gets the socket's tags and the subprotocol of the handshake's answer.
    pub(crate) async fn upgrade(
        self: &Rc<Self>,
        ticket: &str,
        handshake: impl FnOnce() -> Rc<dyn Handshake>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, PlatformError>,
    ) -> Result<Upgraded, Error> {
        let options = self.tickets.claim(ticket, self.platform.clone()).await?;
        self.start(false).await?;
        self.connect(options, handshake, accept).await
    }

    pub(crate) async fn connect(
        self: &Rc<Self>,
        options: UpgradeOptions<R::Connection>,
        handshake: impl FnOnce() -> Rc<dyn Handshake>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, PlatformError>,
    ) -> Result<Upgraded, Error> {
        // A peer that reconnects already has a place.
        if !options.resume.as_deref().is_some_and(|token| self.has_place(token))
            && let Some(full) = self.full()?
        {
            return Ok(full);
        }

        let UpgradeOptions { data, id, tags, meta, on_duplicate, resume, on_resume, protocol } = options;
        let id = id.unwrap_or_else(|| self.random_peer_id(self.platform.now_ms()));
        let ctx = self.context(None);
        let handshake = handshake();
        let protocols = handshake.protocols();
        let mut asked = Asked { data, id, tags, meta, on_duplicate, resume, on_resume, protocol };
        if R::HAS_ON_UPGRADE {
            // Boxed, so that the wasm of a room without `on_upgrade` does not contain this code.
            let asking: LocalFuture<Result<Asked<R>, Response<Bytes>>> =
                Box::pin(self.clone().ask(asked, handshake, protocols.clone()));
            asked = match asking.await {
                Ok(asked) => asked,
                Err(answer) => return Ok(Upgraded::Answered(answer)),
            };
        }
        upgrade::check(Some(&asked.id), &asked.tags)?;
        asked.protocol = match choose_protocol(&protocols, asked.protocol.take()) {
            Ok(protocol) => protocol,
            Err(NoProtocol::Refused(text)) => return Ok(Upgraded::Refused(400, text)),
            Err(NoProtocol::Invalid(error)) => return Err(error),
        };

        // Other peers may have joined while `on_upgrade` waited. Nothing waits from here to the accept.
        if Self::KEEPS_PLACES
            && let Some(token) = &asked.resume
            && let Some(slot) = self.place_of(&asked.id, token)?
        {
            return self.reconnect(slot, asked, accept, ctx).await;
        }
        self.join(asked, accept, ctx).await
    }

    /// The peers with this id whose connection is open.
    fn connected_as(self: &Rc<Self>, id: &PeerId) -> Vec<Peer<R>> {
        let sockets = self.platform.open(Some(&id_tag(id.as_str())));
        sockets.into_iter().filter_map(|socket| self.peer(socket)).collect()
    }

    /// Moves a peer that reconnects to its place.
    async fn reconnect(
        self: &Rc<Self>,
        slot: Rc<Slot<R>>,
        asked: Asked<R>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, PlatformError>,
        ctx: RoomContext<R>,
    ) -> Result<Upgraded, Error> {
        let Asked { data, id, meta, on_duplicate, on_resume, protocol, .. } = asked;
        let mut others = Vec::new();
        if on_duplicate != OnDuplicate::Allow {
            others = self.connected_as(&id);
            others.retain(|peer| !Rc::ptr_eq(&peer.slot, &slot));
        }
        if on_duplicate == OnDuplicate::Reject && !others.is_empty() {
            return Ok(is_connected(&id));
        }
        if on_duplicate == OnDuplicate::Replace {
            others.extend(self.kept_for(&id)?.into_iter().filter(|peer| peer.slot.entry != slot.entry));
        }
        if slot.turn.queued() >= MAX_QUEUED_FRAMES {
            return Ok(Upgraded::Refused(503, "what this peer has sent has to be handled first".to_owned()));
        }
        let data = if on_resume == OnResume::ReplaceData { Rc::new(data) } else { slot.data.borrow().clone() };
        // Encoded before there is a socket: data that is too large can still be refused.
        let encoded = self.encode_data(&id, &data)?;
        let socket = self.accept(&slot, protocol.as_deref(), accept)?;
        if self.resume(slot, socket, (data, &encoded), meta, ctx).await {
            for other in others {
                self.force_close(&other, CloseCode::RESTART, REPLACED);
            }
        }
        Ok(Upgraded::Accepted)
    }

    /// Lets a new peer join.
    async fn join(
        self: &Rc<Self>,
        asked: Asked<R>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, PlatformError>,
        ctx: RoomContext<R>,
    ) -> Result<Upgraded, Error> {
        let Asked { data, id, tags, meta, on_duplicate, protocol, .. } = asked;
        if let Some(full) = self.full()? {
            return Ok(full);
        }
        let replaced = if on_duplicate == OnDuplicate::Allow { Vec::new() } else { self.connected_as(&id) };
        if on_duplicate == OnDuplicate::Reject && !replaced.is_empty() {
            return Ok(is_connected(&id));
        }
        // The kept places are recorded by name now, so that a place that is kept later is not replaced.
        let mut kept = Vec::new();
        if Self::KEEPS_PLACES && on_duplicate == OnDuplicate::Replace {
            kept.extend(self.kept_for(&id)?.into_iter().map(|peer| peer.slot.entry.clone()));
        }
        let name = new_name(self.platform.random());
        // The data is encoded before the accept, because data that is too large can only be refused before it.
        self.encode_data(&id, &data)?;
        let slot = Slot::new(NO_SOCKET, id, self.platform.now_ms(), data, Status::Connecting, name, 0);
        let _ = slot.tags.set(tags);
        slot.meta.replace(meta);
        let socket = self.accept(&slot, protocol.as_deref(), accept)?;
        slot.socket.set(socket);
        let slot = Rc::new(slot);
        self.keep(socket, &slot);
        let peer = Peer { host: self.clone(), slot };
        self.let_in(&peer, replaced, kept, &ctx).await;
        Ok(Upgraded::Accepted)
    }

    /// Makes the socket of a peer.
    fn accept(
        &self,
        slot: &Slot<R>,
        protocol: Option<&str>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, PlatformError>,
    ) -> Result<Socket, Error> {
        let tags = slot.tags.get_or_init(|| self.tags_of(slot.socket.get())).iter().map(|tag| user_tag(tag));
        let marked: Vec<_> = Some(id_tag(slot.id.as_str())).into_iter().chain(tags).collect();
        accept(&marked, protocol).map_err(|refusal| {
            Error::new(ErrorKind::Platform, format!("the platform refused the socket: {refusal}")).of_peer(&slot.id)
        })
    }

    /// Runs `on_upgrade`. Returns the changed upgrade, or the response of the handler.
    async fn ask(
        self: Rc<Self>,
        asked: Asked<R>,
        handshake: Rc<dyn Handshake>,
        protocols: Vec<String>,
    ) -> Result<Asked<R>, Response<Bytes>> {
        let Asked { data, id, tags, meta, on_duplicate, resume, on_resume, protocol } = asked;
        let mut request = UpgradeRequest {
            data,
            id,
            tags,
            on_duplicate,
            resume,
            on_resume,
            protocol,
            protocols,
            meta,
            handshake,
            head: OnceCell::new(),
        };
        let ctx = self.context(None);
        if let Err(reject) = self.run(R::on_upgrade(&ctx, &mut request)).await {
            return Err(self.refuse(reject, &request.id, &ctx).await);
        }
        let UpgradeRequest { data, id, tags, on_duplicate, resume, on_resume, protocol, meta, .. } = request;
        Ok(Asked { data, id, tags, meta, on_duplicate, resume, on_resume, protocol })
    }

    /// Runs `on_connect` for a new peer, and then closes the peers that it replaces.
    async fn let_in(self: &Rc<Self>, peer: &Peer<R>, replaced: Vec<Peer<R>>, kept: Vec<String>, ctx: &RoomContext<R>) {
        let ctx = &RoomContext { sender: Some(peer.clone()), ..ctx.clone() };
        // The resume token is the first frame of a connection, before any frame of a handler.
        self.send_resume_token(&peer.slot);
        let outcome = {
            let _turn = peer.slot.turn.take().await;
            let outcome = self.run(R::on_connect(ctx, peer)).await;
            peer.slot.meta.take();
            let outcome = outcome.and_then(|()| Ok(self.admit(peer)?));
            if let Err(failure) = &outcome {
                self.turn_away(peer, failure);
            }
            outcome
        };
        if outcome.is_err() {
            self.report(unless_refused(outcome), "on_connect", Some(peer), ctx).await;
            return;
        }
        // A peer that `on_connect` itself has closed replaces no other peer.
        if peer.slot.is_closing.get() {
            return;
        }
        for old in replaced {
            self.force_close(&old, CloseCode::RESTART, REPLACED);
        }
        if Self::KEEPS_PLACES && !kept.is_empty() {
            match self.kept_for(peer.id()) {
                Ok(places) => places
                    .into_iter()
                    .filter(|old| kept.contains(&old.slot.entry))
                    .for_each(|old| self.force_close(&old, CloseCode::RESTART, REPLACED)),
                Err(error) => self.platform.log_error(&error.in_room(&self.id).to_string()),
            }
        }
    }

    /// Moves the place of a peer that reconnects in time to the new socket.
    ///
    /// The peer keeps its slot, so handlers that hold the peer use the new socket. The queued frames of the old socket
    /// are handled first, then `on_resume` runs, and then the frames of the new socket are handled.
    async fn resume(
        self: &Rc<Self>,
        slot: Rc<Slot<R>>,
        socket: Socket,
        (data, encoded): (Rc<R::Connection>, &RawValue),
        meta: Option<Box<RawValue>>,
        ctx: RoomContext<R>,
    ) -> bool {
        let peer = Peer { host: self.clone(), slot };
        let slot = &peer.slot;
        let generation = slot.generation.get().wrapping_add(1);
        // The place is written before memory changes: if the write fails, the old connection keeps the place.
        if let Err(error) = self.write_place(slot, socket, generation, encoded) {
            self.close_refused(socket, CloseCode::ERROR, NOT_LET_IN);
            self.report(Err(error.into()), "on_resume", Some(&peer), &ctx).await;
            return false;
        }
        self.take_over(slot, socket, generation, data, meta);
        // The turn is queued before any frame of the new socket. It is not awaited here, so that a handler of the old
        // connection that hangs cannot block the reconnect.
        let place = slot.turn.queue();
        let host = self.clone();
        let ctx = RoomContext { sender: Some(peer.clone()), ..ctx };
        self.platform.spawn(Box::pin(async move {
            // `on_resume` runs after the answer to the upgrade, so that a panic in it does not lose the connection.
            Platform::timer(host.platform.clone(), 0).await;
            let _turn = peer.slot.turn.come(place).await;
            host.resumed(&peer, generation, &ctx).await;
        }));
        true
    }

    /// Gives the place to the new socket. Nothing here can fail or wait.
    fn take_over(
        self: &Rc<Self>,
        slot: &Rc<Slot<R>>,
        socket: Socket,
        generation: u32,
        data: Rc<R::Connection>,
        meta: Option<Box<RawValue>>,
    ) {
        let old = slot.socket.replace(socket);
        slot.generation.set(generation);
        slot.data.replace(data);
        slot.status.set(Status::Connected);
        // The flag may come from the old socket, which was closing.
        slot.is_closing.set(false);
        slot.is_enrolled.set(true);
        slot.ended.take();
        slot.meta.replace(meta);
        self.keep(socket, slot);
        self.departing.borrow_mut().remove(&slot.entry);
        self.forget_leaving(slot);
        if old != NO_SOCKET {
            self.release_socket(old);
            // The close fails only if the socket is closing already.
            let _ = self.platform.close(old, CloseCode::RESTART.get(), "resumed by a new connection");
            self.platform.detach(old);
        }
        if let Err(error) = self.take_place(&slot.entry) {
            // If the schedule of the grace stays stored, it finds the peer connected and does nothing.
            self.platform.log_error(&error.in_room(&self.id).to_string());
        }
        self.note_joined();
        self.start_watchdog();
        self.send_resume_token(slot);
    }

    /// Runs `on_resume`, unless the peer has left or reconnected again before its turn came.
    async fn resumed(self: &Rc<Self>, peer: &Peer<R>, generation: u32, ctx: &RoomContext<R>) {
        if peer.slot.generation.get() != generation || peer.slot.status.get() != Status::Connected {
            return;
        }
        let outcome = self.run(R::on_resume(ctx, peer)).await;
        peer.slot.meta.take();
        // The peer may have reconnected again while the handler waited. The refusal does not concern that
        // connection.
        if peer.slot.generation.get() == generation
            && let Err(failure) = &outcome
            && let Some(refused) = failure.as_refused()
        {
            self.answer_refusal(failure, &peer.slot);
            // The close fails only if the socket is closing already.
            let _ = self.close_peer(peer, CloseCode::POLICY, shortened(refused.close_reason()));
        }
        self.report(unless_refused(outcome), "on_resume", Some(peer), ctx).await;
    }

    /// Sends the resume token. It is the first frame of each connection.
    fn send_resume_token(self: &Rc<Self>, slot: &Slot<R>) {
        if Self::KEEPS_PLACES {
            let frame = wire::resume_frame(&slot.entry);
            self.send(Frame::Text(&frame), Audience::Only(&[slot.socket.get()]));
        }
    }

    async fn refuse(self: &Rc<Self>, reject: Reject, id: &PeerId, ctx: &RoomContext<R>) -> Response<Bytes> {
        match reject.into_response() {
            Ok(response) => response,
            // The handler purged the room.
            Err(failure) if is_own_purge(&failure) || ctx.alive().is_err() => {
                wire::http_codec::text(StatusCode::GONE, "the room was purged")
            }
            Err(failure) if failure.as_refused().is_some() => {
                failure.as_refused().map_or_else(Response::default, Refused::response)
            }
            Err(failure) => {
                let error = HandlerError::new("on_upgrade", Some(id.clone()), failure);
                self.report_error(&error, ctx).await;
                wire::http_codec::text(StatusCode::INTERNAL_SERVER_ERROR, "the room failed")
            }
        }
    }

    fn turn_away(self: &Rc<Self>, peer: &Peer<R>, failure: &Failure) {
        let (code, reason) = match failure.as_refused() {
            Some(refused) => (CloseCode::POLICY, shortened(refused.close_reason())),
            None => (CloseCode::ERROR, NOT_LET_IN),
        };
        self.answer_refusal(failure, &peer.slot);
        peer.slot.status.set(Status::Gone);
        self.close_refused(peer.slot.socket.get(), code, reason);
    }

    /// Closes an accepted socket that did not become a peer's.
    fn close_refused(&self, socket: Socket, code: CloseCode, reason: &str) {
        let closed = self.platform.close(socket, code.get(), reason);
        if let Err(refusal) = closed {
            self.platform.log_error(&format!("room `{}`: closing a refused peer: {refusal}", self.id));
        }
        self.platform.detach(socket);
        // The slot is released now, because the client may never answer the close.
        self.release_socket(socket);
    }

    /// The refusal of an upgrade if the room has `max_peers` peers.
    fn full(&self) -> Result<Option<Upgraded>, Error> {
        let limit = R::LIMITS.max_peers;
        let is_full = self.platform.count_open() + self.count_kept()? >= limit;
        Ok(is_full.then(|| Upgraded::Refused(503, format!("the room is full: it takes {limit} peers"))))
    }

    fn random_peer_id(&self, now_ms: u64) -> PeerId {
        let [.., a, b, c, d, e, f, g, h, i, j] = self.platform.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid();
        PeerId::from(uuid.to_string())
    }
}

fn is_connected(id: &PeerId) -> Upgraded {
    Upgraded::Refused(409, format!("peer `{id}` is connected already"))
}
