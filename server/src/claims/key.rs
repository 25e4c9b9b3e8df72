//! The keys of claims: name, `/`, and the lease in hexadecimal as Go's `%x` prints it, which is
//! what etcd's clients make.

use bytes::Bytes;
use tenure_statemachine::LeaseId;

/// The key of the claim of `lease` on `name`.
pub(crate) fn claim_key(name: &[u8], lease: LeaseId) -> Bytes {
    let (sign, digits) = if lease.0 < 0 {
        ("-", lease.0.unsigned_abs())
    } else {
        ("", lease.0.unsigned_abs())
    };
    let mut key = Vec::with_capacity(name.len() + "/-ffffffffffffffff".len());
    key.extend_from_slice(name);
    key.extend_from_slice(format!("/{sign}{digits:x}").as_bytes());
    key.into()
}

/// The name that a claim with this key is on, if it is a claim's.
pub(crate) fn claimed_name(key: &Bytes) -> Option<Bytes> {
    let end = key.iter().rposition(|byte| *byte == b'/')?;
    (end > 0).then(|| key.slice(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_etcds_clients_make() {
        for (lease, expected) in [
            (LeaseId(0x2a), "a/b/2a"),
            (LeaseId(i64::MAX), "a/b/7fffffffffffffff"),
            (LeaseId(-0x2a), "a/b/-2a"),
            (LeaseId(i64::MIN), "a/b/-8000000000000000"),
        ] {
            let key = claim_key(b"a/b", lease);
            assert_eq!(key, expected);
            assert_eq!(claimed_name(&key), Some(Bytes::from_static(b"a/b")));
        }
        assert_eq!(claimed_name(&Bytes::from_static(b"a")), None);
        assert_eq!(claimed_name(&Bytes::from_static(b"/2a")), None);
    }
}
