//! How a peer gets in. In this order: limits, `on_upgrade`, the check for duplicates and the accept with no wait between,
//! `on_connect`, the end of those it replaces.

use std::{cell::OnceCell, rc::Rc};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{
    RoomHost,
    roster::{Entry, new_name},
};
use crate::{
    CloseCode, Error, ErrorKind, HandlerError, OnDuplicate, Peer, PeerId, Reject, Room, RoomContext, UpgradeRequest,
    peer::{Slot, Status},
    platform::*,
    schedule::What,
    upgrade::{self, Handshake, NoProtocol, id_tag, user_tag},
    wire::{self, UpgradeOptions},
};

/// What became of an upgrade.
#[derive(Debug)]
pub(crate) enum Upgraded {
    /// There is a socket. A peer that `on_connect` refused has one as well, closed with 1011.
    Accepted,
    /// There is none, by the engine's own rules: the answer's status and text.
    Refused(u16, String),
    /// There is none, and this is the answer of `on_upgrade`.
    Answered(Response<Bytes>),
}

/// A peer that is to be let in.
struct Asked<R: Room> {
    data: R::Connection,
    id: PeerId,
    tags: Vec<String>,
    meta: Option<Box<RawValue>>,
    on_duplicate: OnDuplicate,
    protocol: Option<String>,
}

impl<R: Room> RoomHost<R> {
    /// The upgrade of the request that carries this ticket. The caller's `accept` makes the socket, given its tags and the
    /// subprotocol that the handshake is answered with.
    pub(crate) async fn upgrade(
        self: &Rc<Self>,
        ticket: &str,
        handshake: impl FnOnce() -> Rc<dyn Handshake>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, Refusal>,
    ) -> Result<Upgraded, Error> {
        let options = self.tickets.claim(ticket, self.platform.clone()).await?;
        self.start(false).await?;
        self.connect(options, handshake, accept).await
    }

    pub(crate) async fn connect(
        self: &Rc<Self>,
        options: UpgradeOptions<R::Connection>,
        handshake: impl FnOnce() -> Rc<dyn Handshake>,
        accept: impl FnOnce(&[String], Option<&str>) -> Result<Socket, Refusal>,
    ) -> Result<Upgraded, Error> {
        if let Some(full) = self.full() {
            return Ok(full);
        }

        let now_ms = self.platform.now_ms();
        let UpgradeOptions { data, id, tags, meta, on_duplicate, resume, protocol } = options;
        let id = id.unwrap_or_else(|| self.random_peer_id(now_ms));
        let ctx = self.context(None);
        let handshake = handshake();
        let protocols = handshake.protocols();
        let mut asked = Asked { data, id, tags, meta, on_duplicate, protocol };
        if R::HAS_ON_UPGRADE {
            // In a box, and with it nothing of it in the wasm of a room that has no such handler.
            let asking: LocalFuture<Result<Asked<R>, Response<Bytes>>> =
                Box::pin(self.clone().ask(asked, handshake, protocols.clone()));
            asked = match asking.await {
                Ok(asked) => asked,
                Err(answer) => return Ok(Upgraded::Answered(answer)),
            };
        }
        let Asked { data, id, tags, meta, on_duplicate, protocol } = asked;
        upgrade::check(Some(&id), &tags)?;
        let protocol = match upgrade::choose_protocol(&protocols, protocol) {
            Ok(protocol) => protocol,
            Err(NoProtocol::Refused(text)) => return Ok(Upgraded::Refused(400, text)),
            Err(NoProtocol::Invalid(error)) => return Err(error),
        };

        // Others may have come while `on_upgrade` waited. From here to the accept nothing waits.
        let place = match &resume {
            Some(token) => self.place_of(&id, token)?,
            None => None,
        };
        let returns = place.is_some();
        let mut replaced = Vec::new();
        let slot = match place {
            Some((Entry { name, id, connected_at, tags, data, .. }, old)) => {
                if let Some(old) = old {
                    // Its place is taken: it goes without being seen off.
                    old.slot.status.set(Status::Gone);
                    replaced.push(old);
                }
                let slot = Slot::new(NO_SOCKET, id, connected_at, data, Status::Connecting, name);
                let _ = slot.tags.set(tags);
                slot
            }
            None => {
                if let Some(full) = self.full() {
                    return Ok(full);
                }
                if on_duplicate != OnDuplicate::Allow {
                    let same = self.platform.open(Some(&id_tag(id.as_str())));
                    replaced.extend(same.into_iter().filter_map(|socket| self.peer(socket)));
                }
                if on_duplicate == OnDuplicate::Reject && !replaced.is_empty() {
                    let message = format!("peer `{id}` is connected already");
                    return Ok(Upgraded::Refused(409, message));
                }
                let name = new_name(self.platform.random());
                let slot = Slot::new(NO_SOCKET, id, now_ms, data, Status::Connecting, name);
                let _ = slot.tags.set(tags);
                // Before there is a socket: what does not fit is refused while that is still possible.
                self.encode_attachment(&slot, &slot.data.borrow())?;
                slot
            }
        };
        let tags = slot.tags.get().into_iter().flatten();
        let marked: Vec<_> = Some(id_tag(slot.id.as_str())).into_iter().chain(tags.map(|tag| user_tag(tag))).collect();
        let socket = accept(&marked, protocol.as_deref()).map_err(|refusal| {
            Error::new(ErrorKind::Platform, format!("the platform refused the socket: {refusal}")).of_peer(&slot.id)
        })?;

        slot.meta.replace(meta);
        let slot = Rc::new(Slot { socket, ..slot });
        self.keep(&slot);
        let peer = Peer { host: self.clone(), slot };
        if R::PURGE_AFTER_MS > 0 {
            self.schedules.cancel_own(self.platform.as_ref(), |what| matches!(what, What::Purge))?;
        }
        if R::RECONNECT_GRACE_MS > 0 && returns {
            // In a box, and with it nothing of it in the wasm of a room in which nobody returns.
            let welcoming: LocalFuture = Box::pin(self.clone().welcome_back(peer, replaced, ctx));
            welcoming.await;
        } else {
            self.let_in(&peer, replaced, &ctx).await;
        }
        Ok(Upgraded::Accepted)
    }

