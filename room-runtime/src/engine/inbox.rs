//! Durable calls of other rooms, each handled once.
//!
//! A source numbers its calls in rising order and has one call under way at a time. The room keeps the highest number of
//! each source that it has handled, as the mark of that source. A call that is not above the mark was handled before.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{Invocation, RoomHost, commands::answer};
use crate::{
    Error, ErrorKind, Failure,
    platform::Platform,
    wire::{self, keys},
};

/// The last call of one source that was handled, as it is stored.
#[derive(Serialize, Deserialize)]
struct Mark {
    number: u64,
    /// The answer, if it was a refusal. Any other failure leaves no mark, because the call is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

impl RoomHost {
    /// Handles a durable call, unless it was handled before.
    ///
    /// Returns the answer, and the failure of the handler.
    pub(super) async fn receive(
        self: &Rc<Self>,
        source: &str,
        number: u64,
        event: &str,
    ) -> Result<(String, Option<(Failure, Invocation)>), Error> {
        // A repeated call waits for the attempt that still runs, and then finds its mark.
        let turns = self.inbox.borrow_mut().entry(source.to_owned()).or_default().clone();
        let turn = turns.take().await;
        let handled = self.handle_once(source, number, event).await;
        drop(turn);
        if !turns.is_taken() {
            self.inbox.borrow_mut().remove(source);
        }
        handled
    }

    async fn handle_once(
        self: &Rc<Self>,
        source: &str,
        number: u64,
        event: &str,
    ) -> Result<(String, Option<(Failure, Invocation)>), Error> {
        // A purge may have ended the room while the call waited.
        self.start(false).await?;
        let key = format!("{}{source}", keys::MARKS);
        if let Some(mark) = self.mark(&key)?
            && number <= mark.number
        {
            let refusal = mark.refusal.filter(|_| number == mark.number);
            return Ok((refusal.unwrap_or_else(|| answer(Ok(()))), None));
        }
        let life = self.life.get();
        let (outcome, failed) = self.handle_event(event).await;
        let is_refused = matches!(&outcome, Err(error) if error.kind() == ErrorKind::Refused);
        let is_final = outcome.is_ok() || is_refused;
        let reply = answer(outcome);
        // The mark is stored without a wait after the last change of the handler, so that both survive a crash or
        // neither does. A purge deletes the marks, and the next life must not get one of this life.
        if is_final && self.life.get() == life {
            let mark = Mark { number, refusal: is_refused.then(|| reply.clone()) };
            let stored = wire::encode_value(&mark, "the mark of a call")
                .and_then(|bytes| self.platform.put(&key, &bytes).map_err(|it| Error::new(ErrorKind::Storage, it.0)));
            if let Err(error) = stored {
                // The source still gets the answer: an error would make it repeat work that is done.
                self.platform.log_error(&format!("{} room `{}`: the mark of a durable call is not kept: {error}", self.room.name, self.id));
            }
        }
        Ok((reply, failed))
    }

    fn mark(&self, key: &str) -> Result<Option<Mark>, Error> {
        let stored = Platform::get(&*self.platform, key).map_err(|refusal| {
            let message = format!("the mark of a durable call could not be read: {refusal}");
            Error::new(ErrorKind::Storage, message).in_room(&self.id)
        })?;
        let Some(bytes) = stored else { return Ok(None) };
        match wire::decode_value(&bytes, "the mark of a durable call") {
            Ok(mark) => Ok(Some(mark)),
            Err(error) => {
                self.platform.log_error(&format!("{}: the call is handled", error.in_room(&self.id)));
                Ok(None)
            }
        }
    }
}
