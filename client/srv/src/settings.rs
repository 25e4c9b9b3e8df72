//! The name servers to ask, and how: those of `/etc/resolv.conf` (resolv.conf(5)).
//!
//! Lines and options that are not known, or not well formed, count as missing, as for every
//! resolver: the file is shared by all programs of a machine.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// The port of name servers.
const PORT: u16 = 53;

/// Bounds of the values in the file: those of the C library.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const NDOTS_MAX: usize = 15;
const TIMEOUT_MAX: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Never empty.
    pub(crate) servers: Vec<SocketAddr>,
    /// Domains below which a name is looked for, too.
    pub(crate) search: Vec<String>,
    /// A name with so many dots is looked up as it is before it is looked for below these.
    pub(crate) ndots: usize,
    /// How long one server may take.
    pub(crate) timeout: Duration,
    /// How often each server is asked; at least once.
    pub(crate) attempts: u32,
    /// Whether to ask over TCP at once.
    pub(crate) is_tcp: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let here = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        Self {
            servers: here.map(|address| SocketAddr::new(address, PORT)).into(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            is_tcp: false,
        }
    }
}

impl Settings {
    /// Reads the text of a `resolv.conf`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        let mut servers = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                Some("domain") => settings.search = words.take(1).map(str::to_owned).collect(),
                Some("search") => {
                    settings.search = words.take(SEARCH_MAX).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        if !servers.is_empty() {
            servers.truncate(SERVERS_MAX);
            settings.servers = servers;
        }
        settings
    }

    fn option(&mut self, word: &str) {
        match word.split_once(':') {
            None => self.is_tcp |= matches!(word, "use-vc" | "usevc" | "tcp"),
            Some(("ndots", value)) => {
                self.ndots = value
                    .parse()
                    .map_or(self.ndots, |it: usize| it.min(NDOTS_MAX));
            }
            Some(("timeout", value)) => {
                let seconds = value.parse::<u64>().ok();
                let seconds = seconds.map(|it| Duration::from_secs(it.clamp(1, TIMEOUT_MAX)));
                self.timeout = seconds.unwrap_or(self.timeout);
            }
            Some(("attempts", value)) => {
                let attempts = value.parse::<u32>().ok();
                let attempts = attempts.map(|it| it.clamp(1, ATTEMPTS_MAX));
                self.attempts = attempts.unwrap_or(self.attempts);
            }
            Some(_) => {}
        }
    }

    /// The names to ask for instead of `name`, in their order.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let below = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let below = below.collect::<Vec<_>>();
        let itself = vec![name.to_owned()];
        if name.matches('.').count() >= self.ndots {
            [itself, below].concat()
        } else {
            [below, itself].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_system_says_whom_to_ask_and_how() {
        let settings = Settings::parse(
            "# a comment\n\
             nameserver 10.0.0.1\n\
             nameserver nonsense\n\
             nameserver ::1\n\
             search a.example b.example\n\
             options ndots:5 timeout:99 attempts:0 rotate use-vc nonsense:7\n",
        );
        let servers = ["10.0.0.1:53", "[::1]:53"].map(|it| it.parse().unwrap());
        assert_eq!(settings.servers, servers);
        assert_eq!(settings.search, ["a.example", "b.example"]);
        assert_eq!(
            (settings.ndots, settings.attempts, settings.is_tcp),
            (5, 1, true)
        );
        assert_eq!(settings.timeout, Duration::from_secs(30));
        assert_eq!(Settings::parse(""), Settings::default());
        assert_eq!(
            Settings::parse("nameserver 1.1.1.1\n".repeat(9).as_str())
                .servers
                .len(),
            3
        );
    }

    #[test]
    fn a_name_is_looked_for_below_the_search_domains_first_only_if_it_has_few_dots() {
        let settings = Settings::parse("search s.example\noptions ndots:3\n");
        assert_eq!(settings.names("a.b."), ["a.b."]);
        assert_eq!(settings.names("a.b.c"), ["a.b.c.s.example", "a.b.c"]);
        assert_eq!(settings.names("a.b.c.d"), ["a.b.c.d", "a.b.c.d.s.example"]);
    }
}
