//! Admits peers. The steps are: the limit of peers, the rules for the peer's data, `on_upgrade`, the rules again, the
//! subprotocol, the limit again, the check for duplicates, the accept, `on_connect`, and the close of the replaced peers.
//!
//! Nothing waits between the subprotocol and the accept. For a peer that reconnects, `reconnect` replaces the steps
//! after the subprotocol.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::{
    RoomHost, Value,
    handlers::{HandlerFailure, unless_refused},
    shortened,
};
use crate::{
    CloseCode, Error, ErrorKind, Failure, HandlerError, OnDuplicate, OnResume, PeerId,
    engine::{
        purge::is_own_purge,
        sessions::{Known, Resumed},
        slot::{Slot, Status},
    },
    platform::*,
    types::{error::Refused, upgrade::check_upgrade},
    wire::{
        self, ResumeOffer, UpgradeOptions,
        handshake::{Handshake, NoProtocol, choose_protocol, id_tag, speaks_message_pack, user_tag},
        is_v1,
    },
};

/// The close reason of a peer whose `on_connect` failed.
pub(super) const NOT_ADMITTED: &str = "the room could not let this peer in";

pub(super) const REPLACED: &str = "replaced by a new connection";

/// Makes the socket of an upgrade. It gets the socket's tags and the outcome of the handshake.
pub(crate) type Accept = Box<dyn FnOnce(&[String], &Handshaken<'_>) -> Result<Socket, PlatformError>>;

/// The outcome of a handshake.
pub(crate) struct Handshaken<'a> {
    /// The subprotocol of the answer.
    pub(crate) protocol: Option<&'a str>,
    /// True if the client speaks `room.v1`.
    pub(crate) is_v1: bool,
    /// True if the client speaks MessagePack.
    pub(crate) is_packed: bool,
}

/// The part of the engine for rooms with `on_upgrade`.
pub(crate) type Asking =
    fn(Rc<RoomHost>, Asked, Rc<dyn Handshake>, Vec<String>) -> LocalFuture<Result<Asked, Response<Bytes>>>;

/// The outcome of an upgrade.
#[derive(Debug)]
pub(crate) enum Upgraded {
    /// The socket was accepted. This includes a peer whose `on_connect` failed; its socket is closed again.
    Accepted,
    /// The engine refused the upgrade with this status and text.
    Refused(u16, String),
    /// `on_upgrade` answered with this response.
    Answered(Response<Bytes>),
}

/// An upgrade that `on_upgrade` may still change.
pub(crate) struct Asked {
    pub(crate) data: Value,
    pub(crate) id: PeerId,
    pub(crate) tags: Vec<String>,
    pub(crate) meta: Option<Box<RawValue>>,
    pub(crate) on_duplicate: OnDuplicate,
    pub(crate) resume: Option<String>,
    pub(crate) on_resume: OnResume,
    pub(crate) protocol: Option<String>,
    /// The session that a client of `room.v1` offers to resume.
    pub(crate) offer: Option<ResumeOffer>,
}

/// An upgrade for `on_upgrade`.
pub(crate) struct Offer {
    pub(crate) asked: Asked,
    pub(crate) handshake: Rc<dyn Handshake>,
    pub(crate) protocols: Vec<String>,
    /// The peer's id as the handler left it, also if the handler was ended.
    pub(crate) id: Rc<RefCell<Option<PeerId>>>,
}

/// The answer of an `on_upgrade` that does not admit the client.
pub(crate) enum Rejection {
    Response(Response<Bytes>),
    /// A rejection with an invalid status or header, or an error of `on_upgrade`.
    Failure(Failure),
}

impl Rejection {
    pub(crate) fn into_response(self) -> Result<Response<Bytes>, Failure> {
        match self {
            Rejection::Response(response) if (300..=599).contains(&response.status().as_u16()) => Ok(response),
            Rejection::Response(response) => Err(invalid_status(response.status().as_u16()).into()),
            Rejection::Failure(failure) => Err(failure),
        }
    }
}

pub(crate) fn invalid_status(status: u16) -> Error {
    Error::new(ErrorKind::Encode, format!("an upgrade cannot be refused with {status}, only with 300 to 599"))
}

impl HandlerFailure for Rejection {
    fn of(error: Error) -> Self {
        Rejection::Failure(error.into())
    }

