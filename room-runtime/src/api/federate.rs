//! [`Federate`]: one call of many rooms.

use std::{
    collections::HashSet,
    fmt,
    future::{Future, IntoFuture},
    mem,
    pin::Pin,
    slice,
    task::{Context, Poll, ready},
    vec,
};

use futures_util::{Stream, stream::FuturesUnordered};

use crate::{Error, ErrorKind, Room, RoomClient, RoomHandle, RoomId};

/// A call of several rooms: the future of [`RoomClient::federate`].
///
/// It is `Send` if the closure, its futures and their values are.
///
/// ```
/// use room_runtime::{prelude::*, testing::World};
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub notices: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Notice { text: String } }
///     # pub struct Broadcast {}
/// #     pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
/// #         Ok(ctx.update(|state| state.notices += 1)?)
/// #     }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let world = World::new();
/// let rooms = world.client::<chat::Room>(); // in a Worker: `chat::RoomClient::from_env(&env)?`
/// let notice = chat::Event::Notice { text: "maintenance at noon".into() };
/// let calling = rooms.federate(["r1", "r2", "r3"], |room| room.send(&notice)).concurrency(2);
/// let sent = world.block_on(calling);
/// assert_eq!(sent.succeeded().count(), 3);
/// # assert_eq!(world.room::<chat::Room>("r3").state()?, Some(chat::State { notices: 1 }));
/// # Ok(())
/// # }
/// ```
#[must_use = "the rooms are called when it is awaited"]
pub struct Federate<R, F, C: IntoFuture, T> {
    rooms: RoomClient<R>,
    call: F,
    concurrency: usize,
    ids: Vec<RoomId>,
    /// The number of ids, from the first, whose rooms have been called.
    called: usize,
    running: FuturesUnordered<Placed<C::IntoFuture>>,
    /// The results that have arrived, at the places of their ids.
    results: Vec<Option<Result<T, Error>>>,
}

// No field is pinned: `Placed` has its future on the heap.
impl<R, F, C: IntoFuture, T> Unpin for Federate<R, F, C, T> {}

impl<R: Room, F, C: IntoFuture, T> Federate<R, F, C, T> {
    pub(crate) fn new(rooms: RoomClient<R>, ids: impl Iterator<Item = RoomId>, call: F) -> Self {
        let mut known = HashSet::new();
        Federate {
            rooms,
            call,
            concurrency: RoomClient::<R>::CONCURRENCY,
            ids: ids.filter(|id| known.insert(id.clone())).collect(),
            called: 0,
            running: FuturesUnordered::new(),
            results: Vec::new(),
        }
    }

    /// Sets how many rooms are called at a time, in place of [`RoomClient::CONCURRENCY`].
    ///
    /// The next room is called when one of them has answered. With 0, no room is called, and the result of each is an error
    /// of the kind [`ErrorKind::InvalidConcurrency`].
    pub fn concurrency(mut self, rooms: usize) -> Self {
        self.concurrency = rooms;
        self
    }

    /// Calls only the rooms whose ids satisfy a predicate. The others are not in the result.
    ///
    /// ```no_run
    /// # use room_runtime::{Room, RoomClient};
    /// # async fn example<R: Room>(rooms: RoomClient<R>, ids: Vec<String>, event: R::Event) {
    /// let sent = rooms.federate(ids, |room| room.send(&event)).filter(|id| id.as_str().starts_with("eu:")).await;
    /// # drop(sent);
    /// # }
    /// ```
    pub fn filter(mut self, keep: impl FnMut(&RoomId) -> bool) -> Self {
        self.ids.retain(keep);
        self
    }
}

