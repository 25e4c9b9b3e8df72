//! The command line without a server: what parses, what is refused and how, and how fixed answers
//! look in every format.

#[path = "cli/access.rs"]
mod access;
#[path = "cli/answers.rs"]
mod answers;
#[path = "cli/copying.rs"]
mod copying;
#[path = "cli/words.rs"]
mod words;

use std::{
    ffi::OsString,
    io::Write,
    process::{Command, Output as ProcessOutput, Stdio},
    time::Duration,
};

use tenure::{
    LeaseId,
    wire::{
        etcdserverpb::{
            DeleteRangeResponse, LeaseGrantResponse, LeaseTimeToLiveResponse, Member,
            MemberListResponse, RangeResponse, ResponseHeader, ResponseOp, TxnResponse,
            response_op::Response,
        },
        mvccpb::{Event, KeyValue},
    },
};
use tenurectl::{
    args::{self, Cli, Format},
    failure::Failure,
    output::{Health, Output, Part, Reply, Watched},
};

/// Nothing listens here: the port is reserved and never served.
const NOWHERE: &str = "127.0.0.1:1";

fn parse(arguments: &[&str]) -> Result<Cli, Failure> {
    let arguments: Vec<_> = ["tenurectl"]
        .iter()
        .chain(arguments)
        .map(OsString::from)
        .collect();
    args::parse(&arguments, &|_| None)
}

/// Runs the program with nothing of etcd in its environment.
fn run(arguments: &[&str], input: &str) -> ProcessOutput {
    run_with(arguments, &[], input)
}
fn run_with(arguments: &[&str], variables: &[(&str, &str)], input: &str) -> ProcessOutput {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tenurectl"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built with this test");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // A program that exits before it reads closes its end, which is its right.
    _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child
        .wait_with_output()
        .expect("the program runs to its end")
}

fn refused(arguments: &[&str], input: &str, code: i32) -> String {
    let output = run(arguments, input);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty(), "{arguments:?} wrote data");
    error
}

fn rendered(format: Format, hex: bool, reply: &Reply) -> String {
    let text = Output { format, hex }
        .render(reply)
        .expect("the answer has this format");
    String::from_utf8_lossy(&text).into_owned()
}

fn header() -> ResponseHeader {
    ResponseHeader {
        cluster_id: 10,
        member_id: 11,
        revision: 12,
        raft_term: 2,
    }
}

fn kv(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: 3,
        mod_revision: 4,
        version: 2,
        lease: 0,
    }
}

fn get() -> Reply {
    let response = RangeResponse {
        header: Some(header()),
        kvs: vec![kv("a", "x\ny")],
        more: true,
        count: 3,
    };
    Reply::Get {
        response,
        part: Part::All,
    }
}

#[test]
fn switches_take_a_value_as_well() {
    for (arguments, expected) in [
        (&["get", "k"][..], false),
        (&["get", "k", "--hex"], true),
        (&["--hex=true", "get", "k"], true),
        (&["get", "--hex=false", "k"], false),
    ] {
        assert_eq!(
            parse(arguments).unwrap().global.hex,
            expected,
            "{arguments:?}"
        );
    }
}

