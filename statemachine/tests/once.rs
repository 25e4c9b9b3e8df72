//! Exactly once: repeats change nothing, wherever they come.

use std::sync::Arc;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};
use tenure_statemachine::{
    ClusterTime, Command, Conditional, Context, LeaseExpiry, LeaseId, MemEngine, Outcome, Reader,
    Refusal, Reply, RequestId, SessionOpen, SessionState, StateMachine, Ttl, digest, invariants,
};

use crate::strategies;

/// Sessions whose leases other commands do not touch, except to end them.
pub(crate) const SESSIONS: [LeaseId; 2] = [LeaseId(101), LeaseId(-102)];

pub(crate) struct Node {
    pub(crate) engine: Arc<MemEngine>,
    pub(crate) machine: StateMachine,
    index: u64,
}

impl Node {
    pub(crate) fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        Self {
            engine,
            machine,
            index: 0,
        }
    }

    /// With both sessions open.
    pub(crate) fn with_sessions() -> Self {
        let mut node = Self::new();
        let open = |lease| {
            let grant = Some(Ttl(1000));
            (0, Some(Command::SessionOpen(SessionOpen { lease, grant })))
        };
        let outcomes = node.batch(&SESSIONS.map(open));
        assert!(
            outcomes
                .iter()
                .flatten()
                .all(|outcome| outcome.reply.is_ok())
        );
        node
    }

    /// Applies entries as one batch; an entry may carry nothing.
    pub(crate) fn batch(&mut self, entries: &[(u64, Option<Command>)]) -> Vec<Option<Outcome>> {
        let mut batch = self.machine.begin();
        let mut outcomes = Vec::new();
        for (now, command) in entries {
            self.index += 1;
            let context = Context {
                index: self.index,
                term: 1,
                now: ClusterTime(*now),
            };
            outcomes.push(match command {
                Some(command) => Some(batch.apply(&context, command).unwrap()),
                None => {
                    batch.advance(&context);
                    None
                }
            });
        }
        batch.commit().unwrap();
        outcomes
    }

    pub(crate) fn at(&mut self, now: u64, command: Command) -> Outcome {
        self.batch(&[(now, Some(command))]).remove(0).unwrap()
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.at(0, command)
    }

    pub(crate) fn session(&self) -> Option<SessionState> {
        let reader = Reader::new(&*self.engine).unwrap();
        reader.session(SESSIONS[0]).unwrap()
    }

    pub(crate) fn check(&self) {
        assert_eq!(invariants::check(&*self.engine), Ok(()));
    }
}

pub(crate) fn with(request: RequestId, command: Command) -> Command {
    Command::Conditional(Box::new(Conditional {
        guards: Vec::new(),
        request: Some(request),
        command,
    }))
}

pub(crate) fn key(number: u64) -> RequestId {
    RequestId::Key(Bytes::from(number.to_string()))
}

/// Whose request, how many of those before it are unanswered, and what it asks for.
type Request = (usize, u64, Command);

fn request() -> impl Strategy<Value = Request> {
    let ending = prop_oneof![
        Just(Command::LeaseRevoke(SESSIONS[0])),
        Just(Command::LeaseExpire(vec![LeaseExpiry {
            id: SESSIONS[1],
            generation: 1,
            term: 1,
        }])),
    ];
    let command = prop_oneof![30 => strategies::command(), 1 => ending];
    (0_usize..3, 0_u64..4, command)
}

/// The commands, each under an id: of one of the sessions, numbered in order, or a key.
fn identified(requests: Vec<Request>) -> Vec<Command> {
    let mut sequences = [0_u64; SESSIONS.len()];
    let mut keys = 0;
    let under = |(owner, lag, command): Request| {
        let Some(session) = SESSIONS.get(owner) else {
            keys += 1;
            return with(key(keys), command);
        };
        sequences[owner] += 1;
        let sequence = sequences[owner];
        let id = RequestId::Session {
            session: *session,
            sequence,
            answered: (sequence - 1).saturating_sub(lag),
        };
        with(id, command)
    };
    requests.into_iter().map(under).collect()
}

/// Nothing was executed, and may be on another try.
fn is_passing(outcome: &Outcome) -> bool {
    matches!(outcome.reply, Err(Refusal::NoSpace | Refusal::Corrupt))
}

/// The machine did not look at what was asked, for it does not know the request any more.
pub(crate) fn is_unknown(outcome: &Outcome) -> bool {
    let forgotten = matches!(outcome.reply, Err(Refusal::RequestForgotten { .. }));
    forgotten || matches!(outcome.reply, Err(Refusal::SessionNotFound(_)))
}

fn parts(command: &Command) -> (&RequestId, &Command) {
    let Command::Conditional(conditional) = command else {
        panic!("{command:?} has no id")
    };
    (conditional.request.as_ref().unwrap(), &conditional.command)
}

