//! Where handlers wait until a case lets them go on.

use std::{cell::RefCell, future::Future};

use futures_channel::oneshot;
use room_runtime::{Failure, RoomId};

thread_local! {
    /// Those who wait, in all rooms of this isolate.
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

/// Waits from now on; ends when the gate is opened.
pub(crate) fn wait(name: &str, id: &RoomId, gate: &str) -> impl Future<Output = ()> + use<> {
    let (open, opened) = oneshot::channel();
    WAITING.with_borrow_mut(|all| all.push(Waiting { room: key(name, id), gate: gate.to_owned(), open }));
    async move {
        // The sender is dropped with the thread at the earliest.
        let _ = opened.await;
    }
}

/// Lets those go on who wait at that gate.
///
/// # Errors
/// When nobody does: the case would wait for what cannot come.
pub(crate) fn open(name: &str, id: &RoomId, gate: &str) -> Result<(), Failure> {
    let room = key(name, id);
    let waiting: Vec<_> =
        WAITING.with_borrow_mut(|all| all.extract_if(.., |each| each.room == room && each.gate == gate).collect());
    if waiting.is_empty() {
        return Err(Failure::msg(format!("nobody waits at the gate `{gate}`")));
    }
    for each in waiting {
        // One that ended with its object has nobody to tell.
        let _ = each.open.send(());
    }
    Ok(())
}
