//! The end of a connection: [`Close`] and [`CloseCode`].

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// The end of a connection: its code, its reason and how it happened.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub enum Broadcast { Left { user: PeerId, was_lost: bool } }
///     // The room's schemas are here.
///     pub fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
///         let was_lost = close.is_lost() || close.code == 1006;
///         ctx.broadcast(&Broadcast::Left { user: peer.id().clone(), was_lost })?;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection {}).id("ada"));
/// let bob = room.connect(Upgrade::new(chat::Connection {}).id("bob"));
/// bob.disconnect();
/// assert_eq!(ada.receive(), Some(chat::Broadcast::Left { user: "bob".into(), was_lost: true }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Close {
    /// The close code as it arrived.
    ///
    /// It can be a code that cannot be sent: 1005 if the close had no code, and 1006 if the connection was lost without
    /// a close frame, or if the peer was silent for the [`PEER_TIMEOUT_MS`](crate::Room::PEER_TIMEOUT_MS).
    pub code: u16,
    /// The reason, often empty.
    pub reason: String,
    /// True if the close handshake was completed.
    pub was_clean: bool,
    #[serde(default)]
    lost: bool,
}

impl Close {
    /// A connection that ended together with the object's process, in a restart or a deploy.
    ///
    /// The room notices it when it is next loaded into memory.
    pub const LOST: Close = Close { code: 1006, reason: String::new(), was_clean: false, lost: true };

    pub(crate) fn new(code: u16, reason: impl Into<String>, was_clean: bool) -> Self {
        Close { code, reason: reason.into(), was_clean, lost: false }
    }

    /// Returns whether this is [`Close::LOST`].
    ///
    /// A connection whose end the platform saw is not, also if it ended without a close frame: that is a plain 1006.
    pub fn is_lost(&self) -> bool {
        self.lost
    }
}

/// A close code that can be sent: 1000 to 4999 without 1004, 1005, 1006 and 1015.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub is_banned: bool }
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     pub fn on_connect(_ctx: &Ctx, peer: &Peer) -> Result {
///         if peer.data().is_banned {
///             // 4000 to 4999 are for applications. A page sees the code and the reason.
///             peer.close(CloseCode::new(4403)?, "you are banned")?;
///         }
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let eve = room.connect(Upgrade::new(chat::Connection { is_banned: true }));
/// assert_eq!(eve.closed(), Some((4403, "you are banned".into())));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection has fulfilled its purpose.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the endpoint goes away.
    pub const AWAY: CloseCode = CloseCode(1001);
    /// 1007: the message is invalid.
    pub const INVALID: CloseCode = CloseCode(1007);
    /// 1008: the message violates the room's policy.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: the message is too big.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: the room failed.
    pub const ERROR: CloseCode = CloseCode(1011);
    /// 1012: the service restarts, or this connection was replaced.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);
    /// 3008: the connection timed out. IANA's registry of close codes has it as "Timeout".
    pub const TIMEOUT: CloseCode = CloseCode(3008);

    /// Creates a code that can be sent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidClose`] outside 1000 to 4999, and for 1004, 1005, 1006 and 1015, which the WebSocket
    /// protocol reserves.
    pub fn new(code: u16) -> Result<CloseCode, Error> {
        match code {
            1004 | 1005 | 1006 | 1015 => {
                Err(Error::new(ErrorKind::InvalidClose, format!("close code {code} is reserved and cannot be sent")))
            }
            1000..=4999 => Ok(CloseCode(code)),
            _ => Err(Error::new(ErrorKind::InvalidClose, format!("close code {code} is not in 1000 to 4999"))),
        }
    }

    /// The code as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = Error;

    fn try_from(code: u16) -> Result<Self, Error> {
        CloseCode::new(code)
    }
}

/// The longest reason of a close, in bytes of UTF-8: a control frame has 125 bytes, and the code takes two.
pub(crate) const MAX_REASON_BYTES: usize = 123;

pub(crate) fn check_reason(reason: &str) -> Result<(), Error> {
    match reason.len() {
        n if n > MAX_REASON_BYTES => Err(Error::new(
            ErrorKind::InvalidClose,
            format!("the reason of a close has {n} bytes, the limit is {MAX_REASON_BYTES}"),
        )),
        _ => Ok(()),
    }
}
