//! An executor that runs the waiting tasks one step at a time, in an order that a seed decides.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Wake, Waker},
};

use crate::platform::{LocalFuture, Socket};

/// The number of the object, in one incarnation, that a task belongs to.
pub(crate) type Owner = u64;

/// The kind of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A frame of a socket, with its number in `room.v1`, or 0; `None` for a frame that only says what is settled.
    Frame(Socket, Option<u64>),
    Close(Socket),
    Alarm,
    /// A call or an upgrade. Its caller learns of its end in another way.
    Call,
    /// A task that a handler spawned.
    Spawned,
}

#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<BTreeMap<u64, Task>>,
    next: Cell<u64>,
    woken: Arc<Mutex<VecDeque<u64>>>,
    /// Chooses the next task; without it, tasks run in the order in which they were woken.
    random: RefCell<Option<Random>>,
    running: Cell<bool>,
    panicked: RefCell<Vec<Panicked>>,
}

/// A task that panicked.
#[derive(Debug)]
pub(crate) struct Panicked {
    pub(crate) owner: Owner,
    pub(crate) work: Work,
    pub(crate) message: String,
}

struct Task {
    owner: Owner,
    work: Work,
    started: bool,
    /// `None` while the task runs.
    future: Option<LocalFuture>,
    waker: Waker,
}

struct Woken {
    task: u64,
    queue: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.contains(&self.task) {
            queue.push_back(self.task);
        }
    }
}

impl Work {
    fn socket(&self) -> Option<Socket> {
        match self {
            Work::Frame(socket, _) | Work::Close(socket) => Some(*socket),
            Work::Alarm | Work::Call | Work::Spawned => None,
        }
    }
}

impl Executor {
    pub(crate) fn seed(&self, seed: u64) {
        self.random.replace(Some(Random::new(seed)));
    }

    pub(crate) fn spawn(&self, owner: Owner, work: Work, future: LocalFuture) {
        let id = self.next.replace(self.next.get() + 1);
        let waker = Waker::from(Arc::new(Woken { task: id, queue: self.woken.clone() }));
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(id, Task { owner, work, started: false, future: Some(future), waker });
    }

    /// Runs one step of one task. Returns false if all tasks wait.
    pub(crate) fn step(&self) -> bool {
        let Some(id) = self.pick() else { return false };
        let taken = self.tasks.borrow_mut().get_mut(&id).map(|task| {
            task.started = true;
            (task.future.take(), task.waker.clone(), task.owner, task.work.clone())
        });
        // The task was woken, but has ended since.
        let Some((Some(mut future), waker, owner, work)) = taken else { return true };
        self.running.set(true);
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        self.running.set(false);
        match poll {
            Ok(poll) if poll.is_pending() => {
                // The step may have ended its own task, for example by a crash.
                if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
                    task.future = Some(future);
                }
            }
            Ok(_) => drop(self.tasks.borrow_mut().remove(&id)),
            Err(payload) => {
                let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
                self.panicked.borrow_mut().push(Panicked { owner, work, message });
            }
        }
        true
    }

    fn pick(&self) -> Option<u64> {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *self.random.borrow_mut() {
            Some(random) if !woken.is_empty() => {
                let picked = random.below(woken.len());
                let first = self.first_of_its_socket(woken[picked]);
                woken.iter().position(|id| *id == first).and_then(|index| woken.remove(index))
            }
            _ => woken.pop_front(),
        }
    }

    /// The frames and the close of one socket begin in the order in which they were sent, whatever the seed.
    fn first_of_its_socket(&self, picked: u64) -> u64 {
        let tasks = self.tasks.borrow();
        let Some(Task { owner, work, started: false, .. }) = tasks.get(&picked) else { return picked };
        let Some(socket) = work.socket() else { return picked };
        let same = |task: &Task| !task.started && task.owner == *owner && task.work.socket() == Some(socket);
        tasks.iter().find(|(_, task)| same(task)).map_or(picked, |(id, _)| *id)
    }

    /// Takes the tasks that have panicked since the last call.
    pub(crate) fn take_panicked(&self) -> Vec<Panicked> {
        self.panicked.take()
    }

    /// Returns whether this is called from inside a running task.
    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    /// Ends all tasks of an owner, and returns their kinds.
    pub(crate) fn abort(&self, owner: Owner) -> Vec<Work> {
        self.end(|task| task.owner == owner)
    }

    /// Ends the begun tasks of an owner, and returns their kinds.
    ///
    /// A task that has not begun is an event that the platform has not delivered yet: the next incarnation gets it.
    pub(crate) fn abort_begun(&self, owner: Owner) -> Vec<Work> {
        self.end(|task| task.owner == owner && (task.started || task.work == Work::Spawned))
    }

    /// Drops all tasks. A task holds its object, which holds this executor.
    pub(crate) fn clear(&self) {
        while let Some((_, task)) = { self.tasks.borrow_mut().pop_first() } {
            // After the borrow has ended, because dropping a task may wake others.
            drop(task);
        }
    }

    fn end(&self, ends: impl Fn(&Task) -> bool) -> Vec<Work> {
        let ended: Vec<Task> = self.tasks.borrow_mut().extract_if(.., |_, task| ends(task)).map(|(_, t)| t).collect();
        // The tasks are dropped after the borrow ends, because dropping one may wake others.
        ended.into_iter().map(|task| task.work).collect()
    }

    /// The kinds of an owner's unfinished tasks.
    pub(crate) fn unfinished(&self, owner: Owner) -> Vec<Work> {
        self.tasks.borrow().values().filter(|task| task.owner == owner).map(|task| task.work.clone()).collect()
    }
}

