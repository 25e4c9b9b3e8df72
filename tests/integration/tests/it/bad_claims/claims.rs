//! Bad input to locks and elections.

use tenure_proto::v1::{
    AcquireRequest, CampaignRequest, ForceReleaseRequest, HandOverRequest, ProclaimRequest,
    ReleaseRequest, ResignRequest, TransferRequest, WithdrawRequest,
};
use tonic::Code;

use super::{HOLDER, HUGE, IDLE, LOCK, Table, UNKNOWN, WAITER, acquire, permits};

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) async fn locks(table: &mut Table) {
    let mut service = table.locks.clone();
    let huge = "x".repeat(HUGE);
    let rows = [
        (
            "no name",
            AcquireRequest {
                lease: IDLE,
                ..Default::default()
            },
            "tenure: name is not provided",
        ),
        (
            "empty name",
            acquire("", IDLE),
            "tenure: name is not provided",
        ),
        (
            "huge name",
            acquire(&huge, IDLE),
            "tenure: name is too long",
        ),
        (
            "name of a service",
            acquire("tenure.services/web", IDLE),
            "tenure: name is reserved for services: \"tenure.services/web\"",
        ),
        (
            "name twice",
            AcquireRequest {
                names: vec!["a".into(), "a".into()],
                lease: IDLE,
                ..Default::default()
            },
            "tenure: name is given twice",
        ),
        (
            "too many names",
            AcquireRequest {
                names: (0..1000).map(|n| format!("n{n}").into()).collect(),
                lease: IDLE,
                ..Default::default()
            },
            "tenure: too many names",
        ),
        (
            "neither lease nor ttl",
            acquire("a", 0),
            "tenure: neither lease nor ttl is provided",
        ),
        (
            "tiny ttl",
            AcquireRequest {
                ttl_ms: 1,
                ..acquire("a", 0)
            },
            "tenure: ttl is too short",
        ),
        (
            "endless ttl",
            AcquireRequest {
                ttl_ms: u64::MAX,
                ..acquire("a", 0)
            },
            "tenure: ttl is too long",
        ),
        (
            "no permits",
            permits(0, 3),
            "tenure: permits are not countable",
        ),
        (
            "more permits than there are",
            permits(4, 3),
            "tenure: permits are not countable",
        ),
        (
            "permits of none",
            permits(0, 0),
            "tenure: permits are not countable",
        ),
        (
            "endless lock delay",
            AcquireRequest {
                lock_delay_ms: u64::MAX,
                ..acquire("a", IDLE)
            },
            "tenure: lock delay is too long",
        ),
        (
            "huge principal",
            AcquireRequest {
                principal: huge.clone(),
                ..acquire("a", IDLE)
            },
            "tenure: principal is too long",
        ),
    ];
    for (name, request, text) in rows {
        let tried = service.try_acquire(request.clone()).await;
        table.invalid(&format!("try: {name}"), tried, text);
        table.invalid(name, service.acquire(request).await, text);
    }
    let unknown = service.try_acquire(acquire("a", UNKNOWN)).await;
    table.refused(
        "unknown lease",
        unknown,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
    let negative = service.try_acquire(acquire("a", -5)).await;
    table.refused(
        "negative lease",
        negative,
        Code::NotFound,
        "etcdserver: requested lease not found",
    );
    let twice = service.try_acquire(acquire(LOCK, HOLDER)).await;
    table.refused(
        "double acquire",
        twice,
        Code::FailedPrecondition,
        "tenure: lease has a claim already",
    );
    let twice = service.acquire(acquire(LOCK, WAITER)).await;
    let text = "tenure: lease has a claim already";
    table.refused("double wait", twice, Code::FailedPrecondition, text);
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) async fn holders(table: &mut Table) {
    let mut service = table.locks.clone();
    let token = table.token;
    let stale = "tenure: not the holder";
    for (name, lock, shown) in [
        ("release of a lock that nobody holds", "free", token),
        ("release by a stranger", LOCK, token - 1),
        ("release with a token from the future", LOCK, i64::MAX),
        ("release by who waits", LOCK, token + 1),
    ] {
        let request = ReleaseRequest {
            name: lock.into(),
            token: shown,
            options: None,
        };
        let got = service.release(request).await;
        table.refused(name, got, Code::FailedPrecondition, stale);
    }
    for (name, lock, shown, text) in [
        (
            "release without name",
            "",
            token,
            "tenure: name is not provided",
        ),
        (
            "release without token",
            LOCK,
            0,
            "tenure: token is not provided",
        ),
        (
            "release with a negative token",
            LOCK,
            -1,
            "tenure: token is not provided",
        ),
    ] {
        let request = ReleaseRequest {
            name: lock.into(),
            token: shown,
            options: None,
        };
        table.invalid(name, service.release(request).await, text);
    }
    for (name, shown, to, code, text) in [
        (
            "transfer by a stranger",
            token - 1,
            IDLE,
            Code::FailedPrecondition,
            stale,
        ),
        (
            "transfer to nobody",
            token,
            0,
            Code::InvalidArgument,
            "tenure: lease is not provided",
        ),
        (
            "transfer to an unknown lease",
            token,
            UNKNOWN,
            Code::NotFound,
            "etcdserver: requested lease",
        ),
        (
            "transfer to who waits",
            token,
            WAITER,
            Code::FailedPrecondition,
            "tenure: lease has a claim",
        ),
    ] {
        let request = TransferRequest {
            name: LOCK.into(),
            token: shown,
            to_lease: to,
            ..TransferRequest::default()
        };
        table.refused(name, service.transfer(request).await, code, text);
    }
    let nameless = WithdrawRequest {
        lease: IDLE,
        ..Default::default()
    };
    table.invalid(
        "withdraw without name",
        service.withdraw(nameless).await,
        "tenure: name",
    );
    let force = ForceReleaseRequest {
        name: LOCK.into(),
        ..Default::default()
    };
    let got = service.force_release(force.clone()).await;
    table.invalid(
        "force release without reason",
        got,
        "tenure: reason is not provided",
    );
    let missing = ForceReleaseRequest {
        name: "free".into(),
        reason: "test".into(),
        ..force
    };
    let got = service.force_release(missing).await;
    table.refused(
        "force release of nothing",
        got,
        Code::FailedPrecondition,
        stale,
    );
}

pub(super) async fn elections(table: &mut Table) {
    let mut service = table.elections.clone();
    let stranger = table.token - 1;
    let stale = "tenure: not the holder";
    let campaign = CampaignRequest {
        lease: UNKNOWN,
        name: "e".into(),
        ..Default::default()
    };
    let got = service.campaign(campaign.clone()).await;
    table.refused(
        "campaign on an unknown lease",
        got,
        Code::NotFound,
        "etcdserver: requested lease",
    );
    let nameless = CampaignRequest {
        name: "".into(),
        lease: IDLE,
        ..campaign
    };
    table.invalid(
        "campaign without name",
        service.campaign(nameless).await,
        "tenure: name",
    );
    let proclaim = ProclaimRequest {
        name: LOCK.into(),
        epoch: stranger,
        value: "x".into(),
        options: None,
    };
    let got = service.proclaim(proclaim).await;
    table.refused(
        "proclaim by who does not lead",
        got,
        Code::FailedPrecondition,
        stale,
    );
    let resign = ResignRequest {
        name: LOCK.into(),
        epoch: stranger,
        options: None,
    };
    let got = service.resign(resign).await;
    table.refused(
        "resign by who does not lead",
        got,
        Code::FailedPrecondition,
        stale,
    );
    let hand = HandOverRequest {
        name: LOCK.into(),
        epoch: table.token,
        to_lease: IDLE,
        options: None,
    };
    let got = service.hand_over(hand).await;
    table.refused(
        "hand over to no candidate",
        got,
        Code::NotFound,
        "tenure: candidate not found",
    );
}
