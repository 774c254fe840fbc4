//! A lock that serves its waiters in order of arrival.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use futures_channel::oneshot;

/// A fair lock for one thread. Taking it when it is free neither waits nor allocates.
#[derive(Debug, Default)]
pub(crate) struct FairLock {
    taken: Cell<bool>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// A position in the queue of a [`FairLock`], to be awaited with [`FairLock::come`].
#[derive(Debug)]
pub(crate) struct Place(Option<oneshot::Receiver<()>>);

impl FairLock {
    pub(crate) async fn take(&self) -> Taken<'_> {
        let place = self.queue();
        self.come(place).await
    }

    /// Queues at once, for work that is polled later.
    ///
    /// The caller must await the position. Dropping it after the lock was handed to it leaves the lock taken.
    pub(crate) fn queue(&self) -> Place {
        Place(self.taken.replace(true).then(|| {
            let (sender, receiver) = oneshot::channel();
            self.waiting.borrow_mut().push_back(sender);
            receiver
        }))
    }

    /// Waits until the lock is handed to this position.
    pub(crate) async fn come(&self, place: Place) -> Taken<'_> {
        if let Some(receiver) = place.0 {
            // The sender is dropped only with the `FairLock`, which this future borrows.
            let handed_over = receiver.await;
            debug_assert!(handed_over.is_ok());
        }
        Taken(self)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.get()
    }

    /// The number of waiting positions.
    pub(crate) fn queued(&self) -> usize {
        self.waiting.borrow().len()
    }
}

#[derive(Debug)]
pub(crate) struct Taken<'a>(&'a FairLock);

impl Taken<'_> {
    /// Passes the lock on to work that is polled later, before all that wait. That work must [come](FairLock::come).
    pub(crate) fn pass_on(self) -> Place {
        std::mem::forget(self);
        Place(None)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        loop {
            let Some(next) = self.0.waiting.borrow_mut().pop_front() else {
                self.0.taken.set(false);
                return;
            };
            // The send fails if the waiter was dropped: the next one gets the lock.
            if next.send(()).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn it_goes_from_one_to_the_next_in_order_and_past_those_that_stopped_waiting() {
        let turn = FairLock::default();
        assert!(!turn.is_taken());
        let first = turn.take().now_or_never().expect("it is free");
        assert!(turn.is_taken());
        let (mut second, mut third, mut fourth) = (Box::pin(turn.take()), Box::pin(turn.take()), Box::pin(turn.take()));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        assert_eq!(turn.queued(), 3);
        drop(third);
        drop(first);
        assert!((&mut fourth).now_or_never().is_none());
        drop((&mut second).now_or_never().expect("its turn"));
        drop((&mut fourth).now_or_never().expect("its turn"));
        assert!(!turn.is_taken());
        assert_eq!(turn.queued(), 0);
    }

    #[test]
    fn it_is_passed_on_before_all_that_wait() {
        let turn = FairLock::default();
        let first = turn.take().now_or_never().expect("it is free");
        let mut second = Box::pin(turn.take());
        assert!((&mut second).now_or_never().is_none());
        let place = first.pass_on();
        assert!(turn.is_taken());
        assert!((&mut second).now_or_never().is_none());
        drop(turn.come(place).now_or_never().expect("it was passed on"));
        drop(second.now_or_never().expect("its turn"));
        assert!(!turn.is_taken());
    }
}
