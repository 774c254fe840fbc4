//! The choices of the Worker, or of `on_upgrade`, for an upgrade.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, PeerId};

/// The most tags of a peer. Cloudflare allows ten; the peer's id takes one.
pub(crate) const MAX_TAGS: usize = 9;
/// The longest tag, in bytes. Cloudflare allows 256; a mark takes one.
pub(crate) const MAX_TAG_BYTES: usize = 255;

/// The reaction to an upgrade whose peer id is connected already.
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
