//! Serves the commands of the Worker's client.

use std::{fmt::Display, rc::Rc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Serialize;

use super::RoomHost;
use crate::{
    Delivery, Error, ErrorKind, Failure, Peers, Room, RoomContext,
    engine::purge::is_own_purge,
    platform::*,
    types::brief::brief,
    wire::{self, Command, Reply, WireError, http_codec},
};

/// The outcome of a command.
struct Done<R: Room> {
    reply: String,
    /// The failure of `on_event`, to be reported to `on_error` after the answer.
    failed: Option<(Failure, RoomContext<R>)>,
}

impl<R: Room> From<String> for Done<R> {
    fn from(reply: String) -> Self {
        Done { reply, failed: None }
    }
}

impl<R: Room> RoomHost<R> {
    /// Runs a command of the Worker's client and returns the answer.
    pub(crate) async fn call(self: &Rc<Self>, text: &str) -> String {
        // An upgrade needs no started room, and its request waits for this half only a few seconds.
        if let Some(command @ Command::Prepare { .. }) = Command::parse(text) {
            return self.execute(command).await.reply;
        }
        let outcome = match (self.start(false).await, Command::parse(text)) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(Command::Once { key, command })) => match Command::parse(command) {
                Some(Command::Once { .. }) | None => Err(not_understood("a call with an idempotency key")),
                Some(command) => {
                    let life = self.life.get();
                    let is_alive = || self.life.get() == life;
                    let work = async {
                        let Done { reply, failed } = self.execute(command).await;
                        (reply, failed)
                    };
                    self.answers.once(self.platform.as_ref(), key, text, work, is_alive).await
                }
            },
            (Ok(()), Some(command)) => {
                let Done { reply, failed } = self.execute(command).await;
                Ok((reply, failed))
            }
            (Ok(()), None) => Err(not_understood(text)),
        };
        match outcome {
            Ok((reply, failed)) => {
                // `on_error` runs after the answer to an idempotency key is stored: a crash in it must not repeat the
                // call.
                if let Some((failure, ctx)) = failed {
                    self.report(Err(failure), "on_event", None, &ctx).await;
                }
                reply
            }
            Err(error) => answer::<()>(Err((&error).into())),
        }
    }

    async fn execute(self: &Rc<Self>, command: Command<'_>) -> Done<R> {
        let reply = match command {
            Command::Send(event) => {
                let event = match wire::decode_event(event) {
                    Ok(event) => event,
                    Err(error) => return answer::<()>(Err((&not_understood(error)).into())).into(),
                };
                let ctx = self.context(None);
                let outcome = self.run(R::on_event(&ctx, event)).await;
                let reply = match &outcome {
                    // A purge by the handler is a success for the caller.
                    Err(failure) if !is_own_purge(failure) => Err(WireError::of_handler("on_event", failure, true)),
                    _ => Ok(()),
                };
                let failed = unless_refused(outcome).err().map(|failure| (failure, ctx));
                return Done { reply: answer(reply), failed };
            }
            Command::State => {
                let state = match self.stored_state() {
                    // An `init` that purges the room leaves no state.
                    Err(error) if error.is_own_purge() => Ok(None),
                    state => state,
                };
                let reply = state.as_ref().map(|state| Vec::from_iter(state.as_deref()));
                let reply = answer(reply.map_err(WireError::from));
                // The state is stored before it is returned, so that the caller never sees a change that a crash can
                // undo.
                self.flush().map_or_else(|error| answer::<()>(Err((&error).into())), |()| reply)
            }
            Command::Peers(tag) => {
                let ctx = self.context(None);
                let peers = match tag {
                    Some(tag) => Peers::new(&ctx).tagged(tag),
                    None => Peers::new(&ctx),
                };
                answer(Ok(peers.iter().map(|peer| peer.info()).collect::<Vec<_>>()))
            }
            Command::Broadcast(message) => {
                let sent = self.flush().map(|()| {
                    let everyone = Audience::All { tag: None, except: &[] };
                    Delivery::new(self, self.send(Frame::Text(message), everyone))
                });
                answer(sent.map_err(|error| WireError::from(&error)))
            }
            Command::Prepare { ticket, upgrade } => {
                let prepared = match serde_json::from_str(upgrade) {
                    Ok(upgrade) => self.tickets.prepare(ticket.to_owned(), upgrade, self.platform.now_ms()),
                    Err(error) => Err(not_understood(error)),
                };
                answer(prepared.map_err(|error| WireError::from(&error)))
            }
            Command::FireAlarm if Self::HAS_SCHEDULES => {
                // Boxed, so that the wasm of a room without alarms does not contain this code.
                let firing: LocalFuture<Result<bool, WireError>> = Box::pin(self.clone().fire_alarm());
                answer(firing.await)
            }
            Command::FireAlarm => answer(Ok(false)),
            Command::Once { .. } => answer::<()>(Err((&not_understood("a key inside another")).into())),
        };
        reply.into()
    }

    /// Handles an HTTP request that the Worker forwards.
    pub(crate) async fn request(self: Rc<Self>, request: Request<Bytes>) -> Result<Response<Bytes>, WireError> {
        if !R::HAS_ON_REQUEST {
            return Ok(http_codec::text(StatusCode::NOT_FOUND, http_codec::NO_REQUESTS));
        }
        self.start(false).await.map_err(|error| WireError::from(&error))?;
        let ctx = self.context(None);
        let outcome = self.run(R::on_request(&ctx, request)).await.and_then(|response| {
            let status = response.status();
            if http_codec::is_answer(status) {
                return Ok(response);
            }
            let message = format!("a Worker cannot answer with {}, only with 200 to 599", status.as_u16());
            Err(Failure::from(Error::new(ErrorKind::Encode, message)))
        });
        match outcome {
            Ok(response) => Ok(response),
            // The handler purged the room, so there is no error to report.
            Err(failure) if is_own_purge(&failure) => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            Err(failure) => {
                if let Some(refused) = failure.as_refused() {
                    return Ok(refused.response());
                }
                let error = WireError::of_handler("on_request", &failure, true);
                self.report(Err(failure), "on_request", None, &ctx).await;
                Err(error)
            }
        }
    }
}

/// Turns a refusal into a success: it has been answered and is not reported.
pub(super) fn unless_refused(outcome: Result<(), Failure>) -> Result<(), Failure> {
    outcome.or_else(|failure| failure.as_refused().map(drop).ok_or(failure))
}

fn not_understood(what: impl Display) -> Error {
    Error::new(ErrorKind::Decode, format!("the room does not understand this: {}", brief(what)))
}

pub(super) fn answer<T: Serialize>(outcome: Result<T, WireError>) -> String {
    let reply = match outcome {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Err(error),
    };
    wire::encode_reply(&reply).unwrap_or_else(|error| answer::<()>(Err((&error).into())))
}
