//! The rules of the service once more, naively: every revision's whole key space is kept, and every
//! command works on copies.
//!
//! Shares the crate's types, none of its code: where the two disagree, one is wrong.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenure_statemachine::{
    AlarmChange, AlarmKind, Command, Compare, DeleteRange, DeleteReply, Event, EventKind,
    FeatureLevel, KeyRange, KeyValue, LeaseExpiry, LeaseId, MemberAttributes, Operand, Put,
    RangeQuery, RangeReply, Refusal, Relation, Reply, Revision, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpReply, TxnReply,
};

type Space = BTreeMap<Bytes, KeyValue>;
pub(crate) type Answer = (Result<Reply, Refusal>, Revision, Vec<Event>);

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelLease {
    pub(crate) ttl: u64,
    pub(crate) deadline: u64,
    pub(crate) generation: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The key space after each revision.
    spaces: BTreeMap<i64, Space>,
    /// What each revision changed.
    pub(crate) events: BTreeMap<i64, Vec<Event>>,
    pub(crate) floor: i64,
    now: u64,
    pub(crate) leases: BTreeMap<i64, ModelLease>,
    pub(crate) alarms: Vec<(u64, AlarmKind)>,
    level: FeatureLevel,
    pub(crate) members: BTreeMap<u64, MemberAttributes>,
}

