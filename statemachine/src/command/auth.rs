//! Changes of users, roles and permissions, and the wrapper that tells whose command it is.

use bytes::Bytes;

use super::{BY, Command, PUT, Put, operation};
use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed},
    value::{AuthRevision, KeyRange, Permission},
};

/// A change of users, roles or permissions. Passwords travel and are stored as hashes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// Enables authentication. When it is enabled already, only a missing secret is stored.
    Enable {
        /// The key with which tokens are signed: [`AuthChange::SECRET_LEN`] random bytes, drawn by
        /// the node that received the call.
        secret: Bytes,
    },
    /// Disables authentication and forgets the secret, and so ends all tokens.
    Disable,
    /// Adds a user.
    UserAdd {
        /// The name.
        user: String,
        /// The hash of the password; `None` for a user without one, who cannot log in.
        password: Option<Bytes>,
    },
    /// Deletes a user.
    UserDelete(String),
    /// Replaces the password of a user, and so ends the user's tokens. A user without a password
    /// gets none.
    UserSetPassword {
        /// The name.
        user: String,
        /// The hash. No password matches an empty one.
        password: Bytes,
    },
    /// Gives a role to a user.
    UserGrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Takes a role from a user.
    UserRevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Adds a role.
    RoleAdd(String),
    /// Deletes a role, and takes it from all users.
    RoleDelete(String),
    /// Gives a permission to a role. One for the same range is replaced.
    RoleGrantPermission {
        /// The role.
        role: String,
        /// The permission.
        permission: Permission,
    },
    /// Takes the permission for exactly this range from a role.
    RoleRevokePermission {
        /// The role.
        role: String,
        /// The range.
        range: KeyRange,
    },
}

encoding::choice! {
    AuthChange {
        1 = Enable { secret },
        2 = Disable,
        3 = UserAdd { user, password },
        4 = UserDelete(user),
        5 = UserSetPassword { user, password },
        6 = UserGrantRole { user, role },
        7 = UserRevokeRole { user, role },
        8 = RoleAdd(role),
        9 = RoleDelete(role),
        10 = RoleGrantPermission { role, permission },
        11 = RoleRevokePermission { role, range },
    } "unknown change of users and roles"
}

operation! { AuthChange: it => Command::Auth(it); (): Done => () }

impl AuthChange {
    /// Length of the secret, in bytes: as many as the hash that signs tokens has.
    pub const SECRET_LEN: usize = 32;
}

/// Whose command it is. A command without a principal is of a client without a user, or one that
/// only members make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A member, on its own account. It may do everything.
    System,
    /// A user, whose permissions were checked before the command was proposed.
    User {
        /// The name.
        name: String,
        /// The auth revision at which they were checked. The command is refused at any other.
        auth_revision: AuthRevision,
    },
}

encoding::choice! {
    Principal { 0 = System, 1 = User { name, auth_revision } } "unknown principal"
}

/// A command with its principal. From [`crate::FeatureLevel::AUTHENTICATED`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Whose command it is.
    pub principal: Principal,
    /// May be conditional; never has a principal itself.
    pub command: Command,
}

/// Returns a command as one of the member itself, on its own account.
#[must_use]
pub fn by_system(command: Command) -> Command {
    let principal = Principal::System;
    Command::By(Box::new(By { principal, command }))
}

impl By {
    /// Checks an encoding. Puts are checked without decoding them.
    pub(super) fn check(input: &mut Decoder<'_>) -> Result<(), Malformed> {
        input.value::<Principal>()?;
        if input.is_next(PUT) {
            Put::check(input)
        } else {
            read_command(input).map(drop)
        }
    }
}

impl Encoded for By {
    fn write(&self, out: &mut Encoder) {
        out.value(&self.principal);
        out.value(&self.command);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            principal: input.value()?,
            command: read_command(input)?,
        })
    }
}

fn read_command(input: &mut Decoder<'_>) -> Result<Command, Malformed> {
    if input.is_next(BY) {
        return Err(Malformed::Form("a principal within a principal"));
    }
    input.value()
}