    /// What `on_upgrade` makes of it, or answers.
    async fn ask(
        self: Rc<Self>,
        asked: Asked<R>,
        handshake: Rc<dyn Handshake>,
        protocols: Vec<String>,
    ) -> Result<Asked<R>, Response<Bytes>> {
        let Asked { data, id, tags, meta, on_duplicate, protocol } = asked;
        let head = OnceCell::new();
        let mut request = UpgradeRequest { data, id, tags, on_duplicate, protocol, protocols, meta, handshake, head };
        let ctx = self.context(None);
        if let Err(reject) = self.run(R::on_upgrade(&ctx, &mut request)).await {
            return Err(self.refuse(reject, &request.id, &ctx).await);
        }
        let UpgradeRequest { data, id, tags, on_duplicate, protocol, meta, .. } = request;
        Ok(Asked { data, id, tags, meta, on_duplicate, protocol })
    }

    /// A new peer: `on_connect`, and then the end of those it replaces.
    async fn let_in(self: &Rc<Self>, peer: &Peer<R>, replaced: Vec<Peer<R>>, ctx: &RoomContext<R>) {
        let outcome = {
            let _turn = peer.slot.turn.take().await;
            let outcome = self.run(R::on_connect(ctx, peer)).await;
            peer.slot.meta.take();
            let outcome = outcome.and_then(|()| Ok(self.admit(peer)?));
            if outcome.is_err() {
                self.turn_away(peer);
            }
            outcome
        };
        if let Err(failure) = outcome {
            self.report(Err(failure), "on_connect", Some(peer), ctx).await;
            return;
        }
        self.tell_token(peer);
        for old in replaced {
            self.retire(&old, CloseCode::RESTART, "replaced by a new connection");
        }
    }

    /// A peer that is back in time: it is in its old place before `on_resume` runs.
    async fn welcome_back(self: Rc<Self>, peer: Peer<R>, old: Vec<Peer<R>>, ctx: RoomContext<R>) {
        let (peer, ctx) = (&peer, &ctx);
        let _turn = peer.slot.turn.take().await;
        let taken = self.take_place(&peer.slot.entry).and_then(|()| self.admit(peer));
        if let Err(error) = taken {
            self.turn_away(peer);
            self.report(Err(error.into()), "on_resume", Some(peer), ctx).await;
            return;
        }
        for old in old {
            // One that is closing already changes nothing here.
            let _ = self.platform.close(old.slot.socket, CloseCode::RESTART.get(), "resumed by a new connection");
        }
        self.tell_token(peer);
        let outcome = self.run(R::on_resume(ctx, peer)).await;
        peer.slot.meta.take();
        self.report(outcome, "on_resume", Some(peer), ctx).await;
    }

    fn tell_token(self: &Rc<Self>, peer: &Peer<R>) {
        if R::RECONNECT_GRACE_MS > 0 {
            let frame = wire::resume_frame(&peer.slot.entry);
            self.send(Frame::Text(&frame), Audience::Only(&[peer.slot.socket]));
        }
    }

    async fn refuse(self: &Rc<Self>, reject: Reject, id: &PeerId, ctx: &RoomContext<R>) -> Response<Bytes> {
        match reject.into_response() {
            Ok(response) => response,
            Err(failure) => {
                let error = HandlerError::new("on_upgrade", Some(id.clone()), failure);
                self.report_error(&error, ctx).await;
                crate::heads::text(StatusCode::INTERNAL_SERVER_ERROR, "the room failed")
            }
        }
    }

    fn turn_away(&self, peer: &Peer<R>) {
        peer.slot.status.set(Status::Gone);
        let closed = self.platform.close(peer.slot.socket, 1011, "the room could not let this peer in");
        if let Err(refusal) = closed {
            self.platform.log_error(&format!("room `{}`: closing a refused peer: {refusal}", self.id));
        }
    }

    /// The answer when there is no place for one more.
    fn full(&self) -> Option<Upgraded> {
        let limit = R::LIMITS.max_peers;
        let is_full = self.platform.count_open() >= limit;
        is_full.then(|| Upgraded::Refused(503, format!("the room is full: it takes {limit} peers")))
    }

    fn random_peer_id(&self, now_ms: u64) -> PeerId {
        let [.., a, b, c, d, e, f, g, h, i, j] = self.platform.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid();
        PeerId::from(uuid.to_string())
    }
}
