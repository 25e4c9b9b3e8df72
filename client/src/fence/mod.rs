//! Fencing for resources outside of the store: files, tables, services of your own.
//!
//! A token proves that its holder *was* granted a lock. Only the resource can detect that it was
//! granted again later: it remembers the greatest token it has seen and refuses smaller ones. The
//! types of this module do that, each for one kind of resource:
//!
//! * [`FenceGate`] for anything inside a process, with its marks on disk ([`FileMarks`]);
//! * [`FileFence`] for one file that several processes replace;
//! * [`SqlFence`] for rows of a database;
//! * `FenceLayer` (feature `fence-http`) and `Fenced` (feature `fence-axum`) for services: callers
//!   send their token in the header `x-fence-token`, and the lock's name in `x-fence-name`.
//!
//! Tokens belong to one cluster: tokens of different clusters are not comparable, and marks raised
//! by another cluster may refuse all tokens for a long time.
//!
//! Writes to keys do not need it: use [`LockGuard::guarded`](crate::LockGuard::guarded), and make
//! the server refuse writes without a guard by
//! [`FencePolicies::set`](crate::fence::FencePolicies::set).

#[cfg(feature = "fence-axum")]
mod extract;
mod file;
mod gate;
#[cfg(feature = "fence-http")]
mod header;
#[cfg(feature = "fence-http")]
mod layer;
mod marks;
mod policy;
mod sql;

#[cfg(feature = "fence-axum")]
pub use extract::Fenced;
pub use file::FileFence;
pub use gate::{FenceError, FenceGate, Pass};
#[cfg(feature = "fence-http")]
pub use header::{FENCE_CURRENT, FENCE_NAME, FENCE_TOKEN, FenceRejection};
#[cfg(feature = "fence-http")]
pub use layer::{FenceLayer, FenceService};
pub use marks::{FenceMarks, FileMarks, VolatileMarks};
pub use policy::FencePolicies;
pub use sql::{InvalidTableName, Placeholders, SqlFence};
