//! The rooms of the conformance suite, and the Worker that makes their client reachable over HTTP.
//!
//! The same code runs natively and as WebAssembly. Cases script the rooms ([`script`]). The rooms differ in their
//! options and in their set of handlers.

#![forbid(unsafe_code)]

pub mod acts;
pub mod api;
pub mod archive;
pub mod backstage;
pub mod club;
mod crash;
pub mod desk;
mod gates;
pub mod lounge;
pub mod planner;
pub mod script;
mod worker_api;

use room_runtime::prelude::*;

/// The text of every intended panic, so that a runner can distinguish them from other panics.
pub const PANIC: &str = "asked to panic";

/// Defines a room with every handler that needs no schema of its own.
macro_rules! scripted_room {
    ($(#[$doc:meta])* $name:ident $(($($options:tt)*))?) => {
        $(#[$doc])*
        #[room($($($options)*)?)]
        pub mod $name {
            use crate::script;
            pub use crate::script::{Broadcast, Connection, Event, State};
            use room_runtime::prelude::*;

            pub async fn on_start(ctx: &Ctx) -> Result {
                script::on_start(ctx).await
            }

            pub async fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
                script::on_upgrade(ctx, upgrade).await
            }

            pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
                script::on_connect(ctx, peer).await
            }

            pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
                script::on_event(ctx, event).await
            }

            pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
                script::on_close(ctx, peer, close).await
            }

            pub async fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
                script::on_decode_error(ctx, error).await
            }

            pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
                script::on_error(ctx, error).await
            }
        }
    };
}

scripted_room! {
    /// A room for three peers, with messages of up to 1,000 bytes.
    small(max_peers = 3, max_message_bytes = 1_000)
}

scripted_room! {
    /// A room that allows three frames at once, and one more every four seconds.
    paced(rate_limit(burst = 3, per_second = 0.25))
}

scripted_room! {
    /// A room that allows three frames at once, and one more every hundred seconds.
    thrifty(rate_limit(burst = 3, per_second = 0.01))
}

scripted_room! {
    /// A room for the pages of some origins.
    embedded(allowed_origins("https://example.com", "https://*.example.org", "http://localhost:8787"))
}

/// A room that counts the events of a client's address, by cost: four tokens at once, and one more every hundred seconds.
#[room(rate_limit(burst = 4, per_second = 0.01, by = "address"), max_message_bytes = 1_000)]
pub mod metered {
    use crate::script;
    pub use crate::script::{Broadcast, Connection, Event, State};
    use room_runtime::prelude::*;

    pub async fn on_start(ctx: &Ctx) -> Result {
        script::on_start(ctx).await
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        script::on_connect(ctx, peer).await
    }

    /// A ping costs its number; the pings of fences and every other event cost one token.
    pub fn event_cost(event: &Event) -> u32 {
        match event {
            Event::Ping { n } if *n < 1_000 => *n,
            _ => 1,
        }
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        script::on_close(ctx, peer, close).await
    }

    pub async fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
        script::on_decode_error(ctx, error).await
    }
}

scripted_room! {
    /// A room that batches several messages into one frame, for clients that support it.
    batched(batch = "50ms")
}

scripted_room! {
    /// A room that remembers two sessions, each for three seconds.
    forgetful(max_sessions = 2, session_timeout = "3s")
}

scripted_room! {
    /// A room that speaks MessagePack only.
    packed(codec = "msgpack", reconnect_grace = "5s")
}

scripted_room! {
    /// A room whose clients choose between JSON and MessagePack.
    mixed(codec = "json, msgpack", max_message_bytes = 100_000)
}

/// A room with a binary protocol of its own: the first byte of a frame is a command.
#[room(max_message_bytes = 100_000, max_unread_bytes = 200_000)]
pub mod raw {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{gates, script};
    use room_runtime::prelude::*;

