//! What the services share: the node behind the seam, the hub, limits, and the reading of state.
//!
//! Invariant: a read takes one snapshot and answers, header included, from that alone.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tenure_proto::v1;
use tenure_statemachine::{
    AlarmChange, AlarmKind, Command, FeatureLevel, Lease, Operation, ReadError, Reader, Revision,
    Ttl,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};
use tracing::warn;

use super::{
    answer::{
        bulk::{BulkReads, Start, Turn},
        failure::Failure,
        large::{Answer, SMALL_BYTES_MAX},
        reply::Headers,
        status::Reason,
    },
    border::{
        conditions::Conditions,
        far_walks::{self, FarWalks},
    },
    call::Call,
    calls::{Calls, CallsLayer, Charged},
    claim::foreign_keys::ForeignKeys,
};
use crate::{
    events::{ClaimHub, WatchHub},
    fatal,
    node::{Leadership, ProposeError, Replica, reply_to},
    rpc::etcd::{lease::renewals::Renewals, watch::history::History},
    tasks,
    transport::ConnectionInfo,
};

/// Time until an alarm that could not be raised, for want of a leader, is raised again.
const ALARM_PAUSE: Duration = Duration::from_secs(1);

/// What the services are configured with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request, in bytes of its message.
    pub request_bytes_max: usize,
    /// Most operations in a list of a transaction.
    pub txn_operations_max: usize,
    /// Size of the store at which nothing more is written; `None` is no quota.
    pub quota_bytes: Option<u64>,
    /// Longest that a unary call may take.
    pub request_timeout: Duration,
    /// Time without a heartbeat after which a follower stands for election.
    pub election_timeout: Duration,
    /// Shortest life of a lease; what asks for less gets this.
    pub lease_ttl_min: Ttl,
    /// Time between progress responses to a watcher that nothing was sent to, before jitter.
    pub progress_interval: Duration,
}

impl Limits {
    /// etcd's defaults, from a heartbeat of 100 ms and an election timeout of 1 s.
    #[must_use]
    pub const fn standard() -> Self {
        let election_timeout = Duration::from_secs(1);
        Self {
            request_bytes_max: 1536 * 1024,
            txn_operations_max: 128,
            quota_bytes: Some(2 << 30),
            request_timeout: Self::request_timeout(election_timeout),
            election_timeout,
            lease_ttl_min: Self::lease_ttl_min(election_timeout),
            progress_interval: Duration::from_secs(600),
        }
    }

    /// Five seconds for the work, and time for two elections to pass over it.
    #[must_use]
    pub const fn request_timeout(election_timeout: Duration) -> Duration {
        Duration::from_secs(5).saturating_add(election_timeout.saturating_mul(2))
    }

    /// One and a half election timeouts, in whole seconds, so that a lease survives an election.
    #[must_use]
    pub const fn lease_ttl_min(election_timeout: Duration) -> Ttl {
        let millis = election_timeout.saturating_mul(3).as_millis().div_ceil(2);
        Ttl::from_secs(millis.div_ceil(1000) as u64)
    }
}

/// What the services share. One per node.
pub struct Services {
    pub(super) replica: Arc<dyn Replica>,
    pub(super) hub: Arc<WatchHub>,
    pub(super) claims: Arc<ClaimHub>,
    pub(super) history: Arc<History>,
    pub(super) renewals: Renewals,
    pub(super) limits: Limits,
    pub(super) headers: Headers,
    /// This member's id as answers tell it in metadata.
    pub(super) member: AsciiMetadataValue,
    pub(super) leadership: watch::Receiver<Leadership>,
    /// Cancelled when the node stops: streams end with a status that lets clients resume elsewhere.
    pub(super) stopping: CancellationToken,
    pub(super) foreign_keys: ForeignKeys,
    pub(super) bulk_reads: BulkReads,
    pub(super) far_walks: FarWalks,
    pub(super) calls: Calls,
}

