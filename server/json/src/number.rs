//! Whole numbers as JSON writes them: in digits, as text, with a fraction or an exponent that
//! leaves them whole.

/// The greatest power of ten that a number may be multiplied by: beyond every 64-bit number.
const EXPONENT_MAX: u32 = 20;
/// The greatest magnitude at which a floating-point number still stands for one whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The whole number that a text stands for, such as `7`, `-7`, `7.0` or `7e2`.
pub(crate) fn of_text(text: &str) -> Option<i128> {
    let (is_negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let mut value: i128 = digits.parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs().min(EXPONENT_MAX))?;
    if shift.unsigned_abs() > EXPONENT_MAX {
        return None;
    }
    if shift >= 0 {
        value = value.checked_mul(power)?;
    } else if value % power == 0 {
        value /= power;
    } else {
        return None;
    }
    Some(if is_negative { -value } else { value })
}

/// The whole number that a floating-point number stands for exactly.
pub(crate) fn of_float(value: f64) -> Option<i128> {
    if value.fract() != 0.0 || value.abs() > EXACT_MAX {
        return None;
    }
    // Written without an exponent, because it is whole.
    format!("{value:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_in_every_spelling() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("7", Some(7)),
            ("-7.00", Some(-7)),
            ("7e2", Some(700)),
            ("7.25E2", Some(725)),
            ("700e-2", Some(7)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("-9223372036854775808", Some(i128::from(i64::MIN))),
            ("007", Some(7)),
            ("1.5", None),
            ("1e-1", None),
            ("1e99999999999", None),
            ("1e2147483647", None),
            ("1e-2147483648", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1.", None),
            (".5", None),
            ("0x10", None),
            ("NaN", None),
            (" 1", None),
        ] {
            assert_eq!(of_text(text), expected, "{text:?}");
        }
        let long = "9".repeat(100);
        assert_eq!(of_text(&long), None);
    }

    #[test]
    fn floats_are_read_when_they_are_one_whole_number() {
        assert_eq!(of_float(1.0), Some(1));
        assert_eq!(of_float(-0.0), Some(0));
        assert_eq!(of_float(-1e15), Some(-1_000_000_000_000_000));
        for none in [1.5, 1e16, 1e300, f64::NAN, f64::INFINITY] {
            assert_eq!(of_float(none), None, "{none}");
        }
    }
}
