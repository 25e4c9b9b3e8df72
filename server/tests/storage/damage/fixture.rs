//! Data directories to damage: written by a node, closed, with an older copy and a stranger's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::TempDir;
use tenure_statemachine::{
    Command, DeleteRange, KeyRange, LeaseGrant, LeaseId, Put, RangeEnd, Ttl,
};
use tenured::{
    node::Replica,
    node::{LogLimits, Node},
};

use crate::{lone_node, wait};

/// Snapshots soon, and no log behind them: what is lost of the state cannot be replayed.
const SHORT: LogLimits = LogLimits {
    entries: 90,
    bytes: 64 << 20,
    catchup_bytes: 1,
    held_bytes: 1 << 30,
    stale_bytes: 64 << 20,
};
/// Neither snapshots nor a purge: the log has everything.
const LONG: LogLimits = LogLimits::of(1_000_000);
/// Large values: a log is purged by the mebibyte.
const LARGE: usize = 5;
const LARGE_BYTES: usize = 300 << 10;

/// What the log of a fixture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Every entry since the first.
    All,
    /// The entries behind the newest snapshot.
    Tail,
}

/// A closed data directory and copies to replace its parts by.
#[derive(Debug)]
pub(super) struct Fixture {
    root: TempDir,
}

impl Fixture {
    /// Writes the directories.
    pub(super) async fn write(kept: Kept) -> Self {
        let fixture = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let limits = if kept == Kept::All { LONG } else { SHORT };
        let first = fixture.root.path().join("first");
        life(&first, limits, "kept", 100).await;
        copy(&first, &fixture.older());
        copy(&first, &fixture.sound());
        life(&fixture.sound(), limits, "kept", 130).await;
        life(&fixture.other(), limits, "other", 120).await;
        fixture
    }

    /// The directory as its node left it.
    pub(super) fn sound(&self) -> PathBuf {
        self.root.path().join("sound")
    }

    /// The same directory, some hundred entries earlier.
    pub(super) fn older(&self) -> PathBuf {
        self.root.path().join("older")
    }

    /// That of another instance of the same member, which was given other data.
    pub(super) fn other(&self) -> PathBuf {
        self.root.path().join("other")
    }

    /// Where a copy is put that nothing is done to.
    pub(super) fn reference(&self) -> PathBuf {
        self.root.path().join("reference")
    }

    /// Where a damaged copy is put.
    pub(super) fn damaged(&self) -> PathBuf {
        self.root.path().join("damaged")
    }
}

/// Starts a node in `path`, writes, and stops it.
async fn life(path: &Path, limits: LogLimits, name: &str, rounds: u64) {
    let (node, metrics) = lone_node::start(path, limits).await;
    let lease = LeaseId(i64::try_from(rounds).unwrap());
    propose(
        &node,
        Command::LeaseGrant(LeaseGrant {
            id: lease,
            ttl: Ttl::from_secs(86_400),
        }),
    )
    .await;
    let half = rounds / 2;
    put(&node, name, lease, 0..half).await;
    let one = KeyRange {
        start: Bytes::from(format!("{name}/7")),
        end: RangeEnd::Single,
    };
    let delete = DeleteRange {
        range: one,
        want_previous: false,
    };
    propose(&node, Command::DeleteRange(delete)).await;
    let revision = node.meta().revision;
    propose(&node, Command::Compact(revision)).await;
    node.collected(revision).await;
    if limits.catchup_bytes == SHORT.catchup_bytes {
        put(&node, name, lease, half..rounds).await;
        for number in 0..LARGE {
            let put = Put {
                key: format!("large/{}", number % 2).into(),
                value: vec![number as u8; LARGE_BYTES].into(),
                ..Put::default()
            };
            propose(&node, Command::Put(put)).await;
        }
        // The entries were counted when the snapshot was asked for, and are again after a purge.
        let snapshots = path.join("snapshots");
        let purged = || {
            let built = fs::read_dir(&snapshots).is_ok_and(|mut dirs| dirs.next().is_some());
            built && metrics.disk.log_entries.get() < 60
        };
        wait::wait_for("the log is purged", purged).await;
        put(&node, name, lease, 0..20).await;
    } else {
        put(&node, name, lease, half..rounds).await;
    }
    node.stop().await;
}

async fn put(node: &Node, name: &str, lease: LeaseId, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let put = Put {
            key: format!("{name}/{}", number % 40).into(),
            value: value(name, number).into(),
            lease: if number % 5 == 0 {
                lease
            } else {
                LeaseId::NONE
            },
            ..Put::default()
        };
        propose(node, Command::Put(put)).await;
    }
}

/// Bytes that do not compress and are told from any other value.
fn value(name: &str, number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name.len() as u64;
    let length = 50 + number as usize * 37 % 900;
    let bytes = (0..length).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    bytes.collect()
}

async fn propose(node: &Node, command: Command) {
    node.propose(command).await.unwrap();
}

/// Copies a directory with all that is below it.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
