//! Tags and flags of the encoding. Each is stored: none is ever changed, or used again for
//! something else.

/// Of a command.
pub(super) const PUT: u8 = 1;
pub(super) const DELETE_RANGE: u8 = 2;
pub(super) const TXN: u8 = 3;
pub(super) const COMPACT: u8 = 4;
pub(super) const LEASE_GRANT: u8 = 5;
pub(super) const LEASE_REVOKE: u8 = 6;
pub(super) const LEASE_RENEW: u8 = 7;
pub(super) const LEASE_EXPIRE: u8 = 8;
pub(super) const ALARM: u8 = 9;
pub(super) const MEMBER_PUBLISH: u8 = 10;
pub(super) const CONDITIONAL: u8 = 11;
pub(super) const CLAIM: u8 = 12;
pub(super) const REGISTRY: u8 = 13;
pub(super) const SESSION_OPEN: u8 = 14;
pub(super) const FENCE: u8 = 15;
pub(super) const WILL_SET: u8 = 16;
pub(super) const WAKE: u8 = 17;
pub(super) const RAISE_LEVEL: u8 = 18;

/// Of an operation in a transaction, and of the answer to one.
pub(super) const OP_RANGE: u8 = 1;
pub(super) const OP_PUT: u8 = 2;
pub(super) const OP_DELETE_RANGE: u8 = 3;
pub(super) const OP_TXN: u8 = 4;

/// Of the end of a range.
pub(super) const END_SINGLE: u8 = 0;
pub(super) const END_BEFORE: u8 = 1;
pub(super) const END_UNBOUNDED: u8 = 2;

/// Of what a comparison looks at.
pub(super) const OPERAND_VERSION: u8 = 1;
pub(super) const OPERAND_CREATE: u8 = 2;
pub(super) const OPERAND_MOD: u8 = 3;
pub(super) const OPERAND_VALUE: u8 = 4;
pub(super) const OPERAND_LEASE: u8 = 5;

/// In the flags of a put and of a delete.
pub(super) const FLAG_WANT_PREVIOUS: u8 = 1;
pub(super) const FLAG_IGNORE_VALUE: u8 = 2;
pub(super) const FLAG_IGNORE_LEASE: u8 = 4;

/// In the flags of a range query.
pub(super) const FLAG_KEYS_ONLY: u8 = 1;
pub(super) const FLAG_COUNT_ONLY: u8 = 2;
pub(super) const FLAG_FILTERS: u8 = 4;

/// Of a kind of alarm.
pub(super) const ALARM_ANY: u8 = 0;
pub(super) const ALARM_NO_SPACE: u8 = 1;
pub(super) const ALARM_CORRUPT: u8 = 2;

/// Before something that may be left out.
pub(super) const ABSENT: u8 = 0;
pub(super) const PRESENT: u8 = 1;

/// Of the id of a request.
pub(super) const REQUEST_NONE: u8 = 0;
pub(super) const REQUEST_SESSION: u8 = 1;
pub(super) const REQUEST_KEY: u8 = 2;
pub(super) const REQUEST_CLIENT_KEY: u8 = 3;

/// Of an operation on claims.
pub(super) const CLAIM_ACQUIRE: u8 = 1;
pub(super) const CLAIM_RELEASE: u8 = 2;
pub(super) const CLAIM_WITHDRAW: u8 = 3;
pub(super) const CLAIM_TRANSFER: u8 = 4;
pub(super) const CLAIM_HAND_OVER: u8 = 5;
pub(super) const CLAIM_PROCLAIM: u8 = 6;
pub(super) const CLAIM_FORCE_RELEASE: u8 = 7;

/// Of how much a claim asks for.
pub(super) const MODE_EXCLUSIVE: u8 = 0;
pub(super) const MODE_SHARED: u8 = 1;
pub(super) const MODE_PERMITS: u8 = 2;

/// Of how long a claim waits.
pub(super) const WAIT_NEVER: u8 = 0;
pub(super) const WAIT_WITHIN: u8 = 1;
pub(super) const WAIT_ALWAYS: u8 = 2;

/// Of an operation on registrations.
pub(super) const REGISTRY_REGISTER: u8 = 1;
pub(super) const REGISTRY_SET_READINESS: u8 = 2;
pub(super) const REGISTRY_DRAIN: u8 = 3;
pub(super) const REGISTRY_DEREGISTER: u8 = 4;

/// Of a readiness.
pub(super) const READINESS_STARTING: u8 = 0;
pub(super) const READINESS_READY: u8 = 1;
pub(super) const READINESS_DRAINING: u8 = 2;
pub(super) const READINESS_NOT_READY: u8 = 3;

