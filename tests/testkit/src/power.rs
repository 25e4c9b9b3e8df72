//! Disks that lose their power: an ext4 file system of its own for each node, on a loop device.
//!
//! A cut drops everything that was not synced and fails every later call, as a power cut does for
//! the disk; the processes above go on running, and it is for the test to end them.
//!
//! # Invariants
//! The file systems are unmounted when [`PowerDisks`] is dropped; the nodes must be gone before.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use tempfile::TempDir;

use crate::tool::find_program;

/// What cuts the power; compiled where it is used.
const SOURCE: &str = include_str!("../shim/cut_power.c");

/// Bytes of each disk: small, and enough for what a test writes.
const DISK_BYTES: u64 = 512 << 20;

/// The disks of a cluster's nodes.
#[derive(Debug)]
pub struct PowerDisks {
    directory: TempDir,
    nodes: usize,
}

/// When a cut was made: not before the first moment, and done at the second.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Nothing was cut before this.
    pub begun: Instant,
    /// Everything was cut at this.
    pub done: Instant,
}

impl PowerDisks {
    /// Makes and mounts the disks.
    ///
    /// # Errors
    /// A sentence that says what is missing: a program, or the right to mount.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    pub fn new(nodes: usize) -> Result<Self, String> {
        let compiler = find_program("cc").ok_or("cc is not installed (Debian: gcc)")?;
        let directory = tempfile::Builder::new()
            .prefix("tenure-power-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let source = directory.path().join("cut_power.c");
        fs::write(&source, SOURCE).expect("the temporary directory can be written to");
        let cutter = cutter(directory.path());
        run(Command::new(compiler).arg("-o").arg(cutter).arg(&source))?;
        let disks = Self { directory, nodes };
        for node in 0..nodes {
            let image = disks.image(node);
            fs::File::create(&image)
                .and_then(|file| file.set_len(DISK_BYTES))
                .and_then(|()| fs::create_dir_all(disks.mount_point(node)))
                .expect("the temporary directory can be written to");
            run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
            disks.mount(node)?;
            // A node takes an empty directory for its own, and no other.
            fs::remove_dir(disks.mount_point(node).join("lost+found"))
                .expect("a new file system has this directory, and nothing in it");
        }
        Ok(disks)
    }

    /// Below which directory the nodes find their data, each on its own disk.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Cuts the power of the disks of `nodes`.
    ///
    /// # Panics
    /// When that fails.
    pub fn cut(&self, nodes: &[usize]) -> Cut {
        let mut child = Command::new(cutter(self.directory.path()))
            .args(nodes.iter().map(|node| self.mount_point(*node)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("what was compiled can be started");
        let mut order = child.stdin.take().expect("it was asked for");
        let mut said = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let mut hear = |what: &str| {
            let line = said.next().and_then(Result::ok);
            assert_eq!(line.as_deref(), Some(what), "the power was not cut");
        };
        hear("ready");
        let begun = Instant::now();
        order.write_all(b"\n").expect("it waits for this");
        hear("cut");
        let done = Instant::now();
        _ = child.wait();
        Cut { begun, done }
    }

    /// Gives the disk of `node` its power back: what was synced is there. The node must be gone.
    ///
    /// # Panics
    /// When the file system cannot be mounted.
    pub fn restore(&self, node: usize) {
        let again =
            run(Command::new("umount").arg(self.mount_point(node))).and_then(|()| self.mount(node));
        again.unwrap_or_else(|error| panic!("disk {node} does not come back: {error}"));
    }

    fn mount(&self, node: usize) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .arg(self.image(node))
            .arg(self.mount_point(node)))
    }

    fn image(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("disk-{node}"))
    }

    /// As [`Cluster`](crate::Cluster) names its nodes.
    fn mount_point(&self, node: usize) -> PathBuf {
        self.data().join(format!("m{node}"))
    }
}

impl Drop for PowerDisks {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            // It is not mounted when making it failed.
            let point = self.mount_point(node);
            _ = Command::new("umount").arg("-q").arg(point).status();
        }
    }
}

fn cutter(directory: &Path) -> PathBuf {
    directory.join("cut_power")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().display();
        format!("{program} cannot be started: {error}")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{}: {}",
        command.get_program().display(),
        said.trim()
    ))
}
