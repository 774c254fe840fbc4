//! The upgrade: [`Upgrade`] from the Worker, [`UpgradeRequest`] for `on_upgrade`, and its refusal, [`Reject`].

use std::{cell::OnceCell, fmt, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    Error, ErrorKind, Failure, OnDuplicate, OnResume, PeerId, Room,
    engine::upgrade::{Rejection, invalid_status},
    types::upgrade::{MAX_TAG_BYTES, MAX_TAGS, check_upgrade},
    wire::{self, TICKET_HEADER, UpgradeOptions, handshake::Handshake, is_v1},
};

/// The new peer of an upgrade, given by the Worker: its data, and optionally an id, tags and more.
///
/// ```
/// # use room_runtime::{OnDuplicate, Upgrade};
/// # struct Connection { user_id: String }
/// let upgrade = Upgrade::new(Connection { user_id: "alice".into() })
///     .id("alice")
///     .tag("admin")
///     .meta(&["fr", "en"])
///     .on_duplicate(OnDuplicate::Replace);
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `RoomHandle::upgrade`"]
pub struct Upgrade<C> {
    data: C,
    id: Option<PeerId>,
    tags: Vec<String>,
    meta: Option<Result<Box<RawValue>, String>>,
    on_duplicate: OnDuplicate,
    resume: Option<String>,
    on_resume: OnResume,
    protocol: Option<String>,
}

impl<C> Upgrade<C> {
    /// The largest number of tags of one peer. Cloudflare allows ten; the peer's id takes one.
    pub const MAX_TAGS: usize = MAX_TAGS;
    /// The largest tag, in bytes of UTF-8. Cloudflare allows 256; a mark that distinguishes tags from ids takes one.
    pub const MAX_TAG_BYTES: usize = MAX_TAG_BYTES;

    /// Creates an upgrade of a peer with this data, a random id and no tags.
    pub fn new(data: C) -> Self {
        Upgrade {
            data,
            id: None,
            tags: Vec::new(),
            meta: None,
            on_duplicate: OnDuplicate::Allow,
            resume: None,
            on_resume: OnResume::KeepData,
            protocol: None,
        }
    }

    /// Sets the peer's id, of 1 to [`PeerId::MAX_BYTES`] bytes. The default is a UUID of version 7.
    pub fn id(mut self, id: impl Into<PeerId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds a tag, with which [`Peers::tagged`](crate::Peers::tagged) selects the peer.
    ///
    /// A peer has at most [`MAX_TAGS`](Upgrade::MAX_TAGS) tags of at most [`MAX_TAG_BYTES`](Upgrade::MAX_TAG_BYTES)
    /// bytes each. A repeated tag counts once. The tags stay the same for the life of the connection.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
        self
    }

