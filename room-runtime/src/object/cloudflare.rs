//! The Durable Object of a room on Cloudflare. It passes the platform's events to the engine and contains no rules.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe},
    rc::{Rc, Weak},
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use worker::{
    Env, State, js_sys,
    wasm_bindgen::{JsCast, JsValue},
    wasm_bindgen_futures::future_to_promise,
};

use crate::{
    Close, Error, ErrorKind, RateLimitBy, Room,
    api::typed::room_type,
    engine::{
        MakeServices, RoomHost, RoomType, Upgraded,
        upgrade::{Accept, Handshaken},
    },
    platform::{
        LocalFuture, OwnedFrame, Platform, Socket,
        cloudflare::{Cloudflare, RUNNING, js, namespace, refusal, run_room, run_to_end},
    },
    wire::{
        DONE, ERROR_HEADER, Reply, WireError, decode_value,
        handshake::{ADDRESS_HEADER, Handshake, parse_protocols},
        http_codec::{NO_REQUESTS, RequestHead, ResponseHead, TEXT},
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
    address: Option<String>,
    http: Option<&'static Http>,
}

impl Handshake for Incoming {
    fn head(&self) -> Result<http::Request<()>, Error> {
        match self.http {
            Some(http) => (http.head)(&js::request_head(&self.request)),
            None => Err(Error::new(ErrorKind::Platform, "a room without `on_upgrade` reads no request")),
        }
    }

    fn protocols(&self) -> Vec<String> {
        parse_protocols(self.offered.as_deref())
    }

    fn address(&self) -> Option<String> {
        self.address.clone()
    }
}

fn read_head<B>(head: &str, body: B) -> Result<http::Request<B>, Error> {
    decode_value::<RequestHead>(head.as_bytes(), "the head of a request")?.into_request(body)
}

/// The code for rooms whose handlers see requests of HTTP. Other rooms have none, so their wasm does not contain it.
struct Http {
    head: fn(&str) -> Result<http::Request<()>, Error>,
    answer: fn(&http::Response<Bytes>) -> JsValue,
}

/// Passes a forwarded request to `on_request`. A room without the handler has none.
type Forward = fn(Rc<RoomHost>, String, Vec<u8>) -> LocalFuture<Result<JsValue, JsValue>>;

static HTTP: Http = Http {
    head: |head| read_head(head, ()),
    answer: |response| {
        let body = js_sys::Uint8Array::from(&**response.body());
        namespace::raw_response(&ResponseHead::of(response), &body)
    },
};

/// The contents of a room's Durable Object class: the engine, and the entry points of the platform's events.
///
/// The entry points box their futures and are not inlined, so that a program contains them once and not once for each
/// class.
#[derive(Clone)]
pub struct Object {
    platform: Rc<Cloudflare>,
    host: Rc<RoomHost>,
    http: Option<&'static Http>,
    forward: Option<Forward>,
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
        let http = if R::HAS_ON_UPGRADE || R::HAS_ON_REQUEST { Some(&HTTP) } else { None };
        let forward: Forward = |host, head, body| Box::pin(run_to_end(forwarded(host, head, body)));
        let forward = if R::HAS_ON_REQUEST { Some(forward) } else { None };
        Object::make(room_type::<R>(), (http, forward), state, env, make_services)
    }

    #[inline(never)]
    fn make(
        room: &'static RoomType,
        (http, forward): (Option<&'static Http>, Option<Forward>),
        state: State,
        env: Env,
        make_services: MakeServices,
    ) -> Self {
        // This replaces the handler of `worker`, whose start function may run before or after ours. That handler would
        // replace the instance in the middle of the next call.
        worker::wasm_bindgen::handler::set_on_abort(js::instance_ended);
        let (ping, pong) = room.heartbeat;
        let sockets = js::Sockets::new(state.as_raw(), ping, pong, room.peer_timeout_ms as f64);
        let platform = Rc::new(Cloudflare::new(state, env, sockets));
        let number = platform.number();
        let host = RoomHost::new(room, platform.clone(), make_services);
        succeed(number, &host);
        Object { platform, host, http, forward }
    }

    /// Handles the request of an upgrade that the room's client announced by a ticket, and refuses every other request.
    ///
    /// Returns the response, or `undefined` if the socket was accepted, or a promise of it if a handler waits.
    #[inline(never)]
    pub fn upgrade(&self, request: JsValue, ticket: &str, offered: Option<String>) -> JsValue {
        if !is_ticket(ticket) {
            return text_response(403, "this room is reached through its client", Vec::new());
        }
        let by_address = self.host.room.limits.rate_limit.is_some_and(|limit| limit.by == RateLimitBy::Address);
        let address = if by_address { js::header(&request, ADDRESS_HEADER) } else { None };
        let (platform, incoming) = (self.platform.clone(), request.clone());
        let handshake = Rc::new(Incoming { request, offered, address, http: self.http });
        let accept: Accept = Box::new(move |tags, handshaken| {
            let tags = tags.iter().map(|tag| JsValue::from_str(tag)).collect();
            let Handshaken { protocol, is_v1, is_packed } = *handshaken;
            platform.sockets.accept(&incoming, tags, protocol, is_v1, is_packed).map_err(refusal)
        });
        let (host, http, ticket) = (self.host.clone(), self.http, ticket.to_owned());
        at_once(Box::pin(async move {
            match host.upgrade(&ticket, handshake, accept).await {
                Ok(Upgraded::Accepted) => JsValue::UNDEFINED,
                Ok(Upgraded::Refused(status, text)) => plain(status, &text),
                Ok(Upgraded::Answered(response)) => match http {
                    Some(http) => (http.answer)(&response),
                    None => plain(500, "the room failed"),
                },
                Err(error) => {
                    let text =
                        serde_json::to_string(&WireError::from(&error)).unwrap_or_else(|fault| fault.to_string());
                    text_response(500, &text, vec![(ERROR_HEADER.to_owned(), error.kind().as_str().to_owned())])
                }
            }
        }))
    }

    /// The room's sockets, for the JavaScript that calls [`text`](Object::text) and [`bytes`](Object::bytes).
    pub fn sockets(&self) -> JsValue {
        self.platform.sockets.clone()
    }

    /// Handles a text frame of the socket with this index. Returns a promise if a handler waits, otherwise `undefined`.
    #[inline(never)]
    pub fn text(&self, socket: u32, text: String) -> JsValue {
        at_once(self.handle(socket, OwnedFrame::Text(text)))
    }

    /// Handles a binary frame, in the same way as [`text`](Object::text).
    #[inline(never)]
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

    /// Handles the end of a connection: a close frame, its loss or its failure, in the same way as
    /// [`text`](Object::text).
    #[inline(never)]
    pub fn closed(&self, socket: u32, code: f64, reason: String, was_clean: bool) -> JsValue {
        // A close without a code, or with an impossible one, is a 1005.
        let code = if (0.0..65_536.0).contains(&code) { code as u16 } else { 1005 };
        let close = Close::new(code, reason, was_clean);
        let host = self.host.clone();
        at_once(Box::pin(async move {
            host.closed(socket, close).await;
            JsValue::UNDEFINED
        }))
    }

    /// Handles the object's alarm. Returns a promise.
    #[inline(never)]
    pub fn alarm(&self) -> JsValue {
        promise(self.host.clone().alarm())
    }

    /// Runs a command of the Worker's client. Returns the answer, `undefined` for the most frequent one, which `room.js`
    /// has as a string already, or a promise of it.
    #[inline(never)]
    pub fn call(&self, command: String) -> JsValue {
        let host = self.host.clone();
        at_once(Box::pin(async move {
            match &*host.call(&command).await {
                DONE => JsValue::UNDEFINED,
                answer => JsValue::from_str(answer),
            }
        }))
    }

    /// Handles a request that the Worker forwards. Takes its head and its body, and returns a promise of those of the
    /// response.
    #[inline(never)]
    pub fn request(&self, head: JsValue, body: JsValue) -> JsValue {
        let (Some(head), Some(body)) = (head.as_string(), body.dyn_ref::<js_sys::Uint8Array>()) else {
            let error: JsValue = js_sys::Error::new("a room's request is a string and its body").into();
            return js_sys::Promise::reject(&error).into();
        };
        let Some(forward) = self.forward else {
            let head = ResponseHead { status: 404, headers: vec![("content-type".to_owned(), TEXT.to_owned())] };
            let answer = reply(&Reply::Ok(head), JsValue::from_str(NO_REQUESTS));
            let promise =
                answer.map_or_else(|error| js_sys::Promise::reject(&error), |it| js_sys::Promise::resolve(&it));
            return promise.into();
        };
        let answering = forward(self.host.clone(), head, body.to_vec());
        future_to_promise(AssertUnwindSafe(answering)).into()
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
fn plain(status: u16, text: &str) -> JsValue {
    text_response(status, text, vec![("content-type".to_owned(), TEXT.to_owned())])
}

fn text_response(status: u16, text: &str, headers: Vec<(String, String)>) -> JsValue {
    namespace::raw_response(&ResponseHead { status, headers }, &js_sys::Uint8Array::from(text.as_bytes()))
}

/// The answer to a forwarded request.
fn reply(head: &Reply<ResponseHead>, body: JsValue) -> Result<JsValue, JsValue> {
    let head = serde_json::to_string(head).map_err(|error| js_sys::Error::new(&error.to_string()))?;
    Ok(js_sys::Array::of2(&JsValue::from_str(&head), &body).into())
}

/// Runs work of the room as a promise.
fn promise(work: impl Future<Output = ()> + 'static) -> JsValue {
    let work: LocalFuture = Box::pin(run_to_end(work));
    future_to_promise(AssertUnwindSafe(async move {
        work.await;
        Ok(JsValue::UNDEFINED)
    }))
    .into()
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