/// What sessions cannot tell any more.
#[derive(Default)]
struct Sessions {
    forgotten: [u64; SESSIONS.len()],
    ended: [bool; SESSIONS.len()],
}

impl Sessions {
    /// The refusal of a request that is not known any more.
    fn unknown(&mut self, id: &RequestId) -> Option<Refusal> {
        let RequestId::Session {
            session,
            sequence,
            answered,
        } = id
        else {
            return None;
        };
        let place = SESSIONS.iter().position(|known| known == session).unwrap();
        if self.ended[place] {
            return Some(Refusal::SessionNotFound(*session));
        }
        let forgotten = (*answered).max(self.forgotten[place]);
        self.forgotten[place] = forgotten;
        let sequence = *sequence;
        (sequence <= forgotten).then_some(Refusal::RequestForgotten {
            sequence,
            forgotten,
        })
    }

    /// Takes note of sessions that a command has ended.
    fn executed(&mut self, command: &Command, outcome: &Outcome) {
        let ended = match (command, &outcome.reply) {
            (Command::LeaseRevoke(id), Ok(_)) => vec![*id],
            (_, Ok(Reply::LeaseExpire(ids))) => ids.clone(),
            _ => Vec::new(),
        };
        for (ended_here, session) in self.ended.iter_mut().zip(SESSIONS) {
            *ended_here |= ended.contains(&session);
        }
    }
}

/// Applies every request the first time it comes, and again only while nothing was executed. What
/// is executed comes to the same as without an id.
fn run_once(commands: &[Command], order: &[(usize, u64)]) -> (Node, Vec<Option<Outcome>>) {
    let (mut node, mut plain) = (Node::with_sessions(), Node::with_sessions());
    let mut answered = vec![false; commands.len()];
    let mut executed = vec![None; commands.len()];
    for (number, now) in order {
        if answered[*number] {
            node.batch(&[(*now, None)]);
            plain.batch(&[(*now, None)]);
            continue;
        }
        let outcome = node.at(*now, commands[*number].clone());
        answered[*number] = !is_passing(&outcome);
        if is_unknown(&outcome) {
            plain.batch(&[(*now, None)]);
            continue;
        }
        let bare = parts(&commands[*number]).1.clone();
        assert_eq!(outcome, plain.at(*now, bare));
        executed[*number] = answered[*number].then_some(outcome);
    }
    (node, executed)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn repeats_change_nothing_wherever_they_come(
        requests in vec(request(), 1..30),
        swaps in vec((any::<Index>(), any::<Index>()), 0..6),
        repeats in vec((any::<Index>(), any::<Index>()), 0..30),
        times in vec(0_u64..2000, 60),
        split in 1_usize..8,
        reopen in 1_usize..5,
    ) {
        let commands = identified(requests);
        // First every request once, some out of order; then repeats of what was sent before.
        let mut order: Vec<usize> = (0..commands.len()).collect();
        for (a, b) in swaps {
            order.swap(a.index(commands.len()), b.index(commands.len()));
        }
        for (place, again) in repeats {
            let place = place.index(order.len());
            order.insert(place + 1, order[again.index(place + 1)]);
        }
        let order: Vec<(usize, u64)> = order.into_iter().zip(times).collect();
        let (once, executed_once) = run_once(&commands, &order);

        let (mut node, mut sessions) = (Node::with_sessions(), Sessions::default());
        let mut executed = vec![None::<Outcome>; commands.len()];
        for (piece, sent) in order.chunks(split).enumerate() {
            let entries: Vec<_> =
                sent.iter().map(|(number, now)| (*now, Some(commands[*number].clone()))).collect();
            for ((number, _), outcome) in sent.iter().zip(node.batch(&entries)) {
                let outcome = outcome.unwrap();
                let (id, command) = parts(&commands[*number]);
                if let Some(refusal) = sessions.unknown(id) {
                    prop_assert_eq!(&outcome.reply, &Err(refusal));
                    prop_assert!(outcome.events.is_empty());
                } else if let Some(first) = &executed[*number] {
                    prop_assert_eq!(&outcome.reply, &first.reply);
                    prop_assert_eq!(outcome.revision, first.revision);
                    prop_assert!(outcome.events.is_empty() && outcome.signals.is_empty());
                } else {
                    sessions.executed(command, &outcome);
                    executed[*number] = Some(outcome).filter(|outcome| !is_passing(outcome));
                }
            }
            if piece % reopen == 0 {
                node.machine = StateMachine::open(node.engine.clone()).unwrap();
            }
            node.check();
        }
        prop_assert_eq!(executed, executed_once);
        prop_assert_eq!(node.machine.meta(), once.machine.meta());
        prop_assert_eq!(digest(&*node.engine).unwrap(), digest(&*once.engine).unwrap());
    }
}
