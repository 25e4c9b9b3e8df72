//! `auth`, `user` and `role`, with the texts of etcdctl.

mod coverage;

use tenure::{Error, Header, Permission, PermissionKind, Role as RoleAnswer};

use self::coverage::covering;
use super::{Session, password, print_message};
use crate::{
    args::{Access, Auth, RangeArgs, Role, User},
    failure::Failure,
    output::{AccessAnswer as Answer, Reply, Verdict},
};

/// The user and the role of the administrator.
const ROOT: &str = "root";
/// etcd's text when the user `root` is no administrator yet.
const NO_ROOT_ROLE: &str = "root user does not have root role";
/// etcd's text for a role that is there.
const ROLE_EXISTS: &str = "role name already exists";

impl Session {
    fn print_access(&self, answer: Answer) -> Result<(), Failure> {
        self.output.print(&Reply::Access(answer))
    }

    /// Prints the text of a change; in other formats its header.
    fn changed(&self, text: String, header: Header) -> Result<(), Failure> {
        let header = Some(header.into_wire());
        self.print_access(Answer::Changed { text, header })
    }
}

pub(super) async fn auth(session: &Session, command: Auth) -> Result<(), Failure> {
    let access = session.client.access();
    match command {
        Auth::Enable => {
            enable(session).await?;
            // Plain text in every format, as etcdctl.
            session.output.say(b"Authentication Enabled\n")
        }
        Auth::Disable => {
            access.disable().await?;
            session.output.say(b"Authentication Disabled\n")
        }
        Auth::Status => session.print_access(Answer::Status(access.status().await?.into_wire())),
        Auth::Can { user, access, keys } => can(session, user, access, &keys).await,
    }
}

/// Enables authentication. As with etcdctl, the user `root` gets the role `root` if it lacks it.
async fn enable(session: &Session) -> Result<(), Error> {
    let access = session.client.access();
    let lacks_role = |error: &Error| error.message().contains(NO_ROOT_ROLE);
    match access.enable().await {
        Err(error) if lacks_role(&error) => {}
        done => return done.map(drop),
    }
    match access.add_role(ROOT).await {
        Err(error) if !error.message().contains(ROLE_EXISTS) => return Err(error),
        _ => {}
    }
    access.grant_role(ROOT, ROOT).await?;
    access.enable().await.map(drop)
}

/// Says whether a user may do it, by the permissions of its roles.
async fn can(
    session: &Session,
    user: String,
    wanted: Access,
    keys: &RangeArgs,
) -> Result<(), Failure> {
    let access = session.client.access();
    let range = keys.range()?;
    if !access.status().await?.is_enabled() {
        print_message("authentication is disabled: every client may do everything");
    }
    let found = access.user(&user).await?;
    let roles = if found.roles().iter().any(|role| role == ROOT) {
        Some(vec![ROOT.to_owned()])
    } else {
        let mut permissions = Vec::new();
        for name in found.roles() {
            let role = access.role(name).await?;
            let held = role.permissions().iter().cloned();
            permissions.extend(held.map(|held| (name.clone(), held)));
        }
        permissions.retain(|(_, held)| wanted.is_in(held.kind()));
        covering(&permissions, &range)
    };
    let may = roles.is_some();
    let (key, range_end) = (range.start().clone(), range.end().clone());
    session.print_access(Answer::Verdict(Verdict {
        user,
        access: wanted.name(),
        key,
        range_end,
        roles,
    }))?;
    if may { Ok(()) } else { Err(Failure::Reported) }
}

pub(super) async fn user(session: &Session, command: User) -> Result<(), Failure> {
    let access = session.client.access();
    match command {
        User::Add {
            name,
            reading,
            new_user_password,
            no_password,
        } => {
            let (name, with) = match name.split_once(':') {
                Some((name, password)) => (name.to_owned(), Some(password.to_owned())),
                None => (name, None),
            };
            if name.is_empty() {
                return Err(Failure::usage("empty user name is not allowed"));
            }
            let header = if no_password {
                access.add_user_without_password(&name).await?
            } else {
                let password = match new_user_password.or(with) {
                    Some(password) => password,
                    None => password::read(&name, reading.interactive)?,
                };
                access.add_user(&name, password).await?
            };
            session.changed(format!("User {name} created"), header)
        }
        User::Get { name, detail } => {
            let found = access.user(&name).await?;
            let mut roles = Vec::new();
            if detail {
                for role in found.roles() {
                    roles.push((role.clone(), access.role(role).await?.into_wire()));
                }
            }
            let response = found.into_wire();
            session.print_access(Answer::User {
                name,
                response,
                detail: detail.then_some(roles),
            })
        }
        User::List => {
            let users = access.users().await?;
            let header = Some(users.header().into_wire());
            let names = users.into_vec();
            session.print_access(Answer::Users { header, names })
        }
        User::Delete { name } => {
            let header = access.delete_user(&name).await?;
            session.changed(format!("User {name} deleted"), header)
        }
        User::Passwd { name, reading } => {
            let password = password::read(&name, reading.interactive)?;
            let header = access.change_password(&name, password).await?;
            session.changed("Password updated".to_owned(), header)
        }
        User::GrantRole { user, role } => {
            let header = access.grant_role(&user, &role).await?;
            session.changed(format!("Role {role} is granted to user {user}"), header)
        }
        User::RevokeRole { user, role } => {
            let header = access.revoke_role(&user, &role).await?;
            session.changed(format!("Role {role} is revoked from user {user}"), header)
        }
    }
}

pub(super) async fn role(session: &Session, command: Role) -> Result<(), Failure> {
    let access = session.client.access();
    match command {
        Role::Add { name } => {
            let header = access.add_role(&name).await?;
            session.changed(format!("Role {name} created"), header)
        }
        Role::Get { name } => {
            let response = access.role(&name).await.map(RoleAnswer::into_wire)?;
            session.print_access(Answer::Role { name, response })
        }
        Role::List => {
            let roles = access.roles().await?;
            let header = Some(roles.header().into_wire());
            let names = roles.into_vec();
            session.print_access(Answer::Roles { header, names })
        }
        Role::Delete { name } => {
            let header = access.delete_role(&name).await?;
            session.changed(format!("Role {name} deleted"), header)
        }
        Role::GrantPermission { name, kind, keys } => {
            let permission = Permission::new(PermissionKind::from(kind), keys.range()?);
            let header = access.grant_permission(&name, permission).await?;
            session.changed(format!("Role {name} updated"), header)
        }
        Role::RevokePermission { name, keys } => {
            let range = keys.range()?;
            let text = |end: &[u8]| {
                let (key, end_text) = (&keys.key, String::from_utf8_lossy(end));
                match end {
                    b"" => format!("Permission of key {key} is revoked from role {name}"),
                    b"\0" => format!(
                        "Permission of range [{key}, <open ended> is revoked from role {name}"
                    ),
                    _ => format!(
                        "Permission of range [{key}, {end_text}) is revoked from role {name}"
                    ),
                }
            };
            let text = text(range.end());
            let header = access.revoke_permission(&name, range).await?;
            session.changed(text, header)
        }
    }
}
