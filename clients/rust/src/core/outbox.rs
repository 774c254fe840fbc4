//! The numbers of events and calls.

use std::collections::{BTreeMap, VecDeque};

use super::{Codec, wire::Answer};
use crate::{Error, ErrorKind, Overflow, Queue, transport::Frame};

/// An event or a call on its way.
#[derive(Debug)]
pub(crate) struct Item {
    /// The client's own name for it, which rises from item to item.
    pub(crate) id: u64,
    /// The event, or the name and the arguments of the call.
    pub(crate) body: Frame,
    /// The name of the function, for a call.
    pub(crate) call: Option<Box<str>>,
}

/// The end of an item.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The room has handled the event.
    Handled,
    /// The room has answered the call.
    Answered(Answer),
    Failed(Error),
}

/// Gives numbers to items, and keeps each until its outcome is known.
///
/// An item gets its number when it is first handed to the connection. One that is given up before that leaves no hole in
/// the numbers; one that is given up later stays here, is sent again like any other, and its outcome is dropped.
#[derive(Debug)]
pub(crate) struct Outbox {
    codec: Codec,
    limits: Queue,
    /// Items without a number, in the order of their ids.
    queue: VecDeque<Item>,
    /// Items with a number and without an outcome.
    pending: BTreeMap<u64, Item>,
    /// The lowest number without an outcome.
    low: u64,
    /// The next number to give.
    next: u64,
    /// The next number to send on this connection.
    cursor: u64,
    window: u64,
    has_progress: bool,
    /// Frames for the connection.
    pub(crate) out: VecDeque<Frame>,
    /// Items that have ended, by id.
    pub(crate) ended: Vec<(u64, Outcome)>,
}

impl Outbox {
    pub(crate) fn new(codec: Codec, limits: Queue) -> Self {
        Outbox {
            codec,
            limits,
            queue: VecDeque::new(),
            pending: BTreeMap::new(),
            low: 1,
            next: 1,
            cursor: 1,
            window: 0,
            has_progress: false,
            out: VecDeque::new(),
            ended: Vec::new(),
        }
    }

    /// The lowest number without an outcome, or else the next one.
    pub(crate) fn from(&self) -> u64 {
        self.low
    }

    /// The number of items without an outcome, with a number or without.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.pending.len()
    }

    /// True if one more item fits.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < self.limits.max || self.can_number()
    }

    fn can_number(&self) -> bool {
        self.queue.is_empty() && self.cursor == self.next && self.next < self.low.saturating_add(self.window)
    }

    pub(crate) fn add(&mut self, item: Item) {
        self.queue.push_back(item);
        self.pump();
        let max = self.limits.max;
        if self.queue.len() <= max {
            return;
        }
        let (item, error) = match self.limits.overflow {
            Overflow::Reject => {
                let message = format!("{max} events wait already");
                (self.queue.pop_back(), Error::new(ErrorKind::QueueFull, message))
            }
            Overflow::DropOldest => {
                let message = format!("dropped for a newer event: more than {max} wait");
                (self.queue.pop_front(), Error::new(ErrorKind::QueueDropped, message))
            }
        };
        self.ended.extend(item.map(|item| (item.id, Outcome::Failed(error))));
    }

    /// Takes out an item that nobody waits for any more, if it was never sent.
    pub(crate) fn remove(&mut self, id: u64) {
        if let Ok(index) = self.queue.binary_search_by_key(&id, |item| item.id) {
            self.queue.remove(index);
        }
    }

    /// A connection has begun.
    pub(crate) fn begin(&mut self, resumed: bool, last: u64, window: u64) {
        self.window = window;
        if !resumed {
            (self.low, self.next, self.cursor) = (1, 1, 1);
            for (number, item) in std::mem::take(&mut self.pending) {
                let message = "the room has forgotten the session: it is unknown whether this was handled";
                let error = Error::new(ErrorKind::SessionLost, message).with_number(Some(number));
                self.ended.push((item.id, Outcome::Failed(error)));
            }
            return;
        }
        // The room has lost the numbers between, which are settled here.
        if last.saturating_add(1) < self.low {
            self.out.push_back(self.codec.settled(self.low));
        }
        self.cursor = self.low.max(last.saturating_add(1));
    }

    /// The connection is gone: nothing is sent until the next one has begun.
    pub(crate) fn end(&mut self) {
        self.window = 0;
        self.out.clear();
    }

    /// Every number up to this one is settled.
    pub(crate) fn ack(&mut self, last: u64) {
        while self.low <= last && self.low < self.next {
            let number = self.low;
            let Some(item) = self.take(number) else { break };
            let outcome = match &item.call {
                None => Outcome::Handled,
                // The answer of a call cannot be made up.
                Some(name) => Outcome::Failed(
                    Error::new(ErrorKind::NoAnswer, format!("the room has no answer to `{name}`"))
                        .with_number(Some(number)),
                ),
            };
            self.ended.push((item.id, outcome));
        }
        // A number that this client never gave was settled by another owner of the session.
        if last >= self.next {
            self.next = last.saturating_add(1);
            self.low = self.next;
        }
        self.cursor = self.cursor.max(self.low);
    }

    /// The room asks for this number and all later ones.
    pub(crate) fn resend(&mut self, number: u64) {
        if number > self.next {
            return;
        }
        if self.low > number {
            self.out.push_back(self.codec.settled(self.low));
        }
        self.cursor = self.low.max(number);
    }

    /// Settles a number with an outcome of its own, unless it has had one.
    pub(crate) fn settle(&mut self, number: u64, outcome: Outcome) {
        if let Some(item) = self.take(number) {
            self.ended.push((item.id, outcome));
        }
    }

    fn take(&mut self, number: u64) -> Option<Item> {
        let item = self.pending.remove(&number)?;
        self.has_progress = true;
        self.low = self.pending.keys().next().copied().unwrap_or(self.next);
        self.cursor = self.cursor.max(self.low);
        Some(item)
    }

    /// Sends what has no outcome again, if no outcome has arrived since the last call. A room that crashed can have lost
    /// the frames that waited in it, and learns of them by the next frame only.
    pub(crate) fn nudge(&mut self) {
        if !self.has_progress && self.cursor > self.low {
            self.cursor = self.low;
        }
        self.has_progress = false;
        self.pump();
    }

    /// Sends as much as the window allows.
    pub(crate) fn pump(&mut self) {
        // Beyond the next number, another owner of the session has settled numbers, and their `ack` follows.
        while self.cursor <= self.next && self.cursor < self.low.saturating_add(self.window) {
            if self.cursor == self.next {
                let Some(item) = self.queue.pop_front() else { return };
                self.pending.insert(self.next, item);
                self.next += 1;
                self.has_progress = true;
            }
            // A number without an item was settled out of turn.
            if let Some(item) = self.pending.get(&self.cursor) {
                self.out.push_back(self.codec.join(self.cursor, item.call.is_some(), &item.body));
            }
            self.cursor += 1;
        }
    }

    /// Fails everything.
    pub(crate) fn clear(&mut self, error: impl Fn(Option<u64>) -> Error) {
        for (number, item) in std::mem::take(&mut self.pending) {
            self.ended.push((item.id, Outcome::Failed(error(Some(number)))));
        }
        for item in std::mem::take(&mut self.queue) {
            self.ended.push((item.id, Outcome::Failed(error(None))));
        }
        (self.low, self.next, self.cursor, self.window) = (1, 1, 1, 0);
    }
}
