//! Rust source with what is not code blanked out: comments, and the contents of literals.
//!
//! A scanner of tokens, not a parser: it knows where strings, characters and comments end, and
//! which blocks are test modules. Invariant: every line keeps its number.

/// `text` with comments and the contents of literals replaced by spaces.
#[must_use]
pub fn without_words(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let before = out.chars().next_back().unwrap_or(' ');
        let length = word_length(rest, before);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    out
}

/// How many bytes of comment or literal `rest` begins with; zero when it begins with code.
fn word_length(rest: &str, before: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    if !is_name(before)
        && let Some(length) = raw_string_length(rest)
    {
        return length;
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    0
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, and their byte forms.
fn raw_string_length(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let opened = rest.len() - body.len() + hashes + 1;
    let length = rest[opened..]
        .find(&closing)
        .map(|at| opened + at + closing.len());
    Some(length.unwrap_or(rest.len()))
}

/// A character literal; a lifetime is code.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => quoted_length(rest, '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `code`, from [`without_words`], with the bodies of `#[cfg(test)] mod … { … }` blanked out too.
#[must_use]
pub fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, attribute, item)) = next_test_item(rest) {
        out.push_str(before);
        out.push_str(attribute);
        let length = module_body_length(item);
        out.extend(
            item[..length]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
        rest = &item[length..];
    }
    out.push_str(rest);
    out
}

/// The names of the modules that `code` declares for tests only and keeps in files of their own.
#[must_use]
pub fn test_modules(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some((_, _, item)) = next_test_item(rest) {
        rest = item;
        let declaration = item.split(['{', ';']).next().unwrap_or(item);
        let name = declaration
            .split_whitespace()
            .skip_while(|word| *word != "mod")
            .nth(1);
        if let Some(name) = name.filter(|_| item[declaration.len()..].starts_with(';')) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The next attribute that keeps an item for tests: what is before it, itself, what is after it.
fn next_test_item(code: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in code.match_indices("#[cfg(") {
        let end = at + code[at..].find(']')? + 1;
        let attribute = &code[at..end];
        if has_word(attribute, "test") && !attribute.contains("not(test") {
            return Some((&code[..at], attribute, &code[end..]));
        }
    }
    None
}

/// Length of `item` to its closing brace when it is a module with a body, else zero.
fn module_body_length(item: &str) -> usize {
    let Some(open) = item.find(['{', ';']) else {
        return 0;
    };
    let is_module = item[..open].split_whitespace().any(|word| word == "mod");
    if !is_module || item[open..].starts_with(';') {
        return 0;
    }
    let mut depth = 0_usize;
    for (at, c) in item[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    item.len()
}

/// Whether `code` holds `word` as a word: not as part of a longer name.
#[must_use]
pub fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let inner_before = word.starts_with(is_name) && before.is_some_and(is_name);
        let inner_after = word.ends_with(is_name) && after.is_some_and(is_name);
        !inner_before && !inner_after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        for text in [
            "// todo!()\n",
            "/* todo!() /* todo!() */ todo!() */",
            "\"todo!() \\\" todo!()\"",
            "r#\"todo!() \" todo!()\"#",
            "br\"todo!()\"",
            "/// a todo!()",
        ] {
            assert!(!has_word(&without_words(text), "todo!"), "{text}");
        }
        for text in [
            "todo!()",
            "'\"'; todo!()",
            "fn f<'a>() { todo!() }",
            "'\\''; todo!() // '",
        ] {
            assert!(has_word(&without_words(text), "todo!"), "{text}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "a /*\n*/ \"\n\"\nr\"\n\" b";
        assert_eq!(without_words(text).lines().count(), text.lines().count());
        assert!(
            without_words(text)
                .lines()
                .last()
                .is_some_and(|line| line.ends_with('b'))
        );
    }

    #[test]
    fn test_modules_are_left_out_and_what_follows_is_not() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { if x {} } }\nfn c() {}\n";
        let rest = without_tests(text);
        assert!(rest.contains("fn a") && rest.contains("fn c") && !rest.contains("fn b"));
        let elsewhere = "#[cfg(all(test, unix))]\nmod tests { fn b() {} }\nfn c() {}";
        assert!(!without_tests(elsewhere).contains("fn b"));
        let never = "#[cfg(not(test))]\nmod real { fn b() {} }";
        assert!(without_tests(never).contains("fn b"));
        let constant = "#[cfg(test)]\nconst A: u8 = 1;\nfn c() { x.unwrap() }";
        assert!(without_tests(constant).contains("unwrap"));
    }

    #[test]
    fn test_modules_in_files_are_named() {
        let text = "mod a;\n#[cfg(test)]\npub(crate) mod fake;\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(test_modules(text), ["fake"]);
    }

    #[test]
    fn a_word_is_not_part_of_a_name() {
        assert!(has_word("use openraft::Raft;", "openraft"));
        assert!(!has_word("use my_openraft;", "openraft"));
        assert!(!has_word("use openraft_rt;", "openraft"));
        assert!(has_word("x.unwrap()", ".unwrap()"));
    }
}
