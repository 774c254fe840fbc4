//! A subscriber of [`tracing`] that writes one JSON object for each event, with the feature `logs`.
//!
//! On Cloudflare the objects go to the console, where Workers Logs stores them with their fields: a query can ask for one
//! room, peer or handler. Natively they go to the standard output, one on each line.
//!
//! ```no_run
//! use worker::event;
//!
//! #[event(start)]
//! fn start() {
//!     room_runtime::logs::init(room_runtime::logs::Level::INFO);
//! }
//! # fn main() {}
//! ```
//!
//! An object has the event's `level`, `target` and `message`, and as further fields those of the event and of the spans
//! around it. An event in a handler therefore names the room's type as `room`, its `id`, the `handler` and the `peer`,
//! also an event of your own:
//!
//! ```json
//! {"level":"WARN","target":"chat","message":"a bad word","room":"chat","id":"lobby","handler":"on_event","peer":"alice"}
//! ```
//!
//! # The events of a room
//!
//! | level | message | further fields | when |
//! |---|---|---|---|
//! | `ERROR` | the text of the error | `handler`, `peer` for a handler | a handler failed, or storage did |
//! | `WARN` | `refused` | `peer`, `kind` | a frame or an upgrade is not accepted: dropped, limited, not decoded, refused |
//! | `WARN` | `cut off` | `peer`, `code`, `reason` | the room closes a slow consumer or a silent peer |
//! | `WARN` | `lost` | `peer` | the connection of a peer ended with the process or with a panic |
//! | `WARN` | `retried` | `handler`, `attempt` | an alarm failed and will run again |
//! | `INFO` | `started` | | the platform has loaded the room, and `on_start` has ended |
//! | `DEBUG` | `handled` | `handler`, `peer`, `duration_ms`, `outcome` | a handler has ended: `ok`, `refused`, `failed` or `purged` |
//!
//! An event of your own that has a field of the same name, such as `id`, keeps it as `event.id`. A task of
//! [`RoomContext::spawn`](crate::RoomContext::spawn) has the handler `spawn` and no peer. A handler that panics ends with
//! its instance of the wasm: it has no event `handled`, and Cloudflare logs the panic.
//!
//! All have the fields `room` and `id`. The clock of Cloudflare stands still while code runs, so `duration_ms` is the time
//! that the handler waited.

use std::fmt;

#[cfg(target_arch = "wasm32")]
use worker::js_sys;

use serde_json::{Map, Value};
pub use tracing::Level;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

#[cfg(target_arch = "wasm32")]
use crate::platform::cloudflare::js;

/// Writes the events from this level on. A later call has no effect, and neither has one after another subscriber is set.
pub fn init(level: Level) {
    let subscriber = tracing_subscriber::registry().with(layer().with_filter(LevelFilter::from_level(level)));
    // An error means that there is a subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Returns the layer by itself, for a subscriber with other layers or with filters of its own.
pub fn layer() -> JsonLayer {
    JsonLayer(())
}

/// The layer that writes one JSON object for each event.
///
/// Only the events of one crate, from the level `INFO` on:
///
/// ```no_run
/// # // The subscriber is another crate, a dependency of yours.
/// use room_runtime::logs;
/// use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};
///
/// let only = Targets::new().with_target("room_runtime", logs::Level::INFO);
/// tracing_subscriber::registry().with(logs::layer().with_filter(only)).init();
/// ```
#[derive(Debug)]
pub struct JsonLayer(());

/// The fields of a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }
}

impl Fields {
    fn record(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut own = Fields::default();
        event.record(&mut own);
        let mut line = Fields::default();
        line.0.insert("level".to_owned(), metadata.level().as_str().into());
        line.0.insert("target".to_owned(), metadata.target().into());
        if let Some(message) = own.0.remove("message") {
            line.0.insert("message".to_owned(), message);
        }
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.0.extend(fields.0.clone());
            }
        }
        for (name, value) in own.0 {
            match line.0.get(&name) {
                Some(there) if *there != value => line.0.insert(format!("event.{name}"), value),
                _ => line.0.insert(name, value),
            };
        }
        write(metadata, &Value::Object(line.0).to_string());
    }
}

#[cfg(target_arch = "wasm32")]
fn write(metadata: &Metadata<'_>, line: &str) {
    // Workers Logs stores the fields of an object, so the console gets an object and not its text.
    let line = js_sys::JSON::parse(line).unwrap_or_else(|_| line.into());
    match *metadata.level() {
        Level::ERROR => js::console_error(&line),
        Level::WARN => js::console_warn(&line),
        Level::INFO => js::console_log(&line),
        _ => js::console_debug(&line),
    }
}

#[cfg(not(target_arch = "wasm32"))]
#[allow(clippy::print_stdout, reason = "the lines are the output of this module")]
fn write(_: &Metadata<'_>, line: &str) {
    println!("{line}");
}
