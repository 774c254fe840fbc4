//! Cloudflare, the room's side: with its sibling, the only file that touches a JavaScript value. It carries bytes and
//! decides nothing.

pub(crate) mod namespace;

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe},
    pin::pin,
    rc::{Rc, Weak},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;

use worker::{
    Delay, Env, Request, Response, State, WebSocket, WebSocketIncomingMessage, js_sys,
    wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen},
    wasm_bindgen_futures::future_to_promise,
};

use super::{Audience, Frame, LocalFuture, OwnedFrame, Platform, Refusal, Sent, Socket};
use crate::{
    Close, Error, Room,
    heads::{NO_REQUESTS, RequestHead, ResponseHead, TEXT},
    host::{RoomHost, STATE_KEY, Upgraded},
    sql::{self, SqlRows, SqlValue, crossing::Crossing, statement::Statement},
    tickets,
    transport::{Transport, Unreachable},
    upgrade::{Handshake, parse_protocols},
    wire::{Reply, SUBPROTOCOL, WireError, decode_value},
};

/// The bindings to `room.js`. What an import throws that has no `catch` ends the wasm instance: those without it cannot
/// throw, for all that the platform says.
pub(crate) mod js {
    use super::{JsValue, js_sys, wasm_bindgen};

    #[wasm_bindgen(wasm_bindgen = ::worker::wasm_bindgen, module = "/src/platform/cloudflare/room.js")]
    extern "C" {
        pub(crate) type Sockets;

        #[wasm_bindgen(constructor)]
        pub(crate) fn new(state: &JsValue, ping: &str, pong: &str) -> Sockets;
        #[wasm_bindgen(method)]
        pub(crate) fn index(this: &Sockets, socket: &JsValue) -> u32;
        #[wasm_bindgen(method)]
        pub(crate) fn heard(this: &Sockets, socket: &JsValue) -> u32;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn accept(
            this: &Sockets,
            request: &JsValue,
            tags: Vec<JsValue>,
            protocol: Option<&str>,
            v1: bool,
        ) -> Result<u32, JsValue>;
        #[wasm_bindgen(method)]
        pub(crate) fn open(this: &Sockets, tag: Option<&str>) -> Vec<u32>;
        #[wasm_bindgen(method, js_name = countOpen)]
        pub(crate) fn count_open(this: &Sockets) -> u32;
        #[wasm_bindgen(method, js_name = hasAny)]
        pub(crate) fn has_any(this: &Sockets) -> bool;
        #[wasm_bindgen(method, js_name = isOpen)]
        pub(crate) fn is_open(this: &Sockets, index: u32) -> bool;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn tags(this: &Sockets, index: u32) -> Result<Vec<String>, JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn attachment(this: &Sockets, index: u32) -> Result<Option<Vec<u8>>, JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn attach(this: &Sockets, index: u32, bytes: &[u8]) -> Result<(), JsValue>;
        #[wasm_bindgen(method, js_name = sendAll)]
        pub(crate) fn send_all_text(
            this: &Sockets,
            frame: &str,
            size: f64,
            max_unread: f64,
            hold: bool,
            tag: Option<&str>,
            except: i32,
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendOnly)]
        pub(crate) fn send_only_text(
            this: &Sockets,
            frame: &str,
            size: f64,
            max_unread: f64,
            hold: bool,
            indices: &[u32],
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendOne)]
        pub(crate) fn send_one_text(
            this: &Sockets,
            frame: &str,
            size: f64,
            max_unread: f64,
            hold: bool,
            index: u32,
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendAll)]
        pub(crate) fn send_all_bytes(
            this: &Sockets,
            frame: Vec<u8>,
            size: f64,
            max_unread: f64,
            hold: bool,
            tag: Option<&str>,
            except: i32,
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendOnly)]
        pub(crate) fn send_only_bytes(
            this: &Sockets,
            frame: Vec<u8>,
            size: f64,
            max_unread: f64,
            hold: bool,
            indices: &[u32],
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendOne)]
        pub(crate) fn send_one_bytes(
            this: &Sockets,
            frame: Vec<u8>,
            size: f64,
            max_unread: f64,
            hold: bool,
            index: u32,
        ) -> f64;
        #[wasm_bindgen(method)]
        pub(crate) fn release(this: &Sockets);
        #[wasm_bindgen(method, js_name = takeFailed)]
        pub(crate) fn take_failed(this: &Sockets) -> Vec<u32>;
        #[wasm_bindgen(method, js_name = takeUnread)]
        pub(crate) fn take_unread(this: &Sockets) -> Vec<u32>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn close(this: &Sockets, index: u32, code: u16, reason: &str) -> Result<(), JsValue>;
        #[wasm_bindgen(method, js_name = answerClose)]
        pub(crate) fn answer_close(this: &Sockets, index: u32, code: u16, reason: &str);
        #[wasm_bindgen(method)]
        pub(crate) fn detach(this: &Sockets, index: u32);
        #[wasm_bindgen(method)]
        pub(crate) fn forget(this: &Sockets, index: u32);

        #[wasm_bindgen(js_name = requestHead)]
        pub(crate) fn request_head(request: &JsValue) -> String;
        // With `catch` also because wasm-bindgen imports a function that needs no glue directly, and the bundler warns about
        // a duplicate key as soon as two are imported so.
        #[wasm_bindgen(catch)]
        pub(crate) fn upgraded(request: &JsValue) -> Result<JsValue, JsValue>;
        pub(crate) type Storage;

        #[wasm_bindgen(constructor)]
        pub(crate) fn new(state: &JsValue, state_key: &str) -> Storage;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn get(this: &Storage, key: &str) -> Result<Option<Vec<u8>>, JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn put(this: &Storage, key: &str, bytes: &[u8]) -> Result<(), JsValue>;
        #[wasm_bindgen(method, catch, js_name = putState)]
        pub(crate) fn put_state(this: &Storage, bytes: &[u8]) -> Result<(), JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn delete(this: &Storage, key: &str) -> Result<(), JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn list(this: &Storage, prefix: &str) -> Result<Vec<js_sys::Uint8Array>, JsValue>;
        #[wasm_bindgen(method, catch, js_name = deleteAll)]
        pub(crate) fn delete_all(this: &Storage) -> Result<(), JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn sql(
            this: &Storage,
            statement: &str,
            is_atomic: bool,
            is_exact: bool,
            kinds: &[u8],
            numbers: &[f64],
            texts: &str,
            bytes: &[u8],
        ) -> Result<Rows, JsValue>;
        #[wasm_bindgen(method, catch, js_name = setAlarm)]
        pub(crate) fn set_alarm(this: &Storage, at_ms: Option<f64>) -> Result<(), JsValue>;

        /// What [`Storage::sql`] returns.
        pub(crate) type Rows;

        #[wasm_bindgen(method, getter)]
        pub(crate) fn rounded(this: &Rows) -> bool;
        #[wasm_bindgen(method, getter)]
        pub(crate) fn texts(this: &Rows) -> String;
        #[wasm_bindgen(method, getter)]
        pub(crate) fn kinds(this: &Rows) -> Vec<u8>;
        #[wasm_bindgen(method, getter)]
        pub(crate) fn numbers(this: &Rows) -> Vec<f64>;
        #[wasm_bindgen(method, getter)]
        pub(crate) fn bytes(this: &Rows) -> Vec<u8>;

        #[wasm_bindgen(js_name = fillRandom)]
        pub(crate) fn fill_random(bytes: &mut [u8]);
        pub(crate) fn install(class_name: &str, memory: &JsValue, running: u32);
        #[wasm_bindgen(js_name = instanceEnded)]
        pub(crate) fn instance_ended();
    }
}

