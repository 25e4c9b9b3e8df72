//! Users, roles and permissions: what changes them, what commands need, and what is checked again
//! when a command is applied.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;

mod auth {
    mod applied;
    mod broken;
    mod changes;
    mod encoded;
    mod limits;
    mod model;
    mod needs;
    mod owned;
    pub(crate) mod setup;
    mod wills;
}
