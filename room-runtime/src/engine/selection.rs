//! [`Selection`]: a choice of a room's connected peers.

use std::{mem, rc::Rc};

use super::{RoomHost, Slot};
use crate::{CloseCode, Delivery, Error, engine::topics::InTopics, platform::*};

/// A choice of the connected peers. The criteria intersect.
#[derive(Default)]
pub(crate) struct Selection {
    /// The tags that a peer must all have, in the form that the platform stores.
    pub(crate) all: Vec<String>,
    /// Groups of tags: a peer must have at least one tag of each group.
    pub(crate) any: Vec<Vec<String>>,
    pub(crate) only: Option<Vec<Rc<Slot>>>,
    pub(crate) except: Vec<Rc<Slot>>,
    /// The topics that a peer must all be subscribed to.
    pub(crate) topics: Option<InTopics>,
}

impl Selection {
    /// Restricts the selection to these peers.
    pub(crate) fn restrict(&mut self, mut slots: Vec<Rc<Slot>>) {
        if let Some(before) = self.only.take() {
            slots.retain(|slot| before.iter().any(|other| Rc::ptr_eq(slot, other)));
        }
        self.only = Some(slots);
    }

    /// The selection in a form that the platform can iterate over: all sockets, or all with one tag. `None` for any
    /// other selection.
    fn audience_tag(&self) -> Option<Option<&str>> {
        let simple = self.any.is_empty() && self.only.is_none();
        match (simple, &*self.all) {
            (true, []) => Some(None),
            (true, [tag]) => Some(Some(tag)),
            _ => None,
        }
    }

    pub(super) fn excepted(&self) -> Vec<Socket> {
        let here = self.except.iter().filter(|slot| slot.has_socket());
        here.map(|slot| slot.socket.get()).collect()
    }

    /// The sockets of the selected peers.
    ///
    /// # Errors
    /// The errors of finding the subscribers of a topic. Without topics there is none.
    pub(crate) fn sockets(&self, host: &RoomHost) -> Result<Vec<Socket>, Error> {
        let platform = &host.platform;
        if let Some(topics) = &self.topics {
            let mut sockets = topics.sockets(self, host)?;
            sockets.retain(|socket| platform.is_open(*socket));
            return Ok(sockets);
        }
        let mut sockets = match &self.only {
            Some(slots) => {
                let here = slots.iter().filter(|slot| slot.has_socket()).map(|slot| slot.socket.get());
                let mut sockets: Vec<_> = here.filter(|socket| platform.is_open(*socket)).collect();
                // A socket can be given several times and must be selected once. Its index is an index of a dense
                // table.
                let mut seen = vec![false; sockets.iter().max().map_or(0, |most| *most as usize + 1)];
                sockets.retain(|socket| seen.get_mut(*socket as usize).is_some_and(|seen| !mem::replace(seen, true)));
                sockets
            }
            None => platform.open(self.all.first().map(String::as_str)),
        };
        let from = if self.only.is_some() { 0 } else { 1 };
        for tag in self.all.iter().skip(from) {
            let tagged = platform.open(Some(tag));
            sockets.retain(|socket| tagged.contains(socket));
        }
        for group in &self.any {
            let tagged: Vec<_> = group.iter().flat_map(|tag| platform.open(Some(tag))).collect();
            sockets.retain(|socket| tagged.contains(socket));
        }
        let except = self.excepted();
        sockets.retain(|socket| !except.contains(socket));
        Ok(sockets)
    }
}

impl RoomHost {
    /// Calls `send` with the audience of the selected peers.
    pub(crate) fn to_selected<T>(
        &self,
        selection: &Selection,
        send: impl FnOnce(Audience<'_>) -> T,
    ) -> Result<T, Error> {
        Ok(match (&selection.topics, selection.audience_tag()) {
            // The platform skips closed sockets itself.
            (Some(topics), _) => send(Audience::Only(&topics.sockets(selection, self)?)),
            (None, Some(tag)) => send(Audience::All { tag, except: &selection.excepted() }),
            (None, None) => send(Audience::Only(&selection.sockets(self)?)),
        })
    }

    /// Returns the selected sockets, or none after an error, which it logs.
    pub(crate) fn or_none(&self, sockets: Result<Vec<Socket>, Error>) -> Vec<Socket> {
        sockets.unwrap_or_else(|error| {
            self.log_error(&format!("{error}: nobody is selected"));
            Vec::new()
        })
    }

    /// Closes the connections of these sockets. Returns their number.
    pub(crate) fn close_sockets(&self, sockets: Vec<Socket>, code: CloseCode, reason: &str) -> usize {
        let slots = sockets.into_iter().filter_map(|socket| self.slot_of(socket));
        slots.filter(|slot| self.close_peer(slot, code, reason).is_ok()).count()
    }

    pub(crate) fn delivery(&self, Sent { sent, failed, unread, .. }: Sent) -> Delivery {
        let ids = |sockets: Vec<Socket>| {
            sockets.into_iter().filter_map(|socket| Some(self.slot_of(socket)?.id.clone())).collect()
        };
        Delivery { sent, failed: ids(failed), unread: ids(unread) }
    }
}
