//! Counters of a client, for the metrics of its user.
//!
//! The counters are shared by all clones of a client and never decrease.

use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    breaker::BreakerState,
    error::{Error, ErrorKind},
};

/// Declares the counters once: as atomics, as fields of [`Metrics`] and as text.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident, $help:literal;)+) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)+
        }

        /// Snapshot of the counters of a client. Made by
        /// [`Client::metrics`](crate::Client::metrics).
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Each endpoint, in the order in which they were given.
            pub endpoints: Vec<EndpointHealth>,
        }

        impl Counters {
            pub(crate) fn snapshot(&self, endpoints: Vec<EndpointHealth>) -> Metrics {
                Metrics {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    endpoints,
                }
            }
        }

        impl Metrics {
            /// Name, help and value of every counter.
            fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help, self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Calls made, independent of their results and of the number of attempts.
    requests, "Calls made, however often each was attempted.";
    /// Attempts beyond the first of their call, hedges apart.
    retries, "Attempts beyond the first of their call, hedges apart.";
    /// Repeats that the budget did not allow, or not at once.
    budget_refusals, "Repeats that the retry budget did not allow, or not at once.";
    /// Reads that were sent to a second endpoint.
    hedges_sent, "Reads sent to a second endpoint because the first had not answered.";
    /// Reads that the second endpoint answered first.
    hedges_won, "Hedged reads that the second endpoint answered first.";
    /// Writes whose answer was lost and whose outcome was found out by sending them again under
    /// the same id.
    unknown_resolved, "Writes whose outcome was unknown and was found out by a repeat.";
    /// Writes reported to the caller with
    /// [`outcome_unknown`](crate::Error::outcome_unknown).
    unknown_reported, "Writes reported to the caller with an unknown outcome.";
    /// Renewals of leases that were acknowledged.
    renewals, "Renewals of leases that were acknowledged.";
    /// Leases given up because no renewal was acknowledged before their deadline.
    lease_deadline_misses, "Leases given up because no renewal was acknowledged in time.";
    /// Calls that ran out of time.
    deadline_misses, "Calls that ran out of time.";
}

/// An endpoint and the state of its circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointHealth {
    /// The endpoint as given by the user.
    pub endpoint: String,
    /// Whether requests are sent there.
    pub breaker: BreakerState,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that failed with this error.
    pub(crate) fn failed(&self, error: &Error) {
        if error.outcome_unknown() {
            Self::count(&self.unknown_reported);
        }
        if error.kind() == ErrorKind::DeadlineExceeded {
            Self::count(&self.deadline_misses);
        }
    }
}

/// Formats the metrics in the Prometheus text format. Names begin with `tenure_client_`; the state
/// of a breaker is 0 for closed, 1 for half open, 2 for open.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tenure::Error> {
/// let client = tenure::Client::connect(["127.0.0.1:2379"]).await?;
/// let text = client.metrics().to_string();
/// assert!(text.contains("\ntenure_client_requests_total 0\n"));
/// # Ok(())
/// # }
/// ```
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, help, value) in self.counters() {
            let name = format_args!("tenure_client_{name}_total");
            writeln!(
                f,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}"
            )?;
        }
        let name = "tenure_client_breaker_state";
        writeln!(
            f,
            "# HELP {name} Circuit breaker: 0 closed, 1 half open, 2 open.\n# TYPE {name} gauge"
        )?;
        for EndpointHealth { endpoint, breaker } in &self.endpoints {
            let state = match breaker {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            write!(f, "{name}{{endpoint=\"")?;
            for c in endpoint.chars() {
                match c {
                    '\\' | '"' => write!(f, "\\{c}")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            writeln!(f, "\"}} {state}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_and_every_endpoint_is_in_the_text() {
        let counters = Counters::default();
        Counters::count(&counters.retries);
        let health = |endpoint: &str, breaker| EndpointHealth {
            endpoint: endpoint.to_owned(),
            breaker,
        };
        let metrics = counters.snapshot(vec![
            health("a:1", BreakerState::Closed),
            health("b\"\\:1", BreakerState::Open),
        ]);
        let text = metrics.to_string();
        for (name, help, value) in metrics.counters() {
            let full = format!("tenure_client_{name}_total");
            assert!(text.contains(&format!("# HELP {full} {help}\n")), "{name}");
            assert!(text.contains(&format!("\n{full} {value}\n")), "{name}");
        }
        assert!(text.contains("tenure_client_retries_total 1\n"), "{text}");
        assert!(text.contains("_state{endpoint=\"a:1\"} 0\n"), "{text}");
        assert!(
            text.contains("_state{endpoint=\"b\\\"\\\\:1\"} 2\n"),
            "{text}"
        );
    }
}
