//! The sockets of a room and their attachments. An attachment is decoded at its first use, once in an incarnation.

use std::rc::Rc;

use serde_json::value::RawValue;

use super::{RoomHost, Value};
use crate::{
    CloseCode, Error, ErrorKind, PeerId,
    engine::{
        slot::{Slot, Status},
        topics,
    },
    platform::*,
    types::limits::{MAX_ATTACHMENT_BYTES, MAX_DATA_BYTES},
    wire::{self, Attachment, handshake::TAG_MARK},
};

impl RoomHost {
    /// The peer of a socket: from memory, or, at the first use in an incarnation, from the attachment.
    pub(crate) fn slot_of(&self, socket: Socket) -> Option<Rc<Slot>> {
        let known = self.slots.borrow().get(socket as usize).cloned().flatten();
        known.or_else(|| self.restore(socket))
    }

    fn restore(&self, socket: Socket) -> Option<Rc<Slot>> {
        let attachment = self.platform.attachment(socket);
        // The platform may deliver an event of a socket that the room has detached.
        if attachment.is_none() && !self.platform.is_open(socket) {
            return None;
        }
        let restored = match &attachment {
            Some(bytes) => self.decode_attachment(socket, bytes),
            None => Err(Error::new(ErrorKind::PeerGone, "a socket that was never admitted")),
        };
        match restored {
            Ok(slot) => {
                let slot = Rc::new(slot);
                slot.is_closing.set(!self.platform.is_open(socket));
                self.keep(socket, &slot);
                Some(slot)
            }
            Err(error) => {
                self.log_error(&error.in_room(&self.id).to_string());
                // The close fails only if the socket is closing already. Without an attachment the socket is ignored
                // from now on.
                let _ = self.platform.close(socket, 1011, "the room lost this connection");
                self.platform.detach(socket);
                None
            }
        }
    }

    fn decode_attachment(&self, socket: Socket, bytes: &[u8]) -> Result<Slot, Error> {
        const WHAT: &str = "the attachment of a socket";
        let attachment = wire::decode_value::<Attachment<PeerId, Box<RawValue>, String>>(bytes, WHAT)?;
        let Attachment(id, connected_at, data, mut entry, generation, address) = attachment;
        let (token, begun, topics) = topics::split_off(&mut entry);
        let data = self.room.code.decode_data(data.get()).map_err(|error| wire::decode_failed(WHAT, error))?;
        let slot = Slot::new(socket, id, connected_at, data, Status::Connected, entry, generation);
        slot.begun.set(begun);
        slot.topics.replace(topics);
        slot.session.replace(self.session_of(socket, token, &slot.entry));
        slot.address.replace(address.map(Rc::from));
        Ok(slot)
    }

    /// Sends a frame and closes slow consumers, whose unsent frames would fill the memory and block hibernation.
    pub(crate) fn send(self: &Rc<Self>, frame: Frame<'_>, to: Audience<'_>) -> Sent {
        let sent = self.transmit(frame, to);
        for slot in sent.unread.iter().filter_map(|socket| self.slot_of(*socket)) {
            const REASON: &str = "this connection is not being read";
            self.note_cut_off(&slot, CloseCode::TRY_AGAIN, REASON);
            self.force_close(&slot, CloseCode::TRY_AGAIN, REASON);
        }
        if self.has_replay() {
            // A later message must not cover the one that was not taken. The client resumes, and gets both.
            for slot in sent.failed.iter().filter_map(|socket| self.slot_of(*socket)) {
                self.cut_off(&slot, CloseCode::ERROR, "a message could not be sent");
            }
        }
        sent
    }

    pub(crate) fn has_replay(&self) -> bool {
        self.room.parts.replay.is_some()
    }

    /// Returns whether a message to this peer is kept until it resumes, if its connection is lost.
    pub(crate) fn keeps_messages(&self, slot: &Slot) -> bool {
        self.room.parts.replay.as_ref().is_some_and(|replay| (replay.keeps)(slot))
    }

    /// Sends a frame without closing slow consumers.
    ///
    /// For clients that accept several messages in one frame, the frame is held until the room's batch window ends.
    pub(super) fn transmit(self: &Rc<Self>, frame: Frame<'_>, to: Audience<'_>) -> Sent {
        let batches = self.room.batch_ms > 0;
        let bytes = frame.len();
        let sent = self.platform.send(frame, to, self.room.limits.max_unread_bytes, batches);
        self.counters.sent(sent.sent, bytes);
        if batches && sent.held {
            self.end_batch_later();
        }
        sent
    }

    /// Sends the messages and controls that wait for a batch at the end of the batch window.
    pub(super) fn end_batch_later(self: &Rc<Self>) {
        if self.releasing.replace(true) {
            return;
        }
        let host = self.clone();
        self.platform.spawn(Box::pin(async move {
            Platform::timer(host.platform.clone(), host.room.batch_ms).await;
            host.releasing.set(false);
            host.platform.release();
        }));
    }

    pub(super) fn keep(&self, socket: Socket, slot: &Rc<Slot>) {
        let mut slots = self.slots.borrow_mut();
        let index = socket as usize;
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        if slots.get_mut(index).is_some_and(|place| place.replace(slot.clone()).is_none()) {
            self.known_sockets.set(self.known_sockets.get() + 1);
        }
    }

