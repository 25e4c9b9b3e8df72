//! Makes the data directory of a member whose cluster begins with a restored state.
//!
//! Every member of that cluster is made of the same state, under the same log id: their logs begin
//! behind it, and any of them may lead.
//!
//! # Invariants
//! The identity is written last. Until then the directory is none of a member: the next attempt
//! removes what this one left, and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tenure_statemachine::{Engine, EngineError, Meta};
use thiserror::Error;

use super::{
    adapter_record::AdapterRecord,
    data_dir::{DataDir, DataDirError, Owner, sync_dir},
    entry,
    log_disk::{Fact, LogDisk, LogWrite},
    log_home::open_log,
    segment_log::LogOwner,
    state_store::StateStore,
};
use crate::consensus::{LeaderId, LogId, Membership, StoredMembership, Vote};

/// Where etcd's tools put the database of a restored member, within its data directory.
const ETCD_DATABASE: [&str; 3] = ["member", "snap", "db"];

/// What a directory is made of.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Its owner.
    pub owner: Owner,
    /// The members of the new cluster, which has no other before its first change.
    pub membership: Membership,
    /// The member in whose name the state counts as written; the same on all members.
    pub writer: u64,
}

/// Why a directory was not made.
#[derive(Debug, Error)]
pub enum SeedError<E: std::error::Error + 'static> {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] EngineError),
    /// Files cannot be written.
    #[error("files cannot be written")]
    Io(#[from] io::Error),
    /// The state cannot be restored.
    #[error(transparent)]
    Restore(E),
}

/// The database of etcd's that a new data directory holds, if it does.
#[must_use]
pub fn etcd_database(path: &Path) -> Option<PathBuf> {
    let database: PathBuf = [path]
        .into_iter()
        .chain(ETCD_DATABASE.map(Path::new))
        .collect();
    database.is_file().then_some(database)
}

/// Makes the directory `dir`, which has no owner yet: `restore` writes the state into an empty
/// engine, with the record that the second function makes for its counters.
///
/// # Errors
/// When `restore` fails, or files cannot be written. The directory has no owner then.
pub fn seed<E: std::error::Error + 'static>(
    dir: &DataDir,
    seed: Seed,
    restore: impl FnOnce(Arc<dyn Engine>, &dyn Fn(&Meta) -> Bytes) -> Result<Meta, E>,
) -> Result<(), SeedError<E>> {
    for left in [dir.state(), dir.log(), dir.snapshots()] {
        remove(&left)?;
    }
    let store = StateStore::open(&dir.state())?;
    let engine = store.engine();
    let last = |meta: &Meta| {
        let leader_id = LeaderId {
            term: meta.applied_term,
            node_id: seed.writer,
        };
        LogId::new(leader_id, meta.applied_index)
    };
    let record = |meta: &Meta| {
        let last = Some(last(meta));
        let record = AdapterRecord {
            last_applied: last,
            membership: StoredMembership::new(last, seed.membership.clone()),
            ..AdapterRecord::default()
        };
        record.encode().into()
    };
    let meta = restore(Arc::clone(&engine) as _, &record).map_err(SeedError::Restore)?;
    let last = last(&meta);
    engine.flush()?;
    let log = open_log(
        &dir.log(),
        LogOwner {
            cluster_id: seed.owner.cluster_id,
            member_id: seed.owner.member_id,
            instance_id: seed.owner.instance_id,
        },
    )?;
    // A vote that nobody was given: each member stands for a later term.
    let vote = Vote::new(meta.applied_term, seed.writer);
    log.write(&[
        LogWrite::Fact(Fact::Purged, entry::encode_log_id(&last)),
        LogWrite::Fact(Fact::Vote, entry::encode_vote(&vote)),
    ])?;
    log.sync()?;
    drop(log);
    sync_dir(dir.path())?;
    dir.claim(seed.owner)?;
    Ok(dir.mark_founded()?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
