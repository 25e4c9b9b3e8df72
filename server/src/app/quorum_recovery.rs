//! Recovery of a quorum that is lost for good: this member becomes the only one of a new cluster.
//!
//! Nothing happens without a confirmation that names the directory and the end of its log, except
//! for etcd's flag, which never asked.

use std::{fmt::Write as _, io};

use thiserror::Error;
use tracing::{info, warn};

use super::AppError;
use crate::{
    config::{Config, QuorumRecovery},
    storage::{self, DataDir, DataDirError, Held},
};

/// Why a quorum was not recovered.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The files could not be read or written.
    #[error("the data directory could not be read or written")]
    Io(#[from] io::Error),
    /// The directory has never held an entry.
    #[error("the data directory {0} holds nothing to recover")]
    Empty(String),
    /// The confirmation is that of another directory, or of another end of the log.
    #[error(
        "{given:?} does not confirm the recovery of this member with this log; nothing was \
         changed. Print the plan again with --recover=plan, and compare it with those of the \
         other members that are left"
    )]
    NotConfirmed {
        /// What was given.
        given: String,
    },
}

/// What this member holds, what its recovery would mean, and the confirmation to give.
///
/// # Errors
/// See [`RecoveryError`].
pub fn plan(config: &Config) -> Result<String, RecoveryError> {
    let dir = DataDir::open(&config.data_dir)?;
    let held = held(&dir)?;
    Ok(describe(config, &held))
}

/// Recovers the quorum if the configuration says so.
pub(super) fn prepare(config: &Config, dir: DataDir) -> Result<DataDir, AppError> {
    let confirmed = match &config.recovery {
        QuorumRecovery::Off | QuorumRecovery::Plan => return Ok(dir),
        QuorumRecovery::Forced => None,
        QuorumRecovery::Confirmed(word) => Some(word),
    };
    recover(dir, confirmed.map(String::as_str)).map_err(AppError::from)
}

fn recover(dir: DataDir, confirmed: Option<&str>) -> Result<DataDir, RecoveryError> {
    let held = held(&dir)?;
    if let Some(given) = confirmed {
        if storage::recovered_by(&dir)?.as_deref() == Some(given) {
            warn!("--recover has done its work: remove the flag");
            return Ok(dir);
        }
        if given != held.confirmation() {
            let given = given.to_owned();
            return Err(RecoveryError::NotConfirmed { given });
        }
    } else if held.is_alone() {
        info!("--force-new-cluster: this is the only member already; remove the flag");
        return Ok(dir);
    }
    let cluster_id = storage::fresh_cluster_id();
    warn!(
        member_id = format!("{:x}", held.owner.member_id),
        cluster_id = format!("{:x}", held.owner.cluster_id),
        new_cluster_id = format!("{cluster_id:x}"),
        last_index = held.last.index,
        last_term = held.last.leader_id.term,
        "this member becomes the only one of a new cluster"
    );
    Ok(storage::found_new(dir, &held, cluster_id)?)
}

fn held(dir: &DataDir) -> Result<Held, RecoveryError> {
    let empty = || RecoveryError::Empty(dir.path().display().to_string());
    storage::held(dir)?.ok_or_else(empty)
}

fn describe(config: &Config, held: &Held) -> String {
    let mut text = format!(
        "member {:x} ({}) of cluster {:x}, in {}\n",
        held.owner.member_id,
        config.name,
        held.owner.cluster_id,
        config.data_dir.display()
    );
    let applied = held.applied.map_or(0, |id| id.index);
    // Writing to a text cannot fail.
    _ = writeln!(
        text,
        "  last entry:  index {} of term {}, applied up to {applied}",
        held.last.index, held.last.leader_id.term
    );
    for (id, node) in held.membership.nodes() {
        let votes = held.membership.voter_ids().any(|voter| voter == *id);
        let part = if votes { "voter" } else { "learner" };
        let urls = node.peer_urls.join(",");
        _ = writeln!(text, "  {part} {id:x}  {}  {urls}", node.name);
    }
    _ = write!(
        text,
        "\nRecover only when a majority of these voters is lost for good, and only the member \
         whose last entry\nhas the greatest term, and among these the greatest index: compare with \
         --recover=plan on the others,\nor with `tenurectl recover plan`. What only lost members \
         held is lost. The new cluster has another id:\nnone of the old members can come back; \
         remove their directories and add them as new members.\n\nCopy the directory first. Then \
         start this member with the same flags, once with --recover={}\n",
        held.confirmation()
    );
    text
}