    /// Adds several tags.
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        tags.into_iter().fold(self, Upgrade::tag)
    }

    /// Sets a value that `on_upgrade` and `on_connect` can read once.
    ///
    /// They read it with [`UpgradeRequest::meta`] and [`Peer::meta`](crate::Peer::meta); the room does not store it. A
    /// value that is `null` as JSON, such as `None`, counts as no value.
    pub fn meta(mut self, meta: &(impl Serialize + ?Sized)) -> Self {
        self.meta = Some(wire::encode_meta(meta).map_err(|error| error.message().to_owned()));
        self
    }

    /// Chooses the reaction if a peer with the same id is connected already. By default both connections stay.
    pub fn on_duplicate(mut self, on_duplicate: OnDuplicate) -> Self {
        self.on_duplicate = on_duplicate;
        self
    }

    /// Sets the resume token of a peer that reconnects.
    ///
    /// A room with a [`reconnect_grace`](crate::Room::RECONNECT_GRACE_MS) sends the token in the first frame of a
    /// connection, `{"$room": {"resume": "…"}}`. With the token and the same id, the peer takes its place again, with
    /// its data and its tags, and `on_resume` runs in place of `on_connect`. A token that names no such place has no
    /// effect: the peer is new.
    ///
    /// Data that grants rights should not outlive the login that granted them: see [`on_resume`](Upgrade::on_resume).
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.resume = Some(token.into());
        self
    }

    /// Chooses the data of a peer that resumes.
    ///
    /// By default the peer keeps its data; with [`OnResume::ReplaceData`] it gets the data of this upgrade. Its tags
    /// stay the same.
    pub fn on_resume(mut self, on_resume: OnResume) -> Self {
        self.on_resume = on_resume;
        self
    }

    /// Chooses the WebSocket subprotocol of the handshake, one of those that the client offers.
    ///
    /// The client offers subprotocols in `sec-websocket-protocol`: a browser offers `bearer` and a token with
    /// `new WebSocket(url, ["bearer", token])`. A subprotocol that the client does not offer is
    /// [`ErrorKind::InvalidProtocol`].
    ///
    /// By default, the room chooses [`room.v1`](crate::SUBPROTOCOL) if the client offers it, and none if the client
    /// offers none. A client that offers only others is refused with 400 before `on_connect` runs, because browsers
    /// close a connection whose handshake chooses none of the subprotocols that they offered.
    ///
    /// Only one subprotocol can be chosen. A client that offers `bearer` and `room.v1`, and gets `bearer`, gets one
    /// message in each frame. `on_upgrade` can read the choice as [`UpgradeRequest::protocol`] and the offer as
    /// [`UpgradeRequest::protocols`].
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    pub(crate) fn into_options(self) -> Result<UpgradeOptions<C>, Error> {
        let Upgrade { data, id, tags, meta, on_duplicate, resume, on_resume, protocol } = self;
        check_upgrade(id.as_ref(), &tags)?;
        let meta = meta.transpose().map_err(|message| Error::new(ErrorKind::Encode, message))?;
        let meta = meta.filter(|meta| meta.get() != "null");
        Ok(UpgradeOptions { data, id, tags, meta, on_duplicate, resume, on_resume, protocol })
    }
}

/// An upgrade that `on_upgrade` accepts or refuses. `#[room]` adds the alias `UpgradeRequest` to the module.
///
/// The fields have the Worker's values. `on_upgrade` can change them for the peer, within the limits of [`Upgrade`].
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub is_admin: bool }
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
///         let token = upgrade.bearer()?.ok_or_else(|| Reject::new(401, "sign in"))?;
///         // A real room checks a signature here.
///         let user = token.strip_prefix("user:").ok_or_else(|| Reject::new(403, "not you"))?;
///         upgrade.id = user.into();
///         upgrade.data = Connection { is_admin: user == "ada" };
///         upgrade.on_resume = OnResume::ReplaceData;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let upgrade = || Upgrade::new(chat::Connection { is_admin: false });
/// assert_eq!(room.try_connect(upgrade()).err().and_then(|refusal| refusal.status()), Some(401));
///
/// let request = http::Request::get("https://example.com/")
///     .header("authorization", "Bearer user:ada")
///     .body(())?;
/// let ada = room.try_connect_with(request, upgrade())?;
/// assert_eq!(ada.id(), &"ada");
/// assert!(room.peers(None)?[0].data.is_admin);
/// # Ok(())
/// # }
/// ```
pub struct UpgradeRequest<R: Room> {
    /// The peer's data.
    pub data: R::Connection,
    /// The peer's id; a random one if the Worker gave none.
    pub id: PeerId,
    /// The peer's tags.
    pub tags: Vec<String>,
    /// The reaction if a peer with the same id is connected already.
    pub on_duplicate: OnDuplicate,
    /// The resume token that the Worker gave with [`Upgrade::resume`].
    ///
    /// With `None` the peer is new, also if a place is kept for it.
    pub resume: Option<String>,
    /// The choice of the data of a peer that resumes.
    ///
    /// Set [`OnResume::ReplaceData`] in an `on_upgrade` that authorizes: otherwise the peer keeps the rights of an
    /// earlier token.
    pub on_resume: OnResume,
    /// The chosen WebSocket subprotocol, one of [`protocols`](UpgradeRequest::protocols); see [`Upgrade::protocol`].
    pub protocol: Option<String>,
    pub(crate) protocols: Vec<String>,
    pub(crate) meta: Option<Box<RawValue>>,
    pub(crate) handshake: Rc<dyn Handshake>,
    /// The request is parsed at the first use, because most rooms do not use it.
    pub(crate) head: OnceCell<http::Request<()>>,
}

