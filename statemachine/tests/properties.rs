//! For all command sequences: the machine agrees with the model, and its three laws hold.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod model;
mod strategies;

use std::sync::Arc;

use bytes::Bytes;
use model::Model;
use proptest::{collection::vec, prelude::*};
use tenure_statemachine::{
    ClusterTime, Collector, Command, Context, Engine, Group, KeyRange, MemEngine, Outcome,
    RangeQuery, ReadError, Reader, Refusal, Revision, RevisionEvents, StateMachine, TxnOpReply,
    codec, decode_entry, decode_group, digest, encode_entry, encode_group, invariants,
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
                prop_assert_eq!(outcome, Outcome { reply, revision, events }, "{:?}", command);
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
        prop_assert_eq!(everything(&node.engine), everything(&clean.engine));
        prop_assert_eq!(node.digest(), clean.digest());
        prop_assert_eq!(invariants::check(&*node.engine), Ok(()));
        node.collect(entries_max);
        prop_assert_eq!(everything(&node.engine), everything(&clean.engine));
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
        let read = refusal(Reader::new(&*node.engine).unwrap().read_txn(&txn));
        let mut batch = node.machine.begin();
        let context = Context { index: 1000, ..Context::default() };
        let outcome = batch.apply(&context, &Command::Txn(txn)).unwrap();
        prop_assert!(outcome.events.is_empty());
        prop_assert_eq!(read.map(tenure_statemachine::Reply::Txn), outcome.reply);
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

    #[test]
    fn decoding_inverts_encoding(
        groups in vec((any::<u64>(), any::<u64>(), vec(strategies::command(), 0..5)), 0..4),
        now in any::<u64>(),
    ) {
        let encoded: Vec<Bytes> = groups.iter()
            .map(|(origin, sequence, commands)| encode_group(*origin, *sequence, commands))
            .collect();
        let groups: Vec<Group> = groups.into_iter()
            .map(|(origin, sequence, commands)| Group { origin, sequence, commands }).collect();
        for (bytes, group) in encoded.iter().zip(&groups) {
            prop_assert_eq!(&decode_group(bytes.clone()).unwrap(), group);
        }
        let entry = decode_entry(encode_entry(ClusterTime(now), &encoded)).unwrap();
        prop_assert_eq!((entry.now, entry.groups), (ClusterTime(now), groups));
    }

    #[test]
    fn hostile_bytes_are_refused_or_mean_themselves(
        commands in vec(strategies::command(), 0..4),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..64),
    ) {
        let _ = decode_entry(Bytes::from(noise.clone()));
        let _ = decode_group(Bytes::from(noise));
        let mut bytes = encode_group(1, 2, &commands).to_vec();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(group) = decode_group(Bytes::from(bytes.clone())) {
            let again = encode_group(group.origin, group.sequence, &group.commands);
            // Filters that are given as unset are the one redundancy of the encoding.
            prop_assert_eq!(decode_group(again).unwrap(), group);
        }
        let entry = encode_entry(ClusterTime(7), &[encode_group(1, 2, &commands)]);
        let cut = cut.index(entry.len());
        prop_assert!(decode_entry(entry.slice(..cut)).is_err(), "a cut entry is refused");
        let longer: Vec<u8> = entry.iter().copied().chain([0]).collect();
        prop_assert!(decode_entry(Bytes::from(longer)).is_err(), "bytes left over are refused");
    }
}

#[test]
fn transactions_nested_too_deep_are_refused() {
    let nested = |depth: usize| {
        let mut txn = tenure_statemachine::Txn::default();
        for _ in 1..depth {
            let success = vec![tenure_statemachine::TxnOp::Txn(txn)];
            txn = tenure_statemachine::Txn {
                success,
                ..Default::default()
            };
        }
        Command::Txn(txn)
    };
    let deepest = nested(codec::TXN_DEPTH_MAX);
    assert!(codec::is_encodable(&deepest));
    let group = decode_group(encode_group(0, 0, std::slice::from_ref(&deepest))).unwrap();
    assert_eq!(group.commands, vec![deepest]);
    let deeper = nested(codec::TXN_DEPTH_MAX + 1);
    assert!(!codec::is_encodable(&deeper));
    assert!(decode_group(encode_group(0, 0, &[deeper])).is_err());
}

#[test]
fn a_count_without_elements_does_not_reserve_memory() {
    // A group of one renewal of 2^62 leases.
    let mut bytes = vec![1, 0, 0, 1, 7];
    bytes.extend([0x80; 8]);
    bytes.push(0x40);
    assert!(decode_group(Bytes::from(bytes)).is_err());
}

#[test]
fn a_number_has_one_encoding_and_sixty_four_bits() {
    let group = |origin: &[u8]| {
        let bytes: Vec<u8> = [&[1], origin, &[0, 0]].concat();
        decode_group(Bytes::from(bytes)).map(|group| group.origin)
    };
    assert_eq!(group(&[0]).unwrap(), 0);
    assert_eq!(group(&[0x80, 1]).unwrap(), 128);
    assert!(group(&[0x80, 0]).is_err(), "a needless last byte");
    let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(group(&max).unwrap(), u64::MAX);
    let above = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    assert!(group(&above).is_err(), "a sixty-fifth bit");
    assert!(group(&[0x80; 11]).is_err(), "no end");
}

#[test]
fn decoded_values_are_slices_of_the_entry() {
    let put = tenure_statemachine::Put {
        key: "key".into(),
        value: vec![7; 100].into(),
        ..Default::default()
    };
    let entry = encode_entry(ClusterTime(1), &[encode_group(1, 1, &[Command::Put(put)])]);
    let (start, end) = (
        entry.as_ptr() as usize,
        entry.as_ptr() as usize + entry.len(),
    );
    let decoded = decode_entry(entry.clone()).unwrap();
    let Command::Put(put) = &decoded.groups[0].commands[0] else {
        panic!("not a put")
    };
    assert!((start..end).contains(&(put.value.as_ptr() as usize)));
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