/// The SplitMix64 generator: small, and with the same sequence on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// The end of time: the last moment that a JavaScript `Date` can represent.
pub(crate) const END_MS: u64 = 8_640_000_000_000_000;

/// A clock that moves only when it is set.
#[derive(Default)]
pub(crate) struct Clock {
    /// The time by which timers end. It never moves back.
    steady_ms: Cell<u64>,
    /// The difference of the clock to it.
    ahead_ms: Cell<i64>,
    timers: RefCell<BTreeMap<(u64, u64), Option<Waker>>>,
    next: Cell<u64>,
}

impl Clock {
    pub(crate) fn starting_at(now_ms: u64) -> Rc<Self> {
        Rc::new(Clock { steady_ms: Cell::new(now_ms), ..Clock::default() })
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.steady_ms.get().saturating_add_signed(self.ahead_ms.get())
    }

    pub(crate) fn timer(self: Rc<Self>, ms: u64) -> LocalFuture {
        let key = (self.steady_ms.get().saturating_add(ms), self.next.replace(self.next.get() + 1));
        self.timers.borrow_mut().insert(key, None);
        let timer = Timer { clock: self, key };
        Box::pin(std::future::poll_fn(move |cx| timer.poll(cx)))
    }

    /// The time at which the next timer ends.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        let timers = self.timers.borrow();
        timers.first_key_value().map(|((at, _), _)| at.saturating_add_signed(self.ahead_ms.get()))
    }

    /// Moves the clock to this time and wakes the ended timers. It never moves back.
    pub(crate) fn set(&self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.now_ms());
        self.steady_ms.set(self.steady_ms.get().saturating_add(passed_ms));
        let now = self.steady_ms.get();
        for ((at, _), waker) in self.timers.borrow_mut().iter_mut() {
            if *at <= now
                && let Some(waker) = waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Changes the time and no timer. The new time is one that JavaScript can represent.
    pub(crate) fn step(&self, by_ms: i64) {
        let now_ms = self.now_ms().saturating_add_signed(by_ms).min(END_MS);
        self.ahead_ms.set(now_ms.cast_signed() - self.steady_ms.get().cast_signed());
    }
}

struct Timer {
    clock: Rc<Clock>,
    key: (u64, u64),
}

impl Timer {
    fn poll(&self, cx: &mut Context<'_>) -> std::task::Poll<()> {
        if self.clock.steady_ms.get() >= self.key.0 {
            return std::task::Poll::Ready(());
        }
        self.clock.timers.borrow_mut().insert(self.key, Some(cx.waker().clone()));
        std::task::Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clock.timers.borrow_mut().remove(&self.key);
    }
}
