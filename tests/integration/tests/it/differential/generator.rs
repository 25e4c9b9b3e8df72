//! Random requests from a seed: few keys, so that they meet; revisions near the present and the
//! floor; mostly valid, so that state builds up, and always a few that are not.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tenure_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseKeepAliveRequest, LeaseLeasesRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, compare::TargetUnion,
};
use tonic::codegen::Bytes;

use super::{
    ask::Question,
    requests::{compact, grant, op, revoke, time_to_live, txn},
};

/// So few that the same are hit again and again; with a prefix among them, and bytes that are no
/// text. At most twelve: etcd sorts more than that with ties in an order of its own.
const KEYS: [&[u8]; 10] = [
    b"\0", b"a", b"a\0", b"a/1", b"a/2", b"a0", b"b", b"b\xff", b"c", b"\xff",
];
const ENDS: [&[u8]; 8] = [
    b"",
    b"",
    b"\0",
    b"a0",
    b"b",
    b"b\xff\0",
    b"\xff",
    b"\xff\xff",
];
const VALUES: [&[u8]; 6] = [b"", b"0", b"1", b"10", b"two", b"\0\xff"];
/// Leases that may exist. The others never do.
const LEASES: std::ops::RangeInclusive<i64> = 1..=5;
/// Seconds by which the TTLs of two leases differ: far more than a test takes, so that they end in
/// one order at every server, and none does during a test.
const TTL_STEP_S: i64 = 10_000;
/// Transactions within transactions.
const DEPTH_MAX: usize = 2;

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    Ask(Question),
    /// The watchers must have been told everything before: afterwards etcd may no longer find what
    /// a key was.
    Compact(CompactionRequest),
    Watch(WatchCreateRequest),
    EndWatch(usize),
}

