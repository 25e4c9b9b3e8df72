//! The members of the cluster: who they are, adding, removing, promoting.
//!
//! Membership lives in the cluster; nothing is remembered here.

use tenure_proto::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, cluster_client::ClusterClient,
};

use crate::{
    call::{Call, ask},
    client::Client,
    error::Error,
    id::MemberId,
    response::{MemberAdded, MemberList, MemberRole},
};

/// Whether a list of members must be the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Confirmed with the quorum.
    Linearizable,
    /// As the server that is asked knows it.
    Serializable,
}

impl Client {
    /// The members of the cluster.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn member_list(&self, freshness: Freshness) -> Result<MemberList, Error> {
        let request = MemberListRequest {
            linearizable: freshness == Freshness::Linearizable,
        };
        let list = ask!(self, Call::read(None), ClusterClient.member_list(request)).await?;
        Ok(MemberList::of(list.header, list.members))
    }

    /// Adds a member that other members reach at these URLs. Start its server afterwards.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the quorum would be at
    /// risk or a URL is taken, [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a URL
    /// that is none, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the member is added.
    pub async fn member_add<U: Into<String>>(
        &self,
        peer_urls: impl IntoIterator<Item = U>,
        role: MemberRole,
    ) -> Result<MemberAdded, Error> {
        let request = MemberAddRequest {
            peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
            is_learner: role == MemberRole::Learner,
        };
        let added = ask!(self, Call::write(None), ClusterClient.member_add(request)).await?;
        Ok(MemberAdded::of(added))
    }

    /// Removes a member for good; its id is never used again.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown member,
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the quorum would be at
    /// risk, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the member is removed.
    pub async fn member_remove(&self, member: MemberId) -> Result<MemberList, Error> {
        let request = MemberRemoveRequest { id: member.get() };
        let call = Call::write(None);
        let list = ask!(self, call, ClusterClient.member_remove(request)).await?;
        Ok(MemberList::of(list.header, list.members))
    }

    /// Changes the URLs at which other members reach a member.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown member, and whatever any call can
    /// meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the change happens.
    pub async fn member_update<U: Into<String>>(
        &self,
        member: MemberId,
        peer_urls: impl IntoIterator<Item = U>,
    ) -> Result<MemberList, Error> {
        let request = MemberUpdateRequest {
            id: member.get(),
            peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
        };
        let call = Call::write(None);
        let list = ask!(self, call, ClusterClient.member_update(request)).await?;
        Ok(MemberList::of(list.header, list.members))
    }

    /// Gives a learner its vote.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the member is no learner
    /// or is behind, [`NotFound`](crate::ErrorKind::NotFound) for an unknown member, and whatever
    /// any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the promotion happens.
    pub async fn member_promote(&self, member: MemberId) -> Result<MemberList, Error> {
        let request = MemberPromoteRequest { id: member.get() };
        let call = Call::write(None);
        let list = ask!(self, call, ClusterClient.member_promote(request)).await?;
        Ok(MemberList::of(list.header, list.members))
    }
}
