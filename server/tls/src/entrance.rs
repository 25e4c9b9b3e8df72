//! The way in of a port: what a connection must do before it is served.
//!
//! One for all that a port serves: there is no way around it for pages, gRPC or members. Does not
//! bound the time of a handshake; the caller does.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    identity::PeerIdentity,
    opening::{Opening, Rewound},
    origin::Origin,
    port::Port,
    secret::{self, SecretError, SharedSecrets},
};

/// What a request of HTTP/1 in plain text gets on a port that speaks TLS only; Go's servers say
/// the same.
const NOT_HTTPS: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// How long a connection that was turned away may take to read why, and how many bytes of it are
/// read meanwhile. A connection that is closed with unread bytes is reset, and the reason is lost.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 64 << 10;

/// What a port asks of its connections.
#[derive(Debug, Clone, Default)]
pub struct Entrance {
    /// For TLS, when the port speaks it.
    pub tls: Option<Arc<Port>>,
    /// Whether the port also speaks plain text, or nothing else.
    pub allows_plain: bool,
    /// Set on the ports of members, which may begin with the exchange of the cluster's secret.
    pub is_of_members: bool,
    /// The secret that callers must know.
    pub secrets: Option<Arc<SharedSecrets>>,
    /// Where the owners of certificates may connect from.
    pub origin: Option<Origin>,
}

/// A connection that may be served.
#[derive(Debug)]
pub enum Admitted<S> {
    /// In plain text.
    Plain(Rewound<S>),
    /// In TLS, with what the client's certificate proves, if it showed one.
    Tls(Box<Rewound<TlsStream<Rewound<S>>>>, Option<PeerIdentity>),
}

/// Why a connection was turned away.
#[derive(Debug, Error)]
pub enum Refused {
    /// It ended, which is nobody's fault.
    #[error("the connection ended")]
    Ended(#[source] io::Error),
    /// It does not speak TLS.
    #[error("tls: first record does not look like a TLS handshake")]
    NotTls,
    /// It speaks TLS on a port for plain text.
    #[error("the client speaks TLS, and this port does not; give it an https:// listen URL")]
    NotPlain,
    /// The handshake failed.
    #[error("{}", in_gos_words(.0))]
    Handshake(TlsError),
    /// It is not from where its certificate says.
    #[error(
        "tls: \"{address}\" does not match any of DNSNames {names:?} or of the addresses of its \
         certificate"
    )]
    Origin {
        /// Where it is from.
        address: SocketAddr,
        /// What its certificate says.
        names: Vec<String>,
    },
    /// It does not know the cluster's secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Refused {
    /// A word for the cause, for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Ended(_) | Self::Secret(SecretError::Io(_)) => "ended",
            Self::NotTls => "not_tls",
            Self::NotPlain => "not_plain",
            Self::Handshake(error) => match error {
                TlsError::NoCertificatesPresented => "certificate_missing",
                TlsError::InvalidCertificate(certificate) => match certificate {
                    CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                        "certificate_expired"
                    }
                    // Another authority of the same name leads to the second.
                    CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                        "certificate_unknown_authority"
                    }
                    CertificateError::Revoked => "certificate_revoked",
                    _ => "certificate_invalid",
                },
                TlsError::AlertReceived(_) => "refused_by_client",
                _ => "handshake",
            },
            Self::Origin { .. } => "origin",
            Self::Secret(_) => "secret",
        }
    }

    /// Whether nobody needs to know: clients that go away do so for their own reasons.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.reason() == "ended"
    }
}

