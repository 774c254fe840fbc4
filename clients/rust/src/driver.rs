//! [`Driver`]: carries frames and times between the core and a transport.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    Close, ConnectError, Endpoint, Error, ErrorKind, Provide,
    core::{Command, Core},
    error::BoxError,
    shared::Shared,
    transport::{Frame, Socket, Transport},
};

/// The time for a close handshake.
const CLOSE: Duration = Duration::from_secs(5);
/// The frames that are read before other tasks run.
const BUDGET: usize = 64;

/// The future that does a client's work, from [`Builder::connect_with`](crate::Builder::connect_with).
///
/// It ends after the connection is closed for good. If it is dropped before, the client is closed, without a close frame
/// for the room.
///
/// ```
/// use room_client::{Builder, NativeTransport};
/// # #[derive(serde::Serialize)] struct Event;
/// # #[derive(serde::Deserialize)] struct Broadcast;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let builder = Builder::new("ws://127.0.0.1:9/");
/// let (client, messages, driver) = builder.connect_with::<Event, Broadcast, _>(NativeTransport::new());
/// let driving = tokio::spawn(driver);
/// client.close(1000, "that was all").expect("a valid close");
/// // The task ends when the close is complete.
/// driving.await.expect("no panic");
/// # }
/// ```
#[must_use = "the client does nothing without its driver"]
pub struct Driver<T: Transport, P: Provide = Endpoint> {
    shared: Arc<Shared>,
    transport: Box<T>,
    provider: Box<P>,
    link: Link<T, P>,
    /// Sockets whose close handshake is not complete.
    closing: Vec<Closing<T::Socket>>,
    timer: Option<(Duration, Pin<Box<T::Sleep>>)>,
}

enum Link<T: Transport, P: Provide> {
    Down,
    /// The endpoint is being provided. The list has the protocols to offer.
    Providing(Pin<Box<P::Future>>, Vec<String>),
    Connecting(Pin<Box<T::Connect>>),
    Up(Connection<T::Socket>),
}

struct Connection<S> {
    socket: S,
    has_unflushed: bool,
    /// The error of a write. What was read before the connection was lost can have the room's close frame.
    fault: Option<BoxError>,
}

struct Closing<S> {
    socket: S,
    /// The frames before the close frame, and that frame. An answer to the room's close frame comes from the socket.
    out: VecDeque<Frame>,
    is_answer: bool,
    until: Duration,
}

impl<T: Transport, P: Provide> Driver<T, P> {
    pub(crate) fn new(shared: Arc<Shared>, transport: T, provider: P) -> Self {
        let (transport, provider) = (Box::new(transport), Box::new(provider));
        Driver { shared, transport, provider, link: Link::Down, closing: Vec::new(), timer: None }
    }

    /// Calls the core.
    fn core<R>(&self, call: impl FnOnce(&mut Core) -> R) -> R {
        self.shared.with(|state| call(&mut state.core))
    }

    fn obey(&mut self, command: Command) {
        let link = std::mem::replace(&mut self.link, Link::Down);
        match command {
            Command::Connect(protocols) => {
                self.link = Link::Providing(Box::pin(self.provider.provide()), protocols);
            }
            Command::Abandon => drop(link),
            Command::Close(code, reason) => {
                let mut out = self.core(|core| std::mem::take(&mut core.outbox.out));
                if let Link::Up(Connection { socket, .. }) = link {
                    out.push_back(Frame::Close { code, reason });
                    self.finish(socket, out, false);
                }
            }
        }
    }

    fn finish(&mut self, socket: T::Socket, out: VecDeque<Frame>, is_answer: bool) {
        let until = self.transport.now() + CLOSE;
        self.closing.push(Closing { socket, out, is_answer, until });
    }

    /// Carries on with the connection. Returns false if it waits.
    fn advance(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.transport.now();
        match &mut self.link {
            Link::Down => false,
            Link::Providing(future, protocols) => {
                let Poll::Ready(provided) = future.as_mut().poll(cx) else { return false };
                let request = provided.map_err(of_the_provider).and_then(|endpoint| {
                    endpoint.into_request(std::mem::take(protocols)).map_err(ConnectError::endpoint)
                });
                match request {
                    Ok(request) => self.link = Link::Connecting(Box::pin(self.transport.connect(request))),
                    Err(error) => self.not_opened(now, error),
                }
                true
            }
            Link::Connecting(future) => {
                let Poll::Ready(connected) = future.as_mut().poll(cx) else { return false };
                match connected {
                    Ok(socket) => {
                        let protocol = socket.protocol().map(str::to_owned);
                        self.link = Link::Up(Connection { socket, has_unflushed: false, fault: None });
                        self.core(|core| core.opened(now, protocol.as_deref()));
                    }
                    Err(error) => self.not_opened(now, error),
                }
                true
            }
            Link::Up(connection) => {
                if let Some((close, is_answered)) = connection.advance(&self.shared, now, cx) {
                    self.core(|core| core.disconnected(now, close));
                    if let Link::Up(connection) = std::mem::replace(&mut self.link, Link::Down)
                        && !is_answered
                    {
                        self.finish(connection.socket, VecDeque::new(), true);
                    }
                    return true;
                }
                false
            }
        }
    }

    fn not_opened(&mut self, now: Duration, error: ConnectError) {
        self.link = Link::Down;
        self.core(|core| core.not_opened(now, error));
    }

