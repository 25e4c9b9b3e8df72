//! The rows that etcd stores as JSON.
//!
//! Go writes an empty list as `null` or leaves it out, so all lists may be absent or null.

use serde::{Deserialize, Deserializer, Serialize};

/// Raft's membership at the applied index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfState {
    /// Ids of voters.
    #[serde(deserialize_with = "list")]
    pub voters: Vec<u64>,
    /// Ids of learners.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub learners: Vec<u64>,
    /// Ids of voters of the old membership, during a joint change.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub voters_outgoing: Vec<u64>,
    /// Ids of voters that will be learners after a joint change.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub learners_next: Vec<u64>,
    /// Whether a joint change ends by itself.
    pub auto_leave: bool,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// URLs for other members.
    #[serde(rename = "peerURLs", deserialize_with = "list")]
    pub peer_urls: Vec<String>,
    /// Whether it has no vote.
    #[serde(rename = "isLearner", skip_serializing_if = "is_false")]
    pub is_learner: bool,
    /// Its name; empty before its first start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// URLs for clients; none before its first start.
    #[serde(
        rename = "clientURLs",
        deserialize_with = "list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub client_urls: Vec<String>,
}

/// A downgrade of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Downgrade {
    /// The version to go back to.
    #[serde(rename = "target-version")]
    pub target_version: String,
    /// Whether it is in progress.
    pub enabled: bool,
}

fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}
