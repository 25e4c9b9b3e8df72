//! The keys that stand for claims: `<name>/<lease in hexadecimal>`, as etcd's clients write them.
//!
//! Keys below [`SERVICES_PREFIX`] belong to instances, whose ids may look like leases: they stand
//! for no claims. Invariant: a key and a lease determine the name, and a name that may be claimed
//! and a lease determine the key.

use bytes::{BufMut, Bytes, BytesMut};

use super::SERVICES_PREFIX;
use crate::value::{KeyRange, KeyValue, LeaseId, RangeEnd};

/// Separates the name from the lease.
const SEPARATOR: u8 = b'/';
/// Longest form of a lease: a sign and the sixteen digits of 64 bits.
const LEASE_LEN_MAX: usize = 17;

/// Whether a record stands for a claim: its key ends in `/` and its lease in hexadecimal.
pub(crate) fn is_claim(kv: &KeyValue) -> bool {
    kv.lease.is_some() && lease_of(&kv.key) == Some(kv.lease)
}

/// Whether a key could stand for a claim of some lease.
pub(crate) fn may_be_claim(key: &[u8]) -> bool {
    lease_of(key).is_some()
}

/// Returns the lease whose claim the key would stand for. Exactly the inverse of [`claim_key`]: a
/// leading zero or a capital makes it another key.
pub(crate) fn lease_of(key: &[u8]) -> Option<LeaseId> {
    let tail = tail(key)?;
    let (is_negative, digits) = match tail.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, tail),
    };
    if digits.is_empty() || digits.starts_with(b"0") || digits.len() > 16 {
        return None;
    }
    if key.starts_with(SERVICES_PREFIX.as_bytes()) {
        return None;
    }
    let mut magnitude = 0_u64;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        magnitude = magnitude << 4 | u64::from(value);
    }
    let id = if is_negative {
        0_i64.checked_sub_unsigned(magnitude)?
    } else {
        i64::try_from(magnitude).ok()?
    };
    Some(LeaseId(id))
}

/// Returns the part after the last separator, if it is short enough to be a lease.
fn tail(key: &[u8]) -> Option<&[u8]> {
    let searched = LEASE_LEN_MAX.saturating_add(1);
    let from_end = key.iter().rev().take(searched);
    let length = from_end.into_iter().position(|byte| *byte == SEPARATOR)?;
    key.get(key.len().checked_sub(length)?..)
}

/// Returns the name in a key that may stand for a claim; empty for any other key.
pub(crate) fn name_of(key: &Bytes) -> Bytes {
    let after = tail(key).map_or(0, <[u8]>::len).saturating_add(1);
    key.slice(..key.len().saturating_sub(after))
}

/// Returns the name that the claim with this key is on, if it may be a claim's.
#[must_use]
pub fn claimed_name(key: &Bytes) -> Option<Bytes> {
    may_be_claim(key).then(|| name_of(key))
}

/// Whether keys of claims on `name` would be mistaken for those of instances.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    claim_key(name, LeaseId(1)).starts_with(SERVICES_PREFIX.as_bytes())
}

/// Returns the prefix of the keys of claims on `name`.
pub(crate) fn below(name: &[u8]) -> Bytes {
    [name, &[SEPARATOR]].concat().into()
}

/// Returns the range of the keys of all claims on `name`.
#[must_use]
pub fn claim_range(name: &[u8]) -> KeyRange {
    KeyRange {
        start: below(name),
        end: RangeEnd::Before([name, &[SEPARATOR.saturating_add(1)]].concat().into()),
    }
}

