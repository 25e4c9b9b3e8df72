//! Idempotency keys are shared out between clients: one that fills its share leaves room.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    ClusterTime, Command, Conditional, Context, FeatureLevel, MemEngine, Outcome, Put, Refusal,
    Reply, RequestId, StateMachine, Table, View, invariants, level_needed, worded_for,
};

struct Node {
    engine: Arc<MemEngine>,
    machine: StateMachine,
}

impl Node {
    fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        let mut node = Self { engine, machine };
        node.apply(0, &[Command::RaiseLevel(FeatureLevel::BOUNDED)]);
        node
    }

    fn apply(&mut self, now: u64, commands: &[Command]) -> Vec<Outcome> {
        let context = Context {
            index: self.machine.meta().applied_index + 1,
            term: 1,
            now: ClusterTime(now),
        };
        let mut batch = self.machine.begin();
        let outcomes = commands
            .iter()
            .map(|command| batch.apply(&context, command).unwrap())
            .collect();
        batch.commit().unwrap();
        outcomes
    }

    fn one(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.apply(1000, &[command]).remove(0).reply
    }

    /// How many of so many new keys of a client are remembered.
    fn fill(&mut self, client: u64, keys: u64) -> usize {
        let commands: Vec<_> = (0..keys)
            .map(|number| put(client, &format!("{client}/{number}")))
            .collect();
        let outcomes = self.apply(1000, &commands);
        outcomes.iter().filter(|it| it.reply.is_ok()).count()
    }
}

/// A put under a key of a client.
fn put(client: u64, key: &str) -> Command {
    let put = Put {
        key: "a".into(),
        ..Put::default()
    };
    Command::Conditional(Box::new(Conditional {
        guards: Vec::new(),
        request: Some(RequestId::ClientKey {
            client,
            key: Bytes::copy_from_slice(key.as_bytes()),
        }),
        command: Command::Put(put),
    }))
}

/// One client used to fill all there was within seconds, and everybody was refused for ten minutes.
#[test]
fn a_client_that_fills_its_share_leaves_room_for_others() {
    let mut node = Node::new();
    assert_eq!(node.fill(1, 100_010), 100_000);
    let refused = node.one(put(1, "one more"));
    assert_eq!(refused, Err(Refusal::TooManyRequestKeys));
    assert_eq!(node.fill(2, 100), 100);
    assert_eq!(node.fill(3, 100), 100);
    // What is remembered is answered, whoever asks: a client may come from another address.
    let before = node.machine.meta().revision;
    assert_eq!(node.one(put(1, "1/7")), Ok(Reply::Put(None)));
    assert_eq!(node.one(put(2, "1/7")), Ok(Reply::Put(None)));
    assert_eq!(node.machine.meta().revision, before);
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn a_share_is_given_back_when_its_keys_are_forgotten() {
    let mut node = Node::new();
    assert_eq!(node.fill(7, 3), 3);
    let row = [b"K".as_slice(), &7_u64.to_be_bytes()].concat();
    let share = node.engine.get(Table::Cluster, &row).unwrap().unwrap();
    assert_eq!(share.get(..8), Some(3_u64.to_be_bytes().as_slice()));
    node.apply(1000 + 600_000, &[Command::Wake]);
    assert_eq!(node.engine.get(Table::Cluster, &row).unwrap(), None);
    invariants::check(&*node.engine).unwrap();
    assert_eq!(node.fill(7, 1), 1, "executed anew");
}

#[test]
fn below_the_level_a_key_travels_without_its_client() {
    let keyed = put(7, "id");
    assert_eq!(level_needed(&keyed), FeatureLevel::BOUNDED);
    assert_eq!(worded_for(keyed.clone(), FeatureLevel::BOUNDED), keyed);
    let worded = worded_for(keyed, FeatureLevel::FIRST);
    assert_eq!(level_needed(&worded), FeatureLevel::FIRST);
    let Command::Conditional(conditional) = worded else {
        panic!("{worded:?}");
    };
    assert_eq!(conditional.request, Some(RequestId::Key("id".into())));
}
