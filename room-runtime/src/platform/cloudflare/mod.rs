//! The room's side of Cloudflare. It passes bytes and contains no rules.
//!
//! Only this module, those below it and the layer `object` touch JavaScript values.

#[allow(unsafe_code, reason = "the bindings that wasm-bindgen generates")]
pub(crate) mod js;
pub(crate) mod namespace;

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use worker::{
    Delay, Env, State, js_sys,
    wasm_bindgen::{JsCast, JsValue},
};

use super::{
    Audience, Frame, LocalFuture, Platform, PlatformError, Sent, Silence, Socket,
    sql::{self, SqlRows, SqlValue, crossing::Crossing, statement::Statement},
    transport::{Transport, Unreachable},
};
use crate::wire::{decode_value, keys};

/// Not 0 while a room's code runs. An exception through that code leaves it set, and `room.js` checks it.
pub(crate) static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Runs a room's code until it returns or waits.
pub(crate) fn run_room<T>(code: impl FnOnce() -> T) -> T {
    struct Abandoned;

    // This drop runs only if a panic unwinds, before any value of the room is dropped. The panic may have left a change
    // unfinished, so the instance ends, as it does in builds where panics do not unwind.
    impl Drop for Abandoned {
        fn drop(&mut self) {
            std::process::abort();
        }
    }

    let abandoned = Abandoned;
    RUNNING.store(1, Ordering::Relaxed);
    let value = code();
    RUNNING.store(0, Ordering::Relaxed);
    std::mem::forget(abandoned);
    value
}

/// Runs a room's asynchronous code, with [`run_room`] around each poll.
pub(crate) async fn run_to_end<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| run_room(|| work.as_mut().poll(cx))).await
}

pub(crate) fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

/// Returns 128 unguessable bits.
pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    js::fill_random(&mut bytes);
    bytes
}

/// The message of a JavaScript error.
pub(crate) fn message_of(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| format!("{error:?}")),
    }
}

pub(crate) fn refusal(error: JsValue) -> PlatformError {
    PlatformError(message_of(&error))
}

/// One Durable Object, as the engine sees it.
pub(crate) struct Cloudflare {
    state: State,
    env: Env,
    pub(crate) sockets: js::Sockets,
    storage: js::Storage,
}

impl Cloudflare {
    pub(crate) fn new(state: State, env: Env, sockets: js::Sockets) -> Self {
        let storage = js::Storage::new(state.as_raw(), keys::STATE);
        Cloudflare { state, env, sockets, storage }
    }

    fn send_bytes(&self, bytes: &[u8], to: Audience<'_>, max_unread: f64, is_packed: bool) -> f64 {
        match to {
            Audience::All { tag, except } => {
                self.sockets.send_all_bytes(bytes, is_packed, max_unread, tag, one_exception(except))
            }
            Audience::Only(only) => self.sockets.send_only_bytes(bytes, is_packed, max_unread, only),
        }
    }

    fn sent(&self, outcome: f64) -> Sent {
        // `#sent` in room.js documents the encoding.
        let (is_complete, outcome) = if outcome < 0.0 { (false, -1.0 - outcome) } else { (true, outcome) };
        let outcome = outcome as u64;
        let sent =
            Sent { sent: (outcome / 4) as usize, held: outcome & 1 != 0, others: outcome & 2 != 0, ..Sent::default() };
        if is_complete {
            return sent;
        }
        Sent { failed: self.sockets.take_failed(), unread: self.sockets.take_unread(), ..sent }
    }
}

impl fmt::Debug for Cloudflare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloudflare").finish_non_exhaustive()
    }
}

impl Platform for Cloudflare {
    fn name(&self) -> Option<String> {
        self.state.id().name()
    }

