//! `HashKV` is etcd's, bit for bit: the numbers below are those etcd's own tests expect of the same
//! writes, hashes and compactions.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use tenure_statemachine::{
    Collector, Command, Context, DeleteRange, Engine, HashKv, KeyRange, MemEngine, Put, Reader,
    Revision, StateMachine, digest,
};

/// Revisions between compactions; a prime, so that nothing aligns.
const CYCLE: i64 = 71;
/// Writes made in cycles, and again in one go at the end.
const TOTAL: i64 = 1210;

struct Node {
    engine: Arc<MemEngine>,
    machine: StateMachine,
}

impl Node {
    fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        Self { engine, machine }
    }

    fn apply(&mut self, commands: &[Command]) {
        let index = self.machine.meta().applied_index + 1;
        let mut batch = self.machine.begin();
        for command in commands {
            let context = Context {
                index,
                ..Context::default()
            };
            batch.apply(&context, command).unwrap().reply.unwrap();
        }
        batch.commit().unwrap();
    }

    fn hash(&self, revision: i64) -> HashKv {
        Reader::new(&*self.engine)
            .unwrap()
            .hash_kv(Revision(revision))
            .unwrap()
    }

    /// Hashes, then compacts at what was hashed.
    fn hash_and_compact(&mut self, revision: i64) -> (u32, i64, i64) {
        let hash = self.hash(revision);
        self.apply(&[Command::Compact(hash.hash_revision)]);
        (hash.hash, hash.compact_revision.0, hash.hash_revision.0)
    }

    fn collect(&self) {
        let mut collector = Collector::new();
        while !collector.step(&*self.engine, 50).unwrap().done {}
    }
}

fn key(number: i64) -> &'static str {
    const NAMES: [&str; 7] = [
        "alice",
        "bob",
        "celine",
        "dominik",
        "eve",
        "frederica",
        "gorge",
    ];
    if number % (CYCLE * 2) == 30 {
        "zenek"
    } else if number % CYCLE == 30 {
        "xavery"
    } else {
        NAMES[usize::try_from(number % 7).unwrap()]
    }
}

fn put(number: i64) -> Command {
    let (key, value) = (key(number).into(), number.to_string().into());
    Command::Put(Put {
        key,
        value,
        ..Put::default()
    })
}

fn puts(first: i64, last: i64) -> Vec<Command> {
    (first..=last).map(put).collect()
}

fn expect(collect: bool, middle: bool, expected: &[(u32, i64, i64)]) {
    let mut node = Node::new();
    let mut got = Vec::new();
    let mut first = 0;
    while first < TOTAL {
        node.apply(&puts(first, first + CYCLE));
        got.push(node.hash_and_compact(if middle { first + CYCLE / 2 } else { 0 }));
        if collect {
            node.collect();
        }
        first += CYCLE;
    }
    node.apply(&puts(first, first + TOTAL));
    got.push(node.hash_and_compact(if middle { first + TOTAL / 2 } else { 0 }));
    assert_eq!(got, expected);
}

const IN_THE_MIDDLE: [(u32, i64, i64); 19] = [
    (4_082_599_214, -1, 35),
    (2_279_933_401, 35, 106),
    (3_284_231_217, 106, 177),
    (126_286_495, 177, 248),
    (900_108_730, 248, 319),
    (2_475_485_232, 319, 390),
    (1_226_296_507, 390, 461),
    (2_503_661_030, 461, 532),
    (4_155_130_747, 532, 603),
    (106_915_399, 603, 674),
    (406_914_006, 674, 745),
    (1_882_211_381, 745, 816),
    (806_177_088, 816, 887),
    (664_311_366, 887, 958),
    (1_496_914_449, 958, 1029),
    (2_434_525_091, 1029, 1100),
    (3_988_652_253, 1100, 1171),
    (1_122_462_288, 1171, 1242),
    (724_436_716, 1242, 1883),
];

