//! Cloudflare, the room's side: with its sibling, the only file that touches a JavaScript value. It carries bytes and
//! decides nothing.

pub(crate) mod namespace;

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;

use worker::{
    Delay, Env, Request, Response, State, WebSocket, WebSocketIncomingMessage, js_sys,
    wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen},
};

use super::{Audience, Frame, LocalFuture, OwnedFrame, Platform, Refusal, Sent, Socket};
use crate::{
    Close, Error, Room,
    heads::{RequestHead, ResponseHead},
    host::{RoomHost, Upgraded},
    sql::{SqlRows, SqlValue},
    tickets,
    transport::Transport,
    upgrade::Handshake,
    wire::{Reply, WireError, decode_value, encode_value},
};

/// The bindings to `room.js`.
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
        pub(crate) fn accept(this: &Sockets, request: &JsValue, tags: Vec<JsValue>) -> Result<u32, JsValue>;
        #[wasm_bindgen(method)]
        pub(crate) fn open(this: &Sockets, tag: Option<&str>) -> Vec<u32>;
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
            tag: Option<&str>,
            except: &[u32],
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendOnly)]
        pub(crate) fn send_only_text(this: &Sockets, frame: &str, size: f64, max_unread: f64, indices: &[u32]) -> f64;
        #[wasm_bindgen(method, js_name = sendAll)]
        pub(crate) fn send_all_bytes(
            this: &Sockets,
            frame: Vec<u8>,
            size: f64,
            max_unread: f64,
            tag: Option<&str>,
            except: &[u32],
        ) -> f64;
        #[wasm_bindgen(method, js_name = sendOnly)]
        pub(crate) fn send_only_bytes(
            this: &Sockets,
            frame: Vec<u8>,
            size: f64,
            max_unread: f64,
            indices: &[u32],
        ) -> f64;
        #[wasm_bindgen(method, js_name = takeFailed)]
        pub(crate) fn take_failed(this: &Sockets) -> Vec<u32>;
        #[wasm_bindgen(method, js_name = takeUnread)]
        pub(crate) fn take_unread(this: &Sockets) -> Vec<u32>;
        #[wasm_bindgen(method, catch)]
        pub(crate) fn close(this: &Sockets, index: u32, code: u16, reason: &str) -> Result<(), JsValue>;
        #[wasm_bindgen(method, js_name = answerClose)]
        pub(crate) fn answer_close(this: &Sockets, index: u32, code: u16, reason: &str);
        #[wasm_bindgen(method)]
        pub(crate) fn forget(this: &Sockets, index: u32);

        #[wasm_bindgen(js_name = requestHead)]
        pub(crate) fn request_head(request: &JsValue) -> String;
        pub(crate) fn upgraded(request: &JsValue) -> JsValue;
        #[wasm_bindgen(catch, js_name = storageGet)]
        pub(crate) fn storage_get(state: &JsValue, key: &str) -> Result<Option<Vec<u8>>, JsValue>;
        #[wasm_bindgen(catch, js_name = storageDelete)]
        pub(crate) fn storage_delete(state: &JsValue, key: &str) -> Result<(), JsValue>;
        #[wasm_bindgen(catch, js_name = storageDeleteAll)]
        pub(crate) fn storage_delete_all(state: &JsValue) -> Result<(), JsValue>;
        #[wasm_bindgen(catch)]
        pub(crate) fn sql(state: &JsValue, statement: &str, parameters: &str) -> Result<String, JsValue>;
        #[wasm_bindgen(catch, js_name = storageList)]
        pub(crate) fn storage_list(state: &JsValue, prefix: &str) -> Result<Vec<js_sys::Uint8Array>, JsValue>;
        #[wasm_bindgen(catch, js_name = storagePut)]
        pub(crate) fn storage_put(state: &JsValue, key: &str, bytes: &[u8]) -> Result<(), JsValue>;
        #[wasm_bindgen(js_name = setAlarm)]
        pub(crate) fn set_alarm(state: &JsValue, at_ms: Option<f64>);
        #[wasm_bindgen(js_name = fillRandom)]
        pub(crate) fn fill_random(bytes: &mut [u8]);
        pub(crate) fn install(class_name: &str);
    }
}

