//! [`Peer`], one connected socket, and [`Peers`], a selection of peers.

use std::{fmt, marker::PhantomData, rc::Rc};

use serde::de::DeserializeOwned;

use super::typed::typed;
use crate::{
    CloseCode, Delivery, Error, ErrorKind, PeerId, Room, RoomContext,
    api::upgrade::decode_meta,
    engine::{
        RoomHost, Value,
        replay::Whom,
        selection::Selection,
        slot::{Slot, Status},
    },
    platform::*,
    types::{close::check_reason, limits::MAX_DATA_BYTES, topic::MAX_TOPIC_BYTES},
    wire::handshake::{id_tag, user_tag},
};

/// A connected peer: one WebSocket, with an id, tags and data.
///
/// It is a handle: a clone is cheap, and it can outlive the connection. Then [`send`](Peer::send) fails with
/// [`ErrorKind::PeerGone`].
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub name: String, pub said: u32 }
///     # pub enum Event { Say { text: String } }
///     # pub enum Broadcast { Welcome { name: String } }
///     // The room's schemas are here.
///     pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
///         peer.subscribe("news")?;
///         peer.send(&Broadcast::Welcome { name: peer.data().name.clone() })?;
///         Ok(())
///     }
///
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         if let Some(peer) = ctx.sender()
///             && peer.update_data(|data| { data.said += 1; data.said })? > 2
///         {
///             peer.close(CloseCode::POLICY, "that was enough")?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection { name: "Ada".into(), said: 1 }));
/// assert_eq!(ada.receive(), Some(chat::Broadcast::Welcome { name: "Ada".into() }));
/// ada.send(&chat::Event::Say { text: "hi".into() });
/// assert!(ada.is_open());
/// ada.send(&chat::Event::Say { text: "hi".into() });
/// assert_eq!(ada.closed(), Some((1008, "that was enough".into())));
/// # Ok(())
/// # }
/// ```
pub struct Peer<R: Room> {
    pub(crate) host: Rc<RoomHost>,
    pub(crate) slot: Rc<Slot>,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> Peer<R> {
    /// The largest data of a peer, in bytes of JSON: 14,336 (14 KiB).
    ///
    /// Cloudflare keeps at most 16,384 serialized bytes with a hibernating socket. The rest is for the peer's id, which
    /// takes up to 1.5 KB as JSON, and for the runtime's own fields.
    pub const MAX_DATA_BYTES: usize = MAX_DATA_BYTES;

    /// The longest name of a topic, in bytes: 128.
    ///
    /// It is a limit of the runtime, which uses the name in a storage key. Cloudflare allows a key 2,048 bytes.
    pub const MAX_TOPIC_BYTES: usize = MAX_TOPIC_BYTES;

    pub(crate) fn new(host: Rc<RoomHost>, slot: Rc<Slot>) -> Self {
        Peer { host, slot, room: PhantomData }
    }

    /// The peer's id, which the Worker chose at the upgrade.
    pub fn id(&self) -> &PeerId {
        &self.slot.id
    }

    /// The tags that the peer got at the upgrade.
    pub fn tags(&self) -> &[String] {
        self.slot.tags.get_or_init(|| self.host.tags_of(self.slot.socket.get()))
    }

    /// The time when the peer connected, in milliseconds since the Unix epoch.
    pub fn connected_at(&self) -> u64 {
        self.slot.connected_at
    }

    /// The peer's data as of now: a snapshot, safe to keep across an await.
    pub fn data(&self) -> Rc<R::Connection> {
        typed(self.slot.data.borrow().clone())
    }

    /// Returns whether the client can have missed messages before this connection, in `on_connect` and `on_resume`.
    ///
    /// In `on_resume` it is true if the room has no [`replay`](crate::Replay), if the log does not reach back to the last message
    /// that the client has received, and for a client without [`room.v1`](crate::SUBPROTOCOL). Then the room sends what the client
    /// needs, for example the state. Otherwise the client has got all that it missed. In `on_connect` it is true for a client that
    /// resumes a session and whose place was given up.
    pub fn has_gap(&self) -> bool {
        self.slot.has_gap.get()
    }

    /// Returns the value of [`Upgrade::meta`](crate::Upgrade::meta), in `on_connect` only.
    ///
    /// It is `None` if the Worker gave no value, and in every other handler, because the value is not stored.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the value is not an `M`.
    pub fn meta<M: DeserializeOwned>(&self) -> Result<Option<M>, Error> {
        decode_meta(self.slot.meta.borrow().as_deref()).map_err(|error| self.locate(error))
    }

    /// Replaces the peer's data, which survives hibernation together with the socket.
    ///
    /// # Errors
    /// - [`ErrorKind::AttachmentTooLarge`] for data of more than [`Peer::MAX_DATA_BYTES`], and if the data does not fit
    ///   beside the peer's [topics](Peer::subscribe).
    /// - [`ErrorKind::Invalid`] for data that breaks a rule of the room.
    /// - [`ErrorKind::Encode`] if the data is not serializable as JSON.
    /// - [`ErrorKind::PeerGone`] if the connection is closed.
    ///
    /// An error changes nothing.
    pub fn set_data(&self, data: R::Connection) -> Result<(), Error> {
        self.replace_data(Rc::new(data))
    }

    /// Changes the peer's data in place.
    ///
    /// # Errors
    /// The errors of [`Peer::set_data`], and [`ErrorKind::NestedUpdate`] inside the closure of another `update_data` of
    /// this peer. An error changes nothing.
    pub fn update_data<T>(&self, change: impl FnOnce(&mut R::Connection) -> T) -> Result<T, Error> {
        self.not_changing()?;
        let mut data = R::Connection::clone(&self.data());
        self.slot.is_changing.set(true);
        let value = change(&mut data);
        self.slot.is_changing.set(false);
        self.replace_data(Rc::new(data))?;
        Ok(value)
    }

    fn not_changing(&self) -> Result<(), Error> {
        if self.slot.is_changing.get() {
            let message = "the peer's data was changed inside the closure of an `update_data`".to_owned();
            return Err(self.error(ErrorKind::NestedUpdate, message));
        }
        Ok(())
    }

    fn replace_data(&self, data: Value) -> Result<(), Error> {
        self.not_changing()?;
        self.host.not_updating().map_err(|error| self.locate(error))?;
        self.host.not_in_transaction().map_err(|error| self.locate(error))?;
        let slot = &*self.slot;
        self.host.check_data(&slot.id, &data).map_err(Error::by_the_room)?;
        let encoded = self.host.encode_data(&slot.id, &data)?;
        match slot.status.get() {
            Status::Gone | Status::Away => return Err(self.gone()),
            // The data of a connecting peer is stored once, after `on_connect` has succeeded. Without topics, data that
            // passed the check above fits into the attachment.
            Status::Connecting if slot.topics.borrow().is_empty() => {}
            Status::Connecting => drop(self.host.encode_attachment(slot, slot.generation.get(), &encoded)?),
            Status::Connected => self.host.store_data(slot, &encoded)?,
        }
        slot.data.replace(data);
        Ok(())
    }

    /// Subscribes the peer to a topic. Returns whether it was not subscribed.
    ///
    /// [`RoomContext::topic`] selects the subscribers of a topic. A topic needs no creation. Its name has 1 to
    /// [`Peer::MAX_TOPIC_BYTES`] characters of `A-Z`, `a-z`, `0-9` and `:_./-`.
    ///
    /// A subscription survives hibernation, a crash, and a resume. It ends with the peer's place: before its `on_close`.
    /// A peer that subscribes in `on_connect` is unsubscribed again if `on_connect` fails.
    ///
    /// The topics of a peer are stored with its socket, beside its id and its data. Together they have at most 16,320
    /// bytes as JSON, from Cloudflare's limit of 16,384 bytes for an attachment. A topic takes the length of its name and
    /// one byte: a peer with data of 1 KiB can have about 1,300 topics with names of 10 characters.
    ///
    /// A subscription writes one row to the room's storage, and a second one in a room with `on_close` or
    /// `reconnect_grace`.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidTopic`] for any other name.
    /// - [`ErrorKind::AttachmentTooLarge`] if the peer's id, data and topics are too large together.
    /// - [`ErrorKind::PeerGone`] if the connection is closed.
    /// - [`ErrorKind::Storage`].
    /// - [`ErrorKind::NestedUpdate`] inside the closure of an `update`.
    ///
    /// An error changes nothing.
    pub fn subscribe(&self, topic: &str) -> Result<bool, Error> {
        if !self.slot.has_socket() {
            return Err(self.gone());
        }
        self.host.subscribe(&self.slot, topic).map_err(|error| self.locate(error))
    }

    /// Ends the peer's subscription to a topic. Returns whether it was subscribed.
    ///
    /// # Errors
    /// The errors of [`Peer::subscribe`]. An error changes nothing.
    pub fn unsubscribe(&self, topic: &str) -> Result<bool, Error> {
        if !self.slot.has_socket() {
            return Err(self.gone());
        }
        self.host.unsubscribe(&self.slot, topic).map_err(|error| self.locate(error))
    }

    /// The topics that the peer is subscribed to, sorted.
    ///
    /// In `on_close` they are the topics that it had last.
    pub fn topics(&self) -> Vec<String> {
        self.slot.topics.borrow().clone()
    }

    /// Sends the peer one message.
    ///
    /// In a room with [`replay`](crate::Replay), a peer that is away gets the message when it resumes.
    ///
    /// # Errors
    /// - [`ErrorKind::PeerGone`] if the connection is closed or closing.
    /// - [`ErrorKind::Send`] if the socket does not accept the message.
    /// - [`ErrorKind::Unread`] if the peer is a slow consumer.
    /// - [`ErrorKind::Invalid`] for a message that breaks a rule of the room.
    /// - [`ErrorKind::Encode`] if the message is not serializable as JSON.
    /// - The errors of storing changed state, which happens first.
    pub fn send(&self, message: &R::Broadcast) -> Result<(), Error> {
        let is_kept = self.host.keeps_messages(&self.slot);
        if !self.slot.has_socket() && !is_kept {
            return Err(self.gone());
        }
        self.host.flush()?;
        let to = [self.slot.socket.get()];
        let to = if self.slot.has_socket() { &to[..] } else { &[] };
        let sent = self.host.send_message(message, Audience::Only(to), &Whom::Peer(&self.slot));
        match sent.map_err(|error| self.locate(error))? {
            // The message is in the log.
            Sent { sent: 0, failed, unread, .. } if is_kept && failed.is_empty() && unread.is_empty() => Ok(()),
            sent => self.check_sent(&sent),
        }
    }

    /// Sends the peer one binary frame, for a protocol of the room's own.
    ///
    /// A room with `on_binary` receives such frames. The frame is sent as it is, in any codec. It is in order with the
    /// messages of [`send`](Peer::send) and counts against the same [budget](crate::Limits::max_unread_bytes). The bytes
    /// are copied once, out of the wasm memory.
    ///
    /// # Errors
    /// The errors of [`send`](Peer::send), except [`ErrorKind::Encode`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        if !self.slot.has_socket() {
            return Err(self.gone());
        }
        self.host.flush()?;
        self.check_sent(&self.host.send(Frame::Bytes(bytes), Audience::Only(&[self.slot.socket.get()])))
    }

    fn check_sent(&self, sent: &Sent) -> Result<(), Error> {
        match (&*sent.failed, &*sent.unread) {
            ([], []) if sent.sent == 0 => Err(self.gone()),
            ([], []) => Ok(()),
            ([], _) => {
                let message = format!("the peer has not read more than {} bytes", R::LIMITS.max_unread_bytes);
                Err(self.error(ErrorKind::Unread, message))
            }
            _ => Err(self.error(ErrorKind::Send, "the socket refused the frame".to_owned())),
        }
    }

    /// Closes the peer's connection for good: the peer cannot resume.
    ///
    /// The peer leaves [`RoomContext::peers`] at once, and its frames that are not handled yet are dropped. `on_close`
    /// runs when the client has answered or when the room is next loaded into memory, at the earlier of the two.
    /// Nothing changes if the connection is closing already. In `on_away` this ends the place that is kept: the peer
    /// cannot resume, and its `on_close` follows.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidClose`] if the reason is too long, [`ErrorKind::PeerGone`] after the peer's `on_close`, and
    /// the errors of storing changed state, which happens first.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        check_reason(reason)?;
        if self.slot.status.get() == Status::Away {
            self.host.flush()?;
            self.host.force_close(&self.slot, code, "closed by the room");
            return Ok(());
        }
        if !self.slot.has_socket() {
            return Err(self.gone());
        }
        self.host.flush()?;
        let closed = self.host.close_peer(&self.slot, code, reason);
        closed.map_err(|refusal| self.error(ErrorKind::InvalidClose, refusal.0))
    }

    fn gone(&self) -> Error {
        self.error(ErrorKind::PeerGone, "the connection is closed".to_owned())
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        self.locate(Error::new(kind, message))
    }

    fn locate(&self, error: Error) -> Error {
        error.in_room(&self.host.id).of_peer(&self.slot.id)
    }
}

