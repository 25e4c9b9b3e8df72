//! The rules of the service as transcripts: command lines, and the replies they must get.
//!
//! A line `> command` is followed by its reply, up to an empty line. Other lines are kept as they
//! are. `BLESS=1` rewrites the replies. After every command the invariants are checked.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::disallowed_methods,
    reason = "transcripts are files, blessing is asked for"
)]

mod script {
    pub(crate) mod claims;
    pub(crate) mod conditions;
    pub(crate) mod lines;
    pub(crate) mod registry;
    pub(crate) mod users;
    pub(crate) mod words;
}

use std::{fs, path::Path, sync::Arc};

use script::{claims, conditions, lines, registry, users, words, words::Words};
use tenure_statemachine::{
    ClusterTime, Collector, Command, Context, Engine, LeaseId, MemEngine, ReadError, Reader,
    Revision, StateMachine, digest, invariants,
};

struct Node {
    engine: Arc<MemEngine>,
    machine: StateMachine,
    now: ClusterTime,
}

impl Node {
    fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        Self {
            engine,
            machine,
            now: ClusterTime(0),
        }
    }

    fn run(&mut self, line: &str) -> Vec<String> {
        let mut words = Words::of(line);
        let verb = words.next();
        let reply = match words::command(verb, &mut words) {
            Some(command) => self.apply(&command),
            None => self.ask(verb, &mut words),
        };
        assert_eq!(
            words.rest(),
            Vec::<&str>::new(),
            "words left over in {line:?}"
        );
        invariants::check(&*self.engine).unwrap_or_else(|error| panic!("after {line:?}: {error}"));
        reply
    }

    fn apply(&mut self, command: &Command) -> Vec<String> {
        let index = self.machine.meta().applied_index + 1;
        let mut batch = self.machine.begin();
        let outcome = batch
            .apply(
                &Context {
                    index,
                    term: 1,
                    now: self.now,
                },
                command,
            )
            .unwrap();
        batch.commit().unwrap();
        lines::outcome(&outcome)
    }

    fn ask(&mut self, verb: &str, words: &mut Words<'_>) -> Vec<String> {
        match verb {
            "time" => {
                self.now = ClusterTime(words::number(words.next()).cast_unsigned());
                return Vec::new();
            }
            "collect" => return self.collect(),
            "reopen" => {
                self.machine = StateMachine::open(self.engine.clone()).unwrap();
                return Vec::new();
            }
            _ => {}
        }
        let snapshot = self.engine.snapshot().unwrap();
        let reader = Reader::new(snapshot.as_ref()).unwrap();
        let answer = match verb {
            "get" => reader
                .range(&words::query(words))
                .map(|reply| lines::range(&reply)),
            "read" => reader
                .read_txn(&words::txn(words))
                .map(|reply| lines::txn(&reply)),
            "history" => history(&reader, words),
            "lease" => lease(&reader, LeaseId(words::number(words.next()))),
            "leases" => reader
                .leases()
                .map_err(ReadError::from)
                .map(|leases| leases.iter().map(|lease| lease.id.0.to_string()).collect()),
            "alarms" => reader.alarms().map_err(ReadError::from).map(|alarms| {
                alarms
                    .iter()
                    .map(|(member, kind)| format!("{member} {kind:?}"))
                    .collect()
            }),
            "members" => reader.members().map_err(ReadError::from).map(|members| {
                let line = |member: &tenure_statemachine::MemberAttributes| {
                    format!(
                        "{} {} {}",
                        member.id,
                        member.name,
                        member.client_urls.join(" ")
                    )
                };
                members.iter().map(line).collect()
            }),
            "meta" => Ok(meta(&reader)),
            "instance" => {
                let found = reader.instance(&registry::name(words));
                let lines = |found: Option<_>| found.iter().map(lines::record).collect();
                found.map(lines).map_err(ReadError::from)
            }
            _ => conditions::ask(verb, words, &reader)
                .or_else(|| claims::ask(verb, words, &reader))
                .or_else(|| users::ask(verb, words, &reader))
                .unwrap_or_else(|| panic!("{verb} is no command")),
        };
        match answer {
            Ok(lines) => lines,
            Err(ReadError::Refused(refusal)) => vec![format!("refused: {refusal}")],
            Err(ReadError::Fault(fault)) => panic!("{fault}"),
        }
    }

    /// Collects everything, in the smallest steps; the digest must not notice.
    fn collect(&self) -> Vec<String> {
        let before = digest(&*self.engine).unwrap();
        let mut collector = Collector::new();
        let mut bytes = 0;
        loop {
            let progress = collector.step(&*self.engine, 1).unwrap();
            bytes += progress.collected_bytes;
            if progress.done {
                assert_eq!(digest(&*self.engine).unwrap(), before);
                invariants::check_collected(&*self.engine).unwrap();
                return vec![format!("{bytes} bytes, through {}", progress.through)];
            }
        }
    }
}

