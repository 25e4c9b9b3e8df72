//! To whom a lease belongs, beside its keys: to the user who opened its session, and to those who
//! set its wills.
//!
//! A name is given again once its user is deleted. Invariant: what a user left behind belongs to
//! nobody then, and not to the next user of that name.
//!
//! What a session remembers may hold what others may not read, and whoever renews or revokes a
//! lease decides when, and whether, its wills run. So these leases are for their users alone; a
//! lease without a session and wills is for all who may write its keys, as in etcd.

use bytes::{BufMut, Bytes};

use super::Permissions;
use crate::{
    encoding::{self, Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::Fault,
    rows::{Family, Row, keys},
    value::{AuthRevision, LeaseId},
};

/// One user: of those that have or had the name, the one that was added at a certain revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The auth revision at which the user was added.
    pub added: AuthRevision,
    /// The name.
    pub name: String,
}

encoding::record! { Owner { added, name } }

impl Owner {
    /// Whether it is the user with these permissions.
    pub(crate) fn is(&self, permissions: &Permissions) -> bool {
        self.added == permissions.added() && self.name == permissions.user()
    }
}

/// The row of the owner of a session.
impl Row for Owner {
    const DAMAGED: &'static str = "owner of a session is of an unknown layout";

    fn write_row(&self, out: &mut Encoder) {
        out.value(self);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.value()
    }
}

/// Layout version of a will that was set without a user.
const WILL_VERSION: u8 = 1;
/// Layout version of a will with its user.
const OWNED_WILL_VERSION: u8 = 2;

/// Writes the head of a stored will: its layout, and the user who set it.
pub(crate) fn write_will_user(user: Option<&Owner>, out: &mut Encoder) {
    match user {
        None => out.byte(WILL_VERSION),
        Some(user) => {
            out.byte(OWNED_WILL_VERSION);
            out.value(user);
        }
    }
}

/// Reads the head of a stored will: the user who set it.
pub(crate) fn read_will_user(input: &mut Decoder<'_>) -> Result<Option<Owner>, Malformed> {
    match input.byte()? {
        WILL_VERSION => Ok(None),
        OWNED_WILL_VERSION => Ok(Some(input.value()?)),
        _ => Err(Malformed::Form("unknown version")),
    }
}

/// Whether the session or a will of `lease` is another user's than that with these permissions.
pub(super) fn is_of_another(
    view: &dyn View,
    permissions: &Permissions,
    lease: LeaseId,
) -> Result<bool, Fault> {
    let owner = Owner::find(view, Table::Cluster, &row_of(Family::SessionOwner, lease))?;
    if owner.is_some_and(|owner| !owner.is(permissions)) {
        return Ok(true);
    }
    let prefix = row_of(Family::Will, lease);
    let mut cursor = view.scan(Table::Cluster, &prefix)?;
    while let Some((row, will)) = cursor.next()? {
        if !row.starts_with(&prefix) {
            break;
        }
        let setter = read_will_user(&mut Decoder::new(&will));
        let setter = setter.map_err(|_| Fault::Damaged("will is of an unknown layout".into()))?;
        if setter.is_some_and(|setter| !setter.is(permissions)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn row_of(family: Family, lease: LeaseId) -> Bytes {
    let mut row = family.row(8);
    row.put_i64(keys::ordered(lease));
    row.freeze()
}
