//! The `Cluster` service: lists the members. The membership is fixed by the first start.

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, cluster_server::Cluster};
use tenure_statemachine::MemberAttributes;
use tonic::{Request, Response, Status};

use crate::{
    node::Member,
    rpc::{answer::status::Reason, services::Services},
};

#[derive(Debug)]
pub(in crate::rpc) struct ClusterService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        _request: Request<wire::MemberAddRequest>,
    ) -> Result<Response<wire::MemberAddResponse>, Status> {
        Err(Reason::MembershipFixed.into())
    }

    async fn member_remove(
        &self,
        _request: Request<wire::MemberRemoveRequest>,
    ) -> Result<Response<wire::MemberRemoveResponse>, Status> {
        Err(Reason::MembershipFixed.into())
    }

    async fn member_update(
        &self,
        _request: Request<wire::MemberUpdateRequest>,
    ) -> Result<Response<wire::MemberUpdateResponse>, Status> {
        Err(Reason::MembershipFixed.into())
    }

    async fn member_list(
        &self,
        request: Request<wire::MemberListRequest>,
    ) -> Result<Response<wire::MemberListResponse>, Status> {
        let call = self.0.admit(request.metadata())?;
        if request.into_inner().linearizable {
            call.read(self.0.replica.read_barrier()).await?;
        }
        let published = self.0.latest(|reader| Ok(reader.members()?))?;
        let members = self.0.replica.status().members;
        Ok(Response::new(wire::MemberListResponse {
            header: Some(self.0.headers.without_revision()),
            members: members
                .into_iter()
                .map(|member| merge(member, &published))
                .collect(),
        }))
    }

    async fn member_promote(
        &self,
        _request: Request<wire::MemberPromoteRequest>,
    ) -> Result<Response<wire::MemberPromoteResponse>, Status> {
        Err(Reason::MembershipFixed.into())
    }
}

/// A member's message: its entry in the membership, with the attributes that it published. A member
/// that has not started yet has neither a name nor client URLs.
fn merge(member: Member, published: &[MemberAttributes]) -> wire::Member {
    let attributes = published.iter().find(|found| found.id == member.id);
    wire::Member {
        id: member.id.0,
        name: attributes
            .map(|found| found.name.clone())
            .unwrap_or_default(),
        peer_ur_ls: member.peer_urls,
        client_ur_ls: attributes
            .map(|found| found.client_urls.clone())
            .unwrap_or_default(),
        is_learner: member.is_learner,
    }
}
