//! Answers of tenure's own services: locks, elections, registrations, fences, sessions.
//!
//! An answer converts into a [`Sheet`], from which all formats but the simple one are derived.

use std::time::Duration;

use tenure::{
    Discovered, LeaseId, RegisteredInstance,
    wire::v1::{
        CheckTokenResponse, Claim, ForceReleaseResponse, Header, InspectResponse,
        InspectSessionResponse, ListPoliciesResponse, ListResponse, Policy,
    },
};

use super::{
    records::{claim, registration, taken},
    sheet::{Cell, Record, Sheet},
};

/// Columns of a list of claims.
const CLAIM: &[&str] = &[
    "name",
    "token",
    "lease",
    "mode",
    "held",
    "since_ms",
    "principal",
];
/// Columns of the claims on one lock.
const QUEUE: &[&str] = &[
    "token",
    "lease",
    "mode",
    "held",
    "position",
    "since_ms",
    "principal",
];
/// Columns of an acquired claim.
const TAKEN: &[&str] = &["name", "key", "token", "lease"];
pub(super) const INSTANCE: &[&str] = &[
    "id",
    "readiness",
    "endpoints",
    "zone",
    "version",
    "weight",
    "tags",
    "incarnation",
    "lease",
];
/// Columns of a new registration.
const REGISTERED: &[&str] = &["service", "id", "incarnation", "lease", "ttl_ms"];
/// Columns of a drained or deregistered instance.
const DEPARTED: &[&str] = &["service", "id", "grace_ms"];
/// Columns of fence policies.
const POLICY: &[&str] = &["prefix", "lock"];
/// Columns of a token check.
const TOKEN: &[&str] = &["name", "token", "valid", "current_token", "remaining_ms"];
/// Columns of a session.
const SESSION: &[&str] = &[
    "session",
    "ttl_ms",
    "remaining_ms",
    "remembered",
    "forgotten",
];

/// An answer to be printed.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An acquired lock or a won election.
    Taken(Claim),
    /// The claim of the leader of an election, if there is one.
    Leader(Option<Claim>),
    /// Locks and elections.
    Locks(ListResponse),
    /// The queue of a lock.
    Queue(InspectResponse),
    /// Claims that were released by force.
    Released(ForceReleaseResponse),
    Registered {
        service: String,
        id: String,
        incarnation: i64,
        /// The lease of the registration.
        lease: LeaseId,
        /// The TTL of that lease.
        ttl: Duration,
    },
    /// Instances of a service.
    Instances(Discovered),
    /// The current instances of a service.
    Snapshot {
        registrations: Vec<RegisteredInstance>,
        /// Whether all are selected because too few are ready.
        all: bool,
    },
    /// Changes of the instances of a service.
    Delta {
        /// New or changed instances.
        updated: Vec<RegisteredInstance>,
        /// Ids of instances that are deregistered or no longer selected.
        removed: Vec<String>,
    },
    /// A drained or deregistered instance.
    Departed {
        service: String,
        id: String,
        /// The grace period of a drained instance; `None` once deregistered.
        grace: Option<Duration>,
    },
    Policies(ListPoliciesResponse),
    /// A new fence policy.
    PolicySet(Policy),
    /// The prefix of a removed fence policy.
    PolicyRemoved(String),
    /// The result of a token check.
    Token {
        name: String,
        token: i64,
        response: CheckTokenResponse,
    },
    SessionOpened {
        session: LeaseId,
        /// Its time to live.
        ttl: Duration,
    },
    SessionClosed(LeaseId),
    /// The state of a session.
    Session {
        session: LeaseId,
        response: InspectSessionResponse,
    },
}

impl Answer {
    pub(super) fn sheet(&self) -> Sheet {
        match self {
            Self::Taken(claim) => alone(None, taken(claim), TAKEN),
            Self::Leader(leader) => {
                let leader: Vec<_> = leader.iter().map(taken).collect();
                listed(None, ("leader", leader), TAKEN)
            }
            Self::Locks(response) => {
                let claims = response.claims.iter().map(claim).collect();
                let mut sheet = listed(response.header, ("claims", claims), CLAIM);
                sheet.summary = Record::default().with("more", Cell::Flag(response.more));
                sheet
            }
            Self::Queue(response) => queue(response),
            Self::Released(response) => {
                let released = response.released.iter().map(claim).collect();
                listed(response.header, ("released", released), CLAIM)
            }
            Self::Policies(response) => {
                let policies = response.policies.iter().map(policy).collect();
                listed(response.header, ("policies", policies), POLICY)
            }
            Self::PolicySet(set) => alone(None, policy(set), POLICY),
            Self::PolicyRemoved(prefix) => {
                let removed = Record::default().bytes("prefix", prefix.as_bytes());
                alone(None, removed, &["prefix"])
            }
            Self::Token {
                name,
                token,
                response,
            } => checked(name, *token, response),
            Self::SessionOpened { session, ttl } => {
                let record = Record::default().with("session", Cell::Lease(session.get()));
                alone(
                    None,
                    record.with("ttl_ms", millis(*ttl)),
                    &["session", "ttl_ms"],
                )
            }
            Self::SessionClosed(session) => {
                let record = Record::default().with("session", Cell::Lease(session.get()));
                alone(None, record, &["session"])
            }
            Self::Session { session, response } => inspected(*session, response),
            _ => self.registry_sheet(),
        }
    }

