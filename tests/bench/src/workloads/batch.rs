//! A full room in which every peer sends at a constant rate: shows the gain of several messages in one frame.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use crate::{
    peer::{Peer, Place, user},
    protocol::{Answer, Event, decode_batch, number, text},
    session::Load,
    variants::Variant,
};

const TEXT: usize = 64;

/// The interval between two messages of a peer.
const PERIOD: Duration = Duration::from_millis(50);

/// The subprotocol in which a frame may contain an array of messages.
pub(crate) const SUBPROTOCOL: &str = "room.v1";

/// A room whose peers send one after the other within each period.
#[derive(Debug)]
pub(crate) struct Batch {
    peers: Vec<Peer>,
    /// True for clients of the subprotocol, whose events have a number; 0 stands for none.
    numbered: bool,
}

impl Batch {
    pub(crate) async fn open(place: Place, name: &str, peers: usize) -> Result<Batch> {
        let room = place.room(name);
        if place.variant != Variant::Batched {
            return Ok(Batch { peers: room.peers(peers).await?, numbered: false });
        }
        let mut joined = Vec::new();
        for number in 0..peers {
            let peer = room.offer(&user(number), SUBPROTOCOL).await?;
            joined.push(peer.context("the room does not batch")?);
        }
        Ok(Batch { peers: joined, numbered: true })
    }
}

/// Returns whether the rooms of that variant support the subprotocol.
pub(crate) async fn is_offered(place: Place) -> Result<bool> {
    Ok(place.room("probe").offer("probe", SUBPROTOCOL).await?.is_some())
}

impl Load for Batch {
    async fn run(&mut self, messages: u64) -> Result<()> {
        let (peers, numbered) = (self.peers.len() as u64, self.numbered);
        let begin = Instant::now();
        let speaking = self.peers.iter_mut().zip(0..).map(async |(peer, own)| {
            let at = |number: u64| begin + PERIOD.mul_f64(number as f64 / peers as f64);
            let mut next = own;
            let (mut heard, mut sum) = (0, 0);
            while next < messages || heard < messages {
                select! {
                    () = sleep_until(at(next)), if next < messages => {
                        let event = Event::Say { text: &text(TEXT, next) }.encode()?;
                        peer.send(if numbered { format!("[0,{event}]") } else { event }).await?;
                        next += peers;
                    }
                    frame = peer.next(), if heard < messages => {
                        for answer in decode_batch(&frame?)? {
                            let Answer::Message { text, .. } = answer else { bail!("{answer:?} is not a message") };
                            sum += number(&text).context("a message that nobody sent")?;
                            heard += 1;
                        }
                    }
                }
            }
            // Each message arrived once.
            if (heard, sum) != (messages, messages * (messages - 1) / 2) {
                bail!("{} heard {heard} of {messages} messages, or one of them twice", peer.user());
            }
            Ok(())
        });
        try_join_all(speaking).await?;
        Ok(())
    }
}
