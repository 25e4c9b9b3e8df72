//! Finding the members of the first start by SRV records of DNS, as etcd does.
//!
//! `_etcd-server-ssl._tcp.DOMAIN` lists members that are reached over TLS, and
//! `_etcd-server._tcp.DOMAIN` the others. A member finds itself among them by its advertised URLs.
//!
//! Invariant: every member derives the same URLs, and so the same ids, from the same records,
//! whichever hosts could be resolved meanwhile. etcd leaves out a host that cannot be, and members
//! that start while some hosts are missing would form different clusters.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, future::join, stream};
use tenure_srv::{Lookup, LookupError, Record, service};
use thiserror::Error;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    config::{Config, InitialMember, SrvDiscovery, Url},
    storage::DataDir,
    transport::resolve,
};

/// The service of the members, as etcd names it.
const SERVICE: &str = "etcd-server";

/// How long a start with data waits for records: it needs them only to know the hosts of others
/// from their names.
const LATER_MAX: Duration = Duration::from_secs(3);

/// Hosts that are resolved at a time: more than there are members.
const RESOLVED_MAX: usize = 16;

/// Why the members could not be found.
#[derive(Debug, Error)]
pub enum DiscoveryError {
    /// Neither service has records.
    #[error(
        "error querying DNS SRV records for _{secure_service} {secure}; error querying DNS SRV \
         records for _{plain_service} {plain}"
    )]
    NoRecords {
        /// The service of members that are reached over TLS.
        secure_service: String,
        /// Why it has none.
        secure: Box<LookupError>,
        /// The service of the others.
        plain_service: String,
        /// Why it has none.
        plain: Box<LookupError>,
    },
    /// A record makes no address.
    #[error("the record of {0} has no port")]
    Record(String),
    /// This member is listed with another scheme.
    #[error(
        "bootstrap at {listed} from DNS for {service} has scheme mismatch with expected peer \
         {expected}; list it for the other service, or correct --initial-advertise-peer-urls"
    )]
    Scheme {
        /// The address of the record.
        listed: Url,
        /// The service of the record.
        service: String,
        /// The advertised address.
        expected: Url,
    },
    /// This member is not listed, or not with all of its addresses.
    #[error(
        "cannot find local etcd member {name:?} in SRV records: they list {listed}, and no host of \
         these is that of {missing}; correct the records or --initial-advertise-peer-urls"
    )]
    NoOwn {
        /// The name of this member.
        name: String,
        /// The advertised address that is missing.
        missing: Url,
        /// All addresses of the records.
        listed: String,
    },
}

/// An address that a record lists.
#[derive(Debug)]
struct Listed {
    url: Url,
    service: String,
    addresses: Vec<SocketAddr>,
}

/// An advertised address of this member.
#[derive(Debug)]
struct Own {
    url: Url,
    addresses: Vec<SocketAddr>,
}

/// Completes the configuration with what the records list, if they are to be looked up.
///
/// Once the member has data, its membership counts. Then the records tell only the hosts of others,
/// for certificates with wildcards, and a failure is no reason to end.
pub(super) async fn complete(config: Arc<Config>) -> Result<Arc<Config>, DiscoveryError> {
    let Some(discovery) = &config.discovery else {
        return Ok(config);
    };
    if DataDir::was_founded(&config.data_dir) {
        let found = timeout(LATER_MAX, find(discovery)).await;
        let peers = match found {
            Ok(Ok(listed)) => listed.into_iter().map(|(url, _)| url).collect(),
            Ok(Err(error)) => {
                warn!(%error, "failed to resolve during SRV discovery; the start goes on");
                Vec::new()
            }
            Err(_) => {
                warn!("SRV discovery took too long; the start goes on");
                Vec::new()
            }
        };
        return Ok(Arc::new(config.with_discovered_peers(peers)));
    }
    let listed = stream::iter(find(discovery).await?)
        .map(async |(url, service)| Listed {
            addresses: addresses(&url).await,
            url,
            service,
        })
        .buffered(RESOLVED_MAX)
        .collect::<Vec<_>>()
        .await;
    let own = stream::iter(&config.initial_advertise_peer_urls)
        .map(async |url| Own {
            addresses: addresses(url).await,
            url: url.clone(),
        })
        .buffered(RESOLVED_MAX)
        .collect::<Vec<_>>()
        .await;
    let members = members(&config.name, &own, listed)?;
    for member in &members {
        for url in &member.peer_urls {
            let node = format!("{}={url}", member.name);
            info!(node, "got bootstrap from DNS for etcd-server");
        }
    }
    Ok(Arc::new(config.with_members(members)))
}