    /// Sends the bytes after the command back.
    pub const ECHO: u8 = 0;
    /// Sends the bytes after the command to all others, and their number to the sender.
    pub const RELAY: u8 = 1;
    /// Fails.
    pub const FAIL: u8 = 2;
    /// Refuses.
    pub const REFUSE: u8 = 3;
    /// Waits at the gate `binary`, and then sends the bytes back.
    pub const WAIT: u8 = 4;
    /// Sends a message, the bytes, and another message.
    pub const BETWEEN: u8 = 5;

    pub async fn on_start(ctx: &Ctx) -> Result {
        script::on_start(ctx).await
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        script::on_connect(ctx, peer).await
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }

    pub async fn on_binary(ctx: &Ctx, bytes: Bytes) -> Result {
        let Some(peer) = ctx.sender() else { return Err(Failure::msg("a binary frame has a sender")) };
        let Some((command, rest)) = bytes.split_first() else { return peer.send_bytes(&[]).map_err(Failure::from) };
        let pong = |n: usize| Broadcast::Pong { n: u32::try_from(n).unwrap_or(u32::MAX) };
        ctx.update(|state| state.count += 1)?;
        match *command {
            RELAY => {
                let delivery = ctx.peers().except_sender().send_bytes(rest)?;
                peer.send(&pong(delivery.sent))?;
            }
            FAIL => return Err(Failure::msg("asked to fail")),
            REFUSE => return Err(ctx.refuse("not these bytes")),
            WAIT => {
                peer.send(&Broadcast::Holding { gate: "binary".to_owned() })?;
                gates::wait(ctx.name(), ctx.id(), "binary").await;
                peer.send_bytes(rest)?;
            }
            BETWEEN => {
                peer.send(&pong(1))?;
                peer.send_bytes(rest)?;
                peer.send(&pong(2))?;
            }
            _ => peer.send_bytes(rest)?,
        }
        Ok(())
    }

    pub async fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
        script::on_decode_error(ctx, error).await
    }

    pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        script::on_error(ctx, error).await
    }
}

scripted_room! {
    /// A room that soon closes slow consumers.
    narrow(max_unread_bytes = 10_000, heartbeat("anyone?", "here"))
}

scripted_room! {
    /// A room that closes a peer after an invalid frame.
    strict(on_invalid = "close", max_message_bytes = 1_000)
}

scripted_room! {
    /// A room that ignores invalid frames.
    silent(on_invalid = "ignore")
}

scripted_room! {
    /// A room with rules for all that is sent to it and that it sends.
    ruled(validate(event, connection, broadcast), max_message_bytes = 2_000, codec = "json, msgpack")
}

scripted_room! {
    /// A room with rules, a rate and batches, that closes a peer after an invalid frame.
    picky(validate(event, broadcast), on_invalid = "close", rate_limit(burst = 3, per_second = 0.25), batch = "50ms")
}

/// A room with every handler.
#[room(validate(event))]
pub mod probe {
    use crate::script::{self, Step};
    pub use crate::script::{Alarm, Broadcast, Connection, Item, State};
    use room_runtime::prelude::*;
    use std::time::Duration;

    /// The events of all rooms here. Only the rooms with the option `validate` check its rules.
    #[derive(garde::Validate)]
    #[garde(allow_unvalidated)]
    pub enum Event {
        /// Runs a script. [`Broadcast`]s that answer it go to the sender, or to all peers if the Worker sent it.
        Do { steps: Vec<Step> },
        /// Answered with a `Pong`.
        Ping {
            #[garde(range(max = Event::LARGEST_PING))]
            n: u32,
        },
        /// Sets an alarm.
        Schedule { after_ms: u64, steps: Vec<Step> },
        /// Handled like the inner event.
        In {
            #[garde(dive)]
            event: Box<Event>,
        },
        /// Answered with a `Pong` of the number of items.
        Order {
            #[garde(length(min = 1, max = 20))]
            text: String,
            #[garde(dive)]
            items: Vec<Item>,
        },
    }

    impl Event {
        pub const LARGEST_PING: u32 = 4_000_000_000;
    }

    pub async fn on_start(ctx: &Ctx) -> Result {
        script::on_start(ctx).await
    }