/// Called at each start of the wasm instance, once for each room.
pub fn install(class_name: &str) {
    js::install(class_name, &worker::wasm_bindgen::memory(), RUNNING.as_ptr() as usize as u32);
}

/// Not 0 while the code of a room runs. An exception that goes through that code leaves it so: by that `room.js` knows.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Runs the code of a room as far as it goes.
fn run_room<T>(code: impl FnOnce() -> T) -> T {
    struct Abandoned;

    // Nothing but a panic that unwinds comes here, before anything of the room is dropped. It may have left a change
    // half-made: the instance ends, as it does where panics do not unwind.
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

/// The same for code that waits.
async fn run_to_end<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| run_room(|| work.as_mut().poll(cx))).await
}

/// A number that no one can guess.
pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    js::fill_random(&mut bytes);
    bytes
}

/// What a JavaScript error says.
pub(crate) fn message_of(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| format!("{error:?}")),
    }
}

fn refusal(error: JsValue) -> Refusal {
    Refusal(message_of(&error))
}

/// One Durable Object as the engine sees it.
pub(crate) struct Cloudflare {
    state: State,
    env: Env,
    sockets: js::Sockets,
    storage: js::Storage,
}

impl Cloudflare {
    fn sent(&self, outcome: f64) -> Sent {
        // See `#sent` in room.js.
        let held = outcome.fract() != 0.0;
        if outcome >= 0.0 {
            return Sent { sent: outcome as usize, held, ..Sent::default() };
        }
        let (failed, unread) = (self.sockets.take_failed(), self.sockets.take_unread());
        Sent { sent: (-1.0 - outcome) as usize, failed, unread, held }
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
        js_sys::Date::now() as u64
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

    fn tags(&self, socket: Socket) -> Vec<String> {
        self.sockets.tags(socket).unwrap_or_default()
    }

    fn attachment(&self, socket: Socket) -> Option<Vec<u8>> {
        self.sockets.attachment(socket).ok().flatten()
    }

    fn attach(&self, socket: Socket, bytes: &[u8]) -> Result<(), Refusal> {
        self.sockets.attach(socket, bytes).map_err(refusal)
    }

    fn send(&self, frame: Frame<'_>, to: Audience<'_>, max_unread: usize, hold: bool) -> Sent {
        let (sockets, max) = (&self.sockets, max_unread as f64);
        let others;
        let to = match to {
            // Who is excepted, if anyone, is nearly always one: the sender.
            Audience::All { tag, except } if except.len() > 1 => {
                others = self.open(tag).into_iter().filter(|socket| !except.contains(socket)).collect::<Vec<_>>();
                Audience::Only(&others)
            }
            to => to,
        };
        let but = |except: &[Socket]| except.first().map_or(-1, |socket| *socket as i32);
        self.sent(match frame {
            Frame::Text(text) => {
                let size = text.len() as f64;
                match to {
                    Audience::All { tag, except } => sockets.send_all_text(text, size, max, hold, tag, but(except)),
                    Audience::Only(&[socket]) => sockets.send_one_text(text, size, max, hold, socket),
                    Audience::Only(only) => sockets.send_only_text(text, size, max, hold, only),
                }
            }
            Frame::Binary(bytes) => {
                let (bytes, size) = (bytes.to_vec(), bytes.len() as f64);
                match to {
                    Audience::All { tag, except } => sockets.send_all_bytes(bytes, size, max, hold, tag, but(except)),
                    Audience::Only(&[socket]) => sockets.send_one_bytes(bytes, size, max, hold, socket),
                    Audience::Only(only) => sockets.send_only_bytes(bytes, size, max, hold, only),
                }
            }
        })
    }

    fn release(&self) {
        self.sockets.release();
    }

    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), Refusal> {
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

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.storage.get(key).map_err(refusal)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Refusal> {
        let put = if key == STATE_KEY { self.storage.put_state(value) } else { self.storage.put(key, value) };
        put.map_err(refusal)
    }

    fn delete(&self, key: &str) -> Result<(), Refusal> {
        self.storage.delete(key).map_err(refusal)
    }

    fn delete_all(&self) -> Result<(), Refusal> {
        self.storage.delete_all().map_err(refusal)
    }

    fn sql(&self, statement: &Statement<'_>, parameters: &[SqlValue]) -> Result<SqlRows, Refusal> {
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
        let exact = statement.exact(&text, columns.len());
        let rows = run(&exact, true).map_err(|error| sql::rounded(&message_of(&error)))?;
        let (_, texts) = names_and_texts(&rows)?;
        read_rows(&rows, columns, texts, true)
    }

    fn transport(&self, binding: &str, _class: &'static str) -> Result<Transport, Unreachable> {
        namespace::Namespace::new(&self.env, binding).map(Transport::Cloudflare)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Vec<u8>>, Refusal> {
        let values = self.storage.list(prefix).map_err(refusal)?;
        Ok(values.iter().map(js_sys::Uint8Array::to_vec).collect())
    }

    fn set_alarm(&self, at_ms: Option<u64>) {
        // A Date holds less; nobody will know the difference in 285,000 years. And the epoch is no time for an alarm.
        if let Err(error) = self.storage.set_alarm(at_ms.map(|ms| (ms as f64).clamp(1.0, 8.64e15))) {
            self.log_error(&format!("the alarm was not set: {}", message_of(&error)));
        }
    }
}

fn names_and_texts(rows: &js::Rows) -> Result<(Vec<String>, Vec<String>), Refusal> {
    decode_value(rows.texts().as_bytes(), "the rows").map_err(|error| Refusal(error.to_string()))
}

fn read_rows(rows: &js::Rows, columns: Vec<String>, texts: Vec<String>, is_exact: bool) -> Result<SqlRows, Refusal> {
    let (kinds, numbers, bytes) = (rows.kinds(), rows.numbers(), rows.bytes());
    let crossing = Crossing { kinds, numbers, texts: String::new(), bytes };
    let rows = crossing.into_rows(columns, texts, is_exact);
    rows.ok_or_else(|| Refusal("the rows do not cross".to_owned()))
}

/// The request of an upgrade.
struct Incoming {
    request: JsValue,
    /// Its `sec-websocket-protocol`; the platform makes one of several.
    offered: Option<String>,
}

impl Handshake for Incoming {
    fn head(&self) -> Result<http::Request<()>, Error> {
        read_head(&js::request_head(&self.request), ())
    }

    fn protocols(&self) -> Vec<String> {
        parse_protocols(self.offered.as_deref())
    }
}

fn read_head<B>(head: &str, body: B) -> Result<http::Request<B>, Error> {
    decode_value::<RequestHead>(head.as_bytes(), "the head of a request")?.into_request(body)
}

/// What the Durable Object class of a room holds: the engine, and how its events reach it.
pub struct Object<R: Room> {
    platform: Rc<Cloudflare>,
    host: Rc<RoomHost<R>>,
}

// Who calls an export again after a panic meets another object: a panic in a room's code ends the instance, see `run_room`.
impl<R: Room> UnwindSafe for Object<R> {}
impl<R: Room> RefUnwindSafe for Object<R> {}

impl<R: Room> fmt::Debug for Object<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("host", &self.host).finish_non_exhaustive()
    }
}

