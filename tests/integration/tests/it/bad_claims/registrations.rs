//! Bad input to the registry.

use tenure_proto::v1::{
    DeregisterRequest, DrainRequest, Endpoint, Instance, RegisterRequest, SetReadinessRequest,
};
use tonic::Code;

use super::{HUGE, IDLE, Table};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) async fn registrations(table: &mut Table) {
    let mut service = table.registry.clone();
    let good = Instance {
        service: "s".into(),
        id: "i".into(),
        endpoints: vec![Endpoint {
            protocol: "tcp".into(),
            host: "h".into(),
            port: 1,
        }],
        ..Instance::default()
    };
    let of = |instance: Instance| RegisterRequest {
        instance: Some(instance),
        lease: IDLE,
        ..RegisterRequest::default()
    };
    let many = vec!["t".to_owned(); 1000];
    let rows = [
        (
            "no instance",
            RegisterRequest {
                lease: IDLE,
                ..Default::default()
            },
            "tenure: instance is not provided",
        ),
        (
            "no service",
            of(Instance {
                service: String::new(),
                ..good.clone()
            }),
            "tenure: service name is invalid",
        ),
        (
            "service with a slash",
            of(Instance {
                service: "a/b".into(),
                ..good.clone()
            }),
            "tenure: service name is invalid",
        ),
        (
            "service with a zero byte",
            of(Instance {
                service: "a\0".into(),
                ..good.clone()
            }),
            "tenure: service name is invalid",
        ),
        (
            "no id",
            of(Instance {
                id: String::new(),
                ..good.clone()
            }),
            "tenure: instance id is invalid",
        ),
        (
            "huge id",
            of(Instance {
                id: "x".repeat(HUGE),
                ..good.clone()
            }),
            "tenure: instance id is invalid",
        ),
        (
            "no endpoints",
            of(Instance {
                endpoints: Vec::new(),
                ..good.clone()
            }),
            "tenure: endpoints are not provided",
        ),
        (
            "endpoint without host",
            of(Instance {
                endpoints: vec![Endpoint::default()],
                ..good.clone()
            }),
            "tenure: endpoint is invalid",
        ),
        (
            "too many tags",
            of(Instance {
                tags: many,
                ..good.clone()
            }),
            "tenure: too many tags",
        ),
        (
            "weight out of range",
            of(Instance {
                weight: 70_000,
                ..good.clone()
            }),
            "tenure: weight is out of range",
        ),
        (
            "unknown readiness",
            of(Instance {
                readiness: 9,
                ..good.clone()
            }),
            "tenure: readiness is unknown",
        ),
        (
            "tiny ttl",
            RegisterRequest {
                lease: 0,
                ttl_ms: 1,
                ..of(good.clone())
            },
            "tenure: ttl is too short",
        ),
        (
            "no lease",
            RegisterRequest {
                lease: 0,
                ..of(good.clone())
            },
            "tenure: neither lease nor ttl",
        ),
        (
            "negative incarnation",
            RegisterRequest {
                incarnation: -1,
                ..of(good.clone())
            },
            "tenure: incarnation is invalid",
        ),
    ];
    for (name, request, text) in rows {
        table.invalid(
            &format!("register: {name}"),
            service.register(request).await,
            text,
        );
    }
    let stale = RegisterRequest {
        incarnation: 3,
        ..of(good)
    };
    let got = service.register(stale).await;
    table.refused(
        "register of a life that is over",
        got,
        Code::FailedPrecondition,
        "tenure: instance is replaced",
    );
    let name = ("s".to_owned(), "i".to_owned());
    let ready = SetReadinessRequest {
        service: name.0.clone(),
        id: name.1.clone(),
        incarnation: 3,
        ..Default::default()
    };
    let got = service.set_readiness(ready).await;
    table.refused(
        "readiness of nobody",
        got,
        Code::FailedPrecondition,
        "tenure: instance is replaced",
    );
    let drain = DrainRequest {
        service: name.0.clone(),
        id: name.1.clone(),
        ..Default::default()
    };
    let got = service.drain(drain).await;
    table.refused(
        "drain of nobody",
        got,
        Code::NotFound,
        "tenure: instance not found",
    );
    let gone = DeregisterRequest {
        service: name.0,
        id: name.1,
        ..Default::default()
    };
    let got = service.deregister(gone).await;
    table.refused(
        "deregistration of nobody",
        got,
        Code::NotFound,
        "tenure: instance not found",
    );
}
