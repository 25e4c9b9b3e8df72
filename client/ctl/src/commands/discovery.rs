//! Finding the servers by SRV records of DNS, with the options of etcdctl.

use tenure::SrvDiscovery;

use super::print_message;
use crate::{args::Global, failure::Failure};

/// Takes the servers that the records of `--discovery-srv` name for `--endpoints`, if it is given.
/// As in etcdctl, `--endpoints` counts when the records name no server that may be used.
pub(super) async fn find_endpoints(global: &mut Global) -> Result<(), Failure> {
    let Some(domain) = domain(global) else {
        return Ok(());
    };
    let mut discovery = SrvDiscovery::new(domain);
    if let Some(name) = &global.discovery_srv_name {
        discovery = discovery.service_name(name);
    }
    if let Some(server) = global.discovery_dns_server {
        discovery = discovery.name_server(server);
    }
    let mut endpoints = discovery.endpoints().await?;
    endpoints.retain(|endpoint| {
        let is_plain = endpoint.starts_with("http://");
        if is_plain && !global.insecure_discovery {
            print_message(format_args!(
                "ignoring discovered insecure endpoint {endpoint:?}"
            ));
        }
        global.insecure_discovery || !is_plain
    });
    if !endpoints.is_empty() {
        global.endpoints = endpoints;
    }
    Ok(())
}

/// The name to expect in certificates: the domain, unless discovery may be insecure. Whoever forges
/// an answer of DNS has no certificate for it.
pub(super) fn server_name(global: &Global) -> Option<&str> {
    domain(global).filter(|_| !global.insecure_discovery)
}

fn domain(global: &Global) -> Option<&str> {
    global.discovery_srv.as_deref().filter(|it| !it.is_empty())
}