    fn is_refusal(&self) -> bool {
        match self {
            Rejection::Response(_) => true,
            Rejection::Failure(failure) => failure.is_refusal(),
        }
    }

    fn is_purge(&self) -> bool {
        matches!(self, Rejection::Failure(failure) if failure.is_purge())
    }
}

impl RoomHost {
    /// Admits the peer of the request that carries this ticket.
    pub(crate) async fn upgrade(
        self: &Rc<Self>,
        ticket: &str,
        handshake: Rc<dyn Handshake>,
        accept: Accept,
    ) -> Result<Upgraded, Error> {
        let options = self.tickets.claim(ticket, self.platform.clone()).await?;
        self.start(false).await?;
        self.connect(options, handshake, accept).await
    }

    pub(crate) async fn connect(
        self: &Rc<Self>,
        options: UpgradeOptions<Value>,
        handshake: Rc<dyn Handshake>,
        accept: Accept,
    ) -> Result<Upgraded, Error> {
        let outcome = self.try_connect(options, handshake, accept).await;
        match &outcome {
            Ok(Upgraded::Refused(..) | Upgraded::Answered(_)) => self.note_refused(None, ErrorKind::Refused),
            Ok(_) => {}
            Err(error) => self.note_refused(None, error.kind()),
        }
        outcome
    }

    async fn try_connect(
        self: &Rc<Self>,
        options: UpgradeOptions<Value>,
        handshake: Rc<dyn Handshake>,
        accept: Accept,
    ) -> Result<Upgraded, Error> {
        self.renew_silence_check();
        let UpgradeOptions { data, id, tags, meta, on_duplicate, resume, on_resume, protocol } = options;
        let mut protocols = handshake.protocols();
        let offer = wire::take_resume_offer(&mut protocols);
        let (known_id, place) = self.offered(offer.as_ref()).unzip();
        // The Worker's own token comes first: it may be for another place.
        let resume = resume.or(place);
        // A peer that reconnects already has a place.
        if !resume.as_deref().is_some_and(|token| self.has_place(token))
            && let Some(full) = self.full()?
        {
            return Ok(full);
        }

        let id = id.or(known_id).unwrap_or_else(|| self.random_peer_id(self.platform.now_ms()));
        // A handler sees valid data only. Stored data is not checked: it was valid by the rules of its time.
        self.check_data(&id, &data)?;
        let address = self.address_of(&*handshake);
        let mut asked = Asked { data, id, tags, meta, on_duplicate, resume, on_resume, protocol, offer };
        if let Some(ask) = self.room.parts.asking {
            asked = match ask(self.clone(), asked, handshake, protocols.clone()).await {
                Ok(asked) => asked,
                Err(answer) => return Ok(Upgraded::Answered(answer)),
            };
            self.check_data(&asked.id, &asked.data).map_err(Error::by_the_room)?;
        }
        check_upgrade(Some(&asked.id), &asked.tags)?;
        asked.protocol = match choose_protocol(&protocols, asked.protocol.take(), self.room.codecs) {
            Ok(protocol) => protocol,
            Err(NoProtocol::Refused(text)) => return Ok(Upgraded::Refused(400, text)),
            Err(NoProtocol::Invalid(error)) => return Err(error),
        };
        // A client that speaks another protocol has no session.
        asked.offer = asked.offer.filter(|_| is_v1(asked.protocol.as_deref()));

        // Other peers may have joined while `on_upgrade` waited. Nothing waits from here to the accept.
        match self.try_reconnect(asked, &address, accept).await? {
            Ok(upgraded) => Ok(upgraded),
            Err((asked, accept)) => self.join(asked, address, accept).await,
        }
    }

    /// The peers with this id whose connection is open.
    pub(super) fn connected_as(&self, id: &PeerId) -> Vec<Rc<Slot>> {
        let sockets = self.platform.open(Some(&id_tag(id.as_str())));
        sockets.into_iter().filter_map(|socket| self.slot_of(socket)).collect()
    }

