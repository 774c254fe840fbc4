//! Topics: a peer subscribes to names, and a message to a topic goes to its subscribers.
//!
//! The truth about a subscription is the peer's own list, in the attachment of its socket and in its roster entry. A
//! stored index has one key for each subscription. It is read when a topic is first used in an incarnation, and its
//! subscribers are found by their peer ids, for which the platform has an index. So a message to a topic costs its
//! subscribers and not all peers, also after a wake.
//!
//! The key of a subscription is written before the list and deleted after it. A crash in between can leave a key without
//! a subscription, and never the reverse. Such a key has no effect and is deleted when the topic is next read.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use super::{RoomHost, Slot, selection::Selection};
use crate::{
    Error, ErrorKind, PeerId,
    engine::slot::Status,
    platform::*,
    types::topic::check_topic,
    wire::{
        handshake::{ID_MARK, TAG_MARK},
        keys,
    },
};

/// The number of topics in memory from which on topics without subscribers are not kept there.
pub(super) const MAX_EMPTY: usize = 1_024;

/// The topics in memory.
///
/// Only the first use of a topic makes the table. The engine reaches the code of the table through a trait object, so the
/// linker drops that code from a room that uses no topic.
#[derive(Default)]
pub(super) struct Topics(OnceCell<Box<dyn Known>>);

#[cfg(test)]
impl Topics {
    /// The number of topics that are known.
    pub(super) fn known(&self) -> usize {
        self.0.get().map_or(0, |known| known.len())
    }
}

/// The topics that were used in this incarnation, with their subscribers.
trait Known {
    fn clear(&self);
    /// Adds a subscriber to a topic, also to one that was not used before.
    fn add(&self, topic: &str, slot: &Rc<Slot>);
    fn remove(&self, topic: &str, entry: &str);
    fn has(&self, topic: &str, entry: &str) -> bool;
    /// All subscribers of a topic; `None` if its index was not read.
    fn subscribers(&self, topic: &str) -> Option<Vec<Rc<Slot>>>;
    /// Adds the subscribers that were read from the index, and returns all.
    fn complete(&self, topic: &str, found: Vec<Rc<Slot>>) -> Vec<Rc<Slot>>;
    /// The number of topics.
    #[cfg(test)]
    fn len(&self) -> usize;
}

/// The subscribers of a topic, by the names of their roster entries.
#[derive(Default)]
struct Subscribers {
    /// True if the index was read. Before that, these are the peers that subscribed or resumed in this incarnation.
    is_complete: bool,
    slots: BTreeMap<String, Rc<Slot>>,
}

impl Subscribers {
    fn list(&self) -> Vec<Rc<Slot>> {
        self.slots.values().cloned().collect()
    }
}

impl Topics {
    fn used(&self) -> &dyn Known {
        &**self.0.get_or_init(|| Box::new(RefCell::<BTreeMap<String, Subscribers>>::default()))
    }

    pub(super) fn clear(&self) {
        if let Some(known) = self.0.get() {
            known.clear();
        }
    }
}

impl Known for RefCell<BTreeMap<String, Subscribers>> {
    fn clear(&self) {
        self.take();
    }

    fn add(&self, topic: &str, slot: &Rc<Slot>) {
        self.borrow_mut().entry(topic.to_owned()).or_default().slots.insert(slot.entry.clone(), slot.clone());
    }

    fn remove(&self, topic: &str, entry: &str) {
        let mut topics = self.borrow_mut();
        if let Some(subscribers) = topics.get_mut(topic) {
            subscribers.slots.remove(entry);
            if subscribers.slots.is_empty() {
                topics.remove(topic);
            }
        }
    }

    fn has(&self, topic: &str, entry: &str) -> bool {
        self.borrow().get(topic).is_some_and(|subscribers| subscribers.slots.contains_key(entry))
    }

    fn subscribers(&self, topic: &str) -> Option<Vec<Rc<Slot>>> {
        self.borrow().get(topic).filter(|subscribers| subscribers.is_complete).map(Subscribers::list)
    }

