//! Membership of the cluster: listing, adding, removing and promoting members.
//!
//! The client caches no membership.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, cluster_client::ClusterClient,
};

use crate::{
    call::{Call, rpc},
    client::Client,
    error::Error,
    id::MemberId,
    response::{List, Member, MemberAdded, MemberRole},
};

/// Request for the members of the cluster. Made by [`Cluster::members`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Members {
    client: Client,
    request: MemberListRequest,
}

impl Members {
    /// Serializable read: answers from the local state of the server, which may be stale, without
    /// confirming it with the quorum.
    pub fn serializable(mut self) -> Self {
        self.request.linearizable = false;
        self
    }
}

impl IntoFuture for Members {
    type Output = Result<List<Member>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::read(None);
            let list = rpc!(self.client, call, ClusterClient.member_list(self.request)).await?;
            Ok(List::members(list.header, list.members))
        })
    }
}

/// The membership of the cluster. Made by [`Client::cluster`].
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'a> {
    client: &'a Client,
}

impl Client {
    /// The members of the cluster, and changes of the membership.
    #[must_use]
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster { client: self }
    }
}

impl Cluster<'_> {
    /// The members of the cluster.
    ///
    /// # Errors
    /// When awaited: the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn members(self) -> Members {
        Members {
            client: self.client.clone(),
            request: MemberListRequest { linearizable: true },
        }
    }

    /// Adds a member with these peer URLs. Start its server afterwards.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the quorum would be at
    /// risk or a URL is taken, [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an
    /// invalid URL, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the member is added.
    pub async fn add_member<U: Into<String>>(
        self,
        peer_urls: impl IntoIterator<Item = U>,
        role: MemberRole,
    ) -> Result<MemberAdded, Error> {
        let request = MemberAddRequest {
            peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
            is_learner: role == MemberRole::Learner,
        };
        let added = rpc!(
            self.client,
            Call::write(None),
            ClusterClient.member_add(request)
        )
        .await?;
        Ok(MemberAdded::of(added))
    }

    /// Removes a member permanently; its id is never reused.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown member,
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the quorum would be at
    /// risk, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the member is removed.
    pub async fn remove_member(self, member: MemberId) -> Result<List<Member>, Error> {
        let request = MemberRemoveRequest { id: member.get() };
        let call = Call::write(None);
        let list = rpc!(self.client, call, ClusterClient.member_remove(request)).await?;
        Ok(List::members(list.header, list.members))
    }

    /// Changes the peer URLs of a member.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown member, and the errors common to all
    /// calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the change happens.
    pub async fn update_member<U: Into<String>>(
        self,
        member: MemberId,
        peer_urls: impl IntoIterator<Item = U>,
    ) -> Result<List<Member>, Error> {
        let request = MemberUpdateRequest {
            id: member.get(),
            peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
        };
        let call = Call::write(None);
        let list = rpc!(self.client, call, ClusterClient.member_update(request)).await?;
        Ok(List::members(list.header, list.members))
    }

    /// Promotes a learner to a voting member.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the member is no learner
    /// or is behind, [`NotFound`](crate::ErrorKind::NotFound) for an unknown member, and the errors
    /// common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the promotion happens.
    pub async fn promote_member(self, member: MemberId) -> Result<List<Member>, Error> {
        let request = MemberPromoteRequest { id: member.get() };
        let call = Call::write(None);
        let list = rpc!(self.client, call, ClusterClient.member_promote(request)).await?;
        Ok(List::members(list.header, list.members))
    }
}
