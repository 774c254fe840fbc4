//! The Worker's side of Cloudflare. Its JavaScript is in `worker.js`.

use std::{
    cell::RefCell,
    fmt, iter,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use worker::{
    Delay, Env, Headers, Request, Response,
    js_sys::{self, futures::JsFuture},
    send::{SendFuture, SendWrapper},
    wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen},
    web_sys,
};

use super::message_of;
use crate::{
    Close, CloseCode, Error, ErrorKind, Jurisdiction, RoomId,
    platform::{
        OwnedFrame,
        socket::{Arrival, ClientEnd, ClientSocket},
        transport::{Address, Sending, Unreachable},
    },
    wire::{
        ERROR_HEADER, TICKET_HEADER, WireError, decode_reply,
        handshake::{NoHandshake, check_handshake},
        http_codec::{ResponseHead, no_socket},
        origin::{NOT_ALLOWED, ORIGIN_HEADER, Origins},
    },
};

/// The bindings to `worker.js`.
#[allow(unsafe_code, reason = "the bindings that wasm-bindgen generates")]
mod js {
    use super::{Closure, JsValue, js_sys, wasm_bindgen};

    #[wasm_bindgen(wasm_bindgen = ::worker::wasm_bindgen, module = "/src/platform/cloudflare/worker.js")]
    extern "C" {
        #[wasm_bindgen(js_name = hasRpc)]
        pub(super) fn has_rpc() -> bool;
        #[wasm_bindgen(catch)]
        pub(super) fn within(namespace: &JsValue, jurisdiction: Option<&str>) -> Result<JsValue, JsValue>;
        #[wasm_bindgen(catch, js_name = idOf)]
        pub(super) fn id_of(namespace: &JsValue, name: &str) -> Result<JsValue, JsValue>;
        #[wasm_bindgen(catch)]
        pub(super) fn stub(namespace: &JsValue, id: &JsValue, hint: Option<&str>) -> Result<JsValue, JsValue>;
        #[wasm_bindgen(catch)]
        pub(super) fn call(stub: &JsValue, command: &str, settle: &super::Settle, number: u32) -> Result<(), JsValue>;
        #[wasm_bindgen(catch)]
        pub(super) fn prepare(stub: &JsValue, command: &str) -> Result<js_sys::Promise, JsValue>;
        #[wasm_bindgen(catch)]
        pub(super) fn handshake(request: &JsValue) -> Result<String, JsValue>;
        #[wasm_bindgen(catch, js_name = fetchWithTicket)]
        pub(super) fn fetch_with_ticket(
            stub: &JsValue,
            request: &JsValue,
            header: &str,
            ticket: &str,
        ) -> Result<js_sys::Promise, JsValue>;
        #[wasm_bindgen(catch, js_name = connectWithTicket)]
        pub(super) fn connect_with_ticket(
            stub: &JsValue,
            header: &str,
            ticket: &str,
            offered: &str,
        ) -> Result<js_sys::Promise, JsValue>;
        #[wasm_bindgen(catch)]
        pub(super) fn forward(stub: &JsValue, request: &JsValue) -> Result<js_sys::Promise, JsValue>;
        #[wasm_bindgen(catch, js_name = ownedHeaders)]
        pub(super) fn owned_headers(response: &JsValue) -> Result<JsValue, JsValue>;
        pub(super) fn respond(status: u16, headers: Vec<js_sys::Array>, body: &JsValue) -> JsValue;

        pub(super) type ClientSocket;
        #[wasm_bindgen(constructor)]
        pub(super) fn new(
            socket: &JsValue,
            on_text: &Closure<dyn FnMut(String)>,
            on_binary: &Closure<dyn FnMut(Vec<u8>)>,
            on_close: &Closure<dyn FnMut(u16, String, bool)>,
        ) -> ClientSocket;
        #[wasm_bindgen(method, catch)]
        pub(super) fn send(this: &ClientSocket, text: &str) -> Result<(), JsValue>;
        #[wasm_bindgen(method, catch, js_name = sendBytes)]
        pub(super) fn send_bytes(this: &ClientSocket, bytes: &[u8]) -> Result<(), JsValue>;
        #[wasm_bindgen(method, catch)]
        pub(super) fn close(this: &ClientSocket, code: u16, reason: &str) -> Result<(), JsValue>;
    }
}

/// Receives an answer, or the error of a call.
type Settle = Closure<dyn FnMut(u32, Option<String>, JsValue)>;

/// An answer, or the error of a call.
type Answer = Result<String, JsValue>;

/// The calls that wait for an answer, by number.
#[derive(Default)]
struct Calls {
    waiting: Vec<Option<oneshot::Sender<Answer>>>,
    free: Vec<u32>,
}

