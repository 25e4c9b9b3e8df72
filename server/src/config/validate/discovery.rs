//! Rules for finding the members by records of DNS.

use std::net::{IpAddr, SocketAddr};

use super::Check;
use crate::config::{flags, settings::SrvDiscovery};

/// The port of name servers.
const NAME_SERVER_PORT: u16 = 53;

impl Check<'_> {
    pub(super) fn discovery(&mut self) -> Option<SrvDiscovery> {
        let domain = self.sources.text(flags::DISCOVERY_SRV).trim().to_owned();
        let suffix = self.sources.text(flags::DISCOVERY_SRV_NAME);
        let suffix = suffix.trim().to_owned();
        let server = self.sources.text(flags::DISCOVERY_DNS_SERVER);
        let server = server.trim();
        if domain.is_empty() {
            for (name, given) in [
                (flags::DISCOVERY_SRV_NAME.name, suffix.as_str()),
                (flags::DISCOVERY_DNS_SERVER.name, server),
            ] {
                if !given.is_empty() {
                    let remedy = "there is no domain to look in; set --discovery-srv, too";
                    self.bad(name, remedy.to_owned());
                }
            }
            return None;
        }
        for name in [flags::INITIAL_CLUSTER.name, flags::JOIN.name] {
            if !self.sources.shown(name).trim().is_empty() {
                self.conflict(
                    name,
                    flags::DISCOVERY_SRV.name,
                    "multiple discovery or bootstrap flags are set; give one of the two".to_owned(),
                );
            }
        }
        let name_server = (!server.is_empty()).then(|| parse(server));
        if name_server == Some(None) {
            let remedy = "expected an address, such as 10.0.0.1 or 10.0.0.1:53".to_owned();
            self.bad(flags::DISCOVERY_DNS_SERVER.name, remedy);
        }
        Some(SrvDiscovery {
            domain,
            suffix,
            name_server: name_server.flatten(),
            peers: Vec::new(),
        })
    }
}

fn parse(text: &str) -> Option<SocketAddr> {
    let without_port = text.parse::<IpAddr>();
    let server = without_port.map(|address| SocketAddr::new(address, NAME_SERVER_PORT));
    server.or_else(|_| text.parse()).ok()
}