/// Called at each start of the wasm instance, once for each room.
pub fn install(class_name: &str) {
    js::install(class_name);
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
struct Cloudflare {
    state: State,
    env: Env,
    sockets: js::Sockets,
}

impl Cloudflare {
    fn raw(&self) -> &JsValue {
        self.state.as_raw()
    }

    fn sent(&self, outcome: f64) -> Sent {
        if outcome >= 0.0 {
            return Sent { sent: outcome as usize, ..Sent::default() };
        }
        let (failed, unread) = (self.sockets.take_failed(), self.sockets.take_unread());
        Sent { sent: (-1.0 - outcome) as usize, failed, unread }
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
        worker::wasm_bindgen_futures::spawn_local(work);
    }

    fn open(&self, tag: Option<&str>) -> Vec<Socket> {
        self.sockets.open(tag)
    }

    fn is_open(&self, socket: Socket) -> bool {
        self.sockets.is_open(socket)
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

    fn send(&self, frame: Frame<'_>, to: Audience<'_>, max_unread: usize) -> Sent {
        let (sockets, max) = (&self.sockets, max_unread as f64);
        self.sent(match frame {
            Frame::Text(text) => {
                let size = text.len() as f64;
                match to {
                    Audience::All { tag, except } => sockets.send_all_text(text, size, max, tag, except),
                    Audience::Only(only) => sockets.send_only_text(text, size, max, only),
                }
            }
            Frame::Binary(bytes) => {
                let (bytes, size) = (bytes.to_vec(), bytes.len() as f64);
                match to {
                    Audience::All { tag, except } => sockets.send_all_bytes(bytes, size, max, tag, except),
                    Audience::Only(only) => sockets.send_only_bytes(bytes, size, max, only),
                }
            }
        })
    }

    fn close(&self, socket: Socket, code: u16, reason: &str) -> Result<(), Refusal> {
        self.sockets.close(socket, code, reason).map_err(refusal)
    }

    fn answer_close(&self, socket: Socket, code: u16, reason: &str) {
        self.sockets.answer_close(socket, code, reason);
    }

    fn forget(&self, socket: Socket) {
        self.sockets.forget(socket);
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Refusal> {
        js::storage_get(self.raw(), key).map_err(refusal)
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), Refusal> {
        js::storage_put(self.raw(), key, value).map_err(refusal)
    }

    fn delete(&self, key: &str) -> Result<(), Refusal> {
        js::storage_delete(self.raw(), key).map_err(refusal)
    }

    fn delete_all(&self) -> Result<(), Refusal> {
        js::storage_delete_all(self.raw()).map_err(refusal)
    }

    fn sql(&self, statement: &str, parameters: &[SqlValue]) -> Result<SqlRows, Refusal> {
        let parameters = encode_value(parameters, "the parameters").map_err(|error| Refusal(error.to_string()))?;
        let parameters = String::from_utf8(parameters).map_err(|error| Refusal(error.to_string()))?;
        let rows = js::sql(self.raw(), statement, &parameters).map_err(refusal)?;
        decode_value(rows.as_bytes(), "the rows").map_err(|error| Refusal(error.to_string()))
    }

    fn transport(&self, binding: &str, _class: &'static str) -> Result<Transport, String> {
        namespace::Namespace::new(&self.env, binding).map(Transport::Cloudflare)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Vec<u8>>, Refusal> {
        let values = js::storage_list(self.raw(), prefix).map_err(refusal)?;
        Ok(values.iter().map(js_sys::Uint8Array::to_vec).collect())
    }

    fn set_alarm(&self, at_ms: Option<u64>) {
        // A Date holds less; nobody will know the difference in 285,000 years.
        js::set_alarm(self.raw(), at_ms.map(|ms| (ms as f64).min(8.64e15)));
    }
}

/// The request of an upgrade.
struct Incoming(JsValue);

impl Handshake for Incoming {
    fn head(&self) -> Result<http::Request<()>, Error> {
        read_head(&js::request_head(&self.0), ())
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

impl<R: Room> fmt::Debug for Object<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("host", &self.host).finish_non_exhaustive()
    }
}

impl<R: Room> Object<R> {
    /// The object has come into memory.
    pub fn new(state: State, env: Env) -> Self {
        let (ping, pong) = R::HEARTBEAT;
        let sockets = js::Sockets::new(state.as_raw(), ping, pong);
        let platform = Rc::new(Cloudflare { state, env: env.clone(), sockets });
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
        let request: &JsValue = request.inner();
        let accept = |tags: &[String]| {
            let tags = tags.iter().map(|tag| JsValue::from_str(tag)).collect();
            self.platform.sockets.accept(request, tags).map_err(refusal)
        };
        match self.host.upgrade(&ticket, Rc::new(Incoming(request.clone())), accept).await {
            Ok(Upgraded::Accepted) => Ok(js::upgraded(request).unchecked_into::<worker::web_sys::Response>().into()),
            Ok(Upgraded::Refused(response)) => {
                let body = js_sys::Uint8Array::from(&**response.body());
                Ok(namespace::response(&ResponseHead::of(&response), &body))
            }
            Err(error) => {
                let text = serde_json::to_string(&WireError::from(&error))?;
                let response = Response::error(text, 500)?;
                response.headers().set(tickets::ERROR_HEADER, error.kind().as_str())?;
                Ok(response)
            }
        }
    }

    /// A frame.
    pub async fn message(&self, socket: WebSocket, message: WebSocketIncomingMessage) {
        let socket = self.platform.sockets.heard(socket.as_ref());
        let frame = match message {
            WebSocketIncomingMessage::String(text) => OwnedFrame::Text(text),
            WebSocketIncomingMessage::Binary(bytes) => OwnedFrame::Binary(bytes),
        };
        self.host.message(socket, frame).await;
    }

    /// A close frame, or the loss of the connection.
    pub async fn closed(&self, socket: WebSocket, code: usize, reason: String, was_clean: bool) {
        let socket = self.platform.sockets.index(socket.as_ref());
        let code = u16::try_from(code).unwrap_or(1005);
        self.host.closed(socket, Close::new(code, reason, was_clean)).await;
    }

    /// The connection failed.
    pub async fn failed(&self, socket: WebSocket, error: worker::Error) {
        self.closed(socket, 1006, error.to_string(), false).await;
    }

    /// The object's alarm. An error makes the platform try again.
    pub async fn alarm(&self) -> worker::Result<Response> {
        self.host.alarm().await?;
        Response::empty()
    }

    /// A command of the Worker's client.
    pub async fn call(&self, command: JsValue) -> Result<JsValue, JsValue> {
        match command.as_string() {
            Some(command) => Ok(JsValue::from_str(&self.host.call(&command).await)),
            None => Err(js_sys::Error::new("a room's command is a string").into()),
        }
    }

    /// A request that the Worker forwards: its head and its body, answered with the same.
    pub async fn request(&self, head: JsValue, body: JsValue) -> Result<JsValue, JsValue> {
        let (Some(head), Some(body)) = (head.as_string(), body.dyn_ref::<js_sys::Uint8Array>()) else {
            return Err(js_sys::Error::new("a room's request is a string and its body").into());
        };
        let answer = match read_head(&head, Bytes::from(body.to_vec())) {
            Ok(request) => self.host.request(request).await,
            Err(error) => Err(WireError::from(&error)),
        };
        let (reply, body) = match answer {
            Ok(response) => {
                let body = js_sys::Uint8Array::from(&**response.body()).into();
                (Reply::Ok(ResponseHead::of(&response)), body)
            }
            Err(error) => (Reply::Err(error), JsValue::UNDEFINED),
        };
        let reply = serde_json::to_string(&reply).map_err(|error| js_sys::Error::new(&error.to_string()))?;
        Ok(js_sys::Array::of2(&JsValue::from_str(&reply), &body).into())
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
