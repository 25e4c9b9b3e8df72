//! For all sequences of what may happen to claims: who holds and who waits is what plain lists say;
//! tokens ascend; and neither batches, reopening nor late timers let anybody hold who must not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod counting;
mod claims {
    mod broken;
    mod cost;
    pub(crate) mod model;
    mod moves;
}

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use claims::model::{Ask, Denied, Model, Place};
use proptest::{collection::vec, option, prelude::*, sample::select};
use tenure_statemachine::{
    Acquire, ClaimCommand, ClaimState, ClusterTime, Command, Context, DeleteRange, Engine,
    ForceRelease, HandOver, KeyRange, LeaseExpiry, LeaseGrant, LeaseId, MemEngine, Mode, Outcome,
    Proclaim, Put, Reader, Refusal, Release, Reply, Revision, Signal, StateMachine, Transfer, Ttl,
    Txn, TxnOp, Wait, Will, WillSet, Withdraw, digest, invariants,
};

/// Short, so that it is over before many others.
const TTL: Ttl = Ttl(50);

/// One step; few names and leases, so that steps meet each other.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Wake,
    Grant(i64),
    Acquire(Ask),
    Release(u8, i64),
    Withdraw(u8, i64),
    Force(u8, Option<i64>),
    Transfer(u8, i64, i64),
    HandOver(u8, i64, i64),
    Proclaim(u8, i64),
    Put(u8, i64, i64),
    Delete(u8, Vec<i64>),
    Expire(i64),
    Revoke(i64),
    /// The lease, the name of the claim it goes with, and what it deletes and puts.
    Will(i64, Option<u8>, (u8, i64), (u8, i64)),
}

fn name() -> impl Strategy<Value = u8> {
    select(b"abc")
}

fn lease() -> impl Strategy<Value = i64> {
    1_i64..7
}

fn mode() -> impl Strategy<Value = Mode> {
    let permits = (1_u32..4, 3_u32..5).prop_map(|(count, limit)| Mode::Permits {
        count,
        limit: if limit == 4 { 4 } else { 3 },
    });
    prop_oneof![4 => Just(Mode::Exclusive), 4 => Just(Mode::Shared), 3 => permits]
}

