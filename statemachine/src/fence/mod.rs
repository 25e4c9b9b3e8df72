//! Fencing: the guards that a write carries, and the guards that fence policies require.
//!
//! A fence policy is a prefix below which a write needs a live guard of a lock. A write is an
//! operation of a client that stores, changes or deletes keys, or that gives contents to the keys
//! of claims and registrations. Releasing a claim and ending one by force are not writes, nor are
//! the operations of the machine: reordering queues, ending leases with their keys, ending drains
//! with their instances. A will is checked when it is set, and again when it runs.

pub(crate) mod guard;
mod needed;
mod policies;
mod shown;

pub use self::policies::POLICIES_MAX;
