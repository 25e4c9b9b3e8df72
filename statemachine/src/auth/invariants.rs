//! The invariants of the rows of users and roles, checked over a view.

use std::collections::BTreeSet;

use crate::{
    access::{User, rows::secret},
    command::AuthChange,
    engine::View,
    error::Fault,
    meta::Meta,
    read::Reader,
    value::permission::is_grantable,
};

/// Checks that users and roles are counted and in order, that the roles of users exist, and that
/// authentication is enabled only with an administrator, and has a secret only then.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    walk(view).map_err(|fault| fault.to_string())?
}

fn walk(view: &dyn View) -> Result<Result<(), String>, Fault> {
    let reader = Reader::over(view, Meta::load(view)?);
    let (state, users, roles) = (reader.auth()?, reader.users()?, reader.roles()?);
    let counted = (users.len() as u64, roles.len() as u64);
    if counted != (state.users, state.roles) {
        return Ok(Err(format!("{counted:?} users and roles, {state:?}")));
    }
    if reader.meta().authenticates != state.enabled {
        return Ok(Err(format!("{state:?}, and {:?}", reader.meta())));
    }
    for (name, role) in &roles {
        let ranges = role.permissions.iter().map(|permission| &permission.range);
        let is_sorted = role.permissions.is_sorted_by(|a, b| a.place() < b.place());
        if !is_sorted || !ranges.into_iter().all(is_grantable) {
            return Ok(Err(format!("role {name:?} is {role:?}")));
        }
    }
    let known: BTreeSet<&str> = roles.iter().map(|(name, _)| name.as_str()).collect();
    for (name, user) in &users {
        let is_known = |role: &String| role == User::ROOT || known.contains(role.as_str());
        let is_sorted = user.roles.is_sorted_by(|a, b| a < b);
        let is_past = user.password_generation <= state.revision.0
            && user.added.0 <= user.password_generation;
        if !is_sorted || !is_past || !user.roles.iter().all(is_known) {
            let (roles, generation) = (&user.roles, user.password_generation);
            let added = user.added;
            return Ok(Err(format!(
                "user {name:?}, added {added}, with the roles {roles:?}, generation {generation}, \
                 {state:?}"
            )));
        }
    }
    if state.enabled_at > state.revision {
        return Ok(Err(format!("authentication was enabled later: {state:?}")));
    }
    let root = users.iter().find(|(name, _)| name == User::ROOT);
    if state.enabled && !root.is_some_and(|(_, root)| root.is_root()) {
        return Ok(Err("authentication is enabled without root".to_owned()));
    }
    let secret = secret(view)?;
    let is_secret = |secret: &bytes::Bytes| secret.len() == AuthChange::SECRET_LEN && state.enabled;
    Ok(if secret.as_ref().is_none_or(is_secret) {
        Ok(())
    } else {
        Err("a secret of the wrong length, or while authentication is disabled".to_owned())
    })
}
