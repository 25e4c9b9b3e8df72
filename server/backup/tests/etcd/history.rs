//! The history of a key space that tests write: puts and deletes, with etcd's records.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenure_backup::schema::{EncodedRow, KeyValue, Record, RevisionKey};
use tenure_statemachine::Revision;

use crate::written::Buckets;

/// Changes so far, and the keys that exist.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) revision: i64,
    pub(crate) live: BTreeMap<Bytes, KeyValue>,
    pub(crate) records: Vec<Record>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            revision: 1,
            ..Self::default()
        }
    }

    /// Puts a key at the next revision.
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Bytes>, lease: i64) {
        self.revision += 1;
        let key = Bytes::copy_from_slice(key.as_bytes());
        let before = self.live.get(&key);
        let kv = KeyValue {
            key: key.clone(),
            create_revision: before.map_or(self.revision, |kv| kv.create_revision),
            mod_revision: self.revision,
            version: before.map_or(1, |kv| kv.version + 1),
            value: value.into(),
            lease,
        };
        self.records
            .push(Record::Change(self.at(0, false), kv.clone()));
        self.live.insert(key, kv);
    }

    /// Deletes keys at the next revision.
    pub(crate) fn delete(&mut self, keys: &[&str]) {
        self.revision += 1;
        for (sub, key) in (0..).zip(keys) {
            let key = Bytes::copy_from_slice(key.as_bytes());
            self.live.remove(&key).expect("the key exists");
            let tombstone = KeyValue {
                key,
                ..KeyValue::default()
            };
            self.records
                .push(Record::Change(self.at(sub, true), tombstone));
        }
    }

    fn at(&self, sub: i64, is_tombstone: bool) -> RevisionKey {
        RevisionKey {
            main: Revision(self.revision),
            sub,
            is_tombstone,
        }
    }
}

/// All buckets with these rows.
pub(crate) fn buckets(records: &[Record]) -> Buckets {
    let names = tenure_backup::schema::BucketName::ALL;
    let mut buckets: Buckets = names
        .map(|name| (Bytes::from_static(name.as_bytes()), BTreeMap::new()))
        .into();
    for record in records {
        let EncodedRow { bucket, key, value } = record.encode().unwrap();
        let rows = buckets.get_mut(bucket.as_bytes()).expect("all are there");
        assert!(rows.insert(key, value).is_none(), "a row is there once");
    }
    buckets
}
