//! The rows of the table: a call of every method, and what it needs.

use prost::Message;
use tenure_proto::{
    etcdserverpb as etcd,
    etcdserverpb::{alarm_request::AlarmAction, watch_request::RequestUnion},
    v1, v3electionpb, v3lockpb,
};
use tonic::codegen::Bytes;

use super::Needs;
use crate::differential::wire::frame;

/// A call.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) needs: Needs,
    pub(super) body: Bytes,
    /// Whether the client sends messages, too, and may send more.
    pub(super) is_open: bool,
    /// Whether the answer has no end of its own.
    pub(super) is_stream: bool,
}

fn row(path: &str, needs: Needs, message: &impl Message) -> Row {
    Row {
        path: format!("/{path}"),
        needs,
        body: frame(&message.encode_to_vec()),
        is_open: false,
        is_stream: false,
    }
}

fn stream(path: &str, needs: Needs, message: &impl Message) -> Row {
    Row {
        is_stream: true,
        ..row(path, needs, message)
    }
}

fn open(path: &str, needs: Needs, message: &impl Message) -> Row {
    Row {
        is_open: true,
        ..row(path, needs, message)
    }
}

/// Calls whose request has no field that matters.
fn empty(service: &str, needs: Needs, methods: &[&str]) -> Vec<Row> {
    let path = |method: &&str| row(&format!("{service}/{method}"), needs, &());
    methods.iter().map(path).collect()
}

const KEY: &str = "a/key";

fn key() -> Bytes {
    KEY.into()
}

fn name() -> Bytes {
    "a/lock".into()
}

