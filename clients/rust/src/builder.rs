//! [`Builder`] and the options of a connection.

use std::{
    fmt,
    future::{Ready, ready},
    time::Duration,
};

use crate::{
    Client, Codec, Driver, Messages,
    core::Config,
    error::BoxError,
    shared::Shared,
    transport::{Transport, UpgradeRequest},
};

/// The room's address, with what an upgrade needs beside it.
///
/// ```
/// use room_client::Endpoint;
///
/// let endpoint = Endpoint::new("wss://example.com/ws/chat/main")
///     .param("user", "ada")
///     .header("authorization", "Bearer 4f…");
/// ```
#[derive(Clone)]
pub struct Endpoint {
    url: String,
    params: Vec<(String, String)>,
    protocols: Vec<String>,
    headers: Vec<(String, String)>,
}

impl Endpoint {
    /// Creates an endpoint with this address: `wss:`, `ws:`, `https:` or `http:`.
    pub fn new(url: impl Into<String>) -> Self {
        Endpoint { url: url.into(), params: Vec::new(), protocols: Vec::new(), headers: Vec::new() }
    }

    /// Adds a parameter to the URL.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.push((name.into(), value.to_string()));
        self
    }

    /// Adds a subprotocol to offer after that of the room, for example with a token.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocols.push(name.into());
        self
    }

    /// Adds a header to the upgrade, for example with a token. Browsers have none.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Returns the upgrade that offers these subprotocols first.
    pub(crate) fn into_request(self, mut protocols: Vec<String>) -> Result<UpgradeRequest, String> {
        let Endpoint { url, params, protocols: further, headers } = self;
        protocols.extend(further);
        let Some((scheme, rest)) = url.split_once(':') else { return Err("it has no scheme".to_owned()) };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            other => return Err(format!("its scheme is `{other}:` and not `wss:`, `ws:`, `https:` or `http:`")),
        };
        // A fragment is not sent.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let mut address = format!("{scheme}:{rest}");
        if !params.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
            address.push(if rest.contains('?') { '&' } else { '?' });
            address.push_str(&query);
        }
        Ok(UpgradeRequest { url: address, protocols, headers })
    }
}

impl<T: Into<String>> From<T> for Endpoint {
    fn from(url: T) -> Self {
        Endpoint::new(url)
    }
}

/// The parameters, subprotocols and headers can have secrets, so only their number is shown.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { url, params, protocols, headers } = self;
        let mut debug = f.debug_struct("Endpoint");
        debug.field("url", url).field("params", &params.len()).field("protocols", &protocols.len());
        debug.field("headers", &headers.len()).finish()
    }
}

/// The source of the endpoint, which is asked before each attempt to connect.
///
/// An [`Endpoint`] is the same each time. An asynchronous closure can fetch a fresh token: see [`Builder::with_provider`].
///
/// ```
/// use room_client::{BoxError, Builder, Endpoint, Provide};
/// use std::future::{Ready, ready};
///
/// /// Changes between the addresses of two deployments.
/// struct Alternating {
///     urls: [&'static str; 2],
///     attempts: std::cell::Cell<usize>,
/// }
///
/// impl Provide for Alternating {
///     type Future = Ready<Result<Endpoint, BoxError>>;
///
///     fn provide(&self) -> Self::Future {
///         let attempt = self.attempts.replace(self.attempts.get() + 1);
///         ready(Ok(Endpoint::new(self.urls[attempt % 2])))
///     }
/// }
///
/// let urls = ["wss://a.example.com/ws", "wss://b.example.com/ws"];
/// let builder = Builder::with_provider(Alternating { urls, attempts: 0.into() });
/// ```
pub trait Provide {
    /// The endpoint that is being provided.
    type Future: Future<Output = Result<Endpoint, BoxError>>;

    /// Provides the endpoint for one attempt. If it fails, the attempt has failed and the next one follows.
    fn provide(&self) -> Self::Future;
}

impl Provide for Endpoint {
    type Future = Ready<Result<Endpoint, BoxError>>;

    fn provide(&self) -> Self::Future {
        ready(Ok(self.clone()))
    }
}

impl<F, O> Provide for F
where
    F: Fn() -> O,
    O: Future<Output = Result<Endpoint, BoxError>>,
{
    type Future = O;

    fn provide(&self) -> O {
        self()
    }
}

