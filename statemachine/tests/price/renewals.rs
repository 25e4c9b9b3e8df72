//! What renewals cost while a service is held.

use tenure_statemachine::{
    Command, FeatureLevel, InstanceName, LeaseExpiry, LeaseId, Register, RegistryCommand, Reply,
    Ttl,
};

use crate::{counting::Counting, grant, node::Node, node_at, put};

/// A lease with very many keys below the services' prefix.
const BUSY: i64 = 100;

fn register(service: &str, id: i64, lease: i64) -> Command {
    Command::Registry(RegistryCommand::Register(Register {
        name: InstanceName {
            service: service.to_owned(),
            id: id.to_string(),
        },
        lease: LeaseId(lease),
        ..Register::default()
    }))
}

fn expire(node: &mut Node<Counting>, leases: impl IntoIterator<Item = i64>) -> Vec<LeaseId> {
    let expiry = |lease: i64| {
        let id = LeaseId(lease);
        let generation = node.reader().lease(id).unwrap().unwrap().generation;
        LeaseExpiry {
            id,
            generation,
            term: 1,
        }
    };
    let expiries = leases.into_iter().map(expiry).collect();
    match node.one(Command::LeaseExpire(expiries)).unwrap() {
        Reply::LeaseExpire(ended) => ended,
        other => panic!("{other:?}"),
    }
}

/// A node that holds a service of four instances, of which two are suspects.
fn holding(level: FeatureLevel) -> Node<Counting> {
    let mut node = node_at(level);
    for lease in 1..=4 {
        node.one(grant(lease, 200)).unwrap();
        node.one(register("web", lease, lease)).unwrap();
    }
    node.pass(200);
    assert_eq!(expire(&mut node, 1..=4).len(), 2);
    node
}

fn renew_again_and_again(lease: i64) -> Command {
    Command::LeaseRenew(vec![LeaseId(lease); 100])
}

fn with_keys(level: FeatureLevel, keys: usize) -> Node<Counting> {
    let mut node = holding(level);
    node.one(grant(BUSY, 1_000_000)).unwrap();
    let puts = (0..keys).map(|it| put(format!("tenure.services/x/{it}"), BUSY));
    let puts: Vec<Command> = puts.collect();
    node.apply(&puts);
    node
}

/// One keep-alive read every key of the service, on the thread on which heartbeats wait; a hundred
/// streams that renew one lease made one command that read them a hundred times.
#[test]
fn a_renewal_looks_at_few_keys_of_a_lease_and_once() {
    let mut node = with_keys(FeatureLevel::PRICED, 10_000);
    let renewal = renew_again_and_again(BUSY);
    assert!(!node.is_light(&renewal), "it looks for suspects");
    let (reply, cost) = node.cost(renewal);
    let ttls = vec![Some(Ttl(1_000_000)); 100];
    assert_eq!(reply, Ok(Reply::LeaseRenew(ttls)));
    assert!(cost < 1_000, "{cost} rows were read");
    let mut node = with_keys(FeatureLevel::REPEATABLE_GROUPS, 1_000);
    let (_, cost) = node.cost(renew_again_and_again(BUSY));
    assert!(
        cost < 3_000,
        "below the level each key is read once: {cost} rows"
    );
}

#[test]
fn a_renewal_is_short_work_while_no_service_is_held() {
    let mut node = node_at(FeatureLevel::PRICED);
    node.one(grant(1, 1_000)).unwrap();
    assert!(node.is_light(&renew_again_and_again(1)));
}

#[test]
fn a_renewal_still_clears_the_suspects_of_its_lease() {
    let mut node = holding(FeatureLevel::PRICED);
    let revision = node.machine.meta().revision;
    node.one(renew_again_and_again(4)).unwrap();
    assert_eq!(node.machine.meta().revision, revision.next());
    node.one(renew_again_and_again(4)).unwrap();
    assert_eq!(node.machine.meta().revision, revision.next());
}

/// What is marked is looked through by every renewal, so a lease that keeps too many instances is
/// not held at all.
#[test]
fn a_lease_of_more_instances_than_a_renewal_looks_at_is_not_held() {
    for (level, instances, is_held) in [
        (FeatureLevel::PRICED, 128, true),
        (FeatureLevel::PRICED, 129, false),
        (FeatureLevel::REPEATABLE_GROUPS, 129, true),
    ] {
        let mut node = node_at(level);
        node.one(grant(1, 200)).unwrap();
        let registers: Vec<_> = (0..instances).map(|it| register("web", it, 1)).collect();
        assert!(node.apply(&registers).iter().all(|it| it.reply.is_ok()));
        node.pass(200);
        assert_eq!(expire(&mut node, [1]).is_empty(), is_held, "{instances}");
        node.check();
    }
}