    fn complete(&self, topic: &str, found: Vec<Rc<Slot>>) -> Vec<Rc<Slot>> {
        let mut topics = self.borrow_mut();
        if found.is_empty() && !topics.contains_key(topic) && topics.len() >= MAX_EMPTY {
            return found;
        }
        let subscribers = topics.entry(topic.to_owned()).or_default();
        subscribers.is_complete = true;
        subscribers.slots.extend(found.into_iter().map(|slot| (slot.entry.clone(), slot)));
        subscribers.list()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.borrow().len()
    }
}

/// Returns the sockets of a selection that subscribe to all of some topics.
type Find = fn(&[String], &Selection, &RoomHost) -> Result<Vec<Socket>, Error>;

/// The part of a [`Selection`] for topics.
///
/// The code that finds subscribers is called through it only, so the linker drops that code from a room that selects no
/// topic.
pub(crate) struct InTopics {
    names: Vec<String>,
    find: Find,
}

impl InTopics {
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The sockets of the selected peers. Some may be closed.
    pub(super) fn sockets(&self, selection: &Selection, host: &RoomHost) -> Result<Vec<Socket>, Error> {
        (self.find)(&self.names, selection, host)
    }
}

impl fmt::Debug for InTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InTopics").field(&self.names).finish()
    }
}

impl Selection {
    /// Restricts the selection to the subscribers of this topic.
    pub(crate) fn in_topic(&mut self, name: &str) {
        let topics = self.topics.get_or_insert_with(|| InTopics { names: Vec::new(), find: find_sockets });
        topics.names.push(name.to_owned());
    }
}

fn find_sockets(topics: &[String], selection: &Selection, host: &RoomHost) -> Result<Vec<Socket>, Error> {
    topics.iter().try_for_each(|topic| check_topic(topic)).map_err(|error| error.in_room(&host.id))?;
    let [first, others @ ..] = topics else { return Ok(Vec::new()) };
    let mut slots = match &selection.only {
        Some(slots) => slots.iter().filter(|slot| is_subscribed(slot, first)).cloned().collect(),
        None => host.subscribers(first)?,
    };
    slots.retain(|slot| slot.has_socket() && others.iter().all(|topic| is_subscribed(slot, topic)));
    // The tags of the subscribers are compared here. The platform's index would find all peers with a tag.
    slots.retain(|slot| {
        let all = selection.all.iter().all(|tag| carries(host, slot, tag));
        all && selection.any.iter().all(|group| group.iter().any(|tag| carries(host, slot, tag)))
    });
    let except = selection.excepted();
    let mut sockets: Vec<_> = slots.iter().map(|slot| slot.socket.get()).collect();
    sockets.retain(|socket| !except.contains(socket));
    // A peer can be given several times, and the order must not depend on the random names of entries.
    sockets.sort_unstable();
    sockets.dedup();
    Ok(sockets)
}

/// Returns whether a peer carries this tag, in the form that the platform stores.
pub(super) fn carries(host: &RoomHost, slot: &Slot, tag: &str) -> bool {
    if let Some(id) = tag.strip_prefix(ID_MARK) {
        return slot.id == *id;
    }
    let own = slot.tags.get_or_init(|| host.tags_of(slot.socket.get()));
    tag.strip_prefix(TAG_MARK).is_some_and(|tag| own.iter().any(|own| own == tag))
}

pub(super) fn is_subscribed(slot: &Slot, topic: &str) -> bool {
    position(&slot.topics.borrow(), topic).is_ok()
}

/// The position of a topic in a sorted list, or where it would be.
fn position(topics: &[String], topic: &str) -> Result<usize, usize> {
    topics.binary_search_by(|other| other.as_str().cmp(topic))
}

