//! Snapshots that this crate writes: etcd's tools verify and restore them, etcd serves from them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tenure_backup::{
    Contents, Status, contents,
    file::SnapshotFile,
    hash_kv,
    schema::{Alarm, AlarmKind, Lease, Permission, PermissionKind, Record, Role, User},
    status,
};
use tenure_statemachine::Revision;

use crate::{
    history::{History, buckets},
    server::Etcd,
    tools::Tools,
    written::{sealed, write},
};

const LEASE: i64 = 0x1234_5678_9abc;
const LARGE_BYTES: usize = 1 << 20;

/// A history of 20,000 puts, with overwritten, deleted and recreated keys, and a large value.
fn history() -> History {
    let mut history = History::new();
    for number in 0..20_000 {
        let lease = if number % 100 == 0 { LEASE } else { 0 };
        let key = format!("key-{:05}", number % 15_000);
        history.put(&key, format!("value {number}").repeat(3), lease);
    }
    history.put("large", vec![b'L'; LARGE_BYTES], 0);
    history.delete(&["key-00001", "key-00002", "key-00003"]);
    history.put("key-00002", "again", 0);
    history.delete(&["key-14999"]);
    history
}

/// What else is in a snapshot.
fn others() -> Vec<Record> {
    let lease = |id| {
        Record::Lease(Lease {
            id,
            ttl: 3600,
            remaining_ttl: 0,
        })
    };
    let user = |name: &'static str, roles: &[&str]| {
        Record::User(User {
            name: name.into(),
            password: "$2a$10$abcdefghijklmnopqrstuuMtQ0ZEd9ZTx.aXXnFB4XcNGxqYZVuG2".into(),
            roles: roles.iter().map(ToString::to_string).collect(),
            options: None,
        })
    };
    let permission = Permission {
        kind: PermissionKind::ReadWrite.into(),
        key: "key-".into(),
        range_end: "key.".into(),
    };
    let role = Role {
        name: "writer".into(),
        permissions: vec![permission],
    };
    let tenure = |number: u8| Record::Tenure {
        key: vec![b'C', number].into(),
        value: vec![number; 100].into(),
    };
    let rows = [
        lease(LEASE),
        lease(-7),
        user("alice", &["writer"]),
        user("root", &["root"]),
        Record::Role(role),
        Record::AuthEnabled(false),
        Record::AuthRevision(5),
        Record::Term(3),
        Record::ConsistentIndex(25_000),
    ];
    rows.into_iter().chain((0..100).map(tenure)).collect()
}

/// A snapshot file in a directory of its own.
struct Snapshot {
    path: PathBuf,
    _directory: TempDir,
}

impl Snapshot {
    fn of(records: &[Record]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot.db");
        fs::write(&path, sealed(&write(&buckets(records)))).unwrap();
        Self {
            path,
            _directory: directory,
        }
    }

    fn file(&self) -> SnapshotFile<File> {
        SnapshotFile::open(File::open(&self.path).unwrap()).unwrap()
    }

    fn hash_kv(&self, revision: i64) -> (u64, i64) {
        let file = self.file();
        let found = hash_kv(&file.database().unwrap(), Revision(revision)).unwrap();
        (found.hash.into(), found.compact_revision.0)
    }
}

/// Reads a file as a whole: checksum, structure, status, contents.
pub(crate) fn examined(path: &Path) -> (Status, Contents) {
    let file = SnapshotFile::open(File::open(path).unwrap()).unwrap();
    file.verify_checksum().unwrap();
    let database = file.database().unwrap();
    database.check().unwrap();
    (status(&database).unwrap(), contents(&database).unwrap())
}

/// Checks that a tool says the same of a file as we do.
pub(crate) fn assert_same_status(tools: &Tools, path: &Path) {
    let found = tools.status(path);
    let (ours, _) = examined(path);
    let total = if tools.has_etcdutl() {
        ours.keys
    } else {
        ours.rows
    };
    assert_eq!(found["hash"], ours.hash);
    assert_eq!(found["revision"], ours.revision.0);
    assert_eq!(found["totalKey"], total);
    assert_eq!(found["totalSize"], ours.bytes);
    if tools.has_etcdutl() {
        assert_eq!(found["version"], ours.version);
    }
}

#[test]
fn etcd_verifies_restores_and_serves_what_we_write() {
    for tools in Tools::all() {
        let history = history();
        let snapshot = Snapshot::of(&[history.records.clone(), others()].concat());
        assert_same_status(&tools, &snapshot.path);
        let (status, found) = examined(&snapshot.path);
        assert_eq!(status.keys, history.live.len() as u64);
        assert_eq!(found.keys, history.live.len() as u64);
        assert_eq!(found.revision, Revision(history.revision));
        assert_eq!((found.leases, found.users, found.roles), (2, 2, 1));
        assert_eq!((found.tenure_rows, found.term), (100, 3));

        let etcd = Etcd::restored(&tools, &snapshot.path, &[]);
        for revision in [0, 2, 10_000, history.revision] {
            let expected = snapshot.hash_kv(revision);
            assert_eq!(etcd.hash_kv(revision, &[]), expected, "at {revision}");
            if tools.has_etcdutl() {
                let found = tools.hash_kv(&snapshot.path, revision);
                assert_eq!(found, expected, "at {revision}");
            }
        }
        let get = |words: &[&str]| etcd.ctl(&[&["get", "--print-value-only"], words].concat());
        assert_eq!(get(&["large"]).trim_end().len(), LARGE_BYTES);
        assert_eq!(get(&["key-00002"]), "again\n");
        assert_eq!(get(&["key-00001"]), "");
        assert_eq!(
            get(&["key-00001", "--rev=5"]),
            format!("{}\n", "value 1".repeat(3))
        );
        let keys = etcd.ctl(&["get", "", "--prefix", "--keys-only"]);
        let keys = keys.lines().filter(|line| !line.is_empty());
        assert!(keys.eq(history.live.keys().map(|key| str::from_utf8(key).unwrap())));
        assert!(etcd.ctl(&["lease", "list"]).contains("123456789abc"));
        let attached = etcd.ctl(&["lease", "timetolive", "--keys", "123456789abc"]);
        let on_lease = history.live.values().filter(|kv| kv.lease == LEASE);
        assert_eq!(attached.matches("key-").count(), on_lease.count());
        assert_eq!(etcd.ctl(&["user", "list"]), "alice\nroot\n");
        assert!(
            etcd.ctl(&["role", "get", "writer"])
                .contains("[key-, key.)")
        );

        // etcd keeps the rows that are not its own, and what it saves is read back.
        etcd.ctl(&["put", "after", "restore"]);
        let saved = etcd.save(&[]);
        assert_same_status(&tools, &saved);
        let (_, found) = examined(&saved);
        assert_eq!(found.tenure_rows, 100);
        assert_eq!(found.keys, history.live.len() as u64 + 1);
        assert_eq!(found.members.len(), 1);
        assert_eq!(found.members[0].name, "m1");
    }
}

