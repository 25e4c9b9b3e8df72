//! Questions to, and orders for, a particular server: status, alarms, hashes, snapshots.
//!
//! The server that answers is the one the client prefers at the moment; use [`Client::only`] to
//! choose it.

use tenure_proto::etcdserverpb::{
    AlarmRequest, DefragmentRequest, HashKvRequest, HashRequest, MoveLeaderRequest,
    SnapshotRequest, SnapshotResponse, StatusRequest, alarm_request::AlarmAction,
    maintenance_client::MaintenanceClient,
};
use tonic::Streaming;

use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    id::{MemberId, Revision},
    response::{AlarmKind, AlarmList, Header, HistoryHash, SnapshotPiece, Status, StoreHash},
};

/// A snapshot of one server's data as it arrives. Made by [`Client::snapshot`].
#[derive(Debug)]
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

impl Client {
    /// The state of the server: version, size, leader, progress.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn status(&self) -> Result<Status, Error> {
        let (call, request) = (Call::read(None), StatusRequest {});
        let status = ask!(self, call, MaintenanceClient.status(request)).await?;
        Ok(Status::of(status))
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn alarm_list(&self) -> Result<AlarmList, Error> {
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
    pub async fn alarm_disarm(
        &self,
        member: MemberId,
        alarm: AlarmKind,
    ) -> Result<AlarmList, Error> {
        let request = AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: member.get(),
            alarm: alarm.to_message().into(),
        };
        self.alarm(Call::write(None), request).await
    }

    async fn alarm(&self, call: Call, request: AlarmRequest) -> Result<AlarmList, Error> {
        let alarms = ask!(self, call, MaintenanceClient.alarm(request)).await?;
        Ok(AlarmList::of(alarms))
    }

    /// Gives unused space of the server back to its file system.
    ///
    /// # Errors
    /// Whatever any call can meet. On large stores some servers need longer than the default
    /// deadline: see [`Client::with_timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the server.
    pub async fn defragment(&self) -> Result<Header, Error> {
        let (call, request) = (Call::write(None), DefragmentRequest {});
        let done = ask!(self, call, MaintenanceClient.defragment(request)).await?;
        Ok(Header::of(done.header).unwrap_or_default())
    }

    /// A hash over everything the server stores.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn hash(&self) -> Result<StoreHash, Error> {
        let hash = ask!(
            self,
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
    pub async fn hash_kv(&self, revision: impl Into<Revision>) -> Result<HistoryHash, Error> {
        let request = HashKvRequest {
            revision: revision.into().get(),
        };
        let hash = ask!(self, Call::read(None), MaintenanceClient.hash_kv(request)).await?;
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
    pub async fn move_leader(&self, target: MemberId) -> Result<Header, Error> {
        let request = MoveLeaderRequest {
            target_id: target.get(),
        };
        let call = Call::write(None);
        let moved = ask!(self, call, MaintenanceClient.move_leader(request)).await?;
        Ok(Header::of(moved.header).unwrap_or_default())
    }

    /// Starts to read a snapshot of the server's data. The deadline covers the start only.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let call = Call::stream(Lane::Bulk, None);
        let pieces = ask!(self, call, MaintenanceClient.snapshot(SnapshotRequest {})).await?;
        Ok(Snapshot { pieces })
    }
}
