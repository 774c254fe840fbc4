//! Places: a peer that reconnects within the grace takes its place again. `roster` has their entries in storage.

use std::rc::Rc;

use serde_json::value::RawValue;

use super::{
    MAX_QUEUED_FRAMES, RoomHost, Value,
    handlers::unless_refused,
    roster::{Away, Leaving, key, leaving_key, may_return},
    sessions::Known,
    shortened,
    upgrade::{Accept, Asked, NOT_ADMITTED, REPLACED, Upgraded, is_connected},
};
use crate::{
    Close, CloseCode, Error, OnDuplicate, OnResume, PeerId,
    engine::{
        schedules::Job,
        slot::{Slot, Status},
    },
    platform::*,
    wire::{Notice, ResumeOffer, handshake::id_tag, is_ticket, is_v1},
};

/// The part of the engine for rooms with a grace.
#[allow(clippy::type_complexity, reason = "each field has the signature of a method of the engine")]
pub(crate) struct Places {
    has_place: fn(&RoomHost, &str) -> bool,
    place_of: fn(&RoomHost, &PeerId, &str) -> Result<Option<Rc<Slot>>, Error>,
    reconnect: fn(Rc<RoomHost>, Rc<Slot>, Asked, Option<Rc<str>>, Accept) -> LocalFuture<Result<Upgraded, Error>>,
    kept_for: fn(&RoomHost, &PeerId) -> Result<Vec<Rc<Slot>>, Error>,
    count_kept: fn(&RoomHost) -> Result<usize, Error>,
    pub(super) send_away: fn(&RoomHost, &Slot, &Close) -> Result<(), Error>,
    send_resume_token: fn(&Rc<RoomHost>, &Slot),
}

impl Places {
    pub(super) const PART: Places = Places {
        has_place: RoomHost::is_place,
        place_of: RoomHost::find_place,
        reconnect: |host, slot, asked, address, accept| Box::pin(host.reconnect(slot, asked, address, accept)),
        kept_for: RoomHost::find_kept,
        count_kept: RoomHost::count_places,
        send_away: RoomHost::send_away,
        send_resume_token: RoomHost::send_token,
    };
}

impl RoomHost {
    /// Returns whether this token is the name of a place, kept or connected.
    pub(super) fn has_place(&self, token: &str) -> bool {
        self.room.parts.places.as_ref().is_some_and(|places| (places.has_place)(self, token))
    }

    fn is_place(&self, token: &str) -> bool {
        is_ticket(token) && self.platform.get(&key(token)).is_ok_and(|entry| entry.is_some())
    }

    /// Moves a peer to the place that its token names. Without such a place it gives the upgrade back.
    pub(super) async fn try_reconnect(
        self: &Rc<Self>,
        asked: Asked,
        address: &Option<Rc<str>>,
        accept: Accept,
    ) -> Result<Result<Upgraded, (Asked, Accept)>, Error> {
        if let Some(places) = &self.room.parts.places
            && let Some(token) = &asked.resume
            && let Some(slot) = (places.place_of)(self, &asked.id, token)?
        {
            return (places.reconnect)(self.clone(), slot, asked, address.clone(), accept).await.map(Ok);
        }
        Ok(Err((asked, accept)))
    }

