//! Finding the servers of a cluster by SRV records of DNS.

use std::net::SocketAddr;

use futures::future::join;
use tenure_srv::{Lookup, Record, service};

use crate::error::{Error, ErrorKind};

/// The service that clients look for, as etcd names it.
const SERVICE: &str = "etcd-client";

/// Finds the endpoints of a cluster by the SRV records of a domain, those of etcd:
/// `_etcd-client-ssl._tcp.DOMAIN` for servers that speak TLS, `_etcd-client._tcp.DOMAIN` for those
/// that do not.
///
/// Endpoints are looked up once; what the records say later is of no interest to a client that was
/// made with them.
///
/// ```no_run
/// # async fn example() -> Result<(), tenure::Error> {
/// use tenure::{Client, SrvDiscovery};
///
/// let endpoints = SrvDiscovery::new("example.com").endpoints().await?;
/// let client = Client::connect(endpoints).await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// DNS is not authenticated. To connect only to servers whose certificates are for the domain,
/// leave out the endpoints that begin with `http://`, and give the domain to
#[cfg_attr(
    feature = "tls",
    doc = "[`Tls::server_name`](crate::Tls::server_name)."
)]
#[cfg_attr(not(feature = "tls"), doc = "`Tls::server_name`.")]
#[derive(Debug, Clone)]
#[must_use = "nothing is looked up until `endpoints` is called"]
pub struct SrvDiscovery {
    domain: String,
    suffix: String,
    lookup: Lookup,
}

impl SrvDiscovery {
    /// Looks in this domain, with the name servers of the system.
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            suffix: String::new(),
            lookup: Lookup::new(),
        }
    }

    /// Looks for the services with this suffix, by which several clusters share a domain:
    /// `_etcd-client-NAME._tcp.DOMAIN`.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.suffix = name.into();
        self
    }

    /// Asks this name server instead of those of the system. Hosts that the records name are
    /// resolved by the system nonetheless.
    pub fn name_server(mut self, address: SocketAddr) -> Self {
        self.lookup = self.lookup.server(address);
        self
    }

    /// Looks up the endpoints, those over TLS first, each kind in the order in which they are to be
    /// tried. There is at least one.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] when neither service has records, or no name server answered.
    ///
    /// # Cancel safety
    /// Dropping the future ends the lookup.
    pub async fn endpoints(&self) -> Result<Vec<String>, Error> {
        let [secure, plain] = [true, false].map(|it| service(SERVICE, it, &self.suffix));
        let find = |service| async move { self.lookup.find(service, &self.domain).await };
        let (secure, plain) = join(find(secure.as_str()), find(plain.as_str())).await;
        if let (Err(secure), Err(plain)) = (&secure, &plain) {
            let text = format!("dns lookup errors: {secure} and {plain}");
            return Err(Error::local(ErrorKind::Connect, text));
        }
        let listed = |records: Vec<Record>, scheme: &'static str| {
            let endpoints = records.into_iter();
            endpoints.map(move |it| format!("{scheme}://{}:{}", it.target, it.port))
        };
        let secure = listed(secure.unwrap_or_default(), "https");
        let plain = listed(plain.unwrap_or_default(), "http");
        Ok(secure.chain(plain).collect())
    }
}
