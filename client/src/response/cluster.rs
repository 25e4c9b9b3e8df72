//! Responses about the members of the cluster.

use tenure_proto::etcdserverpb::{self, MemberAddResponse, ResponseHeader};

use super::{Header, List, impl_header};
use crate::id::MemberId;

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// Votes and counts towards the quorum.
    Voter,
    /// Receives the data without a vote, until it is promoted.
    Learner,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member(etcdserverpb::Member);

impl Member {
    fn list_of(messages: Vec<etcdserverpb::Member>) -> Vec<Self> {
        messages.into_iter().map(Self).collect()
    }

    /// The id of the member.
    #[must_use]
    pub fn id(&self) -> MemberId {
        MemberId::new(self.0.id)
    }

    /// The configured name; empty until the member has started.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The peer URLs: its addresses for other members.
    #[must_use]
    pub fn peer_urls(&self) -> &[String] {
        &self.0.peer_ur_ls
    }

    /// The client URLs: its addresses for clients; empty until the member has started.
    #[must_use]
    pub fn client_urls(&self) -> &[String] {
        &self.0.client_ur_ls
    }

    /// Whether it is a voter or a learner.
    #[must_use]
    pub fn role(&self) -> MemberRole {
        if self.0.is_learner {
            MemberRole::Learner
        } else {
            MemberRole::Voter
        }
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> etcdserverpb::Member {
        self.0
    }
}

impl List<Member> {
    pub(crate) fn members(
        header: Option<ResponseHeader>,
        members: Vec<etcdserverpb::Member>,
    ) -> Self {
        Self::of(Header::of(header), Member::list_of(members))
    }

    /// Converts into the generated message of a list of members.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> etcdserverpb::MemberListResponse {
        let (header, members) = self.into_messages(Header::into_wire, Member::into_wire);
        etcdserverpb::MemberListResponse { header, members }
    }
}

/// The response to the addition of a member. Made by
/// [`Cluster::add_member`](crate::Cluster::add_member).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberAdded {
    header: Option<Header>,
    member: Member,
    members: Vec<Member>,
}

impl MemberAdded {
    pub(crate) fn of(message: MemberAddResponse) -> Self {
        Self {
            header: Header::of(message.header),
            member: Member(message.member.unwrap_or_default()),
            members: Member::list_of(message.members),
        }
    }

    /// The new member, with its assigned id.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// All members, the new one included.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> MemberAddResponse {
        MemberAddResponse {
            header: self.header.map(Header::into_wire),
            member: Some(self.member.into_wire()),
            members: self.members.into_iter().map(Member::into_wire).collect(),
        }
    }
}

impl_header!(MemberAdded);