impl<R: Room> Clone for Peer<R> {
    fn clone(&self) -> Self {
        Peer::new(self.host.clone(), self.slot.clone())
    }
}

impl<R: Room> PartialEq for Peer<R> {
    /// Compares connections and not only ids.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.slot, &other.slot)
    }
}

impl<R: Room> Eq for Peer<R> {}

impl<R: Room> fmt::Debug for Peer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.slot.id)
            .field("connected_at", &self.slot.connected_at)
            .field("status", &self.slot.status.get())
            .finish_non_exhaustive()
    }
}

type Filter<'a, R> = Box<dyn Fn(&Peer<R>) -> bool + 'a>;

/// A selection of the connected peers.
///
/// Selectors intersect: `ctx.peers().tagged("admin").except_sender()`. A peer is selected while its connection is open;
/// a peer whose connection is closing is not.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod support {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Ask { text: String } }
///     # pub enum Broadcast { Question { text: String, helpers: usize } }
///     // The room's schemas are here.
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         let Event::Ask { text } = event;
///         let helpers = ctx.peers().tagged("helper");
///         let question = Broadcast::Question { text, helpers: helpers.len() };
///         helpers.except_sender().send(&question)?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<support::Room>::new("main");
/// let helper = room.connect(Upgrade::new(support::Connection {}).tag("helper"));
/// let guest = room.connect(Upgrade::new(support::Connection {}));
/// guest.send(&support::Event::Ask { text: "how?".into() });
/// assert_eq!(helper.receive(), Some(support::Broadcast::Question { text: "how?".into(), helpers: 1 }));
/// assert_eq!(guest.receive(), None);
/// # Ok(())
/// # }
/// ```
#[must_use = "a selection does nothing until it is sent to, closed or read"]
pub struct Peers<'a, R: Room> {
    ctx: &'a RoomContext<R>,
    selection: Selection,
    filters: Vec<Filter<'a, R>>,
}

