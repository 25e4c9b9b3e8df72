//! Questions to, and orders for, a particular server: status, alarms, hashes, snapshots.
//!
//! The server that answers is the one the client prefers at the moment; use [`Client::only`] to
//! choose it.

use std::{future::IntoFuture, time::Duration};

use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DefragmentRequest, HashKvRequest, HashRequest,
    MoveLeaderRequest, SnapshotRequest, SnapshotResponse, StatusRequest,
    alarm_request::AlarmAction, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use tonic::Streaming;

use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    conditions::{Conditions, conditional},
    error::{Error, Operation},
    id::{MemberId, Revision},
    response::{Alarm, AlarmKind, Header, HistoryHash, List, SnapshotPiece, Status, StoreHash},
};

/// A snapshot of one server's data as it arrives. Made by [`Maintenance::snapshot`].
#[derive(Debug)]
#[must_use = "a snapshot is read piece by piece"]
pub struct Snapshot {
    pieces: Streaming<SnapshotResponse>,
}

impl Snapshot {
    /// The next piece, or nothing after the last one.
    ///
    /// # Errors
    /// Whatever broke the stream. A snapshot is not resumed: start again.
    ///
    /// # Cancel safety
    /// Cancel safe: no piece is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<SnapshotPiece>, Error> {
        let piece = self.pieces.message().await;
        let broken = |status| Error::from_status(status, Operation::Read, "server");
        Ok(piece.map_err(broken)?.map(SnapshotPiece::of))
    }
}

/// Gives up history below a revision. Made by [`Maintenance::compact`].
#[derive(Debug, Clone)]
#[must_use = "a request is sent when it is awaited"]
pub struct Compact {
    client: Client,
    request: CompactionRequest,
    timeout: Option<Duration>,
    conditions: Conditions,
}

conditional!(Compact);

impl Compact {
    /// Answers only when the space has been given back.
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
            let compacted = ask!(self.client, call, KvClient.compact(self.request)).await?;
            Ok(Header::of(compacted.header).unwrap_or_default())
        })
    }
}

/// Questions to a server, and orders for it. Made by [`Client::maintenance`].
#[derive(Debug, Clone, Copy)]
pub struct Maintenance<'a> {
    client: &'a Client,
}

impl Client {
    /// The state and the upkeep of the server that the client prefers at the moment; use
    /// [`Client::only`] to choose one.
    #[must_use]
    pub fn maintenance(&self) -> Maintenance<'_> {
        Maintenance { client: self }
    }
}

impl Maintenance<'_> {
    /// The state of the server: version, size, leader, progress.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn status(self) -> Result<Status, Error> {
        let (call, request) = (Call::read(None), StatusRequest {});
        let status = ask!(self.client, call, MaintenanceClient.status(request)).await?;
        Ok(Status::of(status))
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn alarms(self) -> Result<List<Alarm>, Error> {
        let request = AlarmRequest {
            action: AlarmAction::Get.into(),
            ..Default::default()
        };
        self.alarm(Call::read(None), request).await
    }

    /// Takes back one alarm of one member.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the alarm is taken back.
    pub async fn disarm(self, member: MemberId, alarm: AlarmKind) -> Result<List<Alarm>, Error> {
        let request = AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: member.get(),
            alarm: alarm.to_message().into(),
        };
        self.alarm(Call::write(None), request).await
    }

    async fn alarm(self, call: Call, request: AlarmRequest) -> Result<List<Alarm>, Error> {
        let alarms = ask!(self.client, call, MaintenanceClient.alarm(request)).await?;
        Ok(List::alarms(alarms))
    }

    /// Gives unused space of the server back to its file system.
    ///
    /// # Errors
    /// Whatever any call can meet. On large stores some servers need longer than the default
    /// deadline: see [`Client::with_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the server.
    pub async fn defragment(self) -> Result<Header, Error> {
        let (call, request) = (Call::write(None), DefragmentRequest {});
        let done = ask!(self.client, call, MaintenanceClient.defragment(request)).await?;
        Ok(Header::of(done.header).unwrap_or_default())
    }

    /// A hash over everything the server stores.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn hash(self) -> Result<StoreHash, Error> {
        let hash = ask!(
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
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision) for a revision out of reach, and
    /// whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn hash_kv(self, revision: impl Into<Revision>) -> Result<HistoryHash, Error> {
        let request = HashKvRequest {
            revision: revision.into().get(),
        };
        let hash = ask!(
            self.client,
            Call::read(None),
            MaintenanceClient.hash_kv(request)
        )
        .await?;
        Ok(HistoryHash::of(hash))
    }

    /// Hands leadership to another member. Only the leader can do it.
    ///
    /// # Errors
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) when the server does not lead
    /// or the target cannot, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether leadership moves.
    pub async fn move_leader(self, target: MemberId) -> Result<Header, Error> {
        let request = MoveLeaderRequest {
            target_id: target.get(),
        };
        let call = Call::write(None);
        let moved = ask!(self.client, call, MaintenanceClient.move_leader(request)).await?;
        Ok(Header::of(moved.header).unwrap_or_default())
    }

    /// Starts to read a snapshot of the server's data. The deadline covers the start only.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn snapshot(self) -> Result<Snapshot, Error> {
        let call = Call::stream(Lane::Bulk, None);
        let pieces = ask!(
            self.client,
            call,
            MaintenanceClient.snapshot(SnapshotRequest {})
        )
        .await?;
        Ok(Snapshot { pieces })
    }

    /// Gives up history below `revision`; `revision` itself stays readable.
    ///
    /// # Errors
    /// When awaited: [`Compacted`](crate::ErrorKind::Compacted) when it is given up already,
    /// [`FutureRevision`](crate::ErrorKind::FutureRevision) when it does not exist yet, and
    /// whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the compaction happens.
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
