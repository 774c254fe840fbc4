//! Durable calls of other rooms, each handled once.
//!
//! A source numbers its calls in rising order and has one call under way at a time. The room keeps the highest number of
//! each source that it has handled, as the mark of that source. A call that is not above the mark was handled before.

use std::rc::Rc;

use super::{
    RoomHost,
    commands::{Failed, answer},
    fair_lock::FairLock,
};
use crate::{
    Error, ErrorKind,
    platform::{Platform, PlatformError},
    wire::keys,
};

/// The turns of the sources whose calls are being handled. Every room contains this code, and a list needs less of it than
/// a map.
pub(super) type Turns = Vec<(Box<str>, Rc<FairLock>)>;

/// The last call of one source that was handled. It is stored as its number, with the answer after a space.
struct Mark {
    number: u64,
    /// The answer, if it was a refusal. Any other failure leaves no mark, because the call is repeated.
    refusal: Option<String>,
}

impl Mark {
    fn encode(number: u64, refusal: Option<&str>) -> String {
        match refusal {
            Some(refusal) => format!("{number} {refusal}"),
            None => number.to_string(),
        }
    }

    fn decode(stored: &[u8]) -> Option<Mark> {
        let text = str::from_utf8(stored).ok()?;
        let (number, refusal) = text.split_once(' ').map_or((text, None), |(number, refusal)| (number, Some(refusal)));
        Some(Mark { number: number.parse().ok()?, refusal: refusal.map(str::to_owned) })
    }
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
    ) -> Result<(String, Option<Failed>), Error> {
        // A repeated call waits for the attempt that still runs, and then finds its mark.
        let turns = self.turns_of(source);
        let turn = turns.take().await;
        let handled = self.handle_once(source, number, event).await;
        drop(turn);
        if !turns.is_taken() {
            self.inbox.borrow_mut().retain(|(of, _)| &**of != source);
        }
        handled
    }

    fn turns_of(&self, source: &str) -> Rc<FairLock> {
        let mut inbox = self.inbox.borrow_mut();
        if let Some((_, turns)) = inbox.iter().find(|(of, _)| &**of == source) {
            return turns.clone();
        }
        let turns = Rc::<FairLock>::default();
        inbox.push((source.into(), turns.clone()));
        turns
    }

    async fn handle_once(
        self: &Rc<Self>,
        source: &str,
        number: u64,
        event: &str,
    ) -> Result<(String, Option<Failed>), Error> {
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
            let mark = Mark::encode(number, is_refused.then_some(&*reply));
            if let Err(refusal) = self.platform.put(&key, mark.as_bytes()) {
                // The source still gets the answer: an error would make it repeat work that is done.
                self.log_error(&self.mark_error("stored", &refusal).to_string());
            }
        }
        Ok((reply, failed))
    }

    fn mark(&self, key: &str) -> Result<Option<Mark>, Error> {
        let stored = Platform::get(&*self.platform, key).map_err(|refusal| self.mark_error("read", &refusal))?;
        let mark = stored.as_deref().and_then(Mark::decode);
        if stored.is_some() && mark.is_none() {
            let refusal = PlatformError("it is no number; the call is handled".to_owned());
            self.log_error(&self.mark_error("read", &refusal).to_string());
        }
        Ok(mark)
    }

    fn mark_error(&self, done: &str, refusal: &PlatformError) -> Error {
        let message = format!("the mark of a durable call could not be {done}: {refusal}");
        Error::new(ErrorKind::Storage, message).in_room(&self.id)
    }
}
