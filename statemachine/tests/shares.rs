//! Idempotency keys are shared out between clients: one that fills its share leaves room.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;

use bytes::Bytes;
use node::Node;
use tenure_statemachine::{
    Command, Conditional, FeatureLevel, MemEngine, Put, Refusal, Reply, RequestId, Table, View,
    invariants, level_needed, worded_for,
};

/// A machine where no time passes by itself.
fn node() -> Node<MemEngine> {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.now = Some(1000);
    node
}

impl Node<MemEngine> {
    /// How many of so many new keys of a client are remembered.
    fn fill(&mut self, client: u64, keys: u64) -> usize {
        let commands: Vec<_> = (0..keys)
            .map(|number| put(client, &format!("{client}/{number}")))
            .collect();
        let outcomes = self.apply(&commands);
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
    let mut node = node();
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
    let mut node = node();
    assert_eq!(node.fill(7, 3), 3);
    let row = [b"K".as_slice(), &7_u64.to_be_bytes()].concat();
    let share = node.engine.get(Table::Cluster, &row).unwrap().unwrap();
    assert_eq!(share.get(..8), Some(3_u64.to_be_bytes().as_slice()));
    node.now = Some(1000 + 600_000);
    node.apply(&[Command::Wake]);
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
