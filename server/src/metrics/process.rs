//! Metrics of this process from the operating system, read from `/proc` on each scrape.
//!
//! Without `/proc` the values stay zero.

use std::fs;

use prometheus::{Counter, Gauge, IntGauge};
use rustix::process::{Resource, getrlimit};

use super::registrar::Registrar;

/// Clock ticks per second in `/proc`, fixed by Linux for user space regardless of the kernel's
/// rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/self/stat`, counted from the one after the parenthesised name.
const STAT_UTIME: usize = 11;
const STAT_STIME: usize = 12;
const STAT_STARTTIME: usize = 19;

/// Metrics of the process, under the names of Prometheus' own client.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    resident_memory: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    /// The same two values under etcd's names.
    fds_used: IntGauge,
    fds_limit: IntGauge,
    cpu_seconds: Counter,
    start_time: Gauge,
}

impl ProcessMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            resident_memory: registrar
                .gauge("process_resident_memory_bytes", "Bytes of memory in use."),
            virtual_memory: registrar.gauge(
                "process_virtual_memory_bytes",
                "Bytes of address space in use.",
            ),
            open_fds: registrar.gauge("process_open_fds", "File descriptors in use."),
            max_fds: registrar.gauge("process_max_fds", "File descriptors allowed."),
            fds_used: registrar.gauge("os_fd_used", "File descriptors in use."),
            fds_limit: registrar.gauge("os_fd_limit", "File descriptors allowed."),
            cpu_seconds: registrar.float_counter(
                "process_cpu_seconds_total",
                "Seconds of processor time used.",
            ),
            start_time: registrar.float_gauge(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            ),
        }
    }

    /// Reads all values. A value that cannot be read is left unchanged.
    pub(super) fn refresh(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            set_kibibytes(&self.resident_memory, &status, "VmRSS:");
            set_kibibytes(&self.virtual_memory, &status, "VmSize:");
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one descriptor while it runs.
            self.open_fds
                .set(i64::try_from(entries.count()).unwrap_or(i64::MAX) - 1);
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_fds.set(i64::try_from(limit).unwrap_or(i64::MAX));
        self.fds_used.set(self.open_fds.get());
        self.fds_limit.set(self.max_fds.get());
        self.refresh_times();
    }

    fn refresh_times(&self) {
        let Ok(stat) = fs::read_to_string("/proc/self/stat") else {
            return;
        };
        // The name may contain spaces and parentheses; the fields after the last one are regular.
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            return;
        };
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (ticks(STAT_UTIME), ticks(STAT_STIME)) {
            let used = (user + system) / TICKS_PER_SECOND;
            // Two concurrent scrapes may both read the older value; a counter must not decrease.
            self.cpu_seconds
                .inc_by((used - self.cpu_seconds.get()).max(0.0));
        }
        if let (Some(started), Some(booted)) = (ticks(STAT_STARTTIME), boot_seconds()) {
            self.start_time.set(booted + started / TICKS_PER_SECOND);
        }
    }
}

fn set_kibibytes(gauge: &IntGauge, status: &str, key: &str) {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse::<i64>().ok());
    if let Some(value) = value {
        gauge.set(value * 1024);
    }
}

/// Returns the boot time of the machine, in seconds since 1970.
fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .parse()
        .ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_descriptors_and_started_lately() {
        let metrics = ProcessMetrics::new(&mut Registrar::default());
        metrics.refresh();
        assert!(metrics.resident_memory.get() > 1 << 20);
        assert!(metrics.virtual_memory.get() >= metrics.resident_memory.get());
        assert!(metrics.open_fds.get() >= 3);
        assert!(metrics.max_fds.get() >= metrics.open_fds.get());
        assert!(metrics.start_time.get() > boot_seconds().unwrap() - 1.0);
    }
}