impl<R: Room> UpgradeRequest<R> {
    /// The URI of the client's request.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the `http` crate cannot represent the request.
    pub fn uri(&self) -> Result<&Uri, Error> {
        Ok(self.head()?.uri())
    }

    /// Returns the first value of a query parameter of the client's request.
    ///
    /// The value is decoded: a `+` becomes a space, and bytes that are not UTF-8 become U+FFFD.
    ///
    /// ```
    /// # use room_runtime::{Reject, Room, UpgradeRequest};
    /// # fn example<R: Room>(upgrade: &UpgradeRequest<R>) -> Result<(), Reject> {
    /// let token = upgrade.query("token")?.ok_or_else(|| Reject::new(401, "who are you?"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`uri`](UpgradeRequest::uri).
    pub fn query(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(super::json::query(self.uri()?, name))
    }

    /// Returns the client's bearer token, from the `authorization` header or from the offered subprotocols.
    ///
    /// The header is `authorization: Bearer …` (RFC 6750). Without it, the token is the subprotocol that the client
    /// offers after `bearer`: a page cannot set headers of a WebSocket, so it sends its token with
    /// `new WebSocket(url, ["bearer", token])`. The handshake is then answered with `bearer`, unless [another
    /// protocol](UpgradeRequest::protocol) is chosen or the client also offers [`room.v1`](crate::SUBPROTOCOL).
    ///
    /// ```
    /// # use room_runtime::{Reject, Room, UpgradeRequest};
    /// # fn example<R: Room>(upgrade: &mut UpgradeRequest<R>) -> Result<(), Reject> {
    /// let unauthorized = || Reject::new(401, "sign in").header("www-authenticate", "Bearer");
    /// let token = upgrade.bearer()?.ok_or_else(unauthorized)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`uri`](UpgradeRequest::uri).
    pub fn bearer(&mut self) -> Result<Option<String>, Error> {
        let header = self.headers()?.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let in_header = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim();
            (scheme.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then(|| token.to_owned())
        });
        let offered = self.protocols.iter().skip_while(|name| *name != BEARER).nth(1);
        let offered = offered.filter(|name| !is_v1(Some(name))).cloned();
        let speaks_another = self.protocol.is_some() || self.protocols.iter().any(|name| is_v1(Some(name)));
        if offered.is_some() && !speaks_another {
            self.protocol = Some(BEARER.to_owned());
        }
        Ok(in_header.or(offered))
    }

    /// The headers of the client's request, as the Worker forwarded it.
    ///
    /// # Errors
    /// The errors of [`uri`](UpgradeRequest::uri).
    pub fn headers(&self) -> Result<&HeaderMap, Error> {
        Ok(self.head()?.headers())
    }

    /// The WebSocket subprotocols that the client offers, in its order of preference.
    ///
    /// A browser can set no other header of a WebSocket, so some clients send a token in this one.
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// Returns the value that the Worker gave with [`Upgrade::meta`]; `None` if it gave none.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the value is not an `M`.
    pub fn meta<M: DeserializeOwned>(&self) -> Result<Option<M>, Error> {
        decode_meta(self.meta.as_deref())
    }

    fn head(&self) -> Result<&http::Request<()>, Error> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        let mut head = self.handshake.head()?;
        // The ticket is a secret of the runtime. A header of that name from the client was replaced by the ticket.
        head.headers_mut().remove(TICKET_HEADER);
        Ok(self.head.get_or_init(|| head))
    }
}

impl<R: Room> fmt::Debug for UpgradeRequest<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("id", &self.id)
            .field("tags", &self.tags)
            .field("on_duplicate", &self.on_duplicate)
            .field("resume", &self.resume.as_ref().map(|_| "…"))
            .field("on_resume", &self.on_resume)
            .field("protocol", &self.protocol)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