/// When and how often to connect again.
///
/// The wait is a random part of `base`, twice `base`, four times `base` and so on up to `max`. It begins anew after a
/// connection of 5 s.
///
/// ```
/// use room_client::{Builder, Reconnect};
/// use std::time::Duration;
///
/// // A command-line tool gives up after five failed attempts in a row.
/// let reconnect = Reconnect::default().max(Duration::from_secs(5)).max_attempts(5);
/// let builder = Builder::new("wss://example.com/ws/chat/main").reconnect(reconnect);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reconnect {
    pub(crate) base: Duration,
    pub(crate) max: Duration,
    pub(crate) max_attempts: Option<u32>,
}

impl Default for Reconnect {
    fn default() -> Self {
        Reconnect { base: Duration::from_secs(1), max: Duration::from_secs(30), max_attempts: None }
    }
}

impl Reconnect {
    /// Sets the longest wait before the first attempt. Default: 1 s.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the longest wait of all. Default: 30 s.
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets the number of failed attempts in a row after which the client gives up. An attempt fails if no welcome arrives.
    /// Default: no bound.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }
}

/// The bound of the events and calls that have no number yet, because there is no connection or the window is full.
///
/// Those that were sent do not count, and are never dropped.
///
/// ```
/// use room_client::{Builder, Overflow, Queue};
///
/// // While the network is gone, the newest 100 events wait, and older ones fail.
/// let queue = Queue::default().max(100).overflow(Overflow::DropOldest);
/// let builder = Builder::new("wss://example.com/ws/chat/main").queue(queue);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Queue {
    pub(crate) max: usize,
    pub(crate) overflow: Overflow,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { max: 1000, overflow: Overflow::Reject }
    }
}

impl Queue {
    /// Sets the most events that wait, and the most frames without a number that wait for the socket. Default: 1000.
    pub fn max(mut self, events: usize) -> Self {
        self.max = events;
        self
    }

    /// Sets the policy for a further event. Default: [`Overflow::Reject`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// The policy of a full [`Queue`].
///
/// ```
/// use room_client::{Builder, ErrorKind, Overflow, Queue};
/// # use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # mod chat {
/// #     use room_runtime::prelude::*;
/// #     #[derive(Default)]
/// #     pub struct State {}
/// #     pub struct Connection {}
/// #     pub enum Event { Say { text: String } }
/// #     pub enum Broadcast { Said { text: String } }
/// #     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
/// #         let Event::Say { text } = event;
/// #         if text.is_empty() {
/// #             return Err(ctx.refuse("say something"));
/// #         }
/// #         ctx.broadcast(&Broadcast::Said { text })?;
/// #         Ok(())
/// #     }
/// # }
/// # use chat::{Broadcast, Connection, Event};
/// # fn main() {
/// # let room = TestRoom::<chat::Room>::new("main");
/// let builder = Builder::default().queue(Queue::default().max(1).overflow(Overflow::DropOldest));
/// let (client, _messages, driver) = builder.connect_room(room.handle(), || Upgrade::new(Connection {}));
/// // Both are sent before there is a connection, and one has a place.
/// let first = client.send(&Event::Say { text: "one".to_owned() });
/// let second = client.send(&Event::Say { text: "two".to_owned() });
/// room.world().spawn(driver);
/// # room.world().block_on(async {
/// assert_eq!(first.await.map_err(|error| error.kind()), Err(ErrorKind::QueueDropped));
/// assert!(second.await.is_ok());
/// # })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Fails the new event with [`QueueFull`](crate::ErrorKind::QueueFull).
    #[default]
    Reject,
    /// Fails the oldest event with [`QueueDropped`](crate::ErrorKind::QueueDropped).
    DropOldest,
}

/// The options of a connection.
///
/// ```no_run
/// # async fn example() {
/// # #[derive(serde::Serialize)] struct Event;
/// # #[derive(serde::Deserialize)] struct Broadcast;
/// use std::time::Duration;
///
/// use room_client::{Builder, Reconnect};
///
/// let (room, messages) = Builder::new("wss://example.com/ws/chat/main")
///     .reconnect(Reconnect::default().max_attempts(10))
///     .connect_timeout(Duration::from_secs(5))
///     .connect::<Event, Broadcast>();
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder<P = Endpoint> {
    provider: P,
    config: Config,
    buffer: usize,
}