impl Services {
    /// The services of a node. Must be called on a runtime.
    #[must_use]
    pub fn new(
        replica: Arc<dyn Replica>,
        hub: Arc<WatchHub>,
        claims: Arc<ClaimHub>,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            headers: Headers::of(replica.as_ref()),
            member: member_value(replica.as_ref()),
            history: History::new(Arc::clone(&replica)),
            renewals: Renewals::spawn(Arc::clone(&replica)),
            leadership: replica.leadership(),
            stopping: CancellationToken::new(),
            foreign_keys: ForeignKeys::default(),
            bulk_reads: BulkReads::new(Arc::clone(&replica)),
            far_walks: FarWalks::new(),
            calls: Calls::new(),
            replica,
            hub,
            claims,
            limits,
        })
    }

    /// Ends every stream with a status on which clients resume elsewhere, and reports the node as
    /// not serving. Unary calls are not affected.
    pub fn drain(&self) {
        self.stopping.cancel();
    }

    /// The layer that bounds what all calls take together.
    #[must_use]
    pub fn calls_layer(&self) -> CallsLayer {
        CallsLayer(self.calls.clone())
    }

    /// Admits a call by its metadata.
    pub(super) fn admit(&self, metadata: &MetadataMap) -> Result<Call, Failure> {
        Call::admit(metadata, &self.leadership, self.limits.request_timeout)
    }

    /// Admits a write of tenure's own: the call, its conditions, and the request without them.
    pub(super) fn admit_write<T: prost::Message>(
        &self,
        request: Request<T>,
        options: impl FnOnce(&mut T) -> Option<v1::WriteOptions>,
    ) -> Result<(Call, Conditions, T), Failure> {
        let call = self.admit(request.metadata())?;
        let conditions = Conditions::of_call(&request)?;
        let mut request = request.into_inner();
        self.check_size(&request)?;
        let conditions = conditions.and(options(&mut request))?;
        Ok((call, conditions, request))
    }

    /// Resolves when a stream must end although its client wants it, with the status to end it.
    pub(super) fn stream_end(&self, call: Call) -> impl Future<Output = Status> + Send + use<> {
        let end = self.call_end(call);
        async move { end.await.into() }
    }

    /// As [`Services::stream_end`], with the failure.
    pub(super) fn call_end(&self, call: Call) -> impl Future<Output = Failure> + Send + use<> {
        let stopping = self.stopping.clone();
        let leadership = self.leadership.clone();
        let election_timeout = self.limits.election_timeout;
        async move {
            // Either arm ends the stream, so what the other had seen no longer matters.
            tokio::select! {
                () = stopping.cancelled() => Reason::Stopped.into(),
                () = call.without_leader(leadership, election_timeout) => Reason::NoLeader.into(),
            }
        }
    }

    /// What is left of a lease. One whose time has come lives until its end is replicated, with
    /// nothing left.
    pub(super) fn remaining(&self, lease: &Lease) -> Ttl {
        let left = self.replica.cluster_time().until(lease.deadline);
        left.min(lease.ttl)
    }

    /// Charges a request that is held while its call waits for the quorum.
    pub(super) fn charge<T: prost::Message>(
        &self,
        request: &Request<T>,
    ) -> Result<Charged, Failure> {
        let connection = request.extensions().get::<ConnectionInfo>();
        self.calls
            .charge(request.get_ref().encoded_len(), connection)
    }

    /// Refuses what is larger than requests may be.
    pub(super) fn check_size(&self, message: &impl prost::Message) -> Result<(), Failure> {
        if message.encoded_len() > self.limits.request_bytes_max {
            return Err(Reason::RequestTooLarge.into());
        }
        Ok(())
    }

    /// Replicates a command, an operation `O` that may have conditions; refusals of the state
    /// machine become reasons.
    pub(super) async fn propose<O: Operation>(
        &self,
        command: Command,
    ) -> Result<(Revision, O::Reply), Failure> {
        let outcome = self.replica.propose(command).await?;
        let (revision, reply) = reply_to::<O>(outcome);
        Ok((revision, reply?))
    }

    /// Replicates an operation under its conditions, if what it costs fits the quota.
    pub(super) async fn write<O: Operation>(
        &self,
        call: &Call,
        conditions: Conditions,
        cost: u64,
        operation: O,
    ) -> Result<(Revision, O::Reply), Failure> {
        self.check_quota_of(&conditions, cost).await?;
        let command = conditions.on(operation.into());
        self.check_answer_memory(&command)?;
        call.write(self.propose::<O>(command)).await
    }

    /// As [`Services::write`], for a write that may walk far. Once it is proposed, its turn lasts
    /// until its outcome is known, whether or not the caller is still there.
    pub(super) async fn write_in_turn<O: Operation>(
        &self,
        turn: far_walks::Turn,
        call: &Call,
        conditions: Conditions,
        cost: u64,
        operation: O,
    ) -> Result<(Revision, O::Reply), Failure> {
        if !turn.is_held() {
            return self.write(call, conditions, cost, operation).await;
        }
        self.check_quota_of(&conditions, cost).await?;
        let command = conditions.on(operation.into());
        self.check_answer_memory(&command)?;
        let replica = Arc::clone(&self.replica);
        let proposed = tasks::spawn("far walk", async move {
            let outcome = replica.propose(command).await;
            drop(turn);
            outcome
        });
        let proposed = async {
            // The task is cancelled only when the runtime ends.
            let outcome = proposed.await.unwrap_or(Err(ProposeError::TimedOut))?;
            let (revision, reply) = reply_to::<O>(outcome);
            Ok::<_, Failure>((revision, reply?))
        };
        call.write(proposed).await
    }

    /// Refuses a write that reads, too, while there is no memory for answers: its own could only be
    /// dropped once it is done. One that may be a repeat is let through.
    fn check_answer_memory(&self, command: &Command) -> Result<(), Failure> {
        let is_repeat = matches!(command, Command::Conditional(it) if it.request.is_some());
        if is_repeat || !command.may_read(FeatureLevel::NEWEST) {
            return Ok(());
        }
        let free = self.bulk_reads.memory().take_now(SMALL_BYTES_MAX);
        free.map(drop).ok_or_else(|| Reason::TooManyRequests.into())
    }

    /// As [`Services::check_quota`], for a command under these conditions. One that may be a
    /// repeat is let through: what it came to the first time must be told although there is no
    /// space for more, and a new one is refused for the alarm that was raised here.
    pub(super) async fn check_quota_of(
        &self,
        conditions: &Conditions,
        cost: u64,
    ) -> Result<(), Failure> {
        let fits = self.check_quota(cost).await;
        if conditions.is_repeatable() {
            return Ok(());
        }
        fits
    }

    /// Resolves with the latest revision once that is later than `seen`; with none when the node
    /// stops.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next_write(&self, seen: Revision) -> Option<Revision> {
        tokio::select! {
            // Either arm may be dropped: what was reached stays reached.
            () = self.replica.reached(seen.next()) => {}
            () = self.stopping.cancelled() => return None,
        }
        self.latest(|reader| Ok(reader.meta().revision)).ok()
    }

    /// Raises the alarm when the store is larger than the quota, until it is raised.
    pub(crate) async fn watch_quota(&self) {
        while self.check_quota(1).await.is_err() {
            let raised = self.latest(|reader| Ok(reader.meta().no_space));
            if raised.unwrap_or(true) || self.stopping.is_cancelled() {
                return;
            }
            tokio::time::sleep(ALARM_PAUSE).await;
        }
    }

    /// Refuses a command that would not fit the quota, and raises the alarm that makes every
    /// member refuse until an operator clears it.
    pub(super) async fn check_quota(&self, cost: u64) -> Result<(), Failure> {
        let Some(quota) = self.limits.quota_bytes.filter(|_| cost > 0) else {
            return Ok(());
        };
        let size = self.replica.storage_bytes().logical;
        if size.saturating_add(cost) < quota {
            return Ok(());
        }
        if !self.latest(|reader| Ok(reader.meta().no_space))? {
            let member = self.replica.identity().member_id;
            warn!(%member, size, quota, "space quota exhausted, raising the alarm");
            let kind = Some(AlarmKind::NoSpace);
            let alarm = AlarmChange {
                member,
                kind,
                active: true,
            };
            // Without the alarm the next request finds the quota exhausted again.
            drop(self.propose::<AlarmChange>(alarm.into()).await);
        }
        Err(Reason::NoSpace.into())
    }

    /// Reads the present state on this thread: for reads of a few rows.
    pub(super) fn latest<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, ReadError>,
    ) -> Result<T, Failure> {
        read_state(self.replica.as_ref(), read)
    }

    /// The response to a write that was done.
    pub(super) fn written<M: prost::Message + Default>(
        &self,
        message: M,
    ) -> Result<Response<M>, Failure> {
        Answer::of_write(message, &self.bulk_reads.memory())
    }

    /// The response to a read of a few rows that was made on this thread.
    pub(super) fn found<M: prost::Message + Default>(
        &self,
        message: M,
    ) -> Result<Response<M>, Failure> {
        Ok(match Answer::of_read(message, &self.bulk_reads.memory())? {
            Ok(message) => Response::new(message),
            Err(answer) => answer.instead_of(Response::new(M::default())),
        })
    }

    /// The response to a read of unknown size: read, and when it is large encoded, on a thread of
    /// its own.
    pub(super) async fn answer<M: prost::Message + Default + 'static>(
        &self,
        call: &Call,
        read: impl Fn(&Reader<'_>) -> Result<M, ReadError> + Clone + Send + 'static,
    ) -> Result<Response<M>, Failure> {
        let read =
            move |reader: &Reader<'_>, turn: &Turn| Ok(Answer::unless_small(turn, read(reader)?));
        let reading = self.bulk_reads.read_when_free(Start::Charged, read);
        Ok(match call.read(reading).await?? {
            Ok(message) => Response::new(message),
            Err(answer) => answer.instead_of(Response::new(M::default())),
        })
    }

    /// Reads the present state on a thread of its own: for reads of unknown size, which are
    /// refused when they find no memory.
    pub(super) async fn latest_bulk<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.bulk_reads.read(read).await
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn member_value(replica: &dyn Replica) -> AsciiMetadataValue {
    let id = replica.identity().member_id.to_string();
    id.parse().expect("hexadecimal digits are ascii")
}

fn read_state<T>(
    replica: &dyn Replica,
    read: impl FnOnce(&Reader<'_>) -> Result<T, ReadError>,
) -> Result<T, Failure> {
    let engine = replica.engine();
    let view = match engine.snapshot() {
        Ok(view) => view,
        Err(error) => fatal::stop(&error),
    };
    let reader = match Reader::new(view.as_ref()) {
        Ok(reader) => reader,
        Err(fault) => fatal::stop(&fault),
    };
    Ok(read(&reader)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_is_two_seconds_by_default() {
        assert_eq!(Limits::standard().lease_ttl_min, Ttl::from_secs(2));
        assert_eq!(
            Limits::lease_ttl_min(Duration::from_secs(10)),
            Ttl::from_secs(15)
        );
        assert_eq!(Limits::standard().request_timeout, Duration::from_secs(7));
    }
}
