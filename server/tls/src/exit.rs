//! The way out to other members: what a connection to one must prove before it is used.

use std::{io, sync::Arc};

use rustls::{Error as TlsError, pki_types::ServerName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    entrance::tls_error,
    port::Port,
    secret::{SecretError, SharedSecrets},
};

/// What is asked of connections to other members.
#[derive(Debug, Clone, Default)]
pub struct Exit {
    /// For TLS, when this member has a certificate.
    pub tls: Option<Arc<Port>>,
    /// The secret that the others must know.
    pub secrets: Option<Arc<SharedSecrets>>,
}

/// A connection that may be used.
#[derive(Debug)]
pub enum Dialled<S> {
    /// In plain text.
    Plain(S),
    /// In TLS.
    Tls(Box<TlsStream<S>>),
}

/// Why a connection cannot be used.
#[derive(Debug, Error)]
pub enum ExitError {
    /// The other member's URL needs TLS.
    #[error("its URL begins with https://, and this member has no --peer-cert-file")]
    NoTls,
    /// The host in its URL is no name.
    #[error("{0:?} is not a host name")]
    Name(String),
    /// The handshake failed.
    #[error("tls: {0}")]
    Handshake(TlsError),
    /// The connection broke.
    #[error("the connection broke in the TLS handshake: {0}")]
    Io(io::Error),
    /// It does not know the cluster's secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Exit {
    /// Secures a connection to `host`, in TLS if `is_tls`.
    ///
    /// # Errors
    /// Why it must be closed.
    pub async fn dial<S>(
        &self,
        stream: S,
        host: &str,
        is_tls: bool,
    ) -> Result<Dialled<S>, ExitError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        if !is_tls {
            let mut stream = stream;
            self.meet(&mut stream).await?;
            return Ok(Dialled::Plain(stream));
        }
        let port = self.tls.as_ref().ok_or(ExitError::NoTls)?;
        let host = port.server_name().unwrap_or(host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned());
        let name = name.map_err(|_| ExitError::Name(host.to_owned()))?;
        let connected = TlsConnector::from(port.client())
            .connect(name, stream)
            .await;
        let mut stream = connected.map_err(|error| match tls_error(&error) {
            Some(cause) => ExitError::Handshake(cause.clone()),
            None => ExitError::Io(error),
        })?;
        self.meet(&mut stream).await?;
        Ok(Dialled::Tls(Box::new(stream)))
    }

    async fn meet<S>(&self, stream: &mut S) -> Result<(), SecretError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(secrets) = &self.secrets {
            secrets
                .current()
                .dial(stream, secrets.is_optional())
                .await?;
        }
        Ok(())
    }
}
