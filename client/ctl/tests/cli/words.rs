//! The command line of locks, elections, registrations, fences, sessions and guarded writes.

use std::time::Duration;

use tenure::LeaseId;
use tenurectl::{
    args::{
        AcquireArgs, Command, Elect, EndpointArg, Fence, GuardArg, Guards, Lease, Lock, Permits,
        Policy, ReadinessArg, SessionCommand,
    },
    failure::Failure,
};

use super::{NOWHERE, parse, refused, run};

fn command(arguments: &[&str]) -> Command {
    match parse(arguments) {
        Ok(cli) => cli.command,
        Err(failure) => panic!("{arguments:?}: {failure}"),
    }
}

fn lock(arguments: &[&str]) -> Result<Lock, Failure> {
    let Command::Lock(args) = parse(arguments)?.command else {
        panic!("{arguments:?} is no lock")
    };
    args.into_command()
}

fn acquire(arguments: &[&str]) -> AcquireArgs {
    match lock(arguments) {
        Ok(Lock::Acquire(args)) => args,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[test]
fn a_lock_is_taken_with_and_without_the_long_form() {
    for arguments in [
        &["lock", "jobs/7"][..],
        &["lock", "acquire", "jobs/7"],
        &["lock", "--ttl", "10", "jobs/7"],
        &["lock", "--endpoints", "a:1", "jobs/7", "--ttl=10s"],
    ] {
        let args = acquire(arguments);
        assert_eq!(args.name(), "jobs/7", "{arguments:?}");
        assert_eq!(args.ttl, Duration::from_secs(10), "{arguments:?}");
        assert!(args.exec.is_empty() && args.wait.is_none());
    }
}

#[test]
fn what_follows_the_name_of_a_lock_is_a_command_with_options_of_its_own() {
    for arguments in [
        &["lock", "jobs/7", "--", "sh", "-c", "exit 3"][..],
        &["lock", "jobs/7", "sh", "-c", "exit 3"],
        &["lock", "acquire", "jobs/7", "--", "sh", "-c", "exit 3"],
        &["lock", "acquire", "jobs/7", "sh", "-c", "exit 3"],
    ] {
        let args = acquire(arguments);
        assert_eq!(args.exec, ["sh", "-c", "exit 3"], "{arguments:?}");
    }
    // Options of ours mean nothing to us behind the name of a command.
    let args = acquire(&["lock", "jobs/7", "--ttl", "5", "sleep", "--ttl", "9"]);
    assert_eq!(args.exec, ["sleep", "--ttl", "9"]);
    assert_eq!(args.ttl, Duration::from_secs(5));
    let args = acquire(&["lock", "jobs/7", "--", "list", "--ttl", "9", "--", "-w"]);
    assert_eq!(args.exec, ["list", "--ttl", "9", "--", "-w"]);
    assert_eq!(args.ttl, Duration::from_secs(10));
}

#[test]
fn locks_called_like_a_subcommand_are_reached_by_the_long_form() {
    for word in ["list", "inspect", "release", "acquire"] {
        assert_eq!(acquire(&["lock", "acquire", word]).name(), word);
    }
}

#[test]
fn a_lock_and_a_subcommand_do_not_fit_together() {
    for arguments in [
        &["lock", "jobs/7", "list"][..],
        &["lock", "--ttl", "5", "list"],
        &["lock", "--shared", "inspect", "jobs/7"],
    ] {
        let error = refused(arguments, "", 2);
        assert!(error.contains("lock NAME -- COMMAND"), "{error}");
    }
    // Global options do, wherever they stand.
    let listed = lock(&["lock", "-w", "json", "list", "jobs/"]).unwrap();
    assert!(matches!(listed, Lock::List { prefix, .. } if prefix == "jobs/"));
}

#[test]
fn a_lock_is_shared_counted_and_bounded_by_options() {
    assert!(acquire(&["lock", "a", "--shared"]).shared);
    let permits = acquire(&["lock", "a", "--permits", "2/5"]).permits;
    assert_eq!(permits, Some(Permits { count: 2, limit: 5 }));
    let args = acquire(&[
        "lock",
        "a",
        "--wait",
        "0s",
        "--lock-delay=15s",
        "--principal",
        "ann",
    ]);
    assert_eq!(args.wait, Some(Duration::ZERO));
    assert_eq!(args.lock_delay, Some(Duration::from_secs(15)));
    assert_eq!(args.principal.as_deref(), Some("ann"));
}

#[test]
fn the_grace_is_a_quarter_of_the_ttl_and_at_most_a_second() {
    let grace = |arguments: &[&str]| acquire(arguments).grace();
    let milliseconds = Duration::from_millis;
    assert_eq!(grace(&["lock", "a"]).unwrap(), milliseconds(1_000));
    let short = grace(&["lock", "a", "--ttl", "800ms"]).unwrap();
    assert_eq!(short, milliseconds(200));
    let given = grace(&["lock", "a", "--grace", "3s"]).unwrap();
    assert_eq!(given, milliseconds(3_000));
    let failure = grace(&["lock", "a", "--grace", "10s"]).unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.to_string().contains("--grace"), "{failure}");
}

#[test]
fn an_election_is_entered_followed_or_handed_over() {
    let mode = |arguments: &[&str]| {
        let Command::Elect(args) = command(arguments) else {
            panic!("{arguments:?} is no election")
        };
        args
    };
    let args = mode(&["elect", "chief", "me"]);
    assert_eq!(args.mode().unwrap(), Elect::Campaign { value: "me" });
    let args = mode(&["elect", "-l", "chief"]);
    assert_eq!(args.mode().unwrap(), Elect::Listen);
    let args = mode(&["elect", "--hand-over-to", "0x1f", "chief", "--epoch", "7"]);
    let to = LeaseId::new(0x1f);
    assert_eq!(args.mode().unwrap(), Elect::HandOver { to, epoch: 7 });
}

#[test]
fn an_instance_says_all_of_itself_on_one_line() {
    let Command::Register(args) = command(&[
        "register",
        "billing",
        "b-7",
        "--endpoint",
        "grpc://10.0.0.7:8443",
        "--endpoint=http://[::1]:80",
        "--zone=eu-1a",
        "--tag=canary",
        "--tag=blue",
        "--meta=shard=7",
        "--weight=200",
        "--version=1.4.2",
        "--ttl=800ms",
        "--not-ready",
    ]) else {
        panic!("not a registration")
    };
    let host = |protocol: &str, host: &str, port| EndpointArg {
        protocol: protocol.to_owned(),
        host: host.to_owned(),
        port,
    };
    let endpoints = [host("grpc", "10.0.0.7", 8443), host("http", "::1", 80)];
    assert_eq!(args.served_at, endpoints);
    assert_eq!(args.tags, ["canary", "blue"]);
    assert_eq!(args.metadata, [("shard".to_owned(), "7".to_owned())]);
    assert_eq!((args.weight, args.not_ready), (200, true));
    assert_eq!(args.program_version.as_deref(), Some("1.4.2"));
    assert_eq!(args.ttl, Duration::from_millis(800));
}

#[test]
fn instances_are_selected_by_readiness() {
    let arguments = [
        "discover",
        "billing",
        "--readiness",
        "ready,draining",
        "--passing-or-all",
    ];
    let Command::Discover(args) = command(&arguments) else {
        panic!("not a discovery")
    };
    let wanted = [ReadinessArg::Ready, ReadinessArg::Draining];
    assert_eq!(args.selector.readiness, wanted);
    assert!(args.selector.passing_or_all);
}

#[test]
fn policies_tokens_and_sessions_have_commands() {
    let arguments = ["fence", "policy", "set", "data/", "jobs/7"];
    let Command::Fence(Fence::Policy(Policy::Set(set))) = command(&arguments) else {
        panic!("not a policy")
    };
    assert_eq!(
        (set.args.prefix.as_str(), set.args.lock.as_str()),
        ("data/", "jobs/7")
    );
    let Command::Fence(Fence::Check { name, token }) = command(&["fence", "check", "a", "7"])
    else {
        panic!("not a check")
    };
    assert_eq!((name.as_str(), token), ("a", 7));
    let Command::Session(SessionCommand::Open { ttl }) = command(&["session", "open"]) else {
        panic!("not a session")
    };
    assert_eq!(ttl, Duration::from_secs(60));
}

fn guards() -> Guards {
    let guard = |name: &str, token| GuardArg {
        name: name.to_owned(),
        token,
    };
    Guards {
        guards: vec![guard("jobs/7", 42), guard("a=b", 1)],
    }
}

#[test]
fn commands_that_write_take_guards_and_a_name() {
    for arguments in [
        &["put", "k", "v"][..],
        &["del", "k"],
        &["txn"],
        &["compaction", "5"],
        &["lease", "grant", "10"],
        &["lease", "revoke", "1f"],
    ] {
        let conditions = [
            "--guard=jobs/7=42",
            "--guard",
            "a=b=1",
            "--idempotency-key",
            "k 1",
        ];
        let found = match command(&[arguments, &conditions].concat()) {
            Command::Put(writing) => writing.conditions,
            Command::Del(writing) => writing.conditions,
            Command::Txn { conditions, .. } | Command::Compaction { conditions, .. } => conditions,
            Command::Lease(Lease::Grant { conditions, .. }) => conditions,
            Command::Lease(Lease::Revoke { conditions, .. }) => conditions,
            other => panic!("{arguments:?}: {other:?}"),
        };
        assert_eq!(found.guards, guards(), "{arguments:?}");
        assert_eq!(found.idempotency_key.as_deref(), Some("k 1"));
    }
}

#[test]
fn commands_that_are_the_same_when_repeated_take_guards() {
    for arguments in [
        &["lock", "release", "jobs/7", "--reason", "stuck"][..],
        &["elect", "chief", "--hand-over-to", "1f", "--epoch", "7"],
        &["drain", "billing", "b-7"],
        &["deregister", "billing", "b-7"],
        &["fence", "policy", "set", "data/", "jobs/7"],
        &["fence", "policy", "remove", "data/"],
    ] {
        let conditions = ["--guard=jobs/7=42", "--guard", "a=b=1"];
        let found = match command(&[arguments, &conditions].concat()) {
            Command::Drain(guarded) => guarded.guards,
            Command::Deregister(guarded) => guarded.guards,
            Command::Elect(args) => {
                assert!(args.mode().is_ok());
                args.guards
            }
            Command::Fence(Fence::Policy(Policy::Set(guarded))) => guarded.guards,
            Command::Fence(Fence::Policy(Policy::Remove(guarded))) => guarded.guards,
            Command::Lock(args) => match args.into_command() {
                Ok(Lock::Release(guarded)) => guarded.guards,
                other => panic!("{arguments:?}: {other:?}"),
            },
            other => panic!("{arguments:?}: {other:?}"),
        };
        assert_eq!(found, guards(), "{arguments:?}");
    }
}

#[test]
fn wrong_usage_names_the_option_and_what_it_takes() {
    for (arguments, text) in [
        (&["lock"][..], "NAME"),
        (&["lock", "a", "--ttl", "0"], "at least a millisecond"),
        (&["lock", "a", "--ttl", "soon"], "800ms"),
        (&["lock", "a", "--permits", "6/5"], "N/M"),
        (&["lock", "a", "--shared", "--permits", "1/5"], "--permits"),
        (&["lock", "a", "--grace", "10s"], "--grace must be shorter"),
        (&["lock", "release", "a"], "--reason"),
        (&["lock", "release", "a", "--reason", ""], "--reason"),
        (
            &["lock", "release", "a", "--token", "0", "--reason", "x"],
            "above zero",
        ),
        (&["elect", "chief"], "--listen"),
        (&["elect", "-l", "chief", "me"], "--listen"),
        (&["elect", "chief", "--hand-over-to", "1f"], "--epoch"),
        (&["elect", "chief", "--epoch", "7"], "--hand-over-to"),
        (
            &["elect", "chief", "me", "--guard", "a=1"],
            "--hand-over-to",
        ),
        (&["register", "s", "i"], "--endpoint"),
        (
            &["register", "s", "i", "--endpoint", "a:1"],
            "PROTOCOL://HOST:PORT",
        ),
        (
            &[
                "register",
                "s",
                "i",
                "--endpoint",
                "x://a:1",
                "--weight",
                "0",
            ],
            "--weight",
        ),
        (
            &["register", "s", "i", "--endpoint", "x://a:1", "--meta", "b"],
            "NAME=VALUE",
        ),
        (&["discover", "s", "--readiness", "mostly"], "mostly"),
        (&["fence", "check", "a", "-1"], "-1"),
        (&["session", "close", "zz"], "expecting ID in Hex"),
        (&["put", "k", "v", "--guard", "jobs"], "NAME=TOKEN"),
        (&["put", "k", "v", "--guard", "jobs=x"], "above zero"),
        (
            &["put", "k", "v", "--idempotency-key", ""],
            "printable ASCII",
        ),
    ] {
        let error = refused(arguments, "", 2);
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
}

#[test]
fn conditions_are_of_the_whole_transaction_and_not_of_its_parts() {
    let error = refused(&["txn"], "\nput k v --guard=a=1\n\n\n", 3);
    assert!(error.contains("--guard"), "{error}");
}

#[test]
fn help_says_how_a_lock_with_the_name_of_a_subcommand_is_taken() {
    let help = String::from_utf8(run(&["lock", "--help"], "").stdout).unwrap();
    for text in [
        "lock acquire NAME",
        "TENURE_LOCK_TOKEN",
        "--permits",
        "SIGKILL",
    ] {
        assert!(help.contains(text), "{text}: {help}");
    }
    let help = String::from_utf8(run(&["put", "--help"], "").stdout).unwrap();
    assert!(help.contains("--guard <NAME=TOKEN>"), "{help}");
}

#[test]
fn completions_know_the_commands() {
    let script = String::from_utf8(run(&["completion", "bash"], "").stdout).unwrap();
    for word in [
        "watch-endpoints",
        "--idempotency-key",
        "--hand-over-to",
        "--permits",
    ] {
        assert!(script.contains(word), "{word}");
    }
}

#[test]
fn nothing_is_run_when_the_lock_cannot_be_asked_for() {
    let error = refused(
        &[
            "--endpoints",
            NOWHERE,
            "lock",
            "a",
            "--wait",
            "1s",
            "--",
            "echo",
            "ran",
        ],
        "",
        1,
    );
    assert!(error.contains(NOWHERE), "{error}");
}
