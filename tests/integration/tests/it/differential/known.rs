//! Every way in which tenure answers otherwise than the etcd it is held against, and why.
//!
//! The etcd that is asked is Debian's 3.4; tenure serves the API of 3.6. Users read the same list
//! in `docs/differences.md`.

use tenure_proto::etcdserverpb::HashKvResponse;

use super::ask::{Question, Reply};

/// etcd 3.4 does not say up to which revision it hashed; 3.6 and tenure do.
pub(crate) fn without_hash_revision(reply: &mut HashKvResponse) {
    reply.hash_revision = 0;
}

/// Whether the difference between two replies is known.
pub(crate) fn accepts(_question: &Question, _tenure: &Reply, _etcd: &Reply) -> bool {
    false
}
