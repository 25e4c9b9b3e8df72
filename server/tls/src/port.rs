//! What a port needs for TLS: certificates, authorities and revocations, and the configurations
//! that follow from them for accepting and for connecting.
//!
//! Files are read again by [`Port::refresh`]; handshakes that begin later use what was read last.
//! Sessions are never resumed: a resumed one would prove a certificate that was not verified since.
//!
//! Invariant: both configurations follow from the same values.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme,
    client::{ResolvesClientCert, Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
        WebPkiClientVerifier,
    },
    sign::CertifiedKey,
};
use thiserror::Error;

use crate::{
    file::{self, Authorities, FileError, Pair},
    parts::{Change, Expiry, Part, Source},
    policy::Policy,
    verify::{Allowed, Anyone, Checks, OfClients, OfServers},
};

/// Protocols offered by ALPN.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate to show, with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Another certificate and its key, to show when connecting.
    pub client_pair: Option<(PathBuf, PathBuf)>,
    /// The authorities of the others' certificates; those of the system unless given.
    pub authorities: Option<PathBuf>,
    /// The list of revoked certificates.
    pub revocations: Option<PathBuf>,
}

/// Whose certificates are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those of both ends.
    Everyone,
    /// Those of servers; clients are not asked for one.
    Servers,
    /// Nobody's: certificates were made by their owners.
    Nobody,
}

/// What a port is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSettings {
    /// Its files.
    pub files: Files,
    /// Whose certificates are verified.
    pub trust: Trust,
    /// The name to expect in the certificates of those that this connects to, instead of their
    /// hosts.
    pub server_name: Option<String>,
    /// The names that verified certificates may be for.
    pub allowed: Allowed,
    /// Versions and suites.
    pub policy: Policy,
}

/// Why a port cannot use TLS.
#[derive(Debug, Error)]
pub enum PortError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no authority to verify certificates with.
    #[error("there is no certificate authority to verify certificates with: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// The library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates of a port, and the configurations that follow.
pub struct Port {
    settings: PortSettings,
    provider: Arc<CryptoProvider>,
    sources: Mutex<Sources>,
    server: ArcSwap<ServerConfig>,
    client: ArcSwap<ClientConfig>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

struct Sources {
    pair: Source<Pair>,
    client_pair: Option<Source<Pair>>,
    authorities: Option<Source<Authorities>>,
    revocations: Option<Source<Arc<BTreeSet<Vec<u8>>>>>,
}

impl Port {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(settings: PortSettings) -> Result<Self, PortError> {
        let provider = Arc::new(settings.policy.provider());
        let sources = Sources::open(&settings, &provider)?;
        let (server, client) = configurations(&settings, &provider, &sources)?;
        Ok(Self {
            settings,
            provider,
            sources: Mutex::new(sources),
            server: ArcSwap::from_pointee(server),
            client: ArcSwap::from_pointee(client),
        })
    }

    /// Reads the files that changed. What cannot be used changes nothing. Blocks.
    pub fn refresh(&self) -> Vec<Change> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = sources.refresh();
        let is_loaded = |change: &Change| matches!(change, Change::Loaded { .. });
        if changes.iter().any(is_loaded) {
            match configurations(&self.settings, &self.provider, &sources) {
                Ok((server, client)) => {
                    self.server.store(Arc::new(server));
                    self.client.store(Arc::new(client));
                }
                // Such as a bundle of authorities none of which can be used.
                Err(error) => {
                    let files = &self.settings.files;
                    let path = files.authorities.as_ref().unwrap_or(&files.certificate);
                    changes.retain(|change| !is_loaded(change));
                    changes.push(Change::Failed {
                        part: Part::Authorities,
                        error: FileError::Malformed {
                            path: path.clone(),
                            cause: error.to_string(),
                        },
                    });
                }
            }
        }
        changes
    }

    /// When what was read expires.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut expiries = vec![Expiry {
            part: Part::Certificate,
            at: sources.pair.value().expires,
        }];
        expiries.extend(sources.client_pair.as_ref().map(|pair| Expiry {
            part: Part::ClientCertificate,
            at: pair.value().expires,
        }));
        let authorities = sources.authorities.as_ref();
        let expires = authorities.and_then(|authorities| authorities.value().expires);
        expiries.extend(expires.map(|at| Expiry {
            part: Part::Authorities,
            at,
        }));
        expiries
    }

    /// The files of keys that every user of the machine may read.
    #[must_use]
    pub fn public_keys(&self) -> Vec<PathBuf> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = sources.client_pair.iter().chain([&sources.pair]);
        pairs
            .filter(|pair| pair.value().is_public)
            .filter_map(|pair| pair.files().last().cloned())
            .collect()
    }

    /// Whether those who connect prove who they are.
    #[must_use]
    pub fn verifies_clients(&self) -> bool {
        self.settings.trust == Trust::Everyone
    }

    /// The name to expect in certificates instead of the host.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.settings.server_name.as_deref()
    }

    /// The configuration for accepting.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.load_full()
    }

    /// The configuration for connecting.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client.load_full()
    }
}

