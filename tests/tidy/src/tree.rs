//! The files of the checkout, as they are on disk.
//!
//! Read from the directory rather than from git, so that a file that was not added yet is held to
//! the rules, too. What `.gitignore` names is left out.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::code;

/// Directories that hold no source: build products, data of local runs, version control.
const SKIPPED: [&str; 3] = [".git", "target", "data"];
/// What the data directory of a node is called when nobody chose.
const DATA_SUFFIX: &str = ".tenure";

/// A file of the checkout.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path below the top of the checkout, with `/` between its parts.
    pub path: String,
    /// Its text; empty when it is not text.
    pub text: String,
}

impl SourceFile {
    /// A file with this path and text.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Whether the name ends in `.extension`.
    #[must_use]
    pub fn has_extension(&self, extension: &str) -> bool {
        self.path
            .rsplit_once('.')
            .is_some_and(|(_, found)| found == extension)
    }

    /// Whether the file lies in `folder` or below it.
    #[must_use]
    pub fn is_below(&self, folder: &str) -> bool {
        self.path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    fn is_in_tests_folder(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
    }
}

/// The top of the checkout. Tests run in their package's folder; a path that is compiled in may be
/// that of another clone that shares its build products.
#[must_use]
pub fn top() -> PathBuf {
    PathBuf::from("../..")
}

/// Every file below `top`, by path.
///
/// # Errors
/// When a directory or file cannot be read.
pub fn files(top: &Path) -> io::Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    collect(top, "", &mut found)?;
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !SKIPPED.contains(&path.as_str()) && !name.ends_with(DATA_SUFFIX) {
                collect(&entry.path(), &path, found)?;
            }
        } else if kind.is_file() {
            let text = String::from_utf8(fs::read(entry.path())?).unwrap_or_default();
            found.push(SourceFile { path, text });
        }
    }
    Ok(())
}

/// The paths of the Rust files that are compiled for tests only.
#[must_use]
pub fn test_only(files: &[SourceFile]) -> BTreeSet<String> {
    let mut only = BTreeSet::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        if file.is_in_tests_folder() {
            only.insert(file.path.clone());
        }
        let folder = module_folder(&file.path);
        for module in code::test_modules(&code::without_words(&file.text)) {
            only.insert(format!("{folder}/{module}.rs"));
            only.insert(format!("{folder}/{module}/mod.rs"));
        }
    }
    only
}

/// Where the modules that a file declares lie.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_for_tests_are_found_where_they_are_declared() {
        let files = [
            SourceFile::new("a/src/lib.rs", "#[cfg(test)]\nmod fake;\nmod real;"),
            SourceFile::new("a/src/real.rs", "#[cfg(test)]\nmod sample;"),
            SourceFile::new("a/src/real/tests.rs", ""),
            SourceFile::new("a/tests/it/main.rs", ""),
        ];
        let only = test_only(&files);
        for path in [
            "a/src/fake.rs",
            "a/src/real/sample.rs",
            "a/src/real/tests.rs",
            "a/tests/it/main.rs",
        ] {
            assert!(only.contains(path), "{path}");
        }
        assert!(!only.contains("a/src/real.rs"));
    }

    #[test]
    fn a_folder_is_not_a_prefix_of_a_name() {
        let file = SourceFile::new("server/src/rafting.rs", "");
        assert!(file.is_below("server/src"));
        assert!(!file.is_below("server/src/raft"));
    }
}
