//! Gates: a handler waits at a gate until a case opens it.

use std::{cell::RefCell, future::Future};

use futures_channel::oneshot;
use room_runtime::{Failure, RoomId};

thread_local! {
    /// The handlers that wait, in all rooms of this isolate.
    static WAITING: RefCell<Vec<Waiting>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Waiting {
    room: String,
    gate: String,
    open: oneshot::Sender<()>,
}

fn key(name: &str, id: &RoomId) -> String {
    format!("{name}/{id}")
}

/// Starts to wait; the future ends when the gate is opened.
pub(crate) fn wait(name: &str, id: &RoomId, gate: &str) -> impl Future<Output = ()> + use<> {
    let (open, opened) = oneshot::channel();
    WAITING.with_borrow_mut(|all| all.push(Waiting { room: key(name, id), gate: gate.to_owned(), open }));
    async move {
        // The sender lives in a thread-local, so it is not dropped before the thread ends.
        let _ = opened.await;
    }
}

/// Opens a gate for all handlers that wait at it.
///
/// # Errors
/// Fails if no handler waits there, because the case would then wait forever.
pub(crate) fn open(name: &str, id: &RoomId, gate: &str) -> Result<(), Failure> {
    let room = key(name, id);
    let waiting: Vec<_> =
        WAITING.with_borrow_mut(|all| all.extract_if(.., |each| each.room == room && each.gate == gate).collect());
    if waiting.is_empty() {
        return Err(Failure::msg(format!("no handler waits at the gate `{gate}`")));
    }
    for each in waiting {
        // The receiver is gone if the handler ended together with its object.
        let _ = each.open.send(());
    }
    Ok(())
}