    /// Lets a new peer join.
    async fn join(self: &Rc<Self>, asked: Asked, address: Option<Rc<str>>, accept: Accept) -> Result<Upgraded, Error> {
        let Asked { data, id, tags, meta, on_duplicate, protocol, offer, .. } = asked;
        if let Some(full) = self.full()? {
            return Ok(full);
        }
        let replaced = if on_duplicate == OnDuplicate::Allow { Vec::new() } else { self.connected_as(&id) };
        if on_duplicate == OnDuplicate::Reject && !replaced.is_empty() {
            return Ok(is_connected(&id));
        }
        // The kept places are recorded by name now, so that a place that is kept later is not replaced.
        let mut kept = Vec::new();
        if on_duplicate == OnDuplicate::Replace {
            kept.extend(self.kept_for(&id)?.into_iter().map(|slot| slot.entry.clone()));
        }
        let resumed = match &offer {
            Some(offer) => self.resume_session(offer, &id)?,
            None => None,
        };
        let name = if is_v1(protocol.as_deref()) { self.new_token() } else { self.secret(0) };
        // The data is encoded before the accept, because data that is too large can only be refused before it.
        self.encode_data(&id, &data)?;
        let slot = Slot::new(NO_SOCKET, id, self.platform.now_ms(), data, Status::Connecting, name, 0);
        let _ = slot.tags.set(tags);
        slot.meta.replace(meta);
        slot.address.replace(address);
        self.begin_in_log(&slot, protocol.as_deref())?;
        let is_resumed = resumed.is_some();
        let (session, old) = resumed.map(|Resumed { session, old }| (session, old)).unzip();
        if is_v1(protocol.as_deref()) {
            slot.session.replace(Some(session.flatten().unwrap_or_else(|| self.session(slot.entry.clone()))));
        }
        let socket = self.accept(&slot, protocol.as_deref(), accept)?;
        slot.socket.set(socket);
        let slot = Rc::new(slot);
        self.keep(socket, &slot);
        if let Some(old) = old.flatten() {
            self.close_resumed(&old);
        }
        if is_resumed && let Some(session) = &*slot.session.borrow() {
            self.move_session(&slot, session);
        }
        self.greet(&slot, offer.as_ref(), if is_resumed { Known::Elsewhere } else { Known::No });
        self.let_in(&slot, replaced, kept).await;
        Ok(Upgraded::Accepted)
    }

    /// Gives the place of a client of `room.v1` its position in the log of the room.
    pub(super) fn begin_in_log(&self, slot: &Slot, protocol: Option<&str>) -> Result<(), Error> {
        if let Some(replay) = &self.room.parts.replay
            && is_v1(protocol)
            && slot.begun.get() == 0
        {
            slot.begun.set((replay.begin)(self)?);
        }
        Ok(())
    }

    /// Makes the socket of a peer.
    pub(super) fn accept(&self, slot: &Slot, protocol: Option<&str>, accept: Accept) -> Result<Socket, Error> {
        let tags = slot.tags.get_or_init(|| self.tags_of(slot.socket.get())).iter().map(|tag| user_tag(tag));
        let marked: Vec<_> = Some(id_tag(slot.id.as_str())).into_iter().chain(tags).collect();
        let is_packed = speaks_message_pack(protocol, self.room.codecs);
        let handshaken = Handshaken { protocol, is_v1: is_v1(protocol), is_packed };
        accept(&marked, &handshaken).map_err(|refusal| {
            Error::new(ErrorKind::Platform, format!("the platform refused the socket: {refusal}")).of_peer(&slot.id)
        })
    }

    /// Runs `on_upgrade`. Returns the changed upgrade, or the response of the handler.
    pub(super) fn ask(
        self: Rc<Self>,
        asked: Asked,
        handshake: Rc<dyn Handshake>,
        protocols: Vec<String>,
    ) -> LocalFuture<Result<Asked, Response<Bytes>>> {
        Box::pin(async move {
            let life = self.life.get();
            let offer = Offer { asked, handshake, protocols, id: Rc::default() };
            let id = offer.id.clone();
            let handling = self.room.code.on_upgrade(self.invocation(None), offer);
            match self.run("on_upgrade", None, handling).await {
                Ok(asked) => Ok(asked),
                Err(rejection) => Err(self.refuse(rejection, id.take(), life).await),
            }
        })
    }

    /// Sends the first frame of a connection, before any frame of a handler: the welcome, or a resume token.
    fn greet(self: &Rc<Self>, slot: &Slot, offer: Option<&ResumeOffer>, known: Known) {
        if slot.session.borrow().is_some() {
            self.welcome(slot, offer, known);
        } else {
            self.send_resume_token(slot);
        }
    }

