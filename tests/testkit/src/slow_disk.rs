//! Disks whose syncs and removals of files take as long as a test says, by a library that is
//! preloaded into the nodes.
//!
//! # Invariants
//! A disk is fast until it is made slow, and a change counts at once, also for a call under way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{cluster::ClusterBuilder, tool::find_program};

/// The library's source; it is compiled where it is used.
const SOURCE: &str = include_str!("../shim/slow_disk.c");

/// Names of the files with the delays.
const SYNC: &str = "sync";
const REMOVAL: &str = "removal";

/// The disks of a cluster's nodes.
#[derive(Debug)]
pub struct SlowDisks {
    directory: TempDir,
}

impl SlowDisks {
    /// Disks that can be made slow; `None` where there is no C compiler.
    ///
    /// # Panics
    /// When the compiler refuses the library.
    #[must_use]
    pub fn new() -> Option<Self> {
        let compiler = find_program("cc")?;
        let directory = tempfile::Builder::new()
            .prefix("tenure-slow-disk-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let source = directory.path().join("slow_disk.c");
        fs::write(&source, SOURCE).expect("the temporary directory can be written to");
        let status = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(library(directory.path()))
            .arg(&source)
            .arg("-ldl")
            .status()
            .expect("a compiler that was found can be started");
        assert!(status.success(), "the slow disk does not compile: {status}");
        Some(Self { directory })
    }

    /// Puts the nodes of a cluster that is still to be started on these disks.
    #[must_use]
    pub fn under(&self, mut cluster: ClusterBuilder, nodes: usize) -> ClusterBuilder {
        let preload = format!("LD_PRELOAD={}", library(self.directory.path()).display());
        for node in 0..nodes {
            self.set(node, Duration::ZERO);
            self.set_removals(node, Duration::ZERO);
            let sync = format!("SLOW_SYNC_MS_FILE={}", self.file(SYNC, node).display());
            let removal = self.file(REMOVAL, node);
            let removal = format!("SLOW_REMOVAL_MS_FILE={}", removal.display());
            cluster = cluster.node_wrapper(node, &["env", &preload, &sync, &removal]);
        }
        cluster
    }

    /// From now on every sync of `node` takes so much longer.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    pub fn set(&self, node: usize, delay: Duration) {
        self.write(SYNC, node, delay);
    }

    /// From now on every removal of a file by `node` takes so much longer.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    pub fn set_removals(&self, node: usize, delay: Duration) {
        self.write(REMOVAL, node, delay);
    }

    fn write(&self, what: &str, node: usize, delay: Duration) {
        // Renamed into place: a reader never finds half of it.
        let new = self.directory.path().join("new");
        fs::write(&new, delay.as_millis().to_string())
            .and_then(|()| fs::rename(&new, self.file(what, node)))
            .expect("the temporary directory can be written to");
    }

    fn file(&self, what: &str, node: usize) -> PathBuf {
        self.directory.path().join(format!("{what}-{node}"))
    }
}

fn library(directory: &Path) -> PathBuf {
    directory.join("slow_disk.so")
}