#[test]
fn a_flag_beats_our_variable_and_our_variable_beats_that_of_etcdctl() {
    let ours = ("TENURECTL_ENDPOINTS", "127.0.0.1:2");
    let theirs = ("ETCDCTL_ENDPOINTS", "127.0.0.1:3,127.0.0.1:4");
    let asked = |arguments: &[&str], variables: &[(&str, &str)]| {
        let arguments: Vec<_> = ["endpoint", "status"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let output = run_with(&arguments, variables, "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let port = |port| error.contains(&format!("of endpoint 127.0.0.1:{port} "));
        (1..=4).filter(|number| port(*number)).collect::<Vec<_>>()
    };
    assert_eq!(asked(&["--endpoints", NOWHERE], &[ours, theirs]), [1]);
    assert_eq!(asked(&[], &[ours, theirs]), [2]);
    assert_eq!(asked(&[], &[theirs]), [3, 4]);
}

#[test]
fn a_variable_that_does_not_parse_is_wrong_usage() {
    let output = run_with(&["version"], &[("ETCDCTL_DIAL_TIMEOUT", "soon")], "");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("soon") && error.contains("--dial-timeout"),
        "{error}"
    );
}

#[test]
fn a_deadline_that_was_given_is_told_from_the_default() {
    let global = |arguments: &[&str]| parse(arguments).unwrap().global;
    let default = global(&["version"]);
    assert_eq!(default.command_timeout, Duration::from_secs(5));
    assert!(!default.command_timeout_given);
    let given = global(&["version", "--command-timeout", "1m30s"]);
    assert_eq!(given.command_timeout, Duration::from_secs(90));
    assert!(given.command_timeout_given);
}

#[test]
fn lease_ids_are_hexadecimal_with_or_without_their_mark() {
    for id in ["32695410dcc0ca06", "0x32695410dcc0ca06"] {
        let cli = parse(&["lease", "revoke", id]).unwrap();
        let args::Command::Lease(args::Lease::Revoke { id, .. }) = cli.command else {
            panic!("{:?}", cli.command)
        };
        assert_eq!(id, LeaseId::new(0x3269_5410_dcc0_ca06));
    }
}

#[test]
fn wrong_usage_exits_with_two_and_names_what_is_wrong() {
    for (arguments, text) in [
        (&["nosuch"][..], "nosuch"),
        (&["get"], "KEY"),
        (&["get", "k", "--nope"], "--nope"),
        (
            &["get", "k", "--order", "sideways"],
            "bad sort order sideways",
        ),
        (&["get", "k", "--sort-by", "mood"], "bad sort target mood"),
        (
            &["get", "k", "--prefix", "--from-key"],
            "cannot be set at the same time",
        ),
        (&["get", "k", "l", "--prefix"], "too many arguments"),
        (
            &["get", "k", "-w", "json", "--print-value-only"],
            "print-value-only",
        ),
        (&["get", "k", "-w", "yaml"], "yaml"),
        (&["put", "k", "v", "--ignore-value"], "ignore-value"),
        (&["lease", "revoke", "zz"], "expecting ID in Hex"),
        (&["member", "add", "m"], "--peer-urls"),
        (&["watch"], "TENURECTL_WATCH_KEY"),
        (&["--cert", "c.pem", "get", "k"], "--cert and --key"),
        (&["--key", "k.pem", "get", "k"], "--cert and --key"),
        (&["--endpoints", "ftp://a:1", "get", "k"], "ftp://a:1"),
        (&["--user", "root", "get", "k"], "--password"),
        (&["--dial-timeout", "soon", "get", "k"], "--dial-timeout"),
    ] {
        let expected = if text == "ftp://a:1" { 1 } else { 2 };
        let error = refused(arguments, "", expected);
        assert!(error.contains(text), "{arguments:?}: {error}");
    }
}

#[test]
fn a_value_that_is_nowhere_is_wrong_usage() {
    let error = refused(&["put", "k"], "", 2);
    assert!(error.contains("input from stdin or 2 arguments"), "{error}");
}

#[test]
fn a_transaction_that_does_not_parse_exits_with_three() {
    let error = refused(&["txn"], "mod(k) > 0\n\n\n\n", 3);
    assert!(
        error.contains("malformed comparison: mod(k) > 0"),
        "{error}"
    );
    let error = refused(&["txn"], "\nput k\n\n\n", 3);
    assert!(error.contains("put k"), "{error}");
    let error = refused(&["txn"], "mod(\"k\") > \"0\"\n", 3);
    assert!(error.contains("unexpected end"), "{error}");
}

#[test]
fn an_unreachable_server_exits_with_one_and_says_what_to_check() {
    let error = refused(&["--endpoints", NOWHERE, "get", "k"], "", 1);
    assert!(error.contains(NOWHERE), "{error}");
    assert!(
        error.contains("--endpoints (TENURECTL_ENDPOINTS)"),
        "{error}"
    );
    let error = refused(&["--endpoints", NOWHERE, "put", "k"], "v", 1);
    assert!(
        !error.contains("may have been executed"),
        "nothing was sent: {error}"
    );
}

#[test]
fn one_unhealthy_endpoint_makes_the_check_of_health_fail() {
    let error = refused(&["--endpoints", NOWHERE, "endpoint", "health"], "", 1);
    assert!(error.contains(&format!(
        "{NOWHERE} is unhealthy: failed to commit proposal"
    )));
    assert!(error.contains("Error: unhealthy cluster"), "{error}");
}

#[test]
fn help_version_and_completions_need_no_server() {
    let help = String::from_utf8(run(&["--help"], "").stdout).unwrap();
    assert!(
        help.contains("compaction") && help.contains("TENURECTL_ENDPOINTS"),
        "{help}"
    );
    let version = String::from_utf8(run(&["version"], "").stdout).unwrap();
    assert!(version.starts_with("tenurectl version: "), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completion", shell], "");
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{shell}"
        );
    }
}