    /// Runs `on_connect` for a new peer, and then closes the peers that it replaces.
    async fn let_in(self: &Rc<Self>, slot: &Rc<Slot>, replaced: Vec<Rc<Slot>>, kept: Vec<String>) {
        let call = self.invocation(Some(slot));
        let visit = self.user_connects(&slot.id);
        let turn = slot.turn.take().await;
        let outcome =
            self.run("on_connect", call.sender.as_deref(), self.room.code.on_connect(call.clone(), slot)).await;
        slot.meta.take();
        let outcome = outcome.and_then(|()| Ok(self.admit(slot)?));
        if let Err(failure) = &outcome {
            self.turn_away(slot, failure);
            drop(turn);
            self.report(unless_refused(outcome), "on_connect", &call).await;
            self.user_refused(visit);
            return;
        }
        // A peer that `on_connect` itself has closed replaces no other peer.
        if !slot.is_closing.get() {
            self.replace(slot, replaced, kept);
        }
        if let Some(visit) = visit {
            self.user_connected(slot, visit, || turn.pass_on());
        }
    }

    /// Closes the peers that a new peer replaces.
    fn replace(self: &Rc<Self>, slot: &Slot, replaced: Vec<Rc<Slot>>, kept: Vec<String>) {
        for old in replaced {
            self.force_close(&old, CloseCode::RESTART, REPLACED);
        }
        if !kept.is_empty() {
            match self.kept_for(&slot.id) {
                Ok(places) => places
                    .into_iter()
                    .filter(|old| kept.contains(&old.entry))
                    .for_each(|old| self.force_close(&old, CloseCode::RESTART, REPLACED)),
                Err(error) => self.log_error(&error.in_room(&self.id).to_string()),
            }
        }
    }

    async fn refuse(self: &Rc<Self>, rejection: Rejection, id: Option<PeerId>, life: u64) -> Response<Bytes> {
        match rejection.into_response() {
            Ok(response) => response,
            // The handler purged the room.
            Err(failure) if is_own_purge(&failure) || self.life.get() != life => {
                wire::http_codec::text(StatusCode::GONE, "the room was purged")
            }
            Err(failure) if failure.as_refused().is_some() => {
                failure.as_refused().map_or_else(Response::default, Refused::response)
            }
            Err(failure) => {
                let error = HandlerError::new("on_upgrade", id, failure);
                self.report_error(error, &self.invocation(None)).await;
                wire::http_codec::text(StatusCode::INTERNAL_SERVER_ERROR, "the room failed")
            }
        }
    }

    fn turn_away(self: &Rc<Self>, slot: &Slot, failure: &Failure) {
        let (code, reason) = match failure.as_refused() {
            Some(refused) => (CloseCode::POLICY, shortened(refused.close_reason())),
            None => (CloseCode::ERROR, NOT_ADMITTED),
        };
        self.answer_refusal(failure, slot, 0);
        slot.status.set(Status::Gone);
        self.leave_topics(slot);
        self.close_refused(slot.socket.get(), code, reason);
    }

    /// Closes an accepted socket that did not become a peer's.
    pub(super) fn close_refused(&self, socket: Socket, code: CloseCode, reason: &str) {
        let closed = self.platform.close(socket, code.get(), reason);
        if let Err(refusal) = closed {
            self.log_error(&format!("room `{}`: closing a refused peer: {refusal}", self.id));
        }
        self.platform.detach(socket);
        // The slot is released now, because the client may never answer the close.
        self.release_socket(socket);
    }

    /// The refusal of an upgrade if the room has `max_peers` peers.
    fn full(&self) -> Result<Option<Upgraded>, Error> {
        let limit = self.room.limits.max_peers;
        let is_full = self.platform.count_open() + self.count_kept()? >= limit;
        Ok(is_full.then(|| Upgraded::Refused(503, format!("the room is full: it takes {limit} peers"))))
    }

    fn random_peer_id(&self, now_ms: u64) -> PeerId {
        let [.., a, b, c, d, e, f, g, h, i, j] = self.platform.random();
        let uuid = uuid::Builder::from_unix_timestamp_millis(now_ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid();
        PeerId::from(uuid.to_string())
    }
}

pub(super) fn is_connected(id: &PeerId) -> Upgraded {
    Upgraded::Refused(409, format!("peer `{id}` is connected already"))
}
