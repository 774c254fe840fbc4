//! Peers that connect, send one message, and close.

use anyhow::Result;

use crate::{
    peer::{Place, Room},
    protocol::{Answer, Event, check, text},
    session::Load,
};

const TEXT: usize = 64;

/// One peer after another.
#[derive(Debug)]
pub(crate) struct Churn {
    room: Room,
    visits: u64,
}

impl Churn {
    pub(crate) fn open(place: Place, name: &str) -> Churn {
        Churn { room: place.room(name), visits: 0 }
    }
}

impl Load for Churn {
    async fn run(&mut self, messages: u64) -> Result<()> {
        for _ in 0..messages {
            self.visits += 1;
            let text = text(TEXT, self.visits);
            let mut peer = self.room.peer("visitor").await?;
            peer.send(Event::Echo { text: &text }.encode()?).await?;
            check(&peer.receive().await?, &Answer::Echo { user_id: peer.user().to_owned(), text })?;
            peer.close().await?;
        }
        Ok(())
    }
}
