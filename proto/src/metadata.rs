//! Names of the metadata of calls and responses on the client port.
//!
//! A released name is never changed: clients of other versions use it.

/// Metadata that states which API a client uses; etcd's.
pub const API_VERSION_METADATA: &str = "client-api-version";
/// Metadata that requests a refusal by a node that has no leader; etcd's.
pub const REQUIRE_LEADER_METADATA: &str = "hasleader";
/// Metadata with the token that the server issued for a name and a password; etcd's.
pub const TOKEN_METADATA: &str = "token";
/// Metadata with the timeout of the call; gRPC's.
pub const TIMEOUT_METADATA: &str = "grpc-timeout";

/// Prefix of tenure's own metadata.
pub const OWN_METADATA_PREFIX: &str = "tenure-";
/// Metadata with an encoded `tenure.v1.Guard`; may be repeated.
pub const GUARD_BYTES_METADATA: &str = "tenure-guard-bin";
/// Metadata with a guard as text, `NAME=TOKEN`; may be repeated.
pub const GUARD_TEXT_METADATA: &str = "tenure-guard";
/// Metadata with a session's request id, `SESSION.SEQUENCE.ANSWERED`.
pub const REQUEST_METADATA: &str = "tenure-request";
/// Metadata with an idempotency key.
pub const IDEMPOTENCY_KEY_METADATA: &str = "tenure-idempotency-key";

/// Metadata with a revision that the state read must have reached.
pub const AT_LEAST_REVISION_METADATA: &str = "tenure-at-least-revision";
/// Metadata with the greatest age in milliseconds of the state read.
pub const MAX_STALENESS_METADATA: &str = "tenure-max-staleness";
/// Metadata of the response: the greatest age of the state read, in milliseconds.
pub const AGE_METADATA: &str = "tenure-age-ms";
/// Metadata of the response: the member that sent it.
pub const MEMBER_METADATA: &str = "tenure-member";

/// Metadata of a failed write that may nevertheless take effect.
pub const OUTCOME_METADATA: &str = "tenure-outcome";
/// Its value.
pub const OUTCOME_UNKNOWN: &str = "unknown";
/// Metadata of an error with the name of its reason, one of tenure's own.
pub const REASON_METADATA: &str = "tenure-reason";
/// Metadata of a stale-token error: the token that holds, or zero.
pub const CURRENT_TOKEN_METADATA: &str = "tenure-current-token";
/// Metadata with the delay before a retry, as specified by gRPC (its retry design, gRFC A6).
pub const RETRY_METADATA: &str = "grpc-retry-pushback-ms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_the_names_that_were_released() {
        let names = [
            API_VERSION_METADATA,
            REQUIRE_LEADER_METADATA,
            TOKEN_METADATA,
            TIMEOUT_METADATA,
            GUARD_BYTES_METADATA,
            GUARD_TEXT_METADATA,
            REQUEST_METADATA,
            IDEMPOTENCY_KEY_METADATA,
            AT_LEAST_REVISION_METADATA,
            MAX_STALENESS_METADATA,
            AGE_METADATA,
            MEMBER_METADATA,
            OUTCOME_METADATA,
            OUTCOME_UNKNOWN,
            REASON_METADATA,
            CURRENT_TOKEN_METADATA,
            RETRY_METADATA,
        ];
        let released = "client-api-version hasleader token grpc-timeout tenure-guard-bin \
                        tenure-guard tenure-request tenure-idempotency-key \
                        tenure-at-least-revision tenure-max-staleness tenure-age-ms \
                        tenure-member tenure-outcome unknown tenure-reason \
                        tenure-current-token grpc-retry-pushback-ms";
        assert_eq!(names.join(" "), released);
    }
}
