//! `--audit-log`: where the audit log goes.

use std::path::PathBuf;

/// Where the audit log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// Nowhere.
    Off,
    /// To standard error, between the lines of the log.
    Stderr,
    /// To a file.
    File {
        /// The file; its folder must exist.
        path: PathBuf,
        /// Size at which the file is put aside and another begun; `None` to let it grow.
        bytes_max: Option<u64>,
    },
}

/// The value as a target. `bytes_max` is zero to let the file grow.
pub(super) fn parse(text: &str, bytes_max: u64) -> AuditTarget {
    match text {
        "off" | "" => AuditTarget::Off,
        "stderr" => AuditTarget::Stderr,
        path => AuditTarget::File {
            path: PathBuf::from(path),
            bytes_max: Some(bytes_max).filter(|max| *max > 0),
        },
    }
}