const AT_THE_LATEST: [(u32, i64, i64); 19] = [
    (1_913_897_190, -1, 73),
    (224_860_069, 73, 145),
    (1_565_167_519, 145, 217),
    (1_566_261_620, 217, 289),
    (2_037_173_024, 289, 361),
    (691_659_396, 361, 433),
    (2_713_730_748, 433, 505),
    (3_919_322_507, 505, 577),
    (769_967_540, 577, 649),
    (2_909_194_793, 649, 721),
    (1_576_921_157, 721, 793),
    (4_067_701_532, 793, 865),
    (2_226_384_237, 865, 937),
    (2_923_408_134, 937, 1009),
    (2_680_329_256, 1009, 1081),
    (1_546_717_673, 1081, 1153),
    (2_713_657_846, 1153, 1225),
    (1_046_575_299, 1225, 1297),
    (2_017_735_779, 1297, 2508),
];

#[test]
fn hashes_at_past_revisions_equal_etcds() {
    expect(false, true, &IN_THE_MIDDLE);
}

#[test]
fn hashes_at_past_revisions_equal_etcds_after_collection() {
    expect(true, true, &IN_THE_MIDDLE);
}

#[test]
fn hashes_at_the_latest_revision_equal_etcds() {
    expect(false, false, &AT_THE_LATEST);
}

#[test]
fn hashes_at_the_latest_revision_equal_etcds_after_collection() {
    expect(true, false, &AT_THE_LATEST);
}

#[test]
fn collection_changes_no_hash_where_keys_were_deleted() {
    let mut node = Node::new();
    for number in 0..TOTAL {
        let key = KeyRange::single(key(number).into());
        node.apply(&[match number % 5 {
            3 => Command::DeleteRange(DeleteRange {
                range: key,
                want_previous: false,
            }),
            _ => put(number),
        }]);
    }
    // The third delete: a tombstone exactly at the floor.
    let latest = node.machine.meta().revision.0;
    for floor in [5, 6, latest / 2, latest - 1] {
        node.apply(&[Command::Compact(Revision(floor))]);
        let hashes = |node: &Node| (floor..=latest).map(|at| node.hash(at)).collect::<Vec<_>>();
        let (before, digest_before) = (hashes(&node), digest(&*node.engine).unwrap());
        node.collect();
        assert_eq!(hashes(&node), before);
        assert_eq!(digest(&*node.engine).unwrap(), digest_before);
    }
}

/// Puts and deletes, so that compaction has something of each kind to keep and to take away.
fn changes(total: i64) -> Node {
    let mut node = Node::new();
    for number in 0..total {
        let key = KeyRange::single(key(number).into());
        node.apply(&[match number % 5 {
            3 => Command::DeleteRange(DeleteRange {
                range: key,
                want_previous: false,
            }),
            _ => put(number),
        }]);
    }
    node
}

#[test]
fn the_hash_at_a_revision_stays_when_that_is_compacted_and_collected() {
    // The second compacts before the first is collected; of the third and fourth neither is.
    for collected in [
        [true, true, true],
        [false, true, false],
        [false, false, false],
    ] {
        let mut node = changes(200);
        let mut expected = Vec::new();
        for (floor, collect) in [40, 41, 120].into_iter().zip(collected) {
            let hash = node.hash(floor);
            node.apply(&[Command::Compact(Revision(floor))]);
            expected.push(hash);
            for hash in &expected {
                assert_eq!(node.hash(hash.hash_revision.0), *hash, "when compacted");
            }
            if collect {
                node.collect();
            }
            for hash in &expected {
                assert_eq!(node.hash(hash.hash_revision.0), *hash, "when collected");
            }
        }
        let (latest, floor) = (node.hash(0), node.machine.meta().floor);
        assert_eq!(
            latest.compact_revision, floor,
            "what is not compacted moves on"
        );
    }
}

