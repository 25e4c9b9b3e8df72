//! The `Cluster` service: who the members are. The membership is what the first start made it.

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, cluster_server::Cluster};
use tenure_statemachine::MemberAttributes;
use tonic::{Request, Response, Status};

use crate::{
    node::Member,
    rpc::{
        answer::{failure::Failure, status::Reason},
        services::Services,
    },
};

#[derive(Debug)]
pub(in crate::rpc) struct ClusterService(pub(in crate::rpc) Arc<Services>);

impl ClusterService {
    async fn list(
        &self,
        request: Request<wire::MemberListRequest>,
    ) -> Result<wire::MemberListResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        if request.into_inner().linearizable {
            call.read(self.0.replica.read_barrier()).await?;
        }
        let published = self.0.latest(|reader| Ok(reader.members()?))?;
        let members = self.0.replica.status().members;
        Ok(wire::MemberListResponse {
            header: Some(self.0.headers.without_revision()),
            members: members
                .into_iter()
                .map(|member| merge(member, &published))
                .collect(),
        })
    }
}

/// A member as clients see it: its place in the log's membership, and what it says of itself. Who
/// has not started yet has said nothing, and so has neither a name nor client URLs.
fn merge(member: Member, published: &[MemberAttributes]) -> wire::Member {
    let said = published.iter().find(|said| said.id == member.id);
    wire::Member {
        id: member.id.0,
        name: said.map(|said| said.name.clone()).unwrap_or_default(),
        peer_ur_ls: member.peer_urls,
        client_ur_ls: said
            .map(|said| said.client_urls.clone())
            .unwrap_or_default(),
        is_learner: member.is_learner,
    }
}

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
        Ok(Response::new(self.list(request).await?))
    }

    async fn member_promote(
        &self,
        _request: Request<wire::MemberPromoteRequest>,
    ) -> Result<Response<wire::MemberPromoteResponse>, Status> {
        Err(Reason::MembershipFixed.into())
    }
}
