//! Opens the state, and replaces a damaged one when identity, log and vote are whole.
//!
//! A member's promises are in its log and its vote, which stay. The state is derived from the log:
//! from this member's newest snapshot and the log behind it, from the whole log, or from another
//! member's snapshot and the log behind that. Until the state is restored, consensus does not run:
//! it expects a state that reaches to where the log begins.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use openraft::storage::{RaftLogReader, RaftLogStorage};
use tenure_statemachine::{EngineError, MemberId};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{known_members::others, start::StartError};
use crate::{
    consensus::{LogId, PeerNode},
    raft::{Peers, fetch},
    storage::{
        AdapterRecord, Checkpoint, DataDir, LogStore, SnapshotDir, StateStore, damage_of,
        is_unsettled, replace, settle,
    },
    tasks,
};

/// Pause before the other members are asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// Rounds between two log lines that say why there is no snapshot yet.
const ROUNDS_PER_LINE: u32 = 10;

/// Whether this member restores its state, for the pages that report it.
#[derive(Debug)]
pub struct Recovery(watch::Sender<bool>);

impl Default for Recovery {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Recovery {
    /// Resolves when the state was found damaged.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn begins(&self) {
        let mut begun = self.0.subscribe();
        // `self` owns the sender, so this cannot fail.
        _ = begun.wait_for(|begun| *begun).await;
    }
}

/// The snapshot directory and its newest snapshot.
pub(super) type Snapshots = (SnapshotDir, Option<(AdapterRecord, Checkpoint)>);

/// Opens the state; `None` when it is found damaged without reading all of it.
///
/// # Errors
/// When it cannot be opened for another reason.
pub(super) fn open(dir: &DataDir) -> Result<Option<StateStore>, EngineError> {
    if damage_of(&dir.state())?.is_some() {
        return Ok(None);
    }
    match StateStore::open(&dir.state()) {
        Ok(store) => Ok(Some(store)),
        Err(error) => match damage_of(&dir.state())? {
            Some(_) => Ok(None),
            None => Err(error),
        },
    }
}

/// Replaces the damaged state.
///
/// # Errors
/// When files cannot be written, or the other members are unknown.
pub(super) async fn recover(
    dir: &DataDir,
    log: &LogStore,
    peers: &Arc<Peers>,
    founders: &BTreeMap<u64, PeerNode>,
    recovery: &Recovery,
) -> Result<(StateStore, Snapshots), StartError> {
    recovery.0.send_replace(true);
    let damage = damage_of(&dir.state())?.unwrap_or_default();
    let purged = log.clone().get_log_state().await;
    let purged = purged.map_err(StartError::Log)?.last_purged_log_id;
    let (snapshots, newest) = SnapshotDir::open(&dir.snapshots())?;
    snapshots.owned_by(peers.roster().owner().instance_id, newest.as_ref())?;
    warn!(
        damage,
        "the state is damaged and is brought back; identity, log and vote are whole"
    );

    if let Some(newest) = &newest
        && purged <= newest.0.last_applied
        && let Some(newest) = whole(newest.clone()).await
    {
        info!(last = ?newest.0.last_applied, "from the newest snapshot of this member");
        let state = exchange(dir, Some(newest.1.clone())).await?;
        return Ok((state, (snapshots, Some(newest))));
    }
    let brought = if purged.is_none() {
        info!("from the log of this member, which is there from its first entry");
        (exchange(dir, None).await?, (snapshots, None))
    } else {
        let record = newest.as_ref().map(|newest| &newest.0);
        let others = others(dir, log, record, peers.roster(), founders).await?;
        if others.is_empty() {
            warn!("there is no other member to bring it back from: going on with what there is");
            settle(&dir.state())?;
            (StateStore::open(&dir.state())?, (snapshots, None))
        } else {
            from_others(dir, peers, &others, snapshots, purged).await?
        }
    };
    if let Some((_, newest)) = newest {
        // It may share the damaged files. So far it may have been the only record of the others.
        newest.supersede();
    }
    Ok(brought)
}

async fn from_others(
    dir: &DataDir,
    peers: &Arc<Peers>,
    others: &BTreeMap<u64, PeerNode>,
    snapshots: SnapshotDir,
    purged: Option<LogId>,
) -> Result<(StateStore, Snapshots), StartError> {
    let snapshots = Arc::new(snapshots);
    let (record, checkpoint) = fetched(peers, others, &snapshots, purged).await;
    let state = exchange(dir, Some(checkpoint)).await?;
    info!(last = ?record.last_applied, "the state of another member is in place");
    // Consensus needs a snapshot that reaches to where the log begins.
    let built = snapshots.build(&state.engine())?;
    let snapshots = Arc::into_inner(snapshots).expect("the fetching has ended");
    Ok((state, (snapshots, Some(built))))
}