impl Entrance {
    /// Does what the port asks of a connection from `peer`.
    ///
    /// # Errors
    /// Why it must be closed; the other end was told where its protocol allows that.
    pub async fn admit<S>(
        &self,
        stream: S,
        peer: Option<SocketAddr>,
    ) -> Result<Admitted<S>, Refused>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let mut stream = Rewound::new(stream);
        let opening = opening(&mut stream).await?;
        match (opening, &self.tls) {
            (Opening::Tls, Some(port)) => {
                let (stream, identity) = accept(port, stream).await?;
                self.check_origin(identity.as_ref(), peer).await?;
                let mut stream = Rewound::new(stream);
                self.meet(&mut stream).await?;
                Ok(Admitted::Tls(Box::new(stream), identity))
            }
            (Opening::Tls, None) => Err(Refused::NotPlain),
            _ if self.allows_plain => {
                self.meet(&mut stream).await?;
                Ok(Admitted::Plain(stream))
            }
            (Opening::Http1, _) => {
                // The connection is closed in any case.
                _ = stream.write_all(NOT_HTTPS).await;
                linger(stream).await;
                Err(Refused::NotTls)
            }
            (Opening::Secret | Opening::Other, _) => Err(Refused::NotTls),
        }
    }

    /// Lets a caller on a port of members prove that it knows the cluster's secret.
    async fn meet<S>(&self, stream: &mut Rewound<S>) -> Result<(), Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.is_of_members {
            return Ok(());
        }
        let begins = opening(stream).await? == Opening::Secret;
        match (&self.secrets, begins) {
            (Some(secrets), true) => secrets.current().answer(stream).await?,
            (Some(secrets), false) if !secrets.is_optional() => {
                return Err(SecretError::Missing.into());
            }
            (None, true) => secret::decline(stream).await?,
            (_, false) => {}
        }
        Ok(())
    }

    async fn check_origin(
        &self,
        identity: Option<&PeerIdentity>,
        peer: Option<SocketAddr>,
    ) -> Result<(), Refused> {
        // A peer without an address is on this machine.
        let (Some(origin), Some(identity), Some(address)) = (&self.origin, identity, peer) else {
            return Ok(());
        };
        if origin.permits(identity, address.ip()).await {
            return Ok(());
        }
        let names = identity.dns_names.iter().cloned();
        let addresses = identity.addresses.iter().map(ToString::to_string);
        Err(Refused::Origin {
            address,
            names: names.chain(addresses).collect(),
        })
    }
}

async fn opening<S>(stream: &mut Rewound<S>) -> Result<Opening, Refused>
where
    S: AsyncRead + Unpin,
{
    let bytes = stream.peek().await.map_err(Refused::Ended)?;
    if bytes.is_empty() {
        return Err(Refused::Ended(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Opening::of(bytes))
}

async fn accept<S>(
    port: &Port,
    stream: Rewound<S>,
) -> Result<(TlsStream<Rewound<S>>, Option<PeerIdentity>), Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accepting = TlsAcceptor::from(port.server()).accept(stream);
    let stream = match accepting.into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            let Some(cause) = tls_error(&error) else {
                return Err(Refused::Ended(error));
            };
            linger(stream).await;
            return Err(Refused::Handshake(cause.clone()));
        }
    };
    let chain = stream.get_ref().1.peer_certificates();
    let leaf = chain.and_then(|chain| chain.first());
    let identity = leaf.and_then(|leaf| PeerIdentity::of(leaf));
    Ok((stream, identity))
}

/// Closes a connection so that its other end reads what was sent last.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    // Whatever fails, the connection ends.
    _ = stream.shutdown().await;
    let mut rest = stream.take(LINGER_BYTES_MAX);
    _ = timeout(LINGER_MAX, copy(&mut rest, &mut sink())).await;
}

/// The error of TLS inside one of a stream.
pub(crate) fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// What Go's library says in the same case, which operators and tools search for; otherwise the
/// error's own words.
fn in_gos_words(error: &TlsError) -> String {
    match error {
        TlsError::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        TlsError::AlertReceived(AlertDescription::BadCertificate) => {
            "remote error: tls: bad certificate".to_owned()
        }
        TlsError::AlertReceived(AlertDescription::UnknownCA) => {
            "remote error: tls: unknown certificate authority".to_owned()
        }
        TlsError::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        TlsError::InvalidCertificate(CertificateError::Other(other)) => other.to_string(),
        other => format!("tls: {other}"),
    }
}
