//! A bound on the memory of each node, by the kernel: beyond it the node is killed.
//!
//! Needs the memory controller of the first version of control groups, and the right to use it.
//! Where that is missing the nodes run without a bound, and the report says so.

use std::{fs, io, path::PathBuf, process, thread, time::Duration};

/// Where the memory controller is mounted.
const CONTROLLER: &str = "/sys/fs/cgroup/memory";
/// Tries to remove a group, which the kernel refuses while a process of it ends.
const REMOVALS_MAX: usize = 20;
/// Pause between two tries.
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// The groups of some processes; removed with the value, which must outlive the processes.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    groups: Vec<PathBuf>,
}

impl MemoryLimit {
    /// Whether memory can be bounded here, by this process.
    pub(super) fn is_possible() -> bool {
        let group = PathBuf::from(CONTROLLER).join(format!("tenure-hostile-{}", process::id()));
        let made = fs::create_dir(&group);
        let limit = Self {
            groups: vec![group.clone()],
        };
        let bounded = fs::write(group.join("memory.limit_in_bytes"), (1 << 30).to_string());
        drop(limit);
        made.is_ok() && bounded.is_ok()
    }

    /// Bounds each process by itself.
    ///
    /// # Errors
    /// When that cannot be done here.
    pub(super) fn of(pids: &[u32], bytes_max: u64) -> io::Result<Self> {
        let mut limit = Self { groups: Vec::new() };
        for pid in pids {
            let group = PathBuf::from(CONTROLLER).join(format!("tenure-hostile-{pid}"));
            fs::create_dir(&group)?;
            limit.groups.push(group.clone());
            let write = |file: &str, text: String| fs::write(group.join(file), text);
            write("memory.limit_in_bytes", bytes_max.to_string())?;
            // Not there without the accounting of swap, which then is no way out either.
            _ = write("memory.memsw.limit_in_bytes", bytes_max.to_string());
            write("cgroup.procs", pid.to_string())?;
        }
        Ok(limit)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        for group in &self.groups {
            for _ in 0..REMOVALS_MAX {
                if fs::remove_dir(group).is_ok() {
                    break;
                }
                // A pause between two looks.
                thread::sleep(REMOVAL_PAUSE);
            }
        }
    }
}
