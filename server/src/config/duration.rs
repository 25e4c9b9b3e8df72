//! Durations in Go's syntax: `100ms`, `5s`, `1h30m`, `1.5s`, and a bare `0`.

use std::time::Duration;

/// Nanoseconds per unit. Longer names come before their prefixes.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The longest duration, which is Go's: 2^63 - 1 nanoseconds, about 292 years.
const NANOS_MAX: u64 = i64::MAX as u64;

/// Parses a duration. Returns `None` for negative durations and for numbers without a unit.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = next;
    }
    (total <= NANOS_MAX).then(|| Duration::from_nanos(total))
}

/// Formats a duration as a whole number of the largest unit that allows it, up to minutes.
pub(super) fn written(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (name, scale) in [
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ] {
        if nanos > 0 && nanos.is_multiple_of(scale) {
            return format!("{}{name}", nanos / scale);
        }
    }
    match nanos {
        0 => "0s".to_owned(),
        nanos => format!("{nanos}ns"),
    }
}

/// Multiplies a decimal number by a unit, truncated to whole nanoseconds.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nanos = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        nanos = nanos.checked_add(u64::from(digit.to_digit(10)?) * place)?;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("3ns", 3),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0s", "7ns", "10ms", "1500ms", "5s", "90s", "1m", "60m"] {
            let duration = parse(text).unwrap();
            assert_eq!(written(duration), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "1",
            "10",
            "-1s",
            "s",
            ".s",
            "1x",
            "1s2",
            "1..5s",
            "300000h0.1q",
            "1 s",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("9999999999h"), None, "longer than Go can count");
    }
}
