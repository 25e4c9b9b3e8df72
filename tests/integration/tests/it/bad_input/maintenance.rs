//! Members, maintenance, users and roles.

use prost::Message;
use tenure_proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthenticateRequest,
    MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
    MoveLeaderRequest,
};
use tonic::Code;

use super::{
    FLOOR, LATEST,
    case::{Case, Expected},
};
use crate::differential::{
    known::{COMPACTED, FUTURE_REVISION},
    requests::hash,
    wire::{Call, frame},
};

const NO_CHANGES: &str = "etcdserver: membership changes are not supported";
const NO_AUTH: &str = "etcdserver: authentication is not supported";
const NO_MEMBER: &str = "etcdserver: member not found";
/// A member that is none.
const NOBODY: u64 = 12345;
/// The calls about users and roles that are all refused.
const AUTH_CALLS: [&str; 15] = [
    "AuthEnable",
    "AuthDisable",
    "UserAdd",
    "UserGet",
    "UserList",
    "UserDelete",
    "UserChangePassword",
    "UserGrantRole",
    "UserRevokeRole",
    "RoleAdd",
    "RoleGet",
    "RoleList",
    "RoleDelete",
    "RoleGrantPermission",
    "RoleRevokePermission",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = members();
    cases.extend(maintenance());
    cases.extend(auth());
    cases
}

/// Refused alike whatever they ask, because the membership is fixed.
fn members() -> Vec<Case> {
    let add = |urls: &[&str], is_learner| MemberAddRequest {
        peer_ur_ls: urls.iter().map(|&url| url.to_owned()).collect(),
        is_learner,
    };
    let update = MemberUpdateRequest {
        id: NOBODY,
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
    };
    let bad_url = "etcdserver: given member URLs are invalid";
    vec![
        unsupported("a member", &add(&["http://127.0.0.1:1"], false)).not_in_etcd(),
        unsupported("a learner", &add(&["http://127.0.0.1:1"], true)).not_in_etcd(),
        unsupported("a member at no URL", &add(&["nowhere"], false))
            .etcd_says(Code::InvalidArgument, bad_url),
        unsupported(
            "a member that is none, to remove",
            &MemberRemoveRequest { id: NOBODY },
        )
        .etcd_says(Code::NotFound, NO_MEMBER),
        unsupported("a member that is none, to update", &update)
            .etcd_says(Code::NotFound, NO_MEMBER),
        unsupported(
            "a member that is none, to promote",
            &MemberPromoteRequest { id: NOBODY },
        )
        .etcd_says(Code::NotFound, NO_MEMBER),
    ]
}

fn unsupported<A: crate::differential::ask::Ask>(name: &str, request: &A) -> Case {
    Case::refused(name, request, Code::Unimplemented, NO_CHANGES)
}

fn maintenance() -> Vec<Case> {
    let mut cases = Vec::new();
    for (revision, text) in [
        (LATEST + 1, FUTURE_REVISION),
        (i64::MAX, FUTURE_REVISION),
        (FLOOR - 1, COMPACTED),
        (1, COMPACTED),
    ] {
        let name = format!("hash up to {revision}");
        cases.push(Case::refused(name, &hash(revision), Code::OutOfRange, text));
    }
    for target_id in [0, NOBODY, u64::MAX] {
        cases.push(Case::refused(
            format!("leadership to {target_id}"),
            &MoveLeaderRequest { target_id },
            Code::FailedPrecondition,
            "etcdserver: bad leader transferee",
        ));
    }
    for (method, text) in [
        ("Snapshot", "etcdserver: snapshot is not supported"),
        ("Downgrade", "etcdserver: downgrade is not supported"),
    ] {
        let call = Call::new(format!("/etcdserverpb.Maintenance/{method}"), frame(&[]));
        let expected = Expected::Status(Code::Unimplemented, text.to_owned());
        cases.push(Case::new(method, call, expected).not_in_etcd());
    }
    cases
}

fn auth() -> Vec<Case> {
    let mut cases: Vec<_> = AUTH_CALLS
        .iter()
        .map(|method| {
            let call = Call::new(format!("/etcdserverpb.Auth/{method}"), frame(&[]));
            let expected = Expected::Status(Code::Unimplemented, NO_AUTH.to_owned());
            Case::new(*method, call, expected).not_in_etcd()
        })
        .collect();
    let user = AuthUserAddRequest {
        name: "root".to_owned(),
        password: "secret".to_owned(),
        ..AuthUserAddRequest::default()
    };
    let role = AuthRoleAddRequest {
        name: "role".to_owned(),
    };
    for (name, method, message) in [
        ("UserAdd of root", "UserAdd", user.encode_to_vec()),
        ("RoleAdd of a role", "RoleAdd", role.encode_to_vec()),
        (
            "AuthEnable, asked for",
            "AuthEnable",
            AuthEnableRequest {}.encode_to_vec(),
        ),
    ] {
        let call = Call::new(format!("/etcdserverpb.Auth/{method}"), frame(&message));
        let expected = Expected::Status(Code::Unimplemented, NO_AUTH.to_owned());
        cases.push(Case::new(name, call, expected).not_in_etcd());
    }
    let authenticate = AuthenticateRequest {
        name: "root".to_owned(),
        password: "secret".to_owned(),
    };
    cases.push(Case::refused(
        "authentication",
        &authenticate,
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    ));
    cases
}
