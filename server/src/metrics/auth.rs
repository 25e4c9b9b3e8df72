//! Metrics of users, of log-ins and of the audit log. etcd has the first alone.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::registrar::{Registrar, doubling};

/// Metrics of users, of log-ins and of the audit log. Cloning it clones handles.
#[derive(Clone, Debug)]
pub struct AuthMetrics {
    /// The auth revision.
    pub revision: IntGauge,
    /// Log-ins with the right password, found by its hash.
    pub hashed: IntCounter,
    /// Log-ins with the right password, found in the cache of successes.
    pub remembered: IntCounter,
    /// Log-ins with a wrong password or name.
    pub wrong: IntCounter,
    /// Log-ins refused after too many wrong ones.
    pub limited: IntCounter,
    /// Log-ins and new passwords refused because the queue was full.
    pub busy: IntCounter,
    /// Passwords that wait for a thread.
    pub waiting: IntGauge,
    /// Duration of hashing one password, without the wait.
    pub hashing: Histogram,
    /// Lines of the audit log that were written.
    pub audited: IntCounter,
    /// Lines of the audit log that were lost.
    pub audit_lost: IntCounter,
}

impl AuthMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let logins = registrar.counters(
            "tenure_auth_logins_total",
            &["result"],
            "Log-ins by result: hashed and remembered are right passwords, wrong are wrong ones, \
             limited were refused after too many wrong ones, busy because the queue was full.",
        );
        let logins = |result: &str| logins.with_label_values(&[result]);
        Self {
            revision: registrar.gauge(
                "etcd_debugging_auth_revision",
                "The auth revision: how often users, roles and permissions changed.",
            ),
            hashed: logins("hashed"),
            remembered: logins("remembered"),
            wrong: logins("wrong"),
            limited: logins("limited"),
            busy: logins("busy"),
            waiting: registrar.gauge(
                "tenure_auth_passwords_waiting",
                "Passwords that wait to be hashed.",
            ),
            hashing: registrar.histogram(
                "tenure_auth_password_hash_duration_seconds",
                // A millisecond is cost 4, sixteen seconds cost 18.
                doubling(0.001, 15),
                "Duration of hashing one password, without the wait for a thread.",
            ),
            audited: registrar.counter(
                "tenure_audit_lines_total",
                "Lines of the audit log that were written.",
            ),
            audit_lost: registrar.counter(
                "tenure_audit_lines_lost_total",
                "Lines of the audit log that were lost, because the disk was too slow or failed.",
            ),
        }
    }

    /// Metrics that nothing shows, for tests.
    #[cfg(test)]
    pub(crate) fn unregistered() -> Self {
        Self::new(&mut Registrar::default())
    }
}
