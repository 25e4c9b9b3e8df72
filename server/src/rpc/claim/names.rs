//! Following names: what there is on each now, then every change, on a stream.
//!
//! Changes that come faster than the client reads are told as one. Invariant: the last that is
//! told of a name is what the state says.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use bytes::Bytes;
use futures::stream;
use sha1::{Digest, Sha1};
use tenure_statemachine::{ClaimState, Fault, Reader, Revision};
use tonic::Status;

use super::responses::Responses;
use crate::{
    events::Follower,
    rpc::{
        answer::{bulk::BulkReads, failure::Failure},
        call::Call,
        services::Services,
    },
};

/// What is followed on a name.
pub(in crate::rpc) struct Subject<V, M> {
    /// Reads it.
    pub(in crate::rpc) read: fn(&Reader<'_>, &[u8]) -> Result<V, Fault>,
    /// What of it is remembered: there is something new to tell when this differs. Small, because
    /// it is kept for as long as the stream is open.
    pub(in crate::rpc) mark: fn(&V) -> M,
}

/// The digest of a value.
type Hash = [u8; 20];

/// The first claim that holds: told when its token changes.
pub(in crate::rpc) const TOKEN: Subject<Option<ClaimState>, Option<Revision>> = Subject {
    read: holder,
    mark: |claim| claim.as_ref().map(|claim| claim.token),
};

/// The first claim that holds: told when its token or its value changes.
pub(in crate::rpc) const VALUE: Subject<Option<ClaimState>, Option<(Revision, Hash)>> = Subject {
    read: holder,
    mark: |claim| {
        let claim = claim.as_ref()?;
        Some((claim.token, Sha1::digest(&claim.value).into()))
    },
};

fn holder(reader: &Reader<'_>, name: &[u8]) -> Result<Option<ClaimState>, Fault> {
    reader.holder(name)
}

/// Names with what there is on each.
pub(in crate::rpc) type Changed<V> = Vec<(Bytes, V)>;

struct Following<V, M, E, T> {
    services: Arc<Services>,
    reads: BulkReads,
    follower: Follower,
    subject: Subject<V, M>,
    /// What was told last.
    told: BTreeMap<Bytes, M>,
    /// What is to be looked at.
    changed: BTreeSet<Bytes>,
    end: E,
    tell: T,
}

/// The stream of a call that follows `names`. What is told first is linearizable. `tell` may have
/// nothing to say of a change.
pub(in crate::rpc) async fn follow<V, M, R>(
    services: &Arc<Services>,
    call: Call,
    names: Vec<Bytes>,
    subject: Subject<V, M>,
    tell: impl Fn(&Services, Revision, Changed<V>) -> Option<R> + Send + 'static,
) -> Result<Responses<R>, Failure>
where
    V: Send + 'static,
    M: PartialEq + Send + 'static,
    R: Send + 'static,
{
    // Before the state is read, so that no change gets lost in between.
    let changed = names.iter().cloned().collect();
    let follower = services.claims.follow(names);
    call.read(services.replica.read_barrier()).await?;
    let following = Following {
        services: Arc::clone(services),
        reads: services.bulk_reads.of_caller(),
        follower,
        subject,
        told: BTreeMap::new(),
        changed,
        end: Box::pin(services.stream_end(call)),
        tell,
    };
    Ok(Box::pin(stream::unfold(Some(following), step)))
}

type Step<R, F> = Option<(Result<R, Status>, Option<F>)>;

async fn step<V, M, R, E, T>(
    following: Option<Following<V, M, E, T>>,
) -> Step<R, Following<V, M, E, T>>
where
    V: Send + 'static,
    M: PartialEq,
    E: Future<Output = Status> + Unpin,
    T: Fn(&Services, Revision, Changed<V>) -> Option<R>,
{
    let mut following = following?;
    loop {
        match following.look().await {
            Ok(Some(answer)) => return Some((Ok(answer), Some(following))),
            Ok(None) => {}
            Err(reason) => return Some((Err(reason.into()), None)),
        }
        tokio::select! {
            // Cancel-safe as documented there.
            changed = following.follower.changed() => following.changed = changed,
            // Ends the stream.
            status = &mut following.end => return Some((Err(status), None)),
        }
    }
}

impl<V, M, E, T> Following<V, M, E, T>
where
    V: Send + 'static,
    M: PartialEq,
{
    /// What there is to tell of the names that may have changed.
    async fn look<R>(&mut self) -> Result<Option<R>, Failure>
    where
        T: Fn(&Services, Revision, Changed<V>) -> Option<R>,
    {
        let names = mem::take(&mut self.changed);
        if names.is_empty() {
            return Ok(None);
        }
        let read = self.subject.read;
        let reading = self.reads.read(move |reader| {
            let found = names.into_iter().map(|name| {
                let value = read(reader, &name)?;
                Ok((name, value))
            });
            let found = found.collect::<Result<Changed<V>, Fault>>()?;
            Ok((reader.meta().revision, found))
        });
        let (revision, mut found) = reading.await?;
        found.retain(|(name, value)| {
            let mark = (self.subject.mark)(value);
            let is_new = self.told.get(name) != Some(&mark);
            if is_new {
                self.told.insert(name.clone(), mark);
            }
            is_new
        });
        if found.is_empty() {
            return Ok(None);
        }
        Ok((self.tell)(&self.services, revision, found))
    }
}
