//! The only door through which state changes.
//!
//! Invariant: a batch reaches the engine as one write, with the counters that describe it, or not
//! at all. What a command does depends on the state, its context and itself, and on nothing else.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cluster,
    command::{Command, Put, Txn},
    context::Context,
    engine::{Engine, Table},
    error::{Fault, ReadError, Refusal},
    keys::MetaRow,
    kv::{self, Change},
    lease,
    meta::Meta,
    outcome::{Event, Outcome, Reply},
    overlay::Overlay,
    read::Reader,
    txn::Path,
    types::Revision,
};

/// A state, and the right to change it.
#[derive(Debug)]
pub struct StateMachine {
    engine: Arc<dyn Engine>,
    meta: Meta,
}

impl StateMachine {
    /// The machine whose state `engine` holds; a new one when it holds none.
    ///
    /// # Errors
    /// When the engine cannot read or holds counters that do not decode.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Fault> {
        let meta = Meta::load(engine.as_ref())?;
        Ok(Self { engine, meta })
    }

    /// Starts a batch. Many commands become one write; later ones read earlier ones.
    pub fn begin(&mut self) -> ApplyBatch<'_> {
        let overlay = Overlay::new(Arc::clone(&self.engine));
        let meta = self.meta;
        ApplyBatch {
            machine: self,
            overlay,
            meta,
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
}

/// What a command that was not refused came to.
type Done = (Reply, Vec<Event>);

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
        self.meta.advance(context);
        let done = match self.barrier(command) {
            Some(refusal) => Err(ReadError::Refused(refusal)),
            None => self.execute(command),
        };
        let revision = self.meta.revision;
        match done {
            Ok((reply, events)) => Ok(Outcome {
                reply: Ok(reply),
                revision,
                events,
            }),
            Err(ReadError::Refused(refusal)) => Ok(Outcome {
                reply: Err(refusal),
                revision,
                events: Vec::new(),
            }),
            Err(ReadError::Fault(fault)) => Err(fault),
        }
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
        self.machine.engine.write(self.overlay.into_batch())?;
        self.machine.meta = self.meta;
        Ok(())
    }

    /// What an active alarm forbids.
    fn barrier(&self, command: &Command) -> Option<Refusal> {
        let (serves_keys, needs_space) = match command {
            Command::Put(_) | Command::LeaseGrant(_) => (true, true),
            Command::Txn(txn) => (true, txn.contains_put()),
            Command::DeleteRange(_)
            | Command::Compact(_)
            | Command::LeaseRevoke(_)
            | Command::LeaseExpire(_) => (true, false),
            Command::LeaseRenew(_) | Command::Alarm(_) | Command::MemberPublish(_) => {
                (false, false)
            }
        };
        if serves_keys && self.meta.corrupt {
            return Some(Refusal::Corrupt);
        }
        (needs_space && self.meta.no_space).then_some(Refusal::NoSpace)
    }

    fn execute(&mut self, command: &Command) -> Result<Done, ReadError> {
        let (overlay, meta) = (&mut self.overlay, &mut self.meta);
        let mut events = Vec::new();
        let reply = match command {
            Command::Put(put) => return self.put(put),
            Command::DeleteRange(delete) => {
                let mut change = Change::new(overlay, meta);
                let reply = change.delete_range(delete)?;
                events = change.finish();
                Reply::DeleteRange(reply)
            }
            Command::Txn(txn) => return self.txn(txn),
            Command::Compact(revision) => return self.compact(*revision),
            Command::LeaseGrant(grant) => {
                lease::grant(overlay, meta, *grant)?;
                Reply::LeaseGrant(grant.id, grant.ttl)
            }
            Command::LeaseRevoke(id) => {
                events = lease::revoke(overlay, meta, *id)?;
                Reply::LeaseRevoke
            }
            Command::LeaseRenew(ids) => Reply::LeaseRenew(lease::renew(overlay, meta.now, ids)?),
            Command::LeaseExpire(expiries) => {
                let (ended, deleted) = lease::expire(overlay, meta, expiries)?;
                events = deleted;
                Reply::LeaseExpire(ended)
            }
            Command::Alarm(change) => Reply::Alarm(cluster::change_alarm(overlay, meta, *change)?),
            Command::MemberPublish(attributes) => {
                cluster::publish(overlay, attributes);
                Reply::MemberPublish
            }
        };
        Ok((reply, events))
    }

    fn put(&mut self, put: &Put) -> Result<Done, ReadError> {
        kv::check_put(&self.reader(), put)?;
        let mut change = Change::new(&mut self.overlay, &mut self.meta);
        let previous = change.put(put)?.filter(|_| put.want_previous);
        Ok((Reply::Put(previous), change.finish()))
    }

    fn txn(&mut self, txn: &Txn) -> Result<Done, ReadError> {
        let path = Path::choose(&self.reader(), txn)?;
        let mut change = Change::new(&mut self.overlay, &mut self.meta);
        let reply = path.run(&mut change, txn)?;
        Ok((Reply::Txn(reply), change.finish()))
    }

    /// Moves the floor. The rows below it are left to the collector, which may take its time.
    fn compact(&mut self, revision: Revision) -> Result<Done, ReadError> {
        let (latest, floor) = (self.meta.revision, self.meta.floor);
        if revision <= floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        if revision > latest {
            return Err(Refusal::FutureRevision { latest }.into());
        }
        self.meta.floor = revision;
        Ok((Reply::Compact, Vec::new()))
    }
}
