//! [`Codec`] and [`Codecs`]: the encoding of a room's events and messages.

/// The encoding of events and messages on a connection.
///
/// A room speaks the codecs of [`Room::CODECS`](crate::Room::CODECS). A client chooses one by the
/// [subprotocol](Codec::protocol) that it offers, and otherwise gets the first.
///
/// ```
/// use room_runtime::{Codec, Room as _, prelude::*, testing::TestRoom};
///
/// #[room(codec = "json, msgpack")]
/// pub mod game {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { Tick { at: u32 } }
///     // The room's schemas are here.
///     pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
///         peer.send(&Broadcast::Tick { at: 1 })?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<game::Room>::new("main");
/// let request = http::Request::get("https://example.com/")
///     .header("sec-websocket-protocol", Codec::MessagePack.protocol())
///     .body(())?;
/// let ada = room.try_connect_with(request, Upgrade::new(game::Connection {}))?;
/// assert_eq!(ada.protocol().as_deref(), Some("room.msgpack"));
/// assert_eq!(ada.receive(), Some(game::Broadcast::Tick { at: 1 }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// JSON, in text frames.
    Json,
    /// [MessagePack](https://msgpack.org), in binary frames.
    ///
    /// The values have the same structure as in JSON. A `Vec<u8>` is one `bin`, and a map with integers as keys has
    /// integers as keys. An event may have such keys also as text, because an object of JavaScript has no others, and a
    /// whole number also as a float. Extension types are not used.
    MessagePack,
}

/// The codecs of a room. Clients that choose none speak the first.
///
/// ```
/// use room_runtime::{Codec, Codecs, Room as _, prelude::*};
///
/// #[room(codec = "msgpack")]
/// pub mod game {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The schemas and handlers of the room are here.
/// }
///
/// # fn main() {
/// assert_eq!(game::Room::CODECS, Codecs::MESSAGE_PACK);
/// assert_eq!(game::Room::CODECS.all(), [Codec::MessagePack]);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codecs(&'static [Codec]);

impl Codecs {
    /// Only JSON.
    pub const JSON: Codecs = Codecs(&[Codec::Json]);
    /// Only MessagePack.
    pub const MESSAGE_PACK: Codecs = Codecs(&[Codec::MessagePack]);
    /// JSON, and MessagePack for clients that choose it.
    pub const JSON_AND_MESSAGE_PACK: Codecs = Codecs(&[Codec::Json, Codec::MessagePack]);
    /// MessagePack, and JSON for clients that choose it.
    pub const MESSAGE_PACK_AND_JSON: Codecs = Codecs(&[Codec::MessagePack, Codec::Json]);

    /// Returns the codecs, the first of which is the default.
    pub const fn all(self) -> &'static [Codec] {
        self.0
    }
}

impl Codec {
    /// Returns the subprotocol by which a client chooses the codec: `room.json` or `room.msgpack`.
    pub const fn protocol(self) -> &'static str {
        match self {
            Codec::Json => "room.json",
            Codec::MessagePack => "room.msgpack",
        }
    }

    /// Returns whether a list of codecs has MessagePack.
    pub(crate) const fn has_message_pack(codecs: &[Codec]) -> bool {
        match codecs {
            [Codec::MessagePack, ..] => true,
            [_, others @ ..] => Codec::has_message_pack(others),
            [] => false,
        }
    }

    /// Returns whether the first codec of a list is MessagePack.
    pub(crate) const fn begins_with_message_pack(codecs: &[Codec]) -> bool {
        matches!(codecs, [Codec::MessagePack, ..])
    }
}
