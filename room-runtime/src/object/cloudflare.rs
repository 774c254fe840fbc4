//! The Durable Object of a room on Cloudflare. It passes the platform's events to the engine and contains no rules.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe},
    rc::{Rc, Weak},
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use worker::{
    Env, Request, Response, State, WebSocket, WebSocketIncomingMessage, js_sys,
    wasm_bindgen::{JsCast, JsValue},
    wasm_bindgen_futures::future_to_promise,
};

use crate::{
    Close, Error, Room,
    api::typed::room_type,
    engine::{MakeServices, RoomHost, RoomType, Upgraded, upgrade::Accept},
    platform::{
        LocalFuture, OwnedFrame, Platform, Socket,
        cloudflare::{Cloudflare, RUNNING, js, namespace, refusal, run_room, run_to_end},
    },
    wire::{
        ERROR_HEADER, Reply, SUBPROTOCOL, TICKET_HEADER, WireError, decode_value,
        handshake::{Handshake, parse_protocols},
        http_codec::{RequestHead, ResponseHead, TEXT},
        is_ticket,
    },
};

/// Prepares the class of a room. Runs for each room at each start of the wasm instance.
pub fn install(class_name: &str) {
    js::install(class_name, &worker::wasm_bindgen::memory(), RUNNING.as_ptr() as usize as u32);
}

/// The request of an upgrade.
struct Incoming {
    request: JsValue,
    /// The `sec-websocket-protocol` header. The platform joins several such headers into one.
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

/// The contents of a room's Durable Object class: the engine, and the entry points of the platform's events.
pub struct Object {
    platform: Rc<Cloudflare>,
    host: Rc<RoomHost>,
}

// A panic in a room's code ends the wasm instance (see `run_room`), so no later call sees the object after a panic.
impl UnwindSafe for Object {}
impl RefUnwindSafe for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Object {
    /// Makes the object's engine when the platform loads the object into memory.
    pub fn new<R: Room>(state: State, env: Env) -> Self {
        let services = env.clone();
        let make_services = Box::new(move || Ok(Box::new(R::services(&services)?) as Box<dyn Any>));
        Object::make(room_type::<R>(), state, env, make_services)
    }

    fn make(room: &'static RoomType, state: State, env: Env, make_services: MakeServices) -> Self {
        // This replaces the handler of `worker`, whose start function may run before or after ours. That handler would
        // replace the instance in the middle of the next call.
        worker::wasm_bindgen::handler::set_on_abort(js::instance_ended);
        let (ping, pong) = room.heartbeat;
        let sockets = js::Sockets::new(state.as_raw(), ping, pong);
        let platform = Rc::new(Cloudflare::new(state, env, sockets));
        let number = platform.number();
        let host = RoomHost::new(room, platform.clone(), make_services);
        succeed(number, &host);
        Object { host, platform }
    }

    /// Handles a request. It accepts only an upgrade that the room's client announced by a ticket.
    pub async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let ticket = request.headers().get(TICKET_HEADER)?;
        let Some(ticket) = ticket.filter(|ticket| is_ticket(ticket)) else {
            return Response::error("this room is reached through its client", 403);
        };
        let offered = request.headers().get("sec-websocket-protocol")?;
        let request: &JsValue = request.inner();
        let handshake = Rc::new(Incoming { request: request.clone(), offered });
        let (platform, incoming) = (self.platform.clone(), request.clone());
        let accept: Accept = Box::new(move |tags, protocol| {
            let tags = tags.iter().map(|tag| JsValue::from_str(tag)).collect();
            let v1 = protocol == Some(SUBPROTOCOL);
            platform.sockets.accept(&incoming, tags, protocol, v1).map_err(refusal)
        });
        match run_to_end(self.host.upgrade(&ticket, handshake, accept)).await {
            Ok(Upgraded::Accepted) => Ok(js::upgraded(request)?.unchecked_into::<worker::web_sys::Response>().into()),
            Ok(Upgraded::Refused(status, text)) => plain(status, &text),
            Ok(Upgraded::Answered(response)) => {
                let body = js_sys::Uint8Array::from(&**response.body());
                Ok(namespace::response(&ResponseHead::of(&response), &body))
            }
            Err(error) => {
                let text = serde_json::to_string(&WireError::from(&error))?;
                let response = Response::error(text, 500)?;
                response.headers().set(ERROR_HEADER, error.kind().as_str())?;
                Ok(response)
            }
        }
    }

