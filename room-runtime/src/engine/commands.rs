//! Serves the Worker's client: its commands, and the HTTP requests that it forwards.

use std::{fmt::Display, rc::Rc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Invocation, RoomHost, Slot, Value,
    handlers::unless_refused,
    replay::Whom,
    room::{Answering, NoEvent},
};
use crate::{
    Error, ErrorKind, Failure, PeerInfo,
    engine::purge::is_own_purge,
    platform::*,
    types::brief::brief,
    wire::{self, Arguments, Command, Reply, UpgradeOptions, WireError, handshake::user_tag, http_codec},
};

/// The part of the engine for rooms with `on_request`.
pub(crate) type Requests = fn(Rc<RoomHost>, Request<Bytes>) -> LocalFuture<Result<Response<Bytes>, WireError>>;

/// The failure of `on_event` or of a function, to be reported to `on_error` after the answer.
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) handler: &'static str,
    pub(super) call: Invocation,
}

impl Failed {
    /// A refusal is no failure.
    fn of(outcome: Result<(), Failure>, handler: &'static str, call: Invocation) -> Option<Self> {
        unless_refused(outcome).err().map(|failure| Failed { failure, handler, call })
    }
}

/// The outcome of a command.
struct Done {
    reply: String,
    failed: Option<Failed>,
}

impl From<String> for Done {
    fn from(reply: String) -> Self {
        Done { reply, failed: None }
    }
}

