//! How a client reaches its rooms: over the platform's RPC, or, natively, through a test's world.

use std::{fmt, future::Future, pin::Pin};

use super::cloudflare::namespace::Namespace;
use crate::{Error, RoomId};

/// A future that a Worker may hold across an await, whatever framework it uses.
pub(crate) type Sending<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) id: RoomId,
    pub(crate) jurisdiction: Option<Jurisdiction>,
    pub(crate) location_hint: Option<LocationHint>,
}

/// Why no room of a type can be reached.
#[derive(Debug)]
pub(crate) enum Unreachable {
    /// The environment has no such binding, for this reason.
    NotBound(String),
    /// The Worker's compatibility date is before 2024-04-03: its stubs have no methods.
    WithoutRpc,
}

/// An enum and not a trait object, so that a Worker contains what it calls and nothing else.
#[derive(Clone)]
pub(crate) enum Transport {
    Cloudflare(Namespace),
    #[cfg(not(target_arch = "wasm32"))]
    Memory(std::sync::Arc<dyn super::memory::NativeTransport>),
}

impl Transport {
    /// The same for another room.
    pub(crate) fn for_room(&self) -> Self {
        match self {
            Transport::Cloudflare(namespace) => Transport::Cloudflare(namespace.for_room()),
            #[cfg(not(target_arch = "wasm32"))]
            Transport::Memory(link) => Transport::Memory(link.clone()),
        }
    }

    /// One command, and the room's answer.
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

    /// 128 bits that no one can guess; natively, that the test's seed decides.
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

/// Where an object should live, if it does not live yet: a hint, which Cloudflare follows where it can.
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
    /// The hint's name, for example `weur`.
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

/// Where an object must stay, with all that it stores. Rooms of one id in different jurisdictions are different rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jurisdiction {
    /// The European Union.
    Eu,
    /// FedRAMP-compliant data centres.
    FedRamp,
}

impl Jurisdiction {
    /// The jurisdiction's name, for example `eu`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Jurisdiction::Eu => "eu",
            Jurisdiction::FedRamp => "fedramp",
        }
    }
}