/// Makes requests; everything about them follows from the seed and the answers.
#[derive(Debug)]
pub(super) struct Generator {
    random: StdRng,
    /// The latest revision, as far as answers told.
    pub(super) revision: i64,
    /// The revision of the last compaction.
    pub(super) floor: i64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            revision: 1,
            floor: 0,
        }
    }

    pub(super) fn step(&mut self) -> Step {
        Step::Ask(match self.random.random_range(0..100) {
            0..25 => Question::of(&self.put()),
            25..33 => Question::of(&self.delete()),
            33..55 => Question::of(&self.txn(DEPTH_MAX)),
            55..75 => Question::of(&self.range()),
            75..79 => Question::of(&self.grant()),
            79..82 => Question::of(&revoke(self.lease())),
            82..84 => Question::of(&time_to_live(self.lease())),
            84..85 => Question::of(&LeaseLeasesRequest {}),
            85..86 => Question::of(&LeaseKeepAliveRequest { id: self.lease() }),
            86..92 => Question::of(&HashKvRequest {
                revision: self.some_revision(),
            }),
            92..94 => return Step::Compact(compact(self.some_revision())),
            94..97 => return Step::Watch(self.watch()),
            _ => return Step::EndWatch(self.random.random_range(0..100)),
        })
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.random_ratio(1, count)
    }

    fn pick(&mut self, from: &[&'static [u8]]) -> Bytes {
        let picked = from.choose(&mut self.random);
        Bytes::from_static(picked.expect("there is something to pick from"))
    }

    fn key(&mut self) -> Bytes {
        if self.one_in(200) {
            return Bytes::new();
        }
        self.pick(&KEYS)
    }

    /// A key that is nearly always there.
    fn lease(&mut self) -> i64 {
        let beyond = i64::from(self.one_in(20));
        self.random.random_range(LEASES) + beyond
    }

    /// Mostly none; else one between just below the floor and just above the present.
    fn some_revision(&mut self) -> i64 {
        if self.one_in(3) {
            return 0;
        }
        if self.one_in(50) {
            return -1;
        }
        self.random.random_range(self.floor - 1..=self.revision + 1)
    }

    fn grant(&mut self) -> LeaseGrantRequest {
        let id = self.random.random_range(LEASES);
        grant(id, id * TTL_STEP_S)
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.one_in(12);
        let ignore_lease = self.one_in(12);
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(20) {
                Bytes::new()
            } else {
                self.pick(&VALUES)
            },
            lease: if !self.one_in(4) || (ignore_lease && !self.one_in(20)) {
                0
            } else {
                self.lease()
            },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest {
            key: self.key(),
            range_end: if self.one_in(3) {
                self.pick(&ENDS)
            } else {
                Bytes::new()
            },
            prev_kv: self.one_in(2),
        }
    }

    fn range(&mut self) -> RangeRequest {
        let filter = |generator: &mut Self| {
            if generator.one_in(8) {
                generator.some_revision()
            } else {
                0
            }
        };
        let sorted = self.one_in(2);
        RangeRequest {
            key: self.key(),
            range_end: self.pick(&ENDS),
            limit: if self.one_in(2) {
                self.random.random_range(-1..=6)
            } else {
                0
            },
            revision: if self.one_in(2) {
                self.some_revision()
            } else {
                0
            },
            sort_order: if sorted {
                self.random.random_range(0..3)
            } else {
                0
            },
            sort_target: if sorted {
                self.random.random_range(0..5)
            } else {
                0
            },
            serializable: self.one_in(4),
            keys_only: self.one_in(6),
            count_only: self.one_in(8),
            min_mod_revision: filter(self),
            max_mod_revision: filter(self),
            min_create_revision: filter(self),
            max_create_revision: filter(self),
        }
    }

    fn txn(&mut self, depth: usize) -> TxnRequest {
        let compares = self.random.random_range(0..=2);
        let compare = (0..compares).map(|_| self.compare()).collect();
        txn(compare, self.operations(depth), self.operations(depth))
    }

    /// Mostly with different keys, because the same would be refused. Never with two transactions
    /// within, nor with deletes to the end of all keys: tenure refuses some of those that etcd
    /// takes.
    fn operations(&mut self, depth: usize) -> Vec<RequestOp> {
        let count = self.random.random_range(0..=4);
        let mut keys: Vec<_> = KEYS.choose_multiple(&mut self.random, count).collect();
        let clash = self.one_in(10);
        let mut depth = depth;
        let mut operations = Vec::with_capacity(keys.len());
        while let Some(key) = keys.pop() {
            let key = if clash {
                self.key()
            } else {
                Bytes::from_static(key)
            };
            operations.push(match self.random.random_range(0..10) {
                0..4 => op(PutRequest { key, ..self.put() }),
                4..6 => {
                    let delete = self.delete();
                    let bounded = clash && delete.range_end != b"\0"[..];
                    let range_end = if bounded {
                        delete.range_end
                    } else {
                        Bytes::new()
                    };
                    op(DeleteRangeRequest {
                        key,
                        range_end,
                        ..delete
                    })
                }
                6..9 => op(self.range()),
                _ if depth > 0 => {
                    let within = self.txn(depth - 1);
                    depth = 0;
                    op(within)
                }
                _ => RequestOp { request: None },
            });
        }
        operations
    }

    fn compare(&mut self) -> Compare {
        let target = self.random.random_range(0..5);
        let operand = match target {
            0 => TargetUnion::Version(self.random.random_range(-1..4)),
            1 => TargetUnion::CreateRevision(self.some_revision()),
            2 => TargetUnion::ModRevision(self.some_revision()),
            3 => TargetUnion::Value(self.pick(&VALUES)),
            _ => TargetUnion::Lease(if self.one_in(2) { 0 } else { self.lease() }),
        };
        Compare {
            result: self.random.random_range(0..4),
            target,
            key: self.key(),
            target_union: Some(operand).filter(|_| !self.one_in(10)),
            range_end: if self.one_in(4) {
                self.pick(&ENDS)
            } else {
                Bytes::new()
            },
        }
    }

    /// Never from the floor itself, because whether a deletion there is still told changed between
    /// releases of etcd, and never from a negative revision, which releases take differently.
    fn watch(&mut self) -> WatchCreateRequest {
        let start = self.some_revision().max(0);
        let mut filters = Vec::new();
        for filter in [0, 1] {
            if self.one_in(4) {
                filters.push(filter);
            }
        }
        WatchCreateRequest {
            key: self.key(),
            range_end: self.pick(&ENDS),
            start_revision: if start > 0 && start == self.floor {
                start + 1
            } else {
                start
            },
            filters,
            prev_kv: self.one_in(2),
            ..WatchCreateRequest::default()
        }
    }
}
