//! The state of the fake server: keys, leases, claims and what was remembered of requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use tenure_proto::{
    etcdserverpb::TxnResponse,
    mvccpb::{Event, KeyValue, event::EventType},
    v1::Claim,
};
use tonic::Status;

/// What a claim is beside its key.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: Bytes,
    /// The keys of all claims that were made together with it.
    pub(super) bundle: Vec<Bytes>,
    pub(super) held: bool,
    pub(super) principal: String,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) revision: i64,
    pub(crate) kvs: BTreeMap<Bytes, KeyValue>,
    /// Time to live in milliseconds.
    pub(crate) leases: BTreeMap<i64, u64>,
    /// Guards, as `NAME=TOKEN`, that came with writes of keys.
    pub(crate) guards: Vec<String>,
    /// How many claims were ever made.
    pub(crate) claimed: u32,
    /// How often each call was made.
    pub(crate) calls: BTreeMap<&'static str, u32>,
    /// Streams that were asked for with a leader only.
    pub(crate) led: BTreeSet<&'static str>,
    pub(super) events: Vec<Event>,
    pub(super) rows: BTreeMap<Bytes, Row>,
    /// The keys that a request claimed.
    pub(super) requests: HashMap<(i64, u64), Vec<Bytes>>,
    /// Fence policies: prefixes and locks. Nothing is refused for them.
    pub(crate) policies: BTreeMap<Bytes, Bytes>,
    /// What other requests with an id came to.
    pub(super) remembered: HashMap<(i64, u64), Result<Vec<u8>, Status>>,
    /// What transactions with an id came to.
    pub(super) outcomes: HashMap<String, TxnResponse>,
    last_lease: i64,
}

impl Store {
    pub(super) fn count(&mut self, call: &'static str) {
        *self.calls.entry(call).or_default() += 1;
    }

    pub(crate) fn grant(&mut self, ttl_ms: u64) -> i64 {
        self.last_lease += 1;
        self.leases.insert(self.last_lease, ttl_ms);
        self.last_lease
    }

    pub(crate) fn revoke(&mut self, lease: i64) -> bool {
        let known = self.leases.remove(&lease).is_some();
        let attached = self.kvs.values().filter(|kv| kv.lease == lease);
        let keys: Vec<Bytes> = attached.map(|kv| kv.key.clone()).collect();
        self.revision += i64::from(!keys.is_empty());
        for key in keys {
            self.delete_now(&key);
        }
        known
    }

    /// Writes a key in a revision of its own.
    pub(crate) fn put(&mut self, key: &Bytes, value: Bytes, lease: i64) {
        self.revision += 1;
        self.put_now(key, value, lease);
    }

    /// Deletes a key in a revision of its own.
    pub(crate) fn delete(&mut self, key: &Bytes) -> bool {
        if !self.kvs.contains_key(key) {
            return false;
        }
        self.revision += 1;
        self.delete_now(key)
    }

    /// Writes a key in the present revision.
    pub(super) fn put_now(&mut self, key: &Bytes, value: Bytes, lease: i64) {
        let before = self.kvs.get(key);
        let kv = KeyValue {
            key: key.clone(),
            value,
            lease,
            create_revision: before.map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: before.map_or(1, |kv| kv.version + 1),
        };
        self.kvs.insert(key.clone(), kv.clone());
        self.record(EventType::Put, kv);
    }

    /// Deletes a key in the present revision.
    pub(super) fn delete_now(&mut self, key: &Bytes) -> bool {
        if self.kvs.remove(key).is_none() {
            return false;
        }
        self.rows.remove(key);
        let kv = KeyValue {
            key: key.clone(),
            mod_revision: self.revision,
            ..KeyValue::default()
        };
        self.record(EventType::Delete, kv);
        self.promote();
        true
    }

    fn record(&mut self, kind: EventType, kv: KeyValue) {
        self.events.push(Event {
            r#type: kind.into(),
            kv: Some(kv),
            prev_kv: None,
        });
    }

    /// Claims names together; the keys.
    pub(super) fn claim(
        &mut self,
        names: &[Bytes],
        lease: i64,
        value: &Bytes,
        principal: &str,
    ) -> Vec<Bytes> {
        let key = |name: &Bytes| {
            let mut key = name.to_vec();
            key.extend_from_slice(format!("/{lease:x}").as_bytes());
            Bytes::from(key)
        };
        let bundle: Vec<Bytes> = names.iter().map(key).collect();
        self.revision += 1;
        for (name, key) in names.iter().zip(&bundle) {
            self.claimed += 1;
            self.put_now(key, value.clone(), lease);
            let row = Row {
                name: name.clone(),
                bundle: bundle.clone(),
                held: false,
                principal: principal.to_owned(),
            };
            self.rows.insert(key.clone(), row);
        }
        self.promote();
        bundle
    }

    /// The keys that claim a name, in line.
    pub(super) fn queue(&self, name: &[u8]) -> Vec<Bytes> {
        let rows = self.rows.iter().filter(|(_, row)| row.name == name);
        let mut keys: Vec<Bytes> = rows.map(|(key, _)| key.clone()).collect();
        keys.sort_by_key(|key| self.kvs[key].create_revision);
        keys
    }

    fn promote(&mut self) {
        let names: BTreeSet<Bytes> = self.rows.values().map(|row| row.name.clone()).collect();
        for name in names {
            let Some(first) = self.queue(&name).into_iter().next() else {
                continue;
            };
            let bundle = self.rows[&first].bundle.clone();
            let leads = |key: &Bytes| {
                let row = self.rows.get(key);
                row.is_none_or(|row| self.queue(&row.name).first() == Some(key))
            };
            if bundle.iter().all(leads) {
                for key in bundle {
                    if let Some(row) = self.rows.get_mut(&key) {
                        row.held = true;
                    }
                }
            }
        }
    }

    pub(super) fn state(&self, key: &Bytes) -> Option<Claim> {
        let (row, kv) = (self.rows.get(key)?, self.kvs.get(key)?);
        let position = self.queue(&row.name).iter().position(|other| other == key);
        Some(Claim {
            name: row.name.clone(),
            key: key.clone(),
            lease: kv.lease,
            token: kv.create_revision,
            held: row.held,
            principal: row.principal.clone(),
            value: kv.value.clone(),
            position: u32::try_from(position.unwrap_or(0)).expect("a short queue"),
            ..Claim::default()
        })
    }

    /// Who holds a name.
    pub(crate) fn holder(&self, name: &str) -> Option<Claim> {
        let keys = self.queue(name.as_bytes());
        let mut claims = keys.iter().filter_map(|key| self.state(key));
        claims.find(|claim| claim.held)
    }

    /// Ends the claim of a lease on a name.
    pub(crate) fn end_claim(&mut self, name: &str, lease: i64) {
        let mut queue = self.queue(name.as_bytes()).into_iter();
        let key = queue.find(|key| self.kvs[key].lease == lease);
        self.delete(&key.expect("the lease has a claim"));
    }

    /// How many claim a name.
    pub(crate) fn claims(&self, name: &str) -> usize {
        self.queue(name.as_bytes()).len()
    }
}