impl Builder {
    /// Begins with a fixed endpoint.
    pub fn new(endpoint: impl Into<Endpoint>) -> Self {
        Builder::with_provider(endpoint.into())
    }
}

/// Begins without an address, for a transport that knows its room: a `RoomTransport`, or one of your own.
impl Default for Builder {
    fn default() -> Self {
        // Such a transport ignores it.
        Builder::new("ws://room/")
    }
}

impl<P: Provide> Builder<P> {
    /// Begins with the source of the endpoint, for example an asynchronous closure that fetches a token.
    ///
    /// ```no_run
    /// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// use room_client::{Builder, Endpoint};
    ///
    /// let builder = Builder::with_provider(|| async {
    ///     let token = fetch_token().await?;
    ///     Ok(Endpoint::new("wss://example.com/ws/chat/main").header("authorization", format!("Bearer {token}")))
    /// });
    /// ```
    pub fn with_provider(provider: P) -> Self {
        let config = Config {
            codec: Codec::default(),
            queue: Queue::default(),
            reconnect: Reconnect::default(),
            connect_timeout: Duration::from_secs(10),
        };
        Builder { provider, config, buffer: 1000 }
    }

    /// Sets the codec. Default: [`Codec::Json`].
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = codec;
        self
    }

    /// Sets when and how often to connect again.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.config.reconnect = reconnect;
        self
    }

    /// Sets the bound of the events that wait.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.config.queue = queue;
        self
    }

    /// Sets the time for one attempt to open a socket, with that of the provider. The room's welcome has 30 s more.
    /// Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets the most items that wait in [`Messages`]. Beyond that the oldest are skipped, and
    /// [`Incoming::Lagged`](crate::Incoming::Lagged) has their number. Default: 1000.
    pub fn buffer(mut self, items: usize) -> Self {
        self.buffer = items;
        self
    }

    /// Connects, in a task of tokio: to a room with the events `E` and the broadcasts `B`.
    ///
    /// It does not wait for the connection: see [`Client::wait_for_open`].
    ///
    /// # Panics
    /// Panics outside a runtime of tokio with its I/O and its time enabled.
    #[cfg(feature = "native")]
    pub fn connect<E, B>(self) -> (Client<E>, Messages<B>)
    where
        P: Send + 'static,
        P::Future: Send + 'static,
    {
        let (client, messages, driver) = self.connect_with(crate::NativeTransport::new());
        tokio::spawn(driver);
        (client, messages)
    }

    /// Connects through another transport. The program has to run the driver, in a task of its own.
    pub fn connect_with<E, B, T: Transport>(self, transport: T) -> (Client<E>, Messages<B>, Driver<T, P>) {
        let Builder { provider, config, buffer } = self;
        let shared = Shared::new(config, buffer, transport.now(), transport.seed());
        let driver = Driver::new(shared.clone(), transport, provider);
        (Client::new(shared.clone()), Messages::new(shared), driver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_parameters_and_the_scheme_of_websockets() {
        let address = |endpoint: Endpoint| endpoint.into_request(Vec::new()).map(|request| request.url);
        assert_eq!(address("https://a.b/c#d".into()).as_deref(), Ok("wss://a.b/c"));
        assert_eq!(address("HTTP://a.b".into()).as_deref(), Ok("ws://a.b"));
        let endpoint = Endpoint::new("ws://a.b/c").param("user", "Ada & co").param("n", 1);
        assert_eq!(address(endpoint).as_deref(), Ok("ws://a.b/c?user=Ada+%26+co&n=1"));
        let endpoint = Endpoint::new("ws://a.b/c?d=e#f").param("g", true);
        assert_eq!(address(endpoint).as_deref(), Ok("ws://a.b/c?d=e&g=true"));
        assert!(address("ftp://a.b".into()).is_err());
        assert!(address("a.b".into()).is_err());
    }

    #[test]
    fn what_can_be_secret_is_not_shown() {
        let endpoint = Endpoint::new("ws://a").param("t", "secret").protocol("secret").header("a", "secret");
        assert!(!format!("{endpoint:?}").contains("secret"));
    }
}
