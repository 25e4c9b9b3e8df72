//! Connections to other members, secured as the settings ask.

use std::{io, net::IpAddr, time::Duration};

use tenure_tls::{Dialled, Exit, ExitError, SecretError};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tracing::warn;

use super::{Connection, Io, local};

/// Time limit of a connection attempt; a peer that does not answer within it counts as down, and is
/// tried again.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit for TLS and for the exchange of the cluster secret on a new connection: some round
/// trips, and the processor time of a busy member.
const SECURE_TIMEOUT: Duration = Duration::from_secs(3);

/// The host that a member behind a local socket is verified as.
const LOCAL_HOST: &str = "localhost";

/// Connects to the member at `url`.
pub(super) async fn dial(exit: Exit, url: String) -> io::Result<Connection> {
    let (scheme, authority) = parts(&url);
    let is_tls = matches!(scheme, "https" | "unixs");
    if matches!(scheme, "unix" | "unixs") {
        let stream = timeout(CONNECT_TIMEOUT, local::connect(authority));
        let stream = stream.await.map_err(|_| io::ErrorKind::TimedOut)??;
        return secured(&exit, stream, &url, LOCAL_HOST, is_tls).await;
    }
    let stream = timeout(CONNECT_TIMEOUT, open(authority))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    secured(&exit, stream, &url, host, is_tls).await
}

/// Does what the settings ask of a connection to `host`.
async fn secured<S: Io>(
    exit: &Exit,
    stream: S,
    url: &str,
    host: &str,
    is_tls: bool,
) -> io::Result<Connection> {
    let dialled = timeout(SECURE_TIMEOUT, exit.dial(stream, host, is_tls));
    let dialled = dialled.await.map_err(|_| io::ErrorKind::TimedOut)?;
    let dialled = dialled.map_err(|error| {
        // A connection that merely broke says nothing: the member may be starting.
        if !matches!(
            error,
            ExitError::Io(_) | ExitError::Secret(SecretError::Io(_))
        ) {
            warn!(url, %error, "the connection to a member is not secure");
        }
        io::Error::other(error)
    })?;
    Ok(match dialled {
        Dialled::Plain(stream) => Connection::new(stream),
        Dialled::Tls(stream) => Connection::new(*stream),
    })
}

async fn open(authority: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address for the host");
    for address in lookup_host(authority).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The scheme of a URL, and its host and port, or the file of a local socket.
fn parts(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    if matches!(scheme, "unix" | "unixs") {
        return (scheme, rest);
    }
    (scheme, rest.split('/').next().unwrap_or(rest))
}

/// The addresses of a host; none when it has none, or when the name service does not answer.
pub async fn resolve(host: String) -> Vec<IpAddr> {
    // The port is of no interest.
    let found = timeout(CONNECT_TIMEOUT, lookup_host((host, 0))).await;
    let addresses = found.ok().and_then(Result::ok).into_iter().flatten();
    addresses.map(|address| address.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_and_where_to_connect() {
        for (url, expected) in [
            ("http://a:1", ("http", "a:1")),
            ("https://[::1]:2/", ("https", "[::1]:2")),
            ("unixs:///run/a", ("unixs", "/run/a")),
            ("a:1", ("http", "a:1")),
        ] {
            assert_eq!(parts(url), expected);
        }
    }
}