    /// Converts an answer of the registry.
    fn registry_sheet(&self) -> Sheet {
        match self {
            Self::Registered {
                service,
                id,
                incarnation,
                lease,
                ttl,
            } => {
                let record = instance(service, id)
                    .with("incarnation", Cell::Revision(*incarnation))
                    .with("lease", Cell::Lease(lease.get()))
                    .with("ttl_ms", millis(*ttl));
                alone(None, record, REGISTERED)
            }
            Self::Instances(found) => {
                let header = Some(found.header().into_tenure_wire());
                let mut sheet = instances(header, "registrations", found.registrations());
                sheet.summary = Record::default()
                    .with("all", Cell::Flag(found.is_all()))
                    .with("age_ms", millis(found.age()));
                sheet
            }
            Self::Snapshot { registrations, all } => {
                let mut sheet = instances(None, "registrations", registrations);
                sheet.summary = Record::default()
                    .text("change", "snapshot")
                    .with("all", Cell::Flag(*all));
                sheet
            }
            Self::Delta { updated, removed } => {
                let mut sheet = instances(None, "updated", updated);
                sheet.summary = Record::default()
                    .text("change", "delta")
                    .with("removed", Cell::Texts(removed.clone()));
                sheet
            }
            Self::Departed { service, id, grace } => {
                let record = instance(service, id);
                let record = match grace {
                    Some(grace) => record.with("grace_ms", millis(*grace)),
                    None => record,
                };
                alone(None, record, DEPARTED)
            }
            // All other answers are converted by `sheet`.
            _ => Sheet::default(),
        }
    }
}

fn alone(header: Option<Header>, summary: Record, columns: &'static [&'static str]) -> Sheet {
    Sheet {
        header,
        summary,
        columns,
        ..Sheet::default()
    }
}

fn listed(
    header: Option<Header>,
    list: (&'static str, Vec<Record>),
    columns: &'static [&'static str],
) -> Sheet {
    Sheet {
        header,
        lists: vec![list],
        columns,
        ..Sheet::default()
    }
}

fn instances(header: Option<Header>, name: &'static str, list: &[RegisteredInstance]) -> Sheet {
    listed(
        header,
        (name, list.iter().map(registration).collect()),
        INSTANCE,
    )
}

fn queue(response: &InspectResponse) -> Sheet {
    let holders = response.holders.iter().map(claim).collect();
    let waiters = response.waiters.iter().map(claim).collect();
    Sheet {
        header: response.header,
        summary: Record::default()
            .with("waiting", Cell::Count(response.waiting.into()))
            .with("delay_ms", Cell::Millis(response.delay_ms)),
        lists: vec![("holders", holders), ("waiters", waiters)],
        columns: QUEUE,
        ..Sheet::default()
    }
}

fn checked(name: &str, token: i64, response: &CheckTokenResponse) -> Sheet {
    let record = Record::default()
        .bytes("name", name.as_bytes())
        .with("token", Cell::Revision(token))
        .with("valid", Cell::Flag(response.valid))
        .with("current_token", Cell::Revision(response.current_token))
        .with("remaining_ms", Cell::Millis(response.remaining_ms));
    alone(response.header, record, TOKEN)
}

fn inspected(session: LeaseId, response: &InspectSessionResponse) -> Sheet {
    let claims: Vec<_> = response.claims.iter().map(claim).collect();
    let record = Record::default()
        .with("session", Cell::Lease(session.get()))
        .with("ttl_ms", Cell::Millis(response.ttl_ms))
        .with("remaining_ms", Cell::Millis(response.remaining_ms))
        .with("remembered", Cell::Count(response.remembered.into()))
        .with("forgotten", Cell::Count(response.forgotten));
    let mut sheet = alone(response.header, record, SESSION);
    sheet.details = vec![("claims", claims)];
    sheet
}

fn policy(policy: &Policy) -> Record {
    Record::default()
        .bytes("prefix", &policy.prefix)
        .bytes("lock", &policy.lock)
}

fn instance(service: &str, id: &str) -> Record {
    Record::default().text("service", service).text("id", id)
}

fn millis(duration: Duration) -> Cell {
    Cell::Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