impl Sources {
    fn open(settings: &PortSettings, provider: &Arc<CryptoProvider>) -> Result<Self, FileError> {
        let files = &settings.files;
        let pair_of = |certificate: &Path, key: &Path| {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            let provider = Arc::clone(provider);
            let names = vec![certificate.clone(), key.clone()];
            Source::open(names, move || file::pair(&certificate, &key, &provider))
        };
        let client_pair = files.client_pair.as_ref();
        let client_pair = client_pair.map(|(certificate, key)| pair_of(certificate, key));
        let authorities = (settings.trust != Trust::Nobody).then(|| {
            let path = files.authorities.clone();
            let names = path.iter().cloned().collect();
            Source::open(names, move || file::authorities(path.as_deref()))
        });
        let revocations = files.revocations.clone().map(|path| {
            let read = move || file::revocations(&path).map(Arc::new);
            Source::open(files.revocations.iter().cloned().collect(), read)
        });
        Ok(Self {
            pair: pair_of(&files.certificate, &files.key)?,
            client_pair: client_pair.transpose()?,
            authorities: authorities.transpose()?,
            revocations: revocations.transpose()?,
        })
    }

    fn refresh(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let pair = |source: &mut Source<Pair>, part| {
            let change = source.refresh()?;
            Some(change_of(
                part,
                source.files(),
                change,
                Some(source.value()),
            ))
        };
        changes.extend(pair(&mut self.pair, Part::Certificate));
        let client_pair = self.client_pair.as_mut();
        changes.extend(client_pair.and_then(|source| pair(source, Part::ClientCertificate)));
        if let Some(source) = &mut self.authorities
            && let Some(change) = source.refresh()
        {
            let mut change = change_of(Part::Authorities, source.files(), change, None);
            if let Change::Loaded { expires, .. } = &mut change {
                *expires = source.value().expires;
            }
            changes.push(change);
        }
        if let Some(source) = &mut self.revocations
            && let Some(change) = source.refresh()
        {
            changes.push(change_of(Part::Revocations, source.files(), change, None));
        }
        changes
    }
}

fn change_of(
    part: Part,
    files: &[PathBuf],
    change: Result<(), FileError>,
    pair: Option<&Pair>,
) -> Change {
    match change {
        Ok(()) => Change::Loaded {
            part,
            files: files.to_vec(),
            serial: pair.map(|pair| pair.serial.clone()),
            expires: pair.map(|pair| pair.expires),
        },
        Err(error) => Change::Failed { part, error },
    }
}

fn configurations(
    settings: &PortSettings,
    provider: &Arc<CryptoProvider>,
    sources: &Sources,
) -> Result<(ServerConfig, ClientConfig), PortError> {
    let (provider, policy) = (Arc::clone(provider), &settings.policy);
    let checks = Checks {
        revoked: sources
            .revocations
            .as_ref()
            .map_or_else(Arc::default, |revoked| Arc::clone(revoked.value())),
        allowed: settings.allowed.clone(),
        named: sources
            .authorities
            .as_ref()
            .map_or_else(Arc::default, |it| Arc::clone(&it.value().certificates)),
    };
    let roots = sources.authorities.as_ref();
    let roots = roots.map(|authorities| Arc::clone(&authorities.value().roots));

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(policy.versions())?;
    let builder = match &roots {
        Some(roots) if settings.trust == Trust::Everyone => {
            let (roots, provider) = (Arc::clone(roots), Arc::clone(&provider));
            let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            let checks = checks.clone();
            builder.with_client_cert_verifier(Arc::new(OfClients { chain, checks }))
        }
        _ => builder.with_no_client_auth(),
    };
    let own = Own(Arc::clone(&sources.pair.value().certified));
    let mut server = builder.with_cert_resolver(Arc::new(own));
    server.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;

    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(policy.versions())?;
    let builder = builder.dangerous();
    let builder = match roots {
        // A client that trusts nobody needs no authorities until it connects.
        Some(roots) if !roots.is_empty() => {
            let chain = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
            builder.with_custom_certificate_verifier(Arc::new(OfServers { chain, checks }))
        }
        Some(_) => {
            builder.with_custom_certificate_verifier(Arc::new(crate::verify::NoOne(provider)))
        }
        None => builder.with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    let pair = sources.client_pair.as_ref().unwrap_or(&sources.pair);
    let own = Own(Arc::clone(&pair.value().certified));
    let mut client = builder.with_client_cert_resolver(Arc::new(own));
    client.alpn_protocols = vec![PROTOCOLS[0].to_vec()];
    client.resumption = Resumption::disabled();
    Ok((server, client))
}

/// Shows one certificate to everybody.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