fn history(reader: &Reader<'_>, words: &mut Words<'_>) -> Result<Vec<String>, ReadError> {
    let numbers: Vec<i64> = words.rest().into_iter().map(words::number).collect();
    let at = |place: usize| numbers.get(place).copied();
    let max = |place: usize| at(place).map_or(usize::MAX, |max| usize::try_from(max).unwrap());
    let (from, through) = (at(0).unwrap(), at(1).unwrap_or(i64::MAX));
    let told = reader.history(Revision(from), Revision(through), max(2), max(3))?;
    let mut lines = Vec::new();
    for revision in told {
        lines.push(format!("revision {}", revision.revision));
        lines.extend(
            revision
                .events
                .iter()
                .map(|event| format!("  {}", lines::event(event))),
        );
    }
    Ok(lines)
}

fn lease(reader: &Reader<'_>, id: LeaseId) -> Result<Vec<String>, ReadError> {
    let Some(lease) = reader.lease(id)? else {
        return Ok(vec!["none".to_owned()]);
    };
    let (ttl, deadline, generation) = (lease.ttl.0, lease.deadline.0, lease.generation);
    let keys = reader.lease_keys(id)?;
    Ok(vec![format!(
        "ttl={ttl} deadline={deadline} generation={generation} keys={keys:?}"
    )])
}

fn meta(reader: &Reader<'_>) -> Vec<String> {
    let meta = reader.meta();
    vec![
        format!(
            "revision={} floor={} now={}",
            meta.revision, meta.floor, meta.now.0
        ),
        format!("keys={} leases={}", meta.keys, meta.leases),
        format!(
            "history_bytes={} live_bytes={}",
            meta.history_bytes, meta.live_bytes
        ),
    ]
}

fn replay(transcript: &str) -> String {
    let mut node = Node::new();
    let mut out = String::new();
    let mut in_reply = false;
    for line in transcript.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            in_reply = true;
            out.push_str(&format!("{line}\n"));
            for reply in node.run(command) {
                out.push_str(&format!("{}\n", reply.trim_end()));
            }
        } else if line.is_empty() || !in_reply {
            in_reply = false;
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

fn check(name: &str) {
    let path = Path::new("tests/data").join(name);
    let expected = fs::read_to_string(&path).unwrap();
    assert!(expected.contains("\n> "), "{name} holds no command");
    let replayed = replay(&expected);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &replayed).unwrap();
        return;
    }
    for (number, (expected, replayed)) in expected.lines().zip(replayed.lines()).enumerate() {
        assert_eq!(replayed, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(replayed, expected, "{name} has another length");
}

macro_rules! transcripts {
    ($($test:ident: $file:literal;)+) => {
        $(#[test]
        fn $test() {
            check($file);
        })+

        #[test]
        fn every_transcript_is_replayed() {
            let listed = [$($file),+];
            let folder = Path::new("tests/data");
            for file in fs::read_dir(folder).unwrap() {
                let name = file.unwrap().file_name();
                assert!(listed.iter().any(|known| *known == name), "{name:?} is not listed");
            }
        }
    };
}

transcripts! {
    keys_are_put_read_and_deleted: "kv.txt";
    ranges_take_etcds_options: "range.txt";
    transactions_compare_check_and_run: "txn.txt";
    transactions_nest: "nested.txt";
    leases_are_granted_renewed_and_ended: "lease.txt";
    compaction_moves_the_floor: "compaction.txt";
    alarms_bar_commands: "alarm.txt";
    history_is_told_by_whole_revisions: "history.txt";
    members_are_published: "member.txt";
    instances_are_registered_and_drained: "registry.txt";
    most_of_a_service_does_not_expire_at_once: "brake.txt";
    guards_hold_or_refuse: "guard.txt";
    fence_policies_ask_for_guards: "fence.txt";
    data_is_fenced_though_its_keys_look_like_claims: "fence_lock.txt";
    claims_and_registrations_are_fenced: "fence_claims.txt";
    wills_are_fenced_when_they_run: "fence_wills.txt";
    sessions_answer_repeats: "session.txt";
    idempotency_keys_answer_repeats: "once.txt";
    locks_are_granted_first_come_first_served: "lock.txt";
    bundles_are_granted_whole: "bundle.txt";
    only_the_call_that_made_a_claim_takes_it_back: "withdraw.txt";
    leases_that_wait_in_a_circle_are_refused: "deadlock.txt";
    waits_end: "wait.txt";
    lost_locks_are_delayed: "delay.txt";
    elections_know_one_leader: "election.txt";
    wills_run_when_leases_and_claims_are_lost: "will.txt";
    users_do_what_their_roles_permit: "auth.txt";
}
