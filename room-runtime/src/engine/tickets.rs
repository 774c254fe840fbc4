//! Tickets: they join the two halves of an upgrade and keep out every other request.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use futures_channel::oneshot;
use futures_util::future::{Either, select};

use super::Value;
use crate::{Error, ErrorKind, platform::*, wire::UpgradeOptions};

/// The time for which one half of an upgrade waits for the other. Both leave the Worker together and normally arrive
/// within a second.
const WAIT_MS: u64 = 5_000;
/// The most halves of each kind that wait. An object gets about a thousand requests a second, and the two halves of an
/// upgrade arrive well within a second. The bound limits the memory.
const MAX_WAITING: usize = 4_096;

/// The upgrades of which one half has arrived.
///
/// The two kinds of halves have separate limits. If a Worker forwards requests unchanged, any client can send requests
/// with invented tickets, and those must not take the places of real upgrades.
#[derive(Debug)]
pub(crate) struct Tickets {
    prepared: RefCell<HashMap<String, Prepared>>,
    requests: RefCell<Requests>,
}

#[derive(Debug)]
struct Prepared {
    options: UpgradeOptions<Value>,
    arrived_at: u64,
}

/// The requests that wait, by ticket and in order of arrival.
#[derive(Debug)]
struct Requests {
    senders: HashMap<String, (u64, oneshot::Sender<UpgradeOptions<Value>>)>,
    /// The numbers of the waiting requests, ascending.
    order: VecDeque<(u64, String)>,
    next: u64,
}

impl Default for Tickets {
    fn default() -> Self {
        let requests = Requests { senders: HashMap::new(), order: VecDeque::new(), next: 0 };
        Tickets { prepared: RefCell::default(), requests: RefCell::new(requests) }
    }
}

impl Tickets {
    /// Accepts the half of an upgrade that arrives by RPC.
    pub(crate) fn prepare(&self, ticket: String, options: UpgradeOptions<Value>, now_ms: u64) -> Result<(), Error> {
        if let Some(request) = self.requests.borrow_mut().remove(&ticket) {
            // If the request has just stopped waiting, its client has been answered already.
            let _ = request.send(options);
            return Ok(());
        }
        let mut prepared = self.prepared.borrow_mut();
        prepared.retain(|_, half| now_ms < half.arrived_at + WAIT_MS);
        if prepared.contains_key(&ticket) {
            return Err(Error::new(ErrorKind::Ticket, "the ticket was used before"));
        }
        if prepared.len() >= MAX_WAITING {
            return Err(Error::new(ErrorKind::Overloaded, format!("{MAX_WAITING} upgrades are waiting already")));
        }
        prepared.insert(ticket, Prepared { options, arrived_at: now_ms });
        Ok(())
    }

    /// Accepts the half that arrives as a request, and waits up to [`WAIT_MS`] for the other. A ticket works once.
    pub(crate) async fn claim(&self, ticket: &str, platform: Rc<AnyPlatform>) -> Result<UpgradeOptions<Value>, Error> {
        let prepared = self.prepared.borrow_mut().remove(ticket);
        if let Some(Prepared { options, arrived_at }) = prepared
            && platform.now_ms() < arrived_at + WAIT_MS
        {
            return Ok(options);
        }
        let receiver = self.requests.borrow_mut().insert(ticket)?;
        let unknown = || Error::new(ErrorKind::Ticket, "the upgrade did not come through the room's client");
        match select(receiver, platform.timer(WAIT_MS)).await {
            Either::Left((options, _)) => options.map_err(|_| unknown()),
            Either::Right(_) => {
                self.requests.borrow_mut().remove(ticket);
                Err(unknown())
            }
        }
    }
}

impl Requests {
    /// Adds a waiting request. Above the limit, the request that has waited longest is given up.
    fn insert(&mut self, ticket: &str) -> Result<oneshot::Receiver<UpgradeOptions<Value>>, Error> {
        if self.senders.contains_key(ticket) {
            return Err(Error::new(ErrorKind::Ticket, "the ticket was used before"));
        }
        if self.senders.len() >= MAX_WAITING
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.senders.remove(&oldest);
        }
        let (sender, receiver) = oneshot::channel();
        self.senders.insert(ticket.to_owned(), (self.next, sender));
        self.order.push_back((self.next, ticket.to_owned()));
        self.next += 1;
        Ok(receiver)
    }

    fn remove(&mut self, ticket: &str) -> Option<oneshot::Sender<UpgradeOptions<Value>>> {
        let (number, sender) = self.senders.remove(ticket)?;
        if let Ok(place) = self.order.binary_search_by_key(&number, |(number, _)| *number) {
            self.order.remove(place);
        }
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> UpgradeOptions<Value> {
        crate::Upgrade::new(Rc::new(()) as Value).into_options().expect("valid")
    }

    #[test]
    fn a_half_waits_for_as_long_as_it_says() {
        let tickets = Tickets::default();
        let prepare =
            |ticket: &str, now_ms| tickets.prepare(ticket.to_owned(), options(), now_ms).map_err(|error| error.kind());
        assert_eq!(prepare("a", 1_000), Ok(()));
        assert_eq!(prepare("a", 1_000 + WAIT_MS - 1), Err(ErrorKind::Ticket));
        // By now the first half has stopped waiting.
        assert_eq!(prepare("a", 1_000 + WAIT_MS), Ok(()));
        for n in 1..MAX_WAITING {
            assert_eq!(prepare(&n.to_string(), 1_000 + WAIT_MS), Ok(()));
        }
        assert_eq!(prepare("one too many", 1_000 + WAIT_MS), Err(ErrorKind::Overloaded));
        assert_eq!(prepare("one too many", 1_000 + 2 * WAIT_MS), Ok(()));
    }

    #[test]
    fn a_request_that_is_served_leaves_the_others_in_order() {
        let tickets = Tickets::default();
        let mut requests = tickets.requests.borrow_mut();
        let waiting: Vec<_> = ["a", "b", "c"].map(|ticket| requests.insert(ticket).expect("new")).into();
        assert!(requests.remove("b").is_some());
        assert!(requests.remove("b").is_none());
        let left: Vec<_> = requests.order.iter().map(|(_, ticket)| &**ticket).collect();
        assert_eq!(left, ["a", "c"]);
        assert_eq!(requests.insert("c").map(drop).map_err(|error| error.kind()), Err(ErrorKind::Ticket));
        drop(waiting);
    }
}