/// Returns the key of the claim of `lease` on `name`.
#[must_use]
pub fn claim_key(name: &[u8], lease: LeaseId) -> Bytes {
    let capacity = name.len().saturating_add(LEASE_LEN_MAX).saturating_add(1);
    let mut key = BytesMut::with_capacity(capacity);
    key.put_slice(name);
    key.put_u8(SEPARATOR);
    if lease.0 < 0 {
        key.put_u8(b'-');
    }
    key.put_slice(format!("{:x}", lease.0.unsigned_abs()).as_bytes());
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &'static [u8], lease: i64) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(key),
            lease: LeaseId(lease),
            ..KeyValue::default()
        }
    }

    #[test]
    fn a_key_that_ends_in_its_own_lease_is_a_claim() {
        assert!(is_claim(&kv(b"lock/1f", 0x1f)));
        assert!(is_claim(&kv(b"a/b//1f", 0x1f)));
        assert!(is_claim(&kv(b"/1f", 0x1f)));
        assert!(is_claim(&kv(b"lock/7fffffffffffffff", i64::MAX)));
        assert!(is_claim(&kv(b"lock/-8000000000000000", i64::MIN)));
        assert!(is_claim(&kv(b"lock/-1f", -0x1f)));
    }

    #[test]
    fn any_other_key_is_none() {
        for key in [
            b"1f".as_slice(),
            b"lock1f",
            b"lock/01f",
            b"lock/1F",
            b"lock/1f/",
            b"lock/1f0",
            b"lock/+1f",
            b"lock/",
            b"",
        ] {
            assert!(!is_claim(&kv(key, 0x1f)), "{key:?}");
        }
        assert!(!is_claim(&kv(b"lock/0", 0)), "no lease is no claim");
        assert!(!is_claim(&kv(b"lock/1f", 0)), "detached");
    }

    #[test]
    fn a_number_that_no_lease_has_is_no_claim() {
        assert!(may_be_claim(b"lock/7fffffffffffffff"));
        for key in [
            b"lock/8000000000000000".as_slice(),
            b"lock/-8000000000000001",
            b"lock/10000000000000000",
            b"lock/-0",
            b"lock/-",
            b"lock/0",
        ] {
            assert!(!may_be_claim(key), "{key:?}");
        }
    }

    #[test]
    fn an_instance_is_no_claim_whatever_its_id() {
        assert!(!is_claim(&kv(b"tenure.services/web/1f", 0x1f)));
        assert!(!may_be_claim(b"tenure.services/1f"));
        assert!(is_claim(&kv(b"tenure.service/web/1f", 0x1f)));
        for name in [
            "tenure.services",
            "tenure.services/web",
            "tenure.services/a/b",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in ["tenure.servicess", "tenure", "", "a/tenure.services/web"] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_has_the_range_of_its_claims_and_of_no_other_names() {
        for name in [b"lock".as_slice(), b"", b"a/b", b"x\xff"] {
            let range = claim_range(name);
            for lease in [1, i64::MAX, i64::MIN] {
                assert!(range.contains(&claim_key(name, LeaseId(lease))));
            }
            for other in [b"loc".as_slice(), b"lock0", b"lock.", b"locks", b"z"] {
                assert!(!range.contains(&claim_key(other, LeaseId(1))), "{other:?}");
            }
        }
        assert_eq!(
            claim_range(b"n"),
            KeyRange::from_wire("n/".into(), "n0".into())
        );
    }

    #[test]
    fn name_and_lease_make_the_key_and_are_found_in_it() {
        for lease in [1, 0xdead_beef, i64::MAX, -1, i64::MIN] {
            for name in [b"lock".as_slice(), b"", b"a/b", b"a/", b"\0", b"x/12"] {
                let key = claim_key(name, LeaseId(lease));
                assert_eq!(lease_of(&key), Some(LeaseId(lease)));
                assert_eq!(claimed_name(&key).unwrap(), name);
            }
        }
        assert_eq!(claim_key(b"lock", LeaseId(0x1f)), "lock/1f");
        assert_eq!(claim_key(b"lock", LeaseId(-3)), "lock/-3");
        assert_eq!(claimed_name(&Bytes::from_static(b"lock/01")), None);
    }
}