    fn number(&self) -> String {
        self.state.id().to_string()
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn random(&self) -> [u8; 16] {
        random()
    }

    fn log_error(&self, message: &str) {
        worker::console_error!("{message}");
    }

    fn timer(self: Rc<Self>, ms: u64) -> LocalFuture {
        Box::pin(Delay::from(Duration::from_millis(ms)))
    }

    fn spawn(&self, work: LocalFuture) {
        worker::wasm_bindgen_futures::spawn_local(run_to_end(work));
    }

    fn open(&self, tag: Option<&str>) -> Vec<Socket> {
        self.sockets.open(tag)
    }

    fn is_open(&self, socket: Socket) -> bool {
        self.sockets.is_open(socket)
    }

    fn count_open(&self) -> usize {
        self.sockets.count_open() as usize
    }

    fn has_sockets(&self) -> bool {
        self.sockets.has_any()
    }

    fn is_packed(&self, socket: Socket) -> bool {
        self.sockets.is_packed(socket)
    }

    fn is_v1(&self, socket: Socket) -> bool {
        self.sockets.is_v1(socket)
    }

    fn tags(&self, socket: Socket) -> Vec<String> {
        self.sockets.tags(socket).unwrap_or_default()
    }

    fn attachment(&self, socket: Socket) -> Option<Vec<u8>> {
        self.sockets.attachment(socket).ok().flatten()
    }

    fn attach(&self, socket: Socket, bytes: &[u8]) -> Result<(), PlatformError> {
        self.sockets.attach(socket, bytes).map_err(refusal)
    }

    fn send(&self, frame: Frame<'_>, to: Audience<'_>, max_unread: usize, hold: bool) -> Sent {
        let max = if max_unread == usize::MAX { f64::INFINITY } else { max_unread as f64 };
        let sockets = &self.sockets;
        let others;
        let to = match to {
            // There is nearly always at most one exception, the sender, so only that case has a fast path.
            Audience::All { tag, except } if except.len() > 1 => {
                others = self.open(tag).into_iter().filter(|socket| !except.contains(socket)).collect::<Vec<_>>();
                Audience::Only(&others)
            }
            to => to,
        };
        self.sent(match frame {
            Frame::Text(text) => {
                let size = text.len() as f64;
                match to {
                    Audience::All { tag, except } => {
                        sockets.send_all_text(text, size, max, hold, tag, one_exception(except))
                    }
                    Audience::Only(&[socket]) => sockets.send_one_text(text, size, max, hold, socket),
                    Audience::Only(only) => sockets.send_only_text(text, size, max, hold, only),
                }
            }
            Frame::Packed(bytes) => self.send_bytes(bytes, to, max, true),
            Frame::Bytes(bytes) => self.send_bytes(bytes, to, max, false),
        })
    }

    fn mark(&self, position: u64) {
        self.sockets.mark(position as f64);
    }

    fn control(&self, socket: Socket, control: Frame<'_>, hold: bool) {
        match control {
            Frame::Text(text) => self.sockets.control(socket, text, hold),
            Frame::Packed(bytes) | Frame::Bytes(bytes) => self.sockets.control_bytes(socket, bytes, hold),
        }
    }

    fn silent(&self) -> Silence {
        let found = self.sockets.silent();
        let (next, sockets) = found.split_first().unwrap_or((&-1.0, &[]));
        Silence {
            sockets: sockets.iter().map(|socket| *socket as Socket).collect(),
            next_ms: (*next >= 0.0).then_some(*next as u64),
        }
    }

    fn release(&self) {
        self.sockets.release();
    }

    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), PlatformError> {
        self.sockets.close(socket, code, reason).map_err(refusal)
    }

    fn answer_close(&self, socket: Socket, code: u16, reason: &str) {
        self.sockets.answer_close(socket, code, reason);
    }

    fn detach(&self, socket: Socket) {
        self.sockets.detach(socket);
    }

    fn forget(&self, socket: Socket) {
        self.sockets.forget(socket);
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        self.storage.get(key).map_err(refusal)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), PlatformError> {
        let put = if key == keys::STATE { self.storage.put_state(value) } else { self.storage.put(key, value) };
        put.map_err(refusal)
    }

    fn delete(&self, key: &str) -> Result<(), PlatformError> {
        self.storage.delete(key).map_err(refusal)
    }

    fn stored_bytes(&self) -> Result<u64, PlatformError> {
        self.storage.size().map(|bytes| bytes as u64).map_err(refusal)
    }

    fn delete_all(&self) -> Result<(), PlatformError> {
        self.storage.delete_all().map_err(refusal)
    }

