//! Makes a data directory that of a new cluster's only member: what is left to do when the quorum
//! of the old cluster is lost for good.
//!
//! The state stays as it is. The log is written anew, because each of its files names the cluster:
//! the same entries, also those that this member never saw committed, since some of them may have
//! been acknowledged; behind them a membership of this member alone. As the only voter it commits
//! and applies them all in its next term.
//!
//! # Invariants
//! After a crash the directory is the old one or the new one. The new log is complete beside the
//! old one before a file says that it counts; from then on every opening of the directory finishes
//! the exchange before it reads anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use sha1::{Digest, Sha1};

use super::{
    adapter_record::AdapterRecord,
    checkpoint::record_of,
    data_dir::{DataDir, Owner, sync_dir, write_durably},
    entry,
    identity_file::{self, IdentityRecord},
    log_disk::{Fact, LogDisk, LogWrite},
    log_home::{open_log, record},
    segment_log::{LogOwner, SegmentLog},
    state_store::{directory, in_use},
};
use crate::consensus::{Entry, LeaderId, LogId, Membership, Payload, PeerNode, Vote};

/// Identity of the new cluster's member, from the moment on at which the new log counts.
const DECISION_FILE: &str = "new-cluster";
/// The new log, until it counts.
const BUILT_LOG: &str = "new-cluster.log";
/// Confirmation with which the directory was recovered last.
const RECOVERED_FILE: &str = "recovered";

/// Bytes of entries copied at once.
const COPIED_BYTES: usize = 4 << 20;

/// Bytes of a confirmation: enough that none is given by accident.
const CONFIRMATION_BYTES: usize = 4;

/// What a data directory holds of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The directory's owner.
    pub owner: Owner,
    /// The last entry of the log, or the last one applied where the log ends before.
    pub last: LogId,
    /// The last entry applied to the state.
    pub applied: Option<LogId>,
    /// The last membership in the log, committed or not.
    pub membership: Membership,
}

