//! Applies decoded entries in write batches, and reports each to the listener once it is readable.
//!
//! Runs on the applying task or, when the work may be long, on a blocking thread: `machine.rs`
//! decides. Invariant: a batch holds whole entries and the position that they bring the state to.

use std::sync::Arc;

use openraft::{EntryPayload, entry::RaftEntry};
use tenure_statemachine::{
    Admission, ApplyBatch, ClusterTime, Context, Fault, Outcome, StateMachine, codec, decode_entry,
};

use super::{
    machine::{AppliedGroup, ApplyListener, ApplyTimes},
    removed_members::RemovedMembers,
};
use crate::{
    clock::Clock,
    consensus::{Entry, StoredMembership},
    fatal,
    storage::{AdapterRecord, AppliedRecord},
};

/// Bytes of writes, events and answers after which a batch is written, even with entries left.
/// Bounds memory while catching up; ordinary batches are far smaller.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Most bytes of entries decoded and applied on the runtime's thread: some milliseconds of work, a
/// tenth of a heartbeat interval.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// An entry with its decoded commands.
#[derive(Debug)]
pub(super) struct Work {
    entry: Entry,
    commands: Option<codec::Entry>,
}

/// The state, its position, and the listener for changes.
#[derive(Debug)]
pub(super) struct Applier {
    pub(super) machine: StateMachine,
    pub(super) record: AppliedRecord,
    pub(super) listener: Arc<dyn ApplyListener>,
    pub(super) clock: Arc<dyn Clock>,
    /// Whether an entry that does not follow the last one ends the process.
    pub(super) contiguous: bool,
    /// Kept current.
    pub(super) removed: Option<Arc<RemovedMembers>>,
}

/// Whether the entries are small enough to decode on the runtime's thread, where heartbeats wait.
pub(super) fn is_small(entries: &[Entry]) -> bool {
    entries.iter().map(payload_bytes).sum::<usize>() <= INLINE_BYTES_MAX
}

const fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Decodes the commands of entries.
pub(super) fn decode(entries: Vec<Entry>) -> Result<Vec<Work>, Fault> {
    let decoded = entries.into_iter().map(|entry| {
        let commands = match &entry.payload {
            EntryPayload::Normal(batch) => Some(decode_entry(batch.0.clone())?),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        Ok(Work { entry, commands })
    });
    decoded.collect()
}

impl Applier {
    /// Whether applying these entries is sure to be short work.
    pub(super) fn is_light(&self, work: &[Work]) -> Result<bool, Fault> {
        let decoded = work.iter().filter_map(|work| work.commands.as_ref());
        let groups = decoded.flat_map(|entry| &entry.groups);
        self.machine
            .are_light(groups.flat_map(|group| &group.commands))
    }

    /// Applies entries, in as many batches as their size requires.
    pub(super) fn apply(&mut self, work: Vec<Work>) -> Result<(), Fault> {
        let mut work = work.into_iter().peekable();
        while let Some(first) = work.next() {
            let began = self.clock.now();
            let mut groups = Vec::new();
            let mut bytes = 0;
            let mut batch = self.machine.begin();
            let mut next = Some(first);
            while let Some(entry) = next {
                bytes += payload_bytes(&entry.entry) as u64;
                if self.contiguous {
                    check_next(self.record.get(), &entry.entry);
                }
                let (record, listener) = (&mut self.record, &*self.listener);
                apply_entry(&mut batch, record, listener, entry, &mut groups)?;
                next = work.next_if(|_| batch.bytes() < BATCH_BYTES_MAX);
            }
            batch.put_adapter_record(self.record.encode().into());
            let computed = self.clock.now();
            batch.commit()?;
            if let Some(removed) = &self.removed {
                removed.set(&self.record.get().removed);
            }
            let now = self.clock.now();
            let took = ApplyTimes {
                whole: now.saturating_sub(began),
                commit: now.saturating_sub(computed),
                bytes,
            };
            self.listener.applied(self.machine.meta(), groups, took);
        }
        Ok(())
    }
}

fn check_next(record: &AdapterRecord, entry: &Entry) {
    record
        .check_next(entry.log_id())
        .unwrap_or_else(|contradiction| fatal::stop(&contradiction));
}

fn apply_entry(
    batch: &mut ApplyBatch<'_>,
    record: &mut AppliedRecord,
    listener: &dyn ApplyListener,
    work: Work,
    groups: &mut Vec<AppliedGroup>,
) -> Result<(), Fault> {
    let log_id = work.entry.log_id();
    let mut context = Context {
        index: log_id.index,
        term: log_id.leader_id.term,
        now: ClusterTime(0),
    };
    if let EntryPayload::Membership(membership) = &work.entry.payload {
        record.set_membership(StoredMembership::new(Some(log_id), membership.clone()));
    }
    if let Some(decoded) = work.commands {
        context.now = decoded.now;
        for group in decoded.groups {
            let admission = batch.admit(&context, &group)?;
            if admission == Admission::Repeated {
                // The first application sent the outcomes to the origin.
                continue;
            }
            let is_void = admission == Admission::Void;
            let commands = if is_void { &[][..] } else { &group.commands };
            let awaited = listener.awaits(group.origin);
            let apply = |command| {
                let mut outcome: Outcome = batch.apply(&context, command)?;
                if !awaited {
                    outcome.drop_records();
                }
                Ok(outcome)
            };
            let outcomes = commands.iter().map(apply);
            groups.push(AppliedGroup {
                origin: group.origin,
                sequence: group.sequence,
                outcomes: outcomes.collect::<Result<_, Fault>>()?,
                is_void,
            });
        }
    }
    batch.advance(&context);
    record.advance(log_id);
    Ok(())
}
