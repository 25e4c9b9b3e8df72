//! Members, maintenance, users and roles.

use prost::Message;
use tenure_proto::etcdserverpb::{
    AuthenticateRequest, DowngradeRequest, MemberAddRequest, MemberPromoteRequest,
    MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest,
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

const BAD_URLS: &str = "etcdserver: given member URLs are invalid";
const NO_ROLE: &str = "etcdserver: role name not found";
const NO_USER: &str = "etcdserver: user name not found";
const NO_MEMBER: &str = "etcdserver: member not found";
/// A member that is none.
const NOBODY: u64 = 12345;
/// Calls about users and roles without a name in them, and why they are refused.
const AUTH_CALLS: [(&str, Code, &str); 11] = [
    (
        "AuthEnable",
        Code::FailedPrecondition,
        "etcdserver: root user does not exist",
    ),
    (
        "UserAdd",
        Code::InvalidArgument,
        "etcdserver: user name is empty",
    ),
    ("UserGet", Code::FailedPrecondition, NO_USER),
    ("UserDelete", Code::FailedPrecondition, NO_USER),
    ("UserChangePassword", Code::FailedPrecondition, NO_USER),
    ("UserGrantRole", Code::FailedPrecondition, NO_USER),
    ("UserRevokeRole", Code::FailedPrecondition, NO_USER),
    ("RoleGet", Code::FailedPrecondition, NO_ROLE),
    ("RoleDelete", Code::FailedPrecondition, NO_ROLE),
    ("RoleRevokePermission", Code::FailedPrecondition, NO_ROLE),
    (
        "RoleGrantPermission",
        Code::InvalidArgument,
        "etcdserver: permission not given",
    ),
];

/// Versions to downgrade to, and why not.
const DOWNGRADES: [(&str, Code, &str); 6] = [
    ("", Code::InvalidArgument, MALFORMED_VERSION),
    ("v3.5", Code::InvalidArgument, MALFORMED_VERSION),
    ("3.5.x", Code::InvalidArgument, MALFORMED_VERSION),
    ("3.4.0", Code::InvalidArgument, INVALID_VERSION),
    ("4.0.0", Code::InvalidArgument, INVALID_VERSION),
    (
        "3.5.0",
        Code::Unimplemented,
        "etcdserver: downgrade is not supported",
    ),
];
const MALFORMED_VERSION: &str = "etcdserver: wrong downgrade target version format";
const INVALID_VERSION: &str = "etcdserver: invalid downgrade target version";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = members();
    cases.extend(maintenance());
    cases.extend(auth());
    cases
}

/// URLs that are none, and members that are none.
fn members() -> Vec<Case> {
    let add = |urls: &[&str]| MemberAddRequest {
        peer_ur_ls: urls.iter().map(|&url| url.to_owned()).collect(),
        is_learner: false,
    };
    let update = |url: &str| MemberUpdateRequest {
        id: NOBODY,
        peer_ur_ls: vec![url.to_owned()],
    };
    let urls: [(&str, &[&str]); 5] = [
        ("at no URL", &[]),
        ("at what is no URL", &["nowhere"]),
        ("at a URL without a port", &["http://127.0.0.1"]),
        ("at a URL with a path", &["http://127.0.0.1:1/x"]),
        ("at another scheme", &["ftp://127.0.0.1:1"]),
    ];
    let refused = |(place, urls): (&str, &[&str])| {
        let name = format!("a member {place}");
        Case::refused(name, &add(urls), Code::InvalidArgument, BAD_URLS)
    };
    let mut cases: Vec<_> = urls.into_iter().map(refused).collect();
    let many: Vec<_> = (1..=17)
        .map(|port| format!("http://127.0.0.1:{port}"))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let long = format!("http://{}:1", "h".repeat(512));
    for (name, request) in [
        ("a member at seventeen URLs", add(&many)),
        ("a member at a long URL", add(&[&long])),
    ] {
        let text = format!("{BAD_URLS}: at most 16, of 512 bytes");
        let case = Case::refused(name, &request, Code::InvalidArgument, &text);
        cases.push(case.not_in_etcd());
    }
    let nobody = "a member that is none, to";
    cases.extend([
        Case::refused(
            format!("{nobody} remove"),
            &MemberRemoveRequest { id: NOBODY },
            Code::NotFound,
            NO_MEMBER,
        ),
        Case::refused(
            format!("{nobody} update"),
            &update("http://127.0.0.1:1"),
            Code::NotFound,
            NO_MEMBER,
        ),
        Case::refused(
            format!("{nobody} update with no URL"),
            &update("nowhere"),
            Code::InvalidArgument,
            BAD_URLS,
        )
        .etcd_says(Code::NotFound, NO_MEMBER),
        Case::refused(
            format!("{nobody} promote"),
            &MemberPromoteRequest { id: NOBODY },
            Code::NotFound,
            NO_MEMBER,
        ),
    ]);
    cases
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
    for (version, code, text) in &DOWNGRADES {
        let version = (*version).to_owned();
        let name = format!("downgrade to {version:?}");
        let request = DowngradeRequest {
            version,
            ..DowngradeRequest::default()
        };
        let body = frame(&request.encode_to_vec());
        let call = Call::new("/etcdserverpb.Maintenance/Downgrade".to_owned(), body);
        let expected = Expected::Status(*code, (*text).to_owned());
        cases.push(Case::new(name, call, expected).not_in_etcd());
    }
    cases
}

fn auth() -> Vec<Case> {
    let mut cases: Vec<_> = AUTH_CALLS
        .iter()
        .map(|(method, code, text)| {
            let call = Call::new(format!("/etcdserverpb.Auth/{method}"), frame(&[]));
            let expected = Expected::Status(*code, (*text).to_owned());
            let case = Case::new(*method, call, expected);
            match *method {
                // etcd 3.4 does not look whether there is a permission.
                "RoleGrantPermission" => case.etcd_says(Code::FailedPrecondition, NO_ROLE),
                _ => case,
            }
        })
        .collect();
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
