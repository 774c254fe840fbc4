//! The upgrade: what the Worker gives a new peer ([`Upgrade`]), what `on_upgrade` sees of it ([`UpgradeRequest`]) and how
//! it refuses ([`Reject`]).

use std::{cell::OnceCell, fmt, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::OnDuplicate;
use crate::OnResume;
use crate::wire::handshake::Handshake;
use crate::{
    Error, ErrorKind, Failure, PeerId, Room,
    wire::{self, SUBPROTOCOL, TICKET_HEADER, UpgradeOptions},
};

/// What the Worker gives a new peer: its data, and where wanted an id, tags and more.
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
    /// The most tags of one peer. Cloudflare allows ten; the peer's id takes one.
    pub const MAX_TAGS: usize = 9;
    /// The longest tag, in bytes of UTF-8. Cloudflare allows 256; one marks it as a tag.
    pub const MAX_TAG_BYTES: usize = 255;

    /// An upgrade of a peer with this data, a random id and no tags.
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

    /// Gives it an id: up to [`PeerId::MAX_BYTES`], not empty. Without one it gets a UUID, version 7.
    pub fn id(mut self, id: impl Into<PeerId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Gives it a tag, by which [`Peers::tagged`](crate::Peers::tagged) selects it: up to
    /// [`MAX_TAGS`](Upgrade::MAX_TAGS) of [`MAX_TAG_BYTES`](Upgrade::MAX_TAG_BYTES) each. The same tag twice counts
    /// once. Tags stay as they are for the life of the connection.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
        self
    }

    /// Gives it several tags.
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        tags.into_iter().fold(self, Upgrade::tag)
    }

    /// Gives it something to say once: `on_upgrade` and `on_connect` read it with [`UpgradeRequest::meta`] and
    /// [`Peer::meta`](crate::Peer::meta), and it is not kept beyond that. What is `null` as JSON, like `None`, is nothing.
    pub fn meta(mut self, meta: &(impl Serialize + ?Sized)) -> Self {
        self.meta = Some(wire::encode_meta(meta).map_err(|error| error.message().to_owned()));
        self
    }

    /// What becomes of it when a peer with its id is connected already. Without this both stay.
    pub fn on_duplicate(mut self, on_duplicate: OnDuplicate) -> Self {
        self.on_duplicate = on_duplicate;
        self
    }

    /// The token of a peer that comes back, where the room has a
    /// [`reconnect_grace`](crate::Room::RECONNECT_GRACE_MS): the room told it in a frame,
    /// `{"$room": {"resume": "…"}}`, when it first connected. With it, and the same id, the peer takes its old place, with
    /// the data and the tags that it had; `on_resume` runs in place of `on_connect`. A token of no use changes nothing: the
    /// peer is a new one.
    ///
    /// Data that decides what a peer may do should not outlive the token that said so: see
    /// [`on_resume`](Upgrade::on_resume).
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.resume = Some(token.into());
        self
    }

    /// Chooses the data of a peer that resumes: the data that it had, or with [`OnResume::ReplaceData`] the data of this
    /// upgrade. Its tags stay the same.
    pub fn on_resume(mut self, on_resume: OnResume) -> Self {
        self.on_resume = on_resume;
        self
    }

    /// Answers the client's handshake with this WebSocket subprotocol, one of those that it offers in
    /// `sec-websocket-protocol`: a browser offers `bearer` and a token by `new WebSocket(url, ["bearer", token])`. A
    /// subprotocol that the client does not offer is [`ErrorKind::InvalidProtocol`].
    ///
    /// Without it, a client that offers [`room.v1`](crate::SUBPROTOCOL) is answered with that, and one that offers none
    /// with none. A client that offers only others is refused with 400 before `on_connect` runs: browsers close a
    /// connection whose handshake chooses none of the subprotocols that they offered.
    ///
    /// Only one subprotocol can be chosen: a client that offers `bearer` and `room.v1`, and is answered with `bearer`,
    /// gets one message in each frame. `on_upgrade` sees the choice, and the offer, as
    /// [`UpgradeRequest::protocol`] and [`UpgradeRequest::protocols`].
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = Some(protocol.into());
        self
    }

    pub(crate) fn into_options(self) -> Result<UpgradeOptions<C>, Error> {
        let Upgrade { data, id, tags, meta, on_duplicate, resume, on_resume, protocol } = self;
        check(id.as_ref(), &tags)?;
        let meta = meta.transpose().map_err(|message| Error::new(ErrorKind::Encode, message))?;
        let meta = meta.filter(|meta| meta.get() != "null");
        Ok(UpgradeOptions { data, id, tags, meta, on_duplicate, resume, on_resume, protocol })
    }
}

