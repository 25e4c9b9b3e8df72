//! The limits that the services enforce, and how the defaults follow from the election timeout.

use std::time::Duration;

use tenure_statemachine::Ttl;

/// The configured limits of the services.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request, in bytes of its message.
    pub request_bytes_max: usize,
    /// Most operations in a list of a transaction.
    pub txn_operations_max: usize,
    /// Size of the store at which writes are refused; `None` is no quota.
    pub quota_bytes: Option<u64>,
    /// Deadline of a unary call.
    pub request_timeout: Duration,
    /// Time without a heartbeat after which a follower stands for election.
    pub election_timeout: Duration,
    /// Shortest TTL of a lease; a shorter requested TTL is raised to it.
    pub lease_ttl_min: Ttl,
    /// Time between progress responses to an idle watcher, before jitter.
    pub progress_interval: Duration,
}

impl Limits {
    /// etcd's defaults, from a heartbeat of 100 ms and an election timeout of 1 s.
    #[must_use]
    pub const fn standard() -> Self {
        let election_timeout = Duration::from_secs(1);
        Self {
            request_bytes_max: 1536 * 1024,
            txn_operations_max: 128,
            quota_bytes: Some(2 << 30),
            request_timeout: Self::request_timeout(election_timeout),
            election_timeout,
            lease_ttl_min: Self::lease_ttl_min(election_timeout),
            progress_interval: Duration::from_secs(600),
        }
    }

    /// Five seconds for the work, and time for two elections meanwhile.
    #[must_use]
    pub const fn request_timeout(election_timeout: Duration) -> Duration {
        Duration::from_secs(5).saturating_add(election_timeout.saturating_mul(2))
    }

    /// One and a half election timeouts, in whole seconds, so that a lease survives an election.
    #[must_use]
    pub const fn lease_ttl_min(election_timeout: Duration) -> Ttl {
        let millis = election_timeout.saturating_mul(3).as_millis().div_ceil(2);
        Ttl::from_secs(millis.div_ceil(1000) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_is_two_seconds_by_default() {
        assert_eq!(Limits::standard().lease_ttl_min, Ttl::from_secs(2));
        assert_eq!(
            Limits::lease_ttl_min(Duration::from_secs(10)),
            Ttl::from_secs(15)
        );
        assert_eq!(Limits::standard().request_timeout, Duration::from_secs(7));
    }
}
