//! The same calls to etcd itself and to tenure, by the same users: code, text and content of every
//! answer are the same.

use prost::Message;
use tenure_proto::{
    authpb::{Permission, UserAddOptions, permission::Type},
    etcdserverpb::{self as etcd, ResponseHeader},
};
use tenure_testkit::{Cluster, Etcd, STATE_MAX, wait_until};
use tonic::{
    Code,
    codegen::{Bytes, http::HeaderValue},
};

use super::setup::User;
use crate::differential::wire::{Answer, Call, Wire, frame};

const PASSWORD: &str = "secret";

/// A call by a user, or by nobody.
#[derive(Debug)]
struct Step {
    who: Option<&'static str>,
    path: String,
    body: Bytes,
    /// What is compared of a message: its encoding without what names the server.
    content: fn(&Bytes) -> Vec<u8>,
}

fn header(header: Option<ResponseHeader>) -> Option<ResponseHeader> {
    // The revision stays: users and roles have no part in it.
    header.map(|header| ResponseHeader {
        cluster_id: 0,
        member_id: 0,
        raft_term: 0,
        ..header
    })
}

macro_rules! step {
    ($who:expr, $service:literal / $method:literal, $request:expr, $response:ident) => {
        Step {
            who: $who,
            path: format!("/etcdserverpb.{}/{}", $service, $method),
            body: frame(&$request.encode_to_vec()),
            content: |message| {
                let mut response = etcd::$response::decode(message.clone()).unwrap();
                response.header = header(response.header);
                response.encode_to_vec()
            },
        }
    };
}

fn add_user(who: Option<&'static str>, name: &str, password: &str) -> Step {
    let request = etcd::AuthUserAddRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        options: Some(UserAddOptions { no_password: false }),
        ..Default::default()
    };
    step!(who, "Auth" / "UserAdd", request, AuthUserAddResponse)
}

fn get_user(who: Option<&'static str>, name: &str) -> Step {
    let name = name.to_owned();
    let request = etcd::AuthUserGetRequest { name };
    step!(who, "Auth" / "UserGet", request, AuthUserGetResponse)
}

fn delete_user(who: Option<&'static str>, name: &str) -> Step {
    let name = name.to_owned();
    let request = etcd::AuthUserDeleteRequest { name };
    step!(who, "Auth" / "UserDelete", request, AuthUserDeleteResponse)
}

fn users(who: Option<&'static str>) -> Step {
    step!(
        who,
        "Auth" / "UserList",
        etcd::AuthUserListRequest {},
        AuthUserListResponse
    )
}

fn set_password(who: Option<&'static str>, name: &str, password: &str) -> Step {
    let request = etcd::AuthUserChangePasswordRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    };
    step!(
        who,
        "Auth" / "UserChangePassword",
        request,
        AuthUserChangePasswordResponse
    )
}

fn grant_role(who: Option<&'static str>, user: &str, role: &str) -> Step {
    let (user, role) = (user.to_owned(), role.to_owned());
    let request = etcd::AuthUserGrantRoleRequest { user, role };
    step!(
        who,
        "Auth" / "UserGrantRole",
        request,
        AuthUserGrantRoleResponse
    )
}

fn revoke_role(who: Option<&'static str>, name: &str, role: &str) -> Step {
    let (name, role) = (name.to_owned(), role.to_owned());
    let request = etcd::AuthUserRevokeRoleRequest { name, role };
    step!(
        who,
        "Auth" / "UserRevokeRole",
        request,
        AuthUserRevokeRoleResponse
    )
}

fn add_role(who: Option<&'static str>, name: &str) -> Step {
    let name = name.to_owned();
    let request = etcd::AuthRoleAddRequest { name };
    step!(who, "Auth" / "RoleAdd", request, AuthRoleAddResponse)
}

fn get_role(who: Option<&'static str>, role: &str) -> Step {
    let role = role.to_owned();
    let request = etcd::AuthRoleGetRequest { role };
    step!(who, "Auth" / "RoleGet", request, AuthRoleGetResponse)
}

fn delete_role(who: Option<&'static str>, role: &str) -> Step {
    let role = role.to_owned();
    let request = etcd::AuthRoleDeleteRequest { role };
    step!(who, "Auth" / "RoleDelete", request, AuthRoleDeleteResponse)
}

