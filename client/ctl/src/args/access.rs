//! Options of `auth`, `user` and `role`.

use clap::{Args, Subcommand, ValueEnum};
use tenure::{KeyRange, PermissionKind};

use super::keys::range;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Enforce permissions; the user root must exist
    Enable,
    /// Let every client read and write everything; users and roles are kept
    Disable,
    /// Print whether permissions are enforced
    Status,
    /// Print whether a user may read or write keys: exit code 0 when it may, 1 when it may not
    Can {
        /// The user
        #[arg(id = "of_user", value_name = "USER")]
        user: String,
        /// Read or write
        access: Access,
        #[command(flatten)]
        keys: RangeArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user; without a password it is read from standard input
    Add {
        /// Name, or name:password
        #[arg(value_name = "NAME[:PASSWORD]")]
        name: String,
        #[command(flatten)]
        reading: Reading,
        /// The password
        #[arg(long, value_name = "PASSWORD", conflicts_with = "no_password")]
        new_user_password: Option<String>,
        /// Without a password: the user is who shows a certificate with its name
        #[arg(long)]
        no_password: bool,
    },
    /// Print the roles of a user
    Get {
        /// The user
        name: String,
        /// Print the permissions of its roles
        #[arg(long)]
        detail: bool,
    },
    /// List all users
    List,
    /// Delete a user
    Delete {
        /// The user
        name: String,
    },
    /// Change the password of a user; it is read from standard input
    Passwd {
        /// The user
        name: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Give a user the permissions of a role
    GrantRole {
        /// The user
        #[arg(id = "of_user", value_name = "USER")]
        user: String,
        /// The role
        role: String,
    },
    /// Take a role from a user
    RevokeRole {
        /// The user
        #[arg(id = "of_user", value_name = "USER")]
        user: String,
        /// The role
        role: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Role {
    /// Add a role
    Add {
        /// The role
        name: String,
    },
    /// Print the permissions of a role
    Get {
        /// The role
        name: String,
    },
    /// List all roles
    List,
    /// Delete a role, and take it from all users
    Delete {
        /// The role
        name: String,
    },
    /// Add a permission to a role
    GrantPermission {
        /// The role
        name: String,
        /// Read, write or readwrite
        #[arg(ignore_case = true)]
        kind: Kind,
        #[command(flatten)]
        keys: RangeArgs,
    },
    /// Take the permission on exactly these keys from a role
    RevokePermission {
        /// The role
        name: String,
        #[command(flatten)]
        keys: RangeArgs,
    },
}

/// How a password is read.
#[derive(Debug, Clone, Copy, Args)]
pub struct Reading {
    /// Ask for the password, twice; --interactive=false reads one line
    #[arg(long, default_value_t = true, hide_default_value = true)]
    pub interactive: bool,
}

/// The keys of a permission.
#[derive(Debug, Clone, Args)]
pub struct RangeArgs {
    /// The key, or the first of a range
    pub key: String,
    /// End of the range, not included
    pub range_end: Option<String>,
    /// All keys that start with the key
    #[arg(long)]
    pub prefix: bool,
    /// The key and all keys after it
    #[arg(long)]
    pub from_key: bool,
}

impl RangeArgs {
    /// The keys.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn range(&self) -> Result<KeyRange, Failure> {
        let end = self.range_end.as_deref();
        range(&self.key, end, self.prefix, self.from_key)
    }
}

/// What a user wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// To read
    Read,
    /// To write, which does not include reading
    Write,
}

impl Access {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Whether a permission of this kind includes it.
    #[must_use]
    pub fn is_in(self, kind: PermissionKind) -> bool {
        match kind {
            PermissionKind::ReadWrite => true,
            PermissionKind::Read => self == Self::Read,
            PermissionKind::Write => self == Self::Write,
        }
    }
}

/// What a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Reading
    Read,
    /// Writing, which does not include reading
    Write,
    /// Both
    Readwrite,
}

impl From<Kind> for PermissionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Read => Self::Read,
            Kind::Write => Self::Write,
            Kind::Readwrite => Self::ReadWrite,
        }
    }
}
