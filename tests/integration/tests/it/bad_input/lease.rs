//! Leases.

use tenure_proto::limits::TTL_SECS_MAX;
use tonic::Code;

use super::{LEASE, case::Case};
use crate::differential::{
    known::LEASE_NOT_FOUND,
    requests::{grant, revoke},
};

/// Longest life of a lease in seconds.
const TTL_MAX_S: i64 = TTL_SECS_MAX.cast_signed();

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ttl in [1, 100, 0, -1, TTL_MAX_S] {
        cases.push(Case::refused(
            format!("grant of a lease that exists, for {ttl} s"),
            &grant(LEASE, ttl),
            Code::FailedPrecondition,
            "etcdserver: lease already exists",
        ));
    }
    for (id, ttl) in [(9, TTL_MAX_S + 1), (0, i64::MAX), (LEASE, i64::MAX)] {
        cases.push(Case::refused(
            format!("grant of lease {id} for {ttl} s"),
            &grant(id, ttl),
            Code::OutOfRange,
            "etcdserver: too large lease TTL",
        ));
    }
    for id in [0, 8, -1, i64::MAX, i64::MIN] {
        let name = format!("revocation of lease {id}");
        cases.push(Case::refused(
            name,
            &revoke(id),
            Code::NotFound,
            LEASE_NOT_FOUND,
        ));
    }
    cases
}
