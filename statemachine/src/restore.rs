//! Rebuilds a state from a backup: history in the order of its revisions, and the rows that history
//! does not tell.
//!
//! A backup in etcd's format holds history and leases. One of this state machine holds its other
//! rows, too, as they are stored. What is derived is built anew: the latest records, the versions
//! of keys, and which keys are attached to which lease.
//!
//! # Invariants
//! The state is complete once [`Restore::finish`] has returned; until then it is of no use. Two
//! restores of one backup with one [`Position`] hold equal logical state.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    access::{
        AuthState,
        restored::RestoredUsers,
        rows::{role_row, user_row},
    },
    engine::{Engine, Table, View, WriteBatch, WriteOp},
    error::{Fault, damaged},
    feature::FeatureLevel,
    keyspace::is_claim,
    kv::live_bytes,
    lease::{KeyCount, Lease, MayHave},
    machine::StateMachine,
    meta::Meta,
    rows::{
        Family, Record, Row,
        keys::{self, ChangeKind, MetaRow, Stamp},
    },
    value::{AuthRevision, ClusterTime, KeyValue, LeaseId, Permission, Revision, Ttl},
};

/// Bytes of rows written at once: few enough to be held, many enough for the engine.
const BATCH_BYTES: usize = 4 << 20;

/// Bytes counted for a row beside its key and value.
const ROW_BYTES: usize = 64;

/// Where the restored state stands in the log of the cluster that is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Index of the last entry that counts as applied, at least; a state of this machine's keeps a
    /// greater one.
    pub index: u64,
    /// Term of that entry, at least.
    pub term: u64,
    /// The compact revision, or the revision of the backup if that is less. History below it is
    /// garbage.
    pub floor: Revision,
}

/// A state that is being rebuilt in an empty engine.
pub struct Restore {
    engine: Arc<dyn Engine>,
    batch: WriteBatch,
    batch_bytes: usize,
    meta: Meta,
    /// Whether the counters are those of a backup of this state machine.
    has_counters: bool,
    last: Option<Stamp>,
    /// Keys attached to each lease.
    attached: BTreeMap<LeaseId, u64>,
    /// Keys that stand for claims, of a backup that has no claims.
    claimed: Vec<KeyValue>,
    /// Users and roles, of a backup that has them in etcd's form only.
    users: RestoredUsers,
    /// The auth revision of the rows that are kept.
    kept_auth: Option<AuthRevision>,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore").finish_non_exhaustive()
    }
}

