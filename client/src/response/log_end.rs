//! The end of a member's log, by which what is left of a cluster is compared.

use std::time::Duration;

use tenure_proto::v1::{KnownMember, LogEndResponse};

use super::Header;
use crate::id::MemberId;

/// Where the log of one member ends, and what it knows of the others. Made by
/// [`Maintenance::log_end`](crate::Maintenance::log_end).
#[derive(Debug, Clone, PartialEq)]
pub struct LogEnd(LogEndResponse);

impl LogEnd {
    pub(crate) fn of(message: LogEndResponse) -> Self {
        Self(message)
    }

    /// The ids of the cluster and of the member.
    #[must_use]
    pub fn header(&self) -> Header {
        Header::of_tenure(self.0.header).unwrap_or_default()
    }

    /// The name of the member.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The term of the last entry, committed or not.
    #[must_use]
    pub fn last_term(&self) -> u64 {
        self.0.last_term
    }

    /// The index of the last entry, committed or not.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.0.last_index
    }

    /// The index of the last entry that is applied to the state.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.0.applied_index
    }

    /// The leader that the member knows.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        (self.0.leader != 0).then(|| MemberId::new(self.0.leader))
    }

    /// Time since a leader was last known to lead.
    #[must_use]
    pub fn leaderless_for(&self) -> Duration {
        Duration::from_millis(self.0.leaderless_ms)
    }

    /// The members of the last membership in the log.
    pub fn members(&self) -> impl Iterator<Item = LoggedMember<'_>> {
        self.0.members.iter().map(LoggedMember)
    }
}

/// A member as recorded in the log of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedMember<'a>(&'a KnownMember);

impl<'a> LoggedMember<'a> {
    /// The id of the member.
    #[must_use]
    pub fn id(self) -> MemberId {
        MemberId::new(self.0.id)
    }

    /// The name with which it was added; empty for one that was added by a call.
    #[must_use]
    pub fn name(self) -> &'a str {
        &self.0.name
    }

    /// The URLs at which the other members reach it.
    #[must_use]
    pub fn peer_urls(self) -> &'a [String] {
        &self.0.peer_urls
    }

    /// Whether it votes.
    #[must_use]
    pub fn has_vote(self) -> bool {
        self.0.has_vote
    }
}
