//! The elements of DER, as far as certificates and revocation lists need them: walked without
//! recursion and without copies.
//!
//! What is read from certificates here is read after their chain was verified by another parser,
//! so this one must merely be safe on any bytes: whatever it cannot read is `None`.

use std::str;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;

/// Kinds of text that are read; others are rare and obsolete.
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;

/// Bytes of a length at most: more than any file has.
const LENGTH_BYTES_MAX: usize = 4;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

/// Elements that follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(crate) const fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|element| element.tag == tag)
            .map(|element| element.body)
    }

    /// The next element, if it has this tag; it stays the next one otherwise.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        (self.0.first() == Some(&tag))
            .then(|| self.expect(tag))
            .flatten()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    /// Ends at the first byte that begins no element.
    fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > LENGTH_BYTES_MAX {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        };
        let (body, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag, body })
    }
}

impl<'a> Element<'a> {
    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.tag {
            UTF8_STRING | PRINTABLE_STRING | IA5_STRING => str::from_utf8(self.body).ok(),
            _ => None,
        }
    }

    /// A time, in seconds since 1970. Certificates have it in UTC and to the second.
    pub(crate) fn time(&self) -> Option<i64> {
        let text = str::from_utf8(self.body).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let (year, rest) = match (self.tag, text.len()) {
            (UTC_TIME, 12) => {
                let year = number(0, 2)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, 2)
            }
            (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
            _ => return None,
        };
        let part = |index: usize| number(rest + index * 2, rest + index * 2 + 2);
        let days = days_since_1970(year, part(0)?, part(1)?);
        Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
    }
}

/// Days from the first of January 1970 to a date of the Gregorian calendar, by counting years from
/// March, so that the day of a leap year is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_walked_and_damaged_ones_end_the_walk() {
        let bytes = [INTEGER, 1, 7, OCTETS, 0x81, 2, 1, 2, SEQUENCE, 9, 0];
        let mut elements = Elements::of(&bytes);
        assert_eq!(elements.optional(OCTETS), None);
        assert_eq!(elements.expect(INTEGER), Some(&[7][..]));
        assert_eq!(elements.optional(OCTETS), Some(&[1, 2][..]));
        assert_eq!(elements.next(), None, "it says that it is longer");
        for damaged in [
            &[INTEGER][..],
            &[INTEGER, 0x80],
            &[INTEGER, 0x85, 1, 1, 1, 1, 1],
        ] {
            assert_eq!(Elements::of(damaged).next(), None);
        }
    }

    #[test]
    fn times_are_counted_from_1970() {
        let time = |tag, text: &str| {
            let body = text.as_bytes();
            Element { tag, body }.time()
        };
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "000229123456Z"), Some(951_827_696));
        assert_eq!(time(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(
            time(GENERALIZED_TIME, "20500101000000Z"),
            Some(2_524_608_000)
        );
        assert_eq!(
            time(GENERALIZED_TIME, "99991231235959Z"),
            Some(253_402_300_799)
        );
        for malformed in ["", "Z", "7001010000Z", "70010100000+Z", "700101000000"] {
            assert_eq!(time(UTC_TIME, malformed), None, "{malformed}");
        }
    }
}
