//! The Worker calls the room.

use anyhow::Result;

use crate::{
    http::Http,
    peer::Place,
    protocol::{Event, text},
    session::Load,
};

const TEXT: usize = 64;

/// Sequential calls, many for each request, so that the cost of the request itself is shared.
#[derive(Debug)]
pub(crate) struct Calls {
    http: Http,
    event: String,
    each: u64,
}

impl Calls {
    pub(crate) async fn open(place: Place, name: &str, each: u64) -> Result<Calls> {
        let event = Event::Note { text: &text(TEXT, 0) }.encode()?;
        Ok(Calls { http: Http::connect(place.room(name)).await?, event, each })
    }
}

impl Load for Calls {
    async fn run(&mut self, messages: u64) -> Result<()> {
        let mut left = messages;
        while left > 0 {
            let times = left.min(self.each);
            self.http.post(&self.event, times).await?;
            left -= times;
        }
        Ok(())
    }
}
