//! Looking up the records of a service, with the name servers in turn.

use std::{io, net::SocketAddr, time::Duration};

use rand::Rng as _;
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    exchange,
    message::{Outcome, Query, Record},
    order::order,
    settings::Settings,
};

/// The file that names the servers.
const SYSTEM: &str = "/etc/resolv.conf";

/// How long one lookup may take, with all servers and names: two attempts at three silent servers.
const LOOKUP_MAX: Duration = Duration::from_secs(30);

/// Why there are no records. The texts are Go's, and so those of etcd.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The domain, with the service, makes no name.
    #[error("lookup {0}: invalid domain name")]
    InvalidName(String),
    /// There is no such name, or it has no such records.
    #[error("lookup {name} on {server}: no such host")]
    NoSuchHost {
        /// The name that was asked for.
        name: String,
        /// The server that said so.
        server: SocketAddr,
    },
    /// The server could not tell.
    #[error("lookup {name} on {server}: server misbehaving")]
    Misbehaving {
        /// The name that was asked for.
        name: String,
        /// The server.
        server: SocketAddr,
    },
    /// No server answered.
    #[error("lookup {name} on {server}: {cause}")]
    Unreachable {
        /// The name that was asked for.
        name: String,
        /// The server that was asked last.
        server: SocketAddr,
        /// Why it did not answer.
        cause: io::Error,
    },
    /// It took too long altogether.
    #[error("lookup {0}: i/o timeout")]
    TimedOut(String),
}

impl LookupError {
    /// Whether a server answered that there are none.
    #[must_use]
    pub const fn is_no_such_host(&self) -> bool {
        matches!(self, Self::NoSuchHost { .. })
    }
}

/// A way to look up SRV records: with the name servers of `/etc/resolv.conf`, unless another is
/// given.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    server: Option<SocketAddr>,
}

impl Lookup {
    /// With the name servers of the system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this name server alone.
    #[must_use]
    pub const fn server(mut self, server: SocketAddr) -> Self {
        self.server = Some(server);
        self
    }

    /// The records of a service over TCP in a domain, those to be tried first first. There is at
    /// least one.
    ///
    /// # Errors
    /// Why there are none.
    ///
    /// # Cancel safety
    /// Dropping the future ends the lookup.
    pub async fn find(&self, service: &str, domain: &str) -> Result<Vec<Record>, LookupError> {
        let name = format!("_{service}._tcp.{domain}");
        let settings = self.settings().await;
        let found = timeout(LOOKUP_MAX, find(&settings, &name)).await;
        let records = found.unwrap_or(Err(LookupError::TimedOut(name)))?;
        Ok(order(records, |below| rand::rng().random_range(0..below)))
    }

    async fn settings(&self) -> Settings {
        // As for Go, a system without the file has a name server of its own.
        let text = tokio::fs::read(SYSTEM).await.unwrap_or_default();
        let mut settings = Settings::parse(&String::from_utf8_lossy(&text));
        if let Some(server) = self.server {
            settings.servers = vec![server];
        }
        settings
    }
}

async fn find(settings: &Settings, name: &str) -> Result<Vec<Record>, LookupError> {
    let mut error = LookupError::InvalidName(name.to_owned());
    for tried in settings.names(name) {
        match find_one(settings, name, &tried).await {
            Ok(records) => return Ok(records),
            // What a server could not tell says more than that another name does not exist.
            Err(next) if next.is_no_such_host() && !is_empty(&error) => {}
            Err(next) => error = next,
        }
    }
    Err(error)
}

/// Whether an error says no more than that there is nothing.
const fn is_empty(error: &LookupError) -> bool {
    matches!(
        error,
        LookupError::InvalidName(_) | LookupError::NoSuchHost { .. }
    )
}

