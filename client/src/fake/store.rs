//! The state shared by all nodes, with queries for tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use tenure_proto::v1;
use tenure_statemachine::{
    ClaimState, ClusterTime, Command, Conditional, Context, DeleteRange, FeatureLevel, FencePolicy,
    Guard, InstanceName, KeyRange, KeyValue, Lease, LeaseGrant, LeaseId, MemEngine, Operation,
    Outcome, Put, RangeQuery, Reader, Register, RegistryCommand, Reply, RequestId, Revision,
    SessionOpen, StateMachine, Ttl, claim_key, service_range,
};
use tokio::time::Instant;
use tonic::Status;

use super::{arrival::Arrival, message};

/// The state, and a record of the calls and commands.
pub(crate) struct Store {
    machine: StateMachine,
    engine: Arc<MemEngine>,
    /// Index of the last command.
    index: u64,
    /// The start of cluster time.
    started: Instant,
    last_lease: i64,
    calls: BTreeMap<&'static str, u32>,
    pub(super) is_tenure: bool,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) executed: Vec<String>,
    /// Number of claims ever made.
    pub(crate) claimed: usize,
    /// Number of sessions ever opened.
    pub(crate) opened: usize,
    /// The password of every user.
    pub(crate) password: String,
    /// Whether authentication is not enabled.
    pub(crate) open: bool,
    /// The only token that is accepted, if any is asked for.
    pub(crate) accepted: Option<String>,
    /// Number of open streams of renewals.
    pub(crate) renewing: usize,
}

impl Store {
    pub(super) fn of_tenure() -> Self {
        Self::new(true)
    }

    pub(super) fn of_etcd() -> Self {
        Self::new(false)
    }

