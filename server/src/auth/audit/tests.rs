//! Tests of the audit log as a whole.

use std::{fs, io::Write, sync::Arc};

use parking_lot::{Condvar, Mutex};

use super::*;
use crate::auth::fake::FakeClock;

fn record(action: &'static str) -> Record {
    Record::new(action, AuditResult::Done)
}

fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::at(1_800_000_000))
}

#[test]
fn a_line_says_who_did_what_from_where_and_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let target = AuditTarget::File {
        path: path.clone(),
        bytes_max: None,
    };
    let log = AuditLog::open(&target, clock(), AuthMetrics::unregistered()).unwrap();
    let peer = "[::1]:4711".parse().unwrap();
    log.record(
        Record::new("Auth/RoleGrantPermission", AuditResult::Done)
            .by("root")
            .calling_from(Some(peer), Some("admin.example"))
            .about("role", "reader")
            .about("key", "config/\n"),
    );
    log.record(Record::new("Auth/UserAdd", AuditResult::Refused("PermissionDenied")).by("bob"));
    log.record(Record::new(
        "Maintenance/MoveLeader",
        AuditResult::Failed("NoLeader"),
    ));
    log.close();
    let time = r#"{"time":"2027-01-15T08:00:00.000Z","#;
    let expected = [
        r#""user":"root","peer":"[::1]:4711","certificate":"admin.example","#,
        r#""action":"Auth/RoleGrantPermission","details":{"role":"reader","key":"config/\n"},"#,
        r#""result":"done"}"#,
    ];
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        format!("{time}{}", expected.concat())
    );
    let refused = r#""user":"bob","action":"Auth/UserAdd","result":"refused","#;
    let refused = format!(r#"{time}{refused}"reason":"PermissionDenied"}}"#);
    assert_eq!(lines.next().unwrap(), refused);
    let failed = r#""action":"Maintenance/MoveLeader","result":"failed","reason":"NoLeader"}"#;
    assert_eq!(lines.next().unwrap(), format!("{time}{failed}"));
    assert_eq!(lines.next(), None);
}

#[test]
fn a_log_that_is_off_takes_records_and_does_nothing() {
    let log = AuditLog::open(&AuditTarget::Off, clock(), AuthMetrics::unregistered()).unwrap();
    log.record(record("Auth/AuthEnable"));
    log.close();
}

#[test]
fn a_log_without_its_file_does_not_open() {
    let target = AuditTarget::File {
        path: "/nonexistent/audit.log".into(),
        bytes_max: None,
    };
    assert!(AuditLog::open(&target, clock(), AuthMetrics::unregistered()).is_err());
}

/// A target that hangs or fails when a test says so.
#[derive(Clone, Default)]
struct Target(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    text: String,
    failing: bool,
    hanging: bool,
    begun: bool,
}

impl Target {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    fn until_begun(&self) {
        let mut state = self.0.0.lock();
        self.0.1.wait_while(&mut state, |state| !state.begun);
    }
}

impl Write for Target {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock();
        state.begun = true;
        self.0.1.notify_all();
        self.0.1.wait_while(&mut state, |state| state.hanging);
        if state.failing {
            return Err(io::Error::other("the disk is full"));
        }
        state.text += str::from_utf8(line).unwrap();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_to(target: &Target) -> (AuditLog, AuthMetrics) {
    let metrics = AuthMetrics::unregistered();
    let writer = Writer::to(Box::new(target.clone()), metrics.clone());
    let log = AuditLog::with(writer, clock(), metrics.clone());
    (log.unwrap(), metrics)
}

#[test]
fn a_disk_that_hangs_delays_nothing_and_the_gap_is_told() {
    let target = Target::default();
    target.change(|state| state.hanging = true);
    let (log, metrics) = log_to(&target);
    log.record(record("first"));
    target.until_begun();
    for _ in 0..WAITING_MAX + 3 {
        log.record(record("more"));
    }
    assert_eq!(metrics.audit_lost.get(), 3);
    target.change(|state| state.hanging = false);
    log.close();
    let text = target.0.0.lock().text.clone();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().contains("first"));
    let gap = r#""action":"lines lost","lines":3}"#;
    assert!(lines.next().unwrap().ends_with(gap), "{gap}");
    assert_eq!(lines.count(), WAITING_MAX);
    assert_eq!(metrics.audited.get(), 1 + WAITING_MAX as u64);
}

#[test]
fn lines_that_could_not_be_written_are_counted_in_the_next_one() {
    let target = Target::default();
    target.change(|state| state.failing = true);
    let (log, metrics) = log_to(&target);
    log.record(record("one"));
    log.record(record("two"));
    while metrics.audit_lost.get() < 2 {
        std::thread::yield_now();
    }
    target.change(|state| state.failing = false);
    log.record(record("three"));
    log.close();
    let text = target.0.0.lock().text.clone();
    assert!(
        text.contains(r#""lines":2}"#) && text.contains("three"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_line_stays_short_whatever_the_names() {
    let long = "n".repeat(10_000);
    let record = record("Auth/UserAdd").by(&long).about("user", &long);
    let line = Line::new(clock().now(), record).text();
    assert!(line.len() < 1_000, "{}", line.len());
}