/// What the platform allows of ids and tags: checked where they are given, and once more when `on_upgrade` has had them.
pub(crate) fn check(id: Option<&PeerId>, tags: &[String]) -> Result<(), Error> {
    const MAX_TAGS: usize = Upgrade::<()>::MAX_TAGS;
    const MAX_TAG_BYTES: usize = Upgrade::<()>::MAX_TAG_BYTES;
    id.map_or(Ok(()), PeerId::check)?;
    if tags.len() > MAX_TAGS {
        let message = format!("the peer has {} tags, the limit is {MAX_TAGS}", tags.len());
        return Err(Error::new(ErrorKind::InvalidTag, message));
    }
    match tags.iter().find(|tag| tag.len() > MAX_TAG_BYTES) {
        Some(tag) => {
            let message = format!("a tag has {} bytes, the limit is {MAX_TAG_BYTES}", tag.len());
            Err(Error::new(ErrorKind::InvalidTag, message))
        }
        None => Ok(()),
    }
}

/// An upgrade that `on_upgrade` is to judge: `#[room]` adds the alias `UpgradeRequest` to the module.
///
/// Its fields are what the Worker gave; what `on_upgrade` makes of them is what the peer gets, within the limits of
/// [`Upgrade`].
pub struct UpgradeRequest<R: Room> {
    /// The peer's data.
    pub data: R::Connection,
    /// Its id; a random one, if the Worker gave none.
    pub id: PeerId,
    /// Its tags.
    pub tags: Vec<String>,
    /// What becomes of it when a peer with its id is connected already.
    pub on_duplicate: OnDuplicate,
    /// The token that the Worker gave with [`Upgrade::resume`]. With `None` the peer is a new one, also where a place is kept
    /// for it.
    pub resume: Option<String>,
    /// The data of a peer that resumes: set [`OnResume::ReplaceData`] in an `on_upgrade` that authorises, or the peer keeps
    /// the rights that an earlier token gave it.
    pub on_resume: OnResume,
    /// The WebSocket subprotocol that the client's handshake is answered with, one of
    /// [`protocols`](UpgradeRequest::protocols); see [`Upgrade::protocol`].
    pub protocol: Option<String>,
    pub(crate) protocols: Vec<String>,
    pub(crate) meta: Option<Box<RawValue>>,
    pub(crate) handshake: Rc<dyn Handshake>,
    /// Read when first asked for: most rooms do not.
    pub(crate) head: OnceCell<http::Request<()>>,
}

impl<R: Room> UpgradeRequest<R> {
    /// The URI of the client's request.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the request is not one that the `http` crate can hold.
    pub fn uri(&self) -> Result<&Uri, Error> {
        Ok(self.head()?.uri())
    }

    /// The first value of this parameter in the query of the client's request, decoded: a `+` is a space, and bytes that are not
    /// UTF-8 become U+FFFD.
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
    /// Those of [`uri`](UpgradeRequest::uri).
    pub fn query(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(super::json::query(self.uri()?, name))
    }

