//! The answers to calls that came with an idempotency key: kept, so that the same call again gets the same answer and
//! happens once.

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc};

use futures_channel::oneshot;
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind,
    platform::*,
    wire::{self, keys},
};

/// How many answers a room keeps. One more, and the oldest is forgotten.
const KEPT: u64 = 1_024;

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// The answers that are stored, and the calls that are running.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What storage holds, by key; `None` until it was read.
    stored: RefCell<Option<Stored>>,
    running: RefCell<HashMap<String, Running>>,
}

#[derive(Debug, Default)]
struct Stored {
    by_key: HashMap<Rc<str>, Answer>,
    /// The number of the next.
    next: u64,
}

/// One answer in storage.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    number: u64,
    key: Rc<str>,
    /// Of the call, to tell another call with the same key from the same call again.
    digest: u64,
    reply: String,
}

#[derive(Debug)]
struct Running {
    digest: u64,
    /// Those that came with the same call meanwhile.
    waiting: Vec<oneshot::Sender<String>>,
}

impl Answers {
    /// Does the work, unless this call was answered before or is running. The answer is stored in the same stretch as the
    /// last of what the work changed: both are there after a crash, or neither.
    pub(super) async fn once(
        &self,
        platform: &AnyPlatform,
        key: &str,
        call: &str,
        work: impl Future<Output = String>,
        is_alive: impl Fn() -> bool,
    ) -> Result<String, Error> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let message = format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes, not {}", key.len());
            return Err(Error::new(ErrorKind::InvalidIdempotencyKey, message));
        }
        let digest = digest(call);
        if let Some(reply) = self.known(platform, key, digest)? {
            return Ok(reply);
        }
        if let Some(reply) = self.join(key, digest)? {
            // The sender goes only with the object.
            return reply.await.map_err(|_| Error::new(ErrorKind::Restarted, "the call that ran first did not end"));
        }
        let reply = work.await;
        // A purge takes the answers with it, and that of the call that purged.
        if is_alive()
            && let Err(error) = self.keep(platform, key, digest, &reply)
        {
            // What was done is done, and the caller has to know; a second call would do it again.
            platform.log_error(&format!("the answer to a call with the idempotency key `{key}` is not kept: {error}"));
        }
        let running = self.running.borrow_mut().remove(key);
        for waiting in running.into_iter().flat_map(|running| running.waiting) {
            // One that stopped waiting has nobody to tell.
            let _ = waiting.send(reply.clone());
        }
        Ok(reply)
    }

    fn known(&self, platform: &AnyPlatform, key: &str, digest: u64) -> Result<Option<String>, Error> {
        let mut stored = self.stored.borrow_mut();
        let stored = match &mut *stored {
            Some(stored) => stored,
            empty => empty.insert(load(platform)?),
        };
        match stored.by_key.get(key) {
            Some(answer) if answer.digest == digest => Ok(Some(answer.reply.clone())),
            Some(_) => Err(conflict(key)),
            None => Ok(None),
        }
    }

    /// To wait for the same call, if it is running; otherwise it is from now on.
    fn join(&self, key: &str, digest: u64) -> Result<Option<oneshot::Receiver<String>>, Error> {
        let mut running = self.running.borrow_mut();
        match running.get_mut(key) {
            Some(same) if same.digest == digest => {
                let (sender, receiver) = oneshot::channel();
                same.waiting.push(sender);
                Ok(Some(receiver))
            }
            Some(_) => Err(conflict(key)),
            None => {
                running.insert(key.to_owned(), Running { digest, waiting: Vec::new() });
                Ok(None)
            }
        }
    }

    fn keep(&self, platform: &AnyPlatform, key: &str, digest: u64, reply: &str) -> Result<(), Error> {
        let mut stored = self.stored.borrow_mut();
        let stored = match &mut *stored {
            Some(stored) => stored,
            // Forgotten while the call ran.
            empty => empty.insert(load(platform)?),
        };
        let key: Rc<str> = Rc::from(key);
        let answer = Answer { number: stored.next, key: key.clone(), digest, reply: reply.to_owned() };
        let bytes = wire::encode_value(&answer, "an answer")?;
        platform
            .put(&format!("{}{}", keys::ANSWERS, answer.number % KEPT), &bytes)
            .map_err(|refusal| Error::new(ErrorKind::Storage, refusal.0))?;
        stored.next += 1;
        stored.by_key.insert(key, answer);
        if stored.by_key.len() as u64 > KEPT {
            let oldest = stored.next - 1 - KEPT;
            stored.by_key.retain(|_, answer| answer.number > oldest);
        }
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.stored.take();
    }
}

fn load(platform: &AnyPlatform) -> Result<Stored, Error> {
    let unreadable =
        |what: &str| Error::new(ErrorKind::Storage, format!("the room's kept answers could not be read: {what}"));
    let mut stored = Stored::default();
    for bytes in platform.list(keys::ANSWERS).map_err(|refusal| unreadable(&refusal.0))? {
        let answer: Answer = match wire::decode_value(&bytes, "a kept answer") {
            Ok(answer) => answer,
            Err(error) => {
                platform.log_error(&format!("{error}: that call is not remembered"));
                continue;
            }
        };
        stored.next = stored.next.max(answer.number + 1);
        stored.by_key.insert(answer.key.clone(), answer);
    }
    Ok(stored)
}

