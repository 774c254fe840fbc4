//! Rooms in memory, in virtual time.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use anyhow::{Context as _, Result};
use conformance_rooms::{
    api::{self, Address, Asking, Call, Dialogue, Failed, Federation, Joining, Results, Said},
    equipped,
    script::{Broadcast, Connection, Event, Scripted},
};
use futures_channel::oneshot;
use hyper::{Request, Response, body::Bytes};
use room_runtime::{
    CloseCode,
    testing::{Refusal as TestRefusal, TestFrame, TestPeer, TestRoom, World},
};
use serde_json::Value;

use crate::harness::{Arrival, Begun, Harness, Knock, PATIENCE, Platform, Refusal, Scope, Socket};

/// The virtual time that passes in one step while a case waits.
const STEP: Duration = Duration::from_millis(5);

/// The idle time after which workerd hibernates a room.
const IDLE: Duration = Duration::from_secs(12);

/// A case that runs in memory.
#[derive(Clone)]
pub struct Memory {
    world: World,
    scope: Rc<Scope>,
    begun: Rc<RefCell<Vec<Task>>>,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

impl Memory {
    /// Creates an isolated world. The seed decides the order of concurrent work.
    pub fn new(scope: Rc<Scope>, seed: Option<u64>) -> Self {
        let world = seed.map_or_else(World::new, World::with_seed);
        world.provide::<equipped::Room>(|| equipped::Services::new("hello".to_owned()));
        Memory { world, scope, begun: Rc::default() }
    }

    /// Runs a case and the work that it starts. Virtual time passes while the case waits.
    pub fn run<T>(&self, case: impl Future<Output = T>) -> T {
        let mut case = pin!(case);
        loop {
            if let Poll::Ready(value) = poll(case.as_mut()) {
                self.begun.take();
                return value;
            }
            let begun = self.begun.take();
            let pending: Vec<_> =
                begun.into_iter().filter_map(|mut task| poll(task.as_mut()).is_pending().then_some(task)).collect();
            // Started work may have started more.
            self.begun.borrow_mut().extend(pending);
            self.world.advance(STEP);
        }
    }

    /// The room itself, for operations of this platform only.
    pub fn room<R: Scripted>(&self, id: &str) -> TestRoom<R> {
        self.world.room(id)
    }

    fn at<R: Scripted>(&self, room: &Address) -> TestRoom<R> {
        self.world.room(&room.id)
    }

    /// Returns a function that says whether that time has passed since this call.
    fn deadline(&self, time: Duration) -> impl Fn() -> bool + use<> {
        let (world, ms) = (self.world.clone(), u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let end = world.now_ms().saturating_add(ms);
        move || world.now_ms() >= end
    }
}

impl Harness for Memory {
    const PLATFORM: Platform = Platform::Memory;

    type Socket<R: Scripted> = TestPeer<R>;

    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    fn upgrade<R: Scripted>(
        self,
        joining: Joining<Connection>,
        knock: Knock,
    ) -> impl Future<Output = Result<Result<TestPeer<R>, Refusal>>> + 'static {
        let room = self.at::<R>(&joining.room);
        async move {
            let upgrade = joining.join.into_upgrade();
            let Knock { token, headers } = knock;
            let outcome = if token.is_none() && headers.is_empty() {
                room.begin_connect(upgrade).await
            } else {
                let query =
                    form_urlencoded::Serializer::new(String::new()).extend_pairs(token.map(|t| ("token", t))).finish();
                let mut request = Request::get(format!("http://memory/{}/upgrade?{query}", R::NAME));
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                room.try_connect_with(request.body(())?, upgrade)
            };
            Ok(outcome.map_err(|refusal| match refusal {
                TestRefusal::Response(response) => Refusal::Response(*response),
                TestRefusal::Error(error) => Refusal::Failed(error.into()),
                other => unreachable!("a refusal of another kind: {other}"),
            }))
        }
    }

    fn call<R: Scripted>(
        self,
        call: Call<Event, Broadcast>,
    ) -> impl Future<Output = Result<Result<Value, Failed>>> + 'static {
        let calling = api::call(self.world.client::<R>(), call);
        async move { Ok(calling.await) }
    }