#[test]
fn the_hashes_of_ten_compactions_are_kept() {
    let mut node = changes(200);
    for floor in 101..=111 {
        node.apply(&[Command::Compact(Revision(floor))]);
        node.collect();
    }
    let snapshot = node.engine.snapshot().unwrap();
    let reader = Reader::new(snapshot.as_ref()).unwrap();
    assert!(reader.hash_kv(Revision(100)).is_err(), "never compacted at");
    assert!(reader.hash_kv(Revision(101)).is_err(), "the eleventh last");
    assert_eq!(node.hash(102).compact_revision, Revision(101));
    assert_eq!(node.hash(111).compact_revision, Revision(110));
}

/// Regression: under full load, compactions came faster than history was hashed for each of them,
/// and nothing was deleted until the store had reached its quota.
#[test]
fn compactions_that_come_faster_than_they_are_hashed_do_not_keep_history_from_being_deleted() {
    const STEP: usize = 10;
    let mut node = changes(200);
    let mut collector = Collector::new();
    let (mut number, mut deleting) = (200, 0);
    for _ in 0..200 {
        // A fifth as many changes as a step visits, and a compaction of them.
        node.apply(&puts(number, number + 1));
        number += 2;
        let latest = node.machine.meta().revision;
        node.apply(&[Command::Compact(latest)]);
        let progress = collector.step(&*node.engine, STEP).unwrap();
        deleting += usize::from(progress.collected_bytes > 0);
    }
    assert!(deleting > 20, "{deleting} of 200 steps deleted something");
    node.collect();
    let floor = node.machine.meta().floor;
    assert_eq!(
        node.hash(floor.0).hash_revision,
        floor,
        "the newest is kept"
    );
}

#[test]
fn of_many_compactions_the_newest_alone_is_hashed_and_nothing_else_changes() {
    let (mut one, mut many) = (changes(200), changes(200));
    for floor in 101..=109 {
        many.apply(&[Command::Compact(Revision(floor))]);
    }
    one.apply(&[Command::Compact(Revision(108))]);
    one.collect();
    one.apply(&[Command::Compact(Revision(109))]);
    for node in [&one, &many] {
        node.collect();
    }
    assert_eq!(many.hash(109), one.hash(109));
    assert_eq!(many.hash(0), one.hash(0));
    let snapshot = many.engine.snapshot().unwrap();
    let reader = Reader::new(snapshot.as_ref()).unwrap();
    assert!(reader.hash_kv(Revision(108)).is_err(), "it was not hashed");
    assert_eq!(
        Collector::collected_bytes(&*many.engine).unwrap(),
        Collector::collected_bytes(&*one.engine).unwrap()
    );
}

#[test]
fn where_no_key_is_left_the_hash_counts_what_compaction_keeps() {
    let mut node = Node::new();
    node.apply(&[put(0), put(1)]);
    let all = KeyRange::from_wire("a".into(), "z".into());
    node.apply(&[Command::DeleteRange(DeleteRange {
        range: all,
        want_previous: false,
    })]);
    node.apply(&[Command::Compact(Revision(3))]);
    let before = node.hash(0);
    node.collect();
    assert_eq!(node.hash(0), before);
    let empty = crc32c::crc32c(b"key");
    assert_ne!(
        before.hash, empty,
        "two puts below the floor and a revision above it count"
    );
    node.apply(&[Command::Compact(Revision(4))]);
    assert_eq!(
        node.hash(0).hash,
        empty,
        "a tombstone exactly at the floor does not count"
    );
    node.collect();
    assert_eq!(node.hash(0).hash, empty);
}

#[test]
fn a_hash_below_the_floor_or_in_the_future_is_refused() {
    let mut node = Node::new();
    node.apply(&puts(0, 5));
    node.apply(&[Command::Compact(Revision(4))]);
    let snapshot = node.engine.snapshot().unwrap();
    let reader = Reader::new(snapshot.as_ref()).unwrap();
    assert!(reader.hash_kv(Revision(3)).is_err());
    assert!(reader.hash_kv(Revision(4)).is_ok());
    assert!(reader.hash_kv(Revision(7)).is_ok());
    assert!(reader.hash_kv(Revision(8)).is_err());
}
