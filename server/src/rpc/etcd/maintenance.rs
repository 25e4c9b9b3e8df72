//! The `Maintenance` service: status, alarms, hashes, leadership.

use std::sync::Arc;

use tenure_proto::{
    API_VERSION,
    etcdserverpb::{self as wire, alarm_request::AlarmAction, maintenance_server::Maintenance},
};
use tenure_statemachine::{AlarmChange, AlarmKind, MemberId, Reader, Revision};
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use crate::rpc::{
    answer::{failure::Failure, reply, status::Reason},
    border::conditions::Conditions,
    services::Services,
};

/// The quota that stands for "no quota" in a status, where etcd's clients expect a number.
const QUOTA_OFF_BYTES: i64 = -1;

#[derive(Debug)]
pub(in crate::rpc) struct MaintenanceService(pub(in crate::rpc) Arc<Services>);

impl MaintenanceService {
    async fn alarm(
        &self,
        request: Request<wire::AlarmRequest>,
    ) -> Result<wire::AlarmResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let request = request.into_inner();
        let member = MemberId(request.member_id);
        let kind = match wire::AlarmType::try_from(request.alarm) {
            Ok(wire::AlarmType::Nospace) => Some(AlarmKind::NoSpace),
            Ok(wire::AlarmType::Corrupt) => Some(AlarmKind::Corrupt),
            Ok(wire::AlarmType::None) | Err(_) => None,
        };
        let change = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Activate) if kind.is_some() => Some(AlarmChange {
                member,
                kind,
                active: true,
            }),
            Ok(AlarmAction::Deactivate) => Some(AlarmChange {
                member,
                kind,
                active: false,
            }),
            // To raise no kind of alarm is to do nothing.
            Ok(AlarmAction::Activate) => None,
            Ok(AlarmAction::Get) | Err(_) => {
                conditions.refuse_on_read()?;
                call.read(self.0.replica.read_barrier()).await?;
                return self.list_alarms(kind);
            }
        };
        let (revision, alarms) = match change {
            Some(change) => self.0.write(&call, conditions, 0, change).await?,
            None => (
                self.0.latest(|reader| Ok(reader.meta().revision))?,
                Vec::new(),
            ),
        };
        Ok(wire::AlarmResponse {
            header: Some(self.0.headers.at(revision)),
            alarms: alarms.into_iter().map(reply::alarm).collect(),
        })
    }

    fn list_alarms(&self, kind: Option<AlarmKind>) -> Result<wire::AlarmResponse, Failure> {
        let (revision, alarms) = self
            .0
            .latest(|reader| Ok((reader.meta().revision, reader.alarms()?)))?;
        let wanted = alarms
            .into_iter()
            .filter(|(_, raised)| kind.is_none_or(|kind| kind == *raised));
        Ok(wire::AlarmResponse {
            header: Some(self.0.headers.at(revision)),
            alarms: wanted.map(reply::alarm).collect(),
        })
    }

    fn status(
        &self,
        request: &Request<wire::StatusRequest>,
    ) -> Result<wire::StatusResponse, Failure> {
        self.0.admit(request.metadata())?;
        let (revision, alarms) = self
            .0
            .latest(|reader| Ok((reader.meta().revision, reader.alarms()?)))?;
        let status = self.0.replica.status();
        let bytes = self.0.replica.storage_bytes().told();
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push(Reason::NoLeader.text().to_owned());
        }
        errors.extend(status.faults);
        for (member, kind) in alarms {
            let kind = match kind {
                AlarmKind::NoSpace => wire::AlarmType::Nospace,
                AlarmKind::Corrupt => wire::AlarmType::Corrupt,
            };
            errors.push(format!(
                "memberID:{} alarm:{}",
                member.0,
                kind.as_str_name()
            ));
        }
        Ok(wire::StatusResponse {
            header: Some(self.0.headers.at(revision)),
            version: API_VERSION.to_owned(),
            db_size: size(bytes.logical),
            leader: status.leader.unwrap_or_default().0,
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: size(bytes.in_use),
            is_learner: status.is_learner,
            storage_version: API_VERSION.to_owned(),
            db_size_quota: self.0.limits.quota_bytes.map_or(QUOTA_OFF_BYTES, size),
            downgrade_info: Some(wire::DowngradeInfo::default()),
        })
    }

    async fn hash_kv(
        &self,
        request: Request<wire::HashKvRequest>,
    ) -> Result<wire::HashKvResponse, Failure> {
        let call = self.0.admit(request.metadata())?;
        let revision = Revision(request.into_inner().revision);
        let read =
            move |reader: &Reader<'_>| Ok((reader.meta().revision, reader.hash_kv(revision)?));
        // Nothing of what is read is kept.
        let (latest, found) = call.read(self.0.bulk_reads.look_through(read)).await?;
        Ok(wire::HashKvResponse {
            header: Some(self.0.headers.at(latest)),
            hash: found.hash,
            compact_revision: found.compact_revision.0,
            hash_revision: found.hash_revision.0,
        })
    }

    async fn move_leader(&self, request: Request<wire::MoveLeaderRequest>) -> Result<(), Failure> {
        let call = self.0.admit(request.metadata())?;
        let target = MemberId(request.into_inner().target_id);
        call.read(self.0.replica.transfer_leader(target)).await
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = Empty<Result<wire::SnapshotResponse, Status>>;

    async fn alarm(
        &self,
        request: Request<wire::AlarmRequest>,
    ) -> Result<Response<wire::AlarmResponse>, Status> {
        Ok(Response::new(Self::alarm(self, request).await?))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        Ok(Response::new(Self::status(self, &request)?))
    }

    /// Space comes back in the background whatever anyone asks, so this only gives a push.
    async fn defragment(
        &self,
        request: Request<wire::DefragmentRequest>,
    ) -> Result<Response<wire::DefragmentResponse>, Status> {
        self.0.admit(request.metadata())?;
        self.0.replica.compact_storage();
        Ok(Response::new(wire::DefragmentResponse { header: None }))
    }

    /// The hash of the key space; what else etcd's covers is layout of its file.
    async fn hash(
        &self,
        request: Request<wire::HashRequest>,
    ) -> Result<Response<wire::HashResponse>, Status> {
        let (metadata, extensions, _) = request.into_parts();
        let latest = wire::HashKvRequest::default();
        let found = Self::hash_kv(self, Request::from_parts(metadata, extensions, latest)).await?;
        Ok(Response::new(wire::HashResponse {
            header: found.header,
            hash: found.hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<wire::HashKvRequest>,
    ) -> Result<Response<wire::HashKvResponse>, Status> {
        Ok(Response::new(Self::hash_kv(self, request).await?))
    }

    async fn snapshot(
        &self,
        _request: Request<wire::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Reason::SnapshotUnsupported.into())
    }

    async fn move_leader(
        &self,
        request: Request<wire::MoveLeaderRequest>,
    ) -> Result<Response<wire::MoveLeaderResponse>, Status> {
        Self::move_leader(self, request).await?;
        Ok(Response::new(wire::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        _request: Request<wire::DowngradeRequest>,
    ) -> Result<Response<wire::DowngradeResponse>, Status> {
        Err(Reason::DowngradeUnsupported.into())
    }
}

/// Bytes as the wire has them.
fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
