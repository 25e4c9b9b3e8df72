//! For all sequences of what may happen to registrations: what is answered is what a plain map
//! says, drains end, and the mass-expiry guard holds only what it may, for no longer than it may.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::Message;
use tenure_statemachine::{
    ClusterTime, Command, Context, Deregister, Drain, InstanceName, KeyRange, KeyValue, Lease,
    LeaseExpiry, LeaseId, MemEngine, Outcome, Put, RangeQuery, Reader, Readiness, Refusal,
    Register, RegistryCommand, Reply, Revision, SERVICES_PREFIX, SetReadiness, StateMachine, Table,
    Ttl, View, digest, invariants,
};

/// Longer than any hold and every look at it, in milliseconds.
const LONG_AFTER_MS: u64 = 200_000;
/// For how long at most the guard keeps a lease that is not renewed.
const HELD_MS_MAX: u64 = 60_000;
/// The time in which expiries are seen as one event.
const WINDOW_MS: u64 = 10_000;

#[derive(Clone, PartialEq, Eq, Message)]
struct Instance {
    #[prost(uint64, tag = "9")]
    readiness: u64,
    #[prost(bool, tag = "10")]
    suspect: bool,
}

/// One step; small numbers, so that steps meet each other.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// Service, instance, lease, readiness, and whether the present incarnation is named.
    Register(u8, u8, u8, u8, bool),
    Readiness(u8, u8, u8),
    Drain(u8, u8, u16),
    Deregister(u8, u8),
    Renew(u8),
    /// What a leader proposes: the end of every lease whose deadline has passed.
    Expire,
    Wake,
    /// Attaches a key that is no instance to a lease.
    PutOther(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (service, id, lease) = (0..2_u8, 0..6_u8, 1..9_u8);
    let name = (service, id);
    prop_oneof![
        4 => (0..8_000_u64).prop_map(Step::Pass),
        1 => (20_000..70_000_u64).prop_map(Step::Pass),
        10 => (name.clone(), lease.clone(), 0..4_u8, any::<bool>())
            .prop_map(|((service, id), lease, ready, named)| {
                Step::Register(service, id, lease, ready, named)
            }),
        2 => (name.clone(), 0..4_u8).prop_map(|((s, id), ready)| Step::Readiness(s, id, ready)),
        2 => (name.clone(), 0..9_000_u16).prop_map(|((s, id), grace)| Step::Drain(s, id, grace)),
        1 => name.prop_map(|(s, id)| Step::Deregister(s, id)),
        2 => lease.clone().prop_map(Step::Renew),
        6 => Just(Step::Expire),
        2 => Just(Step::Wake),
        1 => lease.prop_map(Step::PutOther),
    ]
}

const READINESS: [Readiness; 4] = [
    Readiness::Starting,
    Readiness::Ready,
    Readiness::Draining,
    Readiness::NotReady,
];

fn name(service: u8, id: u8) -> InstanceName {
    InstanceName {
        service: format!("s{service}"),
        id: format!("i{id}"),
    }
}

/// What is known of an instance without looking at the machine's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    incarnation: Revision,
    readiness: u64,
    drains_until: Option<u64>,
}

struct World {
    engine: Arc<MemEngine>,
    machine: StateMachine,
    now: u64,
    known: BTreeMap<Bytes, Known>,
    /// The greatest incarnation that any instance of this key has had.
    born: BTreeMap<Bytes, Revision>,
    /// When instances of which service came to their time, held or not.
    came_due: Vec<(u64, String)>,
    applied: Vec<(u64, Command)>,
}

