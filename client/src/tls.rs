//! Settings of secured connections: whom to trust, and who the client is, from memory or from
//! files.

mod files;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use self::files::Source;

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
///     .authorities_file("ca.pem")?
///     .identity_files("client.pem", "client-key.pem")?;
/// let client = Client::builder()
///     .endpoints(["https://10.0.0.1:2379", "https://10.0.0.2:2379"])
///     .tls(tls)
///     .connect()
///     .await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// Files are read again for each connection, so that a certificate, a key or an authority that was
/// replaced needs no restart; open connections stay. A pair may be replaced one file after the
/// other. While files cannot be used, what was read before stays in force; a warning of `tracing`
/// says so once, and so does [`on_unusable_file`](Self::on_unusable_file).
#[derive(Clone, Default)]
#[must_use = "settings do nothing until they are given to `ClientBuilder::tls`"]
pub struct Tls {
    authorities: Authorities,
    identity: Option<Identity>,
    server_name: Option<String>,
    accepts_anyone: bool,
    report: Option<Report>,
}

/// Whom to trust.
#[derive(Clone)]
enum Authorities {
    /// Those of the system, read when first needed.
    System(Arc<OnceLock<Arc<RootCertStore>>>),
    Given(Arc<RootCertStore>),
    File(Arc<Source<Arc<RootCertStore>>>),
}

impl Default for Authorities {
    fn default() -> Self {
        Self::System(Arc::default())
    }
}

/// Who the client is.
#[derive(Clone)]
enum Identity {
    Given(Arc<CertifiedKey>),
    Files(Arc<Source<Arc<CertifiedKey>>>),
}

/// Receives why files cannot be used.
type Report = Arc<dyn Fn(&Error) + Send + Sync>;

/// What is in force for one connection.
#[derive(Clone)]
pub(crate) struct InForce {
    /// `None` when every server is accepted.
    authorities: Option<Arc<RootCertStore>>,
    identity: Option<Arc<CertifiedKey>>,
}

impl InForce {
    /// Whether it is the same as before, and not read again since.
    pub(crate) fn is(&self, other: &Self) -> bool {
        same(self.authorities.as_ref(), other.authorities.as_ref())
            && same(self.identity.as_ref(), other.identity.as_ref())
    }
}

fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Tls");
        match &self.authorities {
            Authorities::System(_) => shown.field("authorities", &"system"),
            Authorities::Given(roots) => shown.field("authorities", &roots.len()),
            Authorities::File(file) => shown.field("authorities", file),
        };
        match &self.identity {
            Some(Identity::Files(files)) => shown.field("identity", files),
            identity => shown.field("identity", &identity.is_some()),
        };
        shown
            .field("server_name", &self.server_name)
            .field("accepts_anyone", &self.accepts_anyone)
            .finish_non_exhaustive()
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
        self.authorities = Authorities::Given(authorities(pem.as_ref())?);
        Ok(self)
    }

    /// Like [`authorities_pem`](Self::authorities_pem), from a file, which is read again for each
    /// connection.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it cannot be read, there is none in it, or one cannot be used.
    pub fn authorities_file(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source::open(owned([path.as_ref()]), |read| authorities(&read[0]))?;
        self.authorities = Authorities::File(Arc::new(source));
        Ok(self)
    }

    /// Shows this certificate, with its chain, to servers that ask for one, and proves it with the
    /// key; both in PEM form.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when one is missing or malformed, the key is encrypted, or it belongs
    /// to another certificate.
    pub fn identity_pem(
        mut self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, Error> {
        let pair = identity(certificate.as_ref(), key.as_ref())?;
        self.identity = Some(Identity::Given(pair));
        Ok(self)
    }

    /// Like [`identity_pem`](Self::identity_pem), from files, which are read again for each
    /// connection.
    ///
    /// # Errors
    /// As [`identity_pem`](Self::identity_pem), and when one cannot be read.
    pub fn identity_files(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, Error> {
        let files = owned([certificate.as_ref(), key.as_ref()]);
        let source = Source::open(files, |read| identity(&read[0], &read[1]))?;
        self.identity = Some(Identity::Files(Arc::new(source)));
        Ok(self)
    }

    /// Calls `report` when files that changed cannot be used, once for each reason; what was read
    /// before stays in force. It may be called on any thread, and the connection waits for it.
    pub fn on_unusable_file(mut self, report: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.report = Some(Arc::new(report));
        self
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

    /// Whether [`in_force`](Self::in_force) reads files, and blocks.
    pub(crate) const fn reads_files(&self) -> bool {
        matches!(self.authorities, Authorities::File(_))
            || matches!(self.identity, Some(Identity::Files(_)))
    }

    /// What is in force for a connection that is opened now.
    pub(crate) fn in_force(&self) -> InForce {
        let authorities = match &self.authorities {
            _ if self.accepts_anyone => None,
            Authorities::System(roots) => Some(Arc::clone(roots.get_or_init(of_system))),
            Authorities::Given(roots) => Some(Arc::clone(roots)),
            Authorities::File(file) => Some(self.current(file)),
        };
        let identity = self.identity.as_ref().map(|identity| match identity {
            Identity::Given(pair) => Arc::clone(pair),
            Identity::Files(files) => self.current(files),
        });
        InForce {
            authorities,
            identity,
        }
    }

    fn current<T: Clone>(&self, source: &Source<T>) -> T {
        let (value, failure) = source.current();
        if let Some(error) = failure {
            tracing::warn!(%error, "cannot load new certificates: those before stay in force");
            if let Some(report) = &self.report {
                report(&error);
            }
        }
        value
    }

    pub(crate) fn client_config(&self, in_force: &InForce) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| config(format!("TLS cannot be set up: {error}")))?;
        let builder = match &in_force.authorities {
            Some(roots) => builder.with_root_certificates(Arc::clone(roots)),
            None => {
                let anyone = Arc::new(Anyone(provider));
                builder.dangerous().with_custom_certificate_verifier(anyone)
            }
        };
        let mut client = match &in_force.identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let pair = SingleCertAndKey::from(Arc::clone(pair));
                builder.with_client_cert_resolver(Arc::new(pair))
            }
        };
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(client)
    }
}

fn owned<const N: usize>(paths: [&Path; N]) -> Vec<PathBuf> {
    paths.map(Path::to_owned).into()
}

/// The authorities of the system.
fn of_system() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // The system's bundle may hold certificates that are of no use here. Without any, the first
    // connection says that the authority is unknown.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
}

fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, "of the authorities")? {
        let added = roots.add(authority);
        added.map_err(|error| config(format!("a certificate authority: {error}")))?;
    }
    Ok(Arc::new(roots))
}

fn identity(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates(certificate, "of the client")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        config("the key of the client certificate is no private key in PEM form, or encrypted")
    })?;
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
    pair.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            config("the key does not belong to the client certificate")
        }
        error => config(format!("the client certificate and its key: {error}")),
    })
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
