//! The state that the handles, the stream of messages and the driver share.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_channel::oneshot;

use crate::{
    Error, Status,
    core::{Config, Core, Event, Item, Outcome},
    transport::Frame,
};

pub(crate) struct Shared {
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) core: Core,
    /// Those who wait for the outcome of an item, by its id.
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    next_id: u64,
    inbox: Inbox,
    /// Those who wait until the connection is open.
    openers: Vec<Opener>,
    /// Those who wait for room in the queue.
    queuers: Vec<Waker>,
    /// Those who wait for the end.
    enders: Vec<Waker>,
    pub(crate) driver: Option<Waker>,
    /// A handle asked to connect now, or to check the connection.
    pub(crate) is_nudged: bool,
    /// The driver has closed the socket, or is gone.
    is_done: bool,
}

type Opener = oneshot::Sender<Result<(), Error>>;

/// Items that wait for the program.
struct Inbox {
    events: VecDeque<Event>,
    max: usize,
    skipped: u64,
    waker: Option<Waker>,
    /// There is nobody to read them any more.
    is_abandoned: bool,
    /// The last item was added.
    is_complete: bool,
}

/// An item of the inbox.
pub(crate) enum Received {
    Event(Event),
    Skipped(u64),
}

/// The calls that are made without the lock, since a waker can run code that takes it.
#[derive(Default)]
struct Calls {
    outcomes: Vec<(oneshot::Sender<Outcome>, Outcome)>,
    openers: Vec<(Opener, Result<(), Error>)>,
    wakers: Vec<Waker>,
}

impl Calls {
    fn run(self) {
        // A receiver that is gone needs no outcome.
        self.outcomes.into_iter().for_each(|(sender, outcome)| drop(sender.send(outcome)));
        self.openers.into_iter().for_each(|(sender, result)| drop(sender.send(result)));
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    pub(crate) fn new(config: Config, buffer: usize, now: Duration, seed: u64) -> Arc<Self> {
        let inbox = Inbox {
            events: VecDeque::new(),
            max: buffer.max(1),
            skipped: 0,
            waker: None,
            is_abandoned: false,
            is_complete: false,
        };
        let state = State {
            core: Core::new(config, now, seed),
            waiting: HashMap::new(),
            next_id: 1,
            inbox,
            openers: Vec::new(),
            queuers: Vec::new(),
            enders: Vec::new(),
            driver: None,
            is_nudged: false,
            is_done: false,
        };
        Arc::new(Shared { state: Mutex::new(state) })
    }

    /// Changes the state, and notifies those who wait for the change.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, calls) = {
            // A panic in this crate leaves a state that is valid, if perhaps incomplete.
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut state);
            (result, state.calls())
        };
        calls.run();
        result
    }

    /// Changes the state from outside the driver, and wakes it.
    pub(crate) fn wake<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, driver) = self.with(|state| (change(state), state.driver.take()));
        driver.into_iter().for_each(Waker::wake);
        result
    }

    /// Adds an item. Returns its id, and the receiver of its outcome.
    pub(crate) fn add(&self, body: Frame, call: Option<Box<str>>) -> (u64, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        let id = self.wake(|state| {
            let id = state.next_id;
            state.next_id += 1;
            state.waiting.insert(id, sender);
            state.core.add(Item { id, body, call });
            id
        });
        (id, receiver)
    }

    /// Gives an item up, if it was never sent.
    pub(crate) fn remove(&self, id: u64) {
        self.with(|state| {
            state.core.outbox.remove(id);
            state.waiting.remove(&id);
        });
    }

    /// Waits for room for one more item. An error says that the connection is closed.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.with(|state| {
            if let Some(error) = state.core.closed() {
                return Poll::Ready(Err(error));
            }
            if state.core.outbox.has_room() {
                return Poll::Ready(Ok(()));
            }
            if !state.queuers.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.queuers.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    pub(crate) fn wait_for_open(&self) -> oneshot::Receiver<Result<(), Error>> {
        let (sender, receiver) = oneshot::channel();
        self.with(|state| state.openers.push(sender));
        receiver
    }

    /// Waits until the driver has ended.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<Status> {
        self.with(|state| {
            if state.is_done {
                return Poll::Ready(state.core.status().clone());
            }
            if !state.enders.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.enders.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    pub(crate) fn done(&self) {
        self.with(|state| state.is_done = true);
    }

    /// Returns the next item for the program; nothing after the last one.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.with(|state| {
            let inbox = &mut state.inbox;
            if inbox.skipped > 0 {
                return Poll::Ready(Some(Received::Skipped(std::mem::take(&mut inbox.skipped))));
            }
            match inbox.events.pop_front() {
                Some(event) => Poll::Ready(Some(Received::Event(event))),
                None if inbox.is_complete => Poll::Ready(None),
                None => {
                    inbox.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// Drops the items that arrive from now on.
    pub(crate) fn abandon_inbox(&self) {
        let events = self.with(|state| {
            state.inbox.is_abandoned = true;
            std::mem::take(&mut state.inbox.events)
        });
        drop(events);
    }
}

impl State {
    /// Collects what the last change of the core has brought.
    fn calls(&mut self) -> Calls {
        let mut calls = Calls::default();
        for (id, outcome) in self.core.outbox.ended.drain(..) {
            calls.outcomes.extend(self.waiting.remove(&id).map(|sender| (sender, outcome)));
        }
        for event in self.core.events.drain(..) {
            if let Event::Status(Status::Closed(_)) = event {
                self.inbox.is_complete = true;
            }
            if self.inbox.is_abandoned {
                continue;
            }
            self.inbox.events.push_back(event);
            if self.inbox.events.len() > self.inbox.max {
                self.inbox.events.pop_front();
                self.inbox.skipped += 1;
            }
            calls.wakers.extend(self.inbox.waker.take());
        }
        if !self.openers.is_empty() {
            let result = match self.core.closed() {
                Some(error) => Some(Err(error)),
                None => self.core.is_open().then_some(Ok(())),
            };
            if let Some(result) = result {
                calls.openers.extend(self.openers.drain(..).map(|sender| (sender, result.clone())));
            }
        }
        if !self.queuers.is_empty() && (self.core.outbox.has_room() || self.core.closed().is_some()) {
            calls.wakers.append(&mut self.queuers);
        }
        if self.is_done {
            calls.wakers.append(&mut self.enders);
        }
        calls
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
