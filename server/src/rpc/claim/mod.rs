//! Claims on locks and elections: what tenure's and etcd's services share.

pub(super) mod acquire;
pub(super) mod delivery;
pub(super) mod foreign_keys;
pub(super) mod names;
pub(super) mod responses;
pub(super) mod withdraw;