fn conflict(key: &str) -> Error {
    let message = format!("the idempotency key `{key}` belongs to another call");
    Error::new(ErrorKind::IdempotencyConflict, message)
}

/// FNV-1a. Whoever can make two calls collide holds the binding, and fools only itself.
fn digest(call: &str) -> u64 {
    call.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready, rc::Rc};

    use futures_executor::block_on;
    use futures_util::future::join;

    use super::*;
    use crate::platform::memory::Memory;

    struct Calls {
        memory: Rc<Memory>,
        answers: Answers,
        done: Cell<u32>,
    }

    impl Calls {
        fn new() -> Calls {
            Calls { memory: Memory::alone("r1"), answers: Answers::default(), done: Cell::new(0) }
        }

        async fn begin(&self, key: &str, call: &str) -> Result<String, ErrorKind> {
            let work = async {
                self.done.set(self.done.get() + 1);
                let (sender, receiver) = oneshot::channel();
                // The other call comes while this one runs.
                let _ = join(ready(sender.send(())), receiver).await;
                format!("{call} {}", self.done.get())
            };
            self.answers.once(&*self.memory, key, call, work, || true).await.map_err(|error| error.kind())
        }

        fn call(&self, key: &str, call: &str) -> Result<String, ErrorKind> {
            block_on(self.begin(key, call))
        }
    }

    #[test]
    fn a_digest_is_fnv_1a() {
        let known = [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)];
        assert_eq!(known.map(|(call, _)| digest(call)), known.map(|(_, expected)| expected));
    }

    #[test]
    fn the_same_call_again_gets_the_same_answer_and_another_is_a_conflict() {
        let calls = Calls::new();
        assert_eq!(calls.call("k", "add"), Ok("add 1".to_owned()));
        assert_eq!(calls.call("k", "add"), Ok("add 1".to_owned()));
        assert_eq!(calls.call("l", "add"), Ok("add 2".to_owned()));
        assert_eq!(calls.call("k", "dda"), Err(ErrorKind::IdempotencyConflict));
        let again = Calls { answers: Answers::default(), ..calls };
        assert_eq!(again.call("k", "add"), Ok("add 1".to_owned()));
        assert_eq!(again.call("l", "sub"), Err(ErrorKind::IdempotencyConflict));
        assert_eq!(again.done.get(), 2);
    }

    #[test]
    fn the_same_call_at_the_same_time_waits_for_the_first() {
        let calls = Calls::new();
        let both = block_on(join(calls.begin("k", "add"), calls.begin("k", "add")));
        assert_eq!(both, (Ok("add 1".to_owned()), Ok("add 1".to_owned())));
        let both = block_on(join(calls.begin("l", "add"), calls.begin("l", "sub")));
        assert_eq!(both, (Ok("add 2".to_owned()), Err(ErrorKind::IdempotencyConflict)));
    }

    #[test]
    fn a_key_has_a_length() {
        let calls = Calls::new();
        assert_eq!(calls.call("", "add"), Err(ErrorKind::InvalidIdempotencyKey));
        assert_eq!(calls.call(&"k".repeat(257), "add"), Err(ErrorKind::InvalidIdempotencyKey));
        assert_eq!(calls.call(&"k".repeat(256), "add"), Ok("add 1".to_owned()));
    }

    #[test]
    fn the_oldest_answer_makes_room_in_memory_and_in_storage() {
        let calls = Calls::new();
        for n in 0..=KEPT {
            calls.call(&n.to_string(), "add").expect("answered");
        }
        let known = |calls: &Calls, key: u64| {
            let before = calls.done.get();
            calls.call(&key.to_string(), "add").expect("answered");
            calls.done.get() == before
        };
        let check = |calls: &Calls| assert_eq!([known(calls, 1), known(calls, 2), known(calls, KEPT)], [true; 3]);
        check(&calls);
        let again = Calls { answers: Answers::default(), ..calls };
        check(&again);
        assert!(!known(&again, 0));
        // Its answer took the place of the next oldest.
        assert!(!known(&again, 1));
        assert!(known(&again, KEPT));
        assert_eq!(again.memory.list(keys::ANSWERS).expect("readable").len() as u64, KEPT);
    }

    #[test]
    fn an_answer_that_cannot_be_kept_is_given_all_the_same_and_logged() {
        let calls = Calls::new();
        calls.memory.writes_fail.set(true);
        assert_eq!(calls.call("k", "add"), Ok("add 1".to_owned()));
        assert!(calls.memory.errors.take()[0].ends_with("is not kept: the disk is full"));
        calls.memory.writes_fail.set(false);
        assert_eq!(calls.call("k", "add"), Ok("add 2".to_owned()));
        let unread = Calls { answers: Answers::default(), ..calls };
        unread.memory.reads_fail.set(true);
        assert_eq!(unread.call("k", "add"), Err(ErrorKind::Storage));
    }
}
