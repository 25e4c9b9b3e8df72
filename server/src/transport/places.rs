//! Bounds the connections on the ports of clients and of members, and evicts those of members.
//!
//! A client that finds no place is refused and may use another node. A member has no other node, so
//! every connection on its port gets a place and another is evicted: the oldest without an admitted
//! call of a member, or else the one that was silent for longest.
//!
//! Invariant: there are at most as many connections as places.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;

use super::turns::{Reading, Turns};

/// File descriptors that clients do not get: for the files of the log and the state, snapshots in
/// transfer, connections between members, and one for each client that is refused.
const DESCRIPTORS_RESERVED: u64 = 768;
/// Divisor of a descriptor limit too low for the reserve: clients get one part, members another.
const CLIENTS_PART: u64 = 4;
/// Connections on the port of members: several for each member of the largest quorum, and as many
/// again that are dead but not yet detected.
const MEMBERS_MAX: u64 = 128;

/// A bound on the connections of some listeners. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    /// Connections that may be evicted; `None` on ports of clients.
    held: Option<Arc<Held>>,
    turns: Turns,
}

/// The connections of members.
#[derive(Debug, Default)]
struct Held {
    /// Logical clock: orders connections by when they last received data.
    now: AtomicU64,
    standings: Mutex<Vec<Standing>>,
}

/// Activity of a connection on the port of members.
#[derive(Clone, Debug)]
pub(super) struct Standing(Arc<Known>);

#[derive(Debug)]
struct Known {
    among: Arc<Held>,
    /// Logical time when accepted, or of the last data after a call was admitted.
    heard: AtomicU64,
    admitted: AtomicBool,
    lost: CancellationToken,
}

/// The place of one connection; released when dropped.
#[derive(Debug, Default)]
pub(super) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    standing: Option<Standing>,
    lost: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Places {
    /// Places for clients: as many as the descriptor limit allows, once raised to the hard limit.
    pub(crate) fn within_descriptors() -> Self {
        let limit = raise_descriptors();
        let clients = limit
            .saturating_sub(DESCRIPTORS_RESERVED)
            .max(limit / CLIENTS_PART);
        debug!(limit, clients, "connections that clients may have");
        Self::of(clients)
    }

    /// Places on the port of members.
    pub(crate) fn of_members() -> Self {
        let limit = raise_descriptors();
        Self::with_eviction(MEMBERS_MAX.min(limit / CLIENTS_PART).max(1))
    }

    pub(super) fn of(connections: u64) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        Self {
            free: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            held: None,
            turns: Turns::default(),
        }
    }

    pub(super) fn with_eviction(connections: u64) -> Self {
        Self {
            held: Some(Arc::default()),
            ..Self::of(connections)
        }
    }

    /// The reading of one more connection, which takes turns with the others.
    pub(super) fn reading(&self, peer: Option<IpAddr>) -> Reading {
        self.turns.reading(peer)
    }

    /// Takes a place. When all are taken, evicts another connection on the port of members, and
    /// returns `None` elsewhere.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo an eviction.
    pub(super) async fn take(&self) -> Option<Place> {
        let free = Arc::clone(&self.free);
        let Some(held) = &self.held else {
            return free.try_acquire_owned().ok().map(Place::beside_clients);
        };
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                held.evict();
                // Eviction wakes the task of the connection, so it ends at once.
                free.acquire_owned().await.ok()?
            }
        };
        let standing = held.stand();
        let lost = standing.0.lost.clone().cancelled_owned();
        Some(Place {
            _permit: Some(permit),
            standing: Some(standing),
            lost: Some(Box::pin(lost)),
        })
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }
}

impl Held {
    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed)
    }

    fn stand(self: &Arc<Self>) -> Standing {
        let standing = Standing(Arc::new(Known {
            among: Arc::clone(self),
            heard: AtomicU64::new(self.tick()),
            admitted: AtomicBool::new(false),
            lost: CancellationToken::new(),
        }));
        self.standings.lock().push(standing.clone());
        standing
    }

    /// Evicts the first connection in the order that the module describes.
    fn evict(&self) {
        let standings = self.standings.lock();
        let staying = standings.iter().filter(|it| !it.0.lost.is_cancelled());
        let last = staying.min_by_key(|it| {
            let heard = it.0.heard.load(Ordering::Relaxed);
            (it.0.admitted.load(Ordering::Relaxed), heard)
        });
        if let Some(Standing(known)) = last {
            known.lost.cancel();
        }
    }
}

