//! Commands on users and roles: how they are written, and how their answers look in every format.

use tenure::wire::{
    authpb::{Permission, permission::Type},
    etcdserverpb::{AuthRoleGetResponse, AuthStatusResponse, AuthUserGetResponse, ResponseHeader},
};
use tenurectl::{
    args::{Access, Auth, Command, Format, Kind, Role, User},
    failure::Failure,
    output::{AccessAnswer, Reply, Verdict},
};

use super::{parse, rendered};

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: 10,
        member_id: 11,
        revision: 12,
        raft_term: 13,
    })
}

fn text(format: Format, answer: &AccessAnswer) -> String {
    rendered(format, false, &Reply::Access(answer.clone()))
}

fn role() -> AccessAnswer {
    let permission = |kind: Type, key: &str, end: &str| Permission {
        perm_type: kind.into(),
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    };
    AccessAnswer::Role {
        name: "app".to_owned(),
        response: AuthRoleGetResponse {
            header: header(),
            perm: vec![
                permission(Type::Readwrite, "a/", "a0"),
                permission(Type::Read, "k", ""),
                permission(Type::Write, "z", "\0"),
            ],
        },
    }
}

const JSON_HEADER: &str =
    r#""header":{"cluster_id":10,"member_id":11,"revision":12,"raft_term":13}"#;
const FIELDS_HEADER: &str =
    "\"ClusterID\" : 10\n\"MemberID\" : 11\n\"Revision\" : 12\n\"RaftTerm\" : 13\n";

#[test]
fn a_role_looks_as_with_etcdctl_in_every_format() {
    assert_eq!(
        text(Format::Simple, &role()),
        "Role app\nKV Read:\n\t[a/, a0) (prefix a/)\n\tk\nKV Write:\n\t[a/, a0) (prefix a/)\n\t[z, \
         <open ended>\n"
    );
    let permissions = concat!(
        r#""perm":[{"permType":2,"key":"YS8=","range_end":"YTA="},"#,
        r#"{"key":"aw=="},{"permType":1,"key":"eg==","range_end":"AA=="}]"#
    );
    assert_eq!(
        text(Format::Json, &role()),
        format!("{{{JSON_HEADER},{permissions}}}\n")
    );
    let fields = text(Format::Fields, &role());
    assert_eq!(
        fields,
        format!(
            "{FIELDS_HEADER}\"PermType\" :  READWRITE\n\"Key\" : \"a/\"\n\"RangeEnd\" : \"a0\"\n\
             \"PermType\" :  READ\n\"Key\" : \"k\"\n\"RangeEnd\" : \"\"\n\
             \"PermType\" :  WRITE\n\"Key\" : \"z\"\n\"RangeEnd\" : \"\\x00\"\n"
        )
    );
}

#[test]
fn other_answers_look_as_with_etcdctl() {
    let user = AccessAnswer::User {
        name: "ann".to_owned(),
        response: AuthUserGetResponse {
            header: header(),
            roles: vec!["app".to_owned(), "ops".to_owned()],
        },
        detail: None,
    };
    assert_eq!(text(Format::Simple, &user), "User: ann\nRoles: app ops\n");
    assert_eq!(
        text(Format::Json, &user),
        format!("{{{JSON_HEADER},\"roles\":[\"app\",\"ops\"]}}\n")
    );
    let users = AccessAnswer::Users {
        header: header(),
        names: vec!["ann".to_owned(), "root".to_owned()],
    };
    assert_eq!(text(Format::Simple, &users), "ann\nroot\n");
    assert_eq!(
        text(Format::Json, &users),
        format!("{{{JSON_HEADER},\"users\":[\"ann\",\"root\"]}}\n")
    );
    let changed = AccessAnswer::Changed {
        text: "User ann created".to_owned(),
        header: header(),
    };
    assert_eq!(text(Format::Simple, &changed), "User ann created\n");
    assert_eq!(text(Format::Json, &changed), format!("{{{JSON_HEADER}}}\n"));
    assert_eq!(text(Format::Fields, &changed), FIELDS_HEADER);
    let status = AccessAnswer::Status(AuthStatusResponse {
        header: header(),
        enabled: true,
        auth_revision: 24,
    });
    assert_eq!(
        text(Format::Simple, &status),
        "Authentication Status: true\nAuthRevision: 24\n"
    );
    assert_eq!(
        text(Format::Json, &status),
        format!("{{{JSON_HEADER},\"enabled\":true,\"authRevision\":24}}\n")
    );
    let verdict = |roles: Option<Vec<String>>| {
        AccessAnswer::Verdict(Verdict {
            user: "ann".to_owned(),
            access: "read",
            key: "k".into(),
            range_end: "".into(),
            roles,
        })
    };
    assert_eq!(text(Format::Simple, &verdict(None)), "no\n");
    let yes = verdict(Some(vec!["app".to_owned()]));
    assert_eq!(text(Format::Simple, &yes), "yes, by app\n");
    assert_eq!(
        text(Format::Json, &yes),
        concat!(
            r#"{"user":"ann","access":"read","key":"aw==","#,
            r#""allowed":true,"roles":["app"]}"#,
            "\n"
        )
    );
}

#[test]
fn the_commands_are_written_as_with_etcdctl() {
    let command = |words: &[&str]| parse(words).unwrap().command;
    for words in [
        &[
            "role",
            "grant-permission",
            "app",
            "ReadWrite",
            "a/",
            "--prefix",
        ][..],
        &[
            "role",
            "grant-permission",
            "--prefix=true",
            "app",
            "readwrite",
            "a/",
        ],
    ] {
        let Command::Role(Role::GrantPermission { name, kind, keys }) = command(words) else {
            panic!("{words:?}");
        };
        assert_eq!(
            (name.as_str(), kind, keys.prefix),
            ("app", Kind::Readwrite, true)
        );
    }
    let words = ["user", "add", "ann", "--interactive=false"];
    let Command::User(User::Add { name, reading, .. }) = command(&words) else {
        panic!("{words:?}");
    };
    assert_eq!((name.as_str(), reading.interactive), ("ann", false));
    let words = ["auth", "can", "ann", "write", "a", "b"];
    let Command::Auth(Auth::Can { access, keys, .. }) = command(&words) else {
        panic!("{words:?}");
    };
    assert_eq!(
        (access, keys.range_end.as_deref()),
        (Access::Write, Some("b"))
    );
    for wrong in [
        &["role", "grant-permission", "app", "wr", "k"][..],
        &["auth", "can", "ann", "readwrite", "k"],
        &["user", "add"],
        &[
            "user",
            "add",
            "ann",
            "--no-password",
            "--new-user-password",
            "x",
        ],
    ] {
        assert!(matches!(parse(wrong), Err(Failure::Parse(_))), "{wrong:?}");
    }
}