/// The addresses in the records of both services, those over TLS first, each once.
async fn find(discovery: &SrvDiscovery) -> Result<Vec<(Url, String)>, DiscoveryError> {
    let mut lookup = Lookup::new();
    if let Some(server) = discovery.name_server {
        lookup = lookup.server(server);
    }
    let [secure_service, plain_service] =
        [true, false].map(|is_secure| service(SERVICE, is_secure, &discovery.suffix));
    let (secure, plain) = join(
        lookup.find(&secure_service, &discovery.domain),
        lookup.find(&plain_service, &discovery.domain),
    )
    .await;
    let (secure, plain) = match (secure, plain) {
        (Err(secure), Err(plain)) => {
            return Err(DiscoveryError::NoRecords {
                secure_service,
                secure: Box::new(secure),
                plain_service,
                plain: Box::new(plain),
            });
        }
        either => either,
    };
    let mut found = Vec::new();
    for (records, scheme, service) in [
        (secure, "https", secure_service),
        (plain, "http", plain_service),
    ] {
        let error = records.as_ref().err().map(ToString::to_string);
        let number = records.as_ref().map_or(0, Vec::len);
        info!(
            service,
            domain = discovery.domain,
            number,
            error,
            "got SRV records"
        );
        for Record { target, port, .. } in records.unwrap_or_default() {
            let url = Url::parse(&format!("{scheme}://{target}:{port}"));
            let url = url.map_err(|_| DiscoveryError::Record(target))?;
            if !found.iter().any(|(known, _)| *known == url) {
                found.push((url, service.clone()));
            }
        }
    }
    Ok(found)
}

/// What a host and port stand for; nothing for a host that cannot be resolved.
async fn addresses(url: &Url) -> Vec<SocketAddr> {
    let Some((host, port)) = url.host().zip(url.port()) else {
        return Vec::new();
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = match bare.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolve(bare.to_owned()).await,
    };
    let found = found.into_iter();
    found
        .map(|address| SocketAddr::new(address, port))
        .collect()
}

/// The members that are listed: this one by its name, the others by numbers.
fn members(
    name: &str,
    own: &[Own],
    listed: Vec<Listed>,
) -> Result<Vec<InitialMember>, DiscoveryError> {
    let mut own_urls = Vec::new();
    let mut others = Vec::new();
    let mut missing: Vec<_> = own.iter().collect();
    let all: Vec<_> = listed.iter().map(|it| it.url.to_string()).collect();
    for it in listed {
        let Some(matched) = own.iter().find(|own| is_same(own, &it)) else {
            others.push(it.url);
            continue;
        };
        if matched.url.is_https() != it.url.is_https() {
            return Err(DiscoveryError::Scheme {
                listed: it.url,
                service: it.service,
                expected: matched.url.clone(),
            });
        }
        missing.retain(|own| own.url != matched.url);
        own_urls.push(it.url);
    }
    if let Some(missing) = missing.first() {
        return Err(DiscoveryError::NoOwn {
            name: name.to_owned(),
            missing: missing.url.clone(),
            listed: all.join(", "),
        });
    }
    own_urls.sort_unstable_by_key(ToString::to_string);
    let mut members = vec![InitialMember {
        name: name.to_owned(),
        peer_urls: own_urls,
    }];
    // As in etcd the others have numbers until they say their names.
    let numbers = (0_u64..).map(|it| it.to_string());
    let names = numbers.filter(|number| number != name);
    members.extend(
        others
            .into_iter()
            .zip(names)
            .map(|(url, name)| InitialMember {
                name,
                peer_urls: vec![url],
            }),
    );
    members.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(members)
}

