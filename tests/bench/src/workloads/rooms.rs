//! Many small rooms, all busy concurrently.

use anyhow::Result;
use futures_util::future::try_join_all;

use crate::{peer::Place, session::Load, workloads::broadcast::Broadcast};

const TEXT: usize = 64;

/// Rooms with one message at a time in flight in each.
#[derive(Debug)]
pub(crate) struct Rooms(Vec<Broadcast>);

impl Rooms {
    pub(crate) async fn open(place: Place, name: &str, rooms: usize, peers: usize) -> Result<Rooms> {
        let mut opened = Vec::new();
        for number in 0..rooms {
            opened.push(Broadcast::open(place, &format!("{name}-{number}"), peers, TEXT).await?);
        }
        Ok(Rooms(opened))
    }
}

impl Load for Rooms {
    /// `messages` is the total of all rooms, and a multiple of their number.
    async fn run(&mut self, messages: u64) -> Result<()> {
        let each = messages / self.0.len() as u64;
        try_join_all(self.0.iter_mut().map(|room| room.run(each))).await?;
        Ok(())
    }
}
