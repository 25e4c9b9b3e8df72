//! Addresses in settings: `http://host:port` and nothing else.
//!
//! The host is kept as written, because member ids are hashes of these texts.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use thiserror::Error;

/// An address of the form `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    host: Cow<'static, str>,
    port: u16,
}

/// Causes for which a text is not a usable address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UrlFault {
    /// The scheme is https, which needs TLS.
    #[error("TLS is not built yet, so {0} must begin with http://")]
    Tls(String),
    /// The scheme is that of a local socket.
    #[error("local sockets are not built yet, so {0} must begin with http://")]
    LocalSocket(String),
    /// The scheme is unknown or missing.
    #[error("{0:?} must begin with http://")]
    Scheme(String),
    /// The host or the port is missing or malformed.
    #[error("{0} must have a host and a port from 1 to 65535, such as http://10.0.0.1:2379")]
    HostPort(String),
    /// Something follows the port.
    #[error("{0} must end with the port: a path, a query or a user has no meaning here")]
    Trailing(String),
    /// The address occurs twice in a list.
    #[error("{0} stands twice; name it once")]
    Twice(Url),
}

impl Url {
    /// An address on the loopback interface.
    pub(super) const fn localhost(port: u16) -> Self {
        Self {
            host: Cow::Borrowed("localhost"),
            port,
        }
    }

    /// Parses one address.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlFault> {
        let text = text.trim();
        let owned = || text.to_owned();
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(UrlFault::Tls(owned())),
            Some(("unix" | "unixs", _)) => return Err(UrlFault::LocalSocket(owned())),
            _ => return Err(UrlFault::Scheme(owned())),
        };
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlFault::Trailing(owned()));
        }
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| UrlFault::HostPort(owned()))?;
        let port = port
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| port.parse().ok());
        match port.flatten() {
            Some(port) if port > 0 && host_is_sound(host) => Ok(Self {
                host: Cow::Owned(host.to_owned()),
                port,
            }),
            _ => Err(UrlFault::HostPort(owned())),
        }
    }

    /// Parses a comma-separated list, keeping its order; an empty text is an empty list.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, UrlFault> {
        let mut urls = Vec::new();
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            let url = Self::parse(part)?;
            if urls.contains(&url) {
                return Err(UrlFault::Twice(url));
            }
            urls.push(url);
        }
        Ok(urls)
    }

    /// The host as written, an IPv6 address with its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, from 1 to 65535.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, in the form for a connection attempt.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The address to bind, when the host is an IP address or `localhost`.
    ///
    /// Every listening address in a [`super::Config`] has one.
    #[must_use]
    pub fn bind_address(&self) -> Option<SocketAddr> {
        if self.host == "localhost" {
            return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        }
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>()
            .ok()
            .map(|ip| SocketAddr::from((ip, self.port)))
    }

    /// Whether the host is the unspecified address, on which others cannot reach this machine.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.bind_address()
            .is_some_and(|address| address.ip().is_unspecified())
    }
}

/// Whether a host is a name, an IPv4 address, or an IPv6 address in brackets.
fn host_is_sound(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<IpAddr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_was_written() {
        for text in [
            "http://localhost:2379",
            "http://10.0.0.1:1",
            "http://[::1]:65535",
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn localhost_and_addresses_can_be_bound_and_names_cannot() {
        let bind = |text| {
            Url::parse(text)
                .unwrap()
                .bind_address()
                .map(|a| a.to_string())
        };
        assert_eq!(
            bind("http://localhost:2379").as_deref(),
            Some("127.0.0.1:2379")
        );
        assert_eq!(bind("http://[::1]:2379").as_deref(), Some("[::1]:2379"));
        assert_eq!(bind("http://example.test:2379"), None);
    }

    #[test]
    fn every_malformed_address_is_refused() {
        for text in [
            "",
            "localhost:2379",
            "tcp://localhost:2379",
            "http://localhost",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:+1",
            "http://localhost:70000",
            "http://:2379",
            "http://::1:2379",
            "http://[::1:2379",
            "http://a b:2379",
            "http://localhost:2379/",
            "http://user@localhost:2379",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn tls_and_local_sockets_are_refused_by_name() {
        let say = |text| Url::parse(text).unwrap_err().to_string();
        assert!(say("https://localhost:2379").contains("TLS is not built yet"));
        assert!(say("unix://localhost:2379").contains("local sockets are not built yet"));
    }

    #[test]
    fn an_address_stands_once_in_a_list() {
        let text = "http://a:1, http://b:2";
        assert_eq!(Url::parse_list(text).unwrap().len(), 2);
        assert!(matches!(
            Url::parse_list("http://a:1,http://a:1"),
            Err(UrlFault::Twice(_))
        ));
        assert_eq!(Url::parse_list(""), Ok(Vec::new()));
        assert!(Url::parse_list("http://a:1,").is_err());
    }
}