impl<R: Room> Object<R> {
    /// The object has come into memory.
    pub fn new(state: State, env: Env) -> Self {
        // In place of that of `worker`, whose start function comes before or behind ours, and which would have the
        // instance replaced in the middle of the next call.
        worker::wasm_bindgen::handler::set_on_abort(js::instance_ended);
        let (ping, pong) = R::HEARTBEAT;
        let sockets = js::Sockets::new(state.as_raw(), ping, pong);
        let storage = js::Storage::new(state.as_raw(), STATE_KEY);
        let platform = Rc::new(Cloudflare { state, env: env.clone(), sockets, storage });
        let number = platform.number();
        let services = Box::new(move || R::services(&env));
        let host = RoomHost::new(platform.clone(), services);
        succeed(number, &host);
        Object { host, platform }
    }

    /// A request: an upgrade that its client announced, and nothing else.
    pub async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let ticket = request.headers().get(tickets::TICKET_HEADER)?;
        let Some(ticket) = ticket.filter(|ticket| tickets::is_ticket(ticket)) else {
            return Response::error("this room is reached through its client", 403);
        };
        let offered = request.headers().get("sec-websocket-protocol")?;
        let request: &JsValue = request.inner();
        let handshake = || -> Rc<dyn Handshake> { Rc::new(Incoming { request: request.clone(), offered }) };
        let accept = |tags: &[String], protocol: Option<&str>| {
            let tags = tags.iter().map(|tag| JsValue::from_str(tag)).collect();
            let v1 = protocol == Some(SUBPROTOCOL);
            self.platform.sockets.accept(request, tags, protocol, v1).map_err(refusal)
        };
        match run_to_end(self.host.upgrade(&ticket, handshake, accept)).await {
            Ok(Upgraded::Accepted) => Ok(js::upgraded(request)?.unchecked_into::<worker::web_sys::Response>().into()),
            Ok(Upgraded::Refused(status, text)) => plain(status, &text),
            Ok(Upgraded::Answered(response)) if R::HAS_ON_UPGRADE => {
                let body = js_sys::Uint8Array::from(&**response.body());
                Ok(namespace::response(&ResponseHead::of(&response), &body))
            }
            Ok(Upgraded::Answered(_)) => plain(500, "the room failed"),
            Err(error) => {
                let text = serde_json::to_string(&WireError::from(&error))?;
                let response = Response::error(text, 500)?;
                response.headers().set(tickets::ERROR_HEADER, error.kind().as_str())?;
                Ok(response)
            }
        }
    }

    /// A frame, as `#[durable_object]` hands it over. On the platform `room.js` takes its place, with
    /// [`text`](Object::text) and [`bytes`](Object::bytes).
    pub async fn message(&self, socket: WebSocket, message: WebSocketIncomingMessage) {
        let socket = self.platform.sockets.heard(socket.as_ref());
        let frame = match message {
            WebSocketIncomingMessage::String(text) => OwnedFrame::Text(text),
            WebSocketIncomingMessage::Binary(bytes) => OwnedFrame::Binary(bytes),
        };
        self.handle(socket, frame).await;
    }

    /// The sockets, for the JavaScript that calls the next two.
    pub fn sockets(&self) -> JsValue {
        self.platform.sockets.clone()
    }

    /// A text frame of the socket with that index. The promise of what is still to be done, or `undefined`.
    pub fn text(&self, socket: u32, text: String) -> JsValue {
        at_once(self.handle(socket, OwnedFrame::Text(text)))
    }

    /// A binary frame, likewise.
    pub fn bytes(&self, socket: u32, bytes: Vec<u8>) -> JsValue {
        at_once(self.handle(socket, OwnedFrame::Binary(bytes)))
    }

    fn handle(&self, socket: Socket, frame: OwnedFrame) -> Work {
        let host = self.host.clone();
        Box::pin(async move {
            host.message(socket, frame).await;
            JsValue::UNDEFINED
        })
    }

    /// A close frame, or the loss of the connection.
    pub async fn closed(&self, socket: WebSocket, code: usize, reason: String, was_clean: bool) {
        let socket = self.platform.sockets.index(socket.as_ref());
        let code = u16::try_from(code).unwrap_or(1005);
        run_to_end(self.host.closed(socket, Close::new(code, reason, was_clean))).await;
    }

    /// The connection failed.
    pub async fn failed(&self, socket: WebSocket, error: worker::Error) {
        self.closed(socket, 1006, error.to_string(), false).await;
    }

    /// The object's alarm.
    pub async fn alarm(&self) -> worker::Result<Response> {
        if RoomHost::<R>::HAS_ALARMS {
            // In a box, and with it nothing of it in the wasm of a room without alarms.
            let firing: LocalFuture = Box::pin(run_to_end(self.host.clone().alarm()));
            firing.await;
        }
        Response::empty()
    }

    /// A command of the Worker's client: the answer, or the promise of it.
    pub fn call(&self, command: String) -> JsValue {
        let host = self.host.clone();
        at_once(Box::pin(async move { JsValue::from_str(&host.call(&command).await) }))
    }

    /// A request that the Worker forwards: its head and its body, answered with the same.
    pub async fn request(&self, head: JsValue, body: JsValue) -> Result<JsValue, JsValue> {
        let (Some(head), Some(body)) = (head.as_string(), body.dyn_ref::<js_sys::Uint8Array>()) else {
            return Err(js_sys::Error::new("a room's request is a string and its body").into());
        };
        if !R::HAS_ON_REQUEST {
            let head = ResponseHead { status: 404, headers: vec![("content-type".to_owned(), TEXT.to_owned())] };
            return reply(&Reply::Ok(head), JsValue::from_str(NO_REQUESTS));
        }
        // In a box, and with it nothing of it in the wasm of a room that has no such handler.
        let answering: LocalFuture<_> = Box::pin(run_to_end(forwarded(self.host.clone(), head, body.to_vec())));
        AssertUnwindSafe(answering).await
    }
}

