//! Parsers of option values, and their error texts.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tenure::{LeaseId, MemberId, wire::limits::IDEMPOTENCY_KEY_BYTES_MAX};

/// A guard: a lock or an election, and the token under which it must be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardArg {
    /// The name of the lock or election, or a key.
    pub name: String,
    /// The fencing token, or the create revision of the key.
    pub token: i64,
}

/// Permits of a semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    /// Number of requested permits, from 1 to `limit`.
    pub count: u32,
    /// Number of all permits.
    pub limit: u32,
}

/// An endpoint of an instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointArg {
    /// The protocol, such as `grpc` or `http`.
    pub protocol: String,
    /// Name or address of the host; an IPv6 address without its brackets.
    pub host: String,
    /// The port, never zero.
    pub port: u16,
}

/// A duration such as `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}, expected such as 5s or 1m30s"))
}

/// A name server: an address with or without a port, 53 unless given.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, String> {
    let without_port = text.parse::<IpAddr>();
    let server = without_port.map(|address| SocketAddr::new(address, 53));
    server
        .or_else(|_| text.parse())
        .map_err(|_| "expected an address, such as 10.0.0.1 or 10.0.0.1:53".to_owned())
}

/// A time to live: seconds, as etcdctl takes them, or a duration such as `800ms`. Never zero.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| "expected seconds, or a duration such as 800ms or 1m30s".to_owned())?,
    };
    if ttl < Duration::from_millis(1) {
        return Err("a time to live is at least a millisecond".to_owned());
    }
    Ok(ttl)
}

/// Reads a lease id: hexadecimal, `0x` before it or not.
pub(crate) fn lease_id(text: &str) -> Result<LeaseId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let id = i64::from_str_radix(digits, 16);
    id.map(LeaseId::new)
        .map_err(|error| format!("bad lease ID ({error}), expecting ID in Hex"))
}

pub(super) fn member_id(text: &str) -> Result<MemberId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let id = u64::from_str_radix(digits, 16);
    id.map(MemberId::new)
        .map_err(|error| format!("bad member ID ({error}), expecting ID in Hex"))
}

/// A fencing token, an epoch or an incarnation: a decimal number above zero.
pub(super) fn token(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(token) if token > 0 => Ok(token),
        _ => Err("a token is a decimal number above zero".to_owned()),
    }
}

/// A guard, `NAME=TOKEN`. Names may contain `=`, so the token is what follows the last one.
pub(super) fn guard(text: &str) -> Result<GuardArg, String> {
    let (name, number) = text
        .rsplit_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=TOKEN, such as jobs/7=1042")?;
    let token = token(number)?;
    let name = name.to_owned();
    Ok(GuardArg { name, token })
}

/// An idempotency key: sent as a header, so it is printable ASCII.
pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    // HTTP trims spaces at the ends of a header.
    let trimmed = text.trim().len() != text.len();
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX || !printable || trimmed {
        return Err(format!(
            "expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters without blanks \
             at the ends"
        ));
    }
    Ok(text.to_owned())
}

/// A reason, for the audit log.
pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("say why: it is written to the audit log".to_owned());
    }
    Ok(text.to_owned())
}

/// Permits, `N/M`: N of M.
pub(super) fn permits(text: &str) -> Result<Permits, String> {
    let expected = "expected N/M, such as 1/5: N of M permits, N from 1 to M";
    let (count, limit) = text.split_once('/').ok_or(expected)?;
    match (count.parse(), limit.parse()) {
        (Ok(count), Ok(limit)) if 0 < count && count <= limit => Ok(Permits { count, limit }),
        _ => Err(expected.to_owned()),
    }
}

/// An endpoint, `PROTOCOL://HOST:PORT`.
pub(super) fn endpoint(text: &str) -> Result<EndpointArg, String> {
    let expected = "expected PROTOCOL://HOST:PORT, such as grpc://10.0.0.7:8443";
    let (protocol, address) = text.split_once("://").ok_or(expected)?;
    let (host, port) = address.rsplit_once(':').ok_or(expected)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host,
        None if host.contains([':', '[', ']', '/']) => {
            return Err(format!("{expected}; an IPv6 address stands in brackets"));
        }
        None => host,
    };
    match port.parse() {
        Ok(port) if port > 0 && !protocol.is_empty() && !host.is_empty() => Ok(EndpointArg {
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            port,
        }),
        _ => Err(expected.to_owned()),
    }
}

/// A pair, `NAME=VALUE`; the value may be empty and may contain `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_guard_is_what_follows_the_last_equals_sign() {
        let guard_of = |name: &str, token| {
            let name = name.to_owned();
            Ok(GuardArg { name, token })
        };
        assert_eq!(guard("jobs/7=1042"), guard_of("jobs/7", 1042));
        assert_eq!(guard("a=b=3"), guard_of("a=b", 3));
        for text in ["jobs", "=5", "jobs=", "jobs=0", "jobs=-1", "jobs=x"] {
            assert!(guard(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_to_live_is_seconds_or_a_duration_and_never_zero() {
        assert_eq!(ttl("10"), Ok(Duration::from_secs(10)));
        assert_eq!(ttl("800ms"), Ok(Duration::from_millis(800)));
        for text in ["0", "0s", "1us", "-1", "soon", ""] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_more_permits_can_be_asked_for_than_there_are() {
        let three_of_three = Permits { count: 3, limit: 3 };
        assert_eq!(permits("3/3"), Ok(three_of_three));
        for text in ["0/3", "4/3", "3", "/3", "3/", "a/b", "1/0"] {
            assert!(permits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_has_a_protocol_a_host_and_a_port() {
        let endpoint_of = |protocol: &str, host: &str, port| {
            Ok(EndpointArg {
                protocol: protocol.to_owned(),
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(endpoint("grpc://a:80"), endpoint_of("grpc", "a", 80));
        assert_eq!(endpoint("tcp://[::1]:80"), endpoint_of("tcp", "::1", 80));
        for text in [
            "a:80",
            "grpc://a",
            "grpc://:80",
            "://a:80",
            "grpc://a:0",
            "grpc://a:65536",
            "grpc://::1:80",
            "grpc://a/b:80",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_idempotency_key_is_short_printable_ascii() {
        assert!(idempotency_key("order 17").is_ok());
        let longest = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX);
        assert!(idempotency_key(&longest).is_ok());
        for text in ["", " a", "a ", "a\nb", "schlüssel", &format!("{longest}k")] {
            assert!(idempotency_key(text).is_err(), "{text}");
        }
    }
}
