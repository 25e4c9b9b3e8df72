//! The `Maintenance` service: status, alarms, hashes, leadership.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::Stream;
use tenure_backup::schema;
use tenure_proto::{
    API_VERSION,
    etcdserverpb::{
        self as wire, AlarmType, alarm_request::AlarmAction, downgrade_request::DowngradeAction,
        maintenance_server::Maintenance,
    },
};
use tenure_statemachine::{AlarmChange, AlarmKind, HashKv, MemberId, Need, Reader, Revision};
use tonic::{Request, Response, Status};

use crate::{
    backup::{ClusterFacts, Pieces},
    rpc::{
        admission::{
            StreamCaller,
            audit::{Act, Origin},
        },
        answer::{
            failure::{Failure, of_snapshot},
            reply,
            status::Reason,
        },
        border::downgrade,
        call::Call,
        etcd::cluster::merge,
        services::Services,
    },
    transport::ConnectionInfo,
};

/// The quota that stands for "no quota" in a status, where etcd's clients expect a number.
const QUOTA_OFF_BYTES: i64 = -1;

#[derive(Debug)]
pub(in crate::rpc) struct MaintenanceService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = Sending;

    async fn alarm(
        &self,
        request: Request<wire::AlarmRequest>,
    ) -> Result<Response<wire::AlarmResponse>, Status> {
        let origin = Origin::of(request.extensions().get::<ConnectionInfo>());
        let (call, conditions, request) = self.0.admit_write(request)?;
        let member = MemberId(request.member_id);
        let kind = match AlarmType::try_from(request.alarm) {
            Ok(AlarmType::Nospace) => Some(AlarmKind::NoSpace),
            Ok(AlarmType::Corrupt) => Some(AlarmKind::Corrupt),
            Ok(AlarmType::None) | Err(_) => None,
        };
        let (revision, alarms) = match AlarmAction::try_from(request.action) {
            // An alarm without a kind cannot be raised; etcd answers with an empty list.
            Ok(AlarmAction::Activate) if kind.is_none() => {
                self.0.permit(&call, vec![Need::Admin]).await?;
                (self.0.revision()?, Vec::new())
            }
            Ok(action @ (AlarmAction::Activate | AlarmAction::Deactivate)) => {
                let change = AlarmChange {
                    member,
                    kind,
                    active: action == AlarmAction::Activate,
                };
                let act = self.alarm_act(&call, &origin, change);
                let changed = self.0.write(&call, conditions, 0, change).await;
                act.end(&changed);
                changed?
            }
            // etcd's member crashes here.
            Err(_) => return Err(Reason::AlarmActionUnknown.into()),
            Ok(AlarmAction::Get) => {
                conditions.refuse_on_read()?;
                call.read(self.0.replica.read_barrier()).await?;
                let (revision, mut alarms) = self.revision_and_alarms()?;
                alarms.retain(|(_, raised)| kind.is_none_or(|kind| kind == *raised));
                (revision, alarms)
            }
        };
        Ok(Response::new(wire::AlarmResponse {
            header: Some(self.0.headers.at(revision)),
            alarms: alarms.into_iter().map(reply::alarm).collect(),
        }))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        self.0.admit_anywhere(&request)?;
        let (revision, alarms) = self.revision_and_alarms()?;
        let status = self.0.replica.status();
        let bytes = self.0.replica.storage_bytes().told();
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push(Reason::NoLeader.text().to_owned());
        }
        errors.extend(status.faults);
        for (member, kind) in alarms {
            let kind = reply::alarm_type(kind).as_str_name();
            errors.push(format!("memberID:{} alarm:{kind}", member.0));
        }
        Ok(Response::new(wire::StatusResponse {
            header: Some(self.0.headers.at(revision)),
            version: API_VERSION.to_owned(),
            db_size: size(bytes.logical),
            leader: status.leader.unwrap_or_default().0,
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: size(bytes.in_use),
            is_learner: !status.has_vote,
            storage_version: API_VERSION.to_owned(),
            db_size_quota: self.0.limits.quota_bytes.map_or(QUOTA_OFF_BYTES, size),
            downgrade_info: Some(wire::DowngradeInfo::default()),
        }))
    }

    /// Starts a compaction of the store, which also happens in the background without a request.
    async fn defragment(
        &self,
        request: Request<wire::DefragmentRequest>,
    ) -> Result<Response<wire::DefragmentResponse>, Status> {
        self.0.admit_upkeep(&request)?;
        self.0.replica.compact_storage();
        Ok(Response::new(wire::DefragmentResponse { header: None }))
    }

    /// The hash of the key space; etcd's also covers the layout of its file.
    async fn hash(
        &self,
        request: Request<wire::HashRequest>,
    ) -> Result<Response<wire::HashResponse>, Status> {
        let call = self.0.admit_upkeep(&request)?;
        let (latest, found) = self.hash_at(&call, Revision(0)).await?;
        Ok(Response::new(wire::HashResponse {
            header: Some(self.0.headers.at(latest)),
            hash: found.hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<wire::HashKvRequest>,
    ) -> Result<Response<wire::HashKvResponse>, Status> {
        let call = self.0.admit_upkeep(&request)?;
        let revision = Revision(request.into_inner().revision);
        let (latest, found) = self.hash_at(&call, revision).await?;
        Ok(Response::new(wire::HashKvResponse {
            header: Some(self.0.headers.at(latest)),
            hash: found.hash,
            compact_revision: found.compact_revision.0,
            hash_revision: found.hash_revision.0,
        }))
    }

    /// Streams the state that this member has applied, for as long as the caller may have it. A
    /// learner does so, too; one whose state is known to be wrong does not.
    async fn snapshot(
        &self,
        request: Request<wire::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let call = self.0.admit_anywhere(&request)?;
        let caller = self.0.stream_caller(&call);
        self.0.refuse_differing()?;
        let facts = self.cluster_facts()?;
        let begun = self.0.snapshots.begin(self.0.replica.engine(), facts);
        let pieces = begun.map_err(of_snapshot)?;
        Ok(Response::new(Sending {
            services: Arc::clone(&self.0),
            caller,
            pieces: Some(pieces),
        }))
    }

    async fn move_leader(
        &self,
        request: Request<wire::MoveLeaderRequest>,
    ) -> Result<Response<wire::MoveLeaderResponse>, Status> {
        let call = self.0.admit_upkeep(&request)?;
        let target = MemberId(request.into_inner().target_id);
        call.read(self.0.replica.transfer_leader(target)).await?;
        Ok(Response::new(wire::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<wire::DowngradeRequest>,
    ) -> Result<Response<wire::DowngradeResponse>, Status> {
        let request = request.into_inner();
        if request.action() != DowngradeAction::Cancel {
            downgrade::check(&request)?;
        }
        Err(Reason::DowngradeUnsupported.into())
    }
}

/// The pieces of a snapshot as messages.
#[derive(Debug)]
pub(in crate::rpc) struct Sending {
    services: Arc<Services>,
    caller: StreamCaller,
    /// `None` once the stream has ended.
    pieces: Option<Pieces>,
}

impl Sending {
    /// Refuses the rest if users or permissions changed and the caller may not have it any more.
    fn recheck(&mut self) -> Result<(), Failure> {
        if !self.caller.has_changed() {
            return Ok(());
        }
        let check = |reader: &Reader<'_>| self.caller.check(reader, &[Need::Admin]);
        self.services.latest(check)
    }
}

impl Stream for Sending {
    type Item = Result<wire::SnapshotResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(failure) = self.recheck() {
            self.pieces = None;
            return Poll::Ready(Some(Err(failure.into())));
        }
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        let piece = ready!(Pin::new(pieces).poll_next(context));
        Poll::Ready(piece.map(|piece| {
            let piece = piece.map_err(of_snapshot)?;
            Ok(wire::SnapshotResponse {
                header: None,
                remaining_bytes: piece.remaining,
                blob: piece.bytes,
                version: API_VERSION.to_owned(),
            })
        }))
    }
}

impl MaintenanceService {
    /// The line about an alarm that a client raises or clears.
    fn alarm_act(&self, call: &Call, origin: &Origin, change: AlarmChange) -> Act {
        let AlarmChange {
            member,
            kind,
            active,
        } = change;
        let kind = kind.map_or(AlarmType::None, reply::alarm_type);
        let about = vec![
            (
                "action",
                if active { "activate" } else { "deactivate" }.to_owned(),
            ),
            ("member", member.to_string()),
            ("alarm", kind.as_str_name().to_owned()),
        ];
        let log = &self.0.auth.audit;
        Act::new(log, "Maintenance/Alarm", origin, about).by(call.caller())
    }

    /// What a snapshot says of the cluster.
    fn cluster_facts(&self) -> Result<ClusterFacts, Failure> {
        let published = self.0.latest(|reader| Ok(reader.members()?))?;
        let status = self.0.replica.status();
        let members = status.members.into_iter().map(|member| {
            let member = merge(member, &published);
            schema::Member {
                id: member.id,
                peer_urls: member.peer_ur_ls,
                is_learner: member.is_learner,
                name: member.name,
                client_urls: member.client_ur_ls,
            }
        });
        Ok(ClusterFacts {
            members: members.collect(),
            removed: status.removed,
        })
    }

    fn revision_and_alarms(&self) -> Result<(Revision, Vec<(MemberId, AlarmKind)>), Failure> {
        self.0
            .latest(|reader| Ok((reader.meta().revision, reader.alarms()?)))
    }

    /// The hash of the key space at `revision`, or at the latest when it is zero, and the latest.
    async fn hash_at(
        &self,
        call: &Call,
        revision: Revision,
    ) -> Result<(Revision, HashKv), Failure> {
        let read =
            move |reader: &Reader<'_>| Ok((reader.meta().revision, reader.hash_kv(revision)?));
        // The read keeps none of the records that it visits.
        call.read(self.0.bulk_reads.look_through(read)).await
    }
}

/// A number of bytes in its wire type.
fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
