//! Rules for TLS and for the cluster secret.
//!
//! A setting that would protect nothing as it stands is a fault; etcd ignores most of these.

use std::path::PathBuf;

use tenure_tls::{Allowed, Files, Policy, PolicyFault, Trust};

use super::Check;
use crate::config::{
    flags::{self, Setting},
    security::{Certificate, ClusterSecret, TlsConfig},
    url::Url,
};

/// The names of the settings of a port.
struct Names {
    cert: Setting<&'static str>,
    key: Setting<&'static str>,
    auto: Setting<bool>,
    cert_auth: Setting<bool>,
    authorities: Setting<&'static str>,
    revocations: Setting<&'static str>,
    hosts: Setting<&'static str>,
    common_names: Option<Setting<&'static str>>,
}

const CLIENTS: Names = Names {
    cert: flags::CERT_FILE,
    key: flags::KEY_FILE,
    auto: flags::AUTO_TLS,
    cert_auth: flags::CLIENT_CERT_AUTH,
    authorities: flags::TRUSTED_CA_FILE,
    revocations: flags::CLIENT_CRL_FILE,
    hosts: flags::CLIENT_CERT_ALLOWED_HOSTNAME,
    common_names: None,
};

const PEERS: Names = Names {
    cert: flags::PEER_CERT_FILE,
    key: flags::PEER_KEY_FILE,
    auto: flags::PEER_AUTO_TLS,
    cert_auth: flags::PEER_CLIENT_CERT_AUTH,
    authorities: flags::PEER_TRUSTED_CA_FILE,
    revocations: flags::PEER_CRL_FILE,
    hosts: flags::PEER_CERT_ALLOWED_HOSTNAME,
    common_names: Some(flags::PEER_CERT_ALLOWED_CN),
};

