//! What the Worker, or `on_upgrade`, chooses for an upgrade.

use serde::{Deserialize, Serialize};

/// What becomes of an upgrade whose peer id is connected already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnDuplicate {
    /// Both stay, and share the id.
    #[default]
    Allow,
    /// The new one takes the place of those before it: once its `on_connect` has succeeded they are closed with 1012, and
    /// their `on_close` runs.
    Replace,
    /// The upgrade is answered with 409.
    Reject,
}

/// The data of a peer that [resumes](crate::Upgrade::resume).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnResume {
    /// The peer keeps the data that it had.
    #[default]
    KeepData,
    /// The peer gets the data of this upgrade, for example the role that its new token gives it.
    ReplaceData,
}
