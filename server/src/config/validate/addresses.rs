//! Rules for the addresses that a member listens on and advertises.

use super::Check;
use crate::config::{
    flags::{self, Setting},
    url::{Bind, Url},
};

/// The settings that open listeners.
const LISTENERS: [Setting<&[Url]>; 4] = [
    flags::LISTEN_PEER_URLS,
    flags::LISTEN_CLIENT_URLS,
    flags::LISTEN_CLIENT_HTTP_URLS,
    flags::LISTEN_METRICS_URLS,
];

impl Check<'_> {
    /// Reads the addresses to bind: IP addresses, `localhost` or local sockets, and at least one
    /// except for metrics and for HTTP alone.
    pub(super) fn listen(&mut self, setting: Setting<&'static [Url]>) -> Vec<Url> {
        let (name, urls) = (setting.name, self.sources.urls(setting));
        let may_be_none = [
            flags::LISTEN_METRICS_URLS.name,
            flags::LISTEN_CLIENT_HTTP_URLS.name,
        ];
        if urls.is_empty() && !may_be_none.contains(&name) {
            let remedy = "expected at least one URL, such as http://127.0.0.1:2379".to_owned();
            self.bad(name, remedy);
        }
        for url in urls.iter().filter(|url| url.bind().is_none()) {
            let remedy = format!("{url} must hold an IP address or localhost to listen on");
            self.bad(name, remedy);
        }
        urls
    }

    /// Checks that no two listeners bind the same address.
    pub(super) fn listeners_are_apart(&mut self) {
        let mut bound: Vec<(Bind, &'static str)> = Vec::new();
        for setting in LISTENERS {
            let name = setting.name;
            for address in self.sources.urls(setting).iter().filter_map(Url::bind) {
                // One setting may listen on an address with and without TLS.
                let other = bound
                    .iter()
                    .find(|(other, by)| *other == address && *by != name);
                match other {
                    Some((_, other)) => {
                        let remedy = format!("both listen on {address}; change one");
                        self.conflict(other, name, remedy);
                    }
                    None => bound.push((address, name)),
                }
            }
        }
    }

    /// Reads the addresses to advertise: as given, otherwise those of the listener if others can
    /// reach them.
    pub(super) fn advertise(
        &mut self,
        setting: Setting<&'static [Url]>,
        listen: Setting<&'static [Url]>,
    ) -> Vec<Url> {
        let (name, given) = (setting.name, self.sources.urls(setting));
        if given.iter().any(Url::is_unspecified) {
            self.warn(
                name,
                "an address of all zeros cannot be reached from another machine",
            );
        }
        if !given.is_empty() {
            return given;
        }
        let listening = self.sources.urls(listen);
        if listening.iter().any(Url::is_unspecified) {
            let remedy = format!(
                "listening on every address does not tell others where to dial; set --{name}"
            );
            self.conflict(listen.name, name, remedy);
        }
        listening
    }
}
