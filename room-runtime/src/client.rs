//! [`RoomClient`]: how the Worker talks to its rooms.

use std::{fmt, future::Future, marker::PhantomData};

use futures_util::future::join;
use serde::{Serialize, de::DeserializeOwned};
use worker::{
    Env, ObjectNamespace, Request, Response,
    js_sys::futures::JsFuture,
    send::SendFuture,
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
};

use crate::{
    Delivery, Error, ErrorKind, PeerInfo, Room, RoomId, Upgrade,
    platform::cloudflare::{call_error, js, random},
    upgrade::{ERROR_HEADER, TICKET_HEADER, new_ticket},
    wire::{Command, Reply},
};

/// The rooms of one type, as the Worker sees them. `#[room]` adds it to the module with the room's own type.
pub struct RoomClient<R> {
    namespace: ObjectNamespace,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> RoomClient<R> {
    /// The client over the room's Durable Object binding.
    ///
    /// # Errors
    /// [`ErrorKind::Binding`] when the environment has no such binding; the text shows the configuration to add.
    pub fn from_env(env: &Env) -> Result<Self, Error> {
        match env.durable_object(R::BINDING) {
            Ok(namespace) => Ok(RoomClient { namespace, room: PhantomData }),
            Err(error) => Err(Error::new(ErrorKind::Binding, missing_binding(R::BINDING, R::CLASS, &error))),
        }
    }

    /// The room with that id. It need not exist: a room comes into being when it is first used.
    pub fn room(&self, id: impl Into<RoomId>) -> RoomHandle<R> {
        RoomHandle { namespace: self.namespace.clone(), id: id.into(), room: PhantomData }
    }
}

fn missing_binding(binding: &str, class: &str, error: &worker::Error) -> String {
    format!(
        "the Worker has no Durable Object binding `{binding}` ({error}); add to wrangler.toml:\n\n\
         [[durable_objects.bindings]]\nname = \"{binding}\"\nclass_name = \"{class}\"\n\n\
         [[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"{class}\"]\n"
    )
}

impl<R> Clone for RoomClient<R> {
    fn clone(&self) -> Self {
        RoomClient { namespace: self.namespace.clone(), room: PhantomData }
    }
}

impl<R: Room> fmt::Debug for RoomClient<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomClient").field("name", &R::NAME).field("binding", &R::BINDING).finish_non_exhaustive()
    }
}

/// One room, as the Worker sees it.
pub struct RoomHandle<R> {
    namespace: ObjectNamespace,
    id: RoomId,
    room: PhantomData<fn() -> R>,
}

impl<R: Room> RoomHandle<R> {
    /// Which room this is.
    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// Lets the room handle an event; [`RoomContext::sender`](crate::RoomContext::sender) is `None` for it. Returns
    /// when `on_event` has ended and what it changed is stored.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`], or the kind of the runtime's error, when `on_event` failed;
    /// [`ErrorKind::InvalidRoomId`]; [`ErrorKind::Restarted`], [`ErrorKind::Overloaded`] and [`ErrorKind::Platform`]
    /// when the call did not get through or its outcome is not known.
    pub fn send(&self, event: &R::Event) -> impl Future<Output = Result<(), Error>> + Send + use<R> {
        self.call(encode(&Command::<_, (), ()>::Send(event)))
    }

    /// The room's state; `None` for a room whose state was never changed.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the stored state is not one of this schema, and those of reaching the room.
    pub fn state(&self) -> impl Future<Output = Result<Option<R::State>, Error>> + Send + use<R> {
        self.call(encode(&Command::<(), (), ()>::State))
    }

    /// The connected peers: all, or those that carry `tag`.
    ///
    /// # Errors
    /// Those of reaching the room.
    pub fn peers(
        &self,
        tag: Option<&str>,
    ) -> impl Future<Output = Result<Vec<PeerInfo<R::Connection>>, Error>> + Send + use<R> {
        self.call(encode(&Command::<(), (), ()>::Peers { tag: tag.map(str::to_owned) }))
    }

    /// Sends every connected peer one message.
    ///
    /// # Errors
    /// Those of reaching the room. Peers that refused are no error: they are in the [`Delivery`].
    pub fn broadcast(&self, message: &R::Broadcast) -> impl Future<Output = Result<Delivery, Error>> + Send + use<R> {
        self.call(encode(&Command::<(), _, ()>::Broadcast(message)))
    }

