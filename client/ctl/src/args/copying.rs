//! Options of `make-mirror`, `migrate`, `archive` and `diff`.

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;

use super::values::duration;

/// Options of `make-mirror`, by the names of etcdctl's.
#[derive(Debug, Clone, clap::Args)]
pub struct MirrorArgs {
    /// The cluster to copy to: its servers, separated by commas
    #[arg(value_name = "DESTINATION", value_delimiter = ',', required = true)]
    pub destination: Vec<String>,
    /// Copy the keys below this prefix
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Copy only changes from this revision on, and no keys that exist
    #[arg(long, default_value_t = 0)]
    pub rev: i64,
    /// Copy to this prefix instead
    #[arg(long, default_value = "")]
    pub dest_prefix: String,
    /// Copy without any prefix
    #[arg(long)]
    pub no_dest_prefix: bool,
    /// Operations in one transaction at most
    #[arg(long, default_value_t = 128)]
    pub max_txn_ops: usize,
    /// Keep the progress in the destination, and go on from it
    #[arg(long, conflicts_with = "rev")]
    pub resume: bool,
    /// Compare both sides once the copy has caught up
    #[arg(long)]
    pub verify: bool,
    /// End once the copy has caught up
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub access: DestinationArgs,
}

/// How to connect to the destination.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DestinationArgs {
    /// Certificate of this client, for the destination
    #[arg(long, value_name = "FILE")]
    pub dest_cert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    pub dest_key: Option<PathBuf>,
    /// Certificates by which servers of the destination are verified
    #[arg(long, value_name = "FILE")]
    pub dest_cacert: Option<PathBuf>,
    /// Connect to the destination without TLS
    #[arg(long, default_value_t = true, hide_default_value = true)]
    pub dest_insecure_transport: bool,
    /// Name, or name:password, of the user at the destination
    #[arg(long)]
    pub dest_user: Option<String>,
    /// Password of the user at the destination
    #[arg(long)]
    pub dest_password: Option<String>,
}

/// Options of `migrate`.
#[derive(Debug, Clone, clap::Args)]
pub struct MigrateArgs {
    /// The cluster to move away from: its servers, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub from: Vec<String>,
    /// The cluster to move to. Without it only --dir is filled
    #[arg(long, value_delimiter = ',')]
    pub to: Vec<String>,
    /// Folder for the snapshot and the changes after it: the destination is restored from it and
    /// keeps revisions
    #[arg(long, required_unless_present = "values", conflicts_with = "values")]
    pub dir: Option<PathBuf>,
    /// Copy keys, values and leases into a running cluster; revisions are its own
    #[arg(long, requires = "to")]
    pub values: bool,
    /// Operations in one transaction at most
    #[arg(long, default_value_t = 128)]
    pub max_txn_ops: usize,
    /// End once the destination has caught up and is verified
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub access: DestinationArgs,
}

/// Options of `archive`.
#[derive(Debug, Clone, clap::Args)]
pub struct ArchiveArgs {
    /// The folder of the archive
    #[arg(long, global = true)]
    pub dir: Option<PathBuf>,
    /// Take another snapshot after this time, so that a restore reads less
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub snapshot_interval: Duration,
    /// Begin another file for changes at this size
    #[arg(long, default_value_t = 64 << 20, value_name = "BYTES")]
    pub segment_bytes: u64,
    /// End once the archive has caught up
    #[arg(long)]
    pub once: bool,
    #[command(subcommand)]
    pub command: Option<ArchiveCommand>,
}

/// Commands on an archive that need no server.
#[derive(Debug, Clone, Subcommand)]
pub enum ArchiveCommand {
    /// List the snapshots and changes, and the revisions that can be restored
    List,
    /// Read everything and check it
    Verify,
    /// Make a snapshot file of a revision or a time
    Restore {
        /// The snapshot file to make
        file: PathBuf,
        /// The revision; the last one unless set
        #[arg(long, conflicts_with = "to_time")]
        to_revision: Option<i64>,
        /// The last revision at this time, such as 2026-11-30T17:00:00Z
        #[arg(long, value_name = "TIME")]
        to_time: Option<String>,
    },
}

/// Options of `diff`.
#[derive(Debug, Clone, clap::Args)]
pub struct DiffArgs {
    /// The earlier revision
    #[arg(value_name = "REV1")]
    pub from: i64,
    /// The later revision; 0 for the latest
    #[arg(value_name = "REV2")]
    pub to: i64,
    /// Compare the keys below this prefix
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Read a snapshot file instead of a server
    #[arg(long, conflicts_with = "dir")]
    pub snapshot: Option<PathBuf>,
    /// Read an archive instead of a server
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

impl DiffArgs {
    /// Whether a server is read, and no files.
    #[must_use]
    pub const fn needs_server(&self) -> bool {
        self.snapshot.is_none() && self.dir.is_none()
    }
}