thread_local! {
    static CALLS: RefCell<Calls> = RefCell::default();

    /// One closure receives all answers. `JsFuture` makes two for each promise, and each is an object of JavaScript with a
    /// finalizer, which takes longer than the rest of the call in the Worker.
    static SETTLE: Settle = Closure::own_assert_unwind_safe(|number: u32, answer: Option<String>, error| {
        if let Some(call) = CALLS.with_borrow_mut(|calls| calls.take(number)) {
            // The caller may have stopped waiting.
            let _ = call.send(answer.ok_or(error));
        }
    });
}

impl Calls {
    fn add(&mut self) -> (u32, oneshot::Receiver<Answer>) {
        let (sender, answer) = oneshot::channel();
        let number = self.free.pop().unwrap_or(self.waiting.len() as u32);
        match self.waiting.get_mut(number as usize) {
            Some(place) => *place = Some(sender),
            None => self.waiting.push(Some(sender)),
        }
        (number, answer)
    }

    fn take(&mut self, number: u32) -> Option<oneshot::Sender<Answer>> {
        let call = self.waiting.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(call)
    }
}

/// A Durable Object namespace.
#[derive(Clone)]
pub(crate) struct Namespace {
    raw: SendWrapper<JsValue>,
    /// The location of the last room that was called, cached because most handles call one room.
    last: Arc<Mutex<Option<Located>>>,
}

/// The namespace and the object id of a room.
struct Located {
    room: RoomId,
    jurisdiction: Option<Jurisdiction>,
    namespace: SendWrapper<JsValue>,
    id: SendWrapper<JsValue>,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").finish_non_exhaustive()
    }
}

impl Namespace {
    /// The namespace of this binding, or the reason why there is none.
    pub(crate) fn new(env: &Env, binding: &str) -> Result<Self, Unreachable> {
        let not_bound = Unreachable::NotBound;
        // `worker` checks that the binding is a Durable Object namespace.
        env.durable_object(binding).map_err(|error| not_bound(error.to_string()))?;
        if !js::has_rpc() {
            return Err(Unreachable::WithoutRpc);
        }
        let raw =
            js_sys::Reflect::get(env, &JsValue::from_str(binding)).map_err(|error| not_bound(message_of(&error)))?;
        Ok(Namespace { raw: SendWrapper::new(raw), last: Arc::default() })
    }

    /// The same namespace for a handle to another room.
    pub(crate) fn for_room(&self) -> Self {
        Namespace { raw: self.raw.clone(), last: Arc::default() }
    }