    /// The slot of the place to which a peer reconnects with this token.
    ///
    /// The slot still has a socket if the room has not noticed, or not yet handled, the loss of the connection.
    fn find_place(&self, id: &PeerId, token: &str) -> Result<Option<Rc<Slot>>, Error> {
        // The token becomes part of a storage key, so its format is checked first.
        if !is_ticket(token) {
            return Ok(None);
        }
        let departing = self.departing.borrow().get(token).cloned();
        if let Some(slot) = departing {
            return Ok(Some(slot).filter(|slot| may_come_back(slot) && slot.id == *id));
        }
        let sockets = self.platform.open(Some(&id_tag(id.as_str())));
        let mut connected = sockets.into_iter().filter_map(|socket| self.slot_of(socket));
        if let Some(slot) = connected.find(|slot| slot.entry == token) {
            // There is no place until `on_connect` has succeeded.
            let is_there = slot.status.get() == Status::Connected && !slot.is_final.get();
            return Ok(Some(slot).filter(|_| is_there));
        }
        // The socket may be closing while the room has not handled its close yet.
        let closing = self.slots.borrow().iter().flatten().find(|slot| slot.entry == token).cloned();
        if let Some(slot) = closing {
            let is_there = slot.status.get() == Status::Connected && !slot.is_final.get() && slot.id == *id;
            return Ok(Some(slot).filter(|_| is_there));
        }
        let entry = self.entry(token)?.filter(|entry| entry.id == *id);
        let Some(entry) = entry else { return Ok(None) };
        if entry.away.is_none() && self.was_closed(token)? {
            return Ok(None);
        }
        let restored = self.restore_entry(entry);
        // The entry is reported when its grace ends. Until then the peer joins as a new one.
        Ok(restored.map_err(|error| self.log_error(&error.to_string())).ok())
    }

    /// Returns whether the connection that has this place was closed for good: by the room, or by the peer.
    fn was_closed(&self, name: &str) -> Result<bool, Error> {
        let stored = self.platform.get(&leaving_key(name)).map_err(|refusal| self.roster_error("read", &refusal))?;
        let leaving: Option<Leaving> = stored.and_then(|bytes| self.readable(&bytes, "how a connection ended"));
        Ok(leaving.is_some_and(|leaving| leaving.is_final || !may_return(&leaving.close)))
    }

    /// Moves a peer that reconnects to its place.
    async fn reconnect(
        self: Rc<Self>,
        slot: Rc<Slot>,
        asked: Asked,
        address: Option<Rc<str>>,
        accept: Accept,
    ) -> Result<Upgraded, Error> {
        let Asked { data, id, meta, on_duplicate, on_resume, protocol, offer, .. } = asked;
        let mut others = Vec::new();
        if on_duplicate != OnDuplicate::Allow {
            others = self.connected_as(&id);
            others.retain(|other| !Rc::ptr_eq(other, &slot));
        }
        if on_duplicate == OnDuplicate::Reject && !others.is_empty() {
            return Ok(is_connected(&id));
        }
        if on_duplicate == OnDuplicate::Replace {
            others.extend(self.kept_for(&id)?.into_iter().filter(|other| other.entry != slot.entry));
        }
        if slot.turn.queued() >= MAX_QUEUED_FRAMES {
            return Ok(Upgraded::Refused(503, "too many frames of this peer are waiting".to_owned()));
        }
        let data = if on_resume == OnResume::ReplaceData { data } else { slot.data.borrow().clone() };
        // Encoded before there is a socket: data that is too large can still be refused.
        let encoded = self.encode_data(&id, &data)?;
        if !slot.topics.borrow().is_empty() {
            self.encode_attachment(&slot, slot.generation.get().wrapping_add(1), &encoded)?;
        }
        self.begin_in_log(&slot, protocol.as_deref())?;
        let known = match &offer {
            Some(offer) => self.known_session(offer, &slot)?,
            None => Known::No,
        };
        let socket = self.accept(&slot, protocol.as_deref(), accept)?;
        self.continue_session(&slot, is_v1(protocol.as_deref()), offer.as_ref().filter(|_| known != Known::No));
        if self.resume(&slot, socket, address, (data, &encoded), (meta, offer, known)).await {
            for other in others {
                self.force_close(&other, CloseCode::RESTART, REPLACED);
            }
        }
        Ok(Upgraded::Accepted)
    }

