//! The connection from a client to its rooms: the platform's RPC, or, natively, a test's world.

use std::{fmt, future::Future, pin::Pin};

use super::{cloudflare::namespace::Namespace, socket::ClientSocket};
use crate::{Error, RoomId};

/// A future that a Worker can hold across an await in any framework, because it is `Send`.
pub(crate) type Sending<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// The address of a room's object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) id: RoomId,
    pub(crate) jurisdiction: Option<Jurisdiction>,
    pub(crate) location_hint: Option<LocationHint>,
}

/// The reason why no room of a type can be reached.
#[derive(Debug)]
pub(crate) enum Unreachable {
    /// The environment has no such binding, for this reason.
    NotBound(String),
    /// The Worker's compatibility date is before 2024-04-03, so its stubs have no methods.
    WithoutRpc,
}

/// The transport of a client. It is an enum, not a trait object, so that a Worker contains only the code that it calls.
#[derive(Clone)]
pub(crate) enum Transport {
    Cloudflare(Namespace),
    #[cfg(not(target_arch = "wasm32"))]
    Memory(std::sync::Arc<dyn super::memory::NativeTransport>),
}

impl Transport {
    /// The same transport for a handle to another room.
    pub(crate) fn for_room(&self) -> Self {
        match self {
            Transport::Cloudflare(namespace) => Transport::Cloudflare(namespace.for_room()),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => Transport::Memory(link.clone()),
        }
    }

    /// Sends one command and returns the room's answer.
    pub(crate) fn call(&self, to: &Address, command: &str) -> Sending<String> {
        match self {
            Transport::Cloudflare(namespace) => namespace.call(to, command),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => link.call(to, command),
        }
    }

    pub(crate) fn sleep(&self, ms: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self {
            Transport::Cloudflare(_) => Namespace::sleep(ms),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => link.sleep(ms),
        }
    }

    /// Opens a socket with the prepared half of an upgrade, which a ticket finds.
    pub(crate) fn connect(
        &self,
        to: &Address,
        ticket: String,
        prepare: Result<String, Error>,
        offered: String,
    ) -> Sending<ClientSocket> {
        match self {
            Transport::Cloudflare(namespace) => namespace.connect(to, ticket, prepare, offered),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => link.connect(to, ticket, prepare, offered),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        match self {
            Transport::Cloudflare(_) => crate::platform::cloudflare::now_ms(),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => link.now_ms(),
        }
    }

    /// Returns 128 unguessable bits. Natively they are derived from the test's seed.
    pub(crate) fn random(&self) -> [u8; 16] {
        match self {
            Transport::Cloudflare(_) => crate::platform::cloudflare::random(),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => link.random(),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Cloudflare(_) => "Cloudflare",
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(_) => "Memory",
        })
    }
}

/// The region in which Cloudflare should create an object. It is a hint, and has no effect on an existing object.
///
/// ```no_run
/// use room_runtime::{LocationHint, Room, RoomClient, RoomHandle};
///
/// // In a Worker: the room of a town's match begins near its players.
/// fn room<R: Room>(rooms: &RoomClient<R>, town: &str) -> RoomHandle<R> {
///     let hint = if town == "lagos" { LocationHint::Afr } else { LocationHint::Weur };
///     rooms.room(town).location_hint(hint)
/// }
/// # assert_eq!(LocationHint::Weur.as_str(), "weur");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocationHint {
    /// Africa.
    Afr,
    /// Asia-Pacific.
    Apac,
    /// Eastern Europe.
    Eeur,
    /// Eastern North America.
    Enam,
    /// The Middle East.
    Me,
    /// Oceania.
    Oc,
    /// South America.
    Sam,
    /// Western Europe.
    Weur,
    /// Western North America.
    Wnam,
}

impl LocationHint {
    /// The hint of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        use LocationHint::*;
        [Afr, Apac, Eeur, Enam, Me, Oc, Sam, Weur, Wnam].into_iter().find(|hint| hint.as_str() == name)
    }

    /// Returns the hint's name, for example `weur`.
    pub const fn as_str(self) -> &'static str {
        match self {
            LocationHint::Afr => "afr",
            LocationHint::Apac => "apac",
            LocationHint::Eeur => "eeur",
            LocationHint::Enam => "enam",
            LocationHint::Me => "me",
            LocationHint::Oc => "oc",
            LocationHint::Sam => "sam",
            LocationHint::Weur => "weur",
            LocationHint::Wnam => "wnam",
        }
    }
}

/// The jurisdiction in which an object runs and stores its data.
///
/// Rooms with the same id in different jurisdictions are different rooms.
///
/// ```no_run
/// use room_runtime::{Error, Jurisdiction, Room, RoomClient};
/// use worker::Env;
///
/// /// The rooms whose data stays in the European Union.
/// fn rooms<R: Room>(env: &Env) -> Result<RoomClient<R>, Error> {
///     Ok(RoomClient::from_env(env)?.jurisdiction(Jurisdiction::Eu))
/// }
/// # assert_eq!(Jurisdiction::Eu.as_str(), "eu");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jurisdiction {
    /// The European Union.
    Eu,
    /// FedRAMP-compliant data centres.
    FedRamp,
}

impl Jurisdiction {
    /// Returns the jurisdiction's name, for example `eu`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Jurisdiction::Eu => "eu",
            Jurisdiction::FedRamp => "fedramp",
        }
    }
}