    /// Makes a new stub for each attempt: a stub is unusable after an error, and belongs to the current request.
    fn stub(&self, to: &Address) -> Result<JsValue, Error> {
        to.id.check()?;
        let hint = to.location_hint.map(|hint| hint.as_str());
        // A panic while the lock was taken leaves no partial change.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let located = match last.take() {
            Some(known) if (&known.room, known.jurisdiction) == (&to.id, to.jurisdiction) => Ok(known),
            _ => self.locate(to),
        };
        let stub = located.and_then(|located| {
            let located = last.insert(located);
            js::stub(&located.namespace, &located.id, hint)
        });
        stub.map_err(|error| call_error(&error))
    }

    fn locate(&self, to: &Address) -> Result<Located, JsValue> {
        let jurisdiction = to.jurisdiction.map(|jurisdiction| jurisdiction.as_str());
        let namespace = SendWrapper::new(js::within(&self.raw, jurisdiction)?);
        let id = SendWrapper::new(js::id_of(&namespace, to.id.as_str())?);
        Ok(Located { room: to.id.clone(), jurisdiction: to.jurisdiction, namespace, id })
    }

    pub(crate) fn sleep(ms: u64) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(SendFuture::new(Delay::from(Duration::from_millis(ms))))
    }

    pub(crate) fn call(&self, to: &Address, command: &str) -> Sending<String> {
        let answering = self.stub(to).and_then(|stub| {
            let (number, answer) = CALLS.with_borrow_mut(Calls::add);
            match SETTLE.with(|settle| js::call(&stub, command, settle, number)) {
                Ok(()) => Ok(answer),
                Err(error) => {
                    CALLS.with_borrow_mut(|calls| calls.take(number));
                    Err(call_error(&error))
                }
            }
        });
        Box::pin(SendFuture::new(async move {
            let answer = answering?.await.unwrap_or_else(|cancelled| Err(JsValue::from_str(&cancelled.to_string())));
            answer.map_err(|error| call_error(&error))
        }))
    }

    /// Sends the request together with its prepared half, so that an upgrade takes one round trip.
    pub(crate) fn upgrade(
        &self,
        to: &Address,
        request: Request,
        origins: Option<Origins>,
        ticket: String,
        prepare: Result<String, Error>,
    ) -> Sending<Response> {
        let (namespace, to) = (self.clone(), to.clone());
        Box::pin(SendFuture::new(async move {
            let lines = js::handshake(request.inner()).map_err(|error| call_error(&error))?;
            let sent = SentHandshake::of(&lines);
            if let Err(refused) = check_handshake(sent.method, |name| sent.header(name).map(str::to_owned)) {
                return no_handshake(&refused).map_err(|error| platform_error(&error));
            }
            if let Some(origins) = origins
                && !origins.allow(sent.header(ORIGIN_HEADER))
            {
                return Response::error(NOT_ALLOWED, 403).map_err(|error| platform_error(&error));
            }
            let prepare = prepare?;
            let stub = namespace.stub(&to)?;
            meet(&stub, &prepare, || js::fetch_with_ticket(&stub, request.inner(), TICKET_HEADER, &ticket)).await
        }))
    }

    pub(crate) fn connect(
        &self,
        to: &Address,
        ticket: String,
        prepare: Result<String, Error>,
        offered: String,
    ) -> Sending<ClientSocket> {
        let (namespace, to) = (self.clone(), to.clone());
        Box::pin(SendFuture::new(async move {
            let prepare = prepare?;
            let stub = namespace.stub(&to)?;
            let response =
                meet(&stub, &prepare, || js::connect_with_ticket(&stub, TICKET_HEADER, &ticket, &offered)).await?;
            if response.status_code() != 101 {
                return Err(refused(response).await);
            }
            let protocol = response.headers().get("sec-websocket-protocol").ok().flatten();
            match response.websocket() {
                Some(socket) => {
                    Ok(ClientSocket { end: ClientEnd::Cloudflare(WorkerSocket::new(socket.as_ref())), protocol })
                }
                None => Err(Error::new(ErrorKind::Platform, "the room answered 101 without a socket")),
            }
        }))
    }

    pub(crate) fn request(&self, to: &Address, request: Request) -> Sending<Response> {
        let stub = self.stub(to);
        Box::pin(SendFuture::new(async move {
            let answering = js::forward(&stub?, request.inner()).map_err(|error| call_error(&error))?;
            let answer = JsFuture::from(answering).await.map_err(|error| call_error(&error))?;
            let answer: js_sys::Array = answer.unchecked_into();
            let head: ResponseHead = decode_reply(&answer.get(0).as_string().unwrap_or_default())?;
            Ok(response(&head, &answer.get(1)))
        }))
    }
}

/// Sends both halves of an upgrade. The prepared half goes first: a request that arrives before it waits for it, with a
/// timer.
async fn meet(
    stub: &JsValue,
    prepare: &str,
    fetch: impl FnOnce() -> Result<js_sys::Promise, JsValue>,
) -> Result<Response, Error> {
    let prepared = js::prepare(stub, prepare);
    let answering = async {
        let response = JsFuture::from(fetch()?).await?;
        let headers = Headers(js::owned_headers(&response)?.unchecked_into());
        Ok(Response::from(response.unchecked_into::<web_sys::Response>()).with_headers(headers))
    };
    let answered = match answering.await {
        Ok(response) => room_answer(response).await,
        Err(error) => Err(call_error(&error)),
    };
    // If the request was answered, its other half had arrived, whatever happened to that call afterwards. If it was not,
    // the error of the other half explains more.
    let Err(unanswered) = answered else { return answered };
    let prepared = match prepared {
        Ok(prepared) => JsFuture::from(prepared).await,
        Err(error) => Err(error),
    };
    let answer = prepared.map_err(|error| call_error(&error))?;
    decode_reply::<()>(&answer.as_string().unwrap_or_default())?;
    Err(unanswered)
}

/// The method and the headers of an upgrade, as `handshake` in worker.js writes them.
struct SentHandshake<'a> {
    method: &'a str,
    headers: [Option<&'a str>; HANDSHAKE.len()],
}

/// The headers of a handshake, in the order of worker.js.
const HANDSHAKE: [&str; 7] = [
    "upgrade",
    "host",
    "sec-websocket-version",
    "sec-websocket-key",
    "content-length",
    "transfer-encoding",
    ORIGIN_HEADER,
];

impl<'a> SentHandshake<'a> {
    fn of(lines: &'a str) -> Self {
        let mut lines = lines.split('\n');
        let method = lines.next().unwrap_or_default();
        SentHandshake { method, headers: HANDSHAKE.map(|_| lines.next().and_then(|line| line.strip_prefix('='))) }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        iter::zip(HANDSHAKE, self.headers).find(|(known, _)| *known == name).and_then(|(_, header)| header)
    }
}