fn roles(who: Option<&'static str>) -> Step {
    step!(
        who,
        "Auth" / "RoleList",
        etcd::AuthRoleListRequest {},
        AuthRoleListResponse
    )
}

fn grant(who: Option<&'static str>, role: &str, kind: Type, (key, end): (&str, &str)) -> Step {
    let perm = Permission {
        perm_type: kind.into(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
    };
    let request = etcd::AuthRoleGrantPermissionRequest {
        name: role.to_owned(),
        perm: Some(perm),
    };
    step!(
        who,
        "Auth" / "RoleGrantPermission",
        request,
        AuthRoleGrantPermissionResponse
    )
}

fn revoke(who: Option<&'static str>, role: &str, (key, end): (&str, &str)) -> Step {
    let request = etcd::AuthRoleRevokePermissionRequest {
        role: role.to_owned(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
    };
    step!(
        who,
        "Auth" / "RoleRevokePermission",
        request,
        AuthRoleRevokePermissionResponse
    )
}

fn enable(who: Option<&'static str>) -> Step {
    step!(
        who,
        "Auth" / "AuthEnable",
        etcd::AuthEnableRequest {},
        AuthEnableResponse
    )
}

fn disable(who: Option<&'static str>) -> Step {
    step!(
        who,
        "Auth" / "AuthDisable",
        etcd::AuthDisableRequest {},
        AuthDisableResponse
    )
}

fn get(who: Option<&'static str>, (key, end): (&str, &str)) -> Step {
    let request = etcd::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..Default::default()
    };
    step!(who, "KV" / "Range", request, RangeResponse)
}

fn put(who: Option<&'static str>, key: &str, prev_kv: bool) -> Step {
    let request = etcd::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: "v".into(),
        prev_kv,
        ..Default::default()
    };
    step!(who, "KV" / "Put", request, PutResponse)
}

fn delete(who: Option<&'static str>, (key, end): (&str, &str), prev_kv: bool) -> Step {
    let request = etcd::DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        prev_kv,
    };
    step!(who, "KV" / "DeleteRange", request, DeleteRangeResponse)
}

fn revoke_lease(who: Option<&'static str>, id: i64) -> Step {
    let request = etcd::LeaseRevokeRequest { id };
    step!(who, "Lease" / "LeaseRevoke", request, LeaseRevokeResponse)
}

/// Before authentication is enabled. A permission to grant that is missing would end etcd.
fn management() -> Vec<Step> {
    let who = None;
    let mut steps = vec![
        enable(who),
        add_user(who, "", PASSWORD),
        add_user(who, "root", PASSWORD),
        enable(who),
        add_user(who, "root", PASSWORD),
        users(who),
        get_user(who, "absent"),
        delete_user(who, "absent"),
        set_password(who, "absent", "x"),
        grant_role(who, "absent", "root"),
        grant_role(who, "root", "absent"),
        revoke_role(who, "root", "absent"),
        revoke_role(who, "absent", "absent"),
        add_role(who, ""),
        add_role(who, "app"),
        add_role(who, "app"),
        get_role(who, "absent"),
        get_role(who, "root"),
        delete_role(who, "absent"),
        grant(who, "absent", Type::Read, ("k", "")),
        revoke(who, "app", ("k", "")),
        revoke(who, "absent", ("k", "")),
    ];
    // The last is between the two before, which must not matter.
    for range in [("c", "d"), ("a/", "a0"), ("k", ""), ("z", "\0"), ("b", "c")] {
        steps.push(grant(who, "app", Type::Readwrite, range));
    }
    steps.extend([
        grant(who, "app", Type::Read, ("k", "")),
        grant(who, "app", Type::Write, ("k", "")),
        get_role(who, "app"),
        revoke(who, "app", ("a/", "")),
        revoke(who, "app", ("z", "\0")),
        get_role(who, "app"),
        add_role(who, "other"),
        roles(who),
        add_user(who, "ann", PASSWORD),
        add_user(who, "Ann", PASSWORD),
        grant_role(who, "ann", "app"),
        grant_role(who, "ann", "app"),
        grant_role(who, "ann", "other"),
        get_user(who, "ann"),
        delete_role(who, "other"),
        get_user(who, "ann"),
        grant_role(who, "root", "root"),
        put(who, "a/0", false),
        disable(who),
        enable(who),
    ]);
    steps
}

