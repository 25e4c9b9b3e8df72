//! How fixed answers of tenure's own services look in every format.

use std::time::Duration;

use tenure::{
    Discovered, LeaseId, RegisteredInstance,
    wire::v1::{
        CheckTokenResponse, Claim, DiscoverResponse, Endpoint, Header, InspectResponse,
        InspectSessionResponse, Instance, ListPoliciesResponse, ListResponse, Mode, Permits,
        Policy, Readiness, Registration, mode::Kind,
    },
};
use tenurectl::{
    args::Format,
    output::{Answer, Reply},
};

use super::rendered;

const FORMATS: [Format; 4] = [Format::Simple, Format::Json, Format::Fields, Format::Table];

/// An answer in one format.
fn text(format: Format, answer: &Answer) -> String {
    rendered(format, false, &Reply::Coordination(answer.clone()))
}

fn header() -> Option<Header> {
    Some(Header {
        cluster_id: 10,
        member_id: 11,
        revision: 12,
    })
}

fn claim() -> Claim {
    Claim {
        name: "jobs/7".into(),
        key: "jobs/7/1f".into(),
        lease: 0x1f,
        token: 9,
        held: true,
        since_ms: 1_500,
        principal: "ann".to_owned(),
        ..Claim::default()
    }
}

fn waiting() -> Claim {
    let permits = Permits { count: 2, limit: 5 };
    Claim {
        key: "jobs/7/2f".into(),
        lease: 0x2f,
        token: 10,
        mode: Some(Mode {
            kind: Some(Kind::Permits(permits)),
        }),
        held: false,
        position: 1,
        principal: String::new(),
        ..claim()
    }
}

