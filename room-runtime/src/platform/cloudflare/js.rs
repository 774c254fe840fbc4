//! The bindings to `room.js`.
//!
//! An exception from an import without `catch` ends the wasm instance. As far as the platform documents it, those imports
//! cannot throw. `install` throws on purpose if the generated code has another form than `room.js` expects: it runs in the
//! start function, so the Worker does not start.

use worker::{
    js_sys,
    wasm_bindgen::{JsValue, prelude::wasm_bindgen},
};

#[wasm_bindgen(wasm_bindgen = ::worker::wasm_bindgen, module = "/src/platform/cloudflare/room.js")]
extern "C" {
    pub(crate) type Sockets;

    #[wasm_bindgen(constructor)]
    pub(crate) fn new(state: &JsValue, ping: &str, pong: &str, peer_timeout_ms: f64) -> Sockets;
    #[wasm_bindgen(method, catch)]
    pub(crate) fn accept(
        this: &Sockets,
        request: &JsValue,
        tags: Vec<JsValue>,
        protocol: Option<&str>,
        is_v1: bool,
        is_packed: bool,
    ) -> Result<u32, JsValue>;
    #[wasm_bindgen(method)]
    pub(crate) fn open(this: &Sockets, tag: Option<&str>) -> Vec<u32>;
    #[wasm_bindgen(method, js_name = countOpen)]
    pub(crate) fn count_open(this: &Sockets) -> u32;
    #[wasm_bindgen(method, js_name = hasAny)]
    pub(crate) fn has_any(this: &Sockets) -> bool;
    #[wasm_bindgen(method, js_name = isOpen)]
    pub(crate) fn is_open(this: &Sockets, index: u32) -> bool;
    #[wasm_bindgen(method, js_name = isPacked)]
    pub(crate) fn is_packed(this: &Sockets, index: u32) -> bool;
    #[wasm_bindgen(method, js_name = isV1)]
    pub(crate) fn is_v1(this: &Sockets, index: u32) -> bool;
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
    pub(crate) fn send_one_text(this: &Sockets, frame: &str, size: f64, max_unread: f64, hold: bool, index: u32)
    -> f64;
    #[wasm_bindgen(method, js_name = sendAllBytes)]
    pub(crate) fn send_all_bytes(
        this: &Sockets,
        bytes: &[u8],
        is_packed: bool,
        max_unread: f64,
        tag: Option<&str>,
        except: i32,
    ) -> f64;
    #[wasm_bindgen(method, js_name = sendOnlyBytes)]
    pub(crate) fn send_only_bytes(
        this: &Sockets,
        bytes: &[u8],
        is_packed: bool,
        max_unread: f64,
        indices: &[u32],
    ) -> f64;
    #[wasm_bindgen(method)]
    pub(crate) fn mark(this: &Sockets, position: f64);
    #[wasm_bindgen(method)]
    pub(crate) fn control(this: &Sockets, index: u32, control: &str, hold: bool);
    #[wasm_bindgen(method, js_name = controlBytes)]
    pub(crate) fn control_bytes(this: &Sockets, index: u32, control: &[u8], hold: bool);
    #[wasm_bindgen(method)]
    pub(crate) fn silent(this: &Sockets) -> Vec<f64>;
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
    pub(crate) fn header(request: &JsValue, name: &str) -> Option<String>;
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
    #[wasm_bindgen(method, catch)]
    pub(crate) fn scan(
        this: &Storage,
        prefix: &str,
        start: Option<&str>,
        reverse: bool,
        limit: u32,
    ) -> Result<Vec<js_sys::Uint8Array>, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(crate) fn size(this: &Storage) -> Result<f64, JsValue>;
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
    #[wasm_bindgen(method, catch)]
    pub(crate) fn read(
        this: &Storage,
        statement: &str,
        kinds: &[u8],
        numbers: &[f64],
        texts: &str,
        bytes: &[u8],
    ) -> Result<Reading, JsValue>;
    /// Returns the message of the platform if it failed. There is no `catch`, because an exception is one of the work: it
    /// ends the instance.
    #[wasm_bindgen(method)]
    pub(crate) fn transaction(this: &Storage, work: &mut dyn FnMut() -> bool) -> Option<String>;
    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    pub(crate) fn set_alarm(this: &Storage, at_ms: Option<f64>) -> Result<(), JsValue>;

    /// The result of [`Storage::read`].
    pub(crate) type Reading;

    #[wasm_bindgen(method, catch)]
    pub(crate) fn next(this: &Reading) -> Result<Rows, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(crate) fn again(this: &Reading, statement: &str) -> Result<(), JsValue>;

    /// The result of [`Storage::sql`] and of [`Reading::next`].
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

#[cfg(feature = "logs")]
#[wasm_bindgen(wasm_bindgen = ::worker::wasm_bindgen)]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    pub(crate) fn console_error(value: &JsValue);
    #[wasm_bindgen(js_namespace = console, js_name = warn)]
    pub(crate) fn console_warn(value: &JsValue);
    #[wasm_bindgen(js_namespace = console, js_name = log)]
    pub(crate) fn console_log(value: &JsValue);
    #[wasm_bindgen(js_namespace = console, js_name = debug)]
    pub(crate) fn console_debug(value: &JsValue);
}
