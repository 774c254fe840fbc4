//! One peer sends, and all peers receive.

use anyhow::{Context, Result, bail};

use crate::{
    peer::{Peer, Place},
    protocol::{Answer, Event, check, text},
    session::Load,
};

/// A room in which one message at a time is broadcast to all.
#[derive(Debug)]
pub(crate) struct Broadcast {
    peers: Vec<Peer>,
    bytes: usize,
    said: u64,
}

impl Broadcast {
    pub(crate) async fn open(place: Place, name: &str, peers: usize, bytes: usize) -> Result<Broadcast> {
        Ok(Broadcast { peers: place.room(name).peers(peers).await?, bytes, said: 0 })
    }

    /// Sends a message, and waits until all peers have received it.
    pub(crate) async fn say(&mut self) -> Result<()> {
        self.said += 1;
        let text = text(self.bytes, self.said);
        let speaker = self.said as usize % self.peers.len();
        let speaker = &mut self.peers[speaker];
        speaker.send(Event::Say { text: &text }.encode()?).await?;
        let expected = Answer::Message { user_id: speaker.user().to_owned(), text };

        let (first, others) = self.peers.split_first_mut().context("a room without peers")?;
        let frame = first.receive().await?;
        check(&frame, &expected)?;
        // Reading one socket after the other is cheapest for the load generator. The sockets buffer the frames, so none
        // is lost.
        for peer in others {
            if peer.receive().await? != frame {
                bail!("{} heard something else than the others", peer.user());
            }
        }
        Ok(())
    }
}

impl Load for Broadcast {
    async fn run(&mut self, messages: u64) -> Result<()> {
        for _ in 0..messages {
            self.say().await?;
        }
        Ok(())
    }
}
