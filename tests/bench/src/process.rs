//! What the kernel says a process has used.

use std::fs;

use anyhow::{Context, Result};

/// Ticks per second of the times in `/proc/<pid>/stat`: fixed in Linux's interface to programs,
/// whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields of `stat` between the closing parenthesis of the name and the user time.
const FIELDS_BEFORE_USER_TIME: usize = 11;

/// CPU seconds, user and system, of all threads of a process since it started.
pub(crate) fn cpu_seconds(pid: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_cpu_seconds(&stat).with_context(|| format!("{path} is not as expected"))
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: &str) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that a process has had resident, in bytes.
pub(crate) fn peak_bytes(pid: &str) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: &str, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_bytes(&status, field).with_context(|| format!("{path} is not as expected"))
}

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The name may hold spaces and parentheses; nothing after it does.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(FIELDS_BEFORE_USER_TIME);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn parse_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_an_odd_process_name() {
        let stat = "42 (a) b (c) S 1 2 3 0 -1 4 5 6 7 8 250 50 9 9 20 0 3 0";
        assert_eq!(parse_cpu_seconds(stat), Some(3.0));
        assert_eq!(parse_cpu_seconds("42 (short) S 1 2"), None);
    }

    #[test]
    fn the_resident_memory_is_given_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(parse_bytes(status, "VmRSS:"), Some(2 << 20));
        assert_eq!(parse_bytes(status, "VmHWM:"), Some(9 << 10));
        assert_eq!(parse_bytes("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_time() {
        assert!(resident_bytes("self").unwrap() > 0);
        assert!(cpu_seconds("self").unwrap() >= 0.0);
    }
}
