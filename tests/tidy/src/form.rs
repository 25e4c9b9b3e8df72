//! The form of files: how they open, how long they are, what they are called, what they never hold.

use std::collections::BTreeSet;

use crate::{
    code,
    tree::{self, SourceFile},
};

/// Lines of a source file. Beyond it, a file has more than one subject.
pub const LINES_MAX: usize = 600;
/// Columns of a line of code; as in `.rustfmt.toml`, which leaves comments and strings alone.
pub const COLUMNS_MAX: usize = 100;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "common", "misc"];
/// What is not in code that is finished.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Marks a file that is a shell around generated code.
const GENERATED: &str = "include_proto!";

/// Files of Rust that do not say first what they are.
#[must_use]
pub fn headers(files: &[SourceFile]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.has_extension("rs"));
    rust.filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}: does not open with a //! header", file.path))
        .collect()
}

/// Files that are too long, and lines that are too wide.
#[must_use]
pub fn sizes(files: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        if !["rs", "proto", "sh"]
            .iter()
            .any(|extension| file.has_extension(extension))
        {
            continue;
        }
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            found.push(format!(
                "{}: {lines} lines; {LINES_MAX} are too many",
                file.path
            ));
        }
        for (number, line) in (1..).zip(file.text.lines()) {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                found.push(format!("{}:{number}: {columns} columns", file.path));
            }
        }
    }
    found
}

/// Files and folders whose names say nothing.
#[must_use]
pub fn names(files: &[SourceFile]) -> Vec<String> {
    let empty = |part: &str| {
        let stem = part.split('.').next().unwrap_or(part);
        EMPTY_NAMES.contains(&stem)
    };
    files
        .iter()
        .filter(|file| file.path.split('/').any(empty))
        .map(|file| format!("{}: name it after what is inside", file.path))
        .collect()
}

/// Code that is not finished, tests that do not run, lints that are silenced without a reason, and
/// unwraps outside tests.
#[must_use]
pub fn unfinished(files: &[SourceFile]) -> Vec<String> {
    let test_only = tree::test_only(files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        let code = code::without_words(&file.text);
        for word in UNFINISHED {
            report(file, &code, word, "is not finished", &mut found);
        }
        report(
            file,
            &code,
            "#[ignore",
            "a test that does not run proves nothing",
            &mut found,
        );
        // Generated code trips lints or not, as the generator and the features have it.
        if !code.contains(GENERATED) {
            report(
                file,
                &code,
                "#[allow",
                "use #[expect(…, reason = …)]",
                &mut found,
            );
            report(
                file,
                &code,
                "#![allow",
                "use #[expect(…, reason = …)]",
                &mut found,
            );
        }
        if !test_only.contains(&file.path) {
            let outside = code::without_tests(&code);
            report(
                file,
                &outside,
                ".unwrap()",
                "say why it cannot fail",
                &mut found,
            );
        }
    }
    found
}

fn report(file: &SourceFile, code: &str, word: &str, why: &str, found: &mut Vec<String>) {
    for (number, line) in (1..).zip(code.lines()) {
        if code::has_word(line, word) {
            found.push(format!("{}:{number}: {word}: {why}", file.path));
        }
    }
}

/// Paths that exist on somebody's machine only.
#[must_use]
pub fn machine_paths(files: &[SourceFile]) -> Vec<String> {
    let homes = ["home", "root", "Users", "work"];
    let mut found = BTreeSet::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for home in homes {
                let path = format!("/{home}/");
                for (at, _) in line.match_indices(&path) {
                    let before = line[..at].chars().next_back();
                    let relative =
                        before.is_some_and(|c| c.is_alphanumeric() || ".-_/}>$*".contains(c));
                    if !relative {
                        found.insert(format!("{}:{number}: {path} is a machine's", file.path));
                    }
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> [SourceFile; 1] {
        [SourceFile::new(path, text)]
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(headers(&one("a.rs", "use std::fmt;\n")).len(), 1);
        assert_eq!(headers(&one("a.rs", "// A comment.\n")).len(), 1);
        assert!(headers(&one("a.rs", "//! What it is.\n")).is_empty());
        assert!(headers(&one("a.md", "text")).is_empty());
    }

    #[test]
    fn long_files_and_wide_lines_are_found() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert_eq!(sizes(&one("a.rs", &long)).len(), 1);
        let wide = format!("{}\n", "é".repeat(COLUMNS_MAX + 1));
        assert_eq!(sizes(&one("a.rs", &wide)).len(), 1);
        let fits = format!("{}\n", "é".repeat(COLUMNS_MAX)).repeat(LINES_MAX);
        assert!(sizes(&one("a.rs", &fits)).is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for path in [
            "src/util.rs",
            "src/helpers/keys.rs",
            "tests/common/mod.rs",
            "misc.md",
        ] {
            assert_eq!(names(&one(path, "")).len(), 1, "{path}");
        }
        assert!(names(&one("src/utility_bill.rs", "")).is_empty());
    }

    #[test]
    fn unfinished_code_is_found_in_tests_too() {
        for text in [
            concat!("fn f() { to", "do!() }"),
            concat!("#[cfg(test)]\nmod tests { fn f() { d", "bg!(1); } }"),
            concat!("#[ig", "nore]\nfn f() {}"),
            concat!("#[al", "low(dead_code)]\nfn f() {}"),
            concat!("#![al", "low(dead_code)]"),
        ] {
            assert_eq!(unfinished(&one("a/src/b.rs", text)).len(), 1, "{text}");
        }
        let generated = concat!("#![al", "low(dead_code)] include_proto!(\"a\");");
        assert!(unfinished(&one("a/src/b.rs", generated)).is_empty());
    }

    #[test]
    fn unwraps_are_found_outside_tests_only() {
        let unwrap = concat!("fn f() { g().unw", "rap() }");
        assert_eq!(unfinished(&one("a/src/b.rs", unwrap)).len(), 1);
        assert!(unfinished(&one("a/src/b/tests.rs", unwrap)).is_empty());
        let within = format!("#[cfg(test)]\nmod tests {{ {unwrap} }}");
        assert!(unfinished(&one("a/src/b.rs", &within)).is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for home in ["home", "root", "Users"] {
            let text = format!("see `/{home}/me/notes`");
            assert_eq!(machine_paths(&one("a.md", &text)).len(), 1, "{text}");
        }
        assert!(machine_paths(&one("a.md", "see a/home/b and ../work/c")).is_empty());
    }
}
