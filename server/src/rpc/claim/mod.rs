//! Claims on locks and elections, in whose service they may be asked for.

pub(super) mod acquire;
pub(super) mod delivery;
pub(super) mod foreign_keys;
pub(super) mod names;
pub(super) mod responses;
pub(super) mod withdraw;