impl Standing {
    /// Records that a call of a member was admitted on the connection.
    pub(super) fn admit(&self) {
        self.0.admitted.store(true, Ordering::Relaxed);
    }

    fn heard(&self) {
        // Other connections must not avoid eviction by sending data.
        if self.0.admitted.load(Ordering::Relaxed) {
            self.0.heard.store(self.0.among.tick(), Ordering::Relaxed);
        }
    }
}

impl Place {
    const fn beside_clients(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: Some(permit),
            standing: None,
            lost: None,
        }
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.standing.clone()
    }

    /// Records that the connection received data.
    pub(super) fn heard(&self) {
        if let Some(standing) = &self.standing {
            standing.heard();
        }
    }

    /// Whether the connection was evicted; wakes the task when it is.
    pub(super) fn is_lost(&mut self, context: &mut Context<'_>) -> bool {
        let lost = self.lost.as_mut();
        lost.is_some_and(|lost| matches!(lost.as_mut().poll(context), Poll::Ready(())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(Standing(known)) = &self.standing {
            let mut standings = known.among.standings.lock();
            standings.retain(|it| !Arc::ptr_eq(&it.0, known));
        }
    }
}

/// Raises the soft limit on descriptors to the hard limit, and returns the limit in force.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        debug!(%error, "the limit on descriptors stays");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::transport::Connection;

    /// Places on the port of members in these tests.
    const PLACES: usize = 4;

    /// Connects, and returns the other end of a connection that reads until it ends.
    async fn connect(places: &Places) -> (DuplexStream, Standing) {
        let (other, io) = duplex(64);
        let place = places.take().await.expect("somebody leaves");
        let standing = place.standing().expect("on the port of members");
        let mut connection = Connection::new(io);
        connection.place = place;
        crate::tasks::spawn("connection", async move {
            let mut heard = Vec::new();
            // The connection may end with an error.
            _ = connection.read_to_end(&mut heard).await;
        });
        (other, standing)
    }

    async fn ended(connection: &mut DuplexStream) -> bool {
        let mut nothing = [0];
        futures::poll!(Box::pin(connection.read(&mut nothing))).is_ready()
    }

    #[tokio::test]
    async fn a_member_gets_in_whoever_idles_on_its_port_and_stays() {
        let places = Places::with_eviction(PLACES as u64);
        let (mut member, standing) = connect(&places).await;
        standing.admit();
        let mut idle = Vec::new();
        for _ in 0..PLACES * 3 {
            let (mut other, _) = connect(&places).await;
            // Sending data must not protect it.
            other.write_all(b"x").await.expect("it is read");
            idle.push(other);
        }
        assert_eq!(places.free(), 0);
        assert!(!ended(&mut member).await, "the member stays");
        let mut staying = 0;
        for other in &mut idle {
            staying += usize::from(!ended(other).await);
        }
        assert_eq!(staying, PLACES - 1);
        assert!(
            !ended(idle.last_mut().expect("one")).await,
            "the newest stays"
        );
    }

    #[tokio::test]
    async fn of_members_alone_the_one_that_was_silent_for_longest_leaves() {
        let places = Places::with_eviction(PLACES as u64);
        let mut members = Vec::new();
        for _ in 0..PLACES {
            let (member, standing) = connect(&places).await;
            standing.admit();
            members.push((member, standing));
        }
        for (number, (_, standing)) in members.iter().enumerate() {
            if number != 1 {
                standing.heard();
            }
        }
        let _newest = connect(&places).await;
        let mut left = Vec::new();
        for (member, _) in &mut members {
            left.push(ended(member).await);
        }
        assert_eq!(left, [false, true, false, false]);
    }

    #[test]
    fn clients_get_what_is_beyond_the_reserve() {
        let places = Places::within_descriptors();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let clients = places.free() as u64;
        assert!(clients < limit, "{clients} of {limit}");
    }
}
