//! Durations as messages and metadata of `tenure.v1` carry them. etcd's own messages count seconds.

use std::time::Duration;

/// A duration as it travels: whole milliseconds, rounded up, so that no time asked for is lost and
/// nothing above zero becomes zero, which means something else.
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
