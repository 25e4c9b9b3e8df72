//! Malformed requests and their refusals.

use super::*;

fn instance() -> wire::Instance {
    wire::Instance {
        service: "web".to_owned(),
        id: "a".to_owned(),
        endpoints: vec![endpoint()],
        ..wire::Instance::default()
    }
}

fn endpoint() -> wire::Endpoint {
    wire::Endpoint {
        protocol: "grpc".to_owned(),
        host: "10.0.0.1".to_owned(),
        port: 8080,
    }
}

fn registering(instance: wire::Instance) -> wire::RegisterRequest {
    wire::RegisterRequest {
        instance: Some(instance),
        ttl_ms: 5000,
        ..wire::RegisterRequest::default()
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    result.expect_err("refused").message().into_owned()
}

/// The refusal of a registration after `change`.
fn refused(change: impl FnOnce(&mut wire::Instance)) -> String {
    let mut instance = instance();
    change(&mut instance);
    refusal(register(registering(instance)))
}

#[test]
fn a_registration_becomes_a_command_with_everything_the_instance_said() {
    let said = wire::Instance {
        metadata: [("k".to_owned(), "v\n".to_owned())].into(),
        tags: vec!["blue green".to_owned()],
        zone: "zürich".to_owned(),
        weight: WEIGHT_MAX,
        version: "1".to_owned(),
        readiness: wire::Readiness::NotReady.into(),
        suspect: true,
        ..instance()
    };
    let command = register(registering(said.clone())).expect("valid");
    let stored = wire::Instance {
        suspect: false,
        ..said
    };
    assert_eq!(wire::Instance::decode(command.instance), Ok(stored));
    assert_eq!(command.name.key(), "tenure.services/web/a");
    assert_eq!(
        (command.incarnation, command.grant),
        (Revision(0), Some(Ttl(5000)))
    );
    assert!(command.lease.0 > 0);
}

#[test]
fn a_lease_is_named_made_or_kept() {
    let ask = |incarnation, lease, ttl_ms| {
        let command = register(wire::RegisterRequest {
            incarnation,
            lease,
            ttl_ms,
            ..registering(instance())
        });
        command.map(|it| (it.lease.0, it.grant))
    };
    assert_eq!(ask(0, 7, 0), Ok((7, None)));
    assert_eq!(ask(3, 7, 0), Ok((7, None)));
    assert_eq!(ask(3, 0, 9000), Ok((0, None)), "its own");
    assert_eq!(
        refusal(ask(0, 0, 0)),
        "tenure: neither lease nor ttl is provided"
    );
    assert_eq!(
        refusal(ask(0, 0, 1)),
        "tenure: ttl is too short: 1 ms, at least 200 ms"
    );
    let text = "tenure: incarnation is invalid: -3 is negative";
    assert_eq!(refusal(ask(-3, 7, 0)), text);
}

#[test]
fn names_are_printable_text_without_a_slash() {
    let service = "tenure: service name is invalid: ";
    let id = "tenure: instance id is invalid: ";
    for (name, detail) in [
        (String::new(), "it is not provided"),
        ("a/b".to_owned(), "\"a/b\" holds a slash"),
        ("a\0".to_owned(), "it cannot be printed: \"a\\x00\""),
        ("a\nb".to_owned(), "it cannot be printed: \"a\\nb\""),
        ("n".repeat(257), "it is 257 bytes, at most 256"),
    ] {
        let text = refused(|it| it.service = name.clone());
        assert_eq!(text, format!("{service}{detail}"));
        assert_eq!(refused(|it| it.id = name.clone()), format!("{id}{detail}"));
    }
    let longest = wire::Instance {
        service: "s".repeat(256),
        id: "ä b.c_d-e:1".to_owned(),
        ..instance()
    };
    assert!(register(registering(longest)).is_ok());
    let nothing = wire::RegisterRequest::default();
    assert_eq!(
        refusal(register(nothing)),
        "tenure: instance is not provided"
    );
}

#[test]
fn a_refusal_of_an_instance_names_its_field() {
    let long = "x".repeat(257);
    let text = refused(|it| it.endpoints.clear());
    assert_eq!(text, "tenure: endpoints are not provided");
    let text = refused(|it| it.endpoints = vec![endpoint(); 33]);
    assert_eq!(text, "tenure: too many endpoints: 33, at most 32");
    let text = refused(|it| it.endpoints[0].host.clear());
    assert_eq!(
        text,
        "tenure: endpoint is invalid: host of endpoint 1 is not provided"
    );
    let text = refused(|it| it.endpoints[0].protocol.clone_from(&long));
    let expected = "protocol of endpoint 1 is 257 bytes, at most 256";
    assert_eq!(text, format!("tenure: endpoint is invalid: {expected}"));
    for port in [0, 65_536] {
        let text = refused(|it| {
            let bad = wire::Endpoint { port, ..endpoint() };
            it.endpoints.push(bad);
        });
        let expected = format!("port of endpoint 2 is {port}, from 1 to 65535");
        assert_eq!(text, format!("tenure: endpoint is invalid: {expected}"));
    }
    let text = refused(|it| it.tags = vec!["t".to_owned(); 65]);
    assert_eq!(text, "tenure: too many tags: 65, at most 64");
    let text = refused(|it| it.tags = vec!["t".to_owned(), String::new()]);
    assert_eq!(text, "tenure: label is invalid: tag 2 is not provided");
    let text = refused(|it| it.version = "\u{7f}".to_owned());
    assert_eq!(
        text,
        "tenure: label is invalid: version cannot be printed: \"\\x7f\""
    );
    let text =
        refused(|it| it.metadata = (0..65).map(|n| (n.to_string(), String::new())).collect());
    assert_eq!(text, "tenure: too much metadata: 65, at most 64");
    let text = refused(|it| it.metadata = [(String::new(), String::new())].into());
    assert_eq!(text, "tenure: metadata is invalid: a key is not provided");
    let text = refused(|it| it.weight = 65_536);
    assert_eq!(text, "tenure: weight is out of range: 65536, at most 65535");
    let text = refused(|it| it.readiness = 4);
    assert_eq!(text, "tenure: readiness is unknown: 4");
    let text = refused(|it| it.metadata = [("k".to_owned(), "v".repeat(65_536))].into());
    assert!(
        text.starts_with("tenure: instance is too large: 65"),
        "{text}"
    );
    assert!(text.ends_with(" bytes, at most 65536"), "{text}");
}

#[test]
fn only_operators_leave_the_incarnation_out() {
    let readiness = |incarnation, readiness| {
        set_readiness(wire::SetReadinessRequest {
            service: "web".to_owned(),
            id: "a".to_owned(),
            incarnation,
            readiness,
            options: None,
        })
    };
    assert!(readiness(1, 2).is_ok());
    let text = "tenure: incarnation is invalid: it is not provided";
    assert_eq!(refusal(readiness(0, 1)), text);
    assert_eq!(
        refusal(readiness(1, -1)),
        "tenure: readiness is unknown: -1"
    );
    let drained = |incarnation, grace_ms| {
        drain(wire::DrainRequest {
            service: "web".to_owned(),
            id: "a".to_owned(),
            incarnation,
            grace_ms,
            options: None,
        })
    };
    assert!(drained(0, DRAIN_GRACE_MS_MAX).is_ok());
    let text = "tenure: grace is too long: 86400001 ms, at most 86400000 ms";
    assert_eq!(refusal(drained(0, DRAIN_GRACE_MS_MAX + 1)), text);
    let text = "tenure: incarnation is invalid: -1 is negative";
    assert_eq!(refusal(drained(-1, 0)), text);
    let removed = |id: &str| {
        deregister(wire::DeregisterRequest {
            service: "web".to_owned(),
            id: id.to_owned(),
            incarnation: 0,
            options: None,
        })
    };
    assert!(removed("a").is_ok());
    let text = "tenure: instance id is invalid: it is not provided";
    assert_eq!(refusal(removed("")), text);
}
