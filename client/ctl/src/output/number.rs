//! Numbers as Go programs print them: durations and sizes.
//!
//! Scripts written for etcdctl parse these.

use std::time::Duration;

/// Units of size, each a thousand times the one before.
const SIZE_UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A duration such as `1m2.5s`, `2.127ms` or `875ns`.
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => with_fraction(nanos, 1_000_000, "ms"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = with_fraction(nanos % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

fn with_fraction(nanos: u128, unit: u128, name: &str) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", nanos % unit);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}{name}", nanos / unit)
}

/// A size such as `20 kB`: two digits, powers of a thousand.
pub fn size(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog(1_000);
    let unit = SIZE_UNITS.get(power as usize).copied().unwrap_or("EB");
    // Tenths, rounded to the nearest.
    let scale = 1_000_u128.pow(power);
    let tenths = (u128::from(bytes) * 100 / scale + 5) / 10;
    if tenths < 100 {
        return format!("{}.{} {unit}", tenths / 10, tenths % 10);
    }
    // Halves go to the even neighbour, as in IEEE arithmetic.
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let up = tenth > 5 || (tenth == 5 && whole % 2 == 1);
    format!("{} {unit}", whole + u128::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_largest_fitting_unit_and_no_idle_zeros() {
        let go = |nanos| go_duration(Duration::from_nanos(nanos));
        assert_eq!(go(0), "0s");
        assert_eq!(go(875), "875ns");
        assert_eq!(go(875_236), "875.236µs");
        assert_eq!(go(2_127_579), "2.127579ms");
        assert_eq!(go(1_500_000_000), "1.5s");
        assert_eq!(go(62_000_000_000), "1m2s");
        assert_eq!(go(3_600_000_000_000), "1h0m0s");
    }

    #[test]
    fn sizes_have_two_digits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(82), "82 B");
        assert_eq!(size(20_480), "20 kB");
        assert_eq!(size(1_234_567), "1.2 MB");
        assert_eq!(size(2_147_483_648), "2.1 GB");
        assert_eq!(size(999_999), "1000 kB");
    }
}