pub(crate) fn decode_meta<M: DeserializeOwned>(meta: Option<&RawValue>) -> Result<Option<M>, Error> {
    let decoded = meta.map(|meta| serde_json::from_str(meta.get())).transpose();
    decoded.map_err(|error| {
        Error::new(ErrorKind::Decode, format!("the peer's meta does not decode: {error}")).because(error)
    })
}

/// A refusal of an upgrade: the response that the client gets.
///
/// The `?` operator converts any error into a `Reject`. The client then gets a 500 without details; the error itself is
/// logged and goes to `on_error`, as in any handler.
///
/// ```
/// # use room_runtime::Reject;
/// let refused = Reject::new(401, "who are you?").header("www-authenticate", "Bearer");
/// ```
///
/// A browser does not show the response to the page. For `new WebSocket(…)` every refusal is a close with 1006 and no
/// reason, like a failure of the network, so a client that reconnects automatically never stops. There are two ways to
/// give a page the reason:
///
/// - The page first sends a `fetch`, which the Worker answers with the same 401.
/// - The room accepts the peer, and `on_connect` closes it with a code of the application,
///   `peer.close(CloseCode::new(4401)?, "who are you?")`. The page gets that code and reason.
///
/// Clients that are not browsers get the status, the headers and the body.
pub struct Reject(Box<Rejection>);

impl Reject {
    /// Creates a response with this status, from 300 to 599, and this text.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        match StatusCode::from_u16(status) {
            Ok(status) => Reject::response(wire::http_codec::text(status, body)),
            Err(_) => Reject::failure(Failure::from(invalid_status(status))),
        }
    }

    /// Creates a refusal from any response with a status from 300 to 599.
    pub fn response(response: Response<Bytes>) -> Self {
        Reject(Box::new(Rejection::Response(response)))
    }

    /// Adds a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut response = match *self.0 {
            Rejection::Response(response) => response,
            Rejection::Failure(failure) => match failure.as_refused() {
                Some(refused) => refused.response(),
                None => return Reject::failure(failure),
            },
        };
        let header = (name.parse::<http::HeaderName>(), value.parse::<http::HeaderValue>());
        let (Ok(name), Ok(value)) = header else {
            let message = format!("`{name}: {value}` is not a header");
            return Reject::failure(Error::new(ErrorKind::Encode, message).into());
        };
        response.headers_mut().append(name, value);
        Reject::response(response)
    }

    pub(crate) fn failure(failure: Failure) -> Self {
        Reject(Box::new(Rejection::Failure(failure)))
    }

    pub(crate) fn into_rejection(self) -> Rejection {
        *self.0
    }
}

/// Converts a [refusal](crate::RoomContext::refuse) into a response with 403, or with the message that it carries.
impl From<Failure> for Reject {
    fn from(failure: Failure) -> Self {
        Reject::failure(failure)
    }
}

impl<E: std::error::Error + 'static> From<E> for Reject {
    fn from(error: E) -> Self {
        Reject::failure(Failure::from(error))
    }
}

impl fmt::Debug for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Rejection::Response(response) => f.debug_tuple("Reject").field(response).finish(),
            Rejection::Failure(failure) => f.debug_tuple("Reject").field(failure).finish(),
        }
    }
}

/// The scheme of a token in `authorization`, and the subprotocol before a token.
const BEARER: &str = "bearer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_given_twice_is_one() {
        let upgrade = Upgrade::new(()).tag("a").tags(["b", "a", "b"]);
        assert_eq!(upgrade.into_options().expect("valid").tags, ["a", "b"]);
    }

    #[test]
    fn an_upgrade_is_refused_with_a_status_that_refuses() {
        let status = |status: u16| {
            let response = Reject::new(status, "no").into_rejection().into_response();
            response.map(|response| response.status().as_u16()).map_err(|failure| failure.to_string())
        };
        assert_eq!([status(300), status(401), status(599)], [Ok(300), Ok(401), Ok(599)]);
        for wrong in [200, 299, 600] {
            let error = status(wrong).expect_err("not a refusal");
            assert!(error.contains(&format!("cannot be refused with {wrong}, only with 300 to 599")), "{error}");
        }
        let body = Reject::new(403, "not you").into_rejection().into_response().expect("a refusal").into_body();
        assert_eq!(body, "not you");
    }
}
