//! Settings of secured connections.
//!
//! Reads no files; programs do that, and know what to do when one is missing.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::error::{Error, ErrorKind};

/// The protocol of gRPC, as ALPN names it.
const PROTOCOL: &[u8] = b"h2";

/// Settings of TLS: whom to trust, and how to prove who the client is.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tenure::{Client, Tls};
///
/// let tls = Tls::new()
///     .authorities_pem(std::fs::read("ca.pem")?)?
///     .identity_pem(std::fs::read("client.pem")?, std::fs::read("client-key.pem")?)?;
/// let client = Client::builder()
///     .endpoints(["https://10.0.0.1:2379", "https://10.0.0.2:2379"])
///     .tls(tls)
///     .connect()
///     .await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "settings do nothing until they are given to `ClientBuilder::tls`"]
pub struct Tls {
    /// `None` means those of the system.
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Arc<Identity>>,
    server_name: Option<String>,
    accepts_anyone: bool,
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.as_ref().map(|it| it.len()))
            .field("has_identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .field("accepts_anyone", &self.accepts_anyone)
            .finish()
    }
}

impl Tls {
    /// Settings that trust the authorities of the system and show no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these authorities, certificates in PEM form, instead of those of the system.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is none, or one cannot be used.
    pub fn authorities_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(pem.as_ref(), "of the authorities")? {
            let added = roots.add(authority);
            added.map_err(|error| config(format!("a certificate authority: {error}")))?;
        }
        self.authorities = Some(Arc::new(roots));
        Ok(self)
    }

    /// Shows this certificate, with its chain, to servers that ask for one, and proves it with the
    /// key; both in PEM form.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when one is missing or malformed, or the key is encrypted.
    pub fn identity_pem(
        mut self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, Error> {
        let chain = certificates(certificate.as_ref(), "of the client")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_ref()).map_err(|_| {
            config("the key of the client certificate is no private key in PEM form, or encrypted")
        })?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        Ok(self)
    }

    /// Expects this host name or IP address in the certificates of servers instead of that in the
    /// endpoint.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts every certificate of a server: whoever can redirect a connection can read and
    /// change everything on it. For tests.
    pub fn without_verification(mut self) -> Self {
        self.accepts_anyone = true;
        self
    }

    pub(crate) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The name to expect in the certificate of the server at `host`.
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| config(format!("{name:?} is no host name for TLS")))
    }

    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| config(format!("TLS cannot be set up: {error}")))?;
        let builder = if self.accepts_anyone {
            let anyone = Arc::new(Anyone(provider));
            builder.dangerous().with_custom_certificate_verifier(anyone)
        } else {
            builder.with_root_certificates(self.roots())
        };
        let mut client = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| config(format!("the client certificate and its key: {error}")))?,
        };
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(client)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        self.authorities.clone().unwrap_or_else(|| {
            let mut roots = RootCertStore::empty();
            // The system's bundle may hold certificates that are of no use here. Without any, the
            // first connection says that the authority is unknown.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        })
    }
}

fn certificates(pem: &[u8], whose: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(config(format!(
            "the certificate {whose} is not in PEM form"
        ))),
        Err(error) => Err(config(format!("the certificate {whose}: {error}"))),
    }
}

fn config(text: impl Into<String>) -> Error {
    Error::local(ErrorKind::Config, text)
}

/// Accepts every certificate, but no signature that its key did not make.
struct Anyone(Arc<CryptoProvider>);

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
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_at_once() {
        for error in [
            Tls::new().authorities_pem("nothing").unwrap_err(),
            Tls::new().identity_pem("nothing", "nothing").unwrap_err(),
            Tls::new().server_name("no name").name_of("a").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        }
        assert!(Tls::new().name_of("::1").is_ok());
        assert!(Tls::new().name_of("a.example").is_ok());
    }
}