async fn forwarded<R: Room>(host: Rc<RoomHost<R>>, head: String, body: Vec<u8>) -> Result<JsValue, JsValue> {
    let answer = match read_head(&head, Bytes::from(body)) {
        Ok(request) => host.request(request).await,
        Err(error) => Err(WireError::from(&error)),
    };
    match answer {
        Ok(response) => {
            let body = js_sys::Uint8Array::from(&**response.body()).into();
            reply(&Reply::Ok(ResponseHead::of(&response)), body)
        }
        Err(error) => reply(&Reply::Err(error), JsValue::UNDEFINED),
    }
}

/// A response of one line.
fn plain(status: u16, text: &str) -> worker::Result<Response> {
    let response = Response::ok(text)?.with_status(status);
    response.headers().set("content-type", TEXT)?;
    Ok(response)
}

/// The answer to a forwarded request.
fn reply(head: &Reply<ResponseHead>, body: JsValue) -> Result<JsValue, JsValue> {
    let head = serde_json::to_string(head).map_err(|error| js_sys::Error::new(&error.to_string()))?;
    Ok(js_sys::Array::of2(&JsValue::from_str(&head), &body).into())
}

type Work = LocalFuture<JsValue>;

/// Does the work as far as it goes without a wait: its outcome, or the promise of it. Most work never waits, and a promise
/// costs more than what most handlers do.
fn at_once(mut work: Work) -> JsValue {
    let relay = RELAY.take().unwrap_or_default();
    let waker = Waker::from(relay.clone());
    match run_room(|| work.as_mut().poll(&mut Context::from_waker(&waker))) {
        Poll::Ready(outcome) => {
            drop(waker);
            // Unless something still holds a waker of it.
            if Arc::strong_count(&relay) == 1 {
                RELAY.set(Some(relay));
            }
            outcome
        }
        Poll::Pending => {
            let rest = poll_fn(move |cx| {
                relay.pass_on_to(cx.waker());
                run_room(|| work.as_mut().poll(&mut Context::from_waker(&waker))).map(Ok)
            });
            future_to_promise(AssertUnwindSafe(rest)).into()
        }
    }
}