fn registration() -> Registration {
    let endpoint = |host: &str| Endpoint {
        protocol: "grpc".to_owned(),
        host: host.to_owned(),
        port: 80,
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let instance = Instance {
        service: "billing".to_owned(),
        id: "b-7".to_owned(),
        endpoints: vec![endpoint("a"), endpoint("::1")],
        metadata: [pair("shard", "7"), pair("arch", "arm")].into(),
        tags: vec!["blue".to_owned()],
        zone: "eu-1a".to_owned(),
        readiness: Readiness::Ready.into(),
        ..Instance::default()
    };
    Registration {
        instance: Some(instance),
        incarnation: 5,
        lease: 0x1f,
        revision: 8,
    }
}

fn queue() -> Answer {
    Answer::Queue(InspectResponse {
        header: header(),
        holders: vec![claim()],
        waiters: vec![waiting()],
        waiting: 1,
        delay_ms: 0,
    })
}

#[test]
fn a_lock_that_was_taken_is_printed_as_etcdctl_prints_it() {
    let taken = Answer::Taken(claim());
    // The key, and its value, which is empty.
    assert_eq!(text(Format::Simple, &taken), "jobs/7/1f\n\n");
    assert_eq!(
        text(Format::Json, &taken),
        concat!(
            r#"{"name":"am9icy83","key":"am9icy83LzFm","token":9,"lease":31}"#,
            "\n"
        )
    );
    assert_eq!(
        text(Format::Fields, &taken),
        concat!(
            "\"Name\" : \"jobs/7\"\n\"Key\" : \"jobs/7/1f\"\n\"Token\" : 9\n\"Lease\" : 31\n",
            "\"Value\" : \"\"\n"
        )
    );
    assert_eq!(
        text(Format::Table, &taken),
        "\
+--------+-----------+-------+------------------+
|  NAME  |    KEY    | TOKEN |      LEASE       |
+--------+-----------+-------+------------------+
| jobs/7 | jobs/7/1f |     9 | 000000000000001f |
+--------+-----------+-------+------------------+
"
    );
}

#[test]
fn the_leader_is_a_key_and_what_it_proclaims_and_nothing_while_nobody_leads() {
    let leader = Claim {
        value: "me".into(),
        ..claim()
    };
    let elected = Answer::Leader(Some(leader));
    assert_eq!(text(Format::Simple, &elected), "jobs/7/1f\nme\n");
    let json = text(Format::Json, &elected);
    assert!(json.starts_with(r#"{"leader":[{"name":"#), "{json}");
    let vacant = Answer::Leader(None);
    assert_eq!(text(Format::Simple, &vacant), "");
    assert_eq!(text(Format::Json, &vacant), "{}\n");
}

#[test]
fn who_holds_a_lock_and_who_waits_are_one_table() {
    assert_eq!(
        text(Format::Simple, &queue()),
        "9, 000000000000001f, exclusive, true, 0, 1.5s, ann\n\
         10, 000000000000002f, permits 2/5, false, 1, 1.5s, \n"
    );
    let table = text(Format::Table, &queue());
    assert!(
        table.contains("| TOKEN |      LEASE       |    MODE     | HELD"),
        "{table}"
    );
    assert_eq!(table.lines().count(), 6, "{table}");
    let json = text(Format::Json, &queue());
    let expected = concat!(
        r#"{"header":{"cluster_id":10,"member_id":11,"revision":12},"waiting":1,"#,
        r#""holders":[{"name":"am9icy83","key":"am9icy83LzFm","token":9,"lease":31,"#,
        r#""mode":"exclusive","held":true,"since_ms":1500,"principal":"ann"}],"#,
        r#""waiters":[{"name":"am9icy83","key":"am9icy83LzJm","token":10,"lease":47,"#,
        r#""mode":"permits 2/5","since_ms":1500,"position":1}]}"#,
        "\n"
    );
    assert_eq!(json, expected);
}

#[test]
fn locks_are_listed_with_their_holders() {
    let locks = Answer::Locks(ListResponse {
        header: header(),
        claims: vec![claim()],
        more: true,
    });
    assert_eq!(
        text(Format::Simple, &locks),
        "jobs/7, 9, 000000000000001f, exclusive, true, 1.5s, ann\n"
    );
    assert!(text(Format::Json, &locks).contains(r#""more":true,"claims":[{"name":"#));
}

#[test]
fn names_that_would_break_a_row_are_quoted() {
    let odd = Claim {
        name: vec![b'a', b'\n', 0xff].into(),
        principal: "\u{1b}[2J".to_owned(),
        ..claim()
    };
    let locks = Answer::Locks(ListResponse {
        claims: vec![odd],
        ..ListResponse::default()
    });
    let simple = text(Format::Simple, &locks);
    assert!(simple.starts_with(r#""a\n\xff", 9, "#), "{simple}");
    assert!(simple.ends_with("\"\\x1b[2J\"\n"), "{simple}");
}

#[test]
fn an_instance_is_one_row_and_all_of_its_fields() {
    let found = Answer::Instances(Discovered::from_wire(DiscoverResponse {
        header: header(),
        registrations: vec![registration()],
        all: true,
        age_ms: 20,
    }));
    assert_eq!(
        text(Format::Simple, &found),
        "b-7, ready, grpc://a:80,grpc://[::1]:80, eu-1a, , 100, blue, 5, 000000000000001f\n"
    );
    assert_eq!(
        text(Format::Json, &found),
        concat!(
            r#"{"header":{"cluster_id":10,"member_id":11,"revision":12},"all":true,"age_ms":20,"#,
            r#""registrations":[{"service":"billing","id":"b-7","#,
            r#""endpoints":["grpc://a:80","grpc://[::1]:80"],"#,
            r#""metadata":{"arch":"arm","shard":"7"},"tags":["blue"],"zone":"eu-1a","#,
            r#""weight":100,"readiness":"ready","incarnation":5,"lease":31,"revision":8}]}"#,
            "\n"
        )
    );
    let fields = text(Format::Fields, &found);
    for line in [
        "\"AgeMs\" : 20",
        "\"Endpoints\" : \"grpc://[::1]:80\"",
        "\"Metadata\" : \"arch=arm\"",
    ] {
        assert!(fields.contains(line), "{fields}");
    }
}

#[test]
fn changes_of_instances_are_one_line_each() {
    let snapshot = Answer::Snapshot {
        registrations: vec![RegisteredInstance::from_wire(registration())],
        all: false,
    };
    let line = "UP b-7 ready grpc://a:80,grpc://[::1]:80 zone=eu-1a weight=100 tags=blue \
                incarnation=5 lease=000000000000001f\n";
    assert_eq!(
        text(Format::Simple, &snapshot),
        format!("SNAPSHOT 1\n{line}")
    );
    let delta = Answer::Delta {
        updated: vec![RegisteredInstance::from_wire(registration())],
        removed: vec!["b-8".to_owned()],
    };
    assert_eq!(text(Format::Simple, &delta), format!("DOWN b-8\n{line}"));
    let json = text(Format::Json, &delta);
    assert!(
        json.contains(r#""change":"delta","removed":["b-8"],"updated":[{"#),
        "{json}"
    );
    assert_eq!(json.lines().count(), 1, "one document a change");
}

#[test]
fn a_token_is_said_to_hold_or_who_holds_instead() {
    let checked = |valid, current_token| Answer::Token {
        name: "jobs/7".to_owned(),
        token: 9,
        response: CheckTokenResponse {
            valid,
            current_token,
            remaining_ms: 1_500,
            ..CheckTokenResponse::default()
        },
    };
    let simple = |answer| text(Format::Simple, &answer);
    assert_eq!(
        simple(checked(true, 9)),
        "jobs/7 is held under token 9, remaining(1.5s)\n"
    );
    assert_eq!(
        simple(checked(false, 12)),
        "jobs/7 is held under token 12\n"
    );
    assert_eq!(simple(checked(false, 0)), "nobody holds jobs/7\n");
    let json = text(Format::Json, &checked(true, 9));
    assert!(
        json.contains(r#""token":9,"valid":true,"current_token":9"#),
        "{json}"
    );
}

#[test]
fn a_session_tells_what_it_remembers_and_claims() {
    let session = Answer::Session {
        session: LeaseId::new(0x1f),
        response: InspectSessionResponse {
            header: header(),
            ttl_ms: 10_000,
            remaining_ms: 8_500,
            remembered: 3,
            forgotten: 40,
            claims: vec![claim()],
        },
    };
    assert_eq!(
        text(Format::Simple, &session),
        "000000000000001f, 10s, 8.5s, 3, 40\n"
    );
    let json = text(Format::Json, &session);
    assert!(
        json.contains(r#""remembered":3,"forgotten":40,"claims":[{"name":"#),
        "{json}"
    );
}

#[test]
fn every_answer_has_every_format() {
    let service = || "billing".to_owned();
    let id = || "b-7".to_owned();
    let lease = LeaseId::new(0x1f);
    let ttl = Duration::from_secs(10);
    let policy = Policy {
        prefix: "data/".into(),
        lock: "jobs/7".into(),
    };
    let policies = ListPoliciesResponse {
        header: header(),
        policies: vec![policy.clone()],
    };
    let registered = Answer::Registered {
        service: service(),
        id: id(),
        incarnation: 5,
        lease,
        ttl,
    };
    for (answer, said) in [
        (queue(), "9, 000000000000001f"),
        (registered, "billing/b-7 registered, incarnation 5"),
        (
            Answer::Departed {
                service: service(),
                id: id(),
                grace: Some(ttl),
            },
            "billing/b-7 draining, gone in 10s",
        ),
        (
            Answer::Departed {
                service: service(),
                id: id(),
                grace: None,
            },
            "billing/b-7 deregistered",
        ),
        (Answer::Policies(policies), "data/, jobs/7"),
        (
            Answer::PolicySet(policy),
            "writes below data/ need a guard of jobs/7",
        ),
        (
            Answer::PolicyRemoved("data/".to_owned()),
            "writes below data/ need no guard",
        ),
        (
            Answer::SessionOpened {
                session: lease,
                ttl,
            },
            "session 000000000000001f opened with TTL(10s)",
        ),
        (
            Answer::SessionClosed(lease),
            "session 000000000000001f closed",
        ),
    ] {
        for format in FORMATS {
            assert!(!text(format, &answer).is_empty(), "{format:?}: {answer:?}");
        }
        let simple = text(Format::Simple, &answer);
        assert!(simple.starts_with(said), "{simple}");
        assert!(
            text(Format::Table, &answer).lines().count() >= 5,
            "{answer:?}"
        );
    }
}
