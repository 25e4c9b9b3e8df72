//! Streams that follow names: the present state of each, then its changes.
//!
//! Changes that come faster than the client reads are coalesced. Invariant: the last response about
//! a name agrees with the state.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use bytes::Bytes;
use futures::stream;
use sha1::{Digest, Sha1};
use tenure_statemachine::{ClaimState, Fault, Need, Reader, Revision, claim_range};
use tokio::sync::watch;
use tonic::Status;

use super::responses::Responses;
use crate::{
    events::Follower,
    rpc::{
        admission::Permit,
        answer::{bulk::BulkReads, failure::Failure},
        call::Call,
        services::Services,
    },
};

/// The value of a name that a stream follows.
pub(in crate::rpc) struct Subject<V, M> {
    pub(in crate::rpc) read: fn(&Reader<'_>, &[u8]) -> Result<V, Fault>,
    /// The part of the value that is compared: a value is sent when this differs from the last
    /// sent. Small, because it is kept for as long as the stream is open.
    pub(in crate::rpc) mark: fn(&V) -> M,
}

/// SHA-1.
type Hash = [u8; 20];

/// The first claim that holds: sent when its token changes.
pub(in crate::rpc) const TOKEN: Subject<Option<ClaimState>, Option<Revision>> = Subject {
    read: holder,
    mark: |claim| claim.as_ref().map(|claim| claim.token),
};

/// The first claim that holds: sent when its token or its value changes.
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

/// Names with the value of each.
pub(in crate::rpc) type Changed<V> = Vec<(Bytes, V)>;

struct Following<V, M, E, T> {
    services: Arc<Services>,
    reads: BulkReads,
    /// To read the claims on the names; who loses it loses the stream.
    permit: Permit,
    auth_changes: watch::Receiver<u64>,
    follower: Follower,
    subject: Subject<V, M>,
    /// The marks of the values that were sent last.
    sent: BTreeMap<Bytes, M>,
    /// Names to read.
    changed: BTreeSet<Bytes>,
    end: E,
    respond: T,
}

/// The stream of a call that follows `names`. Its first response is linearizable. A change for
/// which `respond` returns `None` is not sent.
pub(in crate::rpc) async fn follow<V, M, R>(
    services: &Arc<Services>,
    call: Call,
    names: Vec<Bytes>,
    subject: Subject<V, M>,
    respond: impl Fn(&Services, Revision, Changed<V>) -> Option<R> + Send + 'static,
) -> Result<Responses<R>, Failure>
where
    V: Send + 'static,
    M: PartialEq + Send + 'static,
    R: Send + 'static,
{
    // Subscribes before the state is read, so that no change is missed in between.
    let needs = names.iter().map(|name| Need::Read(claim_range(name)));
    let permit = services.permit(&call, needs.collect()).await?;
    let changed = names.iter().cloned().collect();
    let auth_changes = services.hub.auth_changes();
    let follower = services.claims.follow(names);
    call.read(services.replica.read_barrier()).await?;
    let following = Following {
        services: Arc::clone(services),
        reads: services.bulk_reads.of_caller(),
        permit,
        auth_changes,
        follower,
        subject,
        sent: BTreeMap::new(),
        changed,
        end: Box::pin(services.stream_end(call)),
        respond,
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
        match following.read_changed().await {
            Ok(Some(response)) => return Some((Ok(response), Some(following))),
            Ok(None) => {}
            Err(failure) => return Some((Err(failure.into()), None)),
        }
        tokio::select! {
            // Cancel-safe as documented there.
            changed = following.follower.changed() => following.changed = changed,
            // Cancel-safe: a change that was not seen is seen by the next call.
            Ok(()) = following.auth_changes.changed() => {
                let (services, permit) = (&following.services, &following.permit);
                if let Err(failure) = services.latest(|reader| permit.check(reader)) {
                    return Some((Err(failure.into()), None));
                }
            }
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
    /// The response about the names that changed, if their values differ from those sent last.
    async fn read_changed<R>(&mut self) -> Result<Option<R>, Failure>
    where
        T: Fn(&Services, Revision, Changed<V>) -> Option<R>,
    {
        let names = mem::take(&mut self.changed);
        if names.is_empty() {
            return Ok(None);
        }
        let read = self.subject.read;
        let permit = self.permit.clone();
        let reading = self.reads.read(move |reader| {
            permit.check(reader)?;
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
            let is_new = self.sent.get(name) != Some(&mark);
            if is_new {
                self.sent.insert(name.clone(), mark);
            }
            is_new
        });
        if found.is_empty() {
            return Ok(None);
        }
        Ok((self.respond)(&self.services, revision, found))
    }
}
