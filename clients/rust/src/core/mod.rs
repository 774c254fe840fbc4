//! The protocol without a socket, a runtime or a clock: frames and times come in; frames, outcomes and a deadline come out.
//!
//! [`Core`] decides when to connect, when a connection is dead and what is sent. Times are those of
//! [`Transport::now`](crate::Transport::now). After each call, [`Core::command`], [`Outbox::out`], [`Outbox::ended`] and
//! [`Core::events`] have what there is to do.

mod outbox;
#[cfg(feature = "msgpack")]
mod packed;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::time::Duration;

pub use self::wire::Codec;
pub(crate) use self::{
    outbox::{Item, Outbox, Outcome},
    wire::{Answer, Control, RoomFrame, Welcome},
};
use crate::{Close, ConnectError, Error, ErrorKind, Queue, Reconnect, Status, transport::Frame};

/// The longest time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// The time after a heartbeat within which a frame has to arrive.
const ANSWER: Duration = Duration::from_secs(10);
/// The time for the welcome: the room first handles the frames of the old connection that wait.
const WELCOME: Duration = Duration::from_secs(30);
/// A connection of this age was no failure: the next back-off begins anew.
const STABLE: Duration = Duration::from_secs(5);
/// A bound for rooms with a `timeout_ms` near zero.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) codec: Codec,
    pub(crate) queue: Queue,
    pub(crate) reconnect: Reconnect,
    pub(crate) connect_timeout: Duration,
}

/// A task for the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Connect, and offer these subprotocols first. The room has to choose the first of them.
    Connect(Vec<String>),
    /// Leave the socket, or the attempt, without a close frame.
    Abandon,
    /// Send what is in the outbox, then close the socket.
    Close(u16, String),
}

/// An item for the program.
#[derive(Debug)]
pub(crate) enum Event {
    Message(Frame),
    Status(Status),
    Gap { resumed: bool },
    Error(Error),
    Undecodable(Error, Frame),
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A socket is being opened.
    Connecting,
    /// The socket is open, and the room has not said welcome.
    Opened,
    Welcomed,
    /// It waits for the next attempt.
    Waiting,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Core {
    config: Config,
    pub(crate) outbox: Outbox,
    pub(crate) command: Option<Command>,
    pub(crate) events: Vec<Event>,
    phase: Phase,
    status: Status,
    session: String,
    /// The position up to which everything was received.
    at: u64,
    /// The failed attempts in a row.
    failures: u32,
    /// The exponent of the back-off.
    exponent: u32,
    random: u64,
    heartbeat: Option<(String, String)>,
    every: Duration,
    /// The end of the attempt, of the wait for the welcome, or of the back-off.
    phase_ends: Option<Duration>,
    beats: Option<Duration>,
    answers: Option<Duration>,
    stable: Option<Duration>,
}

impl Core {
    /// Begins to connect.
    pub(crate) fn new(config: Config, now: Duration, seed: u64) -> Self {
        let mut core = Core {
            outbox: Outbox::new(config.codec, config.queue),
            config,
            command: None,
            events: Vec::new(),
            phase: Phase::Waiting,
            status: Status::Connecting,
            session: String::new(),
            at: 0,
            failures: 0,
            exponent: 0,
            random: seed,
            heartbeat: None,
            every: HEARTBEAT,
            phase_ends: None,
            beats: None,
            answers: None,
            stable: None,
        };
        core.change(Status::Connecting);
        core.attempt(now);
        core
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn codec(&self) -> Codec {
        self.config.codec
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Welcomed
    }

    /// The reason for the end, as an error.
    pub(crate) fn closed(&self) -> Option<Error> {
        match &self.status {
            Status::Closed(close) => Some(closed_error(close, None)),
            _ => None,
        }
    }

    /// The next time at which [`tick`](Core::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        [self.phase_ends, self.beats, self.answers, self.stable].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Duration) {
        let is_due = |time: Option<Duration>| time.is_some_and(|time| time <= now);
        if is_due(self.stable) {
            self.stable = None;
            self.exponent = 0;
        }
        if is_due(self.phase_ends) {
            self.phase_ends = None;
            match self.phase {
                Phase::Connecting => self.time_out(now, "the connection was not open in time"),
                Phase::Opened => self.time_out(now, "there was no welcome in time"),
                Phase::Waiting => self.attempt(now),
                Phase::Welcomed | Phase::Closed => {}
            }
        }
        if is_due(self.answers) {
            self.time_out(now, "no frame arrived after a heartbeat");
        }
        if is_due(self.beats) {
            self.beat(now);
        }
    }

    /// Connects at once if it waits for the next attempt, and asks for a sign of life if it is connected.
    pub(crate) fn nudge(&mut self, now: Duration) {
        match self.phase {
            Phase::Waiting => {
                self.exponent = 0;
                self.attempt(now);
            }
            Phase::Welcomed => self.beat(now),
            _ => {}
        }
    }