    fn new(is_tenure: bool) -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(Arc::clone(&engine) as _);
        let mut store = Self {
            machine: machine.expect("an empty engine can be opened"),
            engine,
            index: 0,
            started: Instant::now(),
            last_lease: 0,
            calls: BTreeMap::new(),
            is_tenure,
            arrivals: Vec::new(),
            executed: Vec::new(),
            claimed: 0,
            opened: 0,
            password: String::new(),
            open: false,
            accepted: None,
            renewing: 0,
        };
        store.apply(Command::RaiseLevel(FeatureLevel::NEWEST));
        store
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        self.count(arrival.call);
        self.arrivals.push(arrival);
    }

    /// Refuses a call whose token is not accepted, as etcd does.
    pub(super) fn check_token(&self, arrival: &Arrival) -> Result<(), Status> {
        match (&self.accepted, &arrival.token) {
            _ if arrival.call == "authenticate" => Ok(()),
            (Some(_), None) => Err(Status::invalid_argument("etcdserver: user name is empty")),
            (Some(accepted), Some(token)) if accepted != token => {
                Err(Status::unauthenticated("etcdserver: invalid auth token"))
            }
            _ => Ok(()),
        }
    }

    /// Counts a call, or another event for tests.
    pub(super) fn count(&mut self, call: &'static str) {
        *self.calls.entry(call).or_default() += 1;
    }

    /// Returns how often a call arrived.
    pub(crate) fn calls(&self, call: &str) -> u32 {
        self.calls.get(call).copied().unwrap_or(0)
    }

    /// Returns the calls that required a leader.
    pub(crate) fn require_leader(&self) -> BTreeSet<&'static str> {
        let led = self.arrivals.iter().filter(|arrival| arrival.leader);
        led.map(|arrival| arrival.call).collect()
    }

    pub(super) fn now(&self) -> ClusterTime {
        let passed = self.started.elapsed().as_millis();
        ClusterTime(u64::try_from(passed).expect("tests end"))
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader::new(&*self.engine).expect("memory can be read")
    }

    /// The revision of the key space.
    pub(crate) fn revision(&self) -> i64 {
        self.machine.meta().revision.0
    }

    /// Applies a command of a test.
    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let context = Context {
            index: self.index,
            term: 1,
            now: self.now(),
        };
        let mut batch = self.machine.begin();
        let outcome = batch.apply(&context, &command);
        let outcome = outcome.expect("memory can be read");
        batch.commit().expect("memory can be written");
        outcome
    }

    /// Applies the command of a call, with the conditions that it carries.
    pub(super) fn write<O: Operation>(
        &mut self,
        arrival: &Arrival,
        operation: O,
    ) -> Result<O::Reply, Status> {
        let command = operation.into();
        let executed = message::executed(&command);
        let before = self.revision();
        let outcome = self.apply(self.conditional(arrival, command));
        let reply = outcome.reply.map_err(message::refused)?;
        // A remembered outcome is not an execution.
        let is_new = self.revision() > before;
        if let (Reply::Acquire(reply), true) = (&reply, is_new) {
            self.claimed += reply.claims.len();
        }
        self.executed.extend(executed.filter(|_| is_new));
        Ok(O::reply(reply).expect("a reply is its command's"))
    }

    fn conditional(&self, arrival: &Arrival, command: Command) -> Command {
        let guards = arrival.guards.iter().map(|(name, token)| Guard {
            name: name.clone(),
            token: Revision(*token),
        });
        let by_key = arrival.idempotency_key.clone();
        let by_key = by_key.map(|key| RequestId::Key(key.into()));
        let by_number = arrival.request.map(|(session, sequence, answered)| {
            let session = LeaseId(session);
            RequestId::Session {
                session,
                sequence,
                answered,
            }
        });
        assert!(
            by_key.is_none() || by_number.is_none(),
            "a request has one id"
        );
        let request = by_key.or(by_number);
        if !self.is_tenure || (arrival.guards.is_empty() && request.is_none()) {
            return command;
        }
        Command::Conditional(Box::new(Conditional {
            guards: guards.collect(),
            request,
            command,
        }))
    }

    pub(super) fn next_lease(&mut self) -> LeaseId {
        self.last_lease += 1;
        LeaseId(self.last_lease)
    }

    pub(crate) fn grant(&mut self, ttl_ms: u64) -> i64 {
        let id = self.next_lease();
        let ttl = Ttl(ttl_ms);
        self.apply(Command::LeaseGrant(LeaseGrant { id, ttl }));
        id.0
    }

    pub(super) fn open_session(&mut self, ttl_ms: u64) -> Result<(LeaseId, Ttl), Status> {
        let lease = self.next_lease();
        self.opened += 1;
        let grant = Some(Ttl(ttl_ms));
        let outcome = self.apply(Command::SessionOpen(SessionOpen { lease, grant }));
        outcome.reply.map_err(message::refused)?;
        Ok((lease, Ttl(ttl_ms)))
    }

    /// Ends a lease, and deletes its keys.
    pub(crate) fn revoke(&mut self, lease: i64) {
        self.apply(Command::LeaseRevoke(LeaseId(lease)));
    }

    pub(crate) fn end_leases(&mut self) {
        for lease in self.leases() {
            self.revoke(lease.id.0);
        }
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.reader().leases().expect("memory can be read")
    }

    /// Writes a key, so that guards can use its create revision as a token.
    pub(crate) fn hold(&mut self, key: &str) -> i64 {
        let put = Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..Put::default()
        };
        self.apply(Command::Put(put)).revision.0
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        let range = KeyRange::single(Bytes::copy_from_slice(key));
        self.apply(Command::DeleteRange(DeleteRange {
            range,
            want_previous: false,
        }));
    }

    pub(crate) fn within(&self, range: KeyRange) -> Vec<KeyValue> {
        let found = self.reader().range(&RangeQuery::latest(range));
        found.expect("memory can be read").kvs
    }

    /// The keys that begin with a prefix.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<Bytes> {
        let all = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        let keys = self.within(all).into_iter().map(|kv| kv.key);
        keys.filter(|key| key.starts_with(prefix.as_bytes()))
            .collect()
    }

    /// The claim that holds a name.
    pub(crate) fn holder(&self, name: impl AsRef<[u8]>) -> Option<ClaimState> {
        let found = self.reader().holder(name.as_ref());
        found.expect("memory can be read")
    }

    pub(super) fn claim_of(&self, name: &[u8], lease: LeaseId) -> Option<ClaimState> {
        let found = self.reader().claim_of(name, lease);
        found.expect("memory can be read")
    }

    /// Returns the number of claims on a name.
    pub(crate) fn claims(&self, name: &str) -> usize {
        let queue = self.reader().queue(name.as_bytes(), 0);
        let queue = queue.expect("memory can be read");
        queue.holders.len() + usize::try_from(queue.waiting).expect("a short queue")
    }

    /// Deletes the key of the claim of a lease on a name.
    pub(crate) fn end_claim(&mut self, name: &str, lease: i64) {
        let key = claim_key(name.as_bytes(), LeaseId(lease));
        self.delete(&key);
    }

    pub(crate) fn policies(&self) -> Vec<FencePolicy> {
        self.reader().policies().expect("memory can be read")
    }

    /// Registers an instance under a lease that is not renewed.
    pub(crate) fn register(&mut self, instance: &v1::Instance) {
        let lease = LeaseId(self.grant(60_000));
        let register = Register {
            name: InstanceName {
                service: instance.service.clone(),
                id: instance.id.clone(),
            },
            instance: instance.encode_to_vec().into(),
            lease,
            ..Register::default()
        };
        let command = RegistryCommand::Register(register);
        let outcome = self.apply(Command::Registry(command));
        outcome.reply.expect("the instance is valid");
    }

    /// The instances of a service.
    pub(crate) fn instances(&self, service: &str) -> Vec<v1::Registration> {
        let found = self.within(service_range(service)).into_iter();
        found.map(message::registration).collect()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("revision", &self.revision())
            .field("keys", &self.keys(""))
            .field("leases", &self.leases())
            .field("calls", &self.calls)
            .field("executed", &self.executed)
            .finish_non_exhaustive()
    }
}
