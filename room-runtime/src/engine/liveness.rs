//! The timeout of peers: an alarm closes the connections of peers that show no sign of life.
//!
//! The signs are frames and heartbeats. The platform answers heartbeats and records their times, so the room stays
//! asleep. The alarm looks for silent peers when the earliest of them can be due, and is set again only while peers are
//! connected: an empty room sleeps.

use std::rc::Rc;

use super::RoomHost;
use crate::{
    Close, CloseCode,
    engine::slot::{Slot, Status},
    platform::*,
};

/// The close reason for a client that was silent and is still there.
const SILENT: &str = "no frame and no heartbeat arrived in time";

/// The part of the engine for rooms with a `peer_timeout`.
pub(crate) struct Liveness {
    /// Returns the time at which the next peer can be due.
    pub(super) next_check: fn(&AnyPlatform) -> Option<u64>,
    close_silent: fn(&Rc<RoomHost>),
    plan: fn(&RoomHost),
}

impl Liveness {
    pub(super) const PART: Liveness =
        Liveness { next_check, close_silent: RoomHost::close_silent, plan: RoomHost::plan_check };
}

fn next_check(platform: &AnyPlatform) -> Option<u64> {
    let Silence { sockets, next_ms } = platform.silent();
    if sockets.is_empty() { next_ms } else { Some(platform.now_ms()) }
}

impl RoomHost {
    /// Closes the silent peers, in the object's alarm. `is_due` is true if the alarm may have been set for that.
    pub(super) fn check_silent_peers(self: &Rc<Self>, is_due: bool) {
        if let Some(liveness) = &self.room.parts.liveness
            && (is_due || self.schedules.is_check_due(self.platform.now_ms()))
        {
            (liveness.close_silent)(self);
        }
    }

    /// Sets the alarm for silent peers, unless it is set. A peer has joined.
    pub(super) fn plan_silence_check(&self) {
        if let Some(liveness) = &self.room.parts.liveness {
            (liveness.plan)(self);
        }
    }

    /// Sets the alarm for silent peers in a room that has woken with peers, so that an alarm that the platform has lost
    /// does not keep a room full.
    pub(super) fn renew_silence_check(&self) {
        if let Some(liveness) = &self.room.parts.liveness
            && !self.schedules.knows_check()
            && self.platform.count_open() > 0
        {
            (liveness.plan)(self);
        }
    }

    fn plan_check(&self) {
        // A peer that has just joined is due after all others.
        if self.schedules.has_check() {
            return;
        }
        if let Err(error) = self.store_id() {
            self.log_error(&error.to_string());
        }
        self.schedules.forget_check();
        self.arm();
    }

    fn close_silent(self: &Rc<Self>) {
        let Silence { sockets, next_ms } = self.platform.silent();
        for slot in sockets.into_iter().filter_map(|socket| self.slot_of(socket)) {
            self.cut_off(&slot, CloseCode::TIMEOUT, SILENT);
        }
        // Peers that become due shortly after each other share one alarm.
        let earliest = self.platform.now_ms().saturating_add(self.room.peer_timeout_ms / SIGN_STEPS);
        self.schedules.set_check(next_ms.map(|at_ms| at_ms.max(earliest)));
    }

    /// Ends a connection as a lost one: the place is kept for the grace, or `on_close` runs.
    pub(super) fn cut_off(self: &Rc<Self>, slot: &Rc<Slot>, code: CloseCode, reason: &'static str) {
        let socket = slot.socket.get();
        self.note_cut_off(slot, code, reason);
        // The close fails only if the socket is closing already.
        let _ = self.platform.close(socket, code.get(), reason);
        if slot.status.get() != Status::Connected || !self.holds_place(slot) {
            return;
        }
        let lost = Close::new(1006, String::new(), false);
        // The room may crash before the spawned task begins.
        let close = self.note_leaving(slot, &lost).unwrap_or(lost);
        slot.ended.replace(Some(close.clone()));
        self.add_departing(slot);
        let (host, slot, generation) = (self.clone(), slot.clone(), slot.generation.get());
        self.platform.spawn(Box::pin(async move {
            host.depart(&slot, close, generation).await;
            // The client may never answer the close. If it has, or if the peer has resumed, the socket is released.
            if slot.socket.get() == socket {
                host.release_socket(socket);
                host.platform.detach(socket);
                host.release_memory_if_empty();
            }
            host.schedule_purge_if_empty();
        }));
    }
}
