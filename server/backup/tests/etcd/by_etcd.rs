//! Snapshots that etcd saves, and its own database: we read the same in them as it does.

use std::{collections::BTreeMap, fmt::Write, fs::File};

use tenure_backup::{
    bbolt::Database,
    contents,
    file::SnapshotFile,
    hash_kv,
    schema::{BucketName, EncodedRow, Record},
};
use tenure_statemachine::Revision;

use crate::{
    by_us::{assert_same_status, examined},
    server::Etcd,
    tools::Tools,
};

/// Operations of one transaction; etcd's default limit is 128.
const KEYS: usize = 100;
const ROUNDS: usize = 12;

/// Writes `KEYS` keys a few times over, and deletes some.
fn fill(etcd: &Etcd) {
    for round in 0..ROUNDS {
        let mut input = String::from("\n");
        for key in 0..KEYS {
            let value = "v".repeat(round * 40);
            writeln!(input, "put key-{key:03} \"{round} {value}\"").unwrap();
        }
        input.push_str("\n\n");
        etcd.ctl_with_input(&["txn"], &input);
    }
    etcd.ctl(&["del", "key-05", "--prefix"]);
    etcd.ctl(&["put", "key-055", "again"]);
    etcd.ctl(&["put", "last", "one"]);
    etcd.ctl(&["del", "last"]);
}

/// The keys that exist, with their values, as we read them.
fn live(file: &std::path::Path) -> BTreeMap<String, String> {
    let file = SnapshotFile::open(File::open(file).unwrap()).unwrap();
    let database = file.database().unwrap();
    let bucket = database.bucket(b"key").unwrap().expect("there is one");
    let mut live = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for row in database.rows(&bucket) {
        let row = EncodedRow::new(BucketName::Key, row.unwrap());
        let record = Record::decode(row.clone()).unwrap();
        assert_eq!(record.encode().unwrap(), row, "our bytes are etcd's");
        match record {
            // A compaction can leave a tombstone alone.
            Record::Change(at, kv) if at.is_tombstone => _ = live.remove(&text(&kv.key)),
            Record::Change(_, kv) => _ = live.insert(text(&kv.key), text(&kv.value)),
            other => panic!("no change: {other:?}"),
        }
    }
    live
}

/// The same as etcd says.
fn served(etcd: &Etcd, user: &[&str]) -> BTreeMap<String, String> {
    let text = etcd.ctl(&[user, &["get", "", "--prefix"]].concat());
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks(2);
    pairs
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect()
}

fn assert_same_hash(etcd: &Etcd, file: &std::path::Path, revisions: &[i64], user: &[&str]) {
    let file = SnapshotFile::open(File::open(file).unwrap()).unwrap();
    let database = file.database().unwrap();
    for revision in revisions {
        let ours = hash_kv(&database, Revision(*revision)).unwrap();
        let expected = (u64::from(ours.hash), ours.compact_revision.0);
        assert_eq!(etcd.hash_kv(*revision, user), expected, "at {revision}");
    }
}

#[test]
fn what_etcd_saves_is_read_as_etcd_reads_it() {
    for tools in Tools::all() {
        let etcd = Etcd::new(&tools);
        // Nothing but what etcd writes by itself.
        let empty = etcd.save(&[]);
        assert_same_status(&tools, &empty);
        let (_, found) = examined(&empty);
        assert_eq!((found.revision, found.keys), (Revision(1), 0));
        assert_same_hash(&etcd, &empty, &[0], &[]);

        fill(&etcd);
        let granted = etcd.ctl(&["lease", "grant", "1000"]);
        let lease = granted
            .split(' ')
            .nth(1)
            .expect("it prints the id")
            .to_owned();
        etcd.ctl(&["put", "on-lease", "x", "--lease", &lease]);
        let full = etcd.save(&[]);
        assert_same_status(&tools, &full);
        let (status, found) = examined(&full);
        assert_eq!(live(&full), served(&etcd, &[]));
        assert_eq!((found.keys, found.leases), (status.keys, 1));
        assert_eq!(found.compacted, None);
        let last = found.revision.0;
        assert_same_hash(&etcd, &full, &[0, 1, 2, 7, last - 2, last], &[]);
    }
}