    pub async fn on_upgrade(ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
        script::on_upgrade(ctx, upgrade).await
    }

    pub async fn on_connect(ctx: &Ctx, peer: &Peer) -> Result {
        script::on_connect(ctx, peer).await
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Schedule { after_ms, steps } => {
                ctx.schedule(Alarm { steps }).after(Duration::from_millis(after_ms))?;
                Ok(())
            }
            event => script::on_event(ctx, event).await,
        }
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        script::on_close(ctx, peer, close).await
    }

    pub async fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        script::on_alarm(ctx, &alarm).await
    }

    pub async fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        script::on_request(ctx, request).await
    }

    pub async fn on_decode_error(ctx: &Ctx, error: &DecodeError) -> Result {
        script::on_decode_error(ctx, error).await
    }

    pub async fn on_error(ctx: &Ctx, error: &HandlerError) -> Result {
        script::on_error(ctx, error).await
    }
}

/// A room with the fewest handlers; only scripts access its state.
#[room]
pub mod plain {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{backstage, script};

    pub fn on_start(ctx: &Ctx) {
        backstage::note_start(ctx.name(), ctx.id());
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }
}

/// A room whose class is declared without SQLite in the Worker's configuration.
#[room]
pub mod keyed {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{backstage, script};

    pub fn on_start(ctx: &Ctx) {
        backstage::note_start(ctx.name(), ctx.id());
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }
}

/// A room whose first state is not the default one.
#[room]
pub mod founded {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{backstage, script};
    use room_runtime::prelude::*;

    /// Reports the state that it sees, purges the room or fails, as its backstage script says.
    pub fn init(ctx: &Ctx) -> Result<State> {
        let (name, id) = (ctx.name(), ctx.id());
        let script = backstage::script(name, id, "init");
        if let [script::Step::Purge] = &script[..] {
            return ctx.purge();
        }
        if let [script::Step::Say(_)] = &script[..] {
            let state = ctx.state().map_or_else(|error| error.kind().to_string(), |_| "ok".to_owned());
            ctx.broadcast(&Broadcast::Said { from: None, text: state })?;
        } else if !script.is_empty() {
            return Err(Failure::msg("there is no founder"));
        }
        let log = vec![format!("init {} of {name}/{id}", backstage::note_init(name, id))];
        Ok(State { count: 100, log, ..State::default() })
    }

    pub fn on_start(ctx: &Ctx) {
        backstage::note_start(ctx.name(), ctx.id());
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        script::on_event(ctx, event).await
    }
}

/// A room with services; each answer to a ping contains the number of the services.
#[room]
pub mod equipped {
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{backstage, script};

    #[derive(Debug)]
    pub struct Services {
        greeting: String,
        number: u32,
    }

    impl Services {
        /// Makes the same services as the handler `services`; a native test has no `Env`.
        pub fn new(greeting: String) -> Result<Services> {
            Ok(Services { greeting, number: backstage::note_services()? })
        }
    }

    pub fn services(env: &worker::Env) -> Result<Services> {
        Services::new(env.var("GREETING")?.to_string())
    }

    pub async fn on_start(ctx: &Ctx) -> Result {
        // Services exist before any other handler runs.
        assert!(!ctx.services().greeting.is_empty());
        script::on_start(ctx).await
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        if let Event::Ping { n } = event {
            let Services { greeting, number } = ctx.services();
            let said = Broadcast::Said { from: None, text: format!("{greeting} {n} from {number}") };
            match ctx.sender() {
                Some(peer) => peer.send(&said)?,
                None => drop(ctx.broadcast(&said)?),
            }
            return Ok(());
        }
        script::on_event(ctx, event).await
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: room_runtime::Close) -> Result {
        script::on_close(ctx, peer, close).await
    }

    pub async fn on_request(
        ctx: &Ctx,
        request: room_runtime::http::Request<room_runtime::Bytes>,
    ) -> Result<room_runtime::http::Response<room_runtime::Bytes>> {
        script::on_request(ctx, request).await
    }
}
