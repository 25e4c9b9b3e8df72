//! Maintenance of one server: status, alarms, hashes, snapshots, defragmentation, compaction.
//!
//! Calls go to the endpoint that the client currently prefers; use [`Client::only`] to choose one.

use std::{future::IntoFuture, time::Duration};

use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DefragmentRequest, HashKvRequest, HashRequest,
    MoveLeaderRequest, SnapshotRequest, SnapshotResponse, StatusRequest,
    alarm_request::AlarmAction, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use tenure_proto::v1::{LogEndRequest, member_client::MemberClient};
use tonic::Streaming;

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    conditions::{Conditions, impl_conditions},
    error::{Error, Operation},
    id::{MemberId, Revision},
    response::{
        Alarm, AlarmKind, Header, HistoryHash, List, LogEnd, SnapshotPiece, Status, StoreHash,
    },
};

/// A snapshot of one server's data, received in pieces. Made by [`Maintenance::snapshot`].
#[derive(Debug)]
#[must_use = "a snapshot is read piece by piece"]
pub struct Snapshot {
    pieces: Streaming<SnapshotResponse>,
}

impl Snapshot {
    /// The next piece, or nothing after the last one.
    ///
    /// # Errors
    /// The error that broke the stream. A snapshot cannot be resumed: start again.
    ///
    /// # Cancel safety
    /// Cancel safe: no piece is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<SnapshotPiece>, Error> {
        let piece = self.pieces.message().await;
        let broken = |status| Error::from_status(status, Operation::Read, "server");
        Ok(piece.map_err(broken)?.map(SnapshotPiece::of))
    }
}

/// Request to compact the history. Made by [`Maintenance::compact`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Compact {
    client: Client,
    request: CompactionRequest,
    timeout: Option<Duration>,
    conditions: Conditions,
}

impl_conditions!(Compact);

impl Compact {
    /// Responds only once the compacted history is removed from the store.
    pub fn physical(mut self) -> Self {
        self.request.physical = true;
        self
    }

    /// Deadline of this call, in place of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl IntoFuture for Compact {
    type Output = Result<Header, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = Call::conditional(self.timeout, self.conditions);
            let compacted = rpc!(self.client, call, KvClient.compact(self.request)).await?;
            Ok(Header::of(compacted.header).unwrap_or_default())
        })
    }
}

/// Maintenance calls. Made by [`Client::maintenance`].
#[derive(Debug, Clone, Copy)]
pub struct Maintenance<'a> {
    client: &'a Client,
}

impl Client {
    /// Status and maintenance of the server that the client currently prefers; use [`Client::only`]
    /// to choose one.
    #[must_use]
    pub fn maintenance(&self) -> Maintenance<'_> {
        Maintenance { client: self }
    }
}

impl Maintenance<'_> {
    /// The state of the server: version, size, leader, progress.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn status(self) -> Result<Status, Error> {
        let (call, request) = (Call::read(None), StatusRequest {});
        let status = rpc!(self.client, call, MaintenanceClient.status(request)).await?;
        Ok(Status::of(status))
    }

    /// Where the log of the server ends. Answered without a leader, too: by it one compares what is
    /// left of a cluster whose quorum is lost. Servers other than tenure do not know the call.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn log_end(self) -> Result<LogEnd, Error> {
        let call = Call::tenure(Operation::Read, Lane::Calls);
        let end = rpc!(self.client, call, MemberClient.log_end(LogEndRequest {})).await?;
        Ok(LogEnd::of(end))
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn alarms(self) -> Result<List<Alarm>, Error> {
        let request = AlarmRequest {
            action: AlarmAction::Get.into(),
            ..Default::default()
        };
        self.alarm(Call::read(None), request).await
    }

    /// Disarms one alarm of one member.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the alarm is disarmed.
    pub async fn disarm(self, member: MemberId, alarm: AlarmKind) -> Result<List<Alarm>, Error> {
        let request = AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: member.get(),
            alarm: alarm.to_message().into(),
        };
        self.alarm(Call::write(None), request).await
    }

    async fn alarm(self, call: Call, request: AlarmRequest) -> Result<List<Alarm>, Error> {
        let alarms = rpc!(self.client, call, MaintenanceClient.alarm(request)).await?;
        Ok(List::alarms(alarms))
    }

    /// Defragments the store of the server, which returns unused space to the file system.
    ///
    /// # Errors
    /// The errors common to all calls. On large stores some servers need longer than the default
    /// deadline: see [`Client::with_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the server.
    pub async fn defragment(self) -> Result<Header, Error> {
        let (call, request) = (Call::write(None), DefragmentRequest {});
        let done = rpc!(self.client, call, MaintenanceClient.defragment(request)).await?;
        Ok(Header::of(done.header).unwrap_or_default())
    }

    /// A hash over everything the server stores.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn hash(self) -> Result<StoreHash, Error> {
        let hash = rpc!(
            self.client,
            Call::read(None),
            MaintenanceClient.hash(HashRequest {})
        )
        .await?;
        Ok(StoreHash::of(hash))
    }

    /// A hash over the history of keys up to `revision`; equal on all servers of a cluster.
    ///
    /// # Errors
    /// [`Compacted`](crate::ErrorKind::Compacted) or
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision) for a revision that cannot be read, and
    /// the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn hash_kv(self, revision: impl Into<Revision>) -> Result<HistoryHash, Error> {
        let request = HashKvRequest {
            revision: revision.into().get(),
        };
        let hash = rpc!(
            self.client,
            Call::read(None),
            MaintenanceClient.hash_kv(request)
        )
        .await?;
        Ok(HistoryHash::of(hash))
    }

    /// Transfers Raft leadership to another member. Only the leader accepts this call.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the server is not the
    /// leader or the target cannot lead, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether leadership moves.
    pub async fn move_leader(self, target: MemberId) -> Result<Header, Error> {
        let request = MoveLeaderRequest {
            target_id: target.get(),
        };
        let call = Call::write(None);
        let moved = rpc!(self.client, call, MaintenanceClient.move_leader(request)).await?;
        Ok(Header::of(moved.header).unwrap_or_default())
    }

    /// Opens a stream of a snapshot of the server's data. The deadline covers the opening only.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn snapshot(self) -> Result<Snapshot, Error> {
        let call = Call::stream(Lane::Bulk, None);
        let pieces = rpc!(
            self.client,
            call,
            MaintenanceClient.snapshot(SnapshotRequest {})
        )
        .await?;
        Ok(Snapshot { pieces })
    }

    /// Compacts the history below `revision`; `revision` itself stays readable.
    ///
    /// # Errors
    /// When awaited: [`Compacted`](crate::ErrorKind::Compacted) when it is compacted already,
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision) when it does not exist yet, and the
    /// errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the compaction is executed.
    pub fn compact(self, revision: impl Into<Revision>) -> Compact {
        let request = CompactionRequest {
            revision: revision.into().get(),
            physical: false,
        };
        Compact {
            client: self.client.clone(),
            request,
            timeout: None,
            conditions: Conditions::default(),
        }
    }
}