impl Check<'_> {
    /// TLS of the ports of clients and of metrics.
    pub(super) fn client_tls(
        &mut self,
        clients: &[Url],
        http: &[Url],
        metrics: &[Url],
    ) -> Option<TlsConfig> {
        let policy = self.policy();
        let has_certificate = self.has_pair(&CLIENTS) || self.sources.bool(CLIENTS.auto);
        let insecure = [
            (flags::LISTEN_CLIENT_URLS, clients),
            (flags::LISTEN_CLIENT_HTTP_URLS, http),
        ];
        let insecure = insecure.into_iter().find_map(|(setting, urls)| {
            let url = urls.iter().find(|url| url.is_https());
            url.filter(|_| !has_certificate).map(|url| (setting, url))
        });
        if let Some((setting, url)) = insecure {
            let remedy = format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} \
                 with HTTPS scheme"
            );
            self.bad(setting.name, remedy);
        } else if metrics.iter().any(Url::is_https) && !has_certificate {
            let remedy = "client TLS key/cert (--cert-file, --key-file) must be provided for \
                          metrics secure url";
            self.bad(flags::LISTEN_METRICS_URLS.name, remedy.to_owned());
        }
        let https: Vec<&Url> = clients.iter().chain(http).chain(metrics).collect();
        self.tls(&CLIENTS, &https, policy)
    }

    /// TLS between members.
    pub(super) fn peer_tls(&mut self, listening: &[Url], advertised: &[Url]) -> Option<TlsConfig> {
        let has_certificate = self.has_pair(&PEERS) || self.sources.bool(PEERS.auto);
        for (setting, urls) in [
            (flags::LISTEN_PEER_URLS, listening),
            (flags::INITIAL_ADVERTISE_PEER_URLS, advertised),
        ] {
            // What is advertised is what is listened on unless it is given.
            let is_given = setting.name == flags::LISTEN_PEER_URLS.name || advertised != listening;
            if let Some(url) = urls.iter().find(|url| url.is_https())
                && !has_certificate
                && is_given
            {
                let remedy = format!(
                    "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer \
                     url {url} with HTTPS scheme"
                );
                self.bad(setting.name, remedy);
            }
        }
        if !self.sources.words(flags::PEER_CERT_ALLOWED_CN).is_empty()
            && !self
                .sources
                .words(flags::PEER_CERT_ALLOWED_HOSTNAME)
                .is_empty()
        {
            self.conflict(
                flags::PEER_CERT_ALLOWED_CN.name,
                flags::PEER_CERT_ALLOWED_HOSTNAME.name,
                "they are mutually exclusive; give one of the two".to_owned(),
            );
        }
        self.pair_of(flags::PEER_CLIENT_CERT_FILE, flags::PEER_CLIENT_KEY_FILE);
        // The client port reports faults of the policy.
        let policy = self.policy_of().unwrap_or_default();
        let https: Vec<&Url> = listening.iter().chain(advertised).collect();
        self.tls(&PEERS, &https, policy)
    }

    /// The secret by which members recognise each other.
    pub(super) fn cluster_secret(&mut self) -> Option<ClusterSecret> {
        let path = self.path(flags::CLUSTER_SECRET_FILE);
        let is_optional = self.sources.bool(flags::CLUSTER_SECRET_OPTIONAL);
        if path.is_none() && is_optional {
            let remedy = "there is no secret; set --cluster-secret-file, too".to_owned();
            self.bad(flags::CLUSTER_SECRET_OPTIONAL.name, remedy);
        }
        if is_optional {
            self.warn(
                flags::CLUSTER_SECRET_OPTIONAL.name,
                "members without a secret are accepted; set it to false once all have one",
            );
        }
        path.map(|path| ClusterSecret { path, is_optional })
    }

    fn tls(&mut self, names: &Names, urls: &[&Url], policy: Policy) -> Option<TlsConfig> {
        let pair = self.pair_of(names.cert, names.key);
        let is_auto = self.sources.bool(names.auto);
        if pair.is_some() && is_auto {
            self.warn(
                names.auto.name,
                "has no effect: there are certificate files",
            );
        }
        let authorities = self.path(names.authorities);
        let revocations = self.path(names.revocations);
        let verifies = authorities.is_some() || self.sources.bool(names.cert_auth);
        let allowed = Allowed {
            common_names: names
                .common_names
                .map(|setting| self.sources.words(setting))
                .unwrap_or_default(),
            host_names: self.sources.words(names.hosts),
        };
        let has_authorities = authorities.is_some();
        self.protects(names, verifies);
        let has_certificate = pair.is_some() || is_auto;
        if !urls.iter().any(|url| url.is_https()) {
            for (name, is_given) in [
                (names.cert.name, has_certificate && pair.is_some()),
                (names.auto.name, is_auto),
                (names.authorities.name, authorities.is_some()),
            ] {
                if is_given {
                    self.warn(name, "has no effect: no URL begins with https://");
                }
            }
            // Other members may be reached over TLS.
            if names.cert.name == CLIENTS.cert.name {
                return None;
            }
        }
        let certificate = match pair {
            Some((certificate, key)) => Certificate::Given(Files {
                certificate,
                key,
                client_pair: self.client_pair(names),
                authorities,
                revocations,
            }),
            None if is_auto => Certificate::SelfSigned {
                hosts: hosts(urls),
                years: self.positive_u32(flags::SELF_SIGNED_CERT_VALIDITY),
                revocations,
                authorities,
            },
            None => return None,
        };
        let is_given = matches!(certificate, Certificate::Given(_));
        let is_of_peers = names.cert.name == PEERS.cert.name;
        Some(TlsConfig {
            certificate,
            trust: if verifies {
                Trust::Everyone
            } else if is_given && is_of_peers {
                Trust::Servers
            } else {
                Trust::Nobody
            },
            server_name: self.domain().filter(|_| is_of_peers && !has_authorities),
            allowed,
            policy,
            allows_any_origin: !is_of_peers
                || self.sources.bool(flags::PEER_SKIP_CLIENT_SAN_VERIFICATION),
        })
    }

    /// The domain that members are found in. Without authorities of their own their certificates
    /// must be for it, as in etcd: with those of the system, whoever forges an answer of DNS could
    /// have a certificate for a host of its own.
    fn domain(&self) -> Option<String> {
        let domain = self.sources.text(flags::DISCOVERY_SRV).trim().to_owned();
        (!domain.is_empty()).then_some(domain)
    }

    /// Reports checks of certificates that nobody has to show.
    fn protects(&mut self, names: &Names, verifies: bool) {
        let checks = [
            Some(names.revocations),
            Some(names.hosts),
            names.common_names,
        ];
        for setting in checks.into_iter().flatten() {
            if !verifies && !self.sources.text(setting).trim().is_empty() {
                let remedy = format!(
                    "nobody has to show a certificate; set --{} or --{}, too",
                    names.authorities.name, names.cert_auth.name
                );
                self.bad(setting.name, remedy);
            }
        }
    }

    fn client_pair(&self, names: &Names) -> Option<(PathBuf, PathBuf)> {
        if names.cert.name != PEERS.cert.name {
            return None;
        }
        let cert = self.path(flags::PEER_CLIENT_CERT_FILE)?;
        Some((cert, self.path(flags::PEER_CLIENT_KEY_FILE)?))
    }

    fn has_pair(&self, names: &Names) -> bool {
        self.path(names.cert).is_some() || self.path(names.key).is_some()
    }

    /// A certificate and its key, of which one alone is a fault.
    fn pair_of(
        &mut self,
        cert: Setting<&'static str>,
        key: Setting<&'static str>,
    ) -> Option<(PathBuf, PathBuf)> {
        match (self.path(cert), self.path(key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                let remedy = format!("the key is missing; set --{}, too", key.name);
                self.bad(cert.name, remedy);
                None
            }
            (None, Some(_)) => {
                let remedy = format!("the certificate is missing; set --{}, too", cert.name);
                self.bad(key.name, remedy);
                None
            }
        }
    }

    fn path(&self, setting: Setting<&'static str>) -> Option<PathBuf> {
        let text = self.sources.text(setting);
        (!text.trim().is_empty()).then(|| PathBuf::from(text))
    }

    fn policy_of(&self) -> Result<Policy, PolicyFault> {
        Policy::new(
            &self.sources.text(flags::TLS_MIN_VERSION),
            &self.sources.text(flags::TLS_MAX_VERSION),
            &self.sources.words(flags::CIPHER_SUITES),
        )
    }

    fn policy(&mut self) -> Policy {
        self.policy_of().unwrap_or_else(|fault| {
            let name = match &fault {
                PolicyFault::Version(version)
                    if *version == self.sources.text(flags::TLS_MIN_VERSION) =>
                {
                    flags::TLS_MIN_VERSION.name
                }
                PolicyFault::Version(_) | PolicyFault::Empty { .. } => flags::TLS_MAX_VERSION.name,
                PolicyFault::Suite(_) | PolicyFault::Weak(_) | PolicyFault::SuitesWithoutTls12 => {
                    flags::CIPHER_SUITES.name
                }
            };
            self.bad(name, fault.to_string());
            Policy::default()
        })
    }
}

/// The hosts of addresses, each once, without brackets.
fn hosts(urls: &[&Url]) -> Vec<String> {
    let mut hosts = Vec::new();
    for url in urls {
        // A client of a local socket knows it as this host.
        let host = url.host().unwrap_or("localhost");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}