    /// Removes the slot of a socket that no longer belongs to a peer.
    pub(super) fn release_socket(&self, socket: Socket) {
        let slot = self.slots.borrow_mut().get_mut(socket as usize).and_then(Option::take);
        if let Some(slot) = slot {
            self.known_sockets.set(self.known_sockets.get() - 1);
            if slot.socket.get() == socket {
                if Rc::strong_count(&slot) > 1 {
                    // A handler that holds the peer may read its tags later.
                    slot.tags.get_or_init(|| self.tags_of(socket));
                }
                slot.socket.set(NO_SOCKET);
            }
        }
    }

    pub(super) fn forget(&self, socket: Socket) {
        self.release_socket(socket);
        self.platform.forget(socket);
        self.release_memory_if_empty();
    }

    pub(super) fn release_memory_if_empty(&self) {
        // An empty room drops its caches, so that it costs little memory while the object stays loaded. A socket
        // without any event in this incarnation has no slot, so the platform is asked too.
        if self.known_sockets.get() == 0 && self.platform.open(None).is_empty() {
            self.release_memory();
        }
    }

    /// Admits a peer after the success of `on_connect`. From here on it survives hibernation.
    pub(super) fn admit(&self, slot: &Slot) -> Result<(), Error> {
        let data = self.encode_current_data(slot)?;
        self.write_place(slot, slot.socket.get(), slot.generation.get(), &data)?;
        if let Err(error) = self.user_enters(slot) {
            self.log_roster_error(self.strike(&slot.entry));
            return Err(error.of_peer(&slot.id));
        }
        slot.is_enrolled.set(true);
        slot.status.set(Status::Connected);
        self.note_joined();
        self.start_watchdog();
        self.plan_silence_check();
        Ok(())
    }

    /// Writes into the socket's attachment and into the roster that the socket has the peer's place.
    pub(super) fn write_place(
        &self,
        slot: &Slot,
        socket: Socket,
        generation: u32,
        data: &RawValue,
    ) -> Result<(), Error> {
        self.attach(slot, socket, generation, data)?;
        self.enroll(slot, generation, data).map_err(|error| error.of_peer(&slot.id))
    }

    /// Replaces the stored data of a connected peer. The replacement is atomic.
    pub(crate) fn store_data(&self, slot: &Slot, data: &RawValue) -> Result<(), Error> {
        let (socket, generation) = (slot.socket.get(), slot.generation.get());
        self.attach(slot, socket, generation, data)?;
        self.enroll(slot, generation, data).map_err(|error| {
            let before = self.encode_current_data(slot);
            let restored = before.and_then(|before| self.attach(slot, socket, generation, &before));
            if let Err(error) = restored {
                self.log_error(&error.to_string());
            }
            error.of_peer(&slot.id)
        })
    }

    pub(super) fn attach(&self, slot: &Slot, socket: Socket, generation: u32, data: &RawValue) -> Result<(), Error> {
        let bytes = self.encode_attachment(slot, generation, data)?;
        let attached = self.platform.attach(socket, &bytes);
        attached
            .map_err(|refusal| Error::new(ErrorKind::AttachmentTooLarge, refusal.0).in_room(&self.id).of_peer(&slot.id))
    }

    /// Encodes the attachment of a peer's socket and checks its size.
    pub(crate) fn encode_attachment(&self, slot: &Slot, generation: u32, data: &RawValue) -> Result<Vec<u8>, Error> {
        let session = slot.session.borrow();
        let token = session.as_ref().map(|session| &*session.token);
        let entry = topics::join(&slot.entry, token, slot.begun.get(), &slot.topics.borrow());
        let address = slot.address.borrow();
        let attachment = Attachment(&slot.id, slot.connected_at, data, &*entry, generation, address.as_deref());
        let encoded = wire::encode_value(&attachment, "the peer's data").and_then(|bytes| match bytes.len() {
            n if n > MAX_ATTACHMENT_BYTES => Err(Error::new(
                ErrorKind::AttachmentTooLarge,
                format!("the peer's id, data and topics have {n} bytes as JSON, the limit is {MAX_ATTACHMENT_BYTES}"),
            )),
            _ => Ok(bytes),
        });
        encoded.map_err(|error| error.in_room(&self.id).of_peer(&slot.id))
    }

    pub(crate) fn tags_of(&self, socket: Socket) -> Vec<String> {
        let marked = self.platform.tags(socket);
        marked.iter().filter_map(|tag| tag.strip_prefix(TAG_MARK)).map(str::to_owned).collect()
    }

    /// Encodes a peer's data as of now. The serialization is code of the room, so nothing is borrowed meanwhile.
    pub(super) fn encode_current_data(&self, slot: &Slot) -> Result<Box<RawValue>, Error> {
        let data = slot.data.borrow().clone();
        self.encode_data(&slot.id, &data)
    }

    /// Checks a peer's data by the rules of the room.
    pub(crate) fn check_data(&self, id: &PeerId, data: &Value) -> Result<(), Error> {
        let Some(check) = self.room.check_data else { return Ok(()) };
        check(&**data).map_err(|invalid| invalid.into_error().in_room(&self.id).of_peer(id))
    }

    /// Encodes a peer's data for storage and checks its size.
    pub(crate) fn encode_data(&self, id: &PeerId, data: &Value) -> Result<Box<RawValue>, Error> {
        let encoded = self.room.code.encode_data(&**data);
        let checked = encoded.and_then(|data| match data.get().len() {
            n if n > MAX_DATA_BYTES => Err(Error::new(
                ErrorKind::AttachmentTooLarge,
                format!("the peer's data has {n} bytes as JSON, the limit is {MAX_DATA_BYTES}"),
            )),
            _ => Ok(data),
        });
        checked.map_err(|error| error.in_room(&self.id).of_peer(id))
    }
}