    /// Moves the place of a peer that reconnects in time to the new socket.
    ///
    /// The peer keeps its slot, so handlers that hold the peer use the new socket. The queued frames of the old socket
    /// are handled first, then `on_resume` runs, and then the frames of the new socket are handled.
    async fn resume(
        self: &Rc<Self>,
        slot: &Rc<Slot>,
        socket: Socket,
        address: Option<Rc<str>>,
        (data, encoded): (Value, &RawValue),
        (meta, offer, known): (Option<Box<RawValue>>, Option<ResumeOffer>, Known),
    ) -> bool {
        let generation = slot.generation.get().wrapping_add(1);
        // The place is written before memory changes: if the write fails, the old connection keeps the place.
        let earlier = slot.address.replace(address);
        if let Err(error) = self.write_place(slot, socket, generation, encoded) {
            slot.address.replace(earlier);
            self.close_refused(socket, CloseCode::ERROR, NOT_ADMITTED);
            self.report(Err(error.into()), "on_resume", &self.invocation(Some(slot))).await;
            return false;
        }
        self.take_over(slot, socket, generation, data, meta);
        if slot.session.borrow().is_some() {
            self.welcome(slot, offer.as_ref(), known);
        } else {
            self.send_token(slot);
        }
        // A client without an offer does not say what it has received.
        slot.has_gap.set(offer.is_none() || slot.has_gap.get());
        // The turn is queued before any frame of the new socket. It is not awaited here, so that a handler of the old
        // connection that hangs cannot block the reconnect.
        let place = slot.turn.queue();
        let (host, slot) = (self.clone(), slot.clone());
        self.platform.spawn(Box::pin(async move {
            // `on_resume` runs after the answer to the upgrade, so that a panic in it does not lose the connection.
            Platform::timer(host.platform.clone(), 0).await;
            let _turn = slot.turn.come(place).await;
            host.resumed(&slot, generation).await;
        }));
        true
    }

    /// Gives the place to the new socket. Nothing here can fail or wait.
    fn take_over(
        self: &Rc<Self>,
        slot: &Rc<Slot>,
        socket: Socket,
        generation: u32,
        data: Value,
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
        self.return_to_topics(slot);
        self.departing.borrow_mut().remove(&slot.entry);
        self.away.borrow_mut().remove(&slot.entry);
        self.forget_leaving(slot);
        if old != NO_SOCKET {
            self.release_socket(old);
            // The close fails only if the socket is closing already.
            let _ = self.platform.close(old, CloseCode::RESTART.get(), "resumed by a new connection");
            self.platform.detach(old);
        }
        if let Err(error) = self.cancel_grace(&slot.entry) {
            // If the schedule of the grace stays stored, it finds the peer connected and does nothing.
            self.log_error(&error.in_room(&self.id).to_string());
        }
        self.note_joined();
        self.start_watchdog();
        self.plan_silence_check();
    }

    /// Runs `on_resume`, unless the peer has left or reconnected again before its turn came.
    async fn resumed(self: &Rc<Self>, slot: &Rc<Slot>, generation: u32) {
        if slot.generation.get() != generation || slot.status.get() != Status::Connected {
            return;
        }
        self.user_stays(slot, false).await;
        // The peer may have left or reconnected again while `on_join` waited.
        if slot.generation.get() != generation || slot.status.get() != Status::Connected {
            return;
        }
        let call = self.invocation(Some(slot));
        let outcome = self.run("on_resume", call.sender.as_deref(), self.room.code.on_resume(call.clone(), slot)).await;
        slot.meta.take();
        // The peer may have reconnected again while the handler waited. The refusal does not concern that
        // connection.
        if slot.generation.get() == generation
            && let Err(failure) = &outcome
            && let Some(refused) = failure.as_refused()
        {
            self.answer_refusal(failure, slot, 0);
            // The close fails only if the socket is closing already.
            let _ = self.close_peer(slot, CloseCode::POLICY, shortened(refused.close_reason()));
        }
        self.report(unless_refused(outcome), "on_resume", &call).await;
    }

    /// Sends the resume token. It is the first frame of each connection.
    pub(super) fn send_resume_token(self: &Rc<Self>, slot: &Slot) {
        if let Some(places) = &self.room.parts.places {
            (places.send_resume_token)(self, slot);
        }
    }

    fn send_token(self: &Rc<Self>, slot: &Slot) {
        self.send_plain_notice(&Notice::Resume(slot.entry.as_str().into()).into_frame(), slot);
    }

