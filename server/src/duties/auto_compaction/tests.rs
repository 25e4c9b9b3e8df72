//! Tests of the compactor against a fake node, on the runtime's paused clock.

use tenure_statemachine::{MemberId, Put};
use tokio::time::{Instant, Interval, interval_at};

use super::*;
use crate::{
    clock::RuntimeClock,
    node::ProposeError,
    rpc::fake::{FakeNode, MEMBER},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const OTHER: MemberId = MemberId(0xb2);

/// A node with a compactor, and a record of its writes and compactions.
struct Bench {
    node: Arc<FakeNode>,
    began: Instant,
    /// Ticks in the middle of each second: compactions run between the ticks.
    middles: Interval,
    /// Time and revision of every write.
    written: Vec<(Duration, Revision)>,
    /// Every floor, with the time at which it was seen, at most a second late.
    floors: Vec<(Duration, Revision)>,
}

impl Bench {
    fn start(setting: AutoCompaction) -> Self {
        let node = FakeNode::leading();
        let replica: Arc<dyn Replica> = Arc::clone(&node) as _;
        spawn(replica, RuntimeClock::shared(), setting).expect("a setting that compacts");
        let began = Instant::now();
        Self {
            node,
            began,
            middles: interval_at(began + SECOND / 2, SECOND),
            written: vec![],
            floors: vec![],
        }
    }

    /// Advances the time to `end` after the start, with a write in the middle of each second.
    async fn write_until(&mut self, end: Duration) {
        self.pass(end, true).await;
    }

    /// Advances the time to `end` after the start, without writes.
    async fn rest_until(&mut self, end: Duration) {
        self.pass(end, false).await;
    }

    async fn pass(&mut self, end: Duration, write: bool) {
        while self.began.elapsed() + SECOND <= end {
            self.middles.tick().await;
            let (now, floor) = (self.began.elapsed(), self.floor());
            if self.floors.last().map_or(Revision(-1), |seen| seen.1) != floor {
                self.floors.push((now, floor));
            }
            if write {
                let put = Put {
                    key: "k".into(),
                    value: "v".into(),
                    ..Put::default()
                };
                let outcome = self.node.apply(&Command::Put(put));
                self.written.push((now, outcome.revision));
            }
        }
    }

    fn floor(&self) -> Revision {
        let engine = self.node.engine();
        Reader::new(engine.as_ref()).expect("readable").meta().floor
    }

    /// The latest revision at that time.
    fn latest_at(&self, when: Duration) -> Revision {
        let before = self.written.iter().take_while(|(at, _)| *at <= when);
        before
            .last()
            .map_or(Revision::EMPTY, |(_, revision)| *revision)
    }

    /// The revisions of all proposed compactions.
    fn proposed(&self) -> Vec<i64> {
        let proposals = self.node.proposals.lock();
        let revision = |command: &Command| match command {
            Command::Compact(revision) => revision.0,
            other => panic!("proposed something else: {other:?}"),
        };
        proposals.iter().map(revision).collect()
    }

    /// Asserts that each move of the floor kept `retention`, and at most two tenths more.
    fn assert_kept(&self, retention: Duration) {
        for &(when, floor) in &self.floors {
            let youngest = self.latest_at(when.saturating_sub(retention));
            let oldest = self.latest_at(when.saturating_sub(retention + retention / 5));
            assert!(
                floor <= youngest,
                "at {when:?}: {floor} is younger than {youngest}"
            );
            assert!(
                floor >= oldest,
                "at {when:?}: {floor} is older than {oldest}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn by_age_the_retention_stays_readable_and_little_more() {
    let retention = MINUTE * 10;
    let mut bench = Bench::start(AutoCompaction::Periodic(retention));
    bench.write_until(retention - SECOND).await;
    assert_eq!(bench.proposed(), [] as [i64; 0]);
    bench.write_until(MINUTE * 35).await;
    assert_eq!(bench.floors.len(), 3, "{:?}", bench.floors);
    bench.assert_kept(retention);
}

#[tokio::test(start_paused = true)]
async fn by_age_a_long_retention_is_compacted_every_hour() {
    let retention = MINUTE * 150;
    let mut bench = Bench::start(AutoCompaction::Periodic(retention));
    bench.write_until(MINUTE * 149).await;
    assert_eq!(bench.floors, []);
    bench.write_until(MINUTE * 280).await;
    assert_eq!(bench.floors.len(), 3, "{:?}", bench.floors);
    bench.assert_kept(retention);
}

#[tokio::test(start_paused = true)]
async fn by_count_so_many_revisions_stay_readable() {
    let mut bench = Bench::start(AutoCompaction::Revision(100));
    bench.write_until(MINUTE * 16).await;
    assert_eq!(bench.proposed(), [201, 501, 801]);
    assert_eq!(bench.floor(), Revision(801));
}

#[tokio::test(start_paused = true)]
async fn by_count_nothing_is_proposed_before_there_are_that_many() {
    let mut bench = Bench::start(AutoCompaction::Revision(400));
    bench.write_until(MINUTE * 6).await;
    assert_eq!(bench.proposed(), [] as [i64; 0]);
    bench.write_until(MINUTE * 11).await;
    assert_eq!(bench.proposed(), [201]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_store_is_compacted_once() {
    for setting in [
        AutoCompaction::Revision(100),
        AutoCompaction::Periodic(MINUTE * 5),
    ] {
        let mut bench = Bench::start(setting);
        bench.write_until(MINUTE * 4).await;
        bench.rest_until(MINUTE * 20).await;
        let before = bench.proposed();
        assert!(!before.is_empty(), "{setting:?}");
        bench.rest_until(MINUTE * 60).await;
        assert_eq!(bench.proposed(), before, "{setting:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_proposes_nothing_and_knows_what_is_old_when_it_leads() {
    let retention = MINUTE * 10;
    let mut bench = Bench::start(AutoCompaction::Periodic(retention));
    bench.node.set_leader(Some(OTHER));
    bench.write_until(MINUTE * 30).await;
    assert_eq!(bench.proposed(), [] as [i64; 0]);
    bench.node.set_leader(Some(MEMBER));
    bench.write_until(MINUTE * 32).await;
    assert_eq!(bench.floors.len(), 1, "{:?}", bench.floors);
    bench.assert_kept(retention);
}

#[tokio::test(start_paused = true)]
async fn by_count_a_follower_proposes_nothing() {
    let mut bench = Bench::start(AutoCompaction::Revision(100));
    bench.node.set_leader(Some(OTHER));
    bench.write_until(MINUTE * 16).await;
    assert_eq!(bench.proposed(), [] as [i64; 0]);
}

#[tokio::test(start_paused = true)]
async fn by_age_a_failed_compaction_is_tried_again_after_a_sample() {
    let retention = MINUTE * 10;
    let mut bench = Bench::start(AutoCompaction::Periodic(retention));
    *bench.node.propose_error.lock() = Some(ProposeError::TimedOut);
    bench.write_until(MINUTE * 12 + SECOND * 30).await;
    assert_eq!(bench.proposed().len(), 3);
    assert_eq!(bench.floor(), Revision(-1));
    *bench.node.propose_error.lock() = None;
    bench.write_until(MINUTE * 14).await;
    assert_eq!(bench.floors.len(), 1, "{:?}", bench.floors);
    bench.assert_kept(retention);
}

#[tokio::test(start_paused = true)]
async fn by_count_a_failed_compaction_is_tried_again() {
    let mut bench = Bench::start(AutoCompaction::Revision(100));
    *bench.node.propose_error.lock() = Some(ProposeError::TimedOut);
    bench.write_until(MINUTE * 5).await;
    bench.rest_until(MINUTE * 6).await;
    assert_eq!(bench.proposed(), [201]);
    *bench.node.propose_error.lock() = None;
    bench.rest_until(MINUTE * 11).await;
    assert_eq!(bench.proposed(), [201, 201]);
    assert_eq!(bench.floor(), Revision(201));
}

#[tokio::test(start_paused = true)]
async fn a_compaction_that_someone_made_before_is_not_tried_again() {
    let mut bench = Bench::start(AutoCompaction::Revision(100));
    bench.write_until(MINUTE * 4).await;
    let latest = bench.latest_at(MINUTE * 4);
    bench.node.apply(&Command::Compact(latest));
    bench.rest_until(MINUTE * 21).await;
    assert_eq!(bench.proposed(), [latest.0 - 100]);
    assert_eq!(bench.floor(), latest);
}

#[tokio::test]
async fn nothing_is_started_when_nothing_is_to_be_compacted() {
    let replica: Arc<dyn Replica> = FakeNode::leading();
    assert!(spawn(replica, RuntimeClock::shared(), AutoCompaction::Off).is_none());
}
