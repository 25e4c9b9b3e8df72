//! Keys with a meaning: those that stand for claims, and those that stand for instances.
//!
//! Only the mapping of keys, not the stored data. Invariant: no key stands for both.

mod claim;
mod instance;

pub(crate) use self::{
    claim::{below, is_claim, is_reserved, lease_of, may_be_claim, name_of},
    instance::split,
};
pub use self::{
    claim::{claim_key, claim_range, claimed_name},
    instance::{InstanceName, SERVICES_PREFIX, service_range},
};
