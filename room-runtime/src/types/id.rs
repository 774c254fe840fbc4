//! The names of rooms and peers.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $what:literal, max = $max:expr, $(#[$max_doc:meta])*) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            $(#[$max_doc])*
            pub const MAX_BYTES: usize = $max;

            /// Returns the name as a string.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Checks the name at its first use and not in the constructor, so that `room("r1")` needs no `?`.
            pub(crate) fn check(&self) -> Result<(), Error> {
                match self.0.len() {
                    0 => Err(Error::new(ErrorKind::$kind, concat!($what, " is empty"))),
                    n if n > Self::MAX_BYTES => Err(Error::new(
                        ErrorKind::$kind,
                        format!(concat!($what, " has {} bytes, the limit is {}"), n, Self::MAX_BYTES),
                    )),
                    _ => Ok(()),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                $name(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                $name(name.into())
            }
        }

        impl From<&String> for $name {
            fn from(name: &String) -> Self {
                $name(name.as_str().into())
            }
        }

        impl From<&$name> for $name {
            fn from(name: &$name) -> Self {
                name.clone()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map($name::from)
            }
        }
    };
}

name_type! {
    /// The id of a room: `"r1"`. Rooms of one type with different ids share nothing.
    ///
    /// ```
    /// use room_runtime::{prelude::*, testing::TestRoom};
    /// # #[room]
    /// # pub mod chat {
    ///     # use room_runtime::prelude::*;
    ///     # #[derive(Default)]
    ///     # pub struct State {}
    ///     # pub struct Connection {}
    ///     # pub enum Event { Say { text: String } }
    ///     # pub struct Broadcast {}
    /// # }
    ///
    /// # fn main() {
    /// let id = RoomId::from("team/7");
    /// assert_eq!(id, "team/7");
    /// // Any text is an id. Its length is checked at its first use.
    /// let room = TestRoom::<chat::Room>::new(RoomId::from(""));
    /// let error = room.send(&chat::Event::Say { text: "hi".into() }).expect_err("no id");
    /// assert_eq!(error.kind(), ErrorKind::InvalidRoomId);
    /// # }
    /// ```
    RoomId, InvalidRoomId, "a room id", max = 1024,
    /// The largest room id, in bytes of UTF-8. For a longer id, Cloudflare does not give the object its own name
    /// (`DurableObjectId.name`).
}

name_type! {
    /// The id of a peer. Several sockets can share one id.
    ///
    /// The Worker chooses it at the upgrade ([`Upgrade::id`](crate::Upgrade::id)); by default it is random.
    ///
    /// ```
    /// use room_runtime::{prelude::*, testing::TestRoom};
    ///
    /// #[room]
    /// pub mod game {
    ///     # use room_runtime::prelude::*;
    ///     # #[derive(Default)]
    ///     # pub struct State { pub points: std::collections::BTreeMap<PeerId, u32> }
    ///     # pub struct Connection {}
    ///     # pub enum Event { Hit {} }
    ///     # pub struct Broadcast {}
    ///     // The room's schemas are here.
    ///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
    ///         if let Some(peer) = ctx.sender() {
    ///             // The state can have ids as keys.
    ///             ctx.update(|state| *state.points.entry(peer.id().clone()).or_default() += 1)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let room = TestRoom::<game::Room>::new("main");
    /// room.connect(Upgrade::new(game::Connection {}).id("ada")).send(&game::Event::Hit {});
    /// assert_eq!(room.state()?.expect("a state").points["ada"], 1);
    /// # Ok(())
    /// # }
    /// ```
    PeerId, InvalidPeerId, "a peer id", max = 255,
    /// The largest peer id, in bytes of UTF-8. Cloudflare allows 256 bytes for a tag; the id is stored as a tag with a
    /// mark of one byte.
}
