//! Text in Go's quoted form, which etcdctl reads in transactions and writes in its `fields` output,
//! and the splitting of a line into words.
//!
//! Quoting never fails and keeps every byte; unquoting refuses what Go would refuse.

use std::fmt::Write as _;

/// Quotes bytes as Go's `%q` does: printable text stays, everything else is escaped.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(&mut quoted, character);
        }
        for byte in chunk.invalid() {
            push_code(&mut quoted, 'x', 2, u32::from(*byte));
        }
    }
    quoted.push('"');
    quoted
}

fn push_escaped(quoted: &mut String, character: char) {
    match character {
        '"' | '\\' => quoted.extend(['\\', character]),
        '\u{7}' => quoted.push_str("\\a"),
        '\u{8}' => quoted.push_str("\\b"),
        '\u{b}' => quoted.push_str("\\v"),
        '\u{c}' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        ' ' => quoted.push(' '),
        _ if !character.is_control() && !character.is_whitespace() => quoted.push(character),
        _ if character < '\u{80}' => push_code(quoted, 'x', 2, character.into()),
        _ if character < '\u{10000}' => push_code(quoted, 'u', 4, character.into()),
        _ => push_code(quoted, 'U', 8, character.into()),
    }
}

fn push_code(quoted: &mut String, letter: char, digits: usize, code: u32) {
    write!(quoted, "\\{letter}{code:0digits$x}").expect("writing to a string succeeds");
}

/// Parses one quoted text, `"…"` with escapes or `` `…` `` without, at the start of `text`. Returns
/// the bytes and the rest of the text.
#[must_use]
pub fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`')?;
        return Some((raw.as_bytes()[..end].to_vec(), &raw[end + 1..]));
    }
    let mut rest = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    loop {
        let mut characters = rest.chars();
        match characters.next()? {
            '"' => return Some((bytes, characters.as_str())),
            '\n' => return None,
            '\\' => rest = unescape(characters.as_str(), &mut bytes)?,
            character => {
                bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = characters.as_str();
            }
        }
    }
}

/// Parses the characters after a backslash; returns the rest of the text.
fn unescape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let letter = text.chars().next()?;
    let rest = &text[letter.len_utf8()..];
    let digits = |text: &'a str, radix, length| {
        let code = u32::from_str_radix(text.get(..length)?, radix).ok()?;
        Some((code, &text[length..]))
    };
    let byte = match letter {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' => u8::try_from(letter).ok()?,
        'x' => {
            let (code, rest) = digits(rest, 16, 2)?;
            bytes.push(u8::try_from(code).ok()?);
            return Some(rest);
        }
        '0'..='7' => {
            let (code, rest) = digits(text, 8, 3)?;
            bytes.push(u8::try_from(code).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (code, rest) = digits(rest, 16, if letter == 'u' { 4 } else { 8 })?;
            bytes.extend(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(rest)
}

/// Splits a line into words as etcdctl does: at blanks, except inside `"…"`, where escapes count,
/// and inside `'…'`, where nothing does. Words are UTF-8, as arguments of a command line.
///
/// # Errors
/// The word that is not UTF-8 or has an invalid escape.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => double_quoted_end(rest),
            '\'' => rest[1..].find('\'').map(|end| end + 2),
            _ if first.is_whitespace() => None,
            _ => Some(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        // A quote that is never closed is skipped, like a blank.
        let Some(end) = end else {
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let word = &rest[..end];
        words.push(match first {
            '"' => unquote(word)
                .and_then(|(bytes, _)| String::from_utf8(bytes).ok())
                .ok_or_else(|| format!("{word} is not a quoted text"))?,
            '\'' => word[1..end - 1].to_owned(),
            _ => word.to_owned(),
        });
        rest = &rest[end..];
    }
    Ok(words)
}

/// The length of the quoted text at the start of `text`, if it is closed.
fn double_quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_keeps_text_and_escapes_the_rest() {
        assert_eq!(quote("grün".as_bytes()), "\"grün\"");
        assert_eq!(quote(b"a\"b\\c\n\0\xff"), r#""a\"b\\c\n\x00\xff""#);
        assert_eq!(quote("\u{a0}".as_bytes()), r#""\u00a0""#);
    }

    #[test]
    fn unquoting_undoes_quoting() {
        for bytes in [
            &b""[..],
            b"plain",
            b"\0\x07\xff\"\\\r",
            "ü\u{2028}🦀".as_bytes(),
        ] {
            let quoted = quote(bytes);
            assert_eq!(unquote(&quoted), Some((bytes.to_vec(), "")), "{quoted}");
        }
    }

    #[test]
    fn texts_that_go_refuses_are_refused() {
        for text in ["", "a", "\"a", r#""\q""#, r#""\x1""#, r#""\400""#, "`a"] {
            assert_eq!(unquote(text), None, "{text}");
        }
        assert_eq!(unquote("`a\\n` rest"), Some((b"a\\n".to_vec(), " rest")));
        assert_eq!(unquote(r#""\101" x"#), Some((b"A".to_vec(), " x")));
    }

    #[test]
    fn words_are_split_at_blanks_outside_quotes() {
        let split = |line| words(line).unwrap();
        assert_eq!(
            split(r#"put key1 "some extra key""#),
            ["put", "key1", "some extra key"]
        );
        assert_eq!(
            split(r#"put 'a "b' "c \"d""#),
            ["put", r#"a "b"#, r#"c "d"#]
        );
        assert_eq!(split("  get\t--prefix  x "), ["get", "--prefix", "x"]);
        assert_eq!(split(r#"put k "a\nb""#), ["put", "k", "a\nb"]);
        assert_eq!(split(""), [""; 0]);
        assert!(words(r#"put "\q""#).is_err());
    }
}
