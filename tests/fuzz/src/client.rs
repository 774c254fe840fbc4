//! The Rust client, with a room and a network that do what the bytes say.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_core::Stream;
use futures_sink::Sink;
use room_client::{
    BoxError, Builder, Codec, ConnectError, Frame, Incoming, Messages, Overflow, Queue, Reconnect, Socket, Transport,
    UpgradeRequest,
};
use room_runtime::{
    __private::fuzz::{self, ClientFrame},
    SUBPROTOCOL, SUBPROTOCOL_MSGPACK,
    testing::TestFrame,
};

use crate::input::Input;

/// The outcome of an event or a call, and whether it is a success.
type Outcome = Pin<Box<dyn Future<Output = bool>>>;

/// Both ends of the socket that was opened last, and the time.
#[derive(Default)]
struct Network {
    now: Cell<Duration>,
    /// The items that the client reads next; `None` ends the socket.
    arriving: RefCell<VecDeque<Option<Result<Frame, String>>>>,
    sent: RefCell<Vec<Frame>>,
    /// The next answers to attempts to connect.
    answers: RefCell<VecDeque<Answer>>,
    /// The number of the open socket: an older one has ended.
    opened: Cell<u64>,
    is_packed: Cell<bool>,
    is_broken: Cell<bool>,
    is_full: Cell<bool>,
    /// True once frames have waited for the socket: a room can make up an outcome for one of them, which is sent all the same.
    was_full: Cell<bool>,
}

enum Answer {
    Protocol(Option<String>),
    Refused(u16),
    Unreachable,
}

struct Simulated(Rc<Network>);

struct SimulatedSocket {
    network: Rc<Network>,
    number: u64,
    protocol: Option<String>,
}

struct Sleep(Rc<Network>, Duration);

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        // The driver is polled after each step of the script.
        if self.0.now.get() >= self.1 { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Transport for Simulated {
    type Socket = SimulatedSocket;
    type Connect = Ready<Result<SimulatedSocket, ConnectError>>;
    type Sleep = Sleep;

    fn connect(&self, request: UpgradeRequest) -> Self::Connect {
        let network = &self.0;
        let expected = if network.is_packed.get() { SUBPROTOCOL_MSGPACK } else { SUBPROTOCOL };
        assert_eq!(request.protocols.first().map(String::as_str), Some(expected));
        let mut protocols = request.protocols;
        // Whatever the room sent as its session, the offer is a token of the header.
        let _ = fuzz::take_resume_offer(&mut protocols);
        assert_eq!(protocols.len(), 1, "{protocols:?}");
        let protocol = match network.answers.borrow_mut().pop_front() {
            None => Some(expected.to_owned()),
            Some(Answer::Protocol(protocol)) => protocol,
            Some(Answer::Refused(status)) => {
                return ready(Err(ConnectError::refused(status, "no", Some(Duration::from_secs(1)))));
            }
            Some(Answer::Unreachable) => return ready(Err(ConnectError::network("it is unreachable"))),
        };
        network.opened.set(network.opened.get() + 1);
        network.arriving.borrow_mut().clear();
        network.is_broken.set(false);
        network.is_full.set(false);
        ready(Ok(SimulatedSocket { network: network.clone(), number: network.opened.get(), protocol }))
    }

    fn now(&self) -> Duration {
        self.0.now.get()
    }

    fn sleep(&self, time: Duration) -> Sleep {
        Sleep(self.0.clone(), self.0.now.get().saturating_add(time))
    }

    fn seed(&self) -> u64 {
        7
    }
}

impl SimulatedSocket {
    fn is_open(&self) -> bool {
        self.number == self.network.opened.get()
    }
}

impl Socket for SimulatedSocket {
    fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}

impl Stream for SimulatedSocket {
    type Item = Result<Frame, BoxError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.is_open() {
            return Poll::Ready(None);
        }
        match self.network.arriving.borrow_mut().pop_front() {
            None => Poll::Pending,
            Some(item) => Poll::Ready(item.map(|item| item.map_err(BoxError::from))),
        }
    }
}

