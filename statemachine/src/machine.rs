//! The only door through which state changes.
//!
//! Invariant: a batch reaches the engine as one write, with the counters that describe it, or not
//! at all. What a command does depends on the state, its context and itself, and on nothing else.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    claims::{self, Loss},
    cluster,
    codec::Group,
    command::{ClaimCommand, Command, DeleteRange, Guard, Put, RegistryCommand, Txn},
    compactions::{self, Compaction},
    context::Context,
    effects::Effects,
    engine::{Engine, Table},
    error::{Fault, ReadError, Refusal},
    feature,
    fence::{self, Policies},
    guard,
    keys::MetaRow,
    kv::{self, Change},
    lease,
    meta::Meta,
    once::{self, Asked, Recalled},
    origin::{self, Admission},
    outcome::{Outcome, Reply},
    overlay::{Overlay, Told},
    price::{Budget, EntryAnswers},
    read::Reader,
    registry,
    timers::{self, Timer},
    txn,
    types::Revision,
    will::{self, WILL_ROWS_MAX},
};

/// A state, and the right to change it.
#[derive(Debug)]
pub struct StateMachine {
    engine: Arc<dyn Engine>,
    meta: Meta,
    policies: Policies,
    answers: EntryAnswers,
}

impl StateMachine {
    /// The machine whose state `engine` holds; a new one when it holds none.
    ///
    /// # Errors
    /// When the engine cannot read or holds counters that do not decode.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Fault> {
        let meta = Meta::load(engine.as_ref())?;
        let policies = Policies::load(engine.as_ref())?;
        Ok(Self {
            engine,
            meta,
            policies,
            answers: EntryAnswers::default(),
        })
    }

    /// Starts a batch. Many commands become one write; later ones read earlier ones.
    pub fn begin(&mut self) -> ApplyBatch<'_> {
        let mut overlay = Overlay::new(Arc::clone(&self.engine));
        overlay.policies = self.policies.clone();
        let (meta, answers) = (self.meta, self.answers);
        ApplyBatch {
            machine: self,
            overlay,
            meta,
            answers,
            held: 0,
        }
    }

    /// The counters after the last committed batch.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What the state is kept in.
    #[must_use]
    pub const fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

/// Commands applied but not yet written. Dropped without [`ApplyBatch::commit`], it had no effect.
#[derive(Debug)]
pub struct ApplyBatch<'a> {
    machine: &'a mut StateMachine,
    overlay: Overlay,
    meta: Meta,
    answers: EntryAnswers,
    /// Bytes of the events and answers of the entries before the present one.
    held: usize,
}