/// Joins the name of a roster entry with topics, as an attachment has them. A space is in neither.
///
/// An attachment without topics has the form that it had before topics existed, and no room needs more code for it.
///
/// The token of a session stands before the topics if it is not the name of the entry.
///
/// `begun` is the position in the log at which the place began, or 0.
pub(super) fn join(entry: &str, session: Option<&str>, begun: u64, topics: &[String]) -> String {
    let mut joined = entry.to_owned();
    if let Some(token) = session.filter(|token| *token != entry) {
        joined.push(' ');
        joined.push(SESSION_MARK);
        joined.push_str(token);
    }
    if begun > 0 {
        joined.push(' ');
        joined.push(BEGUN_MARK);
        joined.push_str(&begun.to_string());
    }
    for topic in topics {
        joined.push(' ');
        joined.push_str(topic);
    }
    joined
}

/// Splits the token of the session, the position at which the place began, and the topics off the name of a roster entry.
pub(super) fn split_off(entry: &mut String) -> (Option<String>, u64, Vec<String>) {
    let Some((name, topics)) = entry.split_once(' ') else { return (None, 0, Vec::new()) };
    let (end, mut topics) = (name.len(), split(topics));
    entry.truncate(end);
    let token = topics.first().and_then(|first| first.strip_prefix(SESSION_MARK)).map(str::to_owned);
    if token.is_some() {
        topics.remove(0);
    }
    let begun = topics.first().and_then(|first| first.strip_prefix(BEGUN_MARK)?.parse().ok());
    if begun.is_some() {
        topics.remove(0);
    }
    (token, begun.unwrap_or(0), topics)
}

/// The mark of a session's token among topics. No topic has this character.
const SESSION_MARK: char = '@';
/// The mark of the position at which a place began.
const BEGUN_MARK: char = '#';

/// Splits a list of topics.
pub(super) fn split(topics: &str) -> Vec<String> {
    topics.split(' ').filter(|topic| !topic.is_empty()).map(str::to_owned).collect()
}

fn prefix(topic: &str) -> String {
    format!("{}{topic} ", keys::TOPICS)
}

fn key(topic: &str, entry: &str) -> String {
    format!("{}{topic} {entry}", keys::TOPICS)
}

impl RoomHost {
    /// Subscribes a peer. Returns whether it was not subscribed.
    pub(crate) fn subscribe(&self, slot: &Rc<Slot>, topic: &str) -> Result<bool, Error> {
        check_topic(topic)?;
        self.not_updating()?;
        self.not_in_transaction()?;
        let mut topics = slot.topics.borrow().clone();
        let Err(at) = position(&topics, topic) else { return Ok(false) };
        topics.insert(at, topic.to_owned());
        let key = key(topic, &slot.entry);
        let value = join(&slot.entry, None, 0, &[slot.id.to_string()]);
        self.platform.put(&key, value.as_bytes()).map_err(|refusal| self.topics_error("written", &refusal))?;
        if let Err(error) = self.replace_topics(slot, topics) {
            self.drop_subscription(topic, &slot.entry);
            return Err(error);
        }
        self.topics.used().add(topic, slot);
        Ok(true)
    }

    /// Ends a subscription of a peer. Returns whether it was subscribed.
    pub(crate) fn unsubscribe(&self, slot: &Rc<Slot>, topic: &str) -> Result<bool, Error> {
        check_topic(topic)?;
        self.not_updating()?;
        self.not_in_transaction()?;
        let mut topics = slot.topics.borrow().clone();
        let Ok(at) = position(&topics, topic) else { return Ok(false) };
        topics.remove(at);
        self.replace_topics(slot, topics)?;
        self.drop_subscription(topic, &slot.entry);
        self.topics.used().remove(topic, &slot.entry);
        Ok(true)
    }

