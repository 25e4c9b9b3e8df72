//! Names of the metadata that accompanies calls between members.
//!
//! A name that was released is never changed: members of two versions run together.

/// Metadata that names the quorum.
pub const CLUSTER_KEY: &str = "tenure-cluster";
/// Metadata that names the member a call is for.
pub const TARGET_KEY: &str = "tenure-to";
/// Metadata that names the member a call is from.
pub const SENDER_KEY: &str = "tenure-from";
/// Metadata that names the data directory that the caller uses.
pub const SENDER_INSTANCE_KEY: &str = "tenure-from-instance";
/// Metadata that names the data directory by which the caller knows the member a call is for.
pub const TARGET_INSTANCE_KEY: &str = "tenure-to-instance";
/// Metadata of a refusal that no later call changes.
pub const REFUSAL_KEY: &str = "tenure-refusal";
/// Its value for a caller that is known by another data directory.
pub const REFUSAL_REPLACED: &str = "replaced";

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
        ];
        let released = "tenure-cluster tenure-to tenure-from tenure-from-instance \
                        tenure-to-instance tenure-refusal replaced";
        assert_eq!(names.join(" "), released);
    }
}
