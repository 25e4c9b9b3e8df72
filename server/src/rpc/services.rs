//! The state that all services share, and how they read and write.
//!
//! Invariant: a read takes one snapshot, from which the whole response is made, header included.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tenure_proto::v1;
use tenure_statemachine::{
    AlarmChange, AlarmKind, Command, FeatureLevel, Lease, Need, Operation, ReadError, Reader,
    Revision, Ttl,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, metadata::AsciiMetadataValue};
use tracing::warn;

use super::{
    admission::{AdmissionLayer, Allowed, Caller, Gate, Permit, StreamCaller, catch_up},
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
    limits::Limits,
};
use crate::{
    auth::Auth,
    backup::SnapshotStreams,
    events::{ClaimHub, WatchHub},
    fatal,
    node::{Integrity, Leadership, ProposeError, Replica, reply_to},
    rpc::etcd::{lease::renewals::Renewals, watch::history::History},
    tasks,
    transport::ConnectionInfo,
};

/// How often a write is checked again because users or permissions changed while it was on its way:
/// they change rarely, and a caller that is unlucky more often may repeat it.
pub(super) const RECHECKS_MAX: usize = 3;

/// Time until an alarm that could not be raised without a leader is raised again.
const ALARM_PAUSE: Duration = Duration::from_secs(1);