/// Asks the servers for one name, until one of them knows.
async fn find_one(
    settings: &Settings,
    name: &str,
    tried: &str,
) -> Result<Vec<Record>, LookupError> {
    let mut error = LookupError::InvalidName(name.to_owned());
    for _ in 0..settings.attempts {
        for &server in &settings.servers {
            let name = || name.to_owned();
            let query = Query::new(rand::random(), tried);
            let query = query.ok_or_else(|| LookupError::InvalidName(name()))?;
            let asked = exchange::ask(server, &query, settings.is_tcp, settings.timeout).await;
            error = match asked {
                Ok(answer) => match answer.outcome {
                    Outcome::Found if !answer.records.is_empty() => return Ok(answer.records),
                    Outcome::Found | Outcome::NoSuchName => {
                        let name = name();
                        return Err(LookupError::NoSuchHost { name, server });
                    }
                    Outcome::Failed => LookupError::Misbehaving {
                        name: name(),
                        server,
                    },
                },
                Err(cause) => LookupError::Unreachable {
                    name: name(),
                    server,
                    cause,
                },
            };
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    const NAME: &str = "_etcd-client._tcp.example.com";

    async fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn settings(servers: &[SocketAddr]) -> Settings {
        Settings {
            servers: servers.to_vec(),
            timeout: Duration::from_millis(200),
            attempts: 1,
            ..Settings::default()
        }
    }

    /// Answers queries with these flags, and one record for `host`.
    fn answer(query: &[u8], flags: [u8; 2], host: &[u8]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2..4].copy_from_slice(&flags);
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0]);
        answer.push(u8::try_from(host.len() + 6).unwrap());
        answer.extend([0, 0, 0, 0, 9, 75]);
        answer.extend(host);
        answer
    }

    /// Answers each query with what `answers` makes of it.
    fn serve(socket: UdpSocket, answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        // Ends with the test's runtime.
        drop(tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                for answer in answers(&packet[..length]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        }));
    }

    #[tokio::test]
    async fn the_next_server_is_asked_when_one_is_silent_or_cannot_tell() {
        let (_silent, first) = socket().await;
        let (failing, second) = socket().await;
        serve(failing, |query| {
            vec![answer(query, [0x81, 0x82], b"\x01x\x00")]
        });
        let (sound, third) = socket().await;
        serve(sound, |query| {
            vec![answer(query, [0x81, 0x80], b"\x01a\x00")]
        });
        let found = find(&settings(&[first, second, third]), NAME)
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].target.as_str(), found[0].port), ("a", 2379));

        let error = find(&settings(&[first]), NAME).await.unwrap_err();
        let expected = format!("lookup {NAME} on {first}: i/o timeout");
        assert_eq!(error.to_string(), expected);
        let error = find(&settings(&[second]), NAME).await.unwrap_err();
        let expected = format!("lookup {NAME} on {second}: server misbehaving");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn a_packet_that_answers_another_question_is_passed_over() {
        let (socket, server) = socket().await;
        serve(socket, |query| {
            let forged = |at: usize| {
                let mut forged = answer(query, [0x81, 0x80], b"\x04evil\x00");
                forged[at] ^= 1;
                forged
            };
            let good = answer(query, [0x81, 0x80], b"\x01a\x00");
            vec![forged(0), forged(1), forged(14), b"noise".to_vec(), good]
        });
        let found = find(&settings(&[server]), NAME).await.unwrap();
        assert_eq!(found[0].target, "a");
    }

    #[tokio::test]
    async fn a_name_is_looked_for_below_the_search_domains() {
        let (socket, server) = socket().await;
        serve(socket, |query| {
            let is_below = query.windows(5).any(|it| it == b"\x04test");
            let flags = if is_below { [0x81, 0x80] } else { [0x81, 0x83] };
            vec![answer(query, flags, b"\x01a\x00")]
        });
        let settings = Settings {
            search: vec!["test".to_owned()],
            ..settings(&[server])
        };
        assert_eq!(find(&settings, NAME).await.unwrap()[0].target, "a");
        let error = find(&settings, &format!("{NAME}.")).await.unwrap_err();
        assert!(error.is_no_such_host(), "{error}");
    }
}