impl<'a, R: Room> Peers<'a, R> {
    pub(crate) fn new(ctx: &'a RoomContext<R>) -> Self {
        Peers { ctx, selection: Selection::default(), filters: Vec::new() }
    }

    /// Selects the peers with this tag.
    pub fn tagged(mut self, tag: &str) -> Self {
        self.selection.all.push(user_tag(tag));
        self
    }

    /// Selects the peers with at least one of these tags.
    pub fn tagged_any<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.selection.any.push(tags.into_iter().map(|tag| user_tag(tag.as_ref())).collect());
        self
    }

    /// Selects the peers that are [subscribed](Peer::subscribe) to this topic.
    ///
    /// The cost depends on the number of subscribers and not on the number of peers. With several topics it depends on
    /// the subscribers of the first.
    ///
    /// A name that is not the name of a topic selects nobody, and so does a topic that cannot be read from storage.
    /// [`send`](Peers::send) and [`close`](Peers::close) return the error; [`len`](Peers::len),
    /// [`is_empty`](Peers::is_empty) and [`iter`](Peers::iter) log it.
    pub fn topic(mut self, name: &str) -> Self {
        self.selection.in_topic(name);
        self
    }

    /// Selects the peers with this id; several peers can share one.
    pub fn with_id(mut self, id: impl AsRef<str>) -> Self {
        self.selection.all.push(id_tag(id.as_ref()));
        self
    }

    /// Excludes this peer.
    pub fn except(mut self, peer: &Peer<R>) -> Self {
        self.selection.except.push(peer.slot.clone());
        self
    }

    /// Excludes the peer that the handler runs for, [`RoomContext::sender`]. It excludes nobody if there is none.
    pub fn except_sender(self) -> Self {
        match self.ctx.sender() {
            Some(sender) => self.except(sender),
            None => self,
        }
    }

    /// Selects these peers only.
    pub fn only<'p>(mut self, peers: impl IntoIterator<Item = &'p Peer<R>>) -> Self {
        self.selection.restrict(peers.into_iter().map(|peer| peer.slot.clone()).collect());
        self
    }

    /// Selects the peers for which `keep` returns true.
    pub fn filter(mut self, keep: impl Fn(&Peer<R>) -> bool + 'a) -> Self {
        self.filters.push(Box::new(keep));
        self
    }

    /// The number of selected peers.
    pub fn len(&self) -> usize {
        self.found().len()
    }

    /// Returns whether no peer is selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The selected peers as of now, in no particular order.
    pub fn iter(&self) -> std::vec::IntoIter<Peer<R>> {
        let host = self.host();
        let slots = self.found().into_iter().filter_map(|socket| host.slot_of(socket));
        let peers: Vec<_> = slots.map(|slot| Peer::new(host.clone(), slot)).collect();
        peers.into_iter()
    }

    /// Sends one message to all selected peers.
    ///
    /// The message is encoded once. A peer that cannot be sent to does not stop the message to the others.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a message that breaks a rule of the room, [`ErrorKind::Encode`] if the message is not
    /// serializable as JSON, the errors of selecting a [topic](Peers::topic), and the errors of storing changed state,
    /// which happens first. Then nobody gets it. A peer whose socket does not accept the message is no error; the
    /// [`Delivery`] lists it.
    pub fn send(&self, message: &R::Broadcast) -> Result<Delivery, Error> {
        let host = self.host();
        host.flush()?;
        if host.has_replay() {
            return self.send_logged(message);
        }
        // The receivers matter for the log only.
        Ok(host.delivery(self.to_audience(|to| host.send_message(message, to, &Whom::Everyone))??))
    }

    /// Sends to the selected peers, and logs who they are. Peers that are away are among them.
    fn send_logged(&self, message: &R::Broadcast) -> Result<Delivery, Error> {
        let (host, selection) = (self.host(), &self.selection);
        let is_by_tags = self.filters.is_empty() && selection.topics.is_none() && selection.only.is_none();
        if is_by_tags {
            let whom = Whom::Tagged(selection);
            return Ok(host.delivery(self.to_audience(|to| host.send_message(message, to, &whom))??));
        }
        let sockets = self.sockets()?;
        let keep = |slot: &Rc<Slot>| {
            let peer = Peer::new(host.clone(), slot.clone());
            self.filters.iter().all(|keep| keep(&peer))
        };
        let whom = Whom::Found(selection, &sockets, &keep);
        Ok(host.delivery(host.send_message(message, Audience::Only(&sockets), &whom)?))
    }

    /// Sends one binary frame to all selected peers, for a protocol of the room's own.
    ///
    /// The bytes are copied once, whatever the number of peers. See [`Peer::send_bytes`].
    ///
    /// # Errors
    /// The errors of storing changed state, which happens first.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<Delivery, Error> {
        let host = self.host();
        host.flush()?;
        Ok(host.delivery(self.to_audience(|to| host.send(Frame::Bytes(bytes), to))?))
    }

    fn to_audience<T>(&self, send: impl FnOnce(Audience<'_>) -> T) -> Result<T, Error> {
        match &*self.filters {
            [] => self.host().to_selected(&self.selection, send),
            _ => Ok(send(Audience::Only(&self.sockets()?))),
        }
    }

    /// Closes the connections of all selected peers. Returns their number.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidClose`] if the reason is too long, and the errors of selecting a [topic](Peers::topic); then
    /// no connection is closed.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<usize, Error> {
        check_reason(reason)?;
        self.host().flush()?;
        Ok(self.host().close_sockets(self.sockets()?, code, reason))
    }

    fn host(&self) -> &Rc<RoomHost> {
        &self.ctx.host
    }

    /// The selected sockets, or none after an error, which is logged.
    fn found(&self) -> Vec<Socket> {
        self.host().or_none(self.sockets())
    }

    fn sockets(&self) -> Result<Vec<Socket>, Error> {
        let mut sockets = self.selection.sockets(self.host())?;
        if !self.filters.is_empty() {
            sockets.retain(|socket| {
                let slot = self.host().slot_of(*socket);
                let peer = slot.map(|slot| Peer::new(self.host().clone(), slot));
                peer.is_some_and(|peer| self.filters.iter().all(|keep| keep(&peer)))
            });
        }
        Ok(sockets)
    }
}