/// Makes the log agree with a restored state: removes entries that another leader replaced without
/// this member receiving the replacements.
///
/// # Errors
/// When the log cannot be read or written.
pub(super) async fn agree(
    dir: &DataDir,
    log: &LogStore,
    applied: Option<LogId>,
) -> Result<(), StartError> {
    if !is_unsettled(&dir.state())? {
        return Ok(());
    }
    if let Some(applied) = applied {
        let mut log = log.clone();
        let state = log.get_log_state().await.map_err(StartError::Log)?;
        let range = applied.index..applied.index + 1;
        let found = log
            .try_get_log_entries(range)
            .await
            .map_err(StartError::Log)?;
        let found = found.first().map(|entry| entry.log_id);
        let purged = state.last_purged_log_id;
        let holds = found == Some(applied) || purged == Some(applied);
        if !holds && (found.is_some() || state.last_log_id > Some(applied)) {
            let committed = log.read_committed().await.map_err(StartError::Log)?;
            let keep = committed.max(purged);
            warn!(
                ?keep,
                ?applied,
                "the log holds what was never committed; it is cut off"
            );
            log.truncate_after(keep).await.map_err(StartError::Log)?;
        }
    }
    Ok(settle(&dir.state())?)
}

/// Returns the snapshot if every block of it can be read.
async fn whole(snapshot: (AdapterRecord, Checkpoint)) -> Option<(AdapterRecord, Checkpoint)> {
    let read = tasks::spawn_blocking(move || {
        let whole = snapshot.1.verify(&snapshot.0);
        whole.map(|()| snapshot)
    });
    match read.await {
        Ok(Ok(snapshot)) => Some(snapshot),
        Ok(Err(fault)) => {
            warn!(%fault, "the newest snapshot of this member is of no use");
            None
        }
        Err(_) => None,
    }
}

async fn exchange(dir: &DataDir, source: Option<Checkpoint>) -> Result<StateStore, StartError> {
    let (root, beside) = (dir.state(), dir.path().to_owned());
    let work = tasks::spawn_blocking(move || {
        replace(&root, &beside, source.as_ref())?;
        StateStore::open(&root)
    });
    Ok(work.await.expect("work neither panics nor is aborted")?)
}

/// Asks the other members in turn until one sends a snapshot.
async fn fetched(
    peers: &Arc<Peers>,
    others: &BTreeMap<u64, PeerNode>,
    snapshots: &Arc<SnapshotDir>,
    purged: Option<LogId>,
) -> (AdapterRecord, Checkpoint) {
    let index_min = purged.map_or(0, |purged| purged.index);
    let mut round: u32 = 0;
    loop {
        let mut reasons = Vec::new();
        for (id, node) in others {
            match fetch(peers, (MemberId(*id), node), snapshots, index_min).await {
                Ok(snapshot) => return snapshot,
                Err(reason) => reasons.push(format!("{}: {reason}", node.name)),
            }
        }
        if round.is_multiple_of(ROUNDS_PER_LINE) {
            let reasons = reasons.join("; ");
            warn!(
                reasons,
                "waiting for another member's snapshot in place of the damaged state"
            );
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use openraft::{Entry, EntryPayload, storage::IOFlushed};

    use super::*;
    use crate::{
        clock::RuntimeClock,
        consensus::LeaderId,
        storage::{LogOwner, open_log},
    };

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 1 }, index)
    }

    /// Returns the last entry of a log of entries 0 to 5 of term 1, committed up to 2, after it was
    /// made to agree with a restored state that has applied `applied`.
    async fn left(applied: LogId) -> Option<LogId> {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        fs::create_dir_all(dir.state()).unwrap();
        fs::write(dir.state().join("00000001.damaged"), "a bit\n").unwrap();
        let owner = LogOwner {
            cluster_id: 1,
            member_id: 1,
            instance_id: 1,
        };
        let disk = open_log(&dir.log(), owner).unwrap();
        let clock = RuntimeClock::shared();
        let mut log = LogStore::open(Arc::new(disk), clock, Arc::new(|_| ())).unwrap();
        for index in 0..6 {
            let entry = Entry {
                log_id: id(1, index),
                payload: EntryPayload::Blank,
            };
            log.append([entry], IOFlushed::noop()).await.unwrap();
        }
        log.save_committed(Some(id(1, 2))).await.unwrap();
        agree(&dir, &log, Some(applied)).await.unwrap();
        assert!(!is_unsettled(&dir.state()).unwrap());
        log.get_log_state().await.unwrap().last_log_id
    }

    #[tokio::test]
    async fn a_log_is_cut_only_where_it_contradicts_the_state_that_was_brought_back() {
        assert_eq!(left(id(1, 4)).await, Some(id(1, 5)), "it holds that entry");
        assert_eq!(left(id(2, 9)).await, Some(id(1, 5)), "it ends before");
        assert_eq!(left(id(2, 4)).await, Some(id(1, 2)), "entry 4 was another");
        assert_eq!(
            left(id(0, 9)).await,
            Some(id(1, 2)),
            "it ends under a later leader"
        );
    }
}