/// Whether a record lists this address of this member: the same words, or the same address.
fn is_same(own: &Own, listed: &Listed) -> bool {
    own.url.authority() == listed.url.authority()
        || own.addresses.iter().any(|it| listed.addresses.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    /// An address that a record lists, and what its host was resolved to.
    fn listed(text: &str, addresses: &[&str]) -> Listed {
        Listed {
            url: url(text),
            service: "etcd-server".to_owned(),
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        }
    }

    fn own(text: &str, addresses: &[&str]) -> Own {
        let Listed { url, addresses, .. } = listed(text, addresses);
        Own { url, addresses }
    }

    fn shown(members: &[InitialMember]) -> Vec<String> {
        let shown = members.iter().flat_map(|member| {
            let urls = member.peer_urls.iter();
            urls.map(|url| format!("{}={url}", member.name))
        });
        shown.collect()
    }

    #[test]
    fn a_member_finds_itself_by_its_address_and_hosts_that_are_not_resolved_stay_members() {
        let records = || {
            vec![
                listed("http://a.example:2380", &["10.0.0.1:2380"]),
                listed("http://b.example:2380", &["10.0.0.2:2380"]),
                listed("http://c.example:2380", &[]),
            ]
        };
        let second = own("http://10.0.0.2:2380", &["10.0.0.2:2380"]);
        let found = members("second", &[second], records()).unwrap();
        assert_eq!(
            shown(&found),
            [
                "0=http://a.example:2380",
                "1=http://c.example:2380",
                "second=http://b.example:2380"
            ]
        );
        // By its own host, before that has an address.
        let third = own("http://c.example:2380", &[]);
        let found = members("0", &[third], records()).unwrap();
        assert_eq!(
            shown(&found),
            [
                "0=http://c.example:2380",
                "1=http://a.example:2380",
                "2=http://b.example:2380"
            ]
        );
    }

    #[test]
    fn a_member_that_is_not_listed_or_with_another_scheme_does_not_start() {
        let records = || vec![listed("http://a.example:2380", &["10.0.0.1:2380"])];
        let other_port = own("http://10.0.0.1:2381", &["10.0.0.1:2381"]);
        let error = members("m", &[other_port], records()).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("cannot find local etcd member \"m\" in SRV records"),
            "{said}"
        );
        let secure = own("https://10.0.0.1:2380", &["10.0.0.1:2380"]);
        let said = members("m", &[secure], records()).unwrap_err().to_string();
        assert!(
            said.starts_with(
                "bootstrap at http://a.example:2380 from DNS for etcd-server has scheme mismatch \
                 with expected peer https://10.0.0.1:2380"
            ),
            "{said}"
        );
        let both = [
            own("http://10.0.0.1:2380", &["10.0.0.1:2380"]),
            own("http://10.0.0.9:2380", &["10.0.0.9:2380"]),
        ];
        assert!(members("m", &both, records()).is_err(), "one is missing");
    }

    #[tokio::test]
    async fn hosts_that_are_addresses_need_no_name_service() {
        assert_eq!(
            addresses(&url("http://[::1]:7")).await,
            ["[::1]:7".parse().unwrap()]
        );
        assert_eq!(
            addresses(&url("http://10.0.0.1:7")).await,
            ["10.0.0.1:7".parse().unwrap()]
        );
        assert_eq!(addresses(&url("unix:///run/a")).await, []);
    }
}
