//! The `Cluster` service: lists the members, and changes the membership.

use std::sync::Arc;

use tenure_proto::etcdserverpb::{self as wire, cluster_server::Cluster};
use tenure_statemachine::{MemberAttributes, MemberId};
use tonic::{Request, Response, Status};

use crate::{
    config::Url,
    node::{Member, MemberChange, members_of},
    rpc::{
        answer::{failure::Failure, status::Reason},
        call::Call,
        services::Services,
    },
};

/// Addresses of one member: of each of its networks. Every member keeps those of all.
const PEER_URLS_MAX: usize = 16;
/// Bytes of one: a host name has 253 at most.
const PEER_URL_BYTES_MAX: usize = 512;

#[derive(Debug)]
pub(in crate::rpc) struct ClusterService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<wire::MemberAddRequest>,
    ) -> Result<Response<wire::MemberAddResponse>, Status> {
        let (call, request) = self.admit(request)?;
        let change = MemberChange::Add {
            peer_urls: urls(request.peer_ur_ls)?,
            stays_learner: request.is_learner,
        };
        let (added, members) = self.change(&call, change).await?;
        Ok(Response::new(wire::MemberAddResponse {
            header: Some(self.0.headers.without_revision()),
            member: members.iter().find(|member| member.id == added).cloned(),
            members,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<wire::MemberRemoveRequest>,
    ) -> Result<Response<wire::MemberRemoveResponse>, Status> {
        let (call, request) = self.admit(request)?;
        let change = MemberChange::Remove(MemberId(request.id));
        let (_, members) = self.change(&call, change).await?;
        Ok(Response::new(wire::MemberRemoveResponse {
            header: Some(self.0.headers.without_revision()),
            members,
        }))
    }

    async fn member_update(
        &self,
        request: Request<wire::MemberUpdateRequest>,
    ) -> Result<Response<wire::MemberUpdateResponse>, Status> {
        let (call, request) = self.admit(request)?;
        let change = MemberChange::Update {
            id: MemberId(request.id),
            peer_urls: urls(request.peer_ur_ls)?,
        };
        let (_, members) = self.change(&call, change).await?;
        Ok(Response::new(wire::MemberUpdateResponse {
            header: Some(self.0.headers.without_revision()),
            members,
        }))
    }

    async fn member_list(
        &self,
        request: Request<wire::MemberListRequest>,
    ) -> Result<Response<wire::MemberListResponse>, Status> {
        let call = self.0.admit_upkeep(&request)?;
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
        request: Request<wire::MemberPromoteRequest>,
    ) -> Result<Response<wire::MemberPromoteResponse>, Status> {
        let (call, request) = self.admit(request)?;
        let change = MemberChange::Promote(MemberId(request.id));
        let (_, members) = self.change(&call, change).await?;
        Ok(Response::new(wire::MemberPromoteResponse {
            header: Some(self.0.headers.without_revision()),
            members,
        }))
    }
}

impl ClusterService {
    fn admit<T: prost::Message>(&self, request: Request<T>) -> Result<(Call, T), Failure> {
        let (call, conditions, request) = self.0.admit_write(request)?;
        conditions.refuse_on_read()?;
        Ok((call, request))
    }

    /// Changes the membership. Returns the id of the added member, or zero, and all members.
    async fn change(
        &self,
        call: &Call,
        change: MemberChange,
    ) -> Result<(u64, Vec<wire::Member>), Failure> {
        let changed = call.write(self.0.replica.change_members(change)).await?;
        let published = self.0.latest(|reader| Ok(reader.members()?))?;
        let members = members_of(&changed.membership).into_iter();
        let members = members.map(|member| merge(member, &published)).collect();
        Ok((changed.added.unwrap_or_default().0, members))
    }
}

/// The peer URLs of a request, as they are recorded. Clients compare the text of the refusal, so it
/// is etcd's wherever etcd has one.
fn urls(texts: Vec<String>) -> Result<Vec<String>, Failure> {
    if texts.len() > PEER_URLS_MAX || texts.iter().any(|text| text.len() > PEER_URL_BYTES_MAX) {
        let bounds = format!("at most {PEER_URLS_MAX}, of {PEER_URL_BYTES_MAX} bytes");
        return Err(Reason::MemberUrlsInvalid.with(bounds));
    }
    let parsed = texts.iter().map(|text| Url::parse(text));
    let texts = parsed.map(|url| url.map(|url| url.to_string()));
    let urls: Result<Vec<String>, _> = texts.collect();
    let mut urls = urls.map_err(|_| Reason::MemberUrlsInvalid)?;
    if urls.is_empty() {
        return Err(Reason::MemberUrlsInvalid.into());
    }
    urls.sort_unstable();
    urls.dedup();
    Ok(urls)
}

/// A member's message: its entry in the membership, with the attributes that it published. A member
/// that has not started yet has neither a name nor client URLs.
pub(super) fn merge(member: Member, published: &[MemberAttributes]) -> wire::Member {
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
