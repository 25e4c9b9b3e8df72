//! A snapshot file as the state of a new data directory.
//!
//! The file is the database of a member that a tool has just restored: etcd's or ours. A database
//! that a member has used is refused: the entries behind it are in a log that is not read here.

use std::{collections::BTreeMap, fs::File, io, path::Path, sync::Arc};

use tenure_backup::{
    bbolt::{Database, ReadAt, ReadError},
    file::SnapshotFile,
    rows_of,
    schema::{BucketName, Member, Record, RevisionKey, RowError},
};
use tenure_statemachine::{
    AuthRevision, Engine, Fault, LeaseId, MemberId, Meta, Revision, Ttl,
    restore::{Position, Restore},
};
use thiserror::Error;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{rows, users};
use crate::{
    config::identity::cluster_id,
    consensus::{Membership, PeerNode},
    storage::{DataDir, Owner, Seed, SeedError, fresh_instance_id, seed},
};

/// Members of a restored cluster: more than any cluster has, and few enough to be named.
const MEMBERS_MAX: usize = 64;
/// Term of the state of a restored cluster, unless the state says a later one.
const FIRST_TERM: u64 = 1;
const SECOND_MS: u64 = 1000;

/// Why a file was not taken as the state of a new member.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot be opened.
    #[error("it cannot be opened")]
    Open(#[from] io::Error),
    /// The file is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row is malformed.
    #[error(transparent)]
    Row(#[from] Box<RowError>),
    /// The state cannot be restored of it.
    #[error(transparent)]
    State(#[from] Fault),
    /// A member has used it.
    #[error(
        "it was used by a member, whose log is not read here; restore a snapshot of it with \
         `tenurectl snapshot restore`, or move over with both servers running"
    )]
    Used,
    /// It has no member of this name.
    #[error("it was restored for the members {found}, and --name is {name:?}")]
    NoMember {
        /// The name that was looked for.
        name: String,
        /// The names in the file.
        found: String,
    },
    /// The members cannot form a cluster.
    #[error("its members cannot form a cluster: {0}")]
    Members(String),
}

impl From<RowError> for ImportError {
    fn from(error: RowError) -> Self {
        Self::Row(Box::new(error))
    }
}

/// What the file says beside history.
#[derive(Debug, Default)]
struct Facts {
    members: Vec<Member>,
    consistent_index: u64,
    floor: Option<Revision>,
    auth_enabled: bool,
    auth_revision: Option<AuthRevision>,
}

/// Makes the new data directory `dir` of the database in `file`, for the member `name`.
///
/// # Errors
/// When the file cannot be used, or the directory cannot be written. The directory has no owner
/// then.
pub fn import(dir: &DataDir, file: &Path, name: &str) -> Result<(), SeedError<ImportError>> {
    let begin = Instant::now();
    let opened = File::open(file).map_err(ImportError::from);
    let file = opened.and_then(|file| Ok(SnapshotFile::open(file)?));
    let file = file.map_err(SeedError::Restore)?;
    let read = || -> Result<_, ImportError> {
        let database = file.database()?;
        database.check()?;
        let facts = facts(&database)?;
        let own = own(&facts, name)?;
        Ok((database, own, facts))
    };
    let (database, own, facts) = read().map_err(SeedError::Restore)?;
    let ids = || facts.members.iter().map(|member| MemberId(member.id));
    let owner = Owner {
        cluster_id: cluster_id(ids()).0,
        member_id: own,
        instance_id: fresh_instance_id(),
    };
    let begun = Seed {
        owner,
        membership: membership(&facts).map_err(SeedError::Restore)?,
        writer: ids().map(|id| id.0).min().unwrap_or_default(),
    };
    let mut restored = Meta::default();
    seed(dir, begun, |engine, adapter| {
        restored = restore(&database, &facts, engine, adapter)?;
        Ok(restored)
    })?;
    info!(
        keys = restored.keys,
        revision = restored.revision.0,
        cluster_id = format!("{:x}", owner.cluster_id),
        member_id = format!("{own:x}"),
        took = ?begin.elapsed(),
        "the state was restored from member/snap/db; the directory member/ is of no more use"
    );
    Ok(())
}

fn facts<S: ReadAt>(database: &Database<S>) -> Result<Facts, ImportError> {
    let mut facts = Facts::default();
    for bucket in [BucketName::Auth, BucketName::Members, BucketName::Meta] {
        for record in records(database, bucket)? {
            match record? {
                Record::Member(member) => facts.members.push(member),
                Record::ConsistentIndex(index) => facts.consistent_index = index,
                Record::ScheduledCompaction(at) | Record::FinishedCompaction(at) => {
                    facts.floor = facts.floor.max(Some(at));
                }
                Record::AuthEnabled(enabled) => facts.auth_enabled = enabled,
                Record::AuthRevision(revision) => {
                    facts.auth_revision = Some(AuthRevision(revision));
                }
                _ => {}
            }
            if facts.members.len() > MEMBERS_MAX {
                return Err(ImportError::Members(format!("more than {MEMBERS_MAX}")));
            }
        }
    }
    let is_used = facts.members.iter().any(|it| !it.client_urls.is_empty())
        || facts.consistent_index > facts.members.len() as u64;
    if is_used {
        return Err(ImportError::Used);
    }
    Ok(facts)
}