    /// The socket is open, with this subprotocol.
    pub(crate) fn opened(&mut self, now: Duration, protocol: Option<&str>) {
        if self.phase != Phase::Connecting {
            return;
        }
        let expected = self.config.codec.protocol();
        if protocol == Some(expected) {
            self.phase = Phase::Opened;
            self.phase_ends = Some(now + WELCOME);
            return;
        }
        let chosen = protocol.unwrap_or("none");
        let message = format!("the room chose the subprotocol `{chosen}` and not `{expected}`");
        self.end(Close::lost(Some(Error::new(ErrorKind::Protocol, message))));
        // A protocol error that the other side can see.
        self.command = Some(Command::Close(1000, String::new()));
    }

    /// The socket was not opened.
    pub(crate) fn not_opened(&mut self, now: Duration, error: ConnectError) {
        let ConnectError { error, is_final } = error;
        match is_final {
            true => self.end(Close::lost(Some(error))),
            false => self.lost(now, error),
        }
    }

    /// The socket has ended.
    pub(crate) fn disconnected(&mut self, now: Duration, close: Close) {
        if matches!(self.phase, Phase::Closed | Phase::Waiting) {
            return;
        }
        if close.is_final() {
            self.end(close);
        } else {
            self.retry(now, close);
        }
    }

    /// Closes for good.
    pub(crate) fn close(&mut self, close: Close) {
        if self.phase == Phase::Closed {
            return;
        }
        let command = Command::Close(close.code, close.reason.clone());
        self.end(close);
        self.command = Some(command);
    }

    pub(crate) fn add(&mut self, item: Item) {
        if let Status::Closed(close) = &self.status {
            self.outbox.ended.push((item.id, Outcome::Failed(closed_error(close, None))));
            return;
        }
        self.outbox.add(item);
    }

    /// Sends a frame that has no number: at once or never.
    pub(crate) fn send_now(&mut self, frame: Frame) -> Result<(), Error> {
        if let Some(error) = self.closed() {
            return Err(error);
        }
        if !self.is_open() {
            return Err(Error::new(ErrorKind::NotOpen, "the connection is not open"));
        }
        let max = self.config.queue.max;
        if self.outbox.out.len() >= max {
            return Err(Error::new(ErrorKind::QueueFull, format!("{max} frames wait already for the socket")));
        }
        self.outbox.out.push_back(frame);
        Ok(())
    }

    /// A frame has arrived.
    pub(crate) fn received(&mut self, now: Duration, frame: Frame) {
        if !matches!(self.phase, Phase::Opened | Phase::Welcomed) {
            return;
        }
        self.answers = None;
        if let (Phase::Welcomed, Some((_, pong)), Frame::Text(text)) = (self.phase, &self.heartbeat, &frame)
            && text == pong
        {
            return;
        }
        if let (Codec::Json, Frame::Binary(_)) = (self.config.codec, &frame) {
            let Frame::Binary(bytes) = frame else { return };
            self.events.push(Event::Bytes(bytes));
            return;
        }
        let room_frame = match self.config.codec.read(&frame) {
            Ok(room_frame) => room_frame,
            Err(reason) => return self.undecodable(reason, frame),
        };
        let RoomFrame { mut controls, messages, faults } = room_frame;
        let welcome = controls.first_mut().and_then(|control| control.welcome.take());
        if welcome.is_none() && self.phase != Phase::Welcomed {
            return self.undecodable("a frame before the welcome".to_owned(), frame);
        }
        for fault in faults {
            self.undecodable(fault, frame.clone());
        }
        // Before the messages of its frame: they can be the snapshot after a gap.
        if let Some(welcome) = welcome {
            self.welcome(now, welcome);
        }
        self.events.extend(messages.into_iter().map(Event::Message));
        self.control(controls);
        self.outbox.pump();
    }

    fn control(&mut self, controls: Vec<Control>) {
        let mut others = Vec::new();
        // An outcome of its own comes before the `ack` that covers its number, wherever the two are in the list.
        for Control { ack, error, answer, resend, at, .. } in controls {
            if let Some(error) = error {
                let number = error.n;
                let error = Error::of_the_room(error);
                match number {
                    Some(number) => self.outbox.settle(number, Outcome::Failed(error)),
                    None => self.events.push(Event::Error(error)),
                }
            }
            if let Some(answer) = answer {
                self.outbox.settle(answer.n, Outcome::Answered(answer));
            }
            others.push((ack, resend, at));
        }
        for (ack, resend, at) in others {
            if let Some(ack) = ack {
                self.outbox.ack(ack);
            }
            if let Some(resend) = resend {
                self.outbox.resend(resend);
            }
            if let Some(at) = at {
                self.at = at;
            }
        }
    }