impl World {
    fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        Self {
            machine: StateMachine::open(engine.clone()).unwrap(),
            engine,
            now: 1_000,
            known: BTreeMap::new(),
            born: BTreeMap::new(),
            came_due: Vec::new(),
            applied: Vec::new(),
        }
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let mut batch = self.machine.begin();
        let context = Context {
            index: self.applied.len() as u64 + 1,
            term: 1,
            now: ClusterTime(self.now),
        };
        let outcome = batch.apply(&context, &command).unwrap();
        batch.commit().unwrap();
        self.applied.push((self.now, command));
        invariants::check(&*self.engine).unwrap();
        outcome
    }

    fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> T) -> T {
        read(&Reader::new(&*self.engine).unwrap())
    }

    fn lease(&self, id: u8) -> Option<Lease> {
        self.read(|reader| reader.lease(LeaseId(id.into())).unwrap())
    }

    fn registered(&self) -> Vec<KeyValue> {
        let range = KeyRange::from_wire(
            Bytes::from_static(SERVICES_PREFIX.as_bytes()),
            Bytes::from_static(b"tenure.services0"),
        );
        self.read(|reader| reader.range(&RangeQuery::latest(range)).unwrap().kvs)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Pass(ms) => self.now += ms,
            Step::Register(service, id, lease, readiness, named) => {
                self.register(name(service, id), lease, readiness, named);
            }
            Step::Readiness(service, id, readiness) => {
                let name = name(service, id);
                let known = self.known.get(&name.key()).cloned();
                let incarnation = known
                    .as_ref()
                    .map_or(Revision(7), |known| known.incarnation);
                let command = RegistryCommand::SetReadiness(SetReadiness {
                    name: name.clone(),
                    incarnation,
                    readiness: READINESS[usize::from(readiness)],
                });
                let reply = self.apply(Command::Registry(command)).reply;
                assert_eq!(reply.is_ok(), known.is_some(), "{reply:?}");
                if let Some(known) = self.known.get_mut(&name.key()) {
                    known.say(readiness);
                }
            }
            Step::Drain(service, id, grace) => {
                let name = name(service, id);
                let command = RegistryCommand::Drain(Drain {
                    name: name.clone(),
                    incarnation: Revision(0),
                    grace: Ttl(grace.into()),
                });
                let reply = self.apply(Command::Registry(command)).reply;
                let until = self.now + u64::from(grace);
                match self.known.get_mut(&name.key()) {
                    None => assert_eq!(reply, Err(Refusal::InstanceNotFound)),
                    Some(known) => {
                        assert_eq!(reply, Ok(Reply::Done));
                        known.readiness = 2;
                        known.drains_until = Some(until);
                    }
                }
            }
            Step::Deregister(service, id) => {
                let name = name(service, id);
                let command = RegistryCommand::Deregister(Deregister {
                    name: name.clone(),
                    incarnation: Revision(0),
                });
                let reply = self.apply(Command::Registry(command)).reply;
                assert_eq!(reply.is_ok(), self.known.remove(&name.key()).is_some());
            }
            Step::Renew(lease) => self.renew(lease),
            Step::Expire => self.expire(),
            Step::Wake => {
                self.apply(Command::Wake);
                let now = self.now;
                self.known
                    .retain(|_, known| known.drains_until.is_none_or(|until| now < until));
            }
            Step::PutOther(lease) => {
                if self.lease(lease).is_some() {
                    self.apply(Command::Put(Put {
                        key: Bytes::from(format!("other/{lease}")),
                        lease: LeaseId(lease.into()),
                        ..Put::default()
                    }));
                }
            }
        }
        self.compare();
    }

    fn register(&mut self, name: InstanceName, lease: u8, readiness: u8, named: bool) {
        let key = name.key();
        let present = self.known.get(&key).map(|known| known.incarnation);
        let incarnation = present.filter(|_| named).unwrap_or(Revision(0));
        let grant = self.lease(lease).is_none().then_some(Ttl(3_000));
        let instance = Instance {
            readiness: readiness.into(),
            suspect: true,
        };
        let outcome = self.apply(Command::Registry(RegistryCommand::Register(Register {
            name,
            instance: Bytes::from(instance.encode_to_vec()),
            incarnation,
            lease: LeaseId(lease.into()),
            grant,
        })));
        let Ok(Reply::Register(born, _, ttl)) = outcome.reply else {
            panic!("{:?}", outcome.reply);
        };
        assert_eq!(ttl, Ttl(3_000));
        if incarnation == Revision(0) {
            let before = self.born.insert(key.clone(), born);
            assert!(
                before.is_none_or(|before| before < born),
                "incarnations ascend"
            );
            assert_eq!(born, outcome.revision);
            self.known.remove(&key);
        } else {
            assert_eq!(born, incarnation);
        }
        let known = self.known.entry(key).or_insert(Known {
            incarnation: born,
            readiness: 0,
            drains_until: None,
        });
        known.say(readiness);
    }

    fn renew(&mut self, lease: u8) {
        let exists = self.lease(lease).is_some();
        let id = LeaseId(lease.into());
        let reply = self.apply(Command::LeaseRenew(vec![id])).reply;
        assert_eq!(
            reply,
            Ok(Reply::LeaseRenew(vec![exists.then_some(Ttl(3_000))]))
        );
        let suspect = |kv: &KeyValue| kv.lease == id && decode(kv).suspect;
        assert!(
            !self.registered().iter().any(suspect),
            "renewed and still suspect"
        );
    }

    /// Proposes what is due, and checks what the guard made of each lease.
    fn expire(&mut self) {
        for id in 1..9_u8 {
            let Some(lease) = self.lease(id).filter(|lease| lease.deadline.0 <= self.now) else {
                continue;
            };
            let keys = self.read(|reader| reader.lease_keys(lease.id).unwrap());
            let of_lease = |kv: &KeyValue| kv.lease == lease.id;
            let before: Vec<_> = self.registered().into_iter().filter(of_lease).collect();
            let had_suspects = before.iter().any(|kv| decode(kv).suspect);
            for kv in before.iter().filter(|_| !had_suspects) {
                let service = InstanceName::of_key(&kv.key).unwrap().service;
                self.came_due.push((self.now, service));
            }
            let expiry = LeaseExpiry {
                id: lease.id,
                generation: lease.generation,
                term: 1,
            };
            self.apply(Command::LeaseExpire(vec![expiry]));
            let Some(held) = self.lease(id) else {
                for kv in before {
                    self.known.remove(&kv.key);
                }
                continue;
            };
            assert_eq!(
                keys.len(),
                before.len(),
                "held with a key that is no instance"
            );
            assert!(!had_suspects, "held twice");
            assert!(held.deadline.0 > self.now && held.deadline.0 <= self.now + HELD_MS_MAX);
            let after = self.registered().into_iter().filter(of_lease);
            assert!(after.clone().all(|kv| decode(&kv).suspect));
            assert_eq!(after.count(), before.len(), "held, but an instance went");
            self.had_reason(&before);
        }
    }

    /// One of these instances' services had three come to their time within a window, and that was
    /// no longer ago than a service is held.
    fn had_reason(&self, held: &[KeyValue]) {
        let reason = held.iter().any(|kv| {
            let service = InstanceName::of_key(&kv.key).unwrap().service;
            let times: Vec<u64> = self
                .came_due
                .iter()
                .filter(|(at, of)| *of == service && self.now - at <= HELD_MS_MAX + WINDOW_MS)
                .map(|(at, _)| *at)
                .collect();
            times
                .windows(3)
                .any(|three| three[2] - three[0] < WINDOW_MS)
        });
        assert!(reason, "held without a reason");
    }

    /// The map and the machine name the same instances.
    fn compare(&self) {
        let registered = self.registered();
        let keys: Vec<_> = registered.iter().map(|kv| &kv.key).collect();
        assert_eq!(keys, self.known.keys().collect::<Vec<_>>());
        for kv in registered {
            let known = &self.known[&kv.key];
            assert_eq!(kv.create_revision, known.incarnation);
            assert_eq!(decode(&kv).readiness, known.readiness);
            let name = InstanceName::of_key(&kv.key).unwrap();
            let found = self.read(|reader| reader.instance(&name).unwrap());
            assert_eq!(found, Some(kv));
        }
    }

    /// Lets time pass with nobody renewing: everything goes, and nothing is left behind.
    fn run_out(&mut self) {
        for _ in 0..LONG_AFTER_MS / WINDOW_MS {
            self.now += WINDOW_MS;
            self.take(&Step::Expire);
            self.take(&Step::Wake);
        }
        assert_eq!(self.registered(), []);
        self.read(|reader| assert_eq!(reader.leases().unwrap(), []));
        let mut rows = self.engine.scan(Table::Cluster, &[]).unwrap();
        assert_eq!(rows.next().unwrap(), None, "a row was left behind");
    }
}

