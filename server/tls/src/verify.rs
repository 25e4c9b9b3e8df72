//! Verification of certificates: their chain by webpki, then revocation and allowed names.
//!
//! Applies to both directions. The invariant: a certificate that was revoked or is not among the
//! allowed ones is refused although its chain is valid.

use std::{collections::BTreeSet, fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use thiserror::Error as ThisError;

use crate::identity::{PeerIdentity, serial_of};

/// The names that a certificate may be for; empty lists allow all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Common names, one of which it must have.
    pub common_names: Vec<String>,
    /// Host names or IP addresses, for one of which it must be valid.
    pub host_names: Vec<String>,
}

/// A certificate whose names are not allowed. The text is etcd's.
#[derive(Debug, ThisError)]
#[error("client certificate authentication failed: none of its names is allowed")]
struct NotAllowed;

impl Allowed {
    fn permits(&self, leaf: &CertificateDer<'_>) -> bool {
        self.permits_common_name(leaf) && self.permits_host_name(leaf)
    }

    fn permits_common_name(&self, leaf: &CertificateDer<'_>) -> bool {
        if self.common_names.is_empty() {
            return true;
        }
        let name = PeerIdentity::of(leaf).and_then(|identity| identity.common_name);
        name.is_some_and(|name| self.common_names.contains(&name))
    }

    fn permits_host_name(&self, leaf: &CertificateDer<'_>) -> bool {
        if self.host_names.is_empty() {
            return true;
        }
        let Ok(parsed) = ParsedCertificate::try_from(leaf) else {
            return false;
        };
        self.host_names.iter().any(|name| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        })
    }
}

/// What is checked of a certificate besides its chain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    pub(crate) revoked: Arc<BTreeSet<Vec<u8>>>,
    pub(crate) allowed: Allowed,
    /// The certificates that the settings name as authorities.
    pub(crate) named: Arc<[CertificateDer<'static>]>,
}

impl Checks {
    /// Whether a certificate was refused only for being an authority's, and is itself one that the
    /// settings name: one that signed itself, such as `openssl req -x509` makes. webpki looks at
    /// the dates before that, and its key need not be vouched for by another.
    fn is_named(&self, leaf: &CertificateDer<'_>, refused: &Error) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = refused else {
            return false;
        };
        let cause = cause.downcast_ref::<webpki::Error>();
        matches!(cause, Some(webpki::Error::CaUsedAsEndEntity))
            && self
                .named
                .iter()
                .any(|named| named.as_ref() == leaf.as_ref())
    }

    fn check(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        if !self.revoked.is_empty() {
            let serial = serial_of(leaf);
            if serial.is_none_or(|serial| self.revoked.contains(&serial)) {
                return Err(CertificateError::Revoked.into());
            }
        }
        if self.allowed.permits(leaf) {
            Ok(())
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(NotAllowed))).into())
        }
    }
}

/// Verifies certificates of clients, and of members that connect.
#[derive(Debug)]
pub(crate) struct OfClients {
    pub(crate) chain: Arc<dyn ClientCertVerifier>,
    pub(crate) checks: Checks,
}

impl ClientCertVerifier for OfClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now);
        let verified = verified.or_else(|error| {
            let is_named = self.checks.is_named(leaf, &error);
            let verified = is_named.then(ClientCertVerified::assertion);
            verified.ok_or(error)
        })?;
        self.checks.check(leaf).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Verifies certificates of members that this one connects to.
#[derive(Debug)]
pub(crate) struct OfServers {
    pub(crate) chain: Arc<dyn ServerCertVerifier>,
    pub(crate) checks: Checks,
}

impl ServerCertVerifier for OfServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = &self.chain;
        let verified = chain.verify_server_cert(leaf, intermediates, name, ocsp, now);
        let verified = verified.or_else(|error| {
            if !self.checks.is_named(leaf, &error) {
                return Err(error);
            }
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            Ok(ServerCertVerified::assertion())
        })?;
        self.checks.check(leaf).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts every certificate: for members whose certificates were made by themselves. Encrypts, and
/// proves nothing.
pub(crate) struct Anyone(pub(crate) Arc<CryptoProvider>);

impl fmt::Debug for Anyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anyone")
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Refuses every certificate: for a side that has no authority to verify one with.
pub(crate) struct NoOne(pub(crate) Arc<CryptoProvider>);

impl fmt::Debug for NoOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoOne")
    }
}

impl ServerCertVerifier for NoOne {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
