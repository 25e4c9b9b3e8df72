//! Why a connection could not be secured, in words for people and as a cause for programs.

use std::fmt;

/// Why a connection could not be secured; see [`Error::tls_failure`](super::Error::tls_failure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The certificate of the server has expired.
    Expired,
    /// The certificate of the server is not valid yet, or the clock of this machine is behind.
    NotYetValid,
    /// No known authority signed the certificate of the server.
    UnknownAuthority,
    /// The certificate of the server is for other names than the one it was reached by.
    WrongName,
    /// The certificate of the server cannot be used for another reason.
    InvalidCertificate,
    /// The server wants a certificate of the client.
    ClientCertificateRequired,
    /// The server does not accept the certificate of the client.
    ClientCertificateRefused,
    /// The server does not speak TLS.
    NotTls,
    /// The server speaks no version of TLS, or no cipher suite, that the client speaks.
    NoCommonVersion,
    /// The handshake failed for another reason.
    Handshake,
}

/// The cause with its details; an error of the connection.
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "only secured connections fail so")
)]
#[derive(Debug, Clone)]
pub(crate) struct TlsError {
    pub(crate) failure: TlsFailure,
    pub(crate) text: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsError {}

#[cfg(feature = "tls")]
impl TlsError {
    fn new(failure: TlsFailure, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { failure, text }
    }

    /// The cause of an error of the handshake. `has_identity` says whether the client has a
    /// certificate.
    pub(crate) fn of(error: &std::io::Error, has_identity: bool) -> Self {
        let cause = error.get_ref();
        match cause.and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(cause) => Self::of_cause(cause, has_identity),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => Self::new(
                TlsFailure::Handshake,
                "the server closed the connection during the TLS handshake; it may speak plain \
                 text only",
            ),
            None => Self::new(TlsFailure::Handshake, error.to_string()),
        }
    }

    fn of_cause(cause: &rustls::Error, has_identity: bool) -> Self {
        use rustls::Error;
        match cause {
            Error::InvalidCertificate(cause) => Self::of_certificate(cause),
            Error::AlertReceived(alert) => Self::of_alert(*alert, has_identity),
            Error::InvalidMessage(_) => Self::new(
                TlsFailure::NotTls,
                "the server does not speak TLS; use http://",
            ),
            Error::PeerIncompatible(what) => Self::new(
                TlsFailure::NoCommonVersion,
                format!("the server speaks no TLS that this client speaks: {what:?}"),
            ),
            other => Self::new(TlsFailure::Handshake, other.to_string()),
        }
    }

    fn of_certificate(cause: &rustls::CertificateError) -> Self {
        use rustls::CertificateError;
        match cause {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::new(
                TlsFailure::Expired,
                "the certificate of the server has expired",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::new(
                    TlsFailure::NotYetValid,
                    "the certificate of the server is not valid yet",
                )
            }
            // Another authority of the same name leads to the second.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::new(
                TlsFailure::UnknownAuthority,
                "the certificate of the server is signed by an unknown authority",
            ),
            CertificateError::NotValidForName => Self::new(
                TlsFailure::WrongName,
                "the certificate of the server is for another name",
            ),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                let names = if presented.is_empty() {
                    "for no host name".to_owned()
                } else {
                    format!("for {}", presented.join(", "))
                };
                let text = format!(
                    "the certificate of the server is {names}, not for {}",
                    expected.to_str()
                );
                Self::new(TlsFailure::WrongName, text)
            }
            other => Self::new(
                TlsFailure::InvalidCertificate,
                format!("the certificate of the server cannot be used: {other}"),
            ),
        }
    }

    fn of_alert(alert: rustls::AlertDescription, has_identity: bool) -> Self {
        use rustls::AlertDescription as Alert;
        match alert {
            // Older servers of Go have no alert of its own for this.
            Alert::CertificateRequired | Alert::BadCertificate if !has_identity => Self::new(
                TlsFailure::ClientCertificateRequired,
                "the server wants a client certificate",
            ),
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied => {
                let reason = match alert {
                    Alert::CertificateRevoked => "it was revoked",
                    Alert::CertificateExpired => "it has expired",
                    Alert::UnknownCA => "the server does not know the authority that signed it",
                    Alert::UnsupportedCertificate => "its kind is not supported",
                    _ => "it is not accepted",
                };
                Self::new(
                    TlsFailure::ClientCertificateRefused,
                    format!("the server refuses the client certificate: {reason}"),
                )
            }
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                Self::new(
                    TlsFailure::NoCommonVersion,
                    format!("the server speaks no TLS that this client speaks: {alert:?}"),
                )
            }
            other => Self::new(
                TlsFailure::Handshake,
                format!("the server ended the TLS handshake: {other:?}"),
            ),
        }
    }
}
