//! One line of the audit log, as JSON.
//!
//! Members and their order are fixed: `time`, `user`, `peer`, `certificate`, `action`, `details`,
//! `result`, `reason`; those without a value are left out.

use serde::{Serialize, Serializer};

use super::Record;
use crate::clock::UnixTime;

/// A record with its time.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    time: String,
    #[serde(flatten)]
    record: Record,
}

/// The line about lines that were lost.
#[derive(Debug, Serialize)]
struct Gap {
    time: String,
    action: &'static str,
    lines: u64,
}

impl Line {
    pub(super) fn new(now: UnixTime, record: Record) -> Self {
        Self {
            time: timestamp(now),
            record,
        }
    }

    /// The line with its line break.
    pub(super) fn text(&self) -> String {
        json(self)
    }
}

/// The line that says how many are missing before it.
pub(super) fn gap(now: UnixTime, lines: u64) -> String {
    json(&Gap {
        time: timestamp(now),
        action: "lines lost",
        lines,
    })
}

/// A name in a line. Users choose names, which may be long: one that is cut ends in `…`.
pub(super) fn shown(name: &str) -> String {
    /// Longer than any name that people give, and short for a line.
    const CHARS_MAX: usize = 128;
    if name.chars().count() <= CHARS_MAX {
        return name.to_owned();
    }
    name.chars().take(CHARS_MAX).chain(['…']).collect()
}

fn json(line: &impl Serialize) -> String {
    let text = serde_json::to_string(line).expect("invariant: texts and numbers are JSON");
    text + "\n"
}

/// Serializes pairs as an object, in their order.
pub(super) fn pairs<S: Serializer>(
    pairs: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// RFC 3339 in UTC, with milliseconds. The calendar is the proleptic Gregorian one.
fn timestamp(UnixTime(since): UnixTime) -> String {
    const DAY_SECONDS: u64 = 24 * 60 * 60;
    let seconds = since.as_secs();
    let (days, rest) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last of a year, within eras of 400
/// years, which all have the same number of days.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    /// From 0000-03-01 to 1970-01-01.
    const BEFORE_1970: u64 = 719_468;
    let days = days + BEFORE_1970;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / (ERA_DAYS - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days and so on: 153 in five of them.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shown("alice"), "alice");
        let cut = shown(&"é".repeat(1000));
        assert_eq!(cut.chars().count(), 129);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn times_are_written_as_calendars_have_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = UnixTime(Duration::from_secs(seconds));
            assert_eq!(timestamp(time), text);
        }
        let time = UnixTime(Duration::from_millis(1_234));
        assert_eq!(timestamp(time), "1970-01-01T00:00:01.234Z");
    }
}
