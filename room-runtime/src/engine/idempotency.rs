//! The stored answers to calls with an idempotency key. They make a repeated call idempotent.

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc};

use futures_channel::oneshot;
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind,
    platform::*,
    wire::{self, keys},
};

/// The number of answers that a room keeps. A further one overwrites the oldest.
const KEPT: u64 = 1_024;

/// The answers that are read at a time.
const CHUNK: u32 = 16;

/// The largest reply that stays in memory, in bytes.
const MAX_REPLY_IN_MEMORY: usize = 16_384;

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// The stored answers, and the calls that are running.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The stored answers by key; `None` until they are read.
    stored: RefCell<Option<Stored>>,
    running: RefCell<HashMap<String, Running>>,
}

#[derive(Debug, Default)]
struct Stored {
    by_key: HashMap<Rc<str>, Answer>,
    /// The number of the next answer.
    next: u64,
}

/// One answer in storage.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    #[serde(deserialize_with = "wire::counted")]
    number: u64,
    key: Rc<str>,
    /// The digest of the call, to detect a different call with the same key.
    digest: u64,
    /// The reply. In memory a large one is empty.
    reply: String,
}

impl Answer {
    fn in_memory(self) -> Self {
        let reply = if self.reply.len() > MAX_REPLY_IN_MEMORY { String::new() } else { self.reply };
        Answer { reply, ..self }
    }
}

#[derive(Debug)]
struct Running {
    digest: u64,
    /// The repeated calls that wait for the running one.
    waiting: Vec<oneshot::Sender<String>>,
}

impl Answers {
    /// Runs the work of a call, unless that call is answered already or is running.
    ///
    /// Returns the answer, and what remains to be done after it. The answer is stored without a wait after the last
    /// change of the work, so that both survive a crash or neither does.
    pub(super) async fn once<T>(
        &self,
        platform: &AnyPlatform,
        key: &str,
        call: &str,
        work: impl Future<Output = (String, Option<T>)>,
        is_alive: impl Fn() -> bool,
    ) -> Result<(String, Option<T>), Error> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let message = format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes, not {}", key.len());
            return Err(Error::new(ErrorKind::InvalidIdempotencyKey, message));
        }
        let digest = digest(call);
        if let Some(reply) = self.known(platform, key, digest)? {
            return Ok((reply, None));
        }
        if let Some(reply) = self.join(key, digest)? {
            // The sender is dropped only together with the object.
            let reply = reply.await;
            let reply = reply.map_err(|_| Error::new(ErrorKind::Restarted, "the call that ran first did not end"))?;
            return Ok((reply, None));
        }
        let (reply, rest) = work.await;
        // A purge deletes the answers. The answer of the call that purged must not be stored in the next life.
        if is_alive()
            && let Err(error) = self.keep(platform, key, digest, &reply)
        {
            // The caller still gets the answer: an error would make it repeat work that is done.
            platform.log_error(&format!("the answer to a call with the idempotency key `{key}` is not kept: {error}"));
        }
        let running = self.running.borrow_mut().remove(key);
        for waiting in running.into_iter().flat_map(|running| running.waiting) {
            // The send fails if the caller stopped waiting.
            let _ = waiting.send(reply.clone());
        }
        Ok((reply, rest))
    }

    fn known(&self, platform: &AnyPlatform, key: &str, digest: u64) -> Result<Option<String>, Error> {
        let mut stored = self.stored.borrow_mut();
        let stored = match &mut *stored {
            Some(stored) => stored,
            empty => empty.insert(load(platform)?),
        };
        match stored.by_key.get(key) {
            // A reply is never empty.
            Some(answer) if answer.digest == digest && answer.reply.is_empty() => {
                read_reply(platform, answer).map(Some)
            }
            Some(answer) if answer.digest == digest => Ok(Some(answer.reply.clone())),
            Some(_) => Err(conflict(key)),
            None => Ok(None),
        }
    }

    /// Returns a receiver if the same call is running. Otherwise marks the call as running.
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
            // `clear` may have dropped the answers while the call ran.
            empty => empty.insert(load(platform)?),
        };
        let key: Rc<str> = Rc::from(key);
        let answer = Answer { number: stored.next, key: key.clone(), digest, reply: reply.to_owned() };
        let bytes = wire::encode_value(&answer, "an answer")?;
        platform.put(&key_of(answer.number), &bytes).map_err(|refusal| Error::new(ErrorKind::Storage, refusal.0))?;
        stored.next += 1;
        stored.by_key.insert(key, answer.in_memory());
        if stored.by_key.len() as u64 > KEPT {
            let oldest = stored.next.saturating_sub(1 + KEPT);
            stored.by_key.retain(|_, answer| answer.number > oldest);
        }
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.stored.take();
    }
}