impl Held {
    /// Whether the owner is the only member already.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.membership
            .nodes()
            .all(|(id, _)| *id == self.owner.member_id)
    }

    /// A word that stands for exactly this directory with exactly this log.
    #[must_use]
    pub fn confirmation(&self) -> String {
        let mut hash = Sha1::new();
        let Owner {
            cluster_id,
            member_id,
            instance_id,
        } = self.owner;
        let leader = &self.last.leader_id;
        for number in [
            cluster_id,
            member_id,
            instance_id,
            leader.term,
            leader.node_id,
            self.last.index,
        ] {
            hash.update(number.to_be_bytes());
        }
        let digest = hash.finalize();
        let digits = digest.iter().take(CONFIRMATION_BYTES);
        digits.map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads what the directory holds; `None` if it has never held an entry. Changes nothing but a torn
/// end of the log, which is cut off as at every start.
///
/// # Errors
/// When log or state cannot be read, or are damaged.
pub fn held(dir: &DataDir) -> io::Result<Option<Held>> {
    let Some(owner) = dir
        .owner()
        .filter(|_| dir.is_founded() || dir.log().exists())
    else {
        return Ok(None);
    };
    let log = open_log(&dir.log(), log_owner(owner))?;
    let state = state_of(dir)?;
    let mut last = state.last_applied;
    let mut membership = state.membership;
    each_entry(&log, |_, entry| {
        last = last.max(Some(entry.log_id));
        if let Payload::Membership(found) = entry.payload
            && membership.log_id() < &Some(entry.log_id)
        {
            membership = crate::consensus::StoredMembership::new(Some(entry.log_id), found);
        }
        Ok(())
    })?;
    Ok(last.map(|last| Held {
        owner,
        last,
        applied: state.last_applied,
        membership: membership.membership().clone(),
    }))
}

/// Makes the directory that of the only member of the new cluster `cluster_id`, and returns it
/// opened again. `held` is what it holds.
///
/// # Errors
/// When the owner is no member, or the files cannot be read or written. The directory is as before,
/// or the next opening finishes what was begun.
pub fn found_new(dir: DataDir, held: &Held, cluster_id: u64) -> io::Result<DataDir> {
    let member_id = held.owner.member_id;
    let node = held.membership.get_node(&member_id).cloned();
    let node = node.ok_or_else(|| invalid(format!("member {member_id:x} is in no membership")))?;
    let owner = Owner {
        cluster_id,
        ..held.owner
    };
    let built = dir.path().join(BUILT_LOG);
    remove(&built)?;
    build(&dir, held, &built, owner, node)?;
    let founded = true;
    let decision = identity_file::format(&IdentityRecord { owner, founded });
    write_durably(
        &dir.path().join(RECOVERED_FILE),
        &format!("{}\n", held.confirmation()),
    )?;
    write_durably(&dir.path().join(DECISION_FILE), &decision)?;
    let path = dir.path().to_owned();
    drop(dir);
    DataDir::open(&path).map_err(io::Error::other)
}

/// The confirmation with which the directory was recovered last.
///
/// # Errors
/// When the file cannot be read.
pub fn recovered_by(dir: &DataDir) -> io::Result<Option<String>> {
    match fs::read_to_string(dir.path().join(RECOVERED_FILE)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finishes an exchange that was decided. Called on a locked directory before anything is read.
pub(super) fn finish(path: &Path, identity: &Path, peers: &Path) -> io::Result<()> {
    let decision = path.join(DECISION_FILE);
    let text = match fs::read_to_string(&decision) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    identity_file::parse(text.as_bytes()).map_err(|_| {
        let damaged = format!("{} is damaged; restore the directory", decision.display());
        invalid(damaged)
    })?;
    let (log, built) = (path.join("log"), path.join(BUILT_LOG));
    if built.exists() {
        remove(&log)?;
        fs::rename(&built, &log)?;
        sync_dir(path)?;
    }
    // What other members once said of themselves and of this one.
    match fs::remove_file(peers) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_durably(identity, &text)?;
    fs::remove_file(&decision)?;
    sync_dir(path)
}

/// Writes the new log into `built`.
fn build(dir: &DataDir, held: &Held, built: &Path, owner: Owner, node: PeerNode) -> io::Result<()> {
    let old = open_log(&dir.log(), log_owner(held.owner))?;
    let new = open_log(built, log_owner(owner))?;
    let vote = old.fact(Fact::Vote)?;
    let vote = vote.map(|bytes| entry::decode_vote(&bytes)).transpose()?;
    let term = vote.map_or(0, |vote| vote.leader_id.term);
    let leader = LeaderId {
        term: term.max(held.last.leader_id.term) + 1,
        node_id: owner.member_id,
    };
    let purged = old.fact(Fact::Purged)?;
    let purged = purged
        .map(|bytes| entry::decode_log_id(&bytes))
        .transpose()?;
    let ends_before_state = old.last_index()?.is_none_or(|last| last < held.last.index);
    // Entries that the state is ahead of are of no more use.
    let purged = if ends_before_state {
        Some(held.last)
    } else {
        purged
    };
    if let Some(purged) = purged {
        new.write(&[LogWrite::Fact(Fact::Purged, entry::encode_log_id(&purged))])?;
    }
    let vote = Vote::new(leader.term, leader.node_id);
    new.write(&[LogWrite::Fact(Fact::Vote, entry::encode_vote(&vote))])?;
    if !ends_before_state {
        copy(&old, &new)?;
    }
    let nodes = BTreeMap::from([(owner.member_id, node)]);
    let alone = vec![BTreeSet::from([owner.member_id])];
    let membership = Membership::new(alone, nodes).map_err(|error| invalid(error.to_string()))?;
    let last = Entry {
        log_id: LogId::new(leader, held.last.index + 1),
        payload: Payload::Membership(membership),
    };
    new.write(&[LogWrite::Put(entry::encode(&last))])?;
    new.sync()?;
    drop((old, new));
    sync_dir(built)?;
    sync_dir(dir.path())
}

/// Copies the entries of `old`, as stored.
fn copy(old: &SegmentLog, new: &SegmentLog) -> io::Result<()> {
    let mut from = 0;
    loop {
        let read = old.read(from, u64::MAX, COPIED_BYTES)?;
        let Some((last, _)) = read.last() else {
            return new.sync();
        };
        from = last + 1;
        let writes = read
            .into_iter()
            .map(|(index, entry)| record(index, entry).map(LogWrite::Put));
        new.write(&writes.collect::<io::Result<Vec<_>>>()?)?;
        new.sync()?;
    }
}

/// Calls `each` with the entries of the log in order.
fn each_entry(
    log: &SegmentLog,
    mut each: impl FnMut(u64, Entry) -> io::Result<()>,
) -> io::Result<()> {
    let mut from = 0;
    loop {
        let read = log.read(from, u64::MAX, COPIED_BYTES)?;
        let Some((last, _)) = read.last() else {
            return Ok(());
        };
        from = last + 1;
        for (index, bytes) in read {
            each(index, entry::decode(index, bytes)?)?;
        }
    }
}

fn state_of(dir: &DataDir) -> io::Result<AdapterRecord> {
    if !dir.state().exists() {
        return Ok(AdapterRecord::default());
    }
    let path = directory(&dir.state(), in_use(&dir.state())?);
    if !path.exists() {
        return Ok(AdapterRecord::default());
    }
    // A state to which nothing was applied yet has no record.
    record_of(&path)
        .map(Option::unwrap_or_default)
        .map_err(|fault| {
            let what = format!(
                "the state in {} cannot be read; recover another surviving member: {}",
                path.display(),
                crate::fatal::chain(&fault)
            );
            invalid(what)
        })
}

const fn log_owner(owner: Owner) -> LogOwner {
    LogOwner {
        cluster_id: owner.cluster_id,
        member_id: owner.member_id,
        instance_id: owner.instance_id,
    }
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::consensus::Batch;

    const OWNER: Owner = Owner {
        cluster_id: 0xC,
        member_id: 1,
        instance_id: 0x77,
    };
    const NEW_CLUSTER: u64 = 0xD;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id: 2 }, index)
    }

    fn membership(ids: &[u64]) -> Membership {
        let nodes = ids.iter().map(|id| (*id, PeerNode::default()));
        let voters = ids.iter().copied().collect();
        Membership::new(vec![voters], nodes.collect::<BTreeMap<_, _>>()).unwrap()
    }

    /// A directory whose log holds a membership of three and two batches, the last of term 5, and a
    /// vote of term 7.
    fn directory_of_three(path: &Path) -> DataDir {
        let dir = DataDir::open(path).unwrap();
        dir.claim(OWNER).unwrap();
        let log = open_log(&dir.log(), log_owner(OWNER)).unwrap();
        let entries = [
            (log_id(1, 0), Payload::Membership(membership(&[1, 2, 3]))),
            (
                log_id(3, 1),
                Payload::Normal(Batch(Bytes::from_static(b"first"))),
            ),
            (
                log_id(5, 2),
                Payload::Normal(Batch(Bytes::from_static(b"second"))),
            ),
        ];
        for (log_id, payload) in entries {
            let entry = Entry { log_id, payload };
            log.write(&[LogWrite::Put(entry::encode(&entry))]).unwrap();
        }
        let vote = entry::encode_vote(&Vote::new_committed(7, 3));
        log.write(&[LogWrite::Fact(Fact::Vote, vote)]).unwrap();
        log.sync().unwrap();
        dir.mark_founded().unwrap();
        fs::write(dir.peers(), "what others said").unwrap();
        dir
    }

    fn entries(dir: &DataDir) -> Vec<Entry> {
        let log = open_log(&dir.log(), log_owner(dir.owner().unwrap())).unwrap();
        let mut entries = Vec::new();
        each_entry(&log, |_, entry| {
            entries.push(entry);
            Ok(())
        })
        .unwrap();
        entries
    }

    /// Checks that the directory is the new cluster's, with every entry of the old log.
    fn assert_new(dir: &DataDir, before: &[Entry]) {
        let owner = dir.owner().unwrap();
        assert_eq!(
            owner,
            Owner {
                cluster_id: NEW_CLUSTER,
                ..OWNER
            }
        );
        let after = entries(dir);
        let (last, rest) = after.split_last().unwrap();
        assert_eq!(rest, before);
        assert_eq!(last.log_id.index, 3);
        assert_eq!(
            last.log_id.leader_id,
            LeaderId {
                term: 8,
                node_id: 1
            }
        );
        assert_eq!(last.payload, Payload::Membership(membership(&[1])));
        let log = open_log(&dir.log(), log_owner(owner)).unwrap();
        let vote = entry::decode_vote(&log.fact(Fact::Vote).unwrap().unwrap()).unwrap();
        assert_eq!(vote, Vote::new(8, 1));
        assert!(
            !dir.peers().exists(),
            "nothing is known of members of the old cluster"
        );
    }

    #[test]
    fn a_member_of_three_becomes_the_only_one_with_all_its_entries() {
        let root = tempfile::tempdir().unwrap();
        let dir = directory_of_three(root.path());
        let before = entries(&dir);
        let found = held(&dir).unwrap().unwrap();
        assert_eq!(found.last, log_id(5, 2));
        assert!(!found.is_alone());
        let dir = found_new(dir, &found, NEW_CLUSTER).unwrap();
        assert_new(&dir, &before);
        let again = held(&dir).unwrap().unwrap();
        assert!(again.is_alone());
        assert_ne!(again.confirmation(), found.confirmation());
        assert_eq!(recovered_by(&dir).unwrap(), Some(found.confirmation()));
    }

    #[test]
    fn a_confirmation_is_that_of_one_directory_and_one_end_of_the_log() {
        let root = tempfile::tempdir().unwrap();
        let dir = directory_of_three(root.path());
        let found = held(&dir).unwrap().unwrap();
        let mut words = BTreeSet::from([found.confirmation()]);
        let mut other = |change: fn(&mut Held)| {
            let mut held = found.clone();
            change(&mut held);
            assert!(words.insert(held.confirmation()), "{held:?}");
        };
        other(|it| it.owner.cluster_id += 1);
        other(|it| it.owner.member_id += 1);
        other(|it| it.owner.instance_id += 1);
        other(|it| it.last.index += 1);
        other(|it| it.last.leader_id.term += 1);
    }

    #[test]
    fn a_crash_leaves_the_old_directory_or_the_new_one() {
        // What is renamed or written, in order; a crash comes after that many steps.
        for steps in 0..=5 {
            let root = tempfile::tempdir().unwrap();
            let dir = directory_of_three(root.path());
            let before = entries(&dir);
            let found = held(&dir).unwrap().unwrap();
            let owner = Owner {
                cluster_id: NEW_CLUSTER,
                ..OWNER
            };
            let built = dir.path().join(BUILT_LOG);
            let node = PeerNode::default();
            if steps > 0 {
                build(&dir, &found, &built, owner, node).unwrap();
            }
            let founded = true;
            let text = identity_file::format(&IdentityRecord { owner, founded });
            let path = dir.path().to_owned();
            if steps > 1 {
                write_durably(&path.join(DECISION_FILE), &text).unwrap();
            }
            if steps > 2 {
                fs::remove_dir_all(dir.log()).unwrap();
            }
            if steps > 3 {
                fs::rename(&built, dir.log()).unwrap();
            }
            if steps > 4 {
                write_durably(&path.join("identity"), &text).unwrap();
            }
            drop(dir);
            let dir = DataDir::open(&path).unwrap();
            if steps > 1 {
                assert_new(&dir, &before);
            } else {
                assert_eq!(dir.owner(), Some(OWNER), "after {steps} steps");
                assert_eq!(entries(&dir), before);
                // Tried again, it succeeds.
                let dir = found_new(dir, &found, NEW_CLUSTER).unwrap();
                assert_new(&dir, &before);
            }
        }
    }

    #[test]
    fn a_damaged_decision_is_refused_and_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = directory_of_three(root.path());
        let path = dir.path().to_owned();
        drop(dir);
        fs::write(path.join(DECISION_FILE), "format = 2\ncluster_id = 0\n").unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert!(
            crate::fatal::chain(&refused).contains("is damaged"),
            "{refused:?}"
        );
        fs::remove_file(path.join(DECISION_FILE)).unwrap();
        assert_eq!(DataDir::open(&path).unwrap().owner(), Some(OWNER));
    }

    #[test]
    fn a_new_directory_holds_nothing() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        assert_eq!(held(&dir).unwrap(), None);
    }
}