/// The state that the services share. One per node.
pub struct Services {
    pub(super) replica: Arc<dyn Replica>,
    /// Tokens, passwords, and the log of what was done with them.
    pub(super) auth: Arc<Auth>,
    pub(super) gate: Arc<Gate>,
    pub(super) hub: Arc<WatchHub>,
    pub(super) claims: Arc<ClaimHub>,
    pub(super) history: Arc<History>,
    pub(super) renewals: Renewals,
    pub(super) limits: Limits,
    pub(super) headers: Headers,
    /// This member's id as metadata of responses.
    pub(super) member: AsciiMetadataValue,
    pub(super) leadership: watch::Receiver<Leadership>,
    integrity: watch::Receiver<Integrity>,
    /// Cancelled when the node stops: streams end with a status that lets clients resume elsewhere.
    pub(super) stopping: CancellationToken,
    pub(super) foreign_keys: ForeignKeys,
    pub(super) bulk_reads: BulkReads,
    pub(super) far_walks: FarWalks,
    pub(super) snapshots: SnapshotStreams,
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
        auth: Arc<Auth>,
    ) -> Arc<Self> {
        Arc::new(Self {
            headers: Headers::of(replica.as_ref()),
            member: member_value(replica.as_ref()),
            history: History::new(Arc::clone(&replica)),
            renewals: Renewals::spawn(Arc::clone(&replica)),
            leadership: replica.leadership(),
            integrity: replica.integrity(),
            stopping: CancellationToken::new(),
            foreign_keys: ForeignKeys::default(),
            bulk_reads: BulkReads::new(Arc::clone(&replica)),
            far_walks: FarWalks::new(),
            snapshots: SnapshotStreams::default(),
            calls: Calls::new(),
            replica,
            auth,
            gate: Arc::default(),
            hub,
            claims,
            limits,
        })
    }

    /// Ends every stream with a status on which clients resume elsewhere, and reports the node as
    /// not serving. Unary calls continue.
    pub fn drain(&self) {
        self.stopping.cancel();
    }

    /// The layer that bounds the memory of open calls.
    #[must_use]
    pub fn calls_layer(&self) -> CallsLayer {
        CallsLayer::new(self.calls.clone())
    }

    /// The layer that finds out who calls, and refuses what a method does not allow.
    #[must_use]
    pub(super) fn admission_layer(self: &Arc<Self>) -> AdmissionLayer {
        AdmissionLayer::new(Arc::clone(self))
    }

    /// Admits a call that reads, by its metadata and its caller.
    pub(super) fn admit<T>(&self, request: &Request<T>) -> Result<Call, Failure> {
        self.refuse_unsound()?;
        self.admit_upkeep(request)
    }

    /// Admits a call that answers with no data of users, or that the state machine judges: such are
    /// served whatever the alarms say of this member's state.
    pub(super) fn admit_upkeep<T>(&self, request: &Request<T>) -> Result<Call, Failure> {
        self.refuse_on_learner()?;
        self.admit_anywhere(request)
    }

    /// Refuses reads of a state that an alarm says is wrong, or may be.
    pub(super) fn refuse_unsound(&self) -> Result<(), Failure> {
        unsound(*self.integrity.borrow()).map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// Refuses what is served unless this member's own state is known to be wrong.
    pub(super) fn refuse_differing(&self) -> Result<(), Failure> {
        match *self.integrity.borrow() {
            Integrity::Differs => Err(Reason::StateDiffers.into()),
            Integrity::Sound | Integrity::Unknown => Ok(()),
        }
    }

    /// Refuses what a learner does not serve.
    pub(super) fn refuse_on_learner(&self) -> Result<(), Failure> {
        if self.leadership.borrow().is_learner {
            return Err(Reason::NotForLearner.into());
        }
        Ok(())
    }

    /// Admits a call that learners serve, too.
    pub(super) fn admit_anywhere<T>(&self, request: &Request<T>) -> Result<Call, Failure> {
        let timeout = self.limits.request_timeout;
        let call = Call::admit(request.metadata(), &self.leadership, timeout)?;
        let caller = request.extensions().get::<Caller>();
        Ok(call.by(caller.cloned().unwrap_or_default()))
    }

    /// Whether authentication is enabled. Reads the state only when users or permissions changed
    /// since it was asked last.
    pub(super) fn authenticates(&self) -> Result<bool, Failure> {
        let changes = self.hub.auth_changes_seen();
        if let Some(enabled) = self.gate.enabled_at(changes) {
            return Ok(enabled);
        }
        let enabled = self.latest(|reader| Ok(reader.meta().authenticates))?;
        self.gate.note_enabled(changes, enabled);
        Ok(enabled)
    }

    /// Permits a call to read what needs `needs`, which are checked now and in every state that is
    /// read.
    pub(super) async fn permit(&self, call: &Call, needs: Vec<Need>) -> Result<Permit, Failure> {
        let permit = Permit::new(Arc::clone(&self.gate), call.caller().clone(), needs);
        if self.authenticates()? {
            let check = || self.latest(|reader| permit.check(reader));
            if let Err(failure) = check() {
                catch_up(self.replica.as_ref(), failure).await?;
                check()?;
            }
        }
        Ok(permit)
    }

    /// The caller of a stream that is open for long.
    pub(super) fn stream_caller(&self, call: &Call) -> StreamCaller {
        let changes = self.hub.auth_changes();
        StreamCaller::new(Arc::clone(&self.gate), call.caller().clone(), changes)
    }

    /// Allows a command of a call, which has its caller for a principal then.
    pub(super) async fn allow(&self, call: &Call, command: &Command) -> Result<Allowed, Failure> {
        if !self.authenticates()? {
            return Ok(Allowed::of_anyone(command.clone()));
        }
        let check = || self.latest(|reader| self.gate.allow(reader, call.caller(), command));
        match check() {
            Err(failure) => {
                catch_up(self.replica.as_ref(), failure).await?;
                check()
            }
            allowed => allowed,
        }
    }

    /// Admits a write: the call, its conditions, and the request.
    pub(super) fn admit_write<T: prost::Message>(
        &self,
        request: Request<T>,
    ) -> Result<(Call, Conditions, T), Failure> {
        self.admit_write_with(request, |_| None)
    }

    /// As [`Services::admit_write`], for a request that may carry conditions in its options.
    pub(super) fn admit_write_with<T: prost::Message>(
        &self,
        request: Request<T>,
        options: impl FnOnce(&mut T) -> Option<v1::WriteOptions>,
    ) -> Result<(Call, Conditions, T), Failure> {
        let call = self.admit_upkeep(&request)?;
        let conditions = Conditions::of_call(&request)?;
        let mut request = request.into_inner();
        self.check_size(&request)?;
        let conditions = conditions.and(options(&mut request))?;
        let conditions = self.scoped(&call, conditions)?;
        Ok((call, conditions, request))
    }

    /// Names the user in conditions with a request id, while there are users.
    fn scoped(&self, call: &Call, conditions: Conditions) -> Result<Conditions, Failure> {
        if !conditions.is_repeatable() || !self.authenticates()? {
            return Ok(conditions);
        }
        self.latest(|reader| {
            let Some(user) = self.gate.owner(reader, call.caller())? else {
                return Ok(conditions);
            };
            // After a restore there is none until the first log-in.
            let secret = reader.token_secret()?.unwrap_or_default();
            Ok(conditions.of_user(&user, &secret))
        })
    }

    /// Resolves when the server must end a stream, with the status to end it with.
    pub(super) fn stream_end(&self, call: Call) -> impl Future<Output = Status> + Send + use<> {
        let end = self.call_end(call);
        async move { end.await.into() }
    }

    /// As [`Services::stream_end`], with the failure.
    pub(super) fn call_end(&self, call: Call) -> impl Future<Output = Failure> + Send + use<> {
        self.end_when(call, unsound)
    }

    /// As [`Services::stream_end`], for a stream of renewals: it goes on unless this member's own
    /// state, by which it would answer, is known to be wrong.
    pub(super) fn renewals_end(&self, call: Call) -> impl Future<Output = Status> + Send + use<> {
        let differs = |it: Integrity| (it == Integrity::Differs).then_some(Reason::StateDiffers);
        let end = self.end_when(call, differs);
        async move { end.await.into() }
    }

    fn end_when(
        &self,
        call: Call,
        unsound: fn(Integrity) -> Option<Reason>,
    ) -> impl Future<Output = Failure> + Send + use<> {
        let stopping = self.stopping.clone();
        let leadership = self.leadership.clone();
        let election_timeout = self.limits.election_timeout;
        let mut integrity = self.integrity.clone();
        async move {
            let refused = async {
                let refused = integrity.wait_for(|now| unsound(*now).is_some()).await;
                refused.ok().and_then(|now| unsound(*now))
            };
            // Either arm ends the stream, so the progress of the others does not matter.
            tokio::select! {
                () = stopping.cancelled() => Reason::Stopped.into(),
                () = call.without_leader(leadership, election_timeout) => Reason::NoLeader.into(),
                Some(reason) = refused => reason.into(),
            }
        }
    }

    /// The remaining TTL of a lease: zero from its deadline until its expiry is replicated.
    pub(super) fn remaining(&self, lease: &Lease) -> Ttl {
        let left = self.replica.cluster_time().until(lease.deadline);
        left.min(lease.ttl)
    }

    /// Charges a request that is held while its call waits for the quorum, and takes `beside` more
    /// bytes than its message.
    pub(super) async fn charge<T: prost::Message>(
        &self,
        request: &Request<T>,
        beside: usize,
    ) -> Result<Charged, Failure> {
        let connection = request.extensions().get::<ConnectionInfo>();
        let bytes = request.get_ref().encoded_len().saturating_add(beside);
        self.calls.charge(bytes, connection).await
    }

    /// Refuses requests larger than the request limit.
    pub(super) fn check_size(&self, message: &impl prost::Message) -> Result<(), Failure> {
        if message.encoded_len() > self.limits.request_bytes_max {
            return Err(Reason::RequestTooLarge.into());
        }
        Ok(())
    }

    /// Replicates a command, an operation `O` that may have conditions. A refusal of the state
    /// machine becomes a failure.
    pub(super) async fn propose<O: Operation>(
        &self,
        allowed: Allowed,
    ) -> Result<(Revision, O::Reply), Failure> {
        let outcome = self.replica.propose(allowed.into_command()).await?;
        let (revision, reply) = reply_to::<O>(outcome);
        Ok((revision, reply?))
    }

    /// Replicates an operation under its conditions, if its cost fits the quota.
    pub(super) async fn write<O: Operation>(
        &self,
        call: &Call,
        conditions: Conditions,
        cost: u64,
        operation: O,
    ) -> Result<(Revision, O::Reply), Failure> {
        let is_repeatable = conditions.is_repeatable();
        let command = conditions.on(operation.into());
        let mut allowed = self.allow(call, &command).await?;
        self.check_quota_unless(is_repeatable, cost).await?;
        self.check_answer_memory(&command)?;
        for _ in 0..RECHECKS_MAX {
            let done = call.write(self.propose::<O>(allowed)).await;
            match done {
                // Users or permissions changed while it was on its way; nothing was executed.
                Err(failure) if failure.reason() == Reason::AuthOldRevision => {
                    allowed = self.allow(call, &command).await?;
                }
                done => return done,
            }
        }
        call.write(self.propose::<O>(allowed)).await
    }

    /// As [`Services::write`], for an operation without a reply; returns the header of its
    /// response.
    pub(super) async fn write_for_header(
        &self,
        call: &Call,
        conditions: Conditions,
        cost: u64,
        operation: impl Operation<Reply = ()>,
    ) -> Result<Option<v1::Header>, Failure> {
        let (revision, ()) = self.write(call, conditions, cost, operation).await?;
        Ok(Some(self.headers.own(revision)))
    }

    /// As [`Services::write`], for a write that may walk far. Once it is proposed, its turn lasts
    /// until its outcome is known, also when the call is cancelled.
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
        let is_repeatable = conditions.is_repeatable();
        let command = conditions.on(operation.into());
        let allowed = self.allow(call, &command).await?;
        self.check_quota_unless(is_repeatable, cost).await?;
        self.check_answer_memory(&command)?;
        let replica = Arc::clone(&self.replica);
        let proposed = tasks::spawn("far walk", async move {
            let outcome = replica.propose(allowed.into_command()).await;
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

    /// Refuses a write with reads while there is no memory for answers: its response could only be
    /// dropped after it took effect. A request with an id is admitted, because it may be a repeat.
    fn check_answer_memory(&self, command: &Command) -> Result<(), Failure> {
        let is_repeat = matches!(command, Command::Conditional(it) if it.request.is_some());
        if is_repeat || !command.may_read(FeatureLevel::NEWEST) {
            return Ok(());
        }
        let free = self.bulk_reads.memory().take_now(SMALL_BYTES_MAX);
        free.map(drop).ok_or_else(|| Reason::TooManyRequests.into())
    }

    /// As [`Services::check_quota`], unless the command has a request id. That one is admitted: a
    /// repeat gets its remembered outcome although there is no space left, and the state machine
    /// refuses a new one because of the alarm raised here.
    pub(super) async fn check_quota_unless(
        &self,
        is_repeatable: bool,
        cost: u64,
    ) -> Result<(), Failure> {
        let fits = self.check_quota(cost).await;
        if is_repeatable {
            return Ok(());
        }
        fits
    }

    /// Resolves with the latest revision once it is later than `seen`, or with `None` when the node
    /// stops.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next_write(&self, seen: Revision) -> Option<Revision> {
        tokio::select! {
            // Either arm may be dropped: a revision stays reached.
            () = self.replica.reached(seen.next()) => {}
            () = self.stopping.cancelled() => return None,
        }
        self.revision().ok()
    }

    /// Raises the alarm when the store is larger than the quota, and repeats that until it is
    /// raised.
    pub(crate) async fn watch_quota(&self) {
        while self.check_quota(1).await.is_err() {
            if self.has_no_space().unwrap_or(true) || self.stopping.is_cancelled() {
                return;
            }
            tokio::time::sleep(ALARM_PAUSE).await;
        }
    }

    /// Resolves when the node stops.
    pub(crate) async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// Refuses a command that would not fit the quota, and raises the alarm on which every member
    /// refuses writes until an operator clears it.
    pub(super) async fn check_quota(&self, cost: u64) -> Result<(), Failure> {
        let Some(quota) = self.limits.quota_bytes.filter(|_| cost > 0) else {
            return Ok(());
        };
        let size = self.replica.storage_bytes().logical;
        if size.saturating_add(cost) < quota {
            return Ok(());
        }
        if !self.has_no_space()? {
            let member = self.replica.identity().member_id;
            warn!(%member, size, quota, "space quota exhausted, raising the alarm");
            self.set_no_space(true).await;
        }
        Err(Reason::NoSpace.into())
    }

    /// Whether any member has the alarm.
    pub(crate) fn has_no_space(&self) -> Result<bool, Failure> {
        self.latest(|reader| Ok(reader.meta().no_space))
    }

    /// Whether this member has the alarm.
    pub(crate) fn has_own_no_space(&self) -> Result<bool, Failure> {
        let own = (self.replica.identity().member_id, AlarmKind::NoSpace);
        self.latest(|reader| Ok(reader.meta().no_space && reader.alarms()?.contains(&own)))
    }

    /// Raises or clears the alarm of this member. A failure is not reported: its cause is found
    /// again by the next check.
    pub(crate) async fn set_no_space(&self, active: bool) {
        let alarm = AlarmChange {
            member: self.replica.identity().member_id,
            kind: Some(AlarmKind::NoSpace),
            active,
        };
        let allowed = Allowed::of_system(alarm.into());
        _ = self.propose::<AlarmChange>(allowed).await;
    }

    /// Bytes of the store that count against the quota.
    pub(crate) fn logical_bytes(&self) -> u64 {
        self.replica.storage_bytes().logical
    }

    /// The latest revision that this node has applied.
    pub(super) fn revision(&self) -> Result<Revision, Failure> {
        self.latest(|reader| Ok(reader.meta().revision))
    }

    /// Reads the present state on this thread, for reads of a few rows.
    pub(super) fn latest<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, ReadError>,
    ) -> Result<T, Failure> {
        read_state(self.replica.as_ref(), read)
    }

    /// The response to a write that took effect.
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
        Answer::of_read(message, &self.bulk_reads.memory())
    }

    /// The response to a read of unknown size, which is made on a blocking thread, and encoded
    /// there when it is large.
    pub(super) async fn answer<M: prost::Message + Default + 'static>(
        &self,
        call: &Call,
        read: impl Fn(&Reader<'_>) -> Result<M, ReadError> + Clone + Send + 'static,
    ) -> Result<Response<M>, Failure> {
        let read =
            move |reader: &Reader<'_>, turn: &Turn| Ok(Answer::unless_small(turn, read(reader)?));
        let reading = self.bulk_reads.read_when_free(Start::Charged, read);
        call.read(reading).await?.map(Answer::response)
    }

    /// Reads the present state on a blocking thread, for reads of unknown size; refused when there
    /// is no memory for it.
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

/// Why a state of this integrity is not read.
fn unsound(integrity: Integrity) -> Option<Reason> {
    match integrity {
        Integrity::Sound => None,
        Integrity::Differs => Some(Reason::StateDiffers),
        Integrity::Unknown => Some(Reason::Corrupt),
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
