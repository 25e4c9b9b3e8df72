//! The names of the buckets.

/// A bucket of a snapshot. The order is that of the names, and so that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BucketName {
    /// Active alarms.
    Alarm,
    /// Whether authentication is on, and its revision.
    Auth,
    /// Roles, by name.
    AuthRoles,
    /// Users, by name.
    AuthUsers,
    /// The version of the cluster, and a downgrade in progress.
    Cluster,
    /// The history of the key space, by revision.
    Key,
    /// Leases, by id.
    Lease,
    /// Members, by id.
    Members,
    /// Ids of members that were removed.
    MembersRemoved,
    /// Raft's applied index and term, and the progress of compaction.
    Meta,
    /// What tenure keeps beyond etcd. etcd keeps it and does not read it.
    Tenure,
}

impl BucketName {
    /// Every bucket, in the order of the file.
    pub const ALL: [Self; 11] = [
        Self::Alarm,
        Self::Auth,
        Self::AuthRoles,
        Self::AuthUsers,
        Self::Cluster,
        Self::Key,
        Self::Lease,
        Self::Members,
        Self::MembersRemoved,
        Self::Meta,
        Self::Tenure,
    ];

    /// The name in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Auth => "auth",
            Self::AuthRoles => "authRoles",
            Self::AuthUsers => "authUsers",
            Self::Cluster => "cluster",
            Self::Key => "key",
            Self::Lease => "lease",
            Self::Members => "members",
            Self::MembersRemoved => "members_removed",
            Self::Meta => "meta",
            Self::Tenure => "tenure",
        }
    }

    /// The name in the file, as bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        self.as_str().as_bytes()
    }

    /// Finds the bucket of a name; `None` for one that is neither etcd's nor ours.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|bucket| bucket.as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_names() {
        assert!(BucketName::ALL.is_sorted_by(|a, b| a < b && a.as_bytes() < b.as_bytes()));
    }
}
