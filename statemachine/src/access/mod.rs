//! Who may do what: users and roles as they are stored, the permissions that follow from them, and
//! the needs of commands.
//!
//! Only the decision. Changes of users and roles are in `auth/`; where commands are checked, in
//! `machine.rs`, `execute/` and by the services. Invariant: a decision is a function of the needs,
//! the name of the user and the state.

mod cache;
mod check;
mod gate;
mod intervals;
mod needs;
mod owned;
mod permissions;
mod read;
pub(crate) mod restored;
pub(crate) mod rows;
pub(crate) mod stored_key;

pub use self::{
    cache::PermissionCache,
    needs::{Need, needs_of},
    owned::Owner,
    permissions::Permissions,
    rows::{AuthState, Role, User},
};
pub(crate) use self::{
    check::check,
    gate::{Caller, Gate},
    needs::{each_need, each_will_need},
    owned::{read_will_user, write_will_user},
    stored_key::StoredKey,
};