impl ApplyBatch<'_> {
    /// Applies one command. Total: whatever the state forbids is a refusal inside the outcome.
    ///
    /// # Errors
    /// When the engine cannot read, when what it holds cannot be true, or when the command's entry
    /// lies before one already applied. The batch must then be dropped and the node stopped.
    pub fn apply(&mut self, context: &Context, command: &Command) -> Result<Outcome, Fault> {
        if context.index < self.meta.applied_index {
            let (index, applied) = (context.index, self.meta.applied_index);
            return Err(Fault::Command(format!(
                "entry {index} after entry {applied}"
            )));
        }
        self.enter(context);
        let outcome = match self.answers.admit(&self.meta, command) {
            Ok(()) => self.apply_admitted(command)?,
            Err(refusal) => self.outcome(Err(refusal), Effects::default()),
        };
        if let Ok(reply) = &outcome.reply {
            self.answers.add(&self.meta, reply);
        }
        Ok(outcome)
    }

    /// The next command is of the entry of `context`.
    fn enter(&mut self, context: &Context) {
        if self.meta.applied_index != context.index {
            // What the batch before this one came to is not held any more.
            if self.meta.applied_index != self.machine.meta.applied_index {
                self.held = self.bytes_held();
            }
            self.overlay.told = Told::default();
        }
        self.meta.advance(context);
        self.answers.enter(context.index);
    }

    fn bytes_held(&self) -> usize {
        let answers = usize::try_from(self.answers.bytes()).unwrap_or(usize::MAX);
        self.held
            .saturating_add(self.overlay.told.bytes)
            .saturating_add(answers)
    }

    fn apply_admitted(&mut self, command: &Command) -> Result<Outcome, Fault> {
        let Command::Conditional(conditional) = command else {
            return self.run(&[], command);
        };
        let (guards, command) = (&conditional.guards, &conditional.command);
        let Some(request) = &conditional.request else {
            return self.run(guards, command);
        };
        let asked = Asked::new(request, guards, command);
        match once::recall(&mut self.overlay, &self.meta, &asked) {
            Ok(Recalled::Known(outcome)) => Ok(*outcome),
            Ok(Recalled::New) => {
                let outcome = self.run(guards, command)?;
                once::remember(&mut self.overlay, &self.meta, &asked, &outcome)?;
                Ok(outcome)
            }
            Err(ReadError::Refused(refusal)) => Ok(self.outcome(Err(refusal), Effects::default())),
            Err(ReadError::Fault(fault)) => Err(fault),
        }
    }

    /// Whether the commands of `group` are to be applied now, which is then taken for granted.
    ///
    /// # Errors
    /// When the engine cannot read, or when what it holds cannot be true.
    pub fn admit(&mut self, context: &Context, group: &Group) -> Result<Admission, Fault> {
        origin::admit(&mut self.overlay, context.index, group)
    }

    /// Takes note of an entry without commands: its index, term and time.
    pub fn advance(&mut self, context: &Context) {
        self.meta.advance(context);
    }

    /// Keeps an opaque record of the log's adapter in the same write as the data.
    pub fn put_adapter_record(&mut self, record: Bytes) {
        let key = Bytes::from_static(MetaRow::Adapter.key());
        self.overlay.put(Table::Meta, key, record);
    }

    /// The counters with this batch applied.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// About how many bytes the batch takes: what it will write, events and answers. Several
    /// entries become one batch only while that is little.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.overlay.bytes().saturating_add(self.bytes_held())
    }

    /// Reads the state with this batch applied.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::over(&self.overlay, self.meta)
    }

    /// Writes the batch.
    ///
    /// # Errors
    /// When the engine cannot write. Whether it did is unknown; the node must stop.
    pub fn commit(mut self) -> Result<(), Fault> {
        let key = Bytes::from_static(MetaRow::Counters.key());
        self.overlay.put(Table::Meta, key, self.meta.encode());
        let policies = self.overlay.policies.clone();
        self.machine.engine.write(self.overlay.into_batch())?;
        self.machine.meta = self.meta;
        self.machine.policies = policies;
        self.machine.answers = self.answers;
        Ok(())
    }

    fn outcome(&self, reply: Result<Reply, Refusal>, effects: Effects) -> Outcome {
        Outcome {
            reply,
            revision: self.meta.revision,
            events: effects.events,
            signals: effects.signals,
        }
    }

    /// Checks and executes a command that is not conditional any more.
    fn run(&mut self, guards: &[Guard], command: &Command) -> Result<Outcome, Fault> {
        self.overlay.told.left_out = false;
        self.overlay.will_rows = WILL_ROWS_MAX;
        let mut effects = Effects::default();
        let done = self
            .permit(guards, command)
            .and_then(|()| self.execute(command, &mut effects));
        match done {
            Ok(reply) => {
                if self.overlay.told.left_out {
                    // Some are worse than none: none says that there is something to read.
                    effects.events = Vec::new();
                }
                Ok(self.outcome(Ok(reply), effects))
            }
            Err(ReadError::Refused(refusal)) => Ok(self.outcome(Err(refusal), Effects::default())),
            Err(ReadError::Fault(fault)) => Err(fault),
        }
    }

    /// Whether alarms, guards and fence policies let a command through.
    fn permit(&self, guards: &[Guard], command: &Command) -> Result<(), ReadError> {
        if let Some(refusal) = self.barrier(command) {
            return Err(refusal.into());
        }
        guard::check(&self.reader(), guards)?;
        let policies = &self.overlay.policies;
        policies.check(&self.reader(), guards, command)
    }

    /// What an active alarm forbids.
    fn barrier(&self, command: &Command) -> Option<Refusal> {
        let (serves_keys, needs_space) = match command {
            Command::Put(_)
            | Command::LeaseGrant(_)
            | Command::SessionOpen(_)
            | Command::WillSet(_)
            // Who moves a claim writes its value anew, and those of all that wait behind it.
            | Command::Claim(
                ClaimCommand::Acquire(_)
                | ClaimCommand::Proclaim { .. }
                | ClaimCommand::Transfer { .. }
                | ClaimCommand::HandOver { .. },
            )
            | Command::Registry(
                RegistryCommand::Register(_) | RegistryCommand::SetReadiness { .. },
            ) => (true, true),
            Command::Txn(txn) => (true, txn.contains_put()),
            Command::DeleteRange(_)
            | Command::Compact(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseExpire(_)
            | Command::Claim(
                ClaimCommand::Release { .. }
                | ClaimCommand::Withdraw { .. }
                | ClaimCommand::ForceRelease { .. },
            )
            // A drain writes once, and then its instance goes.
            | Command::Registry(
                RegistryCommand::Drain { .. } | RegistryCommand::Deregister { .. },
            )
            | Command::Fence(_)
            | Command::Wake => (true, false),
            // What is conditional is taken apart before it comes here.
            Command::LeaseRenew(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::RaiseLevel(_)
            | Command::Conditional(_) => (false, false),
        };
        if serves_keys && self.meta.corrupt {
            return Some(Refusal::Corrupt);
        }
        (needs_space && self.meta.no_space).then_some(Refusal::NoSpace)
    }

    fn execute(&mut self, command: &Command, effects: &mut Effects) -> Result<Reply, ReadError> {
        let (overlay, meta) = (&mut self.overlay, &mut self.meta);
        let reply = match command {
            Command::Put(put) => self.put(put, effects)?,
            Command::DeleteRange(delete) => self.delete_range(delete, effects)?,
            Command::Txn(txn) => self.txn(txn, effects)?,
            Command::Compact(revision) => self.compact(*revision)?,
            Command::LeaseGrant(grant) => {
                lease::grant(overlay, meta, *grant, false)?;
                Reply::LeaseGrant(grant.id, grant.ttl)
            }
            Command::LeaseRevoke(id) => {
                lease::revoke(overlay, meta, *id, effects)?;
                Reply::LeaseRevoke
            }
            Command::LeaseRenew(ids) => {
                let renewed = lease::renew(overlay, meta.now, ids)?;
                registry::renewed(overlay, meta, ids, effects)?;
                Reply::LeaseRenew(renewed)
            }
            Command::LeaseExpire(expiries) => {
                Reply::LeaseExpire(lease::expire(overlay, meta, expiries, effects)?)
            }
            Command::Alarm(change) => Reply::Alarm(cluster::change_alarm(overlay, meta, *change)?),
            Command::MemberPublish(attributes) => {
                cluster::publish(overlay, attributes);
                Reply::MemberPublish
            }
            Command::Claim(command) => claims::apply(overlay, meta, command, effects)?,
            Command::Registry(command) => registry::apply(overlay, meta, command, effects)?,
            Command::SessionOpen(open) => once::open_session(overlay, meta, *open)?,
            Command::Fence(command) => {
                fence::apply(overlay, meta, command)?;
                Reply::Done
            }
            Command::WillSet(command) => {
                will::set(overlay, meta, command)?;
                Reply::Done
            }
            Command::Wake => self.wake(effects)?,
            Command::RaiseLevel(level) => {
                feature::raise(meta, *level)?;
                Reply::Done
            }
            Command::Conditional(_) => {
                let what = "a condition within a condition";
                return Err(Fault::Command(what.to_owned()).into());
            }
        };
        claims::settle(&mut self.overlay, &mut self.meta, Loss::RELEASED, effects)?;
        Ok(reply)
    }

    fn put(&mut self, put: &Put, effects: &mut Effects) -> Result<Reply, ReadError> {
        kv::check_put(&self.reader(), put)?;
        let mut change = Change::new(&mut self.overlay, &mut self.meta);
        let previous = change.put(put)?.filter(|_| put.want_previous);
        effects.events = change.finish();
        Ok(Reply::Put(previous))
    }

    fn txn(&mut self, txn: &Txn, effects: &mut Effects) -> Result<Reply, ReadError> {
        let (reply, events) = txn::execute(&mut self.overlay, &mut self.meta, txn)?;
        effects.events = events;
        Ok(Reply::Txn(reply))
    }

    /// Counts before it deletes: taking back so many writes would cost as much memory again.
    fn delete_range(
        &mut self,
        delete: &DeleteRange,
        effects: &mut Effects,
    ) -> Result<Reply, ReadError> {
        let mut budget = Budget::of_delete(&self.meta);
        self.reader().price_delete(delete, &mut budget)?;
        let mut change = Change::new(&mut self.overlay, &mut self.meta);
        let reply = change.delete_range(delete, &mut Budget::unlimited())?;
        effects.events = change.finish();
        Ok(Reply::DeleteRange(reply))
    }

    /// Moves the floor. The rows below it are left to the collector, which may take its time.
    fn compact(&mut self, revision: Revision) -> Result<Reply, ReadError> {
        let (latest, floor) = (self.meta.revision, self.meta.floor);
        if revision <= floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        if revision > latest {
            return Err(Refusal::FutureRevision { latest }.into());
        }
        let noted = Compaction {
            revision,
            floor_before: floor,
        };
        compactions::note(&mut self.overlay, noted)?;
        self.meta.floor = revision;
        Ok(Reply::Compact)
    }

    /// Does what has fallen due.
    fn wake(&mut self, effects: &mut Effects) -> Result<Reply, ReadError> {
        let (overlay, meta) = (&mut self.overlay, &mut self.meta);
        let mut done = 0_u64;
        for timer in timers::take_due(overlay, meta.now)? {
            match &timer {
                Timer::WaitOver(token, key) => {
                    claims::wait_over(overlay, meta, *token, key, effects)?;
                }
                Timer::DelayOver(name) => claims::delay_over(overlay, meta, name, effects)?,
                Timer::DrainOver(incarnation, key) => {
                    registry::drain_over(overlay, meta, *incarnation, key, effects)?;
                }
                Timer::ForgetKey(key) => once::forget_key(overlay, key, None)?,
                Timer::ForgetClientKey(client, key) => {
                    once::forget_key(overlay, key, Some(*client))?;
                }
                Timer::BrakeOver(service) => registry::brake_over(overlay, meta, service)?,
            }
            done = done.saturating_add(1);
        }
        Ok(Reply::Wake(done))
    }
}
