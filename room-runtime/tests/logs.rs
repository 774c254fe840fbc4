//! The events and spans of a room, as the subscriber of a user sees them, with the feature `tracing`.

#![cfg(feature = "logs")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use room_runtime::{logs::Level, prelude::*, testing::TestRoom};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

#[room(rate_limit(burst = 2, per_second = 0.01))]
mod chat {
    use super::*;

    #[derive(Default)]
    pub struct State {
        said: u32,
    }

    pub struct Connection {}

    pub enum Event {
        Say { text: String },
        Wait {},
    }

    pub enum Broadcast {}

    async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match event {
            Event::Say { text } if text.is_empty() => Err(ctx.refuse("say something")),
            Event::Say { text } if text == "fail" => Err(Failure::msg("oops")),
            Event::Say { text } => {
                tracing::info!(text, "said");
                Ok(ctx.update(|state| state.said += 1)?)
            }
            Event::Wait {} => {
                ctx.sleep(std::time::Duration::from_millis(250)).await;
                tracing::info!("waited");
                Ok(())
            }
        }
    }
}

type Fields = BTreeMap<String, String>;

/// Records each event with its level and the fields of the spans around it, and each span at its end.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(Level, Fields)>>>);

struct Recording<'a>(&'a mut Fields);

impl Visit for Recording<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Recording(&mut fields));
        context.span(id).expect("the span").extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("the span");
        values.record(&mut Recording(span.extensions_mut().get_mut::<Fields>().expect("its fields")));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            fields.extend(span.extensions().get::<Fields>().expect("its fields").clone());
        }
        event.record(&mut Recording(&mut fields));
        self.0.lock().expect("the events").push((*event.metadata().level(), fields));
    }
}

/// Runs the closure with a subscriber, and returns the events.
fn recorded(run: impl FnOnce()) -> Vec<(Level, Fields)> {
    let recorder = Recorder::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(recorder.clone()), run);
    recorder.0.lock().expect("the events").clone()
}

fn has(events: &[(Level, Fields)], level: Level, wanted: &[(&str, &str)]) {
    let is_it = |fields: &Fields| wanted.iter().all(|(name, value)| fields.get(*name).is_some_and(|has| has == value));
    let found = events.iter().filter(|(of, fields)| *of == level && is_it(fields)).count();
    assert_eq!(found, 1, "{level} {wanted:?} in {events:#?}");
}

#[test]
fn a_handler_is_a_span_with_its_room_peer_duration_and_outcome() {
    let events = recorded(|| {
        let room = TestRoom::<chat::Room>::new("lobby");
        let alice = room.connect(Upgrade::new(chat::Connection {}).id("alice"));
        alice.send(&chat::Event::Say { text: "hi".to_owned() });
        alice.send(&chat::Event::Wait {});
        room.advance(std::time::Duration::from_secs(1));
    });
    let alice = [("room", "chat"), ("id", "lobby"), ("handler", "on_event"), ("peer", "alice")];
    // An event of the handler has the fields of the span, also after a wait.
    has(&events, Level::INFO, &[&alice[..], &[("message", "said"), ("text", "hi")]].concat());
    has(&events, Level::INFO, &[&alice[..], &[("message", "waited")]].concat());
    let handled =
        |duration| [&alice[..], &[("message", "handled"), ("duration_ms", duration), ("outcome", "ok")]].concat();
    has(&events, Level::DEBUG, &handled("0"));
    has(&events, Level::DEBUG, &handled("250"));
    has(&events, Level::INFO, &[("message", "started"), ("id", "lobby")]);
}

#[test]
fn what_a_room_does_not_accept_is_an_event_with_its_kind() {
    let events = recorded(|| {
        let room = TestRoom::<chat::Room>::new("lobby");
        let alice = room.connect(Upgrade::new(chat::Connection {}).id("alice"));
        for text in ["", "fail", "too many"] {
            alice.send(&chat::Event::Say { text: text.to_owned() });
        }
        let bob = room.connect(Upgrade::new(chat::Connection {}).id("bob"));
        bob.send_raw(r#"{"type":"Shout"}"#);
    });
    has(&events, Level::WARN, &[("message", "refused"), ("peer", "alice"), ("kind", "refused")]);
    has(&events, Level::WARN, &[("message", "refused"), ("peer", "alice"), ("kind", "rate_limited")]);
    has(&events, Level::DEBUG, &[("message", "handled"), ("outcome", "refused")]);
    has(&events, Level::DEBUG, &[("message", "handled"), ("outcome", "failed")]);
    has(&events, Level::ERROR, &[("peer", "alice"), ("handler", "on_event"), ("id", "lobby")]);
    let decode = |fields: &Fields| fields.get("kind").is_some_and(|kind| kind == "decode");
    assert!(events.iter().any(|(_, fields)| decode(fields) && fields["peer"] == "bob"), "{events:#?}");
}
