//! For all command sequences: the machine agrees with the model, and its three laws hold.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod encoding;
mod model;
mod once;
mod remembered;
mod restore;
mod strategies;

use std::sync::Arc;

use bytes::Bytes;
use model::Model;
use proptest::{collection::vec, prelude::*};
use tenure_statemachine::{
    ClusterTime, Collector, Command, Context, Engine, Event, EventKind, Facts, KeyRange, MemEngine,
    Outcome, RangeQuery, ReadError, Reader, Refusal, Reply, Revision, RevisionEvents, StateMachine,
    TxnOpReply, digest, invariants,
};

type Stamped = Vec<(u64, Command)>;

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

    fn reopen(&mut self) {
        self.machine = StateMachine::open(self.engine.clone()).unwrap();
    }

    /// Applies the commands numbered `from..to` as one batch.
    fn apply(&mut self, commands: &Stamped, from: usize, to: usize) -> Vec<Outcome> {
        let mut batch = self.machine.begin();
        let mut outcomes = Vec::new();
        for (number, (now, command)) in commands.iter().enumerate().take(to).skip(from) {
            let context = Context {
                index: number as u64 + 1,
                term: 1,
                now: ClusterTime(*now),
            };
            outcomes.push(batch.apply(&context, command).unwrap());
        }
        batch.commit().unwrap();
        outcomes
    }

    fn apply_all(&mut self, commands: &Stamped) {
        self.apply(commands, 0, commands.len());
    }

    fn digest(&self) -> u64 {
        digest(&*self.engine).unwrap()
    }

    fn collect(&self, entries_max: usize) {
        let mut collector = Collector::new();
        while !collector.step(&*self.engine, entries_max).unwrap().done {}
    }
}

fn refusal<T>(result: Result<T, ReadError>) -> Result<T, Refusal> {
    result.map_err(|error| match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Fault(fault) => panic!("{fault}"),
    })
}

/// Everything a reader at or above the floor can be told.
#[derive(Debug, PartialEq)]
struct Everything {
    ranges: Vec<RangeReplyOrRefusal>,
    history: Vec<RevisionEvents>,
    hashes: Vec<Result<tenure_statemachine::HashKv, Refusal>>,
}

type RangeReplyOrRefusal = Result<tenure_statemachine::RangeReply, Refusal>;

fn everything(engine: &MemEngine) -> Everything {
    let snapshot = engine.snapshot().unwrap();
    let reader = Reader::new(snapshot.as_ref()).unwrap();
    let all = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let revisions = (0..=reader.meta().revision.0 + 1).map(Revision);
    let at = |revision| RangeQuery {
        revision,
        ..RangeQuery::latest(all.clone())
    };
    let (floor, latest) = (reader.meta().floor, reader.meta().revision);
    Everything {
        ranges: revisions
            .clone()
            .map(|revision| refusal(reader.range(&at(revision))))
            .collect(),
        history: refusal(reader.history(floor, latest, usize::MAX, usize::MAX)).unwrap(),
        hashes: revisions
            .map(|revision| refusal(reader.hash_kv(revision)))
            .collect(),
    }
}

/// As [`everything`], of a state that may be collected. Of compactions that came at once only the
/// newest is hashed, so a hash as of an earlier one may be gone; it is taken from `whole` then.
fn everything_collected(engine: &MemEngine, whole: &Everything) -> Everything {
    let mut found = everything(engine);
    let floor = Reader::new(engine).unwrap().meta().floor;
    for (number, hash) in found.hashes.iter_mut().enumerate() {
        let is_earlier = i64::try_from(number).unwrap() < floor.0;
        if is_earlier && *hash == Err(Refusal::Compacted { floor }) {
            *hash = whole.hashes[number].clone();
        }
    }
    found
}

/// The model's events, as a reader above its floor is told them.
fn model_history(model: &Model, from: i64) -> Vec<RevisionEvents> {
    let revisions = model.events.range(from..);
    let events = revisions.map(|(revision, events)| {
        let mut events = events.clone();
        if *revision <= model.floor {
            events.iter_mut().for_each(|event| event.previous = None);
        }
        RevisionEvents {
            revision: Revision(*revision),
            events,
        }
    });
    events.collect()
}

