//! How a peer gets in. In this order: limits, `on_upgrade`, the check for duplicates and the accept with no wait between,
//! `on_connect`, the end of those it replaces.

use std::{cell::OnceCell, rc::Rc};

use bytes::Bytes;
use http::{Response, StatusCode};

use super::RoomHost;
use crate::{
    CloseCode, Error, ErrorKind, HandlerError, OnDuplicate, Peer, PeerId, Room, UpgradeRequest,
    peer::{Slot, Status},
    platform::{Refusal, Socket},
    upgrade::{self, Handshake, id_tag, user_tag},
    wire::UpgradeOptions,
};

/// What became of an upgrade.
#[derive(Debug)]
pub(crate) enum Upgraded {
    /// There is a socket. A peer that `on_connect` refused has one as well, closed with 1011.
    Accepted,
    /// There is none, and this is the answer.
    Refused(Response<Bytes>),
}

impl<R: Room> RoomHost<R> {
    /// The upgrade of the request that carries this ticket. The caller's `accept` makes the socket, given its tags.
    pub(crate) async fn upgrade(
        self: &Rc<Self>,
        ticket: &str,
        handshake: Rc<dyn Handshake>,
        accept: impl FnOnce(&[String]) -> Result<Socket, Refusal>,
    ) -> Result<Upgraded, Error> {
        let options = self.tickets.claim(ticket, self.platform.clone()).await?;
        self.start().await?;
        self.connect(options, handshake, accept).await
    }

    pub(super) async fn connect(
        self: &Rc<Self>,
        options: UpgradeOptions<R::Connection>,
        handshake: Rc<dyn Handshake>,
        accept: impl FnOnce(&[String]) -> Result<Socket, Refusal>,
    ) -> Result<Upgraded, Error> {
        if let Some(full) = self.full() {
            return Ok(Upgraded::Refused(full));
        }

        let connected_at = self.platform.now_ms();
        let UpgradeOptions { data, id, tags, meta, on_duplicate } = options;
        let id = id.unwrap_or_else(|| self.random_peer_id(connected_at));
        let mut request = UpgradeRequest { data, id, tags, on_duplicate, meta, handshake, head: OnceCell::new() };
        let ctx = self.context(None);
        if let Err(reject) = self.run(R::on_upgrade(&ctx, &mut request)).await {
            let response = match reject.into_response() {
                Ok(response) => response,
                Err(failure) => {
                    let error = HandlerError::new("on_upgrade", Some(request.id.clone()), failure);
                    self.report_error(&error, &ctx).await;
                    crate::heads::text(StatusCode::INTERNAL_SERVER_ERROR, "the room failed")
                }
            };
            return Ok(Upgraded::Refused(response));
        }
        let UpgradeRequest { data, id, tags, on_duplicate, meta, .. } = request;
        // Before there is a socket: what does not fit is refused while that is still possible.
        upgrade::check(Some(&id), &tags)?;
        self.encode_attachment(&id, connected_at, &data)?;

        // Others may have come while `on_upgrade` waited. From here to the accept nothing waits.
        if let Some(full) = self.full() {
            return Ok(Upgraded::Refused(full));
        }
        let mut replaced = Vec::new();
        if on_duplicate != OnDuplicate::Allow {
            let same = self.platform.open(Some(&id_tag(id.as_str())));
            replaced.extend(same.into_iter().filter_map(|socket| self.peer(socket)));
        }
        if on_duplicate == OnDuplicate::Reject && !replaced.is_empty() {
            let message = format!("peer `{id}` is connected already");
            return Ok(Upgraded::Refused(crate::heads::text(StatusCode::CONFLICT, message)));
        }
        let mut marked = Vec::with_capacity(tags.len() + 1);
        marked.push(id_tag(id.as_str()));
        marked.extend(tags.iter().map(|tag| user_tag(tag)));
        let socket = accept(&marked).map_err(|refusal| {
            Error::new(ErrorKind::Platform, format!("the platform refused the socket: {refusal}")).of_peer(&id)
        })?;

        let slot = Rc::new(Slot::new(socket, id, connected_at, data, Status::Connecting));
        let _ = slot.tags.set(tags);
        slot.meta.replace(meta);
        self.keep(&slot);
        let peer = Peer { host: self.clone(), slot };
        let outcome = {
            let _turn = peer.slot.turn.take().await;
            let outcome = self.run(R::on_connect(&ctx, &peer)).await;
            peer.slot.meta.take();
            let outcome = outcome.and_then(|()| Ok(self.admit(&peer)?));
            if outcome.is_err() {
                self.turn_away(&peer);
            }
            outcome
        };
        match outcome {
            Ok(()) => {
                for old in replaced {
                    self.retire(&old, CloseCode::RESTART, "replaced by a new connection");
                }
            }
            Err(failure) => self.report(Err(failure), "on_connect", Some(&peer), &ctx).await,
        }
        Ok(Upgraded::Accepted)
    }

    fn turn_away(&self, peer: &Peer<R>) {
        peer.slot.status.set(Status::Gone);
        let closed = self.platform.close(peer.slot.socket, 1011, "the room could not let this peer in");
        if let Err(refusal) = closed {
            self.platform.log_error(&format!("room `{}`: closing a refused peer: {refusal}", self.id));
        }
    }

    /// The answer when there is no place for one more.
    fn full(&self) -> Option<Response<Bytes>> {
        let limit = R::LIMITS.max_peers;
        (self.platform.open(None).len() >= limit).then(|| {
            let message = format!("the room is full: it takes {limit} peers");
            crate::heads::text(StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }

    fn random_peer_id(&self, now_ms: u64) -> PeerId {
        let [.., a, b, c, d, e, f, g, h, i, j] = self.platform.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid();
        PeerId::from(uuid.to_string())
    }
}
