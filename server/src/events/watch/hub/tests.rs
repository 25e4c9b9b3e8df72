//! Tests of the hub alone: which streams receive changes, and how streams lose changes.

use tenure_statemachine::{EventKind, KeyValue};

use super::*;

fn event(key: &'static str, revision: i64) -> Event {
    let kv = KeyValue {
        key: key.into(),
        mod_revision: Revision(revision),
        ..Default::default()
    };
    Event {
        kind: EventKind::Put,
        kv,
        previous: None,
    }
}

fn key(key: &'static str) -> KeyRange {
    KeyRange::single(key.into())
}

fn publish(hub: &WatchHub, key: &'static str, revision: i64) {
    hub.publish(Revision(revision), vec![event(key, revision)]);
}

fn revisions(stream: &mut Subscription) -> Vec<i64> {
    let mut revisions = Vec::new();
    while let Some(delivery) = stream.try_next() {
        revisions.extend(delivery.events.iter().map(|event| event.kv.mod_revision.0));
    }
    revisions
}

#[test]
fn only_streams_with_an_interest_are_told_once_with_all_their_watchers() {
    let hub = WatchHub::new(Revision(1));
    let (mut first, mut second) = (hub.open(), hub.open());
    for watcher in [1, 2] {
        assert!(first.attach(watcher, &key("a"), Revision(2)));
    }
    assert!(second.attach(1, &key("b"), Revision(2)));
    hub.publish(
        Revision(2),
        vec![event("a", 2), event("b", 2), event("a", 2)],
    );
    publish(&hub, "c", 3);
    let delivery = first.try_next().expect("told");
    assert_eq!(delivery.events.len(), 3);
    assert_eq!(first.watchers_of(&delivery), [1, 2]);
    let delivery = second.try_next().expect("told");
    assert_eq!(second.watchers_of(&delivery), [1]);
    assert!(first.try_next().is_none() && second.try_next().is_none());
    assert_eq!(hub.revision(), Revision(3));
}

#[test]
fn who_has_not_seen_what_was_published_is_not_attached() {
    let hub = WatchHub::new(Revision(5));
    let mut stream = hub.open();
    assert!(!stream.attach(1, &key("a"), Revision(5)));
    assert!(stream.attach(1, &key("a"), Revision(6)));
    publish(&hub, "z", 6);
    assert!(!stream.attach(2, &key("a"), Revision(6)));
    assert!(stream.attach(2, &key("a"), Revision(9)));
}

#[test]
fn a_full_queue_loses_from_one_revision_on_and_nothing_before() {
    let hub = WatchHub::new(Revision(1));
    let mut stream = hub.open();
    assert!(stream.attach(1, &key("a"), Revision(2)));
    let last = QUEUE_LEN_MAX as i64 + 50;
    for revision in 2..=last {
        publish(&hub, "a", revision);
    }
    assert!(stream.has_lost());
    assert_eq!(hub.stats().watchers_behind, 1);
    // Queued changes are older than lost ones, so they come first.
    assert_eq!(stream.surrender(), None);
    let told = revisions(&mut stream);
    assert_eq!(told, (2..=QUEUE_LEN_MAX as i64 + 1).collect::<Vec<_>>());
    assert_eq!(stream.surrender(), Some(Revision(QUEUE_LEN_MAX as i64 + 2)));
    assert_eq!(stream.surrender(), None);
    // The watcher stays detached until it has read what it lost.
    publish(&hub, "a", last + 1);
    assert!(revisions(&mut stream).is_empty());
    assert!(!stream.attach(1, &key("a"), Revision(last + 1)));
    assert!(stream.attach(1, &key("a"), Revision(last + 2)));
    publish(&hub, "a", last + 2);
    assert_eq!(revisions(&mut stream), [last + 2]);
}

#[test]
fn the_queue_is_bounded_in_bytes_and_takes_no_large_change() {
    let hub = WatchHub::new(Revision(1));
    let mut stream = hub.open();
    let sized = |revision, bytes| {
        let mut sized = event("a", revision);
        sized.kv.value = vec![0; bytes].into();
        sized
    };
    let publish = |revision, events| hub.publish(Revision(revision), events);
    assert!(stream.attach(1, &key("a"), Revision(2)));
    publish(2, vec![sized(2, DELIVERY_BYTES_MAX)]);
    assert_eq!(stream.surrender(), Some(Revision(2)));
    assert!(stream.attach(1, &key("a"), Revision(3)));
    publish(3, vec![sized(3, 0); DELIVERY_EVENTS_MAX + 1]);
    publish(4, vec![sized(4, 0)]);
    assert_eq!(stream.surrender(), Some(Revision(3)));
    assert!(stream.attach(1, &key("a"), Revision(5)));
    publish(5, vec![sized(5, 0); DELIVERY_EVENTS_MAX]);
    assert_eq!(
        stream.try_next().expect("told").events.len(),
        DELIVERY_EVENTS_MAX
    );
    let bytes = DELIVERY_BYTES_MAX / 2;
    let fit = (QUEUE_BYTES_MAX / bytes) as i64;
    for revision in 6..=fit + 6 {
        publish(revision, vec![sized(revision, bytes)]);
    }
    assert!(stream.queued_bytes() <= QUEUE_BYTES_MAX);
    assert_eq!(revisions(&mut stream), (6..fit + 5).collect::<Vec<_>>());
    assert_eq!(stream.surrender(), Some(Revision(fit + 5)));
}