    /// Waits for a time. Returns true if it has come.
    fn is_due(&mut self, time: Duration, cx: &mut Context<'_>) -> bool {
        let timer = match &mut self.timer {
            Some((at, timer)) if *at == time => timer,
            timer => {
                let sleep = self.transport.sleep(time.saturating_sub(self.transport.now()));
                &mut timer.insert((time, Box::pin(sleep))).1
            }
        };
        let is_due = timer.as_mut().poll(cx).is_ready();
        if is_due {
            self.timer = None;
        }
        is_due
    }
}

fn of_the_provider(source: BoxError) -> ConnectError {
    let error = Error::new(ErrorKind::Endpoint, format!("the provider of the endpoint failed: {source}"));
    ConnectError { error: error.with_source(source), is_final: false }
}

impl<S: Socket> Connection<S> {
    /// Reads and writes until both wait. Returns the end of the connection, and false if a close frame is to be answered.
    fn advance(&mut self, shared: &Shared, now: Duration, cx: &mut Context<'_>) -> Option<(Close, bool)> {
        let mut budget = BUDGET;
        loop {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(Frame::Close { code, reason }))) => return Some((Close::new(code, reason), false)),
                Poll::Ready(Some(Ok(frame))) => {
                    // A handle can have closed the connection in the meantime.
                    let has_command = shared.with(|state| {
                        state.core.received(now, frame);
                        state.core.command.is_some()
                    });
                    budget -= 1;
                    if has_command || budget == 0 {
                        cx.waker().wake_by_ref();
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Some((Close::lost(Some(of_the_socket(error))), true)),
                Poll::Ready(None) => {
                    let fault = self.fault.take().map(of_the_socket);
                    return Some((Close::lost(fault), true));
                }
                Poll::Pending => {
                    if let Some(fault) = self.fault.take() {
                        return Some((Close::lost(Some(of_the_socket(fault))), true));
                    }
                    break;
                }
            }
        }
        if let Err(fault) = self.write(shared, cx) {
            self.fault = Some(fault);
            cx.waker().wake_by_ref();
        }
        None
    }

    fn write(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Result<(), BoxError> {
        let mut socket = Pin::new(&mut self.socket);
        while self.fault.is_none() && shared.with(|state| !state.core.outbox.out.is_empty()) {
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(()),
            }
            let Some(frame) = shared.with(|state| state.core.outbox.out.pop_front()) else { break };
            socket.as_mut().start_send(frame)?;
            self.has_unflushed = true;
        }
        if self.has_unflushed
            && let Poll::Ready(flushed) = socket.poll_flush(cx)
        {
            self.has_unflushed = false;
            flushed?;
        }
        Ok(())
    }
}

fn of_the_socket(source: BoxError) -> Error {
    Error::new(ErrorKind::Connection, "the connection failed").with_source(source)
}

impl<S: Socket> Closing<S> {
    /// Returns true if there is nothing more to do.
    fn is_over(&mut self, now: Duration, cx: &mut Context<'_>) -> bool {
        self.until <= now || self.try_advance(cx).unwrap_or(true)
    }

    fn try_advance(&mut self, cx: &mut Context<'_>) -> Result<bool, BoxError> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.out.is_empty() {
            match socket.as_mut().poll_ready(cx)? {
                Poll::Ready(()) => self.out.pop_front().map_or(Ok(()), |frame| socket.as_mut().start_send(frame))?,
                Poll::Pending => break,
            }
        }
        let is_flushed = socket.as_mut().poll_flush(cx)?.is_ready();
        if self.is_answer && is_flushed {
            return Ok(true);
        }
        while let Poll::Ready(item) = socket.as_mut().poll_next(cx)? {
            // The room's answer is the end, whether or not it also ends the connection.
            if matches!(item, None | Some(Frame::Close { .. })) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<T: Transport, P: Provide> Future for Driver<T, P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            // A handle that changes the state from now on wakes this task.
            let command = this.shared.with(|state| {
                state.driver = Some(cx.waker().clone());
                state.core.command.take()
            });
            if let Some(command) = command {
                this.obey(command);
                continue;
            }
            // Before the timers: a frame that waits in the socket is a sign of life.
            if this.advance(cx) {
                continue;
            }
            let now = this.transport.now();
            let (has_work, deadline, is_closed) = this.shared.with(|state| {
                let waiting = state.core.outbox.out.len();
                if std::mem::take(&mut state.is_nudged) {
                    state.core.nudge(now);
                }
                state.core.tick(now);
                // Frames that the socket did not accept wait for it, and those of a heartbeat are new.
                let has_work = state.core.command.is_some() || state.core.outbox.out.len() > waiting;
                (has_work, state.core.deadline(), state.core.closed().is_some())
            });
            if has_work {
                continue;
            }
            this.closing.retain_mut(|closing| !closing.is_over(now, cx));
            if is_closed && matches!(this.link, Link::Down) && this.closing.is_empty() {
                this.shared.done();
                return Poll::Ready(());
            }
            let next = this.closing.iter().map(|closing| closing.until).chain(deadline).min();
            let is_due = next.is_some_and(|next| this.is_due(next, cx));
            if is_due {
                continue;
            }
            return Poll::Pending;
        }
    }
}

impl<T: Transport, P: Provide> Drop for Driver<T, P> {
    fn drop(&mut self) {
        let error = Error::new(ErrorKind::Closed, "the driver of the client was dropped");
        self.core(|core| core.close(Close::lost(Some(error))));
        self.shared.done();
    }
}

impl<T: Transport, P: Provide> fmt::Debug for Driver<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
