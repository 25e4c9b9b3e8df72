//! The certificates and the cluster secret of this node: opened at the start, read again when
//! their files change, and handed to the ports and to the connections to other members.

use std::{path::Path, sync::Arc, time::Duration};

use tenure_tls::{
    Change, Entrance, Exit, FileError, Files, Origin, Port, PortError, PortSettings,
    SelfSignedError, SharedSecrets, ensure_self_signed,
};
use thiserror::Error;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::{
    clock,
    config::{Certificate, Config, TlsConfig, Url},
    metrics::TlsMetrics,
    storage::CERTIFICATES_NAME,
    tasks,
    transport::{Gate, Handshakes, resolve},
};

/// Time between two looks at the files: a new certificate is in force within seconds, at the cost
/// of a few system calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The kinds of ports in logs and metrics, and folders of certificates that a node made; etcd's.
const CLIENT: &str = "client";
const PEER: &str = "peer";

/// Why TLS or the cluster secret cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A certificate cannot be used.
    #[error("TLS of the {port} port cannot be used")]
    Port {
        /// The kind of the port.
        port: &'static str,
        /// Names the file and the cause.
        #[source]
        source: PortError,
    },
    /// No certificate could be made.
    #[error("no certificate for the {port} port could be made")]
    SelfSigned {
        /// The kind of the port.
        port: &'static str,
        /// The cause.
        #[source]
        source: SelfSignedError,
    },
    /// The cluster secret cannot be used.
    #[error("--cluster-secret-file: {0}")]
    Secret(FileError),
}

/// What secures the ports of this node.
#[derive(Debug)]
pub(super) struct Secured {
    clients: Option<Arc<Port>>,
    peers: Option<Arc<Port>>,
    secrets: Option<Arc<SharedSecrets>>,
    origin: Option<Origin>,
    metrics: TlsMetrics,
    client_handshakes: Handshakes,
    peer_handshakes: Handshakes,
}

impl Secured {
    /// Reads the files that `config` names.
    pub(super) fn open(config: &Config, metrics: &TlsMetrics) -> Result<Arc<Self>, TlsError> {
        let port = |kind, tls: &Option<TlsConfig>| {
            let tls = tls.as_ref();
            tls.map(|tls| open(kind, tls, &config.data_dir).map(Arc::new))
                .transpose()
        };
        let secrets = config.cluster_secret.as_ref().map(|secret| {
            let opened = SharedSecrets::open(secret.path.clone(), secret.is_optional);
            opened.map(Arc::new).map_err(TlsError::Secret)
        });
        let checked = config.peer_tls.as_ref();
        let checked = checked.is_some_and(|tls| !tls.allows_any_origin);
        let secured = Self {
            clients: port(CLIENT, &config.client_tls)?,
            peers: port(PEER, &config.peer_tls)?,
            secrets: secrets.transpose()?,
            origin: checked.then(|| Origin::new(hosts(config), |host| Box::pin(resolve(host)))),
            metrics: metrics.clone(),
            client_handshakes: Handshakes::default(),
            peer_handshakes: Handshakes::default(),
        };
        secured.warn(config);
        secured.set_expiries();
        Ok(Arc::new(secured))
    }

    /// What connections to other members must prove.
    pub(super) fn exit(&self) -> Exit {
        Exit {
            tls: self.peers.clone(),
            secrets: self.secrets.clone(),
        }
    }

    /// The gate of an address for clients; `None` where there is nothing to ask of them.
    pub(super) fn gate_of_clients(&self, urls: &[&Url]) -> Option<Gate> {
        let is_tls = urls.iter().any(|url| url.is_https());
        is_tls.then(|| Gate {
            entrance: Entrance {
                tls: self.clients.clone(),
                allows_plain: urls.iter().any(|url| !url.is_https()),
                ..Entrance::default()
            },
            handshakes: self.client_handshakes.clone(),
            metrics: self.metrics.clone(),
            port: CLIENT,
        })
    }

    /// The gate of an address for members.
    pub(super) fn gate_of_peers(&self, urls: &[&Url]) -> Option<Gate> {
        let is_tls = urls.iter().any(|url| url.is_https());
        Some(Gate {
            entrance: Entrance {
                tls: self.peers.clone().filter(|_| is_tls),
                allows_plain: urls.iter().any(|url| !url.is_https()),
                is_of_members: true,
                secrets: self.secrets.clone(),
                origin: self.origin.clone(),
            },
            handshakes: self.peer_handshakes.clone(),
            metrics: self.metrics.clone(),
            port: PEER,
        })
    }

