//! The client over a transport of one's own, which cannot change threads.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Pending, Ready, pending, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use futures_channel::mpsc;
use futures_util::{FutureExt, Sink, Stream};
use room_client::{BoxError, Builder, Close, ConnectError, Frame, Incoming, Socket, Status, Transport, UpgradeRequest};
use tokio::task::LocalSet;

/// A transport whose sockets a test has prepared.
#[derive(Default)]
struct Prepared {
    sockets: RefCell<VecDeque<PreparedSocket>>,
}

struct PreparedSocket {
    frames: mpsc::UnboundedReceiver<Result<Frame, BoxError>>,
    sent: Rc<RefCell<Vec<Frame>>>,
    /// True if each frame to the room fails.
    is_broken: bool,
    /// The frames of the room that arrive when the first one fails.
    last: Vec<Frame>,
    arrive: Frames,
}

impl Transport for Prepared {
    type Socket = PreparedSocket;
    type Connect = Ready<Result<PreparedSocket, ConnectError>>;
    type Sleep = Pending<()>;

    fn connect(&self, _: UpgradeRequest) -> Self::Connect {
        ready(self.sockets.borrow_mut().pop_front().ok_or_else(|| ConnectError::network("there is no socket")))
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pending<()> {
        pending()
    }

    fn seed(&self) -> u64 {
        1
    }
}

impl Socket for PreparedSocket {
    fn protocol(&self) -> Option<&str> {
        Some("room.v1")
    }
}

impl Stream for PreparedSocket {
    type Item = Result<Frame, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.frames).poll_next(cx)
    }
}

impl Sink<Frame> for PreparedSocket {
    type Error = BoxError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
        if self.is_broken {
            for frame in std::mem::take(&mut self.last) {
                self.arrive.unbounded_send(Ok(frame)).expect("it is there");
            }
            return Err("a broken pipe".into());
        }
        self.sent.borrow_mut().push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }
}

type Frames = mpsc::UnboundedSender<Result<Frame, BoxError>>;

fn socket(is_broken: bool) -> (PreparedSocket, Frames, Rc<RefCell<Vec<Frame>>>) {
    let (frames, receiver) = mpsc::unbounded();
    let sent = Rc::<RefCell<_>>::default();
    let welcome = r#"[[{"welcome":{"session":"ff","resumed":false,"last":0,"window":4}}]]"#;
    frames.unbounded_send(Ok(Frame::Text(welcome.to_owned()))).expect("it is there");
    let arrive = frames.clone();
    (PreparedSocket { frames: receiver, sent: sent.clone(), is_broken, last: Vec::new(), arrive }, frames, sent)
}

/// Connects over one socket, and runs a test beside the driver.
async fn with<T>(
    socket: PreparedSocket,
    test: impl AsyncFnOnce(room_client::Client<&str>, room_client::Messages<String>) -> T,
) -> T {
    let transport = Prepared::default();
    transport.sockets.borrow_mut().push_back(socket);
    let (room, messages, driver) = Builder::new("ws://room/").connect_with(transport);
    let tasks = LocalSet::new();
    tasks.spawn_local(driver);
    tasks.run_until(test(room, messages)).await
}

/// Waits for the end of the first connection.
async fn lost(messages: &mut room_client::Messages<String>) -> Close {
    loop {
        match messages.next().await {
            Some(Incoming::Status(Status::Reconnecting { reason: close, .. } | Status::Closed(close))) => return close,
            Some(_) => {}
            None => panic!("the connection did not end"),
        }
    }
}

#[tokio::test]
async fn each_event_is_sent_at_once() {
    let (socket, frames, sent) = socket(false);
    let test = async |room: room_client::Client<&str>, _| {
        room.wait_for_open().await.expect("it is open");
        for number in 1..=3 {
            room.send(&"e").detach();
            // The driver runs beside the test.
            tokio::task::yield_now().await;
            assert_eq!(sent.borrow().last(), Some(&Frame::Text(format!("[{number},\"e\"]"))));
        }
        frames.unbounded_send(Ok(Frame::Text(r#"[[{"ack":3}]]"#.to_owned()))).expect("it is there");
        room.send(&"e").detach();
        tokio::task::yield_now().await;
        assert_eq!(room.pending(), 1);
    };
    with(socket, test).await;
}

#[tokio::test]
async fn a_connection_that_takes_no_frames_is_lost() {
    let (socket, _frames, _) = socket(true);
    let test = async |room: room_client::Client<&str>, mut messages| {
        room.wait_for_open().await.expect("it is open");
        let sending = room.send(&"e");
        let close = lost(&mut messages).await;
        assert_eq!(close.code, 1006);
        let error = close.error.expect("a cause");
        assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("a broken pipe"));
        assert!(sending.now_or_never().is_none(), "it waits for the next connection");
    };
    with(socket, test).await;
}

#[tokio::test]
async fn a_close_frame_that_arrived_counts_more_than_the_error_of_a_write() {
    let (mut socket, _frames, _) = socket(true);
    let close = Frame::Close { code: 4001, reason: "banned".to_owned() };
    socket.last = vec![Frame::Text(r#"[[],"last"]"#.to_owned()), close];
    let test = async |room: room_client::Client<&str>, mut messages| {
        room.wait_for_open().await.expect("it is open");
        room.send(&"e").detach();
        let close = lost(&mut messages).await;
        assert_eq!((close.code, &*close.reason), (4001, "banned"));
    };
    with(socket, test).await;
}
