//! Limits of requests that do not depend on the configuration.
//!
//! Configurable limits are in the server; limits of the state are in the state machine.

/// Most guards of one write. Each is looked up when the write is applied, which blocks every later
/// write.
pub const GUARDS_MAX: usize = 16;
/// Longest idempotency key in bytes. Enough for any uuid, hash or path, and a hundred thousand of
/// them are remembered.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Longest name of a lock or an election. Longer than any path, and a claim's key remains a small
/// part of the largest request.
pub const NAME_BYTES_MAX: usize = 4096;
/// Most names claimed together: a claim of this many is one log entry and one revision.
pub const BUNDLE_NAMES_MAX: usize = 64;
/// Most bytes of names claimed together. Each of the waiting claims stores the names of all, so
/// they are stored as often as there are names: 1 MiB at the most.
pub const BUNDLE_BYTES_MAX: usize = 16 * 1024;
/// Longest principal of a claim.
pub const PRINCIPAL_BYTES_MAX: usize = 1024;
/// Longest reason for ending a claim by force; it goes into the log.
pub const JUSTIFICATION_BYTES_MAX: usize = 1024;
/// Longest lock delay after a holder was lost. It lets pending writes finish; a longer pause is a
/// case for an operator.
pub const LOCK_DELAY_MS_MAX: u64 = 60_000;
/// Most names whose tokens one stream may watch: each is read again whenever a claim on it changes.
pub const WATCHED_NAMES_MAX: usize = 1000;

/// Shortest life of a lease that tenure's own calls make: a few round trips and disk writes, so
/// that a renewal arrives in time.
pub const TTL_MIN_MS: u64 = 200;
/// Longest life of a lease in seconds; etcd's bound, far beyond any use and short of overflow.
pub const TTL_SECS_MAX: u64 = 9_000_000_000;

/// Longest name of a service or an instance, zone, version, tag, protocol, host or metadata key.
/// No host name is longer, and the key made of two of them stays small.
pub const REGISTRY_TEXT_BYTES_MAX: usize = 256;
/// Endpoints of an instance: a few protocols on a few addresses.
pub const ENDPOINTS_MAX: usize = 32;
/// Tags of an instance, or of a selector. Each is looked for in each instance.
pub const TAGS_MAX: usize = 64;
/// Pairs of metadata of an instance, or of a selector.
pub const METADATA_PAIRS_MAX: usize = 64;
/// Largest stored instance. Every change of it is sent to all watchers of its service.
pub const INSTANCE_BYTES_MAX: usize = 64 * 1024;
/// Greatest weight; that of a DNS SRV record.
pub const WEIGHT_MAX: u32 = 65_535;
/// Longest grace of a drain: a day. What takes longer is not about to end.
pub const DRAIN_GRACE_MS_MAX: u64 = 86_400_000;
