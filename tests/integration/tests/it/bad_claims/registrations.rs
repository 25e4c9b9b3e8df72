//! Bad input to the registry.

use tenure_proto::v1::{
    DeregisterRequest, DrainRequest, Endpoint, Instance, RegisterRequest, SetReadinessRequest,
};

use super::{HUGE, IDLE, NO_TTL, SHORT_TTL};
use crate::bad_input::case::{Case, cases};

const REPLACED: &str = "tenure: instance is replaced: your incarnation 3, current 0";
const NOT_FOUND: &str = "tenure: instance not found";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = instances();
    cases.extend(registrations());
    cases.extend(changes());
    cases
}

/// A good registration, changed.
fn register(change: impl FnOnce(&mut RegisterRequest)) -> RegisterRequest {
    let endpoint = Endpoint {
        protocol: "tcp".to_owned(),
        host: "h".to_owned(),
        port: 1,
    };
    let instance = Instance {
        service: "s".to_owned(),
        id: "i".to_owned(),
        endpoints: vec![endpoint],
        ..Instance::default()
    };
    let mut request = RegisterRequest {
        instance: Some(instance),
        lease: IDLE,
        ..RegisterRequest::default()
    };
    change(&mut request);
    request
}

/// A registration of a good instance, changed.
fn of(change: impl FnMut(&mut Instance)) -> RegisterRequest {
    register(|request| request.instance.iter_mut().for_each(change))
}

fn instances() -> Vec<Case> {
    cases! {
        "register: no instance": register(|it| it.instance = None) => InvalidArgument,
            "tenure: instance is not provided";
        "register: no service": of(|it| it.service.clear()) => InvalidArgument,
            "tenure: service name is invalid: it is not provided";
        "register: service with a slash": of(|it| it.service = "a/b".to_owned()) => InvalidArgument,
            "tenure: service name is invalid: \"a/b\" holds a slash";
        "register: service with a zero byte": of(|it| it.service.push('\0')) => InvalidArgument,
            "tenure: service name is invalid: it cannot be printed: \"s\\x00\"";
        "register: no id": of(|it| it.id.clear()) => InvalidArgument,
            "tenure: instance id is invalid: it is not provided";
        "register: huge id": of(|it| it.id = "x".repeat(HUGE)) => InvalidArgument,
            "tenure: instance id is invalid: it is 65536 bytes, at most 256";
        "register: no endpoints": of(|it| it.endpoints.clear()) => InvalidArgument,
            "tenure: endpoints are not provided";
        "register: endpoint without host": of(|it| it.endpoints[0].host.clear()) => InvalidArgument,
            "tenure: endpoint is invalid: host of endpoint 1 is not provided";
        "register: too many tags": of(|it| it.tags = vec!["t".to_owned(); 1000]) => InvalidArgument,
            "tenure: too many tags: 1000, at most 64";
        "register: weight out of range": of(|it| it.weight = 70_000) => InvalidArgument,
            "tenure: weight is out of range: 70000, at most 65535";
        "register: unknown readiness": of(|it| it.readiness = 9) => InvalidArgument,
            "tenure: readiness is unknown: 9";
    }
}

fn registrations() -> Vec<Case> {
    let on_new_lease = |ttl_ms| {
        register(|request| {
            request.lease = 0;
            request.ttl_ms = ttl_ms;
        })
    };
    cases! {
        "register: tiny ttl": on_new_lease(1) => InvalidArgument, SHORT_TTL;
        "register: no lease": on_new_lease(0) => InvalidArgument, NO_TTL;
        "register: negative incarnation": register(|it| it.incarnation = -1) => InvalidArgument,
            "tenure: incarnation is invalid: -1 is negative";
        "register of a life that is over": register(|it| it.incarnation = 3) => FailedPrecondition,
            REPLACED;
    }
}

/// Changes of an instance that is not registered.
fn changes() -> Vec<Case> {
    let (service, id) = ("s".to_owned(), "i".to_owned());
    let ready = SetReadinessRequest {
        service: service.clone(),
        id: id.clone(),
        incarnation: 3,
        ..SetReadinessRequest::default()
    };
    let drain = DrainRequest {
        service: service.clone(),
        id: id.clone(),
        ..DrainRequest::default()
    };
    let deregister = DeregisterRequest {
        service,
        id,
        ..DeregisterRequest::default()
    };
    cases! {
        "readiness of nobody": ready => FailedPrecondition, REPLACED;
        "drain of nobody": drain => NotFound, NOT_FOUND;
        "deregistration of nobody": deregister => NotFound, NOT_FOUND;
    }
}
