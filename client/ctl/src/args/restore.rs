//! Options of `snapshot restore`, by the names of etcdutl's.

use std::path::PathBuf;

/// Options of `snapshot restore`.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// The snapshot file
    pub file: PathBuf,
    /// Directory to make; empty means NAME.tenure in the working directory
    #[arg(long, default_value = "")]
    pub data_dir: String,
    /// Name of the member
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Members of the new cluster, as NAME=URL pairs
    #[arg(long, default_value = "default=http://localhost:2380")]
    pub initial_cluster: String,
    /// Text that sets the new cluster apart from others with the same addresses
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Peer URLs of the member, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: Vec<String>,
    /// Take a file without a checksum, such as one out of a data directory
    #[arg(long)]
    pub skip_hash_check: bool,
    /// Revisions to move the key space on by, so that no watcher or cache takes the restored
    /// history for the one it knows
    #[arg(long, default_value_t = BUMP_DEFAULT, value_name = "REVISIONS")]
    pub bump_revision: u64,
    /// Compact what was before. Always done when the revision is moved on
    #[arg(long)]
    pub mark_compacted: bool,
    /// Keep revisions and history as they are in the file
    #[arg(long, conflicts_with_all = ["bump_revision", "mark_compacted"])]
    pub same_revision: bool,
}

/// More revisions than a cluster makes between two backups. etcd's documentation advises it for
/// Kubernetes.
const BUMP_DEFAULT: u64 = 1_000_000_000;

impl RestoreArgs {
    /// Revisions to move the key space on by; zero for none.
    #[must_use]
    pub const fn bump(&self) -> u64 {
        if self.same_revision {
            0
        } else {
            self.bump_revision
        }
    }

    /// The directory to make.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        if self.data_dir.is_empty() {
            PathBuf::from(format!("{}.tenure", self.name))
        } else {
            PathBuf::from(&self.data_dir)
        }
    }
}
