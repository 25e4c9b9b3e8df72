//! Answers of tenure's own services as human-readable lines.
//!
//! Keys and values are on lines of their own, as raw bytes, so that scripts for `etcdctl lock` and
//! `etcdctl elect` can read them.

use std::time::Duration;

use tenure::{
    LeaseId, RegisteredInstance,
    wire::v1::{CheckTokenResponse, Claim},
};

use super::{
    coordination::{Answer, INSTANCE},
    number::go_duration,
    records::registration,
    sheet::Cell,
    table,
};

/// A line of the simple format.
#[derive(Debug)]
pub(super) enum Line {
    Text(String),
    /// Bytes of the key space.
    Raw(Vec<u8>),
}

impl Answer {
    /// The lines of the simple format.
    pub(super) fn lines(&self, hex: bool) -> Vec<Line> {
        let text = |text: String| vec![Line::Text(text)];
        match self {
            Self::Taken(claim) | Self::Leader(Some(claim)) => {
                vec![
                    Line::Raw(claim.key.to_vec()),
                    Line::Raw(claim.value.to_vec()),
                ]
            }
            Self::Leader(None) => Vec::new(),
            Self::Released(response) => {
                let said = |claim: &Claim| {
                    let name = shown(&claim.name, hex);
                    let lease = LeaseId::new(claim.lease);
                    Line::Text(format!(
                        "{name} released, token {}, lease {lease}",
                        claim.token
                    ))
                };
                response.released.iter().map(said).collect()
            }
            Self::PolicySet(policy) => text(format!(
                "writes below {} need a guard of {}",
                shown(&policy.prefix, hex),
                shown(&policy.lock, hex)
            )),
            Self::PolicyRemoved(prefix) => text(format!("writes below {prefix} need no guard")),
            Self::Token {
                name,
                token,
                response,
            } => text(held(name, *token, response)),
            Self::SessionOpened { session, ttl } => text(format!(
                "session {session} opened with TTL({})",
                go_duration(*ttl)
            )),
            Self::SessionClosed(session) => text(format!("session {session} closed")),
            Self::Locks(_)
            | Self::Queue(_)
            | Self::Instances(_)
            | Self::Policies(_)
            | Self::Session { .. } => {
                let (_, rows) = table::sheet(&self.sheet(), hex);
                let rows = rows.into_iter().map(|row| Line::Text(row.join(", ")));
                rows.collect()
            }
            _ => self.registry_lines(),
        }
    }

    /// The lines of an answer of the registry.
    fn registry_lines(&self) -> Vec<Line> {
        let text = |text: String| vec![Line::Text(text)];
        match self {
            Self::Registered {
                service,
                id,
                incarnation,
                lease,
                ttl,
            } => text(format!(
                "{service}/{id} registered, incarnation {incarnation}, lease {lease}, TTL({})",
                go_duration(*ttl)
            )),
            Self::Snapshot { registrations, .. } => {
                let count = Line::Text(format!("SNAPSHOT {}", registrations.len()));
                let said = registrations.iter().map(|one| change("UP", one));
                [count].into_iter().chain(said).collect()
            }
            Self::Delta { updated, removed } => {
                let gone = removed.iter().map(|id| Line::Text(format!("DOWN {id}")));
                let said = updated.iter().map(|one| change("UP", one));
                gone.chain(said).collect()
            }
            Self::Departed { service, id, grace } => text(match grace {
                Some(grace) => {
                    format!("{service}/{id} draining, gone in {}", go_duration(*grace))
                }
                None => format!("{service}/{id} deregistered"),
            }),
            // All other answers are converted by `lines`.
            _ => Vec::new(),
        }
    }
}

fn shown(bytes: &[u8], hex: bool) -> String {
    table::text(&Cell::Bytes(bytes.to_vec()), hex)
}

/// One line about an instance.
fn change(word: &str, one: &RegisteredInstance) -> Line {
    let record = registration(one);
    let cells = INSTANCE.iter().filter_map(|name| {
        let text = table::text(record.cell(name)?, false);
        match *name {
            _ if text.is_empty() => None,
            "id" | "readiness" | "endpoints" => Some(text),
            name => Some(format!("{name}={text}")),
        }
    });
    let cells: Vec<_> = cells.collect();
    Line::Text(format!("{word} {}", cells.join(" ")))
}

/// The result of a token check.
fn held(name: &str, token: i64, response: &CheckTokenResponse) -> String {
    let remaining = go_duration(Duration::from_millis(response.remaining_ms));
    match (response.valid, response.current_token) {
        (true, _) => format!("{name} is held under token {token}, remaining({remaining})"),
        (false, 0) => format!("nobody holds {name}"),
        (false, current) => format!("{name} is held under token {current}"),
    }
}
