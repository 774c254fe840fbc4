//! One peer that gets an answer to each message.

use anyhow::{Result, bail};

use crate::{
    peer::{Peer, Place},
    protocol::{Answer, Event, check, decode, text},
    session::Load,
};

const TEXT: usize = 64;

/// Echoes, with `window` of them in flight.
#[derive(Debug)]
pub(crate) struct Echo {
    peer: Peer,
    window: u64,
    said: u64,
    heard: u64,
}

impl Echo {
    pub(crate) async fn open(place: Place, workload: &str, window: u64) -> Result<Echo> {
        let peer = place.room(workload).peer("alone").await?;
        Ok(Echo { peer, window, said: 0, heard: 0 })
    }

    async fn say(&mut self) -> Result<()> {
        self.said += 1;
        self.peer.send(Event::Echo { text: &text(TEXT, self.said) }.encode()?).await
    }

    async fn hear(&mut self) -> Result<()> {
        self.heard += 1;
        let expected = Answer::Echo { user_id: self.peer.user().to_owned(), text: text(TEXT, self.heard) };
        check(&self.peer.receive().await?, &expected)
    }
}

impl Load for Echo {
    async fn run(&mut self, messages: u64) -> Result<()> {
        let end = self.said + messages;
        while self.heard < end {
            while self.said < end && self.said - self.heard < self.window {
                self.say().await?;
            }
            self.hear().await?;
        }
        Ok(())
    }
}

/// Sequential changes of the state.
#[derive(Debug)]
pub(crate) struct Add {
    peer: Peer,
    count: Option<i64>,
}

impl Add {
    pub(crate) async fn open(place: Place, workload: &str) -> Result<Add> {
        Ok(Add { peer: place.room(workload).peer("alone").await?, count: None })
    }
}

impl Load for Add {
    async fn run(&mut self, messages: u64) -> Result<()> {
        let add = Event::Add { amount: 1 }.encode()?;
        for _ in 0..messages {
            self.peer.send(add.clone()).await?;
            let frame = self.peer.receive().await?;
            match (decode(&frame)?, self.count) {
                (Answer::Count { count }, before) if before.is_none_or(|before| count == before + 1) => {
                    self.count = Some(count);
                }
                (answer, before) => bail!("after the count {before:?} came {answer:?}"),
            }
        }
        Ok(())
    }
}
