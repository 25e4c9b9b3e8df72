//! Addresses in settings: `http://host:port`, `https://host:port`, and local sockets as
//! `unix://file` and `unixs://file`.
//!
//! The host is kept as written, because member ids are hashes of these texts.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use thiserror::Error;

/// An address of one of the forms that the module names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    is_https: bool,
    /// The host; of a local socket the name of its file.
    host: Cow<'static, str>,
    /// `None` for a local socket.
    port: Option<u16>,
}

/// What a listener binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// An address of TCP.
    Address(SocketAddr),
    /// The file of a local socket.
    File(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::File(path) => path.display().fmt(formatter),
        }
    }
}

/// Causes for which a text is not a usable address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UrlFault {
    /// The scheme is unknown or missing.
    #[error("{0:?} must begin with http://, https://, unix:// or unixs://")]
    Scheme(String),
    /// A local socket without a file.
    #[error("{0} must name a file, such as unix:///run/tenure/client")]
    File(String),
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
            is_https: false,
            host: Cow::Borrowed("localhost"),
            port: Some(port),
        }
    }

    /// Parses one address.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlFault> {
        let text = text.trim();
        let owned = || text.to_owned();
        let (is_https, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme @ ("unix" | "unixs"), "")) => {
                return Err(UrlFault::File(format!("{scheme}://")));
            }
            Some((scheme @ ("unix" | "unixs"), file)) => {
                return Ok(Self {
                    is_https: scheme == "unixs",
                    host: Cow::Owned(file.to_owned()),
                    port: None,
                });
            }
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
                is_https,
                host: Cow::Owned(host.to_owned()),
                port: Some(port),
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

    /// Whether it is reached over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host as written, an IPv6 address with its brackets; `None` for a local socket.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.port.map(|_| &*self.host)
    }

    /// The port; `None` for a local socket.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host and port, in the form for a connection attempt, or the file of a local socket.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone().into_owned(),
        }
    }

    /// What to bind: the file of a local socket, or an address when the host is an IP address or
    /// `localhost`.
    ///
    /// Every listening address in a [`super::Config`] has one.
    #[must_use]
    pub fn bind(&self) -> Option<Bind> {
        match self.port {
            Some(_) => self.bind_address().map(Bind::Address),
            None => Some(Bind::File(PathBuf::from(&*self.host))),
        }
    }

    /// The address to bind; `None` for a name and for a local socket.
    #[must_use]
    pub fn bind_address(&self) -> Option<SocketAddr> {
        let port = self.port?;
        if self.host == "localhost" {
            return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse::<IpAddr>().ok()?;
        Some(SocketAddr::from((ip, port)))
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
        let scheme = match (self.port, self.is_https) {
            (Some(_), false) => "http",
            (Some(_), true) => "https",
            (None, false) => "unix",
            (None, true) => "unixs",
        };
        write!(formatter, "{scheme}://{}", self.authority())
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
            "https://node-1.example:2379",
            "unix://localhost:m1",
            "unixs:///run/tenure/client",
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
    fn a_local_socket_is_a_file_named_by_host_and_path_together() {
        let bind = |text| Url::parse(text).unwrap().bind();
        let file = |path| Some(Bind::File(PathBuf::from(path)));
        assert_eq!(bind("unix://localhost:m1"), file("localhost:m1"));
        assert_eq!(bind("unixs:///run/a b"), file("/run/a b"));
        assert_eq!(Url::parse("unix:///a").unwrap().host(), None);
        assert!(Url::parse("unixs:///a").unwrap().is_https());
        assert!(Url::parse("unix://").is_err());
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
