//! Durations in messages and metadata of `tenure.v1`, in milliseconds. etcd's messages use seconds.

use std::time::Duration;

/// Returns whole milliseconds, rounded up: a duration above zero must not become zero, which has a
/// special meaning.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_milliseconds_are_rounded_up() {
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_millis(2)), 2);
        assert_eq!(millis(Duration::ZERO), 0);
    }
}