    /// Replaces the stored topics of a peer. The replacement is atomic.
    fn replace_topics(&self, slot: &Slot, topics: Vec<String>) -> Result<(), Error> {
        let data = self.encode_current_data(slot)?;
        let (socket, generation) = (slot.socket.get(), slot.generation.get());
        let before = slot.topics.replace(topics);
        let stored = if slot.status.get() == Status::Connecting {
            // The topics of a connecting peer are stored with its data, after `on_connect` has succeeded.
            self.encode_attachment(slot, generation, &data).map(drop)
        } else {
            let attached = self.attach(slot, socket, generation, &data);
            attached.and_then(|()| self.enroll(slot, generation, &data).map_err(|error| error.of_peer(&slot.id)))
        };
        stored.inspect_err(|_| {
            slot.topics.replace(before);
            if slot.status.get() != Status::Connecting
                && let Err(error) = self.attach(slot, socket, generation, &data)
            {
                self.log_error(&error.to_string());
            }
        })
    }

    /// Ends the subscriptions of a peer whose place has ended. Its list stays for its `on_close`.
    pub(super) fn leave_topics(&self, slot: &Slot) {
        for topic in slot.topics.borrow().iter() {
            self.drop_subscription(topic, &slot.entry);
            if let Some(known) = self.topics.0.get() {
                known.remove(topic, &slot.entry);
            }
        }
    }

    /// Lists a peer that has resumed among the subscribers of its topics in memory.
    pub(super) fn return_to_topics(&self, slot: &Rc<Slot>) {
        if let Some(known) = self.topics.0.get() {
            slot.topics.borrow().iter().for_each(|topic| known.add(topic, slot));
        }
    }

    /// Deletes the key of a subscription that has ended.
    fn drop_subscription(&self, topic: &str, entry: &str) {
        // A key that stays has no effect, so a failure is no error.
        let _ = self.platform.delete(&key(topic, entry));
    }

    fn topics_error(&self, what: &str, refusal: &PlatformError) -> Error {
        Error::new(ErrorKind::Storage, format!("the room's topics could not be {what}: {refusal}")).in_room(&self.id)
    }

    /// The peers that are subscribed to a topic. Some may have lost their connection.
    fn subscribers(&self, topic: &str) -> Result<Vec<Rc<Slot>>, Error> {
        let known = self.topics.used();
        match known.subscribers(topic) {
            Some(subscribers) => Ok(subscribers),
            None => Ok(known.complete(topic, self.read_subscribers(topic)?)),
        }
    }

    /// Finds the subscribers of a topic that memory does not have. Deletes keys without a subscription.
    fn read_subscribers(&self, topic: &str) -> Result<Vec<Rc<Slot>>, Error> {
        let stored = self.platform.list(&prefix(topic)).map_err(|refusal| self.topics_error("read", &refusal))?;
        // Several peers can share an id, and each id is looked up once.
        let mut wanted: BTreeMap<PeerId, BTreeSet<String>> = BTreeMap::new();
        for value in stored.iter().map(|bytes| String::from_utf8_lossy(bytes)) {
            // The id can contain spaces.
            if let Some((entry, id)) = value.split_once(' ')
                && !self.topics.used().has(topic, entry)
            {
                wanted.entry(PeerId::from(id)).or_default().insert(entry.to_owned());
            }
        }
        let mut found = Vec::new();
        for (id, mut entries) in wanted {
            for slot in self.connected_as(&id) {
                if is_subscribed(&slot, topic) && entries.remove(&slot.entry) {
                    found.push(slot);
                }
            }
            for entry in entries {
                if !self.may_resume_subscribed(topic, &entry)? {
                    self.drop_subscription(topic, &entry);
                }
            }
        }
        Ok(found)
    }

    /// Returns whether a peer without an open connection is subscribed to a topic and has a place.
    fn may_resume_subscribed(&self, topic: &str, entry: &str) -> Result<bool, Error> {
        // Without a roster, a subscription ends with its connection.
        if self.room.parts.roster.is_none() {
            return Ok(false);
        }
        Ok(self.departing.borrow().contains_key(entry)
            || self.entry(entry)?.is_some_and(|entry| entry.is_subscribed(topic)))
    }
}
