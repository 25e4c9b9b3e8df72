//! The `Member` service: what this node knows by itself.

use std::sync::Arc;

use tenure_proto::v1::{self as wire, member_server};
use tonic::{Request, Response, Status};

use crate::{node::Member, rpc::services::Services};

#[derive(Debug)]
pub(in crate::rpc) struct MemberService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl member_server::Member for MemberService {
    async fn log_end(
        &self,
        request: Request<wire::LogEndRequest>,
    ) -> Result<Response<wire::LogEndResponse>, Status> {
        self.0.admit_anywhere(&request)?;
        let replica = &self.0.replica;
        let status = replica.status();
        let leaderless = replica.leaderless_for().as_millis();
        Ok(Response::new(wire::LogEndResponse {
            header: Some(self.0.headers.own(self.0.revision()?)),
            name: replica.identity().name.clone(),
            last_term: status.last_log_term,
            last_index: status.last_log_index,
            applied_index: status.applied_index,
            leader: status.leader.unwrap_or_default().0,
            leaderless_ms: u64::try_from(leaderless).unwrap_or(u64::MAX),
            members: status.members.into_iter().map(known).collect(),
        }))
    }
}

fn known(member: Member) -> wire::KnownMember {
    wire::KnownMember {
        id: member.id.0,
        name: member.name,
        peer_urls: member.peer_urls,
        has_vote: member.has_vote,
    }
}
