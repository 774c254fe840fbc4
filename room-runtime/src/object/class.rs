//! The Durable Object class of a room. It only calls [`Object`](crate::__private::Object).

/// Expands to the Durable Object class of a room. `#[room]` calls it; it is not meant for direct use.
///
/// It is a macro of this crate, not code that `#[room]` emits, so that it always matches the runtime's version.
#[doc(hidden)]
#[macro_export]
macro_rules! __room_shell {
    ($(#[$attr:meta])* $class:ident = $name:literal, $room:ty, start = $start:ident) => {
        // `#[durable_object]` uses these names without a path, even in a crate without the implicit prelude.
        #[allow(unused_imports)]
        use $crate::__private::prelude::*;
        use $crate::__private::worker::wasm_bindgen;

        $(#[$attr])*
        #[$crate::__private::worker::durable_object(fetch)]
        pub struct $class {
            object: $crate::__private::Object,
        }

        impl $crate::__private::worker::DurableObject for $class {
            fn new(state: $crate::__private::worker::State, env: $crate::__private::worker::Env) -> Self {
                Self { object: $crate::__private::Object::new::<$room>(state, env) }
            }

            // `room.js` replaces this method by one that calls `roomUpgrade`.
            async fn fetch(
                &self,
                _: $crate::__private::worker::Request,
            ) -> $crate::__private::worker::Result<$crate::__private::worker::Response> {
                $crate::__private::worker::Response::error("", 500)
            }
        }

        const _: () = {
            use $crate::__private::worker::wasm_bindgen::prelude::*;

            #[wasm_bindgen(
                wasm_bindgen = $crate::__private::worker::wasm_bindgen,
                wasm_bindgen_futures = $crate::__private::worker::wasm_bindgen_futures,
                js_sys = $crate::__private::worker::js_sys
            )]
            impl $class {
                // `#[durable_object]` would generate `alarm`, and the methods of sockets that `room.js` makes, each with a
                // future of its own for each class. These are one call into the runtime.

                /// Handles the object's alarm.
                #[wasm_bindgen(js_name = alarm)]
                pub fn alarm(&self) -> JsValue {
                    self.object.alarm()
                }

                /// Runs a command of the Worker's client.
                #[wasm_bindgen(js_name = roomCall)]
                pub fn room_call(&self, command: $crate::__private::String) -> JsValue {
                    self.object.call(command)
                }

                /// The room's sockets. `room.js` passes the events of sockets by this and the next four methods, and
                /// `install` removes them from the class.
                #[wasm_bindgen(js_name = roomSockets)]
                pub fn room_sockets(&self) -> JsValue {
                    self.object.sockets()
                }

                /// Handles a text frame.
                #[wasm_bindgen(js_name = roomText)]
                pub fn room_text(&self, socket: u32, text: $crate::__private::String) -> JsValue {
                    self.object.text(socket, text)
                }

                /// Handles a binary frame.
                #[wasm_bindgen(js_name = roomBytes)]
                pub fn room_bytes(&self, socket: u32, bytes: $crate::__private::Vec<u8>) -> JsValue {
                    self.object.bytes(socket, bytes)
                }

                /// Handles the end of a connection.
                #[wasm_bindgen(js_name = roomClosed)]
                pub fn room_closed(
                    &self,
                    socket: u32,
                    code: f64,
                    reason: $crate::__private::String,
                    was_clean: bool,
                ) -> JsValue {
                    self.object.closed(socket, code, reason, was_clean)
                }

                /// Handles the request of an upgrade.
                #[wasm_bindgen(js_name = roomUpgrade)]
                pub fn room_upgrade(
                    &self,
                    request: JsValue,
                    ticket: $crate::__private::String,
                    offered: $crate::__private::Option<$crate::__private::String>,
                ) -> JsValue {
                    self.object.upgrade(request, &ticket, offered)
                }

                /// Handles a request that the Worker forwards.
                #[wasm_bindgen(js_name = roomRequest)]
                pub fn room_request(&self, head: JsValue, body: JsValue) -> JsValue {
                    self.object.request(head, body)
                }
            }

            #[wasm_bindgen(start, private, wasm_bindgen = $crate::__private::worker::wasm_bindgen)]
            #[allow(non_snake_case)]
            fn $start() {
                $crate::__private::install($name);
            }
        };
    };
}