#[test]
fn keys_are_printed_in_every_format_but_a_table() {
    assert_eq!(rendered(Format::Simple, false, &get()), "a\nx\ny\n");
    assert_eq!(
        rendered(Format::Simple, true, &get()),
        "\\x61\n\\x78\\x0a\\x79\n"
    );
    assert_eq!(
        rendered(Format::Json, false, &get()),
        concat!(
            r#"{"header":{"cluster_id":10,"member_id":11,"revision":12,"raft_term":2},"#,
            r#""kvs":[{"key":"YQ==","create_revision":3,"mod_revision":4,"version":2,"#,
            r#""value":"eAp5"}],"more":true,"count":3}"#,
            "\n"
        )
    );
    assert_eq!(
        rendered(Format::Fields, false, &get()),
        concat!(
            "\"ClusterID\" : 10\n\"MemberID\" : 11\n\"Revision\" : 12\n\"RaftTerm\" : 2\n",
            "\"Key\" : \"a\"\n\"CreateRevision\" : 3\n\"ModRevision\" : 4\n\"Version\" : 2\n",
            "\"Value\" : \"x\\ny\"\n\"Lease\" : 0\n\"More\" : true\n\"Count\" : 3\n"
        )
    );
    let failure = Output {
        format: Format::Table,
        hex: false,
    }
    .render(&get())
    .unwrap_err();
    assert_eq!(failure.exit_code(), 4);
    assert_eq!(failure.to_string(), "table not supported as output format");
}

#[test]
fn only_values_or_only_the_number_of_keys_can_be_printed() {
    let Reply::Get { response, .. } = get() else {
        unreachable!("made above")
    };
    let values = Reply::Get {
        response: response.clone(),
        part: Part::Values,
    };
    assert_eq!(rendered(Format::Simple, false, &values), "x\ny\n");
    let count = Reply::Get {
        response,
        part: Part::Count,
    };
    assert_eq!(rendered(Format::Simple, false, &count), "3\n");
}

#[test]
fn transactions_print_their_answers_one_below_the_other() {
    let range = RangeResponse {
        kvs: vec![kv("a", "1")],
        count: 1,
        ..RangeResponse::default()
    };
    let nested = TxnResponse {
        succeeded: true,
        ..TxnResponse::default()
    };
    let answers = [
        Response::ResponseRange(range),
        Response::ResponseDeleteRange(DeleteRangeResponse {
            deleted: 2,
            ..Default::default()
        }),
        Response::ResponseTxn(nested),
    ];
    let responses = answers
        .map(|answer| ResponseOp {
            response: Some(answer),
        })
        .to_vec();
    let reply = Reply::Txn(TxnResponse {
        header: Some(header()),
        succeeded: false,
        responses,
    });
    assert_eq!(
        rendered(Format::Simple, false, &reply),
        "FAILURE\n\na\n1\n\n2\n\nSUCCESS\n"
    );
    assert_eq!(
        rendered(Format::Json, false, &reply),
        concat!(
            r#"{"header":{"cluster_id":10,"member_id":11,"revision":12,"raft_term":2},"#,
            r#""responses":[{"Response":{"response_range":{"kvs":[{"key":"YQ==","#,
            r#""create_revision":3,"mod_revision":4,"version":2,"value":"MQ=="}],"count":1}}},"#,
            r#"{"Response":{"response_delete_range":{"deleted":2}}},"#,
            r#"{"Response":{"response_txn":{"succeeded":true}}}]}"#,
            "\n"
        )
    );
}

#[test]
fn the_end_of_a_watch_carries_the_compaction_floor() {
    let watched = Watched {
        header: header(),
        compact_revision: 3,
        canceled: true,
        ..Watched::default()
    };
    assert_eq!(
        rendered(Format::Json, false, &Reply::Watch(watched)),
        concat!(
            r#"{"Header":{"cluster_id":10,"member_id":11,"revision":12,"raft_term":2},"#,
            r#""Events":[],"CompactRevision":3,"Canceled":true,"Created":false}"#,
            "\n"
        )
    );
}

#[test]
fn changes_are_printed_with_what_was_there_before() {
    let event = Event {
        r#type: 1,
        kv: Some(kv("a", "")),
        prev_kv: Some(kv("a", "old")),
    };
    let watched = Watched {
        events: vec![event],
        ..Watched::default()
    };
    assert_eq!(
        rendered(Format::Simple, false, &Reply::Watch(watched)),
        "DELETE\na\nold\na\n\n"
    );
}

