//! Versions of TLS and cipher suites, by the names that etcd's flags have for them.
//!
//! Invariant: a [`Policy`] allows at least one version with at least one suite.

use rustls::{
    CipherSuite, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    version::{TLS12, TLS13},
};
use thiserror::Error;

/// The names of the versions, the lowest first.
const VERSIONS: [&str; 2] = ["TLS1.2", "TLS1.3"];

/// What the library calls the versions.
static BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
static OLD: &[&SupportedProtocolVersion] = &[&TLS12];
static NEW: &[&SupportedProtocolVersion] = &[&TLS13];

/// Suites of TLS 1.2 that exist and are not offered, because they have no forward secrecy, no
/// authenticated encryption, or both. Their names are told apart from misspelled ones.
const WEAK: [&str; 6] = [
    "TLS_RSA_WITH_",
    "TLS_DHE_",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_",
    "TLS_ECDHE_RSA_WITH_",
    "TLS_ECDHE_ECDSA_WITH_RC4_",
];

/// Which versions and suites a port accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    has_tls12: bool,
    has_tls13: bool,
    /// Names of the suites of TLS 1.2; empty means all.
    suites: Vec<String>,
}

/// Causes for which settings are no policy. The texts are etcd's where it has the cause.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyFault {
    /// A version without meaning.
    #[error("unexpected TLS version {0:?} (must be one of: TLS1.2, TLS1.3)")]
    Version(String),
    /// The versions exclude each other.
    #[error("min version ({min}) is greater than max version ({max})")]
    Empty {
        /// The lowest version.
        min: String,
        /// The highest version.
        max: String,
    },
    /// A suite without meaning.
    #[error("unexpected TLS cipher suite {0:?}")]
    Suite(String),
    /// A suite that is not offered.
    #[error(
        "TLS cipher suite {0:?} is not supported: it has no forward secrecy or no authenticated \
         encryption; name those with ECDHE and GCM or CHACHA20"
    )]
    Weak(String),
    /// Suites are for TLS 1.2, which is excluded.
    #[error("cipher suites cannot be configured when only TLS1.3 is enabled")]
    SuitesWithoutTls12,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            has_tls12: true,
            has_tls13: true,
            suites: Vec::new(),
        }
    }
}

impl Policy {
    /// The policy of etcd's flags `--tls-min-version`, `--tls-max-version` and `--cipher-suites`;
    /// an empty text sets no bound.
    ///
    /// # Errors
    /// See [`PolicyFault`].
    pub fn new(min: &str, max: &str, suites: &[String]) -> Result<Self, PolicyFault> {
        let index = |name: &str, unset: usize| {
            if name.is_empty() {
                return Ok(unset);
            }
            let found = VERSIONS.iter().position(|version| *version == name);
            found.ok_or_else(|| PolicyFault::Version(name.to_owned()))
        };
        let (lowest, highest) = (index(min, 0)?, index(max, 1)?);
        if lowest > highest {
            return Err(PolicyFault::Empty {
                min: min.to_owned(),
                max: max.to_owned(),
            });
        }
        let has_tls12 = lowest == 0;
        if !has_tls12 && !suites.is_empty() {
            return Err(PolicyFault::SuitesWithoutTls12);
        }
        for suite in suites {
            if suite_named(suite).is_none() {
                let is_weak = WEAK.iter().any(|weak| suite.starts_with(weak));
                return Err(if is_weak {
                    PolicyFault::Weak(suite.clone())
                } else {
                    PolicyFault::Suite(suite.clone())
                });
            }
        }
        let policy = Self {
            has_tls12,
            has_tls13: highest == 1,
            suites: suites.to_vec(),
        };
        // Suites of TLS 1.3 alone, which are always offered, leave none for TLS 1.2.
        let has_tls12 = has_tls12 && policy.provider_suites().iter().any(is_of_tls12);
        if !has_tls12 && !policy.has_tls13 {
            return Err(PolicyFault::Suite(suites.join(",")));
        }
        Ok(Self {
            has_tls12,
            ..policy
        })
    }

    pub(crate) fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match (self.has_tls12, self.has_tls13) {
            (true, true) => BOTH,
            (true, false) => OLD,
            _ => NEW,
        }
    }

    pub(crate) fn provider(&self) -> CryptoProvider {
        CryptoProvider {
            cipher_suites: self.provider_suites(),
            ..ring::default_provider()
        }
    }

    fn provider_suites(&self) -> Vec<SupportedCipherSuite> {
        let named: Vec<_> = self
            .suites
            .iter()
            .filter_map(|name| suite_named(name))
            .collect();
        let is_offered = |suite: &SupportedCipherSuite| {
            !is_of_tls12(suite) || named.is_empty() || named.contains(&suite.suite())
        };
        let mut suites = ring::ALL_CIPHER_SUITES.to_vec();
        suites.retain(is_offered);
        suites
    }
}

fn is_of_tls12(suite: &SupportedCipherSuite) -> bool {
    suite.version() == &TLS12
}

/// The suite that Go has under this name, if it is offered.
fn suite_named(name: &str) -> Option<CipherSuite> {
    let suite = match name {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        }
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        }
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        }
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        }
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => {
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_AES_128_GCM_SHA256" => CipherSuite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => CipherSuite::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        _ => return None,
    };
    Some(suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(min: &str, max: &str, suites: &[&str]) -> Result<Policy, String> {
        let suites: Vec<_> = suites.iter().map(ToString::to_string).collect();
        Policy::new(min, max, &suites).map_err(|fault| fault.to_string())
    }

    #[test]
    fn faults_are_named_in_etcds_words() {
        for (found, text) in [
            (
                policy("TLS1.1", "", &[]),
                r#"unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)"#,
            ),
            (
                policy("TLS1.3", "TLS1.2", &[]),
                "min version (TLS1.3) is greater than max version (TLS1.2)",
            ),
            (
                policy("TLS1.3", "", &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
                "cipher suites cannot be configured when only TLS1.3 is enabled",
            ),
            (
                policy("", "", &["ROT13"]),
                r#"unexpected TLS cipher suite "ROT13""#,
            ),
        ] {
            assert_eq!(found.unwrap_err(), text);
        }
    }

    #[test]
    fn a_weak_suite_is_refused_by_name_and_with_the_reason() {
        for weak in [
            "TLS_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
            "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        ] {
            let text = policy("", "", &[weak]).unwrap_err();
            assert!(
                text.contains(weak) && text.contains("forward secrecy"),
                "{text}"
            );
        }
    }

    #[test]
    fn named_suites_bound_tls_1_2_and_not_tls_1_3() {
        let policy = policy("", "", &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).unwrap();
        let suites = policy.provider_suites();
        assert_eq!(suites.iter().filter(|suite| is_of_tls12(suite)).count(), 1);
        assert_eq!(suites.len(), 4);
        assert_eq!(policy.versions().len(), 2);
    }

    #[test]
    fn suites_of_tls_1_3_alone_leave_tls_1_2_out() {
        let suites = ["TLS_AES_128_GCM_SHA256"];
        assert_eq!(policy("", "", &suites).unwrap().versions(), [&TLS13]);
        assert!(policy("", "TLS1.2", &suites).is_err());
        assert_eq!(policy("", "TLS1.2", &[]).unwrap().versions(), [&TLS12]);
    }
}
