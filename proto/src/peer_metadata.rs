//! Names of the metadata that accompanies calls between members.
//!
//! A released name is never changed: members of two versions run together.

/// Metadata that identifies the quorum.
pub const CLUSTER_KEY: &str = "tenure-cluster";
/// Metadata with the id of the member that a call is for.
pub const TARGET_KEY: &str = "tenure-to";
/// Metadata with the id of the calling member.
pub const SENDER_KEY: &str = "tenure-from";
/// Metadata with the id of the caller's data directory.
pub const SENDER_INSTANCE_KEY: &str = "tenure-from-instance";
/// Metadata with the id of the data directory that the caller knows of the member a call is for.
pub const TARGET_INSTANCE_KEY: &str = "tenure-to-instance";
/// Metadata of a permanent refusal.
pub const REFUSAL_KEY: &str = "tenure-refusal";
/// Its value for a caller whose member id is known with another data directory.
pub const REFUSAL_REPLACED: &str = "replaced";
/// Its value for a caller that was removed from the cluster.
pub const REFUSAL_REMOVED: &str = "removed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_between_members_has_the_names_that_were_released() {
        let names = [
            CLUSTER_KEY,
            TARGET_KEY,
            SENDER_KEY,
            SENDER_INSTANCE_KEY,
            TARGET_INSTANCE_KEY,
            REFUSAL_KEY,
            REFUSAL_REPLACED,
            REFUSAL_REMOVED,
        ];
        let released = "tenure-cluster tenure-to tenure-from tenure-from-instance \
                        tenure-to-instance tenure-refusal replaced removed";
        assert_eq!(names.join(" "), released);
    }
}