/// Reads a reply that is too large for the memory.
fn read_reply(platform: &AnyPlatform, answer: &Answer) -> Result<String, Error> {
    let unreadable = |what: &str| Error::new(ErrorKind::Storage, format!("a kept answer could not be read: {what}"));
    let stored = platform.get(&key_of(answer.number)).map_err(|refusal| unreadable(&refusal.0))?;
    let stored = stored.ok_or_else(|| unreadable("it is gone"))?;
    Ok(wire::decode_value::<Answer>(&stored, "a kept answer")?.reply)
}

fn load(platform: &AnyPlatform) -> Result<Stored, Error> {
    let unreadable =
        |what: &str| Error::new(ErrorKind::Storage, format!("the room's kept answers could not be read: {what}"));
    let mut stored = Stored::default();
    // Few at a time: an answer can have 1 MB.
    let mut start = None;
    loop {
        let found = platform.scan(keys::ANSWERS, start.as_deref(), false, CHUNK);
        let found = found.map_err(|refusal| unreadable(&refusal.0))?;
        let is_last = found.len() < CHUNK as usize;
        let mut last = None;
        for bytes in found {
            match wire::decode_value::<Answer>(&bytes, "a kept answer") {
                Ok(answer) => {
                    stored.next = stored.next.max(answer.number + 1);
                    last = Some(answer.number);
                    stored.by_key.insert(answer.key.clone(), answer.in_memory());
                }
                Err(error) => platform.log_error(&format!("{error}: that call is not remembered")),
            }
        }
        // No key lies between this one and the next.
        let next = last.map(|number| format!("{}\0", key_of(number)));
        match next {
            // An answer under the key of another number would be read for ever.
            Some(next) if !is_last && start.as_ref().is_none_or(|start| *start < next) => start = Some(next),
            _ => return Ok(stored),
        }
    }
}

fn key_of(number: u64) -> String {
    format!("{}{}", keys::ANSWERS, number % KEPT)
}

fn conflict(key: &str) -> Error {
    let message = format!("the idempotency key `{key}` belongs to another call");
    Error::new(ErrorKind::IdempotencyConflict, message)
}

/// The FNV-1a hash of a call. Only the holder of the binding can construct a collision, and it harms only itself.
pub(super) fn digest(call: &str) -> u64 {
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
                // The second call arrives while this one runs.
                let _ = join(ready(sender.send(())), receiver).await;
                (format!("{call} {}", self.done.get()), None::<()>)
            };
            let done = self.answers.once(&*self.memory, key, call, work, || true).await;
            done.map(|(reply, _)| reply).map_err(|error| error.kind())
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
        // The new answer overwrote the next oldest one.
        assert!(!known(&again, 1));
        assert!(known(&again, KEPT));
        assert_eq!(again.memory.list(keys::ANSWERS).expect("readable").len() as u64, KEPT);
    }

    #[test]
    fn large_answers_stay_in_storage_only_and_are_given_again() {
        let calls = Calls::new();
        let call = "x".repeat(MAX_REPLY_IN_MEMORY);
        let expected: Vec<_> = (1..=2 * CHUNK).map(|n| Ok(format!("{call} {n}"))).collect();
        let all = |calls: &Calls| -> Vec<_> { (1..=2 * CHUNK).map(|n| calls.call(&n.to_string(), &call)).collect() };
        assert!(all(&calls) == expected);
        assert!(all(&calls) == expected, "given again");
        let again = Calls { answers: Answers::default(), ..calls };
        assert!(all(&again) == expected, "given again after a wake");
        let stored = again.answers.stored.borrow();
        let in_memory = stored.iter().flat_map(|stored| stored.by_key.values()).map(|answer| answer.reply.len());
        assert_eq!((in_memory.sum::<usize>(), again.done.get()), (0, 2 * CHUNK));
        drop(stored);
        again.memory.reads_fail.set(true);
        assert_eq!(again.call("1", &call), Err(ErrorKind::Storage));
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