#[tokio::test]
async fn a_stream_hears_of_its_loss_after_what_waits() {
    let hub = WatchHub::new(Revision(1));
    let mut stream = hub.open();
    assert!(stream.attach(1, &key("a"), Revision(2)));
    publish(&hub, "a", 2);
    hub.reset(Revision(10));
    assert!(stream.next().await.is_some());
    assert!(stream.next().await.is_none());
    assert_eq!(stream.surrender(), Some(Revision(3)));
    assert!(!stream.attach(1, &key("a"), Revision(10)));
    assert!(stream.attach(1, &key("a"), Revision(11)));
}

#[test]
fn a_command_with_several_revisions_is_told_and_lost_from_the_first() {
    let hub = WatchHub::new(Revision(1));
    let mut stream = hub.open();
    assert!(stream.attach(1, &key("a"), Revision(2)));
    for revision in 0..QUEUE_LEN_MAX as i64 {
        publish(&hub, "a", revision + 2);
    }
    let first = QUEUE_LEN_MAX as i64 + 2;
    hub.publish(
        Revision(first + 1),
        vec![event("a", first), event("a", first + 1)],
    );
    assert_eq!(hub.revision(), Revision(first + 1));
    revisions(&mut stream);
    assert_eq!(stream.surrender(), Some(Revision(first)));
}

#[test]
fn detached_watchers_and_closed_streams_leave_nothing() {
    let hub = WatchHub::new(Revision(1));
    let mut stream = hub.open();
    assert!(stream.attach(1, &key("a"), Revision(2)));
    assert!(stream.attach(2, &key("b"), Revision(2)));
    stream.detach(1);
    publish(&hub, "a", 2);
    assert!(stream.try_next().is_none());
    stream.set_behind(3);
    let stats = hub.stats();
    assert_eq!(
        (stats.streams, stats.watchers_live, stats.watchers_behind),
        (1, 1, 3)
    );
    drop(stream);
    assert_eq!(hub.stats(), WatchHubStats::default());
    let mut found = Vec::new();
    hub.state.lock().index.find(b"b", &mut found);
    assert!(found.is_empty());
}

#[test]
fn many_watchers_of_one_key_cost_a_waiting_change_no_more_than_one() {
    const WATCHERS: u64 = 10_000;
    let hub = WatchHub::new(Revision(1));
    let (mut one, mut many) = (hub.open(), hub.open());
    assert!(one.attach(1, &key("a"), Revision(2)));
    for watcher in 1..=WATCHERS {
        assert!(many.attach(watcher, &key("a"), Revision(2)));
    }
    for revision in 2..=100 {
        publish(&hub, "a", revision);
    }
    let queued = |stream: &Subscription| stream.queued_bytes();
    assert_eq!(queued(&many), queued(&one));
    let delivery = many.try_next().expect("told");
    assert_eq!(many.watchers_of(&delivery), Vec::from_iter(1..=WATCHERS));
    many.detach(7);
    assert!(!many.watchers_of(&delivery).contains(&7));
    drop((one, many));
    assert_eq!(hub.state.lock().queued_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn what_waits_for_all_streams_is_bounded_and_a_stream_that_reads_is_still_told() {
    let hub = WatchHub::new(Revision(1));
    let mut slow: Vec<_> = (0..40)
        .map(|number| {
            let mut stream = hub.open();
            let own = KeyRange::single(format!("slow-{number}").into());
            assert!(stream.attach(1, &own, Revision(2)));
            stream
        })
        .collect();
    let mut reading = hub.open();
    assert!(reading.attach(1, &key("a"), Revision(2)));
    let mut revision = 1;
    for _ in 0..QUEUE_BYTES_MAX / (1 << 20) {
        for number in 0..slow.len() {
            revision += 1;
            let mut large = event("", revision);
            large.kv.key = format!("slow-{number}").into();
            large.kv.value = vec![0; 1 << 20].into();
            hub.publish(Revision(revision), vec![large]);
        }
    }
    let waiting = hub.state.lock().queued_bytes.load(Ordering::Relaxed);
    assert!(waiting <= QUEUES_BYTES_MAX, "{waiting} bytes wait");
    assert!(slow.iter().any(Subscription::has_lost));
    for _ in 0..10 {
        revision += 1;
        publish(&hub, "a", revision);
    }
    assert!(!reading.has_lost());
    assert_eq!(revisions(&mut reading).len(), 10);
    slow.clear();
    assert_eq!(hub.state.lock().queued_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_stream_of_many_ranges_is_closed_step_by_step_and_leaves_nothing() {
    let hub = WatchHub::new(Revision(1));
    let mut stream = hub.open();
    for number in 0..20_000 {
        let own = KeyRange::single(format!("key-{number}").into());
        assert!(stream.attach(number, &own, Revision(2)));
    }
    drop(stream);
    // No delivery is made from now on, and the groups are removed in steps that yield to other
    // tasks.
    publish(&hub, "key-19999", 2);
    let mut turns = 0;
    while !hub.state.lock().index.is_empty() {
        turns += 1;
        assert!(turns < 1000, "the ranges stay");
        tokio::task::yield_now().await;
    }
    assert!(turns > 10, "all at once");
}
