//! A room for many peers, under load.

use room_runtime::prelude::*;

/// Echoes, numbered messages to all, and numbered messages to a topic.
#[room(max_peers = 32768, max_message_bytes = 65536, codec = "json, msgpack")]
pub mod crowd {
    #[derive(Default)]
    pub struct State {
        /// The number of messages to all.
        pub shouts: u64,
        /// The number of messages to each topic.
        pub murmurs: [u64; 8],
    }

    pub struct Connection {
        pub topic: usize,
    }

    pub enum Event {
        /// Answered to the sender alone.
        Echo { n: u64, text: String },
        /// Sent to all, with the next number.
        Shout { text: String },
        /// Sent to the sender's topic, with its next number.
        Murmur { text: String },
    }

    pub enum Broadcast {
        Echo { n: u64, text: String },
        Shout { seq: u64, text: String },
        Murmur { seq: u64, text: String },
    }

    pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
        let topic = peer.data().topic.to_string();
        peer.subscribe(&topic)?;
        Ok(())
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        match event {
            Event::Echo { n, text } => peer.send(&Broadcast::Echo { n, text })?,
            Event::Shout { text } => {
                let seq = ctx.update(|state| {
                    state.shouts += 1;
                    state.shouts
                })?;
                ctx.broadcast(&Broadcast::Shout { seq, text })?;
            }
            Event::Murmur { text } => {
                let topic = peer.data().topic;
                let seq = ctx.update(|state| {
                    state.murmurs.get_mut(topic).map(|count| {
                        *count += 1;
                        *count
                    })
                })?;
                let Some(seq) = seq else { return Err(ctx.refuse("there is no such topic")) };
                ctx.topic(&topic.to_string()).send(&Broadcast::Murmur { seq, text })?;
            }
        }
        Ok(())
    }
}