    /// Starts to read files again when they change.
    pub(super) fn watch(self: &Arc<Self>) {
        let secured = Arc::clone(self);
        if secured.clients.is_none() && secured.peers.is_none() && secured.secrets.is_none() {
            return;
        }
        tasks::spawn("tls-files", async move {
            loop {
                sleep(LOOK_EVERY).await;
                let looking = Arc::clone(&secured);
                let looked = tasks::spawn_blocking(move || looking.refresh());
                looked.await.expect("work neither panics nor is aborted");
            }
        });
    }

    fn refresh(&self) {
        for (kind, port) in [(CLIENT, &self.clients), (PEER, &self.peers)] {
            for change in port.iter().flat_map(|port| port.refresh()) {
                self.report(kind, change);
            }
        }
        let secrets = self.secrets.as_ref();
        if let Some(change) = secrets.and_then(|secrets| secrets.refresh()) {
            self.report(PEER, change);
        }
        self.set_expiries();
    }

    fn report(&self, port: &'static str, change: Change) {
        match change {
            Change::Loaded {
                part,
                files,
                serial,
                expires,
            } => {
                self.metrics.reloaded(port, part.name(), true);
                info!(
                    port,
                    ?files,
                    serial,
                    expires,
                    "loaded a new {}",
                    part.name()
                );
            }
            Change::Failed { part, error } => {
                self.metrics.reloaded(port, part.name(), false);
                error!(
                    port, %error,
                    "cannot load a new {}: the one before stays in force", part.name()
                );
            }
        }
    }

    fn set_expiries(&self) {
        for (kind, port) in [(CLIENT, &self.clients), (PEER, &self.peers)] {
            for expiry in port.iter().flat_map(|port| port.expiries()) {
                self.metrics.set_expiry(kind, expiry.part.name(), expiry.at);
            }
        }
    }

    /// Says at the start what an operator should not overlook.
    fn warn(&self, config: &Config) {
        for port in [&self.clients, &self.peers].into_iter().flatten() {
            for key in port.public_keys() {
                warn!(
                    file = %key.display(),
                    "every user of this machine may read this private key; chmod 600 it"
                );
            }
        }
        let are_verified = self
            .peers
            .as_ref()
            .is_some_and(|port| port.verifies_clients())
            && config.listen_peer_urls.iter().all(Url::is_https);
        if !are_verified && self.secrets.is_none() {
            warn!(
                "MEMBERS ARE NOT AUTHENTICATED: whoever reaches --listen-peer-urls can change and \
                 read everything; set --cluster-secret-file, or TLS with --peer-trusted-ca-file"
            );
        }
    }
}

fn open(port: &'static str, tls: &TlsConfig, data_dir: &Path) -> Result<Port, TlsError> {
    let files = match &tls.certificate {
        Certificate::Given(files) => files.clone(),
        Certificate::SelfSigned {
            hosts,
            years,
            revocations,
            authorities,
        } => {
            let directory = data_dir.join(CERTIFICATES_NAME).join(port);
            let made = ensure_self_signed(&directory, hosts, *years, clock::time_of_day());
            let (certificate, key) =
                made.map_err(|source| TlsError::SelfSigned { port, source })?;
            Files {
                certificate,
                key,
                client_pair: None,
                authorities: authorities.clone(),
                revocations: revocations.clone(),
            }
        }
    };
    let settings = PortSettings {
        files,
        trust: tls.trust,
        server_name: tls.server_name.clone(),
        allowed: tls.allowed.clone(),
        policy: tls.policy.clone(),
    };
    Port::open(settings).map_err(|source| TlsError::Port { port, source })
}

/// The hosts by which members are known to the configuration.
fn hosts(config: &Config) -> Vec<String> {
    let listed = config.initial_cluster.iter();
    let listed = listed.flat_map(|member| &member.peer_urls);
    let discovered = config.discovery.iter().flat_map(|it| &it.peers);
    let urls = listed.chain(&config.join).chain(discovered);
    let hosts = urls.filter_map(Url::host);
    hosts.map(str::to_owned).collect()
}
