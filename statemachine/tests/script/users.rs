//! Words and lines of users, roles and permissions.

use tenure_statemachine::{
    Access, AuthChange, AuthRevision, By, Command, KeyRange, Need, Permission, Principal,
    ReadError, Reader,
};

use super::{
    lines::text,
    words::{self, Words, bytes, range, unsigned},
};

/// The command of a line, or `None` when its verb is not one.
///
/// `as USER REVISION COMMAND`, `as system COMMAND`; `auth CHANGE`.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Option<Command> {
    Some(match verb {
        "as" => {
            let principal = match words.next() {
                "system" => Principal::System,
                name => Principal::User {
                    name: name.to_owned(),
                    auth_revision: AuthRevision(unsigned(words.next())),
                },
            };
            let verb = words.next();
            let command = words::command(verb, words).expect("a command");
            Command::By(Box::new(By { principal, command }))
        }
        "auth" => Command::Auth(change(words)),
        _ => return None,
    })
}

fn change(words: &mut Words<'_>) -> AuthChange {
    let verb = words.next();
    let mut name = || words.option().unwrap_or_default().to_owned();
    match verb {
        "enable" => AuthChange::Enable {
            secret: vec![7; AuthChange::SECRET_LEN].into(),
        },
        "disable" => AuthChange::Disable,
        "user-add" => AuthChange::UserAdd {
            user: name(),
            password: words.option().map(bytes),
        },
        "user-delete" => AuthChange::UserDelete(name()),
        "user-password" => AuthChange::UserSetPassword {
            user: name(),
            password: bytes(words.next()),
        },
        "user-grant" => AuthChange::UserGrantRole {
            user: name(),
            role: name(),
        },
        "user-revoke" => AuthChange::UserRevokeRole {
            user: name(),
            role: name(),
        },
        "role-add" => AuthChange::RoleAdd(name()),
        "role-delete" => AuthChange::RoleDelete(name()),
        "role-grant" => AuthChange::RoleGrantPermission {
            role: name(),
            permission: Permission {
                access: access(words.next()),
                range: range(words.next()),
            },
        },
        "role-revoke" => AuthChange::RoleRevokePermission {
            role: name(),
            range: range(words.next()),
        },
        _ => panic!("{verb} is no change of users and roles"),
    }
}

fn access(word: &str) -> Access {
    match word {
        "read" => Access::Read,
        "write" => Access::Write,
        "readwrite" => Access::ReadWrite,
        _ => panic!("{word} is no access"),
    }
}

/// The answer to a question, or `None` when its verb is not one.
pub(crate) fn ask(
    verb: &str,
    words: &mut Words<'_>,
    reader: &Reader<'_>,
) -> Option<Result<Vec<String>, ReadError>> {
    let lines = match verb {
        "users" => reader.users().map(|users| {
            let users = users.iter().map(|(name, user)| {
                let password = user.password.as_ref();
                let password = password.map_or_else(|| "none".to_owned(), |hash| text(hash));
                let (generation, roles) = (user.password_generation, user.roles.join(" "));
                format!("{name} password={password} generation={generation} [{roles}]")
            });
            users.collect()
        }),
        "roles" => reader.roles().map(|roles| {
            let lines = roles.iter().map(|(name, role)| {
                let permissions = role.permissions.iter().map(|permission| {
                    format!("{:?} {}", permission.access, shown(&permission.range))
                });
                let permissions: Vec<String> = permissions.collect();
                format!("{name} [{}]", permissions.join("; "))
            });
            lines.collect()
        }),
        "authentication" => reader.auth().map(|state| {
            let enabled = if state.enabled { "enabled" } else { "disabled" };
            vec![format!(
                "{enabled} revision={} users={} roles={}",
                state.revision, state.users, state.roles
            )]
        }),
        "owner" => reader
            .session_owner(tenure_statemachine::LeaseId(words::number(words.next())))
            .map(|owner| vec![owner.map_or_else(|| "none".to_owned(), |owner| owner.name)]),
        "may" => return Some(may(words, reader)),
        _ => return None,
    };
    Some(lines.map_err(ReadError::from))
}

/// `may USER read|write RANGE…`, a line for each range.
fn may(words: &mut Words<'_>, reader: &Reader<'_>) -> Result<Vec<String>, ReadError> {
    let permissions = reader.permissions(words.next())?.expect("a user");
    let access = access(words.next());
    let mut lines = Vec::new();
    for word in words.rest() {
        let need = match access {
            Access::Read => Need::Read(range(word)),
            Access::Write => Need::Write(range(word)),
            Access::ReadWrite => panic!("one after the other"),
        };
        let verdict = match reader.check_need(&permissions, &need) {
            Ok(()) => "yes",
            Err(ReadError::Refused(_)) => "no",
            Err(ReadError::Fault(fault)) => panic!("{fault}"),
        };
        lines.push(format!("{word} {verdict}"));
    }
    Ok(lines)
}

fn shown(range: &KeyRange) -> String {
    format!("{}-{}", text(&range.start), text(&range.wire_end()))
}
