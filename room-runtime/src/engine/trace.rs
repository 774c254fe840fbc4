//! The reports of a room, with the feature `tracing`: a span for each handler, and an event for each frame,
//! message or peer that is not accepted, and for each error.
//!
//! Without the feature the functions here are empty, and errors go to the console.

use super::{RoomHost, Slot};
#[allow(unused_imports, reason = "on WebAssembly the platform has a concrete type")]
use crate::{CloseCode, ErrorKind, HandlerError, platform::*};

impl RoomHost {
    /// Logs an error of the room that no caller gets.
    pub(super) fn log_error(&self, message: &str) {
        #[cfg(feature = "tracing")]
        tracing::error!(room = self.room.name, id = %self.id, "{message}");
        self.write_to_console(message);
    }

    /// Logs the failure of a handler.
    pub(super) fn log_failure(&self, error: &HandlerError, message: &str) {
        #[cfg(feature = "tracing")]
        {
            let peer = error.peer().map(tracing::field::display);
            tracing::error!(room = self.room.name, id = %self.id, handler = error.handler(), peer, "{message}");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = error;
        self.write_to_console(message);
    }

    /// Logs an error without a subscriber, which would log it twice. A test always gets it.
    fn write_to_console(&self, message: &str) {
        #[cfg(all(feature = "tracing", target_arch = "wasm32"))]
        if tracing::dispatcher::has_been_set() {
            return;
        }
        self.platform.log_error(message);
    }

    /// Counts a frame or an upgrade that the room does not accept, and tells of it.
    pub(super) fn note_refused(&self, peer: Option<&Slot>, kind: ErrorKind) {
        self.counters.refused(kind);
        #[cfg(feature = "tracing")]
        {
            let peer = peer.map(|slot| tracing::field::display(&slot.id));
            tracing::warn!(room = self.room.name, id = %self.id, peer, kind = %kind, "refused");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = peer;
    }

    /// Tells that the room closes a connection because of the client.
    pub(super) fn note_cut_off(&self, slot: &Slot, code: CloseCode, reason: &str) {
        #[cfg(feature = "tracing")]
        tracing::warn!(room = self.room.name, id = %self.id, peer = %slot.id, code = code.get(), reason, "cut off");
        #[cfg(not(feature = "tracing"))]
        let _ = (slot, code, reason);
    }

    /// Tells that the connections of peers ended with the process or with the instance.
    pub(super) fn note_lost(&self, slot: &Slot) {
        #[cfg(feature = "tracing")]
        tracing::warn!(room = self.room.name, id = %self.id, peer = %slot.id, "lost");
        #[cfg(not(feature = "tracing"))]
        let _ = slot;
    }

    /// Tells that the handler of a schedule will run again.
    pub(super) fn note_retry(&self, handler: &'static str, attempt: u32) {
        #[cfg(feature = "tracing")]
        tracing::warn!(room = self.room.name, id = %self.id, handler, attempt, "retried");
        #[cfg(not(feature = "tracing"))]
        let _ = (handler, attempt);
    }

    /// Tells that the room has been loaded into memory and has started.
    pub(super) fn note_started(&self) {
        #[cfg(feature = "tracing")]
        tracing::info!(room = self.room.name, id = %self.id, "started");
    }
}

#[cfg(feature = "tracing")]
pub(super) use self::spans::HandlerSpan;
#[cfg(not(feature = "tracing"))]
pub(super) use self::without::HandlerSpan;

#[cfg(feature = "tracing")]
mod spans {
    use tracing::{Span, field};

    use crate::{
        engine::{RoomHost, Slot},
        platform::Platform,
    };

    /// The span of a handler.
    pub(in crate::engine) struct HandlerSpan {
        span: Span,
        started_ms: u64,
    }

    impl HandlerSpan {
        pub(in crate::engine) fn of(host: &RoomHost, handler: &'static str, peer: Option<&Slot>) -> Self {
            let span = tracing::info_span!(
                "handler",
                room = host.room.name,
                id = %host.id,
                handler,
                peer = peer.map(|slot| field::display(&slot.id)),
                duration_ms = field::Empty,
                outcome = field::Empty,
            );
            // Reading the clock crosses into JavaScript.
            let started_ms = if span.is_disabled() { 0 } else { Platform::now_ms(&*host.platform) };
            HandlerSpan { span, started_ms }
        }

        pub(in crate::engine) fn within<T>(&self, step: impl FnOnce() -> T) -> T {
            self.span.in_scope(step)
        }

        /// Ends the span with the outcome of the handler.
        pub(in crate::engine) fn end(self, host: &RoomHost, outcome: impl FnOnce() -> &'static str) {
            if self.span.is_disabled() {
                return;
            }
            let outcome = outcome();
            let duration_ms = Platform::now_ms(&*host.platform).saturating_sub(self.started_ms);
            self.span.record("duration_ms", duration_ms);
            self.span.record("outcome", outcome);
            self.within(|| tracing::debug!(duration_ms, outcome, "handled"));
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod without {
    use crate::engine::{RoomHost, Slot};

    pub(in crate::engine) struct HandlerSpan;

    impl HandlerSpan {
        pub(in crate::engine) fn of(_: &RoomHost, _: &'static str, _: Option<&Slot>) -> Self {
            HandlerSpan
        }

        pub(in crate::engine) fn within<T>(&self, step: impl FnOnce() -> T) -> T {
            step()
        }

        pub(in crate::engine) fn end(self, _: &RoomHost, _: impl FnOnce() -> &'static str) {}
    }
}