fn etcd_keys() -> Vec<Row> {
    let range = etcd::RangeRequest {
        key: key(),
        ..Default::default()
    };
    let put = |prev_kv| etcd::PutRequest {
        key: key(),
        prev_kv,
        ..Default::default()
    };
    let delete = |prev_kv| etcd::DeleteRangeRequest {
        key: key(),
        prev_kv,
        ..Default::default()
    };
    let txn = |request| etcd::TxnRequest {
        success: vec![etcd::RequestOp {
            request: Some(request),
        }],
        ..Default::default()
    };
    use etcd::request_op::Request as Op;
    let reading = txn(Op::RequestRange(range.clone()));
    let nested = |inner| txn(Op::RequestTxn(inner));
    vec![
        row("etcdserverpb.KV/Range", Needs::Read, &range),
        row("etcdserverpb.KV/RangeStream", Needs::Read, &range),
        row("etcdserverpb.KV/Put", Needs::Write, &put(false)),
        row("etcdserverpb.KV/Put", Needs::Both, &put(true)),
        row("etcdserverpb.KV/DeleteRange", Needs::Write, &delete(false)),
        row("etcdserverpb.KV/DeleteRange", Needs::Both, &delete(true)),
        row(
            "etcdserverpb.KV/Txn",
            Needs::User,
            &etcd::TxnRequest::default(),
        ),
        row("etcdserverpb.KV/Txn", Needs::Read, &reading),
        row("etcdserverpb.KV/Txn", Needs::Read, &nested(reading)),
        row(
            "etcdserverpb.KV/Txn",
            Needs::Both,
            &nested(txn(Op::RequestPut(put(true)))),
        ),
        row(
            "etcdserverpb.KV/Txn",
            Needs::Write,
            &txn(Op::RequestDeleteRange(delete(false))),
        ),
        row(
            "etcdserverpb.KV/Compact",
            Needs::Admin,
            &etcd::CompactionRequest::default(),
        ),
        open(
            "etcdserverpb.Watch/Watch",
            Needs::Read,
            &etcd::WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(etcd::WatchCreateRequest {
                    key: key(),
                    ..Default::default()
                })),
            },
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn etcd_others() -> Vec<Row> {
    let alarm = |action: AlarmAction| etcd::AlarmRequest {
        action: action.into(),
        member_id: 1,
        alarm: 0,
    };
    let lease = "etcdserverpb.Lease";
    let mut rows = vec![
        row(
            &format!("{lease}/LeaseGrant"),
            Needs::User,
            &etcd::LeaseGrantRequest { ttl: 60, id: 0 },
        ),
        open(
            &format!("{lease}/LeaseKeepAlive"),
            Needs::User,
            &etcd::LeaseKeepAliveRequest { id: 1 },
        ),
        row(
            "etcdserverpb.Maintenance/Alarm",
            Needs::User,
            &alarm(AlarmAction::Get),
        ),
        row(
            "etcdserverpb.Maintenance/Alarm",
            Needs::Admin,
            &alarm(AlarmAction::Activate),
        ),
        row(
            "etcdserverpb.Maintenance/Alarm",
            Needs::Admin,
            &alarm(AlarmAction::Deactivate),
        ),
        row(
            "etcdserverpb.Auth/UserGet",
            Needs::Admin,
            &etcd::AuthUserGetRequest {
                name: "absent".to_owned(),
            },
        ),
        row(
            "etcdserverpb.Auth/UserAdd",
            Needs::Admin,
            &etcd::AuthUserAddRequest {
                name: "added".to_owned(),
                password: "secret".to_owned(),
                ..Default::default()
            },
        ),
        row(
            "etcdserverpb.Auth/RoleGet",
            Needs::Admin,
            &etcd::AuthRoleGetRequest {
                role: "absent".to_owned(),
            },
        ),
    ];
    rows.extend(empty(
        lease,
        Needs::User,
        &["LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"],
    ));
    let changes = ["MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"];
    rows.extend(empty("etcdserverpb.Cluster", Needs::Admin, &changes));
    rows.extend(empty("etcdserverpb.Cluster", Needs::User, &["MemberList"]));
    rows.extend(empty("etcdserverpb.Maintenance", Needs::User, &["Status"]));
    let maintenance = [
        "Defragment",
        "Hash",
        "HashKV",
        "Snapshot",
        "MoveLeader",
        "Downgrade",
    ];
    rows.extend(empty(
        "etcdserverpb.Maintenance",
        Needs::Admin,
        &maintenance,
    ));
    rows.extend(empty(
        "etcdserverpb.Auth",
        Needs::Nothing,
        &["Authenticate"],
    ));
    rows.extend(empty(
        "etcdserverpb.Auth",
        Needs::GoodToken,
        &["AuthStatus"],
    ));
    let administration = [
        "AuthEnable",
        "UserList",
        "UserDelete",
        "UserChangePassword",
        "UserGrantRole",
        "UserRevokeRole",
        "RoleAdd",
        "RoleList",
        "RoleDelete",
        "RoleGrantPermission",
        "RoleRevokePermission",
    ];
    rows.extend(empty("etcdserverpb.Auth", Needs::Admin, &administration));
    rows
}

fn etcd_claims() -> Vec<Row> {
    let leader = || {
        Some(v3electionpb::LeaderKey {
            name: name(),
            key: "a/lock/1".into(),
            rev: 7,
            lease: 1,
        })
    };
    let campaign = v3electionpb::CampaignRequest {
        name: name(),
        lease: 12345,
        ..Default::default()
    };
    let observe = v3electionpb::LeaderRequest {
        name: "a/elected".into(),
    };
    let election = "v3electionpb.Election";
    vec![
        row(
            "v3lockpb.Lock/Lock",
            Needs::Both,
            &v3lockpb::LockRequest {
                name: name(),
                lease: 12345,
            },
        ),
        row(
            "v3lockpb.Lock/Unlock",
            Needs::Write,
            &v3lockpb::UnlockRequest { key: key() },
        ),
        row(&format!("{election}/Campaign"), Needs::Both, &campaign),
        row(
            &format!("{election}/Proclaim"),
            Needs::Both,
            &v3electionpb::ProclaimRequest {
                leader: leader(),
                ..Default::default()
            },
        ),
        row(&format!("{election}/Leader"), Needs::Read, &observe),
        stream(&format!("{election}/Observe"), Needs::Read, &observe),
        row(
            &format!("{election}/Resign"),
            Needs::Both,
            &v3electionpb::ResignRequest { leader: leader() },
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn locks() -> Vec<Row> {
    let acquire = v1::AcquireRequest {
        names: vec![name()],
        lease: 12345,
        ..Default::default()
    };
    let path = |method: &str| format!("tenure.v1.Lock/{method}");
    let (name, token) = (name(), 7);
    vec![
        row(&path("Acquire"), Needs::Both, &acquire),
        row(&path("TryAcquire"), Needs::Both, &acquire),
        row(
            &path("Release"),
            Needs::Both,
            &v1::ReleaseRequest {
                name: name.clone(),
                token,
                ..Default::default()
            },
        ),
        row(
            &path("Withdraw"),
            Needs::Both,
            &v1::WithdrawRequest {
                name: name.clone(),
                lease: 12345,
                ..Default::default()
            },
        ),
        row(
            &path("Transfer"),
            Needs::Both,
            &v1::TransferRequest {
                name: name.clone(),
                token,
                to_lease: 12345,
                ..Default::default()
            },
        ),
        row(
            &path("CheckToken"),
            Needs::Read,
            &v1::CheckTokenRequest {
                name: name.clone(),
                token,
            },
        ),
        stream(
            &path("WatchTokens"),
            Needs::Read,
            &v1::WatchTokensRequest {
                names: vec!["a/elected".into()],
            },
        ),
        row(
            &path("Inspect"),
            Needs::Read,
            &v1::InspectRequest {
                name: name.clone(),
                limit: 0,
            },
        ),
        row(&path("List"), Needs::User, &v1::ListRequest::default()),
        row(
            &path("ForceRelease"),
            Needs::Admin,
            &v1::ForceReleaseRequest {
                name,
                reason: "stuck".to_owned(),
                ..Default::default()
            },
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn elections_and_sessions() -> Vec<Row> {
    let election = |method: &str| format!("tenure.v1.Election/{method}");
    let session = |method: &str| format!("tenure.v1.Session/{method}");
    let name = name();
    let epoch = 7;
    vec![
        row(
            &election("Campaign"),
            Needs::Both,
            &v1::CampaignRequest {
                name: name.clone(),
                lease: 12345,
                ..Default::default()
            },
        ),
        row(
            &election("Proclaim"),
            Needs::Both,
            &v1::ProclaimRequest {
                name: name.clone(),
                epoch,
                ..Default::default()
            },
        ),
        stream(
            &election("Observe"),
            Needs::Read,
            &v1::ObserveRequest {
                name: "a/elected".into(),
            },
        ),
        row(
            &election("Resign"),
            Needs::Both,
            &v1::ResignRequest {
                name: name.clone(),
                epoch,
                ..Default::default()
            },
        ),
        row(
            &election("HandOver"),
            Needs::Both,
            &v1::HandOverRequest {
                name,
                epoch,
                to_lease: 12345,
                ..Default::default()
            },
        ),
        row(
            &session("Open"),
            Needs::User,
            &v1::OpenSessionRequest {
                ttl_ms: 60_000,
                ..Default::default()
            },
        ),
        row(
            &session("Close"),
            Needs::User,
            &v1::CloseSessionRequest { session: 12345 },
        ),
        row(
            &session("Inspect"),
            Needs::User,
            &v1::InspectSessionRequest { session: 12345 },
        ),
        row(
            &session("SetWill"),
            Needs::Write,
            &v1::SetWillRequest {
                lease: 12345,
                transaction: Some(etcd::TxnRequest {
                    success: vec![etcd::RequestOp {
                        request: Some(etcd::request_op::Request::RequestPut(etcd::PutRequest {
                            key: key(),
                            ..Default::default()
                        })),
                    }],
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
    ]
}

fn services() -> Vec<Row> {
    let path = |method: &str| format!("tenure.v1.Registry/{method}");
    let service = || "web".to_owned();
    let instance = || "1".to_owned();
    vec![
        row(
            &path("Register"),
            Needs::Both,
            &v1::RegisterRequest {
                instance: Some(v1::Instance {
                    service: service(),
                    id: instance(),
                    endpoints: vec![v1::Endpoint {
                        protocol: "http".to_owned(),
                        host: "h".to_owned(),
                        port: 1,
                    }],
                    ..Default::default()
                }),
                ttl_ms: 60_000,
                ..Default::default()
            },
        ),
        row(
            &path("SetReadiness"),
            Needs::Both,
            &v1::SetReadinessRequest {
                service: service(),
                id: instance(),
                incarnation: 7,
                readiness: 1,
                ..Default::default()
            },
        ),
        row(
            &path("Drain"),
            Needs::Both,
            &v1::DrainRequest {
                service: service(),
                id: instance(),
                ..Default::default()
            },
        ),
        row(
            &path("Deregister"),
            Needs::Both,
            &v1::DeregisterRequest {
                service: service(),
                id: instance(),
                ..Default::default()
            },
        ),
        row(
            &path("Discover"),
            Needs::Read,
            &v1::DiscoverRequest {
                service: service(),
                ..Default::default()
            },
        ),
        stream(
            &path("WatchEndpoints"),
            Needs::Read,
            &v1::WatchEndpointsRequest {
                service: service(),
                ..Default::default()
            },
        ),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = etcd_keys();
    rows.extend(etcd_others());
    rows.extend(etcd_claims());
    rows.extend(locks());
    rows.extend(elections_and_sessions());
    rows.extend(services());
    let policies = ["SetPolicy", "RemovePolicy", "ListPolicies"];
    rows.extend(empty("tenure.v1.Fence", Needs::Admin, &policies));
    rows.extend(empty("tenure.v1.Member", Needs::GoodToken, &["LogEnd"]));
    rows.extend(empty("grpc.health.v1.Health", Needs::Nothing, &["Check"]));
    // The last: it ends what is tested.
    rows.extend(empty("etcdserverpb.Auth", Needs::Admin, &["AuthDisable"]));
    rows
}