    fn federate<R: Scripted>(
        self,
        federation: Federation<Event, Broadcast>,
    ) -> impl Future<Output = Result<Result<Results, Failed>>> + 'static {
        let federating = api::federate(self.world.client::<R>(), federation);
        async move { Ok(federating.await) }
    }

    fn dialogue<R: Scripted>(
        self,
        dialogue: Dialogue<Connection, Event>,
    ) -> impl Future<Output = Result<Result<Vec<Said<Broadcast>>, Failed>>> + 'static {
        let talking = api::dialogue(self.world.client::<R>(), dialogue);
        async move { Ok(talking.await) }
    }

    fn request<R: Scripted>(
        self,
        asking: Asking,
        body: Bytes,
    ) -> impl Future<Output = Result<Result<Response<Bytes>, Failed>>> + 'static {
        let room = self.at::<R>(&asking.room);
        async move {
            let mut request = Request::builder().method(&*asking.method).uri(asking.uri);
            for (name, value) in asking.headers {
                request = request.header(name, value);
            }
            Ok(room.request(request.body(body)?).map_err(Failed::from))
        }
    }

    async fn hibernate<R: Scripted>(&self, room: &Address) -> Result<()> {
        self.world.advance(IDLE);
        self.at::<R>(room).hibernate();
        Ok(())
    }

    async fn restart<R: Scripted>(&self, room: &Address) -> Result<()> {
        self.at::<R>(room).restart();
        Ok(())
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.world.now_ms())
    }

    async fn pass(self, time: Duration) {
        let is_over = self.deadline(time);
        poll_fn(|_| if is_over() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let is_over = self.deadline(PATIENCE);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if is_over() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn begin<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Begun<T> {
        let (sender, receiver) = oneshot::channel();
        let mut task: Task = Box::pin(async move {
            // The receiver is gone if the caller has ended.
            let _ = sender.send(work.await);
        });
        if poll(task.as_mut()).is_pending() {
            self.begun.borrow_mut().push(task);
        }
        Box::pin(async move {
            match receiver.await {
                Ok(value) => value,
                // The work ends with the case.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl<R: Scripted> Socket for TestPeer<R> {
    async fn send_text(&self, text: String) -> Result<()> {
        self.send_raw(text);
        Ok(())
    }

    async fn send_binary(&self, bytes: Vec<u8>) -> Result<()> {
        TestPeer::send_binary(self, bytes);
        Ok(())
    }

    async fn receive(&self) -> Arrival {
        poll_fn(|_| {
            loop {
                return match (self.receive_any(), self.closed()) {
                    // A case waits for this reply with `heartbeat`.
                    (Some(TestFrame::Text(text)), _) if text == R::HEARTBEAT.1 => continue,
                    (Some(TestFrame::Text(text)), _) => Poll::Ready(Arrival::Text(text)),
                    (Some(TestFrame::Binary(bytes)), _) => Poll::Ready(Arrival::Binary(bytes.into())),
                    (Some(other), _) => unreachable!("a frame of another kind: {other:?}"),
                    (None, Some((code, reason))) => Poll::Ready(Arrival::Closed(code, reason)),
                    (None, None) => Poll::Pending,
                };
            }
        })
        .await
    }

    async fn close(&self, code: u16, reason: &str) -> Result<()> {
        let code = CloseCode::new(code).context("a client in memory closes with codes that may be sent")?;
        self.close_with(code, reason);
        Ok(())
    }

    fn disconnect(&self) {
        TestPeer::disconnect(self);
    }

    fn mute(&self) {
        self.stop_responding();
    }

    fn protocol(&self) -> Option<String> {
        TestPeer::protocol(self)
    }

    async fn heartbeat(&self) -> Result<()> {
        TestPeer::heartbeat(self);
        Ok(())
    }
}

/// Hides the output of intended panics: a case that makes a room panic checks the result itself.
pub fn quiet_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(conformance_rooms::PANIC) {
            before(panic);
        }
    }));
}
