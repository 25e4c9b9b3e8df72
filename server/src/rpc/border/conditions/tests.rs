//! Conditions of writes, valid and malformed.

use std::net::Ipv4Addr;

use futures::StreamExt;
use tenure_proto::etcdserverpb::{PutRequest, kv_client::KvClient};
use tenure_statemachine::{AuthRevision, FeatureLevel};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{metadata::MetadataValue, transport::Server};

use super::*;
use crate::{
    rpc::{Limits, fake::FakeNode, routes},
    transport::Connection,
};

fn text(pairs: &[(&'static str, &'static str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (key, value) in pairs {
        metadata.append(*key, value.parse().expect("ascii"));
    }
    metadata
}

fn read(pairs: &[(&'static str, &'static str)]) -> Conditions {
    Conditions::of(&text(pairs)).expect("understood")
}

fn refused(pairs: &[(&'static str, &'static str)]) -> String {
    let refused = Conditions::of(&text(pairs)).expect_err("refused");
    refused.message().into_owned()
}

fn held(name: &'static str, token: i64) -> Guard {
    Guard {
        name: name.into(),
        token: Revision(token),
    }
}

fn wire(name: &'static str, token: i64) -> v1::Guard {
    v1::Guard {
        name: name.into(),
        token,
    }
}

#[test]
fn without_conditions_a_command_stays_what_it_is() {
    let conditions = read(&[("user-agent", "x"), ("tenure-other", "=")]);
    assert_eq!(conditions, Conditions::default());
    assert!(!conditions.is_repeatable());
    let command = Command::Compact(Revision(7));
    assert_eq!(conditions.on(command.clone()), command);
}

#[test]
fn guards_come_as_text_as_bytes_and_in_options_and_each_counts_once() {
    let mut metadata = text(&[
        (GUARD_TEXT_METADATA, "a=b=17"),
        (GUARD_TEXT_METADATA, "c=1"),
    ]);
    let bytes = wire("\0", 5).encode_to_vec();
    metadata.append_bin(GUARD_BYTES_METADATA, MetadataValue::from_bytes(&bytes));
    let options = v1::WriteOptions {
        guards: vec![wire("c", 1), wire("d", 2)],
        ..Default::default()
    };
    let conditions = Conditions::of(&metadata).and_then(|found| found.and(Some(options)));
    let mut guards = conditions.expect("understood").guards;
    guards.sort_by_key(|guard| guard.token);
    let expected = [held("c", 1), held("d", 2), held("\0", 5), held("a=b", 17)];
    assert_eq!(guards, expected);
}

#[test]
fn a_command_is_wrapped_with_all_it_carries() {
    let conditions = read(&[(GUARD_TEXT_METADATA, "a=1"), (REQUEST_METADATA, "2a.3.1")]);
    assert!(conditions.is_repeatable());
    let command = Command::Compact(Revision(7));
    let Command::Conditional(wrapped) = conditions.on(command.clone()) else {
        panic!("it is conditional");
    };
    let request = RequestId::Session {
        session: LeaseId(0x2a),
        sequence: 3,
        answered: 1,
    };
    let expected = Conditional {
        guards: vec![held("a", 1)],
        request: Some(request),
        command,
    };
    assert_eq!(*wrapped, expected);
}

#[test]
fn malformed_guards_are_refused_with_what_is_wrong() {
    for (value, detail) in [
        ("", "\"\" is not NAME=TOKEN"),
        ("name", "\"name\" is not NAME=TOKEN"),
        ("name=", "\"name=\" is not NAME=TOKEN"),
        ("name=x", "\"name=x\" is not NAME=TOKEN"),
        ("name= 1", "\"name= 1\" is not NAME=TOKEN"),
        ("name=+1", "\"name=+1\" is not NAME=TOKEN"),
        ("name=-1", "\"name=-1\" is not NAME=TOKEN"),
        (
            "name=9223372036854775808",
            "\"name=9223372036854775808\" is not NAME=TOKEN",
        ),
        ("=1", "name is not provided"),
        ("name=0", "token of \"name\" is 0, tokens are positive"),
    ] {
        let expected = format!("tenure: guard is malformed: {detail}");
        assert_eq!(refused(&[(GUARD_TEXT_METADATA, value)]), expected);
    }
    let long = v1::Guard {
        name: vec![b'n'; 4097].into(),
        token: 1,
    };
    assert_eq!(
        guard(long).expect_err("refused").message(),
        "tenure: guard is malformed: name is too long: 4097 bytes, at most 4096"
    );
    assert_eq!(
        guard(wire("name", -1)).expect_err("refused").message(),
        "tenure: guard is malformed: token of \"name\" is -1, tokens are positive"
    );
}

#[test]
fn guards_in_bytes_that_are_none_are_refused() {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(GUARD_BYTES_METADATA, MetadataValue::from_bytes(b"\xff"));
    let refused = Conditions::of(&metadata).expect_err("refused");
    assert_eq!(
        refused.message(),
        "tenure: guard is malformed: tenure-guard-bin is not a tenure.v1.Guard"
    );
    let mut headers = http::HeaderMap::new();
    headers.insert(GUARD_BYTES_METADATA, "!".parse().expect("visible"));
    let refused = Conditions::of(&MetadataMap::from_headers(headers)).expect_err("refused");
    assert_eq!(
        refused.message(),
        "tenure: guard is malformed: tenure-guard-bin is not base64"
    );
}

#[test]
fn a_write_carries_sixteen_guards_and_no_more() {
    let list = |count: i64| (1..=count).map(|token| wire("a", token)).collect();
    assert_eq!(guards(list(16)).map(|found| found.len()), Ok(16));
    let refused = guards(list(17)).expect_err("refused");
    assert_eq!(refused.message(), "tenure: too many guards: at most 16");
}

#[test]
fn malformed_request_ids_are_refused_with_what_is_wrong() {
    for (value, detail) in [
        ("2a.1", "\"2a.1\" is not SESSION.SEQUENCE.ANSWERED"),
        ("2a.1.0.0", "\"2a.1.0.0\" is not SESSION.SEQUENCE.ANSWERED"),
        ("x.1.0", "\"x.1.0\" is not SESSION.SEQUENCE.ANSWERED"),
        (".1.0", "\".1.0\" is not SESSION.SEQUENCE.ANSWERED"),
        ("2a.-1.0", "\"2a.-1.0\" is not SESSION.SEQUENCE.ANSWERED"),
        ("0.1.0", "session is not provided"),
        ("2a.0.0", "sequence is 0, the first is 1"),
        ("2a.5.5", "5 is said to be answered, before request 5 is"),
    ] {
        let expected = format!("tenure: request id is malformed: {detail}");
        assert_eq!(refused(&[(REQUEST_METADATA, value)]), expected);
    }
    assert_eq!(
        refused(&[(IDEMPOTENCY_KEY_METADATA, "")]),
        "tenure: request id is malformed: idempotency key is empty"
    );
    let long = v1::WriteOptions {
        idempotency_key: "k".repeat(257),
        ..Default::default()
    };
    let refused = Conditions::default().and(Some(long)).expect_err("refused");
    assert_eq!(
        refused.message(),
        "tenure: request id is malformed: idempotency key is too long: 257 bytes, at most 256"
    );
}

#[test]
fn a_request_has_one_id() {
    let both = [
        (REQUEST_METADATA, "2a.1.0"),
        (IDEMPOTENCY_KEY_METADATA, "k"),
    ];
    assert_eq!(refused(&both), "tenure: request has two ids");
    let options = |key: &str| {
        Some(v1::WriteOptions {
            idempotency_key: key.to_owned(),
            ..Default::default()
        })
    };
    let in_metadata = read(&[(IDEMPOTENCY_KEY_METADATA, "k")]);
    assert_eq!(
        in_metadata.clone().and(options("k")),
        Ok(in_metadata.clone())
    );
    let refused = in_metadata.and(options("l"));
    assert_eq!(refused, Err(Reason::RequestNamedTwice.into()));
}

#[test]
fn a_repeated_request_makes_the_same_lease_and_every_request_another() {
    let made = |pairs: &[(&'static str, &'static str)]| {
        let register = Command::Registry(RegistryCommand::Register(Register {
            lease: LeaseId(5),
            grant: Some(tenure_statemachine::Ttl(1000)),
            ..Register::default()
        }));
        match read(pairs).on(register) {
            Command::Conditional(conditional) => conditional.command,
            command => command,
        }
    };
    let id = |command: Command| match command {
        Command::Registry(RegistryCommand::Register(register)) => register.lease,
        other => panic!("an instance is registered: {other:?}"),
    };
    let key = [(IDEMPOTENCY_KEY_METADATA, "k")];
    assert_eq!(made(&key), made(&key));
    assert!(id(made(&key)).0 > 0);
    let first = made(&[(REQUEST_METADATA, "2a.1.0")]);
    assert_eq!(first, made(&[(REQUEST_METADATA, "2a.1.0")]));
    for other in [(REQUEST_METADATA, "2a.2.0"), (REQUEST_METADATA, "2b.1.0")] {
        assert_ne!(first, made(&[other]));
    }
    assert_eq!(id(made(&[])), LeaseId(5), "without an id it stays");
    assert_ne!(
        Conditions::default().new_lease(),
        Conditions::default().new_lease()
    );
}

#[test]
fn the_id_of_a_lease_that_is_made_for_a_user_is_known_to_no_other() {
    let user = |name: &str, added| Owner {
        added: AuthRevision(added),
        name: name.to_owned(),
    };
    let ids = [
        (IDEMPOTENCY_KEY_METADATA, "k"),
        (REQUEST_METADATA, "2a.1.0"),
    ];
    for id in ids {
        let of_nobody = read(&[id]).new_lease();
        let of = |user: &Owner, secret: &[u8]| read(&[id]).of_user(user, secret).new_lease();
        let of_ann = of(&user("ann", 2), b"secret");
        assert_eq!(of_ann, of(&user("ann", 2), b"secret"), "a repeat");
        let others = [
            of(&user("bob", 2), b"secret"),
            of(&user("ann", 3), b"secret"),
            of(&user("ann", 2), b"another"),
            of(&user("ann", 2), b""),
            of_nobody,
        ];
        assert!(!others.contains(&of_ann), "{others:?}");
    }
    // Nor does another user at the same address share in the keys.
    let at = |name: &str| {
        let conditions = Conditions {
            client: Some(7),
            ..Conditions::default()
        };
        conditions.of_user(&user(name, 2), b"secret").client
    };
    assert_eq!(at("ann"), at("ann"));
    assert!(at("ann") != at("bob") && at("ann") != Some(7));
    let conditions = Conditions::default().of_user(&user("ann", 2), b"secret");
    assert!(format!("{conditions:?}").contains("Scope(…)"));
}

#[test]
fn a_session_has_an_id_of_its_own_for_every_request_that_opens_it() {
    let open = Command::SessionOpen(tenure_statemachine::SessionOpen {
        lease: LeaseId(5),
        grant: Some(tenure_statemachine::Ttl(1000)),
    });
    match read(&[(IDEMPOTENCY_KEY_METADATA, "k")]).on(open.clone()) {
        Command::Conditional(conditional) => assert_eq!(conditional.command, open),
        other => panic!("it has an id: {other:?}"),
    }
}

#[test]
fn a_read_takes_no_guards_but_does_not_mind_an_id() {
    let guarded = read(&[(GUARD_TEXT_METADATA, "a=1")]);
    assert_eq!(guarded.refuse_on_read(), Err(Reason::GuardOnRead.into()));
    let named = read(&[(IDEMPOTENCY_KEY_METADATA, "k")]);
    assert_eq!(named.refuse_on_read(), Ok(()));
}

#[tokio::test]
async fn an_idempotency_key_is_that_of_the_client_at_the_address_that_its_call_comes_from() {
    let node = FakeNode::leading();
    // Below it clients are not told apart.
    node.apply(&Command::RaiseLevel(FeatureLevel::BOUNDED));
    let routes = routes(node.services(Limits::standard()));
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    crate::tasks::spawn("test-server", async move {
        let accepted = TcpListenerStream::new(listener);
        let incoming = accepted.map(|accepted| accepted.map(Connection::new));
        let server = Server::builder().add_routes(routes);
        server.serve_with_incoming(incoming).await
    });
    let mut kv = KvClient::connect(url).await.expect("it listens");
    let mut call = Request::new(PutRequest {
        key: "a".into(),
        ..PutRequest::default()
    });
    let key = "once".parse().expect("ascii");
    call.metadata_mut().insert(IDEMPOTENCY_KEY_METADATA, key);
    kv.put(call).await.expect("done");
    let proposed = node.proposals.lock().pop().expect("a proposal");
    let Command::Conditional(conditional) = proposed else {
        panic!("{proposed:?}")
    };
    let request = RequestId::ClientKey {
        client: Ipv4Addr::LOCALHOST.to_bits().into(),
        key: "once".into(),
    };
    assert_eq!(conditional.request, Some(request));
}
