//! Where a mirror is, as it is kept in the destination.
//!
//! It is written in the transactions that copy, so that it is exact after any crash, and it is the
//! condition of each of them: an attempt that arrives late, or a second mirror, changes nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tenure::Revision;

use crate::replication::Mapping;

/// Progress of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The revision of the source that is copied: everything up to it, or the keys before `next`
    /// as of it.
    pub(super) revision: i64,
    /// The next key to copy, in base64; `None` once all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl Progress {
    /// All keys are copied, and all changes up to a revision.
    pub(super) fn copied(revision: Revision) -> Self {
        Self {
            revision: revision.get(),
            next: None,
        }
    }

    /// Keys before `next` are copied as of a revision.
    pub(super) fn copying(revision: Revision, next: &Bytes) -> Self {
        Self {
            next: Some(STANDARD.encode(next)),
            ..Self::copied(revision)
        }
    }

    /// The next key to copy.
    pub(super) fn next_key(&self) -> Option<Bytes> {
        let next = STANDARD.decode(self.next.as_ref()?);
        next.ok().map(Bytes::from)
    }

    /// The key of the progress of a mirror. It names the source and both prefixes, so that two
    /// mirrors never share one, nor a mirror and its copy in the mirror of a mirror.
    pub(super) fn key(cluster_id: u64, mapping: &Mapping) -> Bytes {
        let name = |prefix: &Bytes| STANDARD.encode(prefix);
        let (from, to) = (name(&mapping.from), name(&mapping.to));
        format!("tenure.mirror/{cluster_id:x}/{from}:{to}").into()
    }
}
