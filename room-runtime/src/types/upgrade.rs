//! The choices of the Worker, or of `on_upgrade`, for an upgrade.

use serde::{Deserialize, Serialize};

/// The reaction to an upgrade whose peer id is connected already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnResume {
    /// The peer keeps its data.
    #[default]
    KeepData,
    /// The peer gets the data of this upgrade, for example the role that its new login grants.
    ReplaceData,
}