/// While it is enabled.
fn enforced() -> Vec<Step> {
    let (nobody, root, ann, other) = (None, Some("root"), Some("ann"), Some("Ann"));
    let mut steps = Vec::new();
    for who in [nobody, ann, other, root] {
        steps.extend([
            get(who, ("a/0", "")),
            get(who, ("a/", "a0")),
            get(who, ("a/", "a1")),
            get(who, ("a/", "\0")),
            get(who, ("b", "d")),
            get(who, ("b", "d\0")),
            get(who, ("b", "b")),
            get(who, ("k", "")),
            get(who, ("k\0", "")),
            put(who, "a/1", false),
            put(who, "a/1", true),
            put(who, "k", false),
            put(who, "k", true),
            put(who, "elsewhere", false),
            delete(who, ("a/1", ""), false),
            delete(who, ("k", ""), true),
            delete(who, ("a/", "b1"), false),
            add_user(who, "new", PASSWORD),
            users(who),
            roles(who),
            get_user(who, "ann"),
            get_user(who, "absent"),
            get_role(who, "app"),
            get_role(who, "absent"),
            delete_user(who, "new"),
            enable(who),
        ]);
    }
    // Debian's etcd asks nobody's permission for this, which is CVE-2026-33413: not compared.
    steps.extend([ann, root].map(|who| revoke_lease(who, 4711)));
    steps.extend([
        delete_user(root, "root"),
        revoke_role(root, "root", "root"),
        delete_role(root, "root"),
        revoke(root, "app", ("c", "d")),
        get(ann, ("b", "c")),
        get(ann, ("c", "")),
        delete_role(root, "app"),
        get(ann, ("a/0", "")),
        get_user(ann, "ann"),
        disable(ann),
        disable(nobody),
        disable(root),
        disable(nobody),
        get(nobody, ("a/", "a0")),
        users(nobody),
    ]);
    steps
}

/// A server that is asked.
struct Side {
    wire: Wire,
    address: String,
}

impl Side {
    fn to(address: &str) -> Self {
        Self {
            wire: Wire::to(address),
            address: address.to_owned(),
        }
    }

    async fn token(&self, name: &str) -> String {
        let user = User::on(&self.address, None);
        user.try_log_in(name, PASSWORD).await.unwrap()
    }

    async fn ask(&self, step: &Step, token: Option<&str>) -> Answer {
        let mut call = Call::new(step.path.clone(), step.body.clone());
        if let Some(token) = token {
            let value = HeaderValue::from_str(token).unwrap();
            call.metadata.push(("token", value));
        }
        let mut answer = self.wire.call(&call).await;
        for message in &mut answer.messages {
            *message = (step.content)(message).into();
        }
        answer
    }
}

#[tokio::test]
async fn users_and_roles_are_managed_and_enforced_as_by_etcd() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let cluster = Cluster::start(1).await;
    let sides = [
        Side::to(cluster.node(0).address()),
        Side::to(etcd.address()),
    ];
    wait_until("users are known", STATE_MAX, async || {
        let answer = sides[0].ask(&get_user(None, "absent"), None).await;
        let status = sides[0].ask(&delete_user(None, "absent"), None).await;
        match (answer.code, status.code) {
            (Code::FailedPrecondition, Code::FailedPrecondition)
                if status.text.contains("not found") =>
            {
                Ok(())
            }
            _ => Err(status.text),
        }
    })
    .await;
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for (phase, steps) in [management(), enforced()].into_iter().enumerate() {
        let mut tokens = [Vec::new(), Vec::new()];
        if phase == 1 {
            for (side, tokens) in sides.iter().zip(&mut tokens) {
                for name in ["root", "ann", "Ann"] {
                    tokens.push((name, side.token(name).await));
                }
            }
        }
        for step in &steps {
            let mut answers = Vec::new();
            for (side, tokens) in sides.iter().zip(&tokens) {
                let token = tokens.iter().find(|(name, _)| Some(*name) == step.who);
                answers.push(side.ask(step, token.map(|(_, token)| token.as_str())).await);
            }
            asked += 1;
            if answers[0] != answers[1] {
                wrong.push(format!("{} by {:?}: {answers:?}", step.path, step.who));
            }
        }
    }
    println!("{asked} calls to both");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