    fn sql(&self, statement: &Statement<'_>, parameters: &[SqlValue]) -> Result<SqlRows, PlatformError> {
        let text = statement.with_casts(parameters);
        let Crossing { kinds, numbers, texts, bytes } = Crossing::of(parameters);
        let run = |text: &str, is_exact| {
            let is_atomic = statement.is_atomic();
            self.storage.sql(text, is_atomic, is_exact, &kinds, &numbers, &texts, &bytes)
        };
        let rows = run(&text, false).map_err(refusal)?;
        let (columns, texts) = names_and_texts(&rows)?;
        if !rows.rounded() {
            return read_rows(&rows, columns, texts, false);
        }
        let exact = statement.exact(&text, columns.len(), true);
        let rows = run(&exact, true).map_err(|error| sql::rounded(&message_of(&error)))?;
        let (_, texts) = names_and_texts(&rows)?;
        read_rows(&rows, columns, texts, true)
    }

    fn read(
        &self,
        statement: &Statement<'_>,
        parameters: &[SqlValue],
        batch: &mut dyn FnMut(SqlRows) -> bool,
    ) -> Result<(), PlatformError> {
        let text = statement.with_casts(parameters);
        let Crossing { kinds, numbers, texts, bytes } = Crossing::of(parameters);
        let reading = self.storage.read(&text, &kinds, &numbers, &texts, &bytes).map_err(refusal)?;
        // The columns of the first run, once the rows are read exactly: in the second run they are expressions.
        let mut first_columns = None;
        loop {
            let rows = reading.next().map_err(refusal)?;
            let (columns, texts) = names_and_texts(&rows)?;
            if rows.rounded() {
                let exact = statement.exact(&text, columns.len(), false);
                reading.again(&exact).map_err(|error| sql::rounded(&message_of(&error)))?;
                first_columns = Some(columns);
                continue;
            }
            let rows = match &first_columns {
                Some(columns) => read_rows(&rows, columns.clone(), texts, true)?,
                None => read_rows(&rows, columns, texts, false)?,
            };
            if rows.rows.is_empty() || !batch(rows) {
                return Ok(());
            }
        }
    }

    fn transaction(&self, work: &mut dyn FnMut() -> bool) -> Result<(), PlatformError> {
        self.storage.transaction(&mut || work()).map_or(Ok(()), |message| Err(PlatformError(message)))
    }

    fn transport(&self, binding: &str, _class: &str) -> Result<Transport, Unreachable> {
        namespace::Namespace::new(&self.env, binding).map(Transport::Cloudflare)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Vec<u8>>, PlatformError> {
        let values = self.storage.list(prefix).map_err(refusal)?;
        Ok(values.iter().map(js_sys::Uint8Array::to_vec).collect())
    }

    fn scan(
        &self,
        prefix: &str,
        start: Option<&str>,
        reverse: bool,
        limit: u32,
    ) -> Result<Vec<Vec<u8>>, PlatformError> {
        let values = self.storage.scan(prefix, start, reverse, limit).map_err(refusal)?;
        Ok(values.iter().map(js_sys::Uint8Array::to_vec).collect())
    }

    fn set_alarm(&self, at_ms: Option<u64>) {
        // workerd loses an alarm that a running alarm handler sets for the very time of the alarm that fired: it compares
        // the times and finds nothing to change. A time after now is never that time. A JavaScript `Date` has an upper
        // limit, in about 285,000 years.
        let earliest = self.now_ms().saturating_add(1);
        if let Err(error) = self.storage.set_alarm(at_ms.map(|ms| (ms.max(earliest) as f64).min(8.64e15))) {
            self.log_error(&format!("the alarm was not set: {}", message_of(&error)));
        }
    }
}

/// The only exception, in the form for `sendAll`.
fn one_exception(except: &[Socket]) -> i32 {
    except.first().map_or(-1, |socket| *socket as i32)
}

fn names_and_texts(rows: &js::Rows) -> Result<(Vec<String>, Vec<String>), PlatformError> {
    decode_value(rows.texts().as_bytes(), "the rows").map_err(|error| PlatformError(error.to_string()))
}

fn read_rows(
    rows: &js::Rows,
    columns: Vec<String>,
    texts: Vec<String>,
    is_exact: bool,
) -> Result<SqlRows, PlatformError> {
    let (kinds, numbers, bytes) = (rows.kinds(), rows.numbers(), rows.bytes());
    let crossing = Crossing { kinds, numbers, texts: String::new(), bytes };
    let rows = crossing.into_rows(columns, texts, is_exact);
    rows.ok_or_else(|| PlatformError("the rows do not cross".to_owned()))
}