impl Sink<Frame> for SimulatedSocket {
    type Error = BoxError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.network.is_full.get() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<(), BoxError> {
        if self.network.is_broken.get() || !self.is_open() {
            return Err("a broken pipe".into());
        }
        self.network.sent.borrow_mut().push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls until nothing more happens by itself.
fn settle(driver: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
    for _ in 0..10_000 {
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(flag.clone());
        if driver.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
        if !flag.0.load(Ordering::Relaxed) {
            return false;
        }
    }
    panic!("the driver never waits");
}

/// Reads what has arrived for the program.
fn read(messages: &mut Messages<serde_json::Value>) -> bool {
    loop {
        match pin!(messages.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(None) => return true,
            Poll::Ready(Some(Incoming::Undecodable(undecodable))) => assert_ne!(undecodable.error.message(), ""),
            Poll::Ready(Some(Incoming::Lagged { .. })) => panic!("the program reads everything"),
            Poll::Ready(Some(_)) => {}
            Poll::Pending => return false,
        }
    }
}

/// Makes a frame of the room from a few numbers, so that short inputs reach far.
fn control(kind: u8, number: u64, other: u64) -> String {
    let flag = |bit: u64| other >> bit & 1 == 1;
    match kind % 8 {
        0 => format!(
            r#"[[{{"welcome":{{"session":"{:032x}","resumed":{},"last":{number},"window":{},"gap":{},"heartbeat":["ping","pong"]}}}}]]"#,
            other & 3,
            flag(0),
            // The window of a room, one of a hostile one, or a small one.
            [64, u64::MAX, 2, 1][(other >> 4 & 3) as usize],
            flag(2),
        ),
        1 => format!(r#"[[{{"ack":{number}}}]]"#),
        2 => format!(r#"[[{{"error":{{"n":{number},"code":"refused","message":"no","retry_after_ms":{other}}}}}]]"#),
        3 => format!(r#"[[{{"answer":{{"n":{number},"value":{other}}}}}]]"#),
        4 => format!(r#"[[{{"resend":{number}}}]]"#),
        5 => format!(r#"[[{{"at":{number}}}],{other},"text"]"#),
        6 => format!(r#"[[{{"answer":{{"n":{number},"error":{{"type":"No"}}}}}},{{"ack":{other}}}]]"#),
        _ => {
            format!(r#"[[{{"error":{{"code":"overloaded","message":"no"}}}},{{"ack":{number}}},{{"resend":{other}}}]]"#)
        }
    }
}

/// Writes JSON in the codec of the client.
fn frame(json: &str, is_packed: bool) -> Frame {
    match is_packed {
        false => Frame::Text(json.to_owned()),
        true => {
            let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
            Frame::Binary(rmp_serde::to_vec(&value).unwrap_or_default())
        }
    }
}

/// A byte of options, and then a script.
pub fn client(data: &[u8]) {
    let mut input = Input::new(data);
    let options = input.byte().unwrap_or(0);
    let network = Rc::new(Network::default());
    let is_packed = options & 1 == 1;
    network.is_packed.set(is_packed);
    let overflow = if options & 2 == 0 { Overflow::Reject } else { Overflow::DropOldest };
    let mut reconnect = Reconnect::default();
    if options & 4 != 0 {
        reconnect = reconnect.max_attempts(3);
    }
    let builder = Builder::new("ws://room/")
        .codec(if is_packed { Codec::MessagePack } else { Codec::Json })
        .queue(Queue::default().max(4).overflow(overflow))
        .reconnect(reconnect)
        .buffer(100_000);
    let (client, mut messages, driver) = builder.connect_with::<u64, serde_json::Value, _>(Simulated(network.clone()));
    let mut driver = pin!(driver);
    let mut waiting: Vec<(u64, Outcome)> = Vec::new();
    let mut settled = BTreeSet::new();
    let mut next_event = 1_000_000;
    let mut is_over = settle(&mut driver);

    while let Some(action) = input.byte() {
        match action % 16 {
            0..=2 => {
                let (kind, number, other) = (input.byte().unwrap_or(0), input.number(), input.number());
                let frame = frame(&control(kind, number, other), is_packed);
                network.arriving.borrow_mut().push_back(Some(Ok(frame)));
            }
            3 => network.arriving.borrow_mut().push_back(Some(Ok(Frame::Text(input.text())))),
            4 => network.arriving.borrow_mut().push_back(Some(Ok(Frame::Binary(input.bytes().to_vec())))),
            5 => {
                let json = input.text();
                network.arriving.borrow_mut().push_back(Some(Ok(frame(&json, is_packed))));
            }
            6 => {
                let (code, reason) = (input.short(), input.text());
                network.arriving.borrow_mut().push_back(Some(Ok(Frame::Close { code, reason })));
            }
            7 => network.arriving.borrow_mut().push_back(match input.byte() {
                Some(0) => Some(Err("reset".to_owned())),
                _ => None,
            }),
            8 => {
                let ms = u64::from(input.short()) * 4;
                network.now.set(network.now.get() + Duration::from_millis(ms));
            }
            9 | 10 if waiting.len() < 64 => {
                next_event += 1;
                let pending = client.send(&next_event);
                waiting.push((next_event, Box::pin(async move { pending.await.is_ok() })));
            }
            11 if waiting.len() < 64 => {
                next_event += 1;
                let pending = client.call::<serde_json::Value, serde_json::Value>(
                    "add",
                    &[("n", next_event)].into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                );
                waiting.push((next_event, Box::pin(async move { pending.await.is_ok() })));
            }
            12 => client.nudge(),
            13 => drop(client.send_unacknowledged(&7)),
            14 => {
                let answer = match input.byte().unwrap_or(0) % 4 {
                    0 => Answer::Protocol(None),
                    1 => Answer::Protocol(Some("room.v1".to_owned())),
                    2 => Answer::Refused(input.short()),
                    _ => Answer::Unreachable,
                };
                network.answers.borrow_mut().push_back(answer);
            }
            15 => match input.byte().unwrap_or(0) % 4 {
                0 => network.is_broken.set(true),
                1 => {
                    network.is_full.set(true);
                    network.was_full.set(true);
                }
                2 => network.is_full.set(false),
                // The program gives an event up.
                _ => drop(waiting.pop()),
            },
            _ => {}
        }
        is_over = is_over || settle(&mut driver);
        read(&mut messages);
        check_sent(&network, &settled);
        waiting.retain_mut(|(event, pending)| {
            let is_pending = pending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
            if !is_pending {
                settled.insert(*event);
            }
            is_pending
        });
    }

    // Whatever the room did, the end is an end.
    let _ = client.close(1000, "over");
    is_over = is_over || settle(&mut driver);
    network.now.set(network.now.get() + Duration::from_secs(10));
    is_over = is_over || settle(&mut driver);
    assert!(is_over, "the driver goes on after the close");
    assert!(read(&mut messages), "the messages go on after the close");
    assert_eq!(client.pending(), 0);
    for (event, mut pending) in waiting {
        let outcome = pending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(outcome.is_ready(), "the event {event} has no outcome");
    }
}

/// Checks the frames that the client has sent since the last call.
fn check_sent(network: &Network, settled: &BTreeSet<u64>) {
    for sent in network.sent.take() {
        let sent = match sent {
            Frame::Text(text) if text == "ping" => continue,
            Frame::Text(text) => TestFrame::Text(text),
            Frame::Binary(bytes) => TestFrame::Binary(bytes.into()),
            _ => continue,
        };
        if let TestFrame::Text(text) = &sent
            && fuzz::number_of(sent.clone()) == 0
            && !text.starts_with(['[', '{'])
        {
            // The text of a heartbeat is the room's.
            continue;
        }
        let number = fuzz::number_of(sent.clone());
        match fuzz::client_frame(sent) {
            Ok(ClientFrame::Event(number, event)) => {
                let event = match event {
                    TestFrame::Text(text) => serde_json::from_str::<u64>(&text).expect("an event"),
                    TestFrame::Binary(bytes) => rmp_serde::from_slice::<u64>(&bytes).expect("an event"),
                    other => panic!("{other:?}"),
                };
                assert!(number > 0 || event == 7, "{event} has no number");
                assert!(network.was_full.get() || !settled.contains(&event), "{event} is sent again after its outcome");
            }
            Ok(ClientFrame::Call(number, name, _)) => assert!(number > 0 && name == "add"),
            Ok(_) => {}
            // A room can settle numbers beyond those that a frame can have.
            Err(frame) => assert_eq!(number, 0, "{frame:?}"),
        }
    }
}