fn ask() -> impl Strategy<Value = Ask> {
    let names = prop_oneof![
        4 => name().prop_map(|name| vec![name]),
        1 => select(vec![b"ab".to_vec(), b"bc".to_vec(), b"ac".to_vec(), b"abc".to_vec()]),
    ];
    let wait = prop_oneof![
        1 => Just(None),
        3 => Just(Some(0)),
        2 => (1..40_u64).prop_map(Some),
    ];
    let delay = prop_oneof![3 => Just(0), 1 => 1..30_u64];
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (names, lease(), mode(), wait, delay, flags).prop_map(
        |(names, lease, mode, wait, delay, (grant, rejoin))| Ask {
            names,
            lease,
            grant,
            mode,
            wait,
            delay,
            rejoin,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => lease().prop_map(Step::Grant),
        14 => ask().prop_map(Step::Acquire),
        3 => (name(), lease()).prop_map(|(name, lease)| Step::Release(name, lease)),
        3 => (name(), lease()).prop_map(|(name, lease)| Step::Withdraw(name, lease)),
        1 => (name(), option::of(lease())).prop_map(|(name, lease)| Step::Force(name, lease)),
        2 => (name(), lease(), lease()).prop_map(|(name, from, to)| Step::Transfer(name, from, to)),
        4 => (name(), lease(), lease()).prop_map(|(name, from, to)| Step::HandOver(name, from, to)),
        1 => (name(), lease()).prop_map(|(name, lease)| Step::Proclaim(name, lease)),
        1 => (name(), lease()).prop_map(|(name, lease)| Step::Put(name, lease, lease)),
        1 => (name(), lease(), 0_i64..7).prop_map(|(name, lease, to)| Step::Put(name, lease, to)),
        1 => (name(), vec(lease(), 1..4)).prop_map(|(name, leases)| Step::Delete(name, leases)),
        1 => lease().prop_map(Step::Expire),
        1 => lease().prop_map(Step::Revoke),
        2 => (0..25_u64).prop_map(Step::Pass),
    ]
}

/// As [`step`], with timers that run late and wills.
fn wild_step() -> impl Strategy<Value = Step> {
    let key = || (name(), lease());
    prop_oneof![
        10 => step(),
        1 => Just(Step::Wake),
        1 => (lease(), option::of(name()), key(), key())
            .prop_map(|(lease, lock, gone, put)| Step::Will(lease, lock, gone, put)),
    ]
}

fn steps<S: Strategy<Value = Step>>(one: fn() -> S) -> impl Strategy<Value = Vec<Step>> {
    vec(one(), 1..60).prop_map(|mut steps| {
        // Most leases are there from the beginning.
        steps.splice(0..0, (1..5).map(Step::Grant));
        steps
    })
}

fn name_bytes(name: u8) -> Bytes {
    Bytes::from(vec![name])
}

fn key(name: u8, lease: i64) -> Bytes {
    Bytes::from(format!("{}/{lease:x}", char::from(name)))
}

struct Node {
    engine: Arc<MemEngine>,
    machine: StateMachine,
    now: u64,
    /// Everything applied, to be applied again in another way.
    log: Vec<(u64, Command)>,
    outcomes: Vec<Outcome>,
    /// The greatest token granted so far, by name.
    granted: BTreeMap<Bytes, Revision>,
    /// Until when a claim may be granted, by key.
    limits: BTreeMap<Bytes, u64>,
}

impl Node {
    fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        Self {
            engine,
            machine,
            now: 1000,
            log: Vec::new(),
            outcomes: Vec::new(),
            granted: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }

    fn apply(&mut self, command: Command) -> Result<Reply, Refusal> {
        let context = Context {
            index: self.log.len() as u64 + 1,
            term: 1,
            now: ClusterTime(self.now),
        };
        let mut batch = self.machine.begin();
        let outcome = batch.apply(&context, &command).unwrap();
        batch.commit().unwrap();
        invariants::check(&*self.engine).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.watch(&outcome.signals);
        self.log.push((self.now, command));
        let reply = outcome.reply.clone();
        self.outcomes.push(outcome);
        reply
    }

    /// Tokens that are granted ascend, and nobody is granted too late.
    fn watch(&mut self, signals: &[Signal]) {
        for signal in signals {
            match signal {
                Signal::Granted(claim) => {
                    let before = self.granted.insert(claim.name.clone(), claim.token);
                    assert!(
                        before.is_none_or(|before| before < claim.token),
                        "{claim:?}"
                    );
                    let limit = self.limits.remove(&claim.key);
                    assert!(limit.is_none_or(|limit| self.now < limit), "{claim:?}");
                    assert!(claim.held);
                }
                Signal::Ended(claim, _) => {
                    self.limits.remove(&claim.key);
                }
                Signal::Forced(why) => assert_eq!(why, "stuck"),
                Signal::Requeued(claim, before) => {
                    assert!(!claim.held && claim.token > *before, "{claim:?}");
                }
            }
        }
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(&*self.engine).unwrap()
    }

    /// The token of the claim of a lease; one that nobody has when there is none.
    fn token(&self, name: u8, lease: i64) -> Revision {
        let claim = self.reader().claim_of(&[name], LeaseId(lease)).unwrap();
        claim.map_or(Revision(7_000_000), |claim| claim.token)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    fn command(&self, step: &Step) -> Command {
        let claim = match step {
            Step::Pass(_) | Step::Wake => return Command::Wake,
            Step::Grant(lease) => {
                let id = LeaseId(*lease);
                return Command::LeaseGrant(LeaseGrant { id, ttl: TTL });
            }
            Step::Expire(lease) => {
                let found = self.reader().lease(LeaseId(*lease)).unwrap();
                let generation = found.map_or(0, |lease| lease.generation);
                let id = LeaseId(*lease);
                let term = 1;
                return Command::LeaseExpire(vec![LeaseExpiry {
                    id,
                    generation,
                    term,
                }]);
            }
            Step::Revoke(lease) => return Command::LeaseRevoke(LeaseId(*lease)),
            Step::Put(name, lease, attached) => return Command::Put(put(*name, *lease, *attached)),
            Step::Delete(name, leases) => return delete(*name, leases),
            Step::Will(lease, lock, (gone, of), (made, by)) => {
                let txn = Txn {
                    success: vec![
                        TxnOp::DeleteRange(DeleteRange {
                            range: KeyRange::single(key(*gone, *of)),
                            want_previous: false,
                        }),
                        TxnOp::Put(put(*made, *by, *by)),
                    ],
                    ..Txn::default()
                };
                return Command::WillSet(WillSet {
                    lease: LeaseId(*lease),
                    lock: lock.map(name_bytes),
                    will: Some(Will {
                        guards: Vec::new(),
                        txn,
                    }),
                });
            }
            Step::Acquire(ask) => ClaimCommand::Acquire(acquire(ask)),
            Step::Release(name, lease) => ClaimCommand::Release(Release {
                name: name_bytes(*name),
                token: self.token(*name, *lease),
            }),
            Step::Withdraw(name, lease) => ClaimCommand::Withdraw(Withdraw {
                name: name_bytes(*name),
                lease: LeaseId(*lease),
                call: 0,
            }),
            Step::Force(name, lease) => ClaimCommand::ForceRelease(ForceRelease {
                name: name_bytes(*name),
                token: lease.map_or(Revision(0), |lease| self.token(*name, lease)),
                why: "stuck".to_owned(),
            }),
            Step::Transfer(name, from, to) => ClaimCommand::Transfer(Transfer {
                name: name_bytes(*name),
                token: self.token(*name, *from),
                to: LeaseId(*to),
                principal: String::new(),
            }),
            Step::HandOver(name, from, to) => ClaimCommand::HandOver(HandOver {
                name: name_bytes(*name),
                token: self.token(*name, *from),
                to: LeaseId(*to),
            }),
            Step::Proclaim(name, lease) => ClaimCommand::Proclaim(Proclaim {
                name: name_bytes(*name),
                token: self.token(*name, *lease),
                value: Bytes::from_static(b"new"),
            }),
        };
        Command::Claim(claim)
    }

    fn run(&mut self, step: &Step) -> Result<Reply, Refusal> {
        if let Step::Pass(time) = step {
            self.now += time;
        }
        let command = self.command(step);
        let reply = self.apply(command);
        if let (Step::Acquire(ask), Ok(Reply::Acquire(made))) = (step, &reply) {
            let waits = made
                .claims
                .iter()
                .filter(|claim| !claim.held && !ask.rejoin);
            let limit = ask.wait.filter(|wait| *wait > 0);
            if let Some(limit) = limit {
                let now = self.now;
                self.limits
                    .extend(waits.map(|claim| (claim.key.clone(), now + limit)));
            }
        }
        reply
    }
}

fn put(name: u8, lease: i64, attached: i64) -> Put {
    Put {
        key: key(name, lease),
        value: Bytes::from_static(b"plain"),
        lease: LeaseId(attached),
        ..Put::default()
    }
}

fn delete(name: u8, leases: &[i64]) -> Command {
    let delete = |lease: &i64| {
        TxnOp::DeleteRange(DeleteRange {
            range: KeyRange::single(key(name, *lease)),
            want_previous: false,
        })
    };
    Command::Txn(Txn {
        success: leases.iter().map(delete).collect(),
        ..Txn::default()
    })
}

fn acquire(ask: &Ask) -> Acquire {
    Acquire {
        names: ask.names.iter().copied().map(name_bytes).collect(),
        mode: ask.mode,
        lease: LeaseId(ask.lease),
        grant: ask.grant.then_some(TTL),
        wait: match ask.wait {
            None => Wait::Never,
            Some(0) => Wait::Always,
            Some(wait) => Wait::Within(Ttl(wait)),
        },
        lock_delay: Ttl(ask.delay),
        principal: String::new(),
        value: Bytes::from_static(b"mine"),
        rejoin: ask.rejoin,
        call: 0,
    }
}

fn denied(refusal: &Refusal) -> String {
    let words = format!("{refusal:?}");
    let end = words.find(|c: char| !c.is_alphanumeric());
    words[..end.unwrap_or(words.len())].to_owned()
}

/// What the model makes of a step: `Some` when it knows what the answer is about.
fn predict(model: &mut Model, step: &Step, now: u64) -> Result<Option<bool>, Denied> {
    match step {
        Step::Pass(_) | Step::Wake => model.wake(now),
        Step::Grant(lease) => model.grant(*lease)?,
        Step::Acquire(ask) => return model.acquire(ask),
        Step::Release(name, lease) => model.release(*name, *lease)?,
        Step::Withdraw(name, lease) => return Ok(Some(model.withdraw(*name, *lease))),
        Step::Force(name, lease) => model.force(*name, *lease)?,
        Step::Transfer(name, from, to) => model.transfer(*name, *from, *to)?,
        Step::HandOver(name, from, to) => model.hand_over(*name, *from, *to)?,
        Step::Proclaim(name, lease) => {
            let queue = model.queues.get(name).into_iter().flatten();
            let mut holders = queue.filter(|place| place.held);
            if !holders.any(|place| place.lease == *lease) {
                return Err("NotHolder");
            }
        }
        Step::Put(name, lease, attached) => model.put(*name, *lease, *attached)?,
        Step::Delete(name, leases) => model.delete(*name, leases),
        Step::Revoke(lease) => {
            if !model.end(*lease, false) {
                return Err("LeaseNotFound");
            }
        }
        Step::Expire(_) | Step::Will(..) => unreachable!("not for the model"),
    }
    Ok(None)
}

fn check_answer(expected: Result<Option<bool>, Denied>, got: &Result<Reply, Refusal>, step: &Step) {
    match (expected, got) {
        (Err(expected), Err(refusal)) => assert_eq!(denied(refusal), expected, "{step:?}"),
        (Ok(expected), Ok(Reply::Acquire(reply))) => {
            let held =
                (!reply.claims.is_empty()).then(|| reply.claims.iter().all(|claim| claim.held));
            assert_eq!(held, expected, "{step:?}");
            assert!(held != Some(true) || reply.blocker.is_none(), "{step:?}");
        }
        (Ok(expected), Ok(Reply::Withdraw(found))) => assert_eq!(Some(*found), expected),
        (Ok(_), Ok(Reply::Claim(claim))) => assert!(claim.held, "{step:?}"),
        (Ok(_), Ok(_)) => {}
        (expected, got) => panic!("{step:?}: {expected:?}, got {got:?}"),
    }
}

/// The queue of every name, as the model and as the machine has it.
fn check_queues(node: &Node, model: &Model) {
    let reader = node.reader();
    for name in *b"abc" {
        let queue = reader.queue(&[name], usize::MAX).unwrap();
        let claims: Vec<&ClaimState> = queue.holders.iter().chain(&queue.waiters).collect();
        let places = model.queues.get(&name).cloned().unwrap_or_default();
        let seen = |claim: &&ClaimState| (claim.lease.0, claim.mode, claim.held);
        let expected = |place: &Place| (place.lease, place.mode, place.held);
        assert_eq!(
            claims.iter().map(seen).collect::<Vec<_>>(),
            places.iter().map(expected).collect::<Vec<_>>(),
        );
        assert!(claims.is_sorted_by(|a, b| a.token < b.token), "{claims:?}");
        let delay = model.delays.get(&name).copied();
        assert_eq!(queue.delay_until.map(|until| until.0), delay);
        assert_eq!(queue.waiting as usize, queue.waiters.len());
        for (position, claim) in claims.iter().enumerate() {
            let position = if claim.held { 0 } else { position };
            assert_eq!(claim.position as usize, position, "{claim:?}");
            let same = reader.claim(&[name], claim.token).unwrap();
            assert_eq!(same.as_ref(), Some(*claim));
            assert_eq!(reader.claim_of(&[name], claim.lease).unwrap(), same);
            let of_lease = reader.claims_of_lease(claim.lease).unwrap();
            assert!(of_lease.contains(claim));
        }
        assert_eq!(
            reader.holder(&[name]).unwrap().as_ref(),
            queue.holders.first()
        );
    }
    let (named, more) = reader.claimed_names(b"", usize::MAX).unwrap();
    let named: Vec<u8> = named.iter().map(|claim| claim.name[0]).collect();
    assert_eq!(named, model.queues.keys().copied().collect::<Vec<_>>());
    assert!(!more);
}

proptest! {
    #[test]
    fn queues_are_what_plain_lists_say(steps in steps(step)) {
        let mut node = Node::new();
        let mut model = Model { now: node.now, ..Model::default() };
        for step in &steps {
            if let Step::Expire(lease) = step {
                // The lease is due; everything else that falls due with it is done first.
                let pass = Step::Pass(TTL.0);
                node.run(&pass).unwrap();
                predict(&mut model, &pass, node.now).unwrap();
                node.run(step).unwrap();
                model.end(*lease, true);
            } else {
                let got = node.run(step);
                let expected = predict(&mut model, step, node.now);
                check_answer(expected, &got, step);
            }
            check_queues(&node, &model);
        }
    }

    #[test]
    fn whatever_happens_nobody_holds_who_must_not(steps in steps(wild_step)) {
        let mut node = Node::new();
        for step in &steps {
            // Time passes, and the timers run only when they are told to.
            if let Step::Pass(time) = step {
                node.now += time;
            } else {
                _ = node.run(step);
            }
        }
    }

    #[test]
    fn neither_batches_nor_reopening_matter(
        steps in steps(wild_step),
        split in 1_usize..20,
    ) {
        let mut node = Node::new();
        for step in &steps {
            if let Step::Pass(time) = step {
                node.now += time;
            } else {
                _ = node.run(step);
            }
        }
        let engine = Arc::new(MemEngine::new());
        let mut outcomes = Vec::new();
        let numbered: Vec<_> = node.log.iter().zip(1_u64..).collect();
        for part in numbered.chunks(split) {
            let mut machine = StateMachine::open(engine.clone()).unwrap();
            let mut batch = machine.begin();
            for ((now, command), index) in part {
                let context = Context { index: *index, term: 1, now: ClusterTime(*now) };
                outcomes.push(batch.apply(&context, command).unwrap());
            }
            batch.commit().unwrap();
        }
        prop_assert_eq!(&outcomes, &node.outcomes);
        let snapshot = engine.snapshot().unwrap();
        prop_assert_eq!(digest(snapshot.as_ref()).unwrap(), digest(&*node.engine).unwrap());
    }
}