#[test]
fn a_compaction_by_etcd_is_read() {
    for tools in Tools::all() {
        let etcd = Etcd::new(&tools);
        fill(&etcd);
        let last = examined(&etcd.save(&[])).1.revision.0;
        for floor in [5, last - 1, last] {
            let text = floor.to_string();
            etcd.ctl(&["compaction", "--physical", &text]);
            let saved = etcd.save(&[]);
            assert_same_status(&tools, &saved);
            let (_, found) = examined(&saved);
            assert_eq!(found.compacted, Some(Revision(floor)));
            assert!(found.is_collected);
            assert_eq!(found.revision, Revision(last));
            assert_eq!(live(&saved), served(&etcd, &[]));
            assert_same_hash(&etcd, &saved, &[0], &[]);
            // At the floor itself etcd 3.4 refuses, and later ones remember an older hash.
            if floor < last {
                assert_same_hash(&etcd, &saved, &[last], &[]);
            }
        }
    }
}

#[test]
fn users_roles_and_alarms_of_etcd_are_read() {
    for tools in Tools::all() {
        let etcd = Etcd::new(&tools);
        etcd.ctl(&["put", "k", "v"]);
        etcd.ctl(&["role", "add", "root"]);
        etcd.ctl(&["role", "add", "reader"]);
        etcd.ctl(&["role", "grant-permission", "reader", "read", "a", "b"]);
        for name in ["root", "alice"] {
            etcd.ctl(&["user", "add", &format!("{name}:secret")]);
        }
        etcd.ctl(&["user", "grant-role", "root", "root"]);
        etcd.ctl(&["user", "grant-role", "alice", "reader"]);
        etcd.ctl(&["auth", "enable"]);
        let user = ["--user", "root:secret"];
        let saved = etcd.save(&user);
        assert_same_status(&tools, &saved);
        let (_, found) = examined(&saved);
        assert!(found.auth_enabled);
        assert_eq!((found.users, found.roles), (2, 2));
        assert_same_hash(&etcd, &saved, &[0], &user);
        assert_rows_are_ours(&saved);
    }
}

/// Every message that etcd stores is encoded by us in the same bytes.
fn assert_rows_are_ours(file: &std::path::Path) {
    let file = SnapshotFile::open(File::open(file).unwrap()).unwrap();
    let database = file.database().unwrap();
    for bucket in database.buckets() {
        let bucket = bucket.unwrap();
        let Some(name) = BucketName::from_bytes(bucket.name()) else {
            panic!("an unknown bucket: {bucket:?}");
        };
        for row in database.rows(&bucket) {
            let row = EncodedRow::new(name, row.unwrap());
            let record = Record::decode(row.clone()).unwrap();
            // Go orders the fields of JSON otherwise; what is read from ours is the same.
            let again = record.encode().unwrap();
            match record {
                Record::ConfState(_) | Record::Member(_) | Record::Downgrade(_) => {
                    assert_eq!(Record::decode(again).unwrap(), record);
                }
                Record::Other(row) => panic!("an unknown row: {row:?}"),
                _ => assert_eq!(again, row),
            }
        }
    }
}

#[test]
fn the_database_of_a_stopped_member_is_read() {
    for tools in Tools::all() {
        let etcd = Etcd::new(&tools);
        fill(&etcd);
        let (served, hash) = (served(&etcd, &[]), etcd.hash_kv(0, &[]));
        let (_directory, path) = etcd.stop();
        let file = SnapshotFile::open(File::open(&path).unwrap()).unwrap();
        assert!(!file.has_checksum());
        let error = file.verify_checksum().unwrap_err();
        assert_eq!(
            error.to_string(),
            "snapshot missing hash but --skip-hash-check=false"
        );
        let database = Database::open(File::open(&path).unwrap()).unwrap();
        let checked = database.check().unwrap();
        assert!(checked.used < checked.pages, "etcd leaves free pages");
        let found = contents(&database).unwrap();
        assert_eq!(found.keys, served.len() as u64);
        assert_eq!(found.members.len(), 1);
        assert_eq!(live(&path), served);
        let ours = hash_kv(&database, Revision(0)).unwrap();
        assert_eq!(hash, (u64::from(ours.hash), ours.compact_revision.0));
    }
}
