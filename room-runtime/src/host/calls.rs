//! What the Worker's client asks of a room.

use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Serialize;

use super::RoomHost;
use crate::{
    Error, ErrorKind, Failure, Peers, Room,
    context::is_own_purge,
    wire::{Command, Reply, WireError},
};

type CommandOf<R> = Command<<R as Room>::Event, <R as Room>::Broadcast, <R as Room>::Connection>;

impl<R: Room> RoomHost<R> {
    /// A command of the Worker's client; the answer to send back.
    pub(crate) async fn call(self: &Rc<Self>, text: &str) -> String {
        if let Err(error) = self.start(false).await {
            return answer::<()>(Err((&error).into()));
        }
        match serde_json::from_str::<CommandOf<R>>(text) {
            Ok(Command::Once { key, command }) => self
                .answers
                .once(&*self.platform, &key, text, self.carry_out(*command))
                .await
                .unwrap_or_else(|error| answer::<()>(Err((&error).into()))),
            Ok(command) => self.carry_out(command).await,
            Err(error) => {
                let message = format!("the room does not understand this: {error}");
                answer::<()>(Err(WireError::new(ErrorKind::Decode, message)))
            }
        }
    }

    async fn carry_out(self: &Rc<Self>, command: CommandOf<R>) -> String {
        match command {
            Command::Send(event) => {
                let ctx = self.context(None);
                let outcome = self.run(R::on_event(&ctx, event)).await;
                let reply = match &outcome {
                    // To purge the room is what the caller asked for.
                    Err(failure) if !is_own_purge(failure) => Err(handler_error("on_event", failure)),
                    _ => Ok(()),
                };
                self.report(outcome, "on_event", None, &ctx).await;
                answer(reply)
            }
            Command::State => {
                let state = self.stored_state();
                let reply = answer(state.as_ref().map(Option::as_deref).map_err(WireError::from));
                // What is told is what is stored.
                self.flush().map_or_else(|error| answer::<()>(Err((&error).into())), |()| reply)
            }
            Command::Peers { tag } => {
                let ctx = self.context(None);
                let peers = match &tag {
                    Some(tag) => Peers::new(&ctx).tagged(tag),
                    None => Peers::new(&ctx),
                };
                answer(Ok(peers.iter().map(|peer| peer.info()).collect::<Vec<_>>()))
            }
            Command::Broadcast(message) => {
                answer(self.context(None).broadcast(&message).map_err(|error| WireError::from(&error)))
            }
            Command::Prepare { ticket, upgrade } => {
                let prepared = self.tickets.prepare(ticket, upgrade, self.platform.now_ms());
                answer(prepared.map_err(|error| WireError::from(&error)))
            }
            Command::FireAlarm => answer(self.fire_alarm().await),
            Command::Once { .. } => {
                let message = "a command with an idempotency key inside another".to_owned();
                answer::<()>(Err(WireError::new(ErrorKind::Decode, message)))
            }
        }
    }

    /// HTTP that the Worker forwards.
    pub(crate) async fn request(self: &Rc<Self>, request: Request<Bytes>) -> Result<Response<Bytes>, WireError> {
        self.start(false).await.map_err(|error| WireError::from(&error))?;
        let ctx = self.context(None);
        let outcome = self.run(R::on_request(&ctx, request)).await.and_then(|response| {
            let status = response.status();
            if crate::heads::is_answer(status) {
                return Ok(response);
            }
            let message = format!("a Worker cannot answer with {}, only with 200 to 599", status.as_u16());
            Err(Failure::from(Error::new(ErrorKind::Encode, message)))
        });
        match outcome {
            Ok(response) => Ok(response),
            // There is nothing left to tell of.
            Err(failure) if is_own_purge(&failure) => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            Err(failure) => {
                let error = handler_error("on_request", &failure);
                self.report(Err(failure), "on_request", None, &ctx).await;
                Err(error)
            }
        }
    }
}

pub(super) fn handler_error(handler: &str, failure: &Failure) -> WireError {
    failure
        .downcast_ref::<Error>()
        .map_or_else(|| WireError::new(ErrorKind::Handler, format!("{handler}: {failure}")), WireError::from)
}

pub(super) fn answer<T: Serialize>(outcome: Result<T, WireError>) -> String {
    let reply = match outcome {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Err(error),
    };
    serde_json::to_string(&reply).unwrap_or_else(|error| {
        let message = format!("the answer cannot be written as JSON: {error}");
        answer::<()>(Err(WireError::new(ErrorKind::Encode, message)))
    })
}