/// The waker of work that is no task yet, and may become one: many futures keep the waker of their first poll.
#[derive(Default)]
struct Relay(Mutex<Option<Waker>>);

thread_local! {
    static RELAY: RefCell<Option<Arc<Relay>>> = const { RefCell::new(None) };
}

impl Relay {
    fn pass_on_to(&self, waker: &Waker) {
        if let Ok(mut task) = self.0.lock()
            && !task.as_ref().is_some_and(|task| task.will_wake(waker))
        {
            *task = Some(waker.clone());
        }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        // Until there is a task nothing is missed: it begins with a poll.
        let task = self.0.lock().ok().and_then(|task| task.clone());
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// What a predecessor can still be asked to do.
trait Predecessor {
    fn release_memory(&self);
}

impl<R: Room> Predecessor for RoomHost<R> {
    fn release_memory(&self) {
        RoomHost::release_memory(self);
    }
}

thread_local! {
    /// The last incarnation of each object of this isolate, by the object's number.
    static INCARNATIONS: RefCell<HashMap<String, Weak<dyn Predecessor>>> = RefCell::default();
}

/// When an object comes into memory again, its last incarnation is gone for the platform, but its memory is given back
/// only when JavaScript's collector finds it. What it cached is of no use until then.
fn succeed<R: Room>(number: String, host: &Rc<RoomHost<R>>) {
    INCARNATIONS.with_borrow_mut(|incarnations| {
        if incarnations.len() == incarnations.capacity() {
            incarnations.retain(|_, host| host.strong_count() > 0);
        }
        let host: Weak<dyn Predecessor> = Rc::downgrade(&(host.clone() as Rc<dyn Predecessor>));
        if let Some(last) = incarnations.insert(number, host).and_then(|last| last.upgrade()) {
            last.release_memory();
        }
    });
}