    fn welcome(&mut self, now: Duration, welcome: Welcome) {
        let Welcome { session, resumed, last, window, gap, at, heartbeat, timeout_ms } = welcome;
        let gap = gap || (!self.session.is_empty() && !resumed);
        self.session = session;
        // A session that goes on takes its position from the messages that are replayed. If the connection is lost
        // between them, the rest is replayed again.
        if !resumed || gap {
            self.at = at.unwrap_or(0);
        }
        self.phase = Phase::Welcomed;
        self.failures = 0;
        self.phase_ends = None;
        self.stable = Some(now + STABLE);
        // More often than a third of the room's timeout, with some room for a slow network.
        let timeout = timeout_ms.map(|ms| Duration::from_millis(ms).mul_f64(0.3));
        self.every = timeout.map_or(HEARTBEAT, |timeout| timeout.clamp(SHORTEST_HEARTBEAT, HEARTBEAT));
        self.beats = heartbeat.is_some().then(|| now + self.every);
        self.heartbeat = heartbeat;
        self.outbox.begin(resumed, last, window);
        self.change(Status::Open { resumed, gap });
        if gap {
            self.events.push(Event::Gap { resumed });
        }
    }

    fn beat(&mut self, now: Duration) {
        let Some((ping, _)) = &self.heartbeat else { return };
        self.outbox.out.push_back(Frame::Text(ping.clone()));
        self.beats = Some(now + self.every);
        // An earlier heartbeat can still be without an answer.
        self.answers.get_or_insert(now + ANSWER);
        self.outbox.nudge();
    }

    fn attempt(&mut self, now: Duration) {
        self.phase = Phase::Connecting;
        self.phase_ends = Some(now.saturating_add(self.config.connect_timeout));
        let mut protocols = vec![self.config.codec.protocol().to_owned()];
        if !self.session.is_empty() {
            protocols.push(format!("room.v1.resume.{}.{}.{}", self.session, self.outbox.from(), self.at));
        }
        self.command = Some(Command::Connect(protocols));
    }

    fn time_out(&mut self, now: Duration, message: &str) {
        self.lost(now, Error::new(ErrorKind::Timeout, message));
    }

    /// The connection is not usable any more, or an attempt failed.
    fn lost(&mut self, now: Duration, error: Error) {
        if matches!(self.phase, Phase::Closed | Phase::Waiting) {
            return;
        }
        self.command = Some(Command::Abandon);
        self.retry(now, Close::lost(Some(error)));
    }

    fn retry(&mut self, now: Duration, reason: Close) {
        let Reconnect { base, max, max_attempts } = self.config.reconnect;
        if self.phase != Phase::Welcomed {
            self.failures += 1;
        }
        if max_attempts.is_some_and(|max| self.failures >= max) {
            let message = format!("{} attempts to connect failed in a row", self.failures);
            let mut error = Error::new(ErrorKind::Unreachable, message);
            if let Some(cause) = reason.error {
                error = error.with_source(cause);
            }
            self.end(Close { error: Some(error), ..reason });
            return;
        }
        self.leave(Phase::Waiting);
        // Full jitter: after a restart of the server, its clients come back spread over the whole time.
        let longest = base.saturating_mul(1 << self.exponent.min(30)).min(max);
        self.exponent += 1;
        let mut delay = longest.mul_f64(self.random());
        if let Some(at_least) = reason.error.as_ref().and_then(Error::retry_after) {
            delay = delay.saturating_add(at_least.min(max));
        }
        self.phase_ends = Some(now.saturating_add(delay));
        self.change(Status::Reconnecting { attempt: self.failures, delay, reason });
    }

    fn end(&mut self, close: Close) {
        if self.phase == Phase::Closed {
            return;
        }
        let out = std::mem::take(&mut self.outbox.out);
        self.leave(Phase::Closed);
        // Frames that were sent before go out before the close frame.
        self.outbox.out = out;
        self.outbox.clear(|number| closed_error(&close, number));
        self.change(Status::Closed(close));
    }

    fn leave(&mut self, phase: Phase) {
        self.phase = phase;
        (self.phase_ends, self.beats, self.answers, self.stable) = (None, None, None, None);
        self.outbox.end();
    }

    fn undecodable(&mut self, reason: String, frame: Frame) {
        self.events.push(Event::Undecodable(Error::new(ErrorKind::Decode, reason), frame));
    }

    fn change(&mut self, status: Status) {
        self.status = status.clone();
        self.events.push(Event::Status(status));
    }

    /// Returns a number from 0 up to 1, by SplitMix64.
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn closed_error(close: &Close, number: Option<u64>) -> Error {
    if let Some(error) = &close.error {
        return error.clone().with_number(number);
    }
    let Close { code, reason, .. } = close;
    let why = if reason.is_empty() { code.to_string() } else { format!("{code}, {reason}") };
    Error::new(ErrorKind::Closed, format!("the connection is closed ({why})")).with_number(number)
}