impl<R, F, C, T> Future for Federate<R, F, C, T>
where
    R: Room,
    F: FnMut(RoomHandle<R>) -> C,
    C: IntoFuture<Output = Result<T, Error>>,
{
    type Output = Federated<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Federated<T>> {
        let this = self.get_mut();
        this.results.resize_with(this.ids.len(), || None);
        loop {
            while this.running.len() < this.concurrency
                && let Some(id) = this.ids.get(this.called)
            {
                let future = Box::pin((this.call)(this.rooms.room(id)).into_future());
                this.running.push(Placed { place: this.called, future });
                this.called += 1;
            }
            match ready!(Pin::new(&mut this.running).poll_next(cx)) {
                Some((place, result)) => {
                    if let Some(slot) = this.results.get_mut(place) {
                        *slot = Some(result);
                    }
                }
                None => break,
            }
        }
        let uncalled = || Error::new(ErrorKind::InvalidConcurrency, "0 rooms may be called at a time, so none was");
        let results = mem::take(&mut this.ids).into_iter().zip(mem::take(&mut this.results));
        let results = results.map(|(id, result)| {
            let result = result.unwrap_or_else(|| Err(uncalled())).map_err(|error| error.in_room(&id));
            (id, result)
        });
        Poll::Ready(Federated { results: results.collect() })
    }
}

impl<R: Room, F, C: IntoFuture, T> fmt::Debug for Federate<R, F, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federate")
            .field("rooms", &self.rooms)
            .field("ids", &self.ids)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// The call of one room, with the place of its id.
struct Placed<F> {
    place: usize,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Placed<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let output = ready!(self.future.as_mut().poll(cx));
        Poll::Ready((self.place, output))
    }
}

/// The results of [`RoomClient::federate`], in the order of the ids.
///
/// ```
/// use room_runtime::{prelude::*, testing::World};
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State { pub notices: u32 }
///     # pub struct Connection {}
///     # pub enum Event { Notice { text: String } }
///     # pub struct Broadcast {}
/// #     pub fn on_event(ctx: &Ctx, _event: Event) -> Result {
/// #         Ok(ctx.update(|state| state.notices += 1)?)
/// #     }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let world = World::new();
/// world.room::<chat::Room>("r2").fail_calls(true);
/// let (rooms, notice) = (world.client::<chat::Room>(), chat::Event::Notice { text: "hi".into() });
///
/// let sent = world.block_on(rooms.federate(["r1", "r2"], |room| room.send(&notice)));
/// for (id, error) in sent.failed() {
///     println!("{id} did not get the notice: {error}");
/// }
/// assert_eq!((sent.succeeded().count(), sent.failed().count()), (1, 1));
/// // Or all values, or the first error:
/// let error = sent.all().expect_err("of r2");
/// assert_eq!(error.room().map(RoomId::as_str), Some("r2"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the errors of single rooms are only here"]
pub struct Federated<T> {
    results: Vec<(RoomId, Result<T, Error>)>,
}

impl<T> Federated<T> {
    /// The number of rooms.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Returns whether there are no rooms.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Returns the result of each room.
    pub fn iter(&self) -> slice::Iter<'_, (RoomId, Result<T, Error>)> {
        self.results.iter()
    }

    /// Returns the rooms that succeeded, with their values.
    pub fn succeeded(&self) -> impl Iterator<Item = (&RoomId, &T)> {
        self.results.iter().filter_map(|(id, result)| Some((id, result.as_ref().ok()?)))
    }

    /// Returns the rooms that failed, with their errors.
    pub fn failed(&self) -> impl Iterator<Item = (&RoomId, &Error)> {
        self.results.iter().filter_map(|(id, result)| Some((id, result.as_ref().err()?)))
    }

    /// Returns the values of all rooms.
    ///
    /// # Errors
    /// The error of the first room, in the order of the ids, that failed. [`Error::room`] returns its id.
    pub fn all(self) -> Result<Vec<(RoomId, T)>, Error> {
        self.results.into_iter().map(|(id, result)| Ok((id, result?))).collect()
    }
}

impl<T> IntoIterator for Federated<T> {
    type Item = (RoomId, Result<T, Error>);
    type IntoIter = vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.results.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Federated<T> {
    type Item = &'a (RoomId, Result<T, Error>);
    type IntoIter = slice::Iter<'a, (RoomId, Result<T, Error>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