impl<R: Room> IntoIterator for Peers<'_, R> {
    type Item = Peer<R>;
    type IntoIter = std::vec::IntoIter<Peer<R>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<R: Room> IntoIterator for &Peers<'_, R> {
    type Item = Peer<R>;
    type IntoIter = std::vec::IntoIter<Peer<R>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<R: Room> fmt::Debug for Peers<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One user of a room, from [`RoomContext::presence`]: all connections that share a peer id.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room(reconnect_grace = "30s")]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { Online { users: Vec<(PeerId, bool)> } }
///     // The room's schemas are here.
///     pub fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
///         // Each user once, however many tabs are open, and true for one who can still reconnect.
///         let users = ctx.presence()?.into_iter();
///         let users = users.map(|user| (user.id, user.away_since.is_some())).collect();
///         peer.send(&Broadcast::Online { users })?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// room.connect(Upgrade::new(chat::Connection {}).id("ada")).disconnect();
/// let bob = room.connect(Upgrade::new(chat::Connection {}).id("bob"));
/// let chat::Broadcast::Online { users } = bob.receive().expect("a message");
/// assert!(users.contains(&("ada".into(), true)) && users.contains(&("bob".into(), false)));
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub struct Presence<R: Room> {
    /// The peer id of all connections of the user.
    pub id: PeerId,
    /// The user's connections; empty while the user is away.
    pub peers: Vec<Peer<R>>,
    /// The time when the user lost the last connection, in milliseconds since the Unix epoch.
    ///
    /// `None` for a user who is connected. A user who is away can reconnect within [`Room::RECONNECT_GRACE_MS`].
    pub away_since: Option<u64>,
}

impl<R: Room> fmt::Debug for Presence<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Presence { id, peers, away_since } = self;
        f.debug_struct("Presence").field("id", id).field("peers", peers).field("away_since", away_since).finish()
    }
}