/// A revision in the making.
struct Draft {
    space: Space,
    events: Vec<Event>,
    next: i64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            spaces: BTreeMap::from([(1, Space::new())]),
            events: BTreeMap::new(),
            floor: -1,
            now: 0,
            leases: BTreeMap::new(),
            alarms: Vec::new(),
            level: FeatureLevel::FIRST,
            members: BTreeMap::new(),
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        *self.spaces.last_key_value().unwrap().0
    }

    fn latest(&self) -> &Space {
        self.spaces.last_key_value().unwrap().1
    }

    pub(crate) fn apply(&mut self, now: u64, command: &Command) -> Answer {
        self.now = self.now.max(now);
        let mut events = Vec::new();
        let reply = match self.forbidden(command) {
            Some(refusal) => Err(refusal),
            None => self.execute(command, &mut events),
        };
        (reply, Revision(self.revision()), events)
    }

    fn forbidden(&self, command: &Command) -> Option<Refusal> {
        let has = |wanted| self.alarms.iter().any(|(_, kind)| *kind == wanted);
        let unaffected = matches!(
            command,
            Command::LeaseRenew(_)
                | Command::Alarm(_)
                | Command::MemberPublish(_)
                | Command::RaiseLevel(_)
        );
        let grows = match command {
            Command::Put(_) | Command::LeaseGrant(_) => true,
            Command::Txn(txn) => format!("{txn:?}").contains("Put(Put {"),
            _ => false,
        };
        let is_unnamed = self.alarms.contains(&(0, AlarmKind::Corrupt));
        let goes_on = matches!(command, Command::LeaseExpire(_))
            && self.level >= FeatureLevel::ALARMED
            && !is_unnamed;
        if has(AlarmKind::Corrupt) && !unaffected && !goes_on {
            Some(Refusal::Corrupt)
        } else if has(AlarmKind::NoSpace) && grows {
            Some(Refusal::NoSpace)
        } else {
            None
        }
    }

    fn execute(&mut self, command: &Command, out: &mut Vec<Event>) -> Result<Reply, Refusal> {
        match command {
            Command::Put(put) => {
                let txn = Txn {
                    success: vec![TxnOp::Put(put.clone())],
                    ..Txn::default()
                };
                match self.write(&txn, out)?.replies.remove(0) {
                    TxnOpReply::Put(_, previous) => Ok(Reply::Put(previous)),
                    other => panic!("a put was answered by {other:?}"),
                }
            }
            Command::DeleteRange(delete) => Ok(Reply::DeleteRange(self.delete(delete, out))),
            Command::Txn(txn) => Ok(Reply::Txn(self.write(txn, out)?)),
            Command::Compact(revision) => self.compact(*revision),
            Command::LeaseGrant(grant) => {
                if self.leases.contains_key(&grant.id.0) {
                    return Err(Refusal::LeaseExists);
                }
                let ttl = grant.ttl.0;
                let lease = ModelLease {
                    ttl,
                    deadline: self.now + ttl,
                    generation: 1,
                };
                self.leases.insert(grant.id.0, lease);
                Ok(Reply::LeaseGrant(grant.id, grant.ttl))
            }
            Command::LeaseRevoke(id) => {
                self.leases.remove(&id.0).ok_or(Refusal::LeaseNotFound)?;
                self.delete_attached(*id, out);
                Ok(Reply::LeaseRevoke)
            }
            Command::LeaseRenew(ids) => Ok(Reply::LeaseRenew(
                ids.iter()
                    .map(|id| {
                        let lease = self.leases.get_mut(&id.0)?;
                        lease.deadline = self.now + lease.ttl;
                        lease.generation += 1;
                        Some(tenure_statemachine::Ttl(lease.ttl))
                    })
                    .collect(),
            )),
            Command::LeaseExpire(expiries) => Ok(Reply::LeaseExpire(self.expire(expiries, out))),
            Command::Alarm(change) => Ok(Reply::Alarm(self.alarm(*change))),
            Command::MemberPublish(attributes) => {
                self.members.insert(attributes.id.0, attributes.clone());
                Ok(Reply::MemberPublish)
            }
            // What else differs between levels needs more rows than a model holds.
            Command::RaiseLevel(level) => {
                self.level = self.level.max(*level);
                Ok(Reply::Done)
            }
            // Their rules have transcripts and models of their own.
            Command::Conditional(_)
            | Command::Claim(_)
            | Command::Registry(_)
            | Command::SessionOpen(_)
            | Command::Fence(_)
            | Command::WillSet(_)
            | Command::Auth(_)
            | Command::By(_)
            | Command::Wake => panic!("{command:?} is not modelled"),
        }
    }

    fn compact(&mut self, revision: Revision) -> Result<Reply, Refusal> {
        if revision.0 <= self.floor {
            return Err(Refusal::Compacted {
                floor: Revision(self.floor),
            });
        }
        if revision.0 > self.revision() {
            return Err(Refusal::FutureRevision {
                latest: Revision(self.revision()),
            });
        }
        self.floor = revision.0;
        Ok(Reply::Compact)
    }

    fn expire(&mut self, expiries: &[LeaseExpiry], out: &mut Vec<Event>) -> Vec<LeaseId> {
        let mut ended = Vec::new();
        for LeaseExpiry {
            id,
            generation,
            term,
        } in expiries
        {
            let Some(lease) = self.leases.get(&id.0) else {
                continue;
            };
            if lease.deadline <= self.now && lease.generation == *generation && *term == 1 {
                self.leases.remove(&id.0);
                self.delete_attached(*id, out);
                ended.push(*id);
            }
        }
        ended
    }

    fn alarm(&mut self, change: AlarmChange) -> Vec<(tenure_statemachine::MemberId, AlarmKind)> {
        let named = |alarms: Vec<(u64, AlarmKind)>| {
            let member = tenure_statemachine::MemberId;
            alarms
                .into_iter()
                .map(|(id, kind)| (member(id), kind))
                .collect()
        };
        if change.active {
            let Some(kind) = change.kind else {
                return Vec::new();
            };
            let alarm = (change.member.0, kind);
            self.alarms.retain(|known| *known != alarm);
            self.alarms.push(alarm);
            self.alarms.sort_unstable();
            return named(vec![alarm]);
        }
        let is_exact = self.level >= FeatureLevel::ALARMED;
        let hit = |alarm: &(u64, AlarmKind)| {
            let all = change.member.0 == 0 && !is_exact;
            let all_kinds = change.kind.is_none() && !is_exact;
            (all || change.member.0 == alarm.0) && (all_kinds || change.kind == Some(alarm.1))
        };
        let (cleared, left) = self.alarms.iter().copied().partition(hit);
        self.alarms = left;
        named(cleared)
    }

    fn draft(&self) -> Draft {
        Draft {
            space: self.latest().clone(),
            events: Vec::new(),
            next: self.revision() + 1,
        }
    }

    fn keep(&mut self, draft: Draft, out: &mut Vec<Event>) {
        if !draft.events.is_empty() {
            self.spaces.insert(draft.next, draft.space);
            self.events.insert(draft.next, draft.events.clone());
            out.extend(draft.events);
        }
    }

    fn delete(&mut self, delete: &DeleteRange, out: &mut Vec<Event>) -> DeleteReply {
        let mut draft = self.draft();
        let reply = draft.delete(delete);
        self.keep(draft, out);
        reply
    }

    fn delete_attached(&mut self, lease: LeaseId, out: &mut Vec<Event>) {
        let mut draft = self.draft();
        let keys: Vec<Bytes> = draft
            .space
            .values()
            .filter(|kv| kv.lease == lease)
            .map(|kv| kv.key.clone())
            .collect();
        for key in keys {
            draft.delete(&DeleteRange {
                range: KeyRange::single(key),
                want_previous: false,
            });
        }
        self.keep(draft, out);
    }

    fn write(&mut self, txn: &Txn, out: &mut Vec<Event>) -> Result<TxnReply, Refusal> {
        self.refuse(txn)?;
        let mut draft = self.draft();
        let reply = self.run(&mut draft, txn);
        self.keep(draft, out);
        Ok(reply)
    }

    /// What the chosen operations ask for must be there before the first of them runs.
    fn refuse(&self, txn: &Txn) -> Result<(), Refusal> {
        let chosen = if self.all_hold(txn) {
            &txn.success
        } else {
            &txn.failure
        };
        for op in chosen {
            match op {
                TxnOp::Range(query) if query.revision.0 > self.revision() => {
                    return Err(Refusal::FutureRevision {
                        latest: Revision(self.revision()),
                    });
                }
                TxnOp::Range(query) if query.revision.0 != 0 && query.revision.0 < self.floor => {
                    return Err(Refusal::Compacted {
                        floor: Revision(self.floor),
                    });
                }
                TxnOp::Put(put) => {
                    if put.lease.0 != 0 && !self.leases.contains_key(&put.lease.0) {
                        return Err(Refusal::LeaseNotFound);
                    }
                    let needs = put.ignore_value || put.ignore_lease;
                    if needs && !self.latest().contains_key(&put.key) {
                        return Err(Refusal::KeyNotFound);
                    }
                }
                TxnOp::Txn(within) => self.refuse(within)?,
                TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    /// Comparisons look at `self`, which a draft does not change.
    fn run(&self, draft: &mut Draft, txn: &Txn) -> TxnReply {
        let succeeded = self.all_hold(txn);
        let chosen = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let replies = chosen.iter().map(|op| self.run_op(draft, op)).collect();
        TxnReply { succeeded, replies }
    }

    fn run_op(&self, draft: &mut Draft, op: &TxnOp) -> TxnOpReply {
        match op {
            TxnOp::Range(query) => {
                let past = query.revision.0 > 0;
                let space = if past {
                    &self.spaces[&query.revision.0]
                } else {
                    &draft.space
                };
                TxnOpReply::Range(draft.seen(), select(space, query))
            }
            TxnOp::Put(put) => {
                let previous = draft.put(put);
                TxnOpReply::Put(draft.seen(), previous.filter(|_| put.want_previous))
            }
            TxnOp::DeleteRange(delete) => {
                let reply = draft.delete(delete);
                TxnOpReply::DeleteRange(draft.seen(), reply)
            }
            TxnOp::Txn(within) => {
                let reply = self.run(draft, within);
                TxnOpReply::Txn(draft.seen(), reply)
            }
        }
    }

    fn all_hold(&self, txn: &Txn) -> bool {
        txn.compare.iter().all(|compare| self.holds(compare))
    }

    fn holds(&self, compare: &Compare) -> bool {
        let mut found: Vec<KeyValue> = self
            .latest()
            .values()
            .filter(|kv| compare.range.contains(&kv.key))
            .cloned()
            .collect();
        if found.is_empty() {
            if matches!(compare.operand, Operand::Value(_)) {
                return false;
            }
            found.push(KeyValue::default());
        }
        found.iter().all(|kv| {
            let ordering = match &compare.operand {
                Operand::Version(operand) => kv.version.cmp(operand),
                Operand::Create(operand) => kv.create_revision.cmp(operand),
                Operand::Mod(operand) => kv.mod_revision.cmp(operand),
                Operand::Value(operand) => kv.value.cmp(operand),
                Operand::Lease(operand) => kv.lease.cmp(operand),
            };
            match compare.relation {
                Relation::Equal => ordering.is_eq(),
                Relation::Greater => ordering.is_gt(),
                Relation::Less => ordering.is_lt(),
                Relation::NotEqual => ordering.is_ne(),
            }
        })
    }

    pub(crate) fn range(&self, query: &RangeQuery) -> Result<RangeReply, Refusal> {
        let latest = self.revision();
        if query.revision.0 > latest {
            return Err(Refusal::FutureRevision {
                latest: Revision(latest),
            });
        }
        let at = if query.revision.0 <= 0 {
            latest
        } else {
            query.revision.0
        };
        if at < self.floor {
            return Err(Refusal::Compacted {
                floor: Revision(self.floor),
            });
        }
        Ok(select(&self.spaces[&at], query))
    }
}

impl Draft {
    fn seen(&self) -> Revision {
        Revision(self.next - i64::from(self.events.is_empty()))
    }

    fn put(&mut self, put: &Put) -> Option<KeyValue> {
        let previous = self.space.get(&put.key).cloned();
        let old = previous.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: match &previous {
                Some(previous) => previous.create_revision,
                None => Revision(self.next),
            },
            mod_revision: Revision(self.next),
            version: old.version + 1,
            value: if put.ignore_value {
                old.value
            } else {
                put.value.clone()
            },
            lease: if put.ignore_lease {
                old.lease
            } else {
                put.lease
            },
        };
        self.space.insert(put.key.clone(), kv.clone());
        self.events.push(Event {
            kind: EventKind::Put,
            kv,
            previous: previous.clone(),
        });
        previous
    }

    fn delete(&mut self, delete: &DeleteRange) -> DeleteReply {
        let mut reply = DeleteReply::default();
        for previous in self.space.clone().into_values() {
            if !delete.range.contains(&previous.key) {
                continue;
            }
            self.space.remove(&previous.key);
            reply.deleted += 1;
            if delete.want_previous {
                reply.previous.push(previous.clone());
            }
            let kv = KeyValue {
                key: previous.key.clone(),
                mod_revision: Revision(self.next),
                ..KeyValue::default()
            };
            self.events.push(Event {
                kind: EventKind::Delete,
                kv,
                previous: Some(previous),
            });
        }
        reply
    }
}

fn select(space: &Space, query: &RangeQuery) -> RangeReply {
    let mut kvs: Vec<KeyValue> = space
        .values()
        .filter(|kv| query.range.contains(&kv.key))
        .cloned()
        .collect();
    let count = kvs.len() as i64;
    if query.count_only {
        return RangeReply {
            count,
            ..RangeReply::default()
        };
    }
    let limit = if query.limit > 0 {
        query.limit as usize
    } else {
        usize::MAX
    };
    let bounds = [
        (query.min_mod_revision, query.max_mod_revision),
        (query.min_create_revision, query.max_create_revision),
    ];
    let filtered = bounds != [(Revision(0), Revision(0)); 2];
    kvs.retain(|kv| {
        [kv.mod_revision, kv.create_revision]
            .iter()
            .zip(bounds)
            .all(|(revision, (min, max))| {
                (min.0 == 0 || *revision >= min) && (max.0 == 0 || *revision <= max)
            })
    });
    // etcd's quirk: without an order but with a target, the limit is taken before the sort.
    if query.sort_order == SortOrder::None && !filtered {
        kvs.truncate(limit.saturating_add(1));
    }
    let field = |kv: &KeyValue| match query.sort_target {
        SortTarget::Key => (0, kv.key.clone()),
        SortTarget::Version => (kv.version, Bytes::new()),
        SortTarget::Create => (kv.create_revision.0, Bytes::new()),
        SortTarget::Mod => (kv.mod_revision.0, Bytes::new()),
        SortTarget::Value => (0, kv.value.clone()),
    };
    match query.sort_order {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by_key(field),
        SortOrder::Descend => kvs.sort_by_key(|kv| std::cmp::Reverse(field(kv))),
    }
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if query.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeReply { kvs, more, count }
}