    /// Keeps the place of a lost connection for the grace.
    fn send_away(&self, slot: &Slot, close: &Close) -> Result<(), Error> {
        let now_ms = self.platform.now_ms();
        let data = self.encode_current_data(slot)?;
        self.store_id()?;
        // The schedule is written before the entry: after a crash between them it finds a peer that is not away and
        // does nothing.
        let due_ms = now_ms.saturating_add(self.room.reconnect_grace_ms);
        self.schedules.add(self.platform.as_ref(), Job::Grace(slot.entry.clone()), None, due_ms, None)?;
        self.put_entry(slot, slot.generation.get(), &data, Some(Away { since_ms: now_ms, close: close.clone() }))?;
        slot.ended.replace(Some(close.clone()));
        Ok(())
    }

    /// Ends the grace of a peer: its place is given up.
    pub(super) async fn end_grace(self: &Rc<Self>, name: &str) {
        let departing = self.departing.borrow().get(name).cloned();
        let slot = match departing {
            // The peer's `on_away` is still running.
            Some(slot) => slot,
            None => match self.entry(name) {
                Ok(Some(entry)) if entry.away.is_some() => {
                    let id = entry.id.clone();
                    match self.restore_entry(entry) {
                        Ok(slot) => slot,
                        Err(error) => return self.drop_entry(name, id, error).await,
                    }
                }
                Ok(_) => return,
                Err(error) => return self.log_error(&error.to_string()),
            },
        };
        if slot.status.get() != Status::Away {
            return;
        }
        slot.is_final.set(true);
        self.add_departing(&slot);
        let close = slot.ended.borrow().clone().unwrap_or(Close::LOST);
        let generation = slot.generation.get();
        self.depart(&slot, close, generation).await;
    }

    /// Cancels the end of a grace.
    pub(super) fn cancel_grace(&self, name: &str) -> Result<(), Error> {
        self.schedules.cancel_own(self.platform.as_ref(), |job| matches!(job, Job::Grace(other) if other == name))
    }

    /// The number of places that are kept for disconnected peers. They count for `max_peers`.
    pub(super) fn count_kept(&self) -> Result<usize, Error> {
        self.room.parts.places.as_ref().map_or(Ok(0), |places| (places.count_kept)(self))
    }

    fn count_places(&self) -> Result<usize, Error> {
        let departing = self.departing.borrow();
        // Peers that are away already are counted by their schedules.
        let undecided = |slot: &&Rc<Slot>| slot.status.get() == Status::Connected && may_come_back(slot);
        let kept = self.schedules.graces(self.platform.as_ref()).map_err(|error| error.in_room(&self.id))?;
        Ok(kept + departing.values().filter(undecided).count())
    }

    /// The places that are kept for disconnected peers of this id.
    pub(super) fn kept_for(&self, id: &PeerId) -> Result<Vec<Rc<Slot>>, Error> {
        self.room.parts.places.as_ref().map_or(Ok(Vec::new()), |places| (places.kept_for)(self, id))
    }

    fn find_kept(&self, id: &PeerId) -> Result<Vec<Rc<Slot>>, Error> {
        let mut kept: Vec<_> = self.departing.borrow().values().filter(|slot| slot.id == *id).cloned().collect();
        for name in self.schedules.grace_names(self.platform.as_ref())? {
            if kept.iter().all(|slot| slot.entry != name)
                && let Some(entry) = self.entry(&name)?.filter(|entry| entry.id == *id && entry.away.is_some())
            {
                match self.restore_entry(entry) {
                    Ok(slot) => kept.push(slot),
                    Err(error) => self.log_error(&error.to_string()),
                }
            }
        }
        Ok(kept)
    }
}

/// Returns whether a peer whose connection has ended may reconnect to its place.
pub(super) fn may_come_back(slot: &Slot) -> bool {
    let is_there = matches!(slot.status.get(), Status::Connected | Status::Away) && !slot.is_final.get();
    is_there && slot.ended.borrow().as_ref().is_some_and(may_return)
}
