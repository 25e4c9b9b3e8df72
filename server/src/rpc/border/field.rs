//! Fields that tenure's own requests share, with their bounds: names, tokens, leases, times.
//!
//! Bytes are moved, not copied. Nothing here reads the state.

use bytes::Bytes;
use tenure_proto::{
    limits::{
        BUNDLE_BYTES_MAX, BUNDLE_NAMES_MAX, LOCK_DELAY_MS_MAX, NAME_BYTES_MAX, PRINCIPAL_BYTES_MAX,
        TTL_MIN_MS, TTL_SECS_MAX,
    },
    v1,
};
use tenure_statemachine::{LeaseId, Mode, Revision, Ttl, Wait};

use super::conditions::Conditions;
use crate::rpc::answer::{failure::Failure, status::Reason};

/// A name.
pub(in crate::rpc) fn name(name: Bytes) -> Result<Bytes, Failure> {
    if name.is_empty() {
        return Err(Reason::NameMissing.into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(too_long(Reason::NameTooLong, name.len(), NAME_BYTES_MAX));
    }
    Ok(name)
}

/// At least one name and at most `max`, without duplicates; sorted.
pub(in crate::rpc) fn names(list: Vec<Bytes>, max: usize) -> Result<Vec<Bytes>, Failure> {
    if list.is_empty() {
        return Err(Reason::NameMissing.into());
    }
    if list.len() > max {
        let detail = format!("{}, at most {max}", list.len());
        return Err(Reason::TooManyNames.with(detail));
    }
    let mut names = list.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    let repeated = names.windows(2).find_map(|pair| match pair {
        [left, right] if left == right => Some(crate::rpc::answer::refusal::quoted(left)),
        _ => None,
    });
    match repeated {
        Some(name) => Err(Reason::NameRepeated.with(name)),
        None => Ok(names),
    }
}

/// Names that are claimed together; sorted.
pub(in crate::rpc) fn bundle(list: Vec<Bytes>) -> Result<Vec<Bytes>, Failure> {
    let names = names(list, BUNDLE_NAMES_MAX)?;
    let bytes: usize = names.iter().map(Bytes::len).sum();
    if bytes > BUNDLE_BYTES_MAX {
        let detail = format!("{bytes} bytes in all, at most {BUNDLE_BYTES_MAX}");
        return Err(Reason::TooManyNames.with(detail));
    }
    Ok(names)
}

/// A prefix of keys.
pub(in crate::rpc) fn prefix(prefix: Bytes) -> Result<Bytes, Failure> {
    if prefix.is_empty() {
        return Err(Reason::PrefixMissing.into());
    }
    if prefix.len() > NAME_BYTES_MAX {
        return Err(too_long(
            Reason::PrefixTooLong,
            prefix.len(),
            NAME_BYTES_MAX,
        ));
    }
    Ok(prefix)
}

/// A token.
pub(in crate::rpc) fn token(token: i64) -> Result<Revision, Failure> {
    if token > 0 {
        Ok(Revision(token))
    } else {
        Err(Reason::TokenMissing.into())
    }
}

/// A required lease.
pub(in crate::rpc) fn lease(lease: i64) -> Result<LeaseId, Failure> {
    let lease = LeaseId(lease);
    if lease.is_some() {
        Ok(lease)
    } else {
        Err(Reason::LeaseMissing.into())
    }
}

/// The lease of a request: an existing one, or the id of one to grant with its TTL.
pub(in crate::rpc) fn lease_or_ttl(
    lease: i64,
    ttl_ms: u64,
) -> Result<(LeaseId, Option<Ttl>), Failure> {
    let lease = LeaseId(lease);
    if lease.is_some() {
        return Ok((lease, None));
    }
    if ttl_ms == 0 {
        return Err(Reason::TtlMissing.into());
    }
    Ok((new_lease(), Some(ttl(ttl_ms)?)))
}

/// The id of a lease to grant, for a write without a request id.
pub(in crate::rpc) fn new_lease() -> LeaseId {
    Conditions::default().new_lease()
}

fn ttl(millis: u64) -> Result<Ttl, Failure> {
    const MAX: u64 = TTL_SECS_MAX * 1000;
    if millis < TTL_MIN_MS {
        let detail = format!("{millis} ms, at least {TTL_MIN_MS} ms");
        return Err(Reason::TtlTooShort.with(detail));
    }
    if millis > MAX {
        let detail = format!("{millis} ms, at most {MAX} ms");
        return Err(Reason::TtlTooLong.with(detail));
    }
    Ok(Ttl(millis))
}

/// How long a claim waits; zero is without a bound.
pub(in crate::rpc) fn wait(millis: u64) -> Wait {
    if millis == 0 {
        Wait::Always
    } else {
        Wait::Within(Ttl(millis))
    }
}

/// A lock delay.
pub(in crate::rpc) fn lock_delay(millis: u64) -> Result<Ttl, Failure> {
    if millis > LOCK_DELAY_MS_MAX {
        let detail = format!("{millis} ms, at most {LOCK_DELAY_MS_MAX} ms");
        return Err(Reason::LockDelayTooLong.with(detail));
    }
    Ok(Ttl(millis))
}

/// The principal that a claim records.
pub(in crate::rpc) fn principal(principal: String) -> Result<String, Failure> {
    if principal.len() > PRINCIPAL_BYTES_MAX {
        return Err(too_long(
            Reason::PrincipalTooLong,
            principal.len(),
            PRINCIPAL_BYTES_MAX,
        ));
    }
    Ok(principal)
}

/// The mode of a lock; exclusive when none is given.
pub(in crate::rpc) fn mode(mode: Option<v1::Mode>) -> Result<Mode, Failure> {
    use v1::mode::Kind;
    let v1::Permits { count, limit } = match mode.and_then(|mode| mode.kind) {
        None | Some(Kind::Exclusive(_)) => return Ok(Mode::Exclusive),
        Some(Kind::Shared(_)) => return Ok(Mode::Shared),
        Some(Kind::Permits(permits)) => permits,
    };
    if count == 0 || count > limit {
        let detail = format!("{count} of {limit}, at least 1 and at most all");
        return Err(Reason::PermitsInvalid.with(detail));
    }
    Ok(Mode::Permits { count, limit })
}

pub(in crate::rpc) fn too_long(reason: Reason, bytes: usize, max: usize) -> Failure {
    reason.with(format!("{bytes} bytes, at most {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        result.expect_err("refused").message().into_owned()
    }

    #[test]
    fn names_are_any_bytes_within_bounds() {
        let odd = Bytes::from_static(b"a/\0\xff//");
        assert_eq!(name(odd.clone()), Ok(odd));
        let longest = Bytes::from(vec![b'n'; NAME_BYTES_MAX]);
        assert_eq!(name(longest.clone()), Ok(longest));
        assert_eq!(refusal(name(Bytes::new())), "tenure: name is not provided");
        assert_eq!(
            refusal(name(vec![b'n'; NAME_BYTES_MAX + 1].into())),
            "tenure: name is too long: 4097 bytes, at most 4096"
        );
    }

    #[test]
    fn lists_of_names_are_sorted_and_hold_each_once() {
        let sorted = names(vec![bytes("b"), bytes("a")], 2);
        assert_eq!(sorted, Ok(vec![bytes("a"), bytes("b")]));
        assert_eq!(
            refusal(names(Vec::new(), 2)),
            "tenure: name is not provided"
        );
        assert_eq!(
            refusal(names(vec![bytes("a"), Bytes::new()], 2)),
            "tenure: name is not provided"
        );
        assert_eq!(
            refusal(names(vec![bytes("b"), bytes("a"), bytes("b")], 3)),
            "tenure: name is given twice: \"b\""
        );
        assert_eq!(
            refusal(names(vec![bytes("a"); 3], 2)),
            "tenure: too many names: 3, at most 2"
        );
    }

    #[test]
    fn names_that_are_claimed_together_are_bounded_in_number_and_in_bytes() {
        let names = |number: usize, bytes: usize| -> Vec<Bytes> {
            let name = |at| Bytes::from(format!("{at:0bytes$}"));
            (0..number).map(name).collect()
        };
        for (number, bytes) in [(1, NAME_BYTES_MAX), (4, NAME_BYTES_MAX), (64, 256)] {
            let names = names(number, bytes);
            assert_eq!(bundle(names.clone()), Ok(names));
        }
        assert_eq!(
            refusal(bundle(names(64, 257))),
            "tenure: too many names: 16448 bytes in all, at most 16384"
        );
        assert_eq!(
            refusal(bundle(names(5, NAME_BYTES_MAX))),
            "tenure: too many names: 20480 bytes in all, at most 16384"
        );
        assert_eq!(
            refusal(bundle(names(65, 2))),
            "tenure: too many names: 65, at most 64"
        );
    }

    #[test]
    fn a_lease_is_named_or_made_with_a_ttl_within_bounds() {
        assert_eq!(lease_or_ttl(7, 1), Ok((LeaseId(7), None)));
        assert_eq!(lease_or_ttl(-7, 0), Ok((LeaseId(-7), None)));
        for ttl_ms in [TTL_MIN_MS, 9_000_000_000_000] {
            let (lease, ttl) = lease_or_ttl(0, ttl_ms).expect("within bounds");
            assert!(lease.0 > 0);
            assert_eq!(ttl, Some(Ttl(ttl_ms)));
        }
        assert_eq!(
            refusal(lease_or_ttl(0, 0)),
            "tenure: neither lease nor ttl is provided"
        );
        assert_eq!(
            refusal(lease_or_ttl(0, 199)),
            "tenure: ttl is too short: 199 ms, at least 200 ms"
        );
        assert_eq!(
            refusal(lease_or_ttl(0, 9_000_000_000_001)),
            "tenure: ttl is too long: 9000000000001 ms, at most 9000000000000 ms"
        );
        assert_eq!(refusal(lease(0)), "tenure: lease is not provided");
        assert_eq!(lease(-1), Ok(LeaseId(-1)));
    }

    #[test]
    fn permits_are_at_least_one_and_at_most_all() {
        let permits = |count, limit| {
            let kind = v1::mode::Kind::Permits(v1::Permits { count, limit });
            mode(Some(v1::Mode { kind: Some(kind) }))
        };
        assert_eq!(permits(1, 3), Ok(Mode::Permits { count: 1, limit: 3 }));
        assert_eq!(permits(3, 3), Ok(Mode::Permits { count: 3, limit: 3 }));
        for (count, limit) in [(0, 3), (4, 3), (0, 0)] {
            assert_eq!(
                refusal(permits(count, limit)),
                format!(
                    "tenure: permits are not countable: {count} of {limit}, at least 1 and at most \
                     all"
                )
            );
        }
        assert_eq!(mode(None), Ok(Mode::Exclusive));
        assert_eq!(mode(Some(v1::Mode { kind: None })), Ok(Mode::Exclusive));
    }

    #[test]
    fn tokens_delays_prefixes_and_principals_have_bounds() {
        assert_eq!(token(5), Ok(Revision(5)));
        for bad in [0, -1, i64::MIN] {
            assert_eq!(refusal(token(bad)), "tenure: token is not provided");
        }
        assert_eq!(lock_delay(60_000), Ok(Ttl(60_000)));
        assert_eq!(
            refusal(lock_delay(60_001)),
            "tenure: lock delay is too long: 60001 ms, at most 60000 ms"
        );
        assert_eq!(
            refusal(prefix(Bytes::new())),
            "tenure: prefix is not provided"
        );
        assert_eq!(
            refusal(prefix(vec![b'p'; 5000].into())),
            "tenure: prefix is too long: 5000 bytes, at most 4096"
        );
        assert_eq!(
            refusal(principal("p".repeat(1025))),
            "tenure: principal is too long: 1025 bytes, at most 1024"
        );
    }
}
