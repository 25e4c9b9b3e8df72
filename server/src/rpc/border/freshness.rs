//! Freshness that a read requires, and the age that its response reports.
//!
//! A client that read at a revision elsewhere can require at least that revision. A client of
//! serializable reads can bound their staleness. Invariant: a reported age is never below the true
//! one.

use std::time::Duration;

use tenure_proto::metadata::{
    AGE_METADATA, AT_LEAST_REVISION_METADATA, MAX_STALENESS_METADATA, MEMBER_METADATA,
};
use tenure_statemachine::Revision;
use tokio::time::{Instant, timeout};
use tonic::{Response, metadata::MetadataMap};

use super::conditions::number;
use crate::rpc::{
    answer::{failure::Failure, refusal::quoted, status::Reason},
    call::Call,
    services::Services,
};

/// How long a node may try to confirm its state when that is not known to be fresh enough. One
/// attempt; a client that bounds staleness prefers another node to waiting out an election.
const CONFIRM_MAX: Duration = Duration::from_millis(500);

/// The freshness that a read requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) struct Freshness {
    at_least: Option<Revision>,
    staleness_max: Option<Duration>,
}

/// The age of the state that a read finds.
#[derive(Clone, Copy, Debug)]
pub(in crate::rpc) struct Age {
    /// When the state was last confirmed; `None` is unknown.
    since: Option<Instant>,
    staleness_max: Option<Duration>,
}

impl Freshness {
    /// The freshness that the metadata of a call requires.
    pub(in crate::rpc) fn of(metadata: &MetadataMap) -> Result<Self, Failure> {
        let revision = number_in(metadata, AT_LEAST_REVISION_METADATA)?;
        let too_great = |_| Reason::FreshnessMalformed.with("no revision is that great");
        let revision = revision.map(i64::try_from).transpose().map_err(too_great)?;
        let staleness = number_in(metadata, MAX_STALENESS_METADATA)?;
        Ok(Self {
            at_least: revision.map(Revision),
            staleness_max: staleness.map(Duration::from_millis),
        })
    }

    /// This freshness and that of a request's fields; zero requires nothing.
    pub(in crate::rpc) fn and(self, at_least: i64, staleness_max_ms: u64) -> Result<Self, Failure> {
        if at_least < 0 {
            let detail = format!("revision {at_least} is negative");
            return Err(Reason::FreshnessMalformed.with(detail));
        }
        let at_least = Some(Revision(at_least)).filter(|revision| revision.0 > 0);
        let staleness_max = Some(staleness_max_ms).filter(|millis| *millis > 0);
        let bounds = [self.staleness_max, staleness_max.map(Duration::from_millis)];
        Ok(Self {
            at_least: self.at_least.max(at_least),
            staleness_max: bounds.into_iter().flatten().min(),
        })
    }

    /// Whether the staleness is bounded, so that a confirmed state is not required.
    pub(in crate::rpc) const fn bounds_age(self) -> bool {
        self.staleness_max.is_some()
    }

    /// Waits until a read of this node's state is as fresh as required: linearizable, unless it is
    /// serializable and within its bounds. Refused when the state must not be read at all.
    pub(in crate::rpc) async fn reach(
        self,
        services: &Services,
        call: &Call,
        serializable: bool,
    ) -> Result<Age, Failure> {
        // First, because it may take long, while a confirmed age grows.
        self.reach_revision(services, call).await?;
        if serializable {
            let since = self.reach_age(services).await?;
            services.refuse_unsound()?;
            return Ok(Age {
                since,
                staleness_max: self.staleness_max,
            });
        }
        let began = Instant::now();
        call.read(services.replica.read_barrier()).await?;
        services.refuse_unsound()?;
        Ok(Age {
            since: Some(began),
            staleness_max: None,
        })
    }

    /// When the state was last confirmed.
    async fn reach_age(self, services: &Services) -> Result<Option<Instant>, Failure> {
        let replica = services.replica.as_ref();
        let age = replica.staleness();
        let Some(max) = self.staleness_max else {
            // No confirmation is requested while the state is confirmed anyway, as a leader's is.
            if age.is_none_or(|age| age > CONFIRM_MAX / 4) {
                replica.freshen();
            }
            return Ok(age.and_then(ago));
        };
        if let Some(age) = age.filter(|age| *age <= max) {
            return Ok(ago(age));
        }
        let began = Instant::now();
        if let Ok(Ok(())) = timeout(CONFIRM_MAX, replica.read_barrier()).await {
            // The read barrier confirms the state as of its start, so the age is the time since
            // then.
            if began.elapsed() <= max {
                return Ok(Some(began));
            }
        }
        match replica.staleness() {
            Some(age) if age <= max => Ok(ago(age)),
            age => Err(too_old(age, max)),
        }
    }

    async fn reach_revision(self, services: &Services, call: &Call) -> Result<(), Failure> {
        let Some(required) = self.at_least else {
            return Ok(());
        };
        let here = || services.revision();
        if here()? >= required {
            return Ok(());
        }
        let reached = async {
            services.replica.reached(required).await;
            Ok::<(), Failure>(())
        };
        if call.read(reached).await.is_ok() {
            return Ok(());
        }
        let here = here()?;
        if here >= required {
            return Ok(());
        }
        Err(Reason::RevisionNotReached.with(format!("asked {required}, here {here}")))
    }
}

impl Age {
    /// The age in milliseconds; the maximum when it is unknown.
    pub(in crate::rpc) fn in_ms(self) -> u64 {
        self.since.map_or(u64::MAX, |since| millis(since.elapsed()))
    }

    /// Checks the bound again, for a read that had to wait.
    pub(in crate::rpc) fn check(self) -> Result<(), Failure> {
        let age = self.since.map(|since| since.elapsed());
        match self.staleness_max {
            Some(max) if age.is_none_or(|age| age > max) => Err(too_old(age, max)),
            _ => Ok(()),
        }
    }

    /// The response to a read, with its age and its member in the metadata.
    pub(in crate::rpc) fn response<T>(self, services: &Services, answer: T) -> Response<T> {
        self.annotate(services, Response::new(answer))
    }

    /// As [`Age::response`], for an existing response.
    pub(in crate::rpc) fn annotate<T>(
        self,
        services: &Services,
        mut response: Response<T>,
    ) -> Response<T> {
        let metadata = response.metadata_mut();
        if self.since.is_some() {
            metadata.insert(AGE_METADATA, self.in_ms().into());
        }
        metadata.insert(MEMBER_METADATA, services.member.clone());
        response
    }
}

/// The instant that long ago; `None` when it is before the clock's start.
fn ago(age: Duration) -> Option<Instant> {
    Instant::now().checked_sub(age)
}

fn too_old(age: Option<Duration>, max: Duration) -> Failure {
    let max = millis(max);
    Reason::TooOld.with(match age {
        Some(age) => format!("up to {} ms, at most {max} ms", millis(age)),
        None => format!("by an unknown time, at most {max} ms"),
    })
}

/// Rounded up: a reported age must not be below the true one.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn number_in(metadata: &MetadataMap, key: &'static str) -> Result<Option<u64>, Failure> {
    let Some(value) = metadata.get(key) else {
        return Ok(None);
    };
    let text = value.as_bytes();
    match number(text) {
        Some(number) => Ok(Some(number)),
        None => {
            let detail = format!("{key} is {}, not a number", quoted(text));
            Err(Reason::FreshnessMalformed.with(detail))
        }
    }
}

#[cfg(test)]
mod tests;
