//! A queue so long that reading it for every waiter would be too expensive.

use futures::future::join_all;

use super::*;

/// Leases of the waiting claims.
const LEASES: std::ops::Range<i64> = 10..3010;

/// A lock that is held, with a long queue.
struct Crowd {
    it: Fixture,
    streams: Vec<Responses<wire::AcquireResponse>>,
}

impl Crowd {
    /// `id` makes the request id of a lease.
    async fn waiting(id: Option<fn(i64) -> String>) -> Self {
        let it = Fixture::new();
        it.hold(ask("a", 1)).await;
        let mut streams = Vec::new();
        for lease in LEASES {
            it.node.apply(&Command::LeaseGrant(LeaseGrant {
                id: LeaseId(lease),
                ttl: Ttl::from_secs(1000),
            }));
            let mut stream = it.acquire(request(lease, id)).await.expect("admitted");
            queued_on(&mut stream).await;
            assert!(poll!(stream.next()).is_pending());
            streams.push(stream);
        }
        Self { it, streams }
    }

    /// All of them still wait.
    async fn all_wait(&mut self) {
        for _ in 0..2 {
            for (number, stream) in self.streams.iter_mut().enumerate() {
                let polled = poll!(stream.next());
                assert!(polled.is_pending(), "number {number}: {polled:?}");
            }
            // Reads take turns in order: this one follows those that they may have started.
            let waiting = self.it.inspect().await.waiting as usize;
            assert_eq!(waiting, self.streams.len());
        }
    }
}

fn request(lease: i64, id: Option<fn(i64) -> String>) -> wire::AcquireRequest {
    let options = id.map(|id| wire::WriteOptions {
        idempotency_key: id(lease),
        ..wire::WriteOptions::default()
    });
    wire::AcquireRequest {
        options,
        ..ask("a", lease)
    }
}

fn put_elsewhere(node: &FakeNode) {
    node.apply(&Command::Put(tenure_statemachine::Put {
        key: "elsewhere".into(),
        ..tenure_statemachine::Put::default()
    }));
}

#[tokio::test]
async fn a_command_whose_events_are_dropped_ends_no_wait_in_a_long_queue() {
    let mut crowd = Crowd::waiting(None).await;
    crowd
        .it
        .node
        .leaves_events_out
        .store(true, Ordering::SeqCst);
    put_elsewhere(&crowd.it.node);
    crowd.all_wait().await;
    // Signals are never dropped.
    crowd.it.node.apply(&Command::LeaseRevoke(LeaseId(1)));
    granted_on(&mut crowd.streams[0]).await;
}

#[tokio::test]
async fn after_a_snapshot_every_waiter_of_a_long_queue_waits_on_or_gets_its_outcome() {
    let mut crowd = Crowd::waiting(None).await;
    crowd.it.node.muted.store(true, Ordering::SeqCst);
    for ended in [1, LEASES.end - 1] {
        crowd.it.node.apply(&Command::LeaseRevoke(LeaseId(ended)));
    }
    crowd.it.node.muted.store(false, Ordering::SeqCst);
    crowd.it.node.claims.reset();
    let mut first = crowd.streams.remove(0);
    let mut last = crowd.streams.pop().expect("a crowd");
    crowd.all_wait().await;
    granted_on(&mut first).await;
    let ended = last.next().await.expect("an end").expect_err("no lease");
    assert_eq!(reason_of(&ended), Some(Reason::LeaseEnded));
}

#[tokio::test]
async fn repeats_of_many_who_wait_in_a_long_queue_are_answered_that_they_wait() {
    let id: fn(i64) -> String = |lease| format!("once-{lease}");
    let crowd = Crowd::waiting(Some(id)).await;
    let repeats = LEASES.skip(2800).map(|lease| {
        let it = &crowd.it;
        async move {
            let mut stream = it.acquire(request(lease, Some(id))).await.expect("waits");
            queued_on(&mut stream).await
        }
    });
    let received = join_all(repeats).await;
    assert_eq!(received.len(), 200);
    assert!(received.iter().all(|queued| queued.position > 0));
}
