//! The sockets of a room, and what is known of them: an attachment is decoded when it is first needed, once in a wake.

use std::rc::Rc;

use super::RoomHost;
use crate::{
    CloseCode, Error, ErrorKind, Peer, Room,
    peer::{Slot, Status},
    platform::*,
    upgrade::TAG_MARK,
    wire::{self, Attachment},
};

impl<R: Room> RoomHost<R> {
    /// The peer of a socket, from memory or, once in a wake, from what is kept with the socket.
    pub(crate) fn peer(self: &Rc<Self>, socket: Socket) -> Option<Peer<R>> {
        let known = self.slots.borrow().get(socket as usize).cloned().flatten();
        let slot = match known {
            Some(slot) => slot,
            None => self.restore(socket)?,
        };
        Some(Peer { host: self.clone(), slot })
    }

    fn restore(&self, socket: Socket) -> Option<Rc<Slot<R>>> {
        let restored = match self.platform.attachment(socket) {
            Some(bytes) => wire::decode_value(&bytes, "what is kept with a socket"),
            // It was closed before it was forgotten, and the platform has one more thing to say of it.
            None if !self.platform.is_open(socket) => return None,
            None => Err(Error::new(ErrorKind::PeerGone, "a socket that was never let in")),
        };
        match restored {
            Ok(Attachment(id, connected_at, data, entry)) => {
                let slot = Rc::new(Slot::new(socket, id, connected_at, data, Status::Connected, entry));
                self.keep(&slot);
                Some(slot)
            }
            Err(error) => {
                self.platform.log_error(&error.in_room(&self.id).to_string());
                // It may be closing already; either way it is not a peer.
                let _ = self.platform.close(socket, 1011, "the room lost this connection");
                None
            }
        }
    }

    /// Sends a frame. Who does not read what it is sent is closed: what waits for it would stay in memory, and keep the room
    /// from sleeping.
    pub(crate) fn send(self: &Rc<Self>, frame: Frame<'_>, to: Audience<'_>) -> Sent {
        let sent = self.transmit(frame, to);
        for peer in sent.unread.iter().filter_map(|socket| self.peer(*socket)) {
            self.retire(&peer, CloseCode::TRY_AGAIN, "this connection is not being read");
        }
        sent
    }

    /// Sends it, now or, to those who take several messages in one frame, with what else there is until the room's window
    /// ends.
    pub(super) fn transmit(self: &Rc<Self>, frame: Frame<'_>, to: Audience<'_>) -> Sent {
        let batches = R::BATCH_MS > 0;
        let sent = self.platform.send(frame, to, R::LIMITS.max_unread_bytes, batches);
        if batches && sent.held && !self.releasing.get() {
            self.releasing.set(true);
            let host = self.clone();
            self.platform.spawn(Box::pin(async move {
                Platform::timer(host.platform.clone(), R::BATCH_MS).await;
                host.releasing.set(false);
                host.platform.release();
            }));
        }
        sent
    }

    pub(super) fn keep(&self, slot: &Rc<Slot<R>>) {
        let mut slots = self.slots.borrow_mut();
        let index = slot.socket as usize;
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        if slots[index].replace(slot.clone()).is_none() {
            self.met.set(self.met.get() + 1);
        }
    }

    pub(super) fn forget(&self, socket: Socket) {
        let slot = self.slots.borrow_mut().get_mut(socket as usize).and_then(Option::take);
        if slot.is_some() {
            self.met.set(self.met.get() - 1);
        }
        self.platform.forget(socket);
        // A room that everyone has left costs nothing, however long the object stays in memory. Sockets that nothing was
        // heard of since the room woke have no slot.
        if self.met.get() == 0 && self.platform.open(None).is_empty() {
            self.release_memory();
        }
    }

    /// `on_connect` has succeeded: from here on the peer survives hibernation.
    pub(super) fn admit(&self, peer: &Peer<R>) -> Result<(), Error> {
        let Slot { socket, id, data, status, .. } = &*peer.slot;
        let data = data.borrow();
        let bytes = self.encode_attachment(&peer.slot, &data)?;
        self.enroll(&peer.slot, &data)?;
        self.platform
            .attach(*socket, &bytes)
            .map_err(|refusal| Error::new(ErrorKind::Platform, refusal.0).of_peer(id))?;
        status.set(Status::Connected);
        Ok(())
    }

    pub(crate) fn tags_of(&self, socket: Socket) -> Vec<String> {
        let marked = self.platform.tags(socket);
        marked.iter().filter_map(|tag| tag.strip_prefix(TAG_MARK)).map(str::to_owned).collect()
    }

    pub(crate) fn encode_attachment(&self, peer: &Slot<R>, data: &R::Connection) -> Result<Vec<u8>, Error> {
        let Slot { id, connected_at, entry, .. } = peer;
        let encoded = wire::encode_value(&Attachment(id, *connected_at, data, entry), "the peer's data");
        let checked = encoded.and_then(|bytes| match bytes.len() {
            n if n > SIZES.attachment => Err(Error::new(
                ErrorKind::AttachmentTooLarge,
                format!("the peer's data has {n} bytes with its id, the limit is {}", SIZES.attachment),
            )),
            _ => Ok(bytes),
        });
        checked.map_err(|error| error.in_room(&self.id).of_peer(id))
    }
}