    /// Handles a frame that arrives through `#[durable_object]`.
    ///
    /// On the platform `room.js` replaces this method and calls [`text`](Object::text) and [`bytes`](Object::bytes).
    pub async fn message(&self, socket: WebSocket, message: WebSocketIncomingMessage) {
        let socket = self.platform.sockets.heard(socket.as_ref());
        let frame = match message {
            WebSocketIncomingMessage::String(text) => OwnedFrame::Text(text),
            WebSocketIncomingMessage::Binary(bytes) => OwnedFrame::Binary(bytes),
        };
        self.handle(socket, frame).await;
    }

    /// The room's sockets, for the JavaScript that calls [`text`](Object::text) and [`bytes`](Object::bytes).
    pub fn sockets(&self) -> JsValue {
        self.platform.sockets.clone()
    }

    /// Handles a text frame of the socket with this index. Returns a promise if a handler waits, otherwise `undefined`.
    pub fn text(&self, socket: u32, text: String) -> JsValue {
        at_once(self.handle(socket, OwnedFrame::Text(text)))
    }

    /// Handles a binary frame, in the same way as [`text`](Object::text).
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

    /// Handles a close frame or the loss of a connection.
    pub async fn closed(&self, socket: WebSocket, code: usize, reason: String, was_clean: bool) {
        let socket = self.platform.sockets.index(socket.as_ref());
        let code = u16::try_from(code).unwrap_or(1005);
        run_to_end(self.host.closed(socket, Close::new(code, reason, was_clean))).await;
    }

    /// Handles the failure of a connection.
    pub async fn failed(&self, socket: WebSocket, error: worker::Error) {
        self.closed(socket, 1006, error.to_string(), false).await;
    }

    /// Handles the object's alarm.
    pub async fn alarm(&self) -> worker::Result<Response> {
        run_to_end(self.host.clone().alarm()).await;
        Response::empty()
    }

    /// Runs a command of the Worker's client. Returns the answer, or a promise of it.
    pub fn call(&self, command: String) -> JsValue {
        let host = self.host.clone();
        at_once(Box::pin(async move { JsValue::from_str(&host.call(&command).await) }))
    }

    /// Handles a request that the Worker forwards. Takes its head and its body, and returns those of the response.
    pub async fn request(&self, head: JsValue, body: JsValue) -> Result<JsValue, JsValue> {
        let (Some(head), Some(body)) = (head.as_string(), body.dyn_ref::<js_sys::Uint8Array>()) else {
            return Err(js_sys::Error::new("a room's request is a string and its body").into());
        };
        let answering: LocalFuture<_> = Box::pin(run_to_end(forwarded(self.host.clone(), head, body.to_vec())));
        AssertUnwindSafe(answering).await
    }
}

async fn forwarded(host: Rc<RoomHost>, head: String, body: Vec<u8>) -> Result<JsValue, JsValue> {
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

/// A plain-text response.
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

/// Polls the work once. Returns its result, or a promise if it waits.
///
/// Most work never waits, and a promise costs more than most handlers.
fn at_once(mut work: Work) -> JsValue {
    let relay = RELAY.take().unwrap_or_default();
    let waker = Waker::from(relay.clone());
    match run_room(|| work.as_mut().poll(&mut Context::from_waker(&waker))) {
        Poll::Ready(outcome) => {
            drop(waker);
            // The relay is reused only if no future still holds a waker of it.
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

/// A waker for work that becomes a task only if it waits. Many futures keep the waker of their first poll.
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
        // Without a task nothing is lost: a task begins with a poll.
        let task = self.0.lock().ok().and_then(|task| task.clone());
        if let Some(task) = task {
            task.wake();
        }
    }
}

thread_local! {
    /// The last incarnation of each object of this isolate, by the object's id.
    static INCARNATIONS: RefCell<HashMap<String, Weak<RoomHost>>> = RefCell::default();
}

/// Drops the caches of the object's last incarnation.
///
/// JavaScript's garbage collector frees that incarnation only later, and its caches are unused until then.
fn succeed(number: String, host: &Rc<RoomHost>) {
    INCARNATIONS.with_borrow_mut(|incarnations| {
        if incarnations.len() == incarnations.capacity() {
            incarnations.retain(|_, host| host.strong_count() > 0);
        }
        if let Some(last) = incarnations.insert(number, Rc::downgrade(host)).and_then(|last| last.upgrade()) {
            last.release_memory();
        }
    });
}