/// What was done, by what was answered and told.
fn facts_of(reply: &Result<Reply, Refusal>, events: &[Event]) -> Facts {
    let of_kind = |kind| events.iter().filter(|event| event.kind == kind).count() as u64;
    let mut facts = Facts {
        keys_put: of_kind(EventKind::Put),
        keys_deleted: of_kind(EventKind::Delete),
        ..Facts::default()
    };
    match reply {
        Ok(Reply::LeaseGrant(id, _)) => facts.leases_granted.push(*id),
        Ok(Reply::LeaseRevoke) => facts.leases_revoked = 1,
        _ => {}
    }
    facts
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        // A failure worth keeping becomes a named test.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_agrees_with_the_model(
        commands in strategies::commands(40),
        queries in vec(strategies::query(), 20),
        split in 1_usize..8,
    ) {
        let (mut node, mut model) = (Node::new(), Model::new());
        for from in (0..commands.len()).step_by(split) {
            let to = (from + split).min(commands.len());
            let outcomes = node.apply(&commands, from, to);
            for ((now, command), outcome) in commands[from..to].iter().zip(outcomes) {
                let (reply, revision, events) = model.apply(*now, command);
                let signals = Vec::new();
                let facts = facts_of(&reply, &events);
                let expected = Outcome { reply, revision, events, signals, facts };
                prop_assert_eq!(outcome, expected, "{:?}", command);
            }
            let reader = Reader::new(&*node.engine).unwrap();
            for query in &queries {
                prop_assert_eq!(refusal(reader.range(query)), model.range(query), "{:?}", query);
            }
        }
        let reader = Reader::new(&*node.engine).unwrap();
        let floor = reader.meta().floor;
        let told = refusal(reader.history(floor, Revision(i64::MAX), 1000, 1 << 20)).unwrap();
        prop_assert_eq!(told, model_history(&model, model.floor));
        let leases: Vec<_> = reader.leases().unwrap().iter()
            .map(|lease| (lease.id.0, lease.ttl.0, lease.deadline.0, lease.generation)).collect();
        let expected: Vec<_> = model.leases.iter()
            .map(|(id, lease)| (*id, lease.ttl, lease.deadline, lease.generation)).collect();
        prop_assert_eq!(leases, expected);
        prop_assert_eq!(reader.members().unwrap(), model.members.into_values().collect::<Vec<_>>());
        let alarms: Vec<_> =
            reader.alarms().unwrap().iter().map(|(member, kind)| (member.0, *kind)).collect();
        prop_assert_eq!(alarms, model.alarms);
        prop_assert_eq!(invariants::check(&*node.engine), Ok(()));
    }

    #[test]
    fn any_split_into_batches_gives_the_same_state(
        commands in strategies::commands(40),
        cuts in vec(0_usize..40, 0..6),
    ) {
        let mut whole = Node::new();
        whole.apply_all(&commands);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < commands.len()).collect();
        cuts.extend([0, commands.len()]);
        cuts.sort_unstable();
        let mut split = Node::new();
        for cut in cuts.windows(2) {
            split.apply(&commands, cut[0], cut[1]);
        }
        prop_assert_eq!(split.digest(), whole.digest());
        prop_assert_eq!(split.machine.meta(), whole.machine.meta());
    }

    #[test]
    fn a_crash_and_a_replay_give_the_same_state(
        commands in strategies::commands(40),
        flushed in 0_usize..40,
        crashed in 0_usize..40,
        survivors in 0_usize..20,
    ) {
        let mut whole = Node::new();
        whole.apply_all(&commands);
        let mut node = Node::new();
        for number in 0..crashed.min(commands.len()) {
            node.apply(&commands, number, number + 1);
            if number == flushed {
                node.engine.flush();
            }
        }
        node.engine.crash_keeping(survivors);
        node.reopen();
        let applied = usize::try_from(node.machine.meta().applied_index).unwrap();
        node.apply(&commands, applied, commands.len());
        prop_assert_eq!(node.digest(), whole.digest());
        prop_assert_eq!(invariants::check(&*node.engine), Ok(()));
    }

    #[test]
    fn collection_changes_nothing_a_reader_can_see(
        commands in strategies::commands(60),
        entries_max in 0_usize..7,
        every in 1_usize..10,
    ) {
        let (mut clean, mut node) = (Node::new(), Node::new());
        let mut collector = Collector::new();
        let mut collected = 0;
        for number in 0..commands.len() {
            clean.apply(&commands, number, number + 1);
            node.apply(&commands, number, number + 1);
            if number % every == 0 {
                let progress = collector.step(&*node.engine, entries_max).unwrap();
                collected += progress.collected_bytes;
                prop_assert!(progress.through <= node.machine.meta().floor.max(Revision(0)));
            }
        }
        let whole = everything(&clean.engine);
        prop_assert_eq!(&everything_collected(&node.engine, &whole), &whole);
        prop_assert_eq!(node.digest(), clean.digest());
        prop_assert_eq!(invariants::check(&*node.engine), Ok(()));
        node.collect(entries_max);
        prop_assert_eq!(&everything_collected(&node.engine, &whole), &whole);
        prop_assert_eq!(node.digest(), clean.digest());
        prop_assert_eq!(invariants::check(&*node.engine), Ok(()));
        prop_assert_eq!(invariants::check_collected(&*node.engine), Ok(()));
        prop_assert!(Collector::collected_bytes(&*node.engine).unwrap() >= collected);
    }

    #[test]
    fn a_transaction_of_reads_reads_like_a_command_that_changes_nothing(
        commands in strategies::commands(30),
        txn in strategies::read_txn(),
    ) {
        let mut node = Node::new();
        node.apply_all(&commands);
        let reader = Reader::new(&*node.engine).unwrap();
        let (read, is_corrupt) = (refusal(reader.read_txn(&txn)), reader.meta().corrupt);
        let mut batch = node.machine.begin();
        let context = Context { index: 1000, ..Context::default() };
        let outcome = batch.apply(&context, &Command::Txn(txn)).unwrap();
        prop_assert!(outcome.events.is_empty());
        // Which member's data differ is known to the server, which refuses reads of it; the log
        // refuses for all of them.
        if is_corrupt {
            prop_assert_eq!(outcome.reply, Err(Refusal::Corrupt));
        } else {
            prop_assert_eq!(read.map(Reply::Txn), outcome.reply);
        }
    }

    #[test]
    fn history_in_pieces_is_the_whole_history(
        commands in strategies::commands(40),
        revisions_max in 1_usize..4,
        bytes_max in 0_usize..30,
    ) {
        let mut node = Node::new();
        node.apply_all(&commands);
        let reader = Reader::new(&*node.engine).unwrap();
        let (mut from, latest) = (reader.meta().floor, reader.meta().revision);
        let whole = refusal(reader.history(from, latest, usize::MAX, usize::MAX)).unwrap();
        let mut pieces = Vec::new();
        while pieces.len() < whole.len() {
            let piece = refusal(reader.history(from, latest, revisions_max, bytes_max)).unwrap();
            prop_assert!(!piece.is_empty(), "there is always one revision, however large");
            prop_assert!(piece.len() <= revisions_max);
            from = piece.last().unwrap().revision.next();
            pieces.extend(piece);
        }
        prop_assert_eq!(pieces, whole);
        prop_assert_eq!(refusal(reader.history(from, latest, 9, 9)).unwrap(), vec![]);
    }
}

#[test]
fn a_read_only_transaction_with_a_write_is_a_fault() {
    let node = Node::new();
    let delete = tenure_statemachine::DeleteRange {
        range: KeyRange::single("a".into()),
        want_previous: false,
    };
    let txn = tenure_statemachine::Txn {
        success: vec![tenure_statemachine::TxnOp::DeleteRange(delete)],
        ..Default::default()
    };
    let read = Reader::new(&*node.engine).unwrap().read_txn(&txn);
    assert!(matches!(read, Err(ReadError::Fault(_))), "{read:?}");
    let empty = Reader::new(&*node.engine)
        .unwrap()
        .read_txn(&Default::default())
        .unwrap();
    assert_eq!(empty.replies, Vec::<TxnOpReply>::new());
}