    /// Hands a WebSocket upgrade on to the room, which gets the new peer with the data, id and tags given here. What
    /// the request itself says of them, in whatever header or body, counts for nothing.
    ///
    /// The response is the one to return from the fetch handler: 101 with the socket, or 426 when the request is no
    /// WebSocket upgrade.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRoomId`], [`ErrorKind::InvalidPeerId`], [`ErrorKind::InvalidTag`],
    /// [`ErrorKind::AttachmentTooLarge`], [`ErrorKind::Encode`]; and those of reaching the room.
    pub fn upgrade(
        &self,
        request: Request,
        upgrade: Upgrade<R::Connection>,
    ) -> impl Future<Output = Result<Response, Error>> + Send + use<R> {
        let (stub, id) = (self.stub(), self.id.clone());
        SendFuture::new(async move {
            let upgraded = async {
                let asked = request.headers().get("upgrade").ok().flatten();
                if !asked.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
                    return upgrade_required().map_err(|error| platform_error(&error));
                }
                let ticket = new_ticket(random());
                let prepare =
                    Command::<(), (), _>::Prepare { ticket: ticket.clone(), upgrade: upgrade.into_options()? };
                let (stub, prepare) = (stub?, encode(&prepare)?);
                // Together, so that the upgrade takes one round trip.
                let fetched = js::fetch(&stub, request.inner(), TICKET_HEADER, &ticket);
                let fetched = JsFuture::from(fetched.map_err(|error| call_error(&error))?);
                let (prepared, response) = join(exchange::<()>(&stub, &prepare), fetched).await;
                prepared?;
                let response: web_sys::Response = response.map_err(|error| call_error(&error))?.unchecked_into();
                let response = Response::from(response);
                match response.headers().get(ERROR_HEADER).ok().flatten() {
                    Some(kind) => Err(room_error(&kind, response).await),
                    None => Ok(response),
                }
            };
            upgraded.await.map_err(|error: Error| error.in_room(&id))
        })
    }

    fn stub(&self) -> Result<JsValue, Error> {
        self.id.check()?;
        let stub = self.namespace.get_by_name(self.id.as_str()).map_err(|error| platform_error(&error))?;
        Ok(stub.into_rpc())
    }

    /// Takes the command as text, so that the future borrows nothing.
    fn call<T: DeserializeOwned + 'static>(
        &self,
        command: Result<String, Error>,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<R, T> {
        let id = self.id.clone();
        let stub = self.stub();
        SendFuture::new(async move {
            let answered = async { exchange(&stub?, &command?).await };
            answered.await.map_err(|error: Error| error.in_room(&id))
        })
    }
}

fn encode(message: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(message)
        .map_err(|error| Error::new(ErrorKind::Encode, format!("this cannot be written as JSON: {error}")))
}

async fn exchange<T: DeserializeOwned>(stub: &JsValue, text: &str) -> Result<T, Error> {
    let promise = js::call(stub, text).map_err(|error| call_error(&error))?;
    let answer = JsFuture::from(promise).await.map_err(|error| call_error(&error))?;
    let answer = answer.as_string().unwrap_or_default();
    match serde_json::from_str(&answer) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Err(error)) => Err(error.into_error()),
        Err(error) => {
            Err(Error::new(ErrorKind::Decode, format!("the room's answer does not decode: {error}")).because(error))
        }
    }
}

fn platform_error(error: &worker::Error) -> Error {
    Error::new(ErrorKind::Platform, error.to_string())
}

fn upgrade_required() -> worker::Result<Response> {
    let mut response = Response::error("this is a WebSocket: send an upgrade request", 426)?;
    response.headers_mut().set("upgrade", "websocket")?;
    Ok(response)
}

/// The error that the room answered an upgrade with.
async fn room_error(kind: &str, mut response: Response) -> Error {
    let kind = serde_json::from_value(kind.into()).unwrap_or(ErrorKind::Platform);
    Error::new(kind, response.text().await.unwrap_or_default())
}

impl<R> Clone for RoomHandle<R> {
    fn clone(&self) -> Self {
        RoomHandle { namespace: self.namespace.clone(), id: self.id.clone(), room: PhantomData }
    }
}

impl<R: Room> fmt::Debug for RoomHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHandle").field("name", &R::NAME).field("id", &self.id).finish_non_exhaustive()
    }
}
