//! Parsing of server addresses.
//!
//! Neither resolves nor dials addresses.

use std::net::{Ipv6Addr, SocketAddr};

use crate::error::{Error, ErrorKind};

/// Default port: etcd's client port.
const PORT: u16 = 2379;
/// The schemes: plain text and TLS.
const PLAIN: &str = "http://";
const SECURE: &str = "https://";

/// One address or several, as [`Client::connect`](crate::Client::connect) takes them.
///
/// An address is a host with or without a port (2379 unless given) and with or without `http://` or
/// `https://` before it: `10.0.0.1`, `db-1.internal:2379`, `https://[::1]:2379`. Without a scheme
/// it is reached over TLS if the client has settings for it.
///
/// ```
/// use tenure::IntoEndpoints;
///
/// assert_eq!("10.0.0.1".into_endpoints(), ["10.0.0.1"]);
/// assert_eq!(["a:2379", "b:2379"].into_endpoints(), ["a:2379", "b:2379"]);
/// ```
pub trait IntoEndpoints {
    /// The addresses, as given.
    fn into_endpoints(self) -> Vec<String>;
}

macro_rules! one {
    ($($source:ty),*) => {$(
        impl IntoEndpoints for $source {
            fn into_endpoints(self) -> Vec<String> {
                vec![self.to_string()]
            }
        }
    )*};
}

one!(&str, String, &String, SocketAddr);

impl<E: Into<String>> IntoEndpoints for Vec<E> {
    fn into_endpoints(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<E: Into<String>, const N: usize> IntoEndpoints for [E; N] {
    fn into_endpoints(self) -> Vec<String> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<E: Clone + Into<String>> IntoEndpoints for &[E] {
    fn into_endpoints(self) -> Vec<String> {
        self.iter().cloned().map(Into::into).collect()
    }
}

impl<E: Clone + Into<String>> IntoEndpoints for &Vec<E> {
    fn into_endpoints(self) -> Vec<String> {
        self.as_slice().into_endpoints()
    }
}

impl<E: Clone + Into<String>, const N: usize> IntoEndpoints for &[E; N] {
    fn into_endpoints(self) -> Vec<String> {
        self.as_slice().into_endpoints()
    }
}

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host and port.
    pub(crate) authority: String,
    /// Whether it is reached over TLS.
    pub(crate) is_secure: bool,
}

impl Address {
    /// Parses an address, which is reached over TLS if it says so, or if it has no scheme and TLS
    /// is the default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is not an address; the text names it.
    pub(crate) fn parse(endpoint: &str, is_secure_by_default: bool) -> Result<Self, Error> {
        let (address, is_secure) = if let Some(address) = endpoint.strip_prefix(SECURE) {
            (address, true)
        } else if let Some(address) = endpoint.strip_prefix(PLAIN) {
            (address, false)
        } else {
            (endpoint, is_secure_by_default)
        };
        let authority = authority(address).map_err(|reason| unusable(endpoint, reason))?;
        Ok(Self {
            authority,
            is_secure,
        })
    }

    /// The host, an IPv6 address without its brackets.
    #[cfg(feature = "tls")]
    pub(crate) fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':');
        let host = host.map_or(self.authority.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The error for an address that cannot be used.
pub(crate) fn unusable(endpoint: &str, reason: impl std::fmt::Display) -> Error {
    let text = format!("endpoint {endpoint:?} is not usable: {reason}");
    Error::local(ErrorKind::Config, text)
}

/// Host and port of an address without scheme.
fn authority(address: &str) -> Result<String, &'static str> {
    const EXPECTED: &str =
        "expected a host, with or without a port and http:// or https:// before it";
    let address = address.strip_suffix('/').unwrap_or(address);
    if address.is_empty() || address.contains(['/', '?', '#', '@', ' ']) {
        return Err(EXPECTED);
    }
    // Several colons without brackets are an IPv6 address.
    if address.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{address}]:{PORT}"));
    }
    let host_end = address.rfind(']').map_or(0, |bracket| bracket + 1);
    match address[host_end..].rsplit_once(':') {
        None => Ok(format!("{address}:{PORT}")),
        Some((_, port)) if port.parse::<u16>().is_err() => Err("the port is not a number to 65535"),
        Some((host, _)) if host_end == 0 && host.is_empty() => Err(EXPECTED),
        Some(_) => Ok(address.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_port_may_be_left_out() {
        for (written, meant) in [
            ("10.0.0.1", "10.0.0.1:2379"),
            ("10.0.0.1:7", "10.0.0.1:7"),
            ("http://db-1.internal", "db-1.internal:2379"),
            ("https://db-1.internal:7/", "db-1.internal:7"),
            ("::1", "[::1]:2379"),
            ("[::1]", "[::1]:2379"),
            ("http://[::1]:7", "[::1]:7"),
        ] {
            let address = Address::parse(written, false).unwrap();
            assert_eq!(address.authority, meant, "{written}");
        }
    }

    #[test]
    fn the_scheme_says_whether_to_use_tls_and_is_said_by_the_settings_where_it_is_missing() {
        for (written, is_default, is_secure) in [
            ("https://a", false, true),
            ("http://a", true, false),
            ("a", false, false),
            ("a", true, true),
        ] {
            let address = Address::parse(written, is_default).unwrap();
            assert_eq!(address.is_secure, is_secure, "{written}");
        }
    }

    #[test]
    fn what_is_no_address_is_named_in_the_error() {
        let bad = [
            "",
            "http://",
            "ftp://a:1",
            "https://",
            "a b:1",
            ":1",
            "a:",
            "a:b",
            "a:70000",
            "[::1]:x",
            "a:1/path",
            "user@a:1",
        ];
        for bad in bad {
            let error = Address::parse(bad, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert!(error.message().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn one_address_and_many_are_taken() {
        let owned = vec!["a".to_owned(), "b".to_owned()];
        for endpoints in [
            owned.clone().into_endpoints(),
            (&owned).into_endpoints(),
            owned[..].into_endpoints(),
            ["a", "b"].into_endpoints(),
            (&["a", "b"]).into_endpoints(),
            vec!["a", "b"].into_endpoints(),
        ] {
            assert_eq!(endpoints, ["a", "b"]);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 7));
        assert_eq!(address.into_endpoints(), ["127.0.0.1:7"]);
        assert_eq!("a".into_endpoints(), ["a"]);
        assert_eq!("a".to_owned().into_endpoints(), ["a"]);
    }
}