#[test]
fn etcd_finishes_a_compaction_that_is_only_scheduled() {
    for tools in Tools::all() {
        let mut history = history();
        let floor = Revision(history.revision - 1);
        history.put("key-00003", "after the floor", 0);
        let compaction = Record::ScheduledCompaction(floor);
        let records = [history.records.clone(), others(), vec![compaction]].concat();
        let snapshot = Snapshot::of(&records);
        assert_same_status(&tools, &snapshot.path);
        let (_, found) = examined(&snapshot.path);
        assert_eq!((found.compacted, found.is_collected), (Some(floor), false));

        let etcd = Etcd::restored(&tools, &snapshot.path, &[]);
        // etcd 3.4 refuses the floor itself.
        let at_floor = tools.has_etcdutl().then_some(floor.0);
        for revision in [0, history.revision].into_iter().chain(at_floor) {
            let expected = snapshot.hash_kv(revision);
            assert_eq!(expected.1, floor.0);
            assert_eq!(etcd.hash_kv(revision, &[]), expected, "at {revision}");
        }
    }
}

#[test]
fn an_alarm_in_a_snapshot_is_active_after_a_restore() {
    for tools in Tools::all() {
        let alarm = Alarm {
            member_id: 7,
            kind: AlarmKind::NoSpace.into(),
        };
        let records = [others(), vec![Record::Alarm(alarm)]].concat();
        let snapshot = Snapshot::of(&records);
        assert_same_status(&tools, &snapshot.path);
        assert_eq!(examined(&snapshot.path).1.alarms, [alarm]);
        let etcd = Etcd::restored(&tools, &snapshot.path, &[]);
        assert!(etcd.ctl(&["alarm", "list"]).contains("alarm:NOSPACE"));
    }
}

#[test]
fn a_restore_can_bump_the_revision_of_what_we_write() {
    for tools in Tools::all().iter().filter(|tools| tools.has_etcdutl()) {
        let history = history();
        let snapshot = Snapshot::of(&[history.records.clone(), others()].concat());
        let flags = ["--bump-revision", "1000000", "--mark-compacted"];
        let etcd = Etcd::restored(tools, &snapshot.path, &flags);
        let bumped = history.revision + 1_000_000;
        assert_eq!(
            etcd.ctl(&["get", "key-00002", "--print-value-only"]),
            "again\n"
        );
        let saved = etcd.save(&[]);
        assert_same_status(tools, &saved);
        let (status, found) = examined(&saved);
        assert_eq!(found.revision, Revision(bumped));
        assert_eq!(found.compacted, Some(Revision(bumped)));
        // The empty key that a bump leaves is counted by etcdutl, and not by us.
        assert_eq!(found.keys, history.live.len() as u64);
        assert_eq!(status.keys, found.keys + 1);
        let file = SnapshotFile::open(File::open(&saved).unwrap()).unwrap();
        let ours = hash_kv(&file.database().unwrap(), Revision(0)).unwrap();
        let expected = (u64::from(ours.hash), ours.compact_revision.0);
        assert_eq!(etcd.hash_kv(0, &[]), expected);
    }
}

#[test]
fn etcd_refuses_a_damaged_snapshot_as_we_do() {
    for tools in Tools::all() {
        let snapshot = Snapshot::of(&history().records[..1000]);
        let mut bytes = fs::read(&snapshot.path).unwrap();
        bytes[9000] ^= 1;
        fs::write(&snapshot.path, &bytes).unwrap();
        let ours = snapshot.file().verify_checksum().unwrap_err().to_string();
        assert!(
            restore_error(&tools, &snapshot.path).contains(&ours),
            "{ours}"
        );

        bytes.truncate(bytes.len() - 32);
        fs::write(&snapshot.path, &bytes).unwrap();
        let ours = snapshot.file().verify_checksum().unwrap_err().to_string();
        assert!(
            restore_error(&tools, &snapshot.path).contains(&ours),
            "{ours}"
        );
    }
}

fn restore_error(tools: &Tools, file: &Path) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut restore = tools.file_command(["snapshot", "restore"]);
    restore
        .arg(file)
        .arg("--data-dir")
        .arg(directory.path().join("data"));
    let output = restore.output().unwrap();
    assert!(!output.status.success(), "the restore succeeded");
    String::from_utf8(output.stderr).unwrap()
}