impl RoomHost {
    /// Runs a command of the Worker's client and returns the answer.
    pub(crate) async fn call(self: &Rc<Self>, text: &str) -> String {
        // An upgrade needs no started room, and its request waits for this half only a few seconds.
        // The figures of a room that cannot start show that.
        if let Some(command @ (Command::Prepare { .. } | Command::Stats)) = Command::parse(text) {
            return self.execute(command).await.reply;
        }
        let outcome = match (self.start(false).await, Command::parse(text)) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(Command::Once { key, command })) => match Command::parse(command) {
                Some(Command::Once { .. } | Command::Durable { .. }) | None => {
                    Err(not_understood("a call with an idempotency key"))
                }
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
            (Ok(()), Some(Command::Durable { source, number, event })) => self.receive(source, number, event).await,
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
                if let Some(Failed { failure, handler, call }) = failed {
                    self.report(Err(failure), handler, &call).await;
                }
                reply
            }
            Err(error) => answer::<()>(Err((&error).into())),
        }
    }

    async fn execute(self: &Rc<Self>, command: Command<'_>) -> Done {
        let reply = match command {
            Command::Send(event) => {
                let (reply, failed) = self.handle_event(event).await;
                return Done { reply: answer(reply), failed };
            }
            Command::Call { name, arguments } => return self.handle_call(name, arguments).await,
            Command::State => {
                let state = match self.state_json() {
                    // An `init` that purges the room leaves no state.
                    Err(error) if error.is_own_purge() => Ok(None),
                    state => state,
                };
                let reply = answer(state.map(Vec::from_iter).map_err(|error| WireError::from(&error)));
                // The state is stored before it is returned, so that the caller never sees a change that a crash can
                // undo.
                self.flush().map_or_else(|error| answer::<()>(Err((&error).into())), |()| reply)
            }
            Command::Peers(tag) => {
                let tag = tag.map(user_tag);
                let sockets = self.platform.open(tag.as_deref());
                let peers = sockets.into_iter().filter_map(|socket| self.slot_of(socket));
                let infos = peers.map(|slot| self.info(&slot)).collect::<Result<Vec<_>, _>>();
                answer(infos.map_err(|error| WireError::from(&error)))
            }
            // It becomes a part of frames, in which text that is no JSON would end the message or begin another one.
            Command::Broadcast(message) if !wire::is_json(message) => {
                answer::<()>(Err((&not_understood("a message that is no JSON")).into()))
            }
            Command::Broadcast(message) => {
                let to = Audience::All { tag: None, except: &[] };
                let sent = self.flush().and_then(|()| self.send_json(message, to, &Whom::Everyone));
                answer(sent.map(|sent| self.delivery(sent)).map_err(|error| WireError::from(&error)))
            }
            Command::Prepare { ticket, upgrade } => {
                let prepared = match self.decode_upgrade(upgrade) {
                    Ok(upgrade) => self.tickets.prepare(ticket.to_owned(), upgrade, self.platform.now_ms()),
                    Err(error) => Err(not_understood(error)),
                };
                answer(prepared.map_err(|error| WireError::from(&error)))
            }
            Command::Stats => self.stats().unwrap_or_else(|error| answer::<()>(Err((&error).into()))),
            Command::FireAlarm => match &self.room.parts.firing {
                Some(firing) => answer(firing.fire_next(self).await),
                None => answer(Ok(false)),
            },
            Command::Once { .. } | Command::Durable { .. } => {
                answer::<()>(Err((&not_understood("a key inside another")).into()))
            }
        };
        reply.into()
    }

    /// Handles an event that no peer sent. Returns the outcome for the sender, and the failure for `on_error`.
    pub(super) async fn handle_event(self: &Rc<Self>, event: &str) -> (Result<(), WireError>, Option<Failed>) {
        let call = self.invocation(None);
        let handling = match self.room.code.on_event(call.clone(), event) {
            Ok((handling, _)) => handling,
            Err(NoEvent::Malformed(error)) => return (Err((&not_understood(error)).into()), None),
            Err(NoEvent::Invalid(invalid)) => return (Err((&invalid.into_error()).into()), None),
        };
        let outcome = self.run("on_event", call.sender.as_deref(), handling).await;
        let reply = match &outcome {
            // A purge by the handler is a success for the caller.
            Err(failure) if !is_own_purge(failure) => Err(WireError::of_handler("on_event", failure, true)),
            _ => Ok(()),
        };
        (reply, Failed::of(outcome, "on_event", call))
    }

    /// Handles a call of a function by the Worker or by another room.
    async fn handle_call(self: &Rc<Self>, name: &str, arguments: &str) -> Done {
        let (call, answering) = (self.invocation(None), Answering::default());
        let found = self.room.code.on_call(call.clone(), name, Arguments::Json(arguments), answering.clone());
        let (handling, handler) = match found {
            Ok(found) => found,
            Err(fault) => return answer::<()>(Err((&not_understood(fault)).into())).into(),
        };
        let outcome = self.run(handler, call.sender.as_deref(), handling).await;
        let reply = match &outcome {
            // After a purge by the function there is no answer, so the caller gets the error.
            Err(failure) => Err(WireError::of_handler(handler, failure, true)),
            // A function that succeeded has left its answer.
            Ok(()) => Ok(answering.get()),
        };
        Done { reply: answer(reply), failed: Failed::of(outcome, handler, call) }
    }

    fn decode_upgrade(&self, json: &str) -> Result<UpgradeOptions<Value>, serde_json::Error> {
        let UpgradeOptions { data, id, tags, meta, on_duplicate, resume, on_resume, protocol } =
            serde_json::from_str::<UpgradeOptions<Box<RawValue>>>(json)?;
        let data = self.room.code.decode_data(data.get())?;
        Ok(UpgradeOptions { data, id, tags, meta, on_duplicate, resume, on_resume, protocol })
    }

    fn info(&self, slot: &Slot) -> Result<PeerInfo<Box<RawValue>>, Error> {
        // The data is encoded without the limit of an attachment: it is sent, and not stored.
        let data = slot.data.borrow().clone();
        let data = self.room.code.encode_data(&*data).map_err(|error| error.in_room(&self.id).of_peer(&slot.id))?;
        Ok(PeerInfo {
            id: slot.id.clone(),
            tags: slot.tags.get_or_init(|| self.tags_of(slot.socket.get())).clone(),
            connected_at: slot.connected_at,
            topics: slot.topics.borrow().clone(),
            data,
        })
    }

    /// Handles an HTTP request that the Worker forwards. A room without `on_request` answers 404.
    pub(crate) async fn request(self: Rc<Self>, request: Request<Bytes>) -> Result<Response<Bytes>, WireError> {
        match self.room.parts.requests {
            Some(answer) => answer(self, request).await,
            None => Ok(http_codec::text(StatusCode::NOT_FOUND, http_codec::NO_REQUESTS)),
        }
    }

    pub(super) fn answer_request(
        self: Rc<Self>,
        request: Request<Bytes>,
    ) -> LocalFuture<Result<Response<Bytes>, WireError>> {
        Box::pin(self.run_on_request(request))
    }

    async fn run_on_request(self: Rc<Self>, request: Request<Bytes>) -> Result<Response<Bytes>, WireError> {
        self.start(false).await.map_err(|error| WireError::from(&error))?;
        let call = self.invocation(None);
        let outcome = self
            .run("on_request", call.sender.as_deref(), self.room.code.on_request(call.clone(), request))
            .await
            .and_then(|response| {
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
                self.report(Err(failure), "on_request", &call).await;
                Err(error)
            }
        }
    }
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
