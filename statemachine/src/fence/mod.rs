//! What a write must show: guards that hold, and the guards that fence policies ask for.
//!
//! A fence policy is a prefix below which a write needs a live guard of a lock.
//! A write is what a client asks for: on keys, and on locks and registrations where it gives keys
//! their contents. To give back a claim, or to end one by force, is none, and neither is what the
//! machine does by itself: it reorders queues, ends leases with their keys and drains with their
//! instances. A will is looked at when it is set, and again when it runs.

pub(crate) mod guard;
mod needed;
mod policies;
mod shown;

pub use self::policies::POLICIES_MAX;
