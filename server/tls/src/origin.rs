//! Whether a member connects from where its certificate says.
//!
//! A certificate with IP addresses holds for these. One with DNS names holds for the addresses
//! that the names have now; a wildcard stands for the known members' names that match it. Names are
//! resolved forwards only: whoever owns an address decides the name that it resolves to.

use std::{fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use crate::identity::PeerIdentity;

/// Names of a certificate that are resolved at most, so that a certificate cannot make a member
/// ask without end.
const NAMES_MAX: usize = 16;

/// The addresses of a name.
pub(crate) type Addresses = Pin<Box<dyn Future<Output = Vec<IpAddr>> + Send>>;

/// Checks where members connect from.
#[derive(Clone)]
pub struct Origin {
    /// Names of hosts by which members are known.
    hosts: Vec<String>,
    resolve: Arc<dyn Fn(String) -> Addresses + Send + Sync>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Origin {
    /// Checks with `resolve`; `hosts` are those by which members are known.
    #[must_use]
    pub fn new(
        hosts: Vec<String>,
        resolve: impl Fn(String) -> Addresses + Send + Sync + 'static,
    ) -> Self {
        let resolve = Arc::new(resolve);
        Self { hosts, resolve }
    }

    /// Whether the owner of a certificate may connect from `address`.
    pub(crate) async fn permits(&self, identity: &PeerIdentity, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if identity.addresses.is_empty() && identity.dns_names.is_empty() {
            return true;
        }
        if identity.addresses.contains(&address) {
            return true;
        }
        for name in self.names(identity) {
            let found = (self.resolve)(name).await;
            if found.iter().any(|found| found.to_canonical() == address) {
                return true;
            }
        }
        false
    }

    fn names(&self, identity: &PeerIdentity) -> Vec<String> {
        let mut names = Vec::new();
        for name in &identity.dns_names {
            match name.strip_prefix("*.") {
                None => names.push(name.clone()),
                Some(domain) => {
                    let is_below = |host: &&String| {
                        let parts = host.split_once('.');
                        parts.is_some_and(|(_, above)| above.eq_ignore_ascii_case(domain))
                    };
                    names.extend(self.hosts.iter().filter(is_below).cloned());
                }
            }
        }
        names.truncate(NAMES_MAX);
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        let hosts = ["m1.db.example", "m2.db.example", "m1.other.example"];
        let hosts = hosts.map(str::to_owned).to_vec();
        Origin::new(hosts, |name| {
            let address = match name.as_str() {
                "m1.db.example" => vec![IpAddr::from([10, 0, 0, 1])],
                "m2.db.example" => vec![IpAddr::from([10, 0, 0, 2])],
                "m1.other.example" => vec![IpAddr::from([10, 0, 9, 1])],
                _ => Vec::new(),
            };
            Box::pin(async move { address })
        })
    }

    async fn permits(names: &[&str], addresses: &[[u8; 4]], from: [u8; 4]) -> bool {
        let identity = PeerIdentity {
            dns_names: names.iter().map(ToString::to_string).collect(),
            addresses: addresses.iter().copied().map(IpAddr::from).collect(),
            ..PeerIdentity::default()
        };
        origin().permits(&identity, IpAddr::from(from)).await
    }

    #[tokio::test]
    async fn a_member_connects_from_an_address_of_its_certificate() {
        assert!(permits(&[], &[[10, 0, 0, 1]], [10, 0, 0, 1]).await);
        assert!(!permits(&[], &[[10, 0, 0, 1]], [10, 0, 0, 2]).await);
        assert!(permits(&["m2.db.example"], &[[10, 0, 0, 1]], [10, 0, 0, 2]).await);
        assert!(permits(&["m1.db.example"], &[], [10, 0, 0, 1]).await);
        assert!(!permits(&["m1.db.example"], &[], [10, 0, 0, 2]).await);
        assert!(!permits(&["unknown.example"], &[], [10, 0, 0, 2]).await);
    }

    #[tokio::test]
    async fn a_wildcard_stands_for_the_known_members_below_it() {
        assert!(permits(&["*.db.example"], &[], [10, 0, 0, 1]).await);
        assert!(permits(&["*.db.example"], &[], [10, 0, 0, 2]).await);
        assert!(!permits(&["*.db.example"], &[], [10, 0, 9, 1]).await);
        assert!(!permits(&["*.example"], &[], [10, 0, 0, 1]).await);
    }

    #[tokio::test]
    async fn a_certificate_without_names_holds_for_every_address() {
        assert!(permits(&[], &[], [192, 168, 0, 1]).await);
    }
}