/// Of a change to the fence policies.
pub(super) const FENCE_SET: u8 = 1;
pub(super) const FENCE_REMOVE: u8 = 2;

/// Of an outcome: the command was done, or refused.
pub(super) const OUTCOME_DONE: u8 = 0;
pub(super) const OUTCOME_REFUSED: u8 = 1;

/// Of a reply.
pub(super) const REPLY_PUT: u8 = 1;
pub(super) const REPLY_DELETE_RANGE: u8 = 2;
pub(super) const REPLY_TXN: u8 = 3;
pub(super) const REPLY_COMPACT: u8 = 4;
pub(super) const REPLY_LEASE_GRANT: u8 = 5;
pub(super) const REPLY_LEASE_REVOKE: u8 = 6;
pub(super) const REPLY_LEASE_RENEW: u8 = 7;
pub(super) const REPLY_LEASE_EXPIRE: u8 = 8;
pub(super) const REPLY_ALARM: u8 = 9;
pub(super) const REPLY_MEMBER_PUBLISH: u8 = 10;
pub(super) const REPLY_ACQUIRE: u8 = 11;
pub(super) const REPLY_DONE: u8 = 12;
pub(super) const REPLY_WITHDRAW: u8 = 13;
pub(super) const REPLY_CLAIM: u8 = 14;
pub(super) const REPLY_FORCE_RELEASE: u8 = 15;
pub(super) const REPLY_REGISTER: u8 = 16;
pub(super) const REPLY_SESSION_OPEN: u8 = 17;
pub(super) const REPLY_WAKE: u8 = 18;

/// Of a refusal.
pub(super) const REFUSED_KEY_NOT_FOUND: u8 = 1;
pub(super) const REFUSED_LEASE_NOT_FOUND: u8 = 2;
pub(super) const REFUSED_LEASE_EXISTS: u8 = 3;
pub(super) const REFUSED_COMPACTED: u8 = 4;
pub(super) const REFUSED_FUTURE_REVISION: u8 = 5;
pub(super) const REFUSED_NO_SPACE: u8 = 6;
pub(super) const REFUSED_CORRUPT: u8 = 7;
pub(super) const REFUSED_GUARD_STALE: u8 = 8;
pub(super) const REFUSED_GUARD_MISSING: u8 = 9;
pub(super) const REFUSED_NOT_HOLDER: u8 = 10;
pub(super) const REFUSED_ALREADY_CLAIMED: u8 = 11;
pub(super) const REFUSED_PERMITS_DIFFER: u8 = 12;
pub(super) const REFUSED_QUEUE_FULL: u8 = 13;
pub(super) const REFUSED_DEADLOCK: u8 = 14;
pub(super) const REFUSED_QUEUE_FIXED: u8 = 15;
pub(super) const REFUSED_CANDIDATE_UNKNOWN: u8 = 16;
pub(super) const REFUSED_SESSION_NOT_FOUND: u8 = 17;
pub(super) const REFUSED_REQUEST_FORGOTTEN: u8 = 18;
pub(super) const REFUSED_ANSWER_TOO_LARGE: u8 = 19;
pub(super) const REFUSED_REQUEST_DIFFERS: u8 = 20;
pub(super) const REFUSED_TOO_MANY_REQUEST_KEYS: u8 = 21;
pub(super) const REFUSED_INSTANCE_REPLACED: u8 = 22;
pub(super) const REFUSED_INSTANCE_NOT_FOUND: u8 = 23;
pub(super) const REFUSED_POLICY_NOT_FOUND: u8 = 24;
pub(super) const REFUSED_TOO_MANY_POLICIES: u8 = 25;
pub(super) const REFUSED_NOT_CLAIMED: u8 = 26;
pub(super) const REFUSED_NAME_RESERVED: u8 = 27;
pub(super) const REFUSED_QUEUE_TOO_LONG: u8 = 28;
pub(super) const REFUSED_TOO_MANY_ROWS: u8 = 29;
pub(super) const REFUSED_ANSWER_OVER_LIMIT: u8 = 30;
pub(super) const REFUSED_ENTRY_FULL: u8 = 31;
pub(super) const REFUSED_LIMIT_REACHED: u8 = 40;

/// Of what there is as much of as there may be.
pub(super) const LIMIT_LEASE_KEYS: u8 = 1;
pub(super) const LIMIT_LEASE_WILLS: u8 = 2;
pub(super) const LIMIT_WILL_BYTES: u8 = 3;
pub(super) const LIMIT_SESSION_BYTES: u8 = 4;
pub(super) const LIMIT_LEASES: u8 = 5;
pub(super) const LIMIT_ALARMS: u8 = 6;
