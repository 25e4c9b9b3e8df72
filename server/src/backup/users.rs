//! Users and roles between a state and a snapshot in etcd's format.

use bytes::Bytes;
use tenure_backup::schema::{
    Permission as StoredPermission, PermissionKind, Record, Role as StoredRole, User as StoredUser,
    UserOptions,
};
use tenure_statemachine::{Access, Fault, KeyRange, Permission, Reader, restore::Restore};

/// Every user as a record.
pub(super) fn users(reader: &Reader<'_>) -> Result<Vec<Record>, Fault> {
    let users = reader.users()?.into_iter().map(|(name, user)| {
        Record::User(StoredUser {
            name: name.into(),
            options: Some(UserOptions {
                no_password: user.password.is_none(),
            }),
            password: user.password.unwrap_or_default(),
            roles: user.roles,
        })
    });
    Ok(users.collect())
}

/// Every role as a record.
pub(super) fn roles(reader: &Reader<'_>) -> Result<Vec<Record>, Fault> {
    let roles = reader.roles()?.into_iter().map(|(name, role)| {
        let permissions = role.permissions.into_iter().map(|permission| {
            let kind = match permission.access {
                Access::Read => PermissionKind::Read,
                Access::Write => PermissionKind::Write,
                Access::ReadWrite => PermissionKind::ReadWrite,
            };
            StoredPermission {
                kind: kind.into(),
                range_end: permission.range.wire_end(),
                key: permission.range.start,
            }
        });
        Record::Role(StoredRole {
            name: name.into(),
            permissions: permissions.collect(),
        })
    });
    Ok(roles.collect())
}

/// Gives a user of a snapshot to the state that is restored.
pub(super) fn restore_user(restore: &mut Restore, user: StoredUser) -> Result<(), Fault> {
    let has_none = user.options.is_some_and(|options| options.no_password);
    let password = (!has_none).then_some(user.password);
    restore.user(name(&user.name)?, password, user.roles);
    Ok(())
}

/// Gives a role of a snapshot to the state that is restored.
pub(super) fn restore_role(restore: &mut Restore, role: StoredRole) -> Result<(), Fault> {
    let permissions = role.permissions.into_iter().map(|permission| {
        let access = match PermissionKind::try_from(permission.kind) {
            Ok(PermissionKind::Read) => Access::Read,
            Ok(PermissionKind::Write) => Access::Write,
            Ok(PermissionKind::ReadWrite) => Access::ReadWrite,
            Err(_) => return Err(Fault::Damaged("a permission of no kind".to_owned())),
        };
        Ok(Permission {
            access,
            range: KeyRange::from_wire(permission.key, permission.range_end),
        })
    });
    let permissions = permissions.collect::<Result<_, Fault>>()?;
    restore.role(name(&role.name)?, permissions);
    Ok(())
}

fn name(bytes: &Bytes) -> Result<String, Fault> {
    let text = String::from_utf8(bytes.to_vec()).ok();
    let text = text.filter(|text| !text.is_empty());
    text.ok_or_else(|| Fault::Damaged("a user or a role without a name".to_owned()))
}