impl Restore {
    /// Begins to rebuild a state in `engine`, which is empty.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            batch: WriteBatch::default(),
            batch_bytes: 0,
            meta: Meta {
                level: FeatureLevel::NEWEST,
                ..Meta::default()
            },
            has_counters: false,
            last: None,
            attached: BTreeMap::new(),
            claimed: Vec::new(),
            users: RestoredUsers::default(),
            kept_auth: None,
        }
    }

    /// Rows of these tables are kept in a backup as they are; the others are derived from history.
    pub const KEPT: [Table; 3] = [Table::Leases, Table::Cluster, Table::Meta];

    /// Whether a row of a table in [`Restore::KEPT`] belongs into a backup: it describes the state,
    /// and not the cluster or the member that made the backup.
    #[must_use]
    pub fn is_kept(table: Table, key: &[u8]) -> bool {
        match table {
            Table::Meta => key != MetaRow::Adapter.key(),
            // The members of the new cluster publish themselves, raise their own alarms, and sign
            // tokens with their own secret: a backup need not be as secret as a member is.
            Table::Cluster => [Family::Alarm, Family::Member, Family::TokenSecret]
                .iter()
                .all(|family| family.rest(key).is_none()),
            Table::Leases => true,
            Table::Current | Table::History | Table::Versions | Table::LeaseKeys => false,
        }
    }

    /// Takes a row that a backup of this state machine kept. All of them come before the changes.
    ///
    /// # Errors
    /// When the row is none that is kept, or does not decode, or the engine cannot write.
    pub fn keep(&mut self, table: Table, key: Bytes, value: Bytes) -> Result<(), Fault> {
        if !Self::is_kept(table, &key) {
            return Err(damaged("a backup holds a row that is not kept"));
        }
        if table == Table::Meta && key == MetaRow::Counters.key() {
            self.meta = Meta::decode(&value)?;
            self.meta.no_space = false;
            self.meta.corrupt = false;
            self.has_counters = true;
            return Ok(());
        }
        if table == Table::Cluster && key == Family::Auth.prefix() {
            self.kept_auth = Some(AuthState::decode(&value)?.revision);
        }
        if table == Table::Leases {
            let id = keys::read_lease(&key)?;
            Lease::decode(id, &value)?;
            self.attached.insert(id, 0);
        }
        self.put(table, key, value)
    }

    /// Takes a lease of a backup of etcd's: its time to live, and what remains of it, from the time
    /// at which the cluster starts.
    ///
    /// # Errors
    /// When the lease was there already, or the engine cannot write.
    pub fn lease(&mut self, id: LeaseId, ttl: Ttl, remaining: Ttl) -> Result<(), Fault> {
        if self.attached.insert(id, 0).is_some() {
            return Err(damaged("a backup holds a lease twice"));
        }
        let lease = Lease {
            id,
            ttl,
            deadline: ClusterTime(remaining.0),
            generation: 1,
            // Counted at the end.
            keys: None,
            may_have: MayHave {
                will: false,
                session: false,
            },
        };
        self.put(Table::Leases, keys::lease(id), lease.encode())
    }

    /// Takes the state of authentication of a backup of etcd's. Tokens do not outlive a restore.
    pub const fn auth(&mut self, is_enabled: bool, revision: AuthRevision) {
        self.users.state(is_enabled, revision);
    }

    /// Takes a user of a backup of etcd's; `password` is `None` for one that has none.
    pub fn user(&mut self, name: String, password: Option<Bytes>, roles: Vec<String>) {
        self.users.user(name, password, roles);
    }

    /// Takes a role of a backup of etcd's.
    pub fn role(&mut self, name: String, permissions: Vec<Permission>) {
        self.users.role(name, permissions);
    }

    /// Takes a change: a row of history, in ascending order. Changes of the empty key only move the
    /// revision; a restore of etcd's leaves one behind.
    ///
    /// # Errors
    /// [`Fault::Damaged`] when the row is no change, or out of order; when the engine cannot write.
    pub fn change(&mut self, row: Bytes, value: Bytes) -> Result<(), Fault> {
        let (stamp, kind) = keys::read_history(&row)?;
        if self.last.is_some_and(|last| stamp <= last) {
            return Err(damaged("a backup holds changes out of order"));
        }
        self.last = Some(stamp);
        let kv = KeyValue::decode(&value)?;
        if kv.key.is_empty() {
            return Ok(());
        }
        match kind {
            ChangeKind::Put => {
                if kv.mod_revision != stamp.main {
                    return Err(damaged("a change is not of its revision"));
                }
                let record = Record {
                    stamp,
                    create: kv.create_revision,
                    version: kv.version,
                    lease: kv.lease,
                    value: kv.value.clone(),
                };
                self.put(Table::Current, kv.key.clone(), record.encode())?;
            }
            ChangeKind::Tombstone => self.push(WriteOp::Delete(Table::Current, kv.key.clone()))?,
        }
        let version = keys::version(&kv.key, stamp);
        self.put(
            Table::Versions,
            version,
            Bytes::from_static(kind.row_value()),
        )?;
        if !self.has_counters {
            let bytes = row.len().saturating_add(value.len());
            self.meta.history_bytes = self.meta.history_bytes.saturating_add(bytes as u64);
        }
        self.put(Table::History, row, value)
    }

    /// The revision of the state whose rows are kept, if there are any.
    #[must_use]
    pub fn kept_revision(&self) -> Option<Revision> {
        self.has_counters.then_some(self.meta.revision)
    }

    /// The auth revision of the rows that are kept, if users or roles were ever changed.
    #[must_use]
    pub const fn kept_auth_revision(&self) -> Option<AuthRevision> {
        self.kept_auth
    }

    /// Removes every row from the engine, to begin again.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn clear(&mut self) -> Result<(), Fault> {
        let engine = Arc::clone(&self.engine);
        let view = engine.snapshot()?;
        for table in Table::ALL {
            let mut cursor = view.scan(table, &[])?;
            while let Some(key) = cursor.next_key()? {
                self.push(WriteOp::Delete(table, key))?;
            }
        }
        self.flush()
    }

    /// Completes the state: attaches keys to their leases, and writes the counters, which are
    /// returned, with the record of the log's adapter for them.
    ///
    /// # Errors
    /// When a row does not decode, or the engine fails.
    pub fn finish(
        mut self,
        position: Position,
        adapter: &dyn Fn(&Meta) -> Bytes,
    ) -> Result<Meta, Fault> {
        self.put_users()?;
        self.flush()?;
        let engine = Arc::clone(&self.engine);
        let view = engine.snapshot()?;
        self.meta.authenticates = AuthState::load(&*view)?.enabled;
        self.attach(&*view)?;
        if !self.has_counters {
            self.count_attached(&*view)?;
        }
        let last = self.last.map_or(Revision::EMPTY, |stamp| stamp.main);
        let meta = &mut self.meta;
        meta.revision = meta.revision.max(last).max(position.floor);
        meta.floor = meta.floor.max(position.floor);
        meta.applied_index = meta.applied_index.max(position.index);
        meta.applied_term = meta.applied_term.max(position.term);
        meta.leases = self.attached.len() as u64;
        let meta = *meta;
        let counters = Bytes::from_static(MetaRow::Counters.key());
        self.put(Table::Meta, counters, meta.encode())?;
        let record = Bytes::from_static(MetaRow::Adapter.key());
        self.put(Table::Meta, record, adapter(&meta))?;
        self.flush()?;
        self.adopt()?;
        Ok(meta)
    }

    fn put_users(&mut self) -> Result<(), Fault> {
        let Some(found) = std::mem::take(&mut self.users).finish()? else {
            return Ok(());
        };
        let key = Bytes::from_static(Family::Auth.prefix());
        self.put(Table::Cluster, key, found.state.encode())?;
        for (name, user) in &found.users {
            self.put(Table::Cluster, user_row(name), user.encode())?;
        }
        for (name, role) in &found.roles {
            self.put(Table::Cluster, role_row(name), role.encode())?;
        }
        Ok(())
    }

    /// Makes claims of the keys by which etcd's clients hold locks and wait for them.
    fn adopt(self) -> Result<(), Fault> {
        let mut claimed = self.claimed;
        if claimed.is_empty() {
            return Ok(());
        }
        claimed.sort_unstable_by_key(|kv| kv.create_revision);
        let mut machine = StateMachine::open(self.engine)?;
        let mut batch = machine.begin();
        batch.adopt(claimed)?;
        batch.commit()
    }

    /// Walks the latest records: counts them, and attaches those with a lease to it.
    fn attach(&mut self, view: &dyn View) -> Result<(), Fault> {
        let (mut count, mut bytes) = (0_u64, 0_u64);
        let mut cursor = view.scan(Table::Current, &[])?;
        while let Some((key, row)) = cursor.next()? {
            let record = Record::decode(&row)?;
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(live_bytes(&key, &record));
            if let Some(attached) = self.attached.get_mut(&record.lease) {
                *attached = attached.saturating_add(1);
                let row = keys::lease_key(record.lease, &key);
                self.put(Table::LeaseKeys, row, Bytes::new())?;
                let kv = record.into_key_value(key);
                if !self.has_counters && is_claim(&kv) {
                    self.claimed.push(kv);
                }
            }
        }
        if self.has_counters && (self.meta.keys, self.meta.live_bytes) != (count, bytes) {
            return Err(damaged("a backup's counters are not those of its keys"));
        }
        self.meta.keys = count;
        self.meta.live_bytes = bytes;
        Ok(())
    }

    /// Writes the number of keys of each lease that came without it.
    fn count_attached(&mut self, view: &dyn View) -> Result<(), Fault> {
        let counted: Vec<_> = self
            .attached
            .iter()
            .map(|(id, keys)| (*id, *keys))
            .collect();
        for (id, count) in counted {
            let row = keys::lease(id);
            let Some(found) = view.get(Table::Leases, &row)? else {
                return Err(damaged("a lease is gone while the state is restored"));
            };
            let mut lease = Lease::decode(id, &found)?;
            lease.keys = Some(KeyCount::Exact(count));
            self.put(Table::Leases, row, lease.encode())?;
        }
        Ok(())
    }

    fn put(&mut self, table: Table, key: Bytes, value: Bytes) -> Result<(), Fault> {
        self.push(WriteOp::Put(table, key, value))
    }

    fn push(&mut self, op: WriteOp) -> Result<(), Fault> {
        let bytes = match &op {
            WriteOp::Put(_, key, value) => key.len().saturating_add(value.len()),
            WriteOp::Delete(_, key) => key.len(),
        };
        self.batch.ops.push(op);
        self.batch_bytes = self
            .batch_bytes
            .saturating_add(bytes)
            .saturating_add(ROW_BYTES);
        if self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.batch_bytes = 0;
        Ok(self.engine.write(std::mem::take(&mut self.batch))?)
    }
}
