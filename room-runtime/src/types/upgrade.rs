//! The choices of the Worker, or of `on_upgrade`, for an upgrade.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, PeerId};

/// The most tags of a peer. Cloudflare allows ten; the peer's id takes one.
pub(crate) const MAX_TAGS: usize = 9;
/// The longest tag, in bytes. Cloudflare allows 256; a mark takes one.
pub(crate) const MAX_TAG_BYTES: usize = 255;

/// The reaction to an upgrade whose peer id is connected already.
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
/// # #[room]
/// # pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub struct Event {}
///     # pub struct Broadcast {}
/// # }
///
/// # fn main() {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = || Upgrade::new(chat::Connection {}).id("ada");
/// let first = room.connect(ada());
/// let refusal = room.try_connect(ada().on_duplicate(OnDuplicate::Reject)).expect_err("a duplicate");
/// assert_eq!(refusal.status(), Some(409));
/// // The last tab of a user replaces the earlier ones.
/// let second = room.connect(ada().on_duplicate(OnDuplicate::Replace));
/// assert!(second.is_open());
/// assert_eq!(first.closed().map(|(code, _)| code), Some(1012));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnDuplicate {
    /// Both connections stay and share the id.
    #[default]
    Allow,
    /// The new connection replaces the others: after its `on_connect` has succeeded, they are closed with 1012.
    ///
    /// Their `on_close` runs.
    Replace,
    /// The upgrade is answered with 409.
    Reject,
}

/// The choice of the data of a peer that [resumes](crate::Upgrade::resume).
///
/// ```
/// use room_runtime::{prelude::*, testing::TestRoom};
///
/// #[room(reconnect_grace = "30s")]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection { pub is_admin: bool }
///     # pub struct Event {}
///     # pub struct Broadcast {}
///     // The room's schemas are here.
///     pub fn on_upgrade(_ctx: &Ctx, upgrade: &mut UpgradeRequest) -> Result<(), Reject> {
///         // The rights are those of this login, also for a peer that reconnects.
///         upgrade.on_resume = OnResume::ReplaceData;
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let room = TestRoom::<chat::Room>::new("main");
/// let ada = room.connect(Upgrade::new(chat::Connection { is_admin: true }).id("ada"));
/// let ada = ada.reconnect(chat::Connection { is_admin: false });
/// assert!(!room.peers(None)?[0].data.is_admin);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnResume {
    /// The peer keeps its data.
    #[default]
    KeepData,
    /// The peer gets the data of this upgrade, for example the role that its new login grants.
    ReplaceData,
}

/// Checks an id and tags against the platform's limits: in the Worker, and again after `on_upgrade`.
pub(crate) fn check_upgrade(id: Option<&PeerId>, tags: &[String]) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_tags_may_be_as_long_as_the_limit_says_and_no_longer() {
        let (most, longest) = (MAX_TAGS, MAX_TAG_BYTES);
        let tags = |count: usize, bytes: usize| {
            let tags: Vec<_> = (0..count).map(|n| format!("{n:0bytes$}")).collect();
            check_upgrade(None, &tags).map_err(|error| error.to_string())
        };
        assert_eq!(tags(most, longest), Ok(()));
        let error = tags(most + 1, 1).expect_err("one too many");
        assert!(error.contains(&format!("the peer has {} tags, the limit is {most}", most + 1)), "{error}");
        let error = tags(1, longest + 1).expect_err("too long");
        assert!(error.contains(&format!("a tag has {} bytes, the limit is {longest}", longest + 1)), "{error}");
        assert!(check_upgrade(Some(&PeerId::from("")), &[]).is_err());
    }
}
