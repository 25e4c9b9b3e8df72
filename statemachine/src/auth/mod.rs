//! Authentication as a family of commands: changes of users, roles and permissions, and the checks
//! of commands that are repeated when they are applied.
//!
//! What permissions mean is in `access/`. Invariant: every change that may alter what a user may do
//! moves the auth revision.

mod change;
mod check;
mod invariants;

pub(crate) use self::invariants::check as check_rows;
