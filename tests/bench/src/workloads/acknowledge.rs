//! A client of `room.v1` whose events are acknowledged, and a plain one in the same room.

use anyhow::{Context, Result, ensure};

use crate::{
    peer::{Peer, Place},
    protocol::{Answer, Event, decode_batch, text},
    session::Load,
    variants::Variant,
};

const SUBPROTOCOL: &str = "room.v1";
const TEXT: usize = 64;

#[derive(Debug)]
struct Client {
    peer: Peer,
    is_numbered: bool,
    number: u64,
}

impl Client {
    async fn open(place: Place, workload: &str) -> Result<Client> {
        let room = place.room(workload);
        let is_numbered = place.variant == Variant::Acknowledged;
        let peer = if is_numbered {
            let mut peer = room.offer("alone", SUBPROTOCOL).await?.context("the room does not speak `room.v1`")?;
            let welcome = peer.receive().await?;
            ensure!(welcome.contains("welcome"), "{welcome}");
            peer
        } else {
            room.peer("alone").await?
        };
        Ok(Client { peer, is_numbered, number: 0 })
    }

    /// Sends an event and returns the room's answer, which comes with the acknowledgement.
    async fn ask(&mut self, event: Event<'_>) -> Result<Answer> {
        self.number += 1;
        let event = event.encode()?;
        let frame = if self.is_numbered { format!("[{},{event}]", self.number) } else { event };
        self.peer.send(frame).await?;
        let frame = self.peer.receive().await?;
        if self.is_numbered {
            ensure!(frame.starts_with(&format!("[[{{\"ack\":{}}}],", self.number)), "no acknowledgement: {frame}");
        }
        decode_batch(&frame)?.pop().context("no answer")
    }
}

/// Sequential echoes.
#[derive(Debug)]
pub(crate) struct Echo(Client);

impl Echo {
    pub(crate) async fn open(place: Place, workload: &str) -> Result<Echo> {
        Client::open(place, workload).await.map(Echo)
    }
}

impl Load for Echo {
    async fn run(&mut self, messages: u64) -> Result<()> {
        for _ in 0..messages {
            let text = text(TEXT, self.0.number);
            let answer = self.0.ask(Event::Echo { text: &text }).await?;
            ensure!(answer == Answer::Echo { user_id: "alone".to_owned(), text }, "{answer:?}");
        }
        Ok(())
    }
}

/// Sequential changes of the state.
#[derive(Debug)]
pub(crate) struct Add(Client);

impl Add {
    pub(crate) async fn open(place: Place, workload: &str) -> Result<Add> {
        Client::open(place, workload).await.map(Add)
    }
}

impl Load for Add {
    async fn run(&mut self, messages: u64) -> Result<()> {
        for _ in 0..messages {
            let answer = self.0.ask(Event::Add { amount: 1 }).await?;
            ensure!(answer == Answer::Count { count: self.0.number as i64 }, "{answer:?}");
        }
        Ok(())
    }
}