    /// The client's bearer token: that of the header `authorization: Bearer …` (RFC 6750), or else the subprotocol that the
    /// client offers after `bearer`. A page can set no header of a WebSocket, and gives its token as
    /// `new WebSocket(url, ["bearer", token])`; the handshake is then answered with `bearer`, unless
    /// [another protocol](UpgradeRequest::protocol) is chosen or the client offers [`room.v1`](crate::SUBPROTOCOL) as well.
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
    /// Those of [`uri`](UpgradeRequest::uri).
    pub fn bearer(&mut self) -> Result<Option<String>, Error> {
        let header = self.headers()?.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let in_header = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim();
            (scheme.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then(|| token.to_owned())
        });
        let offered = self.protocols.iter().skip_while(|name| *name != BEARER).nth(1);
        let offered = offered.filter(|name| *name != SUBPROTOCOL).cloned();
        let speaks_another = self.protocol.is_some() || self.protocols.iter().any(|name| name == SUBPROTOCOL);
        if offered.is_some() && !speaks_another {
            self.protocol = Some(BEARER.to_owned());
        }
        Ok(in_header.or(offered))
    }

    /// The headers of the client's request, as the Worker handed it on.
    ///
    /// # Errors
    /// Those of [`uri`](UpgradeRequest::uri).
    pub fn headers(&self) -> Result<&HeaderMap, Error> {
        Ok(self.head()?.headers())
    }

    /// The WebSocket subprotocols that the client offers, the one that it prefers first. A browser can set no header of a
    /// WebSocket but this one, and so some clients carry a token in it.
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// What the Worker gave with [`Upgrade::meta`]; `None` when it gave nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is not an `M`.
    pub fn meta<M: DeserializeOwned>(&self) -> Result<Option<M>, Error> {
        decode_meta(self.meta.as_deref())
    }

    fn head(&self) -> Result<&http::Request<()>, Error> {
        if let Some(head) = self.head.get() {
            return Ok(head);
        }
        let mut head = self.handshake.head()?;
        // The runtime's own: what the client sent under that name is gone, and what is there is nobody's business.
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

/// How `on_upgrade` refuses: with the response that the client gets.
///
/// Any error becomes one by `?`. The client then gets a 500 that says nothing; the error itself is logged and goes to
/// `on_error`, like that of any handler.
///
/// ```
/// # use room_runtime::Reject;
/// let refused = Reject::new(401, "who are you?").header("www-authenticate", "Bearer");
/// ```
///
/// A browser does not show the response to the page: to `new WebSocket(…)` every refusal is a close with 1006 and no reason,
/// like a network that is down, and a client that connects again by itself does so for ever. A page that has to know why asks
/// first, with a `fetch` that the Worker answers with the same 401; or the room lets the peer in and `on_connect` closes it
/// with a code of the application, `peer.close(CloseCode::new(4401)?, "who are you?")`, which arrives as it is. Programs that
/// are not browsers see status, headers and body.
pub struct Reject(Box<Rejection>);

enum Rejection {
    Response(Response<Bytes>),
    /// A rejection that cannot be made, or an error on the way to one.
    Failure(Failure),
}

impl Reject {
    /// A response with that status, 300 to 599, and that text.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        match StatusCode::from_u16(status) {
            Ok(status) => Reject::response(wire::http_codec::text(status, body)),
            Err(_) => Reject::failure(Failure::from(invalid_status(status))),
        }
    }

    /// Any response with a status of 300 to 599.
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

    /// Whether it was meant as the answer, and not an error on the way to one.
    pub(crate) fn is_answer(&self) -> bool {
        match &*self.0 {
            Rejection::Response(_) => true,
            Rejection::Failure(failure) => failure.as_refused().is_some(),
        }
    }

    pub(crate) fn into_response(self) -> Result<Response<Bytes>, Failure> {
        match *self.0 {
            Rejection::Response(response) if (300..=599).contains(&response.status().as_u16()) => Ok(response),
            Rejection::Response(response) => Err(invalid_status(response.status().as_u16()).into()),
            Rejection::Failure(failure) => Err(failure),
        }
    }
}

fn invalid_status(status: u16) -> Error {
    Error::new(ErrorKind::Encode, format!("an upgrade cannot be refused with {status}, only with 300 to 599"))
}

/// A [refusal](crate::RoomContext::refuse) is answered with 403, or with the message that it carries.
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

/// The scheme of a token in `authorization`, and the subprotocol that a token follows.
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
    fn ids_and_tags_may_be_as_long_as_the_limit_says_and_no_longer() {
        let (most, longest) = (Upgrade::<()>::MAX_TAGS, Upgrade::<()>::MAX_TAG_BYTES);
        let tags = |count: usize, bytes: usize| {
            let tags: Vec<_> = (0..count).map(|n| format!("{n:0bytes$}")).collect();
            check(None, &tags).map_err(|error| error.to_string())
        };
        assert_eq!(tags(most, longest), Ok(()));
        let error = tags(most + 1, 1).expect_err("one too many");
        assert!(error.contains(&format!("the peer has {} tags, the limit is {most}", most + 1)), "{error}");
        let error = tags(1, longest + 1).expect_err("too long");
        assert!(error.contains(&format!("a tag has {} bytes, the limit is {longest}", longest + 1)), "{error}");
        assert!(check(Some(&PeerId::from("")), &[]).is_err());
    }

    #[test]
    fn an_upgrade_is_refused_with_a_status_that_refuses() {
        let status = |status: u16| {
            let response = Reject::new(status, "no").into_response();
            response.map(|response| response.status().as_u16()).map_err(|failure| failure.to_string())
        };
        assert_eq!([status(300), status(401), status(599)], [Ok(300), Ok(401), Ok(599)]);
        for wrong in [200, 299, 600] {
            let error = status(wrong).expect_err("not a refusal");
            assert!(error.contains(&format!("cannot be refused with {wrong}, only with 300 to 599")), "{error}");
        }
        let body = Reject::new(403, "not you").into_response().expect("a refusal").into_body();
        assert_eq!(body, "not you");
    }
}