impl Known {
    fn say(&mut self, readiness: u8) {
        self.readiness = readiness.into();
        if readiness != 2 {
            self.drains_until = None;
        }
    }
}

fn decode(kv: &KeyValue) -> Instance {
    Instance::decode(kv.value.clone()).unwrap()
}

/// The digest after the same commands in one batch per `batch`, reopened after each.
fn replayed(applied: &[(u64, Command)], batch: usize) -> u64 {
    let engine = Arc::new(MemEngine::new());
    let mut index = 0;
    for commands in applied.chunks(batch) {
        let mut machine = StateMachine::open(engine.clone()).unwrap();
        let mut batch = machine.begin();
        for (now, command) in commands {
            index += 1;
            let context = Context {
                index,
                term: 1,
                now: ClusterTime(*now),
            };
            batch.apply(&context, command).unwrap();
        }
        batch.commit().unwrap();
    }
    digest(&*engine).unwrap()
}

proptest! {
    #[test]
    fn registrations_do_what_a_map_does_and_the_brake_lets_go(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.run_out();
    }

    #[test]
    fn batches_and_reopening_do_not_matter(steps in vec(step(), 1..60), batch in 1..9_usize) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        prop_assert_eq!(replayed(&world.applied, batch), digest(&*world.engine).unwrap());
    }
}

/// The property would hold as well if nothing was ever held.
#[test]
fn the_brake_is_met_by_what_is_tried() {
    let mut world = World::new();
    for id in 0..6 {
        world.take(&Step::Register(0, id, id + 1, 1, false));
    }
    world.take(&Step::Pass(4_000));
    world.take(&Step::Expire);
    let suspects = world
        .registered()
        .iter()
        .filter(|kv| decode(kv).suspect)
        .count();
    assert_eq!((world.registered().len(), suspects), (3, 3));
    world.run_out();
}