fn own(facts: &Facts, name: &str) -> Result<u64, ImportError> {
    let own = facts.members.iter().find(|member| member.name == name);
    own.map(|member| member.id).ok_or_else(|| {
        let names = facts.members.iter().map(|it| it.name.as_str());
        ImportError::NoMember {
            name: name.to_owned(),
            found: names.collect::<Vec<_>>().join(", "),
        }
    })
}

fn membership(facts: &Facts) -> Result<Membership, ImportError> {
    let node = |member: &Member| {
        let node = PeerNode {
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            stays_learner: member.is_learner,
        };
        (member.id, node)
    };
    let voters = facts.members.iter().filter(|member| !member.is_learner);
    let voters = voters.map(|member| member.id).collect();
    let nodes: BTreeMap<_, _> = facts.members.iter().map(node).collect();
    Membership::new(vec![voters], nodes).map_err(|error| ImportError::Members(error.to_string()))
}

/// Writes the state into an empty engine.
fn restore<S: ReadAt>(
    database: &Database<S>,
    facts: &Facts,
    engine: Arc<dyn Engine>,
    adapter: &dyn Fn(&Meta) -> bytes::Bytes,
) -> Result<Meta, ImportError> {
    let position = Position {
        index: facts.members.len() as u64,
        term: FIRST_TERM,
        floor: facts.floor.unwrap_or(Revision(-1)),
    };
    let mut restore = Restore::new(Arc::clone(&engine));
    let mut kept = keep(database, &mut restore)?;
    if let Some(revision) = kept
        && !(is_current(database, revision)? && has_current_users(&restore, facts))
    {
        // The file went through an etcd that wrote on: these rows are of an earlier time.
        warn!("what the snapshot holds of tenure's own state is older than its keys, and is left");
        restore = Restore::new(engine);
        restore.clear()?;
        kept = None;
    }
    if kept.is_none() {
        restore_users(database, facts, &mut restore)?;
        for record in records(database, BucketName::Lease)? {
            if let Record::Lease(lease) = record? {
                let left = match lease.remaining_ttl {
                    0 => lease.ttl,
                    left => left,
                };
                restore.lease(LeaseId(lease.id), ttl(lease.ttl), ttl(left))?;
            }
        }
    }
    for row in rows_of(database, BucketName::Key)? {
        let row = row?;
        restore.change(row.key, row.value)?;
    }
    Ok(restore.finish(position, adapter)?)
}

/// Users and roles in etcd's form.
fn restore_users<S: ReadAt>(
    database: &Database<S>,
    facts: &Facts,
    restore: &mut Restore,
) -> Result<(), ImportError> {
    if let Some(revision) = facts.auth_revision {
        restore.auth(facts.auth_enabled, revision);
    }
    for bucket in [BucketName::AuthUsers, BucketName::AuthRoles] {
        for record in records(database, bucket)? {
            match record? {
                Record::User(user) => users::restore_user(restore, user)?,
                Record::Role(role) => users::restore_role(restore, role)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether the users that tenure's own rows hold are those of the file: an etcd that the file went
/// through may have changed users, which moves no revision of keys.
fn has_current_users(restore: &Restore, facts: &Facts) -> bool {
    let kept = restore.kept_auth_revision().unwrap_or(AuthRevision::FIRST);
    facts.auth_revision.is_none_or(|revision| revision <= kept)
}

/// Takes the rows of the bucket `tenure`; returns the revision that they are of, if there are any.
fn keep<S: ReadAt>(
    database: &Database<S>,
    restore: &mut Restore,
) -> Result<Option<Revision>, ImportError> {
    for row in rows_of(database, BucketName::Tenure)? {
        let row = row?;
        let (table, key, value) = rows::decode(row.value).ok_or_else(|| {
            Fault::Damaged("a row of the bucket \"tenure\" does not decode".to_owned())
        })?;
        restore.keep(table, key, value)?;
    }
    Ok(restore.kept_revision())
}

/// Whether rows of `kept` are of the time of the last change. The empty key does not count: a
/// restore that moves the revision leaves it behind.
fn is_current<S: ReadAt>(database: &Database<S>, kept: Revision) -> Result<bool, ImportError> {
    for row in rows_of(database, BucketName::Key)? {
        let row = row?;
        let later = RevisionKey::decode(&row.key).is_some_and(|at| at.main > kept);
        if later
            && let Record::Change(_, kv) = Record::decode(row)?
            && !kv.key.is_empty()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn ttl(seconds: i64) -> Ttl {
    Ttl(u64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(SECOND_MS))
}

fn records<S: ReadAt>(
    database: &Database<S>,
    name: BucketName,
) -> Result<impl Iterator<Item = Result<Record, ImportError>>, ImportError> {
    Ok(rows_of(database, name)?.map(|row| Ok(Record::decode(row?)?)))
}