#[test]
fn leases_are_printed_in_sixteen_hexadecimal_digits() {
    let granted = LeaseGrantResponse {
        header: Some(header()),
        id: 0x1f,
        ttl: 100,
        error: String::new(),
    };
    assert_eq!(
        rendered(Format::Simple, false, &Reply::Grant(granted)),
        "lease 000000000000001f granted with TTL(100s)\n"
    );
    let ttl = |ttl, granted_ttl| LeaseTimeToLiveResponse {
        header: None,
        id: 0x1f,
        ttl,
        granted_ttl,
        keys: vec!["a".into(), "b".into()],
    };
    assert_eq!(
        rendered(Format::Simple, false, &Reply::TimeToLive(ttl(40, 50), true)),
        "lease 000000000000001f granted with TTL(50s), remaining(40s), attached keys([a b])\n"
    );
    assert_eq!(
        rendered(Format::Simple, false, &Reply::TimeToLive(ttl(-1, 0), true)),
        "lease 000000000000001f already expired\n"
    );
    let json = rendered(Format::Json, false, &Reply::TimeToLive(ttl(40, 50), true));
    assert_eq!(
        json,
        "{\"id\":31,\"ttl\":40,\"granted-ttl\":50,\"keys\":[\"YQ==\",\"Yg==\"]}\n"
    );
}

#[test]
fn lists_are_tables_with_centred_headings() {
    let member = Member {
        id: 0xbac7,
        name: "default".to_owned(),
        peer_ur_ls: vec!["http://a:2380".to_owned()],
        client_ur_ls: vec!["http://a:2379".to_owned(), "http://b:2379".to_owned()],
        is_learner: false,
    };
    let reply = Reply::MemberList(MemberListResponse {
        header: Some(header()),
        members: vec![member],
    });
    assert_eq!(
        rendered(Format::Simple, false, &reply),
        "bac7, started, default, http://a:2380, http://a:2379,http://b:2379, false\n"
    );
    assert_eq!(
        rendered(Format::Table, false, &reply),
        "\
+------+---------+---------+---------------+-----------------------------+------------+
|  ID  | STATUS  |  NAME   |  PEER ADDRS   |        CLIENT ADDRS         | IS LEARNER |
+------+---------+---------+---------------+-----------------------------+------------+
| bac7 | started | default | http://a:2380 | http://a:2379,http://b:2379 |      false |
+------+---------+---------+---------------+-----------------------------+------------+
"
    );
    let json = rendered(Format::Json, true, &reply);
    assert!(
        json.contains(r#""member_id":"b""#) && json.contains(r#""ID":"bac7""#),
        "{json}"
    );
}

#[test]
fn unhealthy_endpoints_are_left_to_standard_error_in_simple_form() {
    let health = |error: Option<&str>| Health {
        endpoint: "a:1".to_owned(),
        took: "1ms".to_owned(),
        error: error.map(str::to_owned),
    };
    let reply = Reply::Health(vec![health(None), health(Some("no leader"))]);
    assert_eq!(
        rendered(Format::Simple, false, &reply),
        "a:1 is healthy: successfully committed proposal: took = 1ms\n"
    );
    assert_eq!(
        rendered(Format::Json, false, &reply),
        concat!(
            r#"[{"endpoint":"a:1","health":true,"took":"1ms"},"#,
            r#"{"endpoint":"a:1","health":false,"took":"1ms","error":"no leader"}]"#,
            "\n"
        )
    );
}

#[test]
fn options_that_etcdctl_takes_twice_or_before_the_verb_are_taken() {
    let get = |arguments: &[&str]| {
        let cli = parse(arguments).unwrap_or_else(|failure| panic!("{arguments:?}: {failure}"));
        let args::Command::Get(get) = cli.command else {
            panic!("{arguments:?} is no get")
        };
        (cli.global.write_out, get)
    };
    for arguments in [
        &["get", "a", "-w", "table", "-w", "json", "--consistency=s"][..],
        &["-w", "table", "-w", "json", "--consistency=s", "get", "a"],
        &["--consistency", "s", "-wjson", "get", "a"],
        &[
            "--consistency=l",
            "get",
            "--consistency=s",
            "a",
            "--write-out=json",
        ],
    ] {
        let (format, get) = get(arguments);
        assert_eq!(format, Format::Json, "{arguments:?}");
        assert_eq!(get.consistency, args::Consistency::S, "{arguments:?}");
        assert_eq!(get.key, "a");
    }
    let (_, prefixed) = get(&["--prefix", "--limit", "3", "get", "a"]);
    assert!(prefixed.prefix && prefixed.limit == 3);
    for compact in [&["compact", "7"][..], &["--physical", "compaction", "7"]] {
        let parsed = parse(compact).map(|cli| cli.command);
        let Ok(args::Command::Compaction { revision: 7, .. }) = parsed else {
            panic!("{compact:?}: {parsed:?}")
        };
    }
    let nested = parse(&["--keys", "lease", "timetolive", "7"]).map(|cli| cli.command);
    let Ok(args::Command::Lease(args::Lease::Timetolive { keys: true, .. })) = nested else {
        panic!("{nested:?}")
    };
    refused(&["--no-such-option", "get", "a"], "", 2);
}
