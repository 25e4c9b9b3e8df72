//! The settings of TLS and of the cluster secret, as the server uses them.

use std::path::PathBuf;

use tenure_tls::{Allowed, Files, Policy, Trust};

/// TLS of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Its certificate.
    pub certificate: Certificate,
    /// Whose certificates are verified.
    pub trust: Trust,
    /// The name to expect in the certificates of other members instead of their hosts.
    pub server_name: Option<String>,
    /// The names that verified certificates may be for.
    pub allowed: Allowed,
    /// Versions and cipher suites.
    pub policy: Policy,
    /// Whether verified members may connect from any address.
    pub allows_any_origin: bool,
}

/// Where a certificate is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// From files.
    Given(Files),
    /// Made by the node itself and kept in its data directory.
    SelfSigned {
        /// The hosts that it is for.
        hosts: Vec<String>,
        /// Years that it is valid.
        years: u32,
        /// The list of revoked certificates.
        revocations: Option<PathBuf>,
        /// The authorities of the others' certificates.
        authorities: Option<PathBuf>,
    },
}

/// The secret by which members recognise each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSecret {
    /// The file that holds it.
    pub path: PathBuf,
    /// Whether members without a secret are accepted.
    pub is_optional: bool,
}
