//! The Rust client, `room-client`, over the sockets of a harness. So its promises are cases, on both platforms.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use conformance_rooms::script::{Broadcast, Event, Scripted};
use futures_util::{Sink, Stream};
use room_client::{Builder, ConnectError, Frame, Incoming, Messages, Reconnect, Transport, UpgradeRequest};

use crate::harness::{Arrival, Guest, Harness, PATIENCE, Peer, Refusal, Room, Socket as _};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// A client of a room, with what it has received.
pub struct Client<H: Harness, R: Scripted> {
    /// The handle.
    pub handle: room_client::Client<Event>,
    messages: RefCell<Messages<Broadcast>>,
    connection: Connection<H, R>,
    is_held: Rc<Cell<bool>>,
    harness: H,
}

impl<H: Harness, R: Scripted> fmt::Debug for Client<H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// The present connection.
type Connection<H, R> = Rc<RefCell<Option<Rc<Peer<H, R>>>>>;

impl<H: Harness, R: Scripted> Client<H, R> {
    /// Connects a client. `guest` makes its part of each attempt.
    pub fn connect(room: &Room<H, R>, guest: impl Fn() -> Guest + 'static) -> Self {
        let connection = Connection::default();
        let harness = room.harness().clone();
        let is_held = Rc::default();
        let bridge = Bridge {
            room: room.clone(),
            guest: Box::new(guest),
            connection: Rc::clone(&connection),
            is_held: Rc::clone(&is_held),
        };
        let reconnect = Reconnect::default().base(Duration::from_millis(50)).max(Duration::from_millis(500));
        let (handle, messages, driver) = Builder::default().reconnect(reconnect).connect_with(bridge);
        drop(harness.begin(driver));
        Client { handle, messages: RefCell::new(messages), connection, is_held, harness }
    }

    /// Drops the connection without a close frame. The client makes another one.
    pub fn cut(&self) {
        if let Some(peer) = &*self.connection.borrow() {
            peer.disconnect();
        }
    }

    /// Drops the connection, and has none during this work.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn without_connection(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        self.is_held.set(true);
        self.cut();
        let done = work.await;
        self.is_held.set(false);
        done
    }

    /// Waits for an outcome.
    ///
    /// # Errors
    /// Fails if it takes too long.
    pub async fn outcome<T>(&self, outcome: impl Future<Output = T>) -> Result<T> {
        let outcome = self.harness.in_time(outcome).await;
        outcome.with_context(|| format!("waited {PATIENCE:?} for an outcome"))
    }

    /// Returns the next item.
    ///
    /// # Errors
    /// Fails if it takes too long, and after the end of the connection.
    pub async fn next(&self) -> Result<Incoming<Broadcast>> {
        let next = poll_fn(|cx| Pin::new(&mut *self.messages.borrow_mut()).poll_next(cx));
        let next = self.harness.in_time(next).await.with_context(|| format!("waited {PATIENCE:?} for an item"))?;
        next.context("the connection is closed for good")
    }

    /// Reads items until this text has arrived. Returns the texts and the gaps, with those before the first text.
    ///
    /// # Errors
    /// Fails if another kind of item arrives.
    pub async fn texts_until(&self, last: &str) -> Result<(Vec<String>, usize)> {
        let (mut texts, mut gaps) = (Vec::new(), 0);
        while texts.last().is_none_or(|text| text != last) {
            match self.next().await? {
                Incoming::Message(Broadcast::Said { text, .. }) => texts.push(text),
                Incoming::Message(_) | Incoming::Status(_) => {}
                Incoming::Gap { .. } => gaps += 1,
                other => bail!("{other:?} after {texts:?}"),
            }
        }
        Ok((texts, gaps))
    }
}

/// Carries the frames of a client.
struct Bridge<H: Harness, R: Scripted> {
    room: Room<H, R>,
    guest: Box<dyn Fn() -> Guest>,
    connection: Connection<H, R>,
    is_held: Rc<Cell<bool>>,
}

impl<H: Harness, R: Scripted> Transport for Bridge<H, R> {
    type Socket = Socket<H, R>;
    type Connect = Local<Result<Socket<H, R>, ConnectError>>;
    type Sleep = Local<()>;

    fn connect(&self, request: UpgradeRequest) -> Self::Connect {
        let guest = (self.guest)().offering(&request.protocols.join(", "));
        let (connecting, connection) = (self.room.try_connect(guest), self.connection.clone());
        let (is_held, harness) = (self.is_held.clone(), self.room.harness().clone());
        Box::pin(async move {
            while is_held.get() {
                harness.clone().pass(Duration::from_millis(10)).await;
            }
            match connecting.await {
                Ok(Ok(peer)) => {
                    let peer = Rc::new(peer);
                    connection.replace(Some(peer.clone()));
                    Ok(Socket {
                        protocol: peer.protocol(),
                        receiving: receive(&peer),
                        sending: None,
                        peer,
                        is_over: false,
                    })
                }
                Ok(Err(Refusal::Response(response))) => {
                    let body = String::from_utf8_lossy(response.body()).into_owned();
                    Err(ConnectError::refused(response.status().as_u16(), &body, None))
                }
                Ok(Err(Refusal::Failed(failed))) => Err(ConnectError::network(format!("{failed:?}"))),
                Err(error) => Err(ConnectError::network(format!("{error:#}"))),
            }
        })
    }

    fn now(&self) -> Duration {
        self.room.harness().now()
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        // The clock in memory counts whole milliseconds.
        let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Box::pin(self.room.harness().clone().pass(Duration::from_millis(ms)))
    }

    fn seed(&self) -> u64 {
        7
    }
}

/// A socket of a harness.
struct Socket<H: Harness, R: Scripted> {
    peer: Rc<Peer<H, R>>,
    protocol: Option<String>,
    receiving: Local<Arrival>,
    sending: Option<Local<Result<()>>>,
    is_over: bool,
}

fn receive<H: Harness, R: Scripted>(peer: &Rc<Peer<H, R>>) -> Local<Arrival> {
    let peer = peer.clone();
    Box::pin(async move { peer.socket().receive().await })
}

impl<H: Harness, R: Scripted> room_client::Socket for Socket<H, R> {
    fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}

impl<H: Harness, R: Scripted> Stream for Socket<H, R> {
    type Item = Result<Frame, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Poll::Ready(arrival) = self.receiving.as_mut().poll(cx) else { return Poll::Pending };
        self.receiving = receive(&self.peer);
        Poll::Ready(match arrival {
            Arrival::Text(text) => Some(Ok(Frame::Text(text))),
            Arrival::Binary(bytes) => Some(Ok(Frame::Binary(bytes))),
            Arrival::Closed(code, reason) => {
                self.is_over = true;
                (code != 1006).then_some(Ok(Frame::Close { code, reason }))
            }
        })
    }
}

impl<H: Harness, R: Scripted> Sink<Frame> for Socket<H, R> {
    type Error = BoxError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.poll_flush(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
        let peer = self.peer.clone();
        self.sending = Some(Box::pin(async move {
            match frame {
                Frame::Text(text) => peer.send_raw(text).await,
                Frame::Binary(bytes) => peer.send_binary(bytes).await,
                Frame::Close { code, reason } => peer.begin_close(code, &reason).await,
            }
        }));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        let sent = sending.as_mut().poll(cx);
        if sent.is_ready() {
            self.sending = None;
        }
        sent.map_err(Into::into)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.poll_flush(cx)
    }
}

impl<H: Harness, R: Scripted> Drop for Socket<H, R> {
    fn drop(&mut self) {
        // The scope of the case keeps the connection otherwise.
        self.peer.disconnect();
    }
}
