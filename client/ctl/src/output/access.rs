//! Answers about users, roles and permissions.

use bytes::Bytes;
use tenure::{
    prefix_end,
    wire::{
        authpb::{Permission, permission::Type},
        etcdserverpb::{
            AuthRoleGetResponse, AuthStatusResponse, AuthUserGetResponse, ResponseHeader,
        },
    },
};

/// The end of a range that has none.
const UNBOUNDED: &[u8] = b"\0";

/// An answer about users, roles and permissions.
#[derive(Debug, Clone)]
pub enum AccessAnswer {
    /// Something was changed.
    Changed {
        /// The text of etcdctl.
        text: String,
        /// Of the last change.
        header: Option<ResponseHeader>,
    },
    /// Whether permissions are enforced.
    Status(AuthStatusResponse),
    User {
        name: String,
        response: AuthUserGetResponse,
        /// Its roles with their permissions, if they are to be printed.
        detail: Option<Vec<(String, AuthRoleGetResponse)>>,
    },
    Users {
        header: Option<ResponseHeader>,
        names: Vec<String>,
    },
    Role {
        name: String,
        response: AuthRoleGetResponse,
    },
    Roles {
        header: Option<ResponseHeader>,
        names: Vec<String>,
    },
    Verdict(Verdict),
}

/// Whether a user may do something.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub user: String,
    /// To read or to write.
    pub access: &'static str,
    pub key: Bytes,
    pub range_end: Bytes,
    /// The roles by which it may; `None` if it may not.
    pub roles: Option<Vec<String>>,
}

impl AccessAnswer {
    /// The text of the simple format.
    pub(super) fn text(&self) -> Vec<u8> {
        match self {
            Self::Changed { text, .. } => format!("{text}\n").into_bytes(),
            Self::Status(status) => format!(
                "Authentication Status: {}\nAuthRevision: {}\n",
                status.enabled, status.auth_revision
            )
            .into_bytes(),
            Self::User {
                name,
                detail: Some(roles),
                ..
            } => {
                let mut text = format!("User: {name}\n").into_bytes();
                for (role, response) in roles {
                    text.push(b'\n');
                    text.extend(role_text(role, response));
                }
                text
            }
            Self::User { name, response, .. } => {
                let roles = response.roles.iter().map(|role| format!(" {role}"));
                format!("User: {name}\nRoles:{}\n", roles.collect::<String>()).into_bytes()
            }
            Self::Users { names, .. } | Self::Roles { names, .. } => {
                let lines = names.iter().map(|name| format!("{name}\n"));
                lines.collect::<String>().into_bytes()
            }
            Self::Role { name, response } => role_text(name, response),
            Self::Verdict(Verdict { roles: None, .. }) => b"no\n".to_vec(),
            Self::Verdict(Verdict {
                roles: Some(roles), ..
            }) => format!("yes, by {}\n", roles.join(", ")).into_bytes(),
        }
    }
}

fn role_text(name: &str, role: &AuthRoleGetResponse) -> Vec<u8> {
    let mut text = format!("Role {name}\n").into_bytes();
    for (title, other) in [("KV Read:\n", Type::Write), ("KV Write:\n", Type::Read)] {
        text.extend_from_slice(title.as_bytes());
        for permission in &role.perm {
            if permission.perm_type() != other {
                permission_line(permission, &mut text);
            }
        }
    }
    text
}

/// A range of keys as etcdctl writes it.
fn permission_line(permission: &Permission, text: &mut Vec<u8>) {
    let (key, end) = (&permission.key[..], &permission.range_end[..]);
    text.push(b'\t');
    if end.is_empty() {
        text.extend_from_slice(key);
    } else {
        text.push(b'[');
        text.extend_from_slice(key);
        if end == UNBOUNDED {
            // As etcdctl, which closes no bracket here.
            text.extend_from_slice(b", <open ended>");
        } else {
            text.extend_from_slice(b", ");
            text.extend_from_slice(end);
            text.push(b')');
        }
        if !key.is_empty() && prefix_end(key)[..] == *end {
            text.extend_from_slice(b" (prefix ");
            text.extend_from_slice(key);
            text.push(b')');
        }
    }
    text.push(b'\n');
}