/// Returns the response, or the error that the room encoded in it.
async fn room_answer(mut response: Response) -> Result<Response, Error> {
    if !response.headers().has(ERROR_HEADER).unwrap_or_default() {
        return Ok(response);
    }
    let text = response.text().await.map_err(|error| platform_error(&error))?;
    let error = serde_json::from_str::<WireError>(&text).map(WireError::into_error);
    Err(error.unwrap_or_else(|_| Error::new(ErrorKind::Platform, text)))
}

fn response(head: &ResponseHead, body: &JsValue) -> Response {
    raw_response(head, body).unchecked_into::<web_sys::Response>().into()
}

/// Makes a response of the platform.
pub(crate) fn raw_response(head: &ResponseHead, body: &JsValue) -> JsValue {
    let pairs = head
        .headers
        .iter()
        .map(|(name, value)| js_sys::Array::of2(&JsValue::from_str(name), &JsValue::from_str(value)));
    js::respond(head.status, pairs.collect(), body)
}

/// The error of a call that the platform, not the room, answered.
fn call_error(error: &JsValue) -> Error {
    let message = message_of(error);
    // RPC passes only the message of an error, so `room.js` marks this one by a prefix.
    if let Some((_, message)) = message.split_once("room:restarted: ") {
        return Error::new(ErrorKind::Restarted, message).retryable(true);
    }
    let flag = |name: &str| js_sys::Reflect::get(error, &JsValue::from_str(name)).is_ok_and(|flag| flag.is_truthy());
    // An overload error carries the other two flags too, and must not be retried.
    let (kind, retryable) = match () {
        () if flag("overloaded") => (ErrorKind::Overloaded, false),
        () if flag("durableObjectReset") => (ErrorKind::Restarted, true),
        () => (ErrorKind::Platform, flag("retryable")),
    };
    Error::new(kind, message).retryable(retryable)
}

fn platform_error(error: &worker::Error) -> Error {
    Error::new(ErrorKind::Platform, error.to_string())
}

fn no_handshake(refused: &NoHandshake) -> worker::Result<Response> {
    let response = Response::error(refused.text, refused.status)?;
    if let Some((name, value)) = refused.header {
        response.headers().set(name, value)?;
    }
    Ok(response)
}

async fn refused(mut response: Response) -> Error {
    let content_type = response.headers().get("content-type").ok().flatten();
    let body = response.bytes().await.unwrap_or_default();
    no_socket(response.status_code(), content_type.as_deref(), &body)
}

/// The Worker's end of a connection to a room.
pub(crate) struct WorkerSocket {
    socket: SendWrapper<js::ClientSocket>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    // JavaScript can call the callbacks only while they are kept here.
    _callbacks: SendWrapper<Callbacks>,
}

type Callbacks = (Closure<dyn FnMut(String)>, Closure<dyn FnMut(Vec<u8>)>, Closure<dyn FnMut(u16, String, bool)>);

impl WorkerSocket {
    fn new(socket: &JsValue) -> Self {
        let (sender, arrivals) = mpsc::unbounded();
        let (on_text, on_binary, on_close) = (sender.clone(), sender.clone(), sender);
        // The receiver is dropped together with the callbacks, so a failed send loses nothing that could be read. A
        // panic leaves the channel intact.
        let callbacks: Callbacks = (
            Closure::own_assert_unwind_safe(move |text: String| {
                let _ = on_text.unbounded_send(Arrival::Text(text));
            }),
            Closure::own_assert_unwind_safe(move |bytes: Vec<u8>| {
                let _ = on_binary.unbounded_send(Arrival::Binary(bytes));
            }),
            Closure::own_assert_unwind_safe(move |code, reason, was_clean| {
                let _ = on_close.unbounded_send(Arrival::Closed(Close::new(code, reason, was_clean)));
            }),
        );
        let socket = js::ClientSocket::new(socket, &callbacks.0, &callbacks.1, &callbacks.2);
        WorkerSocket { socket: SendWrapper::new(socket), arrivals, _callbacks: SendWrapper::new(callbacks) }
    }

    pub(crate) fn send(&self, frame: &OwnedFrame) -> Result<(), Error> {
        let sent = match frame {
            OwnedFrame::Text(text) => self.socket.send(text),
            OwnedFrame::Binary(bytes) => self.socket.send_bytes(bytes),
        };
        sent.map_err(|error| Error::new(ErrorKind::Send, message_of(&error)))
    }

    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        let lost = || Arrival::Closed(Close::new(1006, String::new(), false));
        self.arrivals.poll_next_unpin(cx).map(|arrival| arrival.unwrap_or_else(lost))
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.socket.close(code.get(), reason).map_err(|error| Error::new(ErrorKind::InvalidClose, message_of(&error)))
    }
}
