//! Documents: how long the first page is, and whether links lead anywhere.

use std::collections::BTreeSet;

use crate::tree::SourceFile;

/// Lines of the README. A first page that is longer is not read.
pub const README_LINES_MAX: usize = 200;

/// What is wrong with the length of the README.
#[must_use]
pub fn readme(files: &[SourceFile]) -> Vec<String> {
    let Some(readme) = files.iter().find(|file| file.path == "README.md") else {
        return vec!["there is no README.md".to_owned()];
    };
    let lines = readme.text.lines().count();
    let long = lines > README_LINES_MAX;
    long.then(|| format!("README.md: {lines} lines; {README_LINES_MAX} are too many"))
        .into_iter()
        .collect()
}

/// Links between files of the checkout that lead nowhere, and anchors that are no heading.
#[must_use]
pub fn broken_links(files: &[SourceFile]) -> Vec<String> {
    let mut places: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        places.insert(&file.path);
        places.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..at]));
    }
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("md")) {
        for link in links(&file.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = if target.is_empty() {
                Some(file.path.clone())
            } else {
                resolve(&file.path, target).filter(|path| places.contains(path.as_str()))
            };
            let Some(path) = path else {
                found.push(format!("{}: {link} leads nowhere", file.path));
                continue;
            };
            let text = files
                .iter()
                .find(|file| file.path == path)
                .map(|file| &file.text);
            if !anchor.is_empty() && !text.is_some_and(|text| anchors(text).contains(anchor)) {
                found.push(format!("{}: {link} names no heading", file.path));
            }
        }
    }
    found
}

/// The targets of `[text](target)`, outside code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let mut in_code = false;
        let plain: String = line
            .chars()
            .map(|c| {
                in_code ^= c == '`';
                if in_code { ' ' } else { c }
            })
            .collect();
        let targets = plain.split("](").skip(1);
        found.extend(targets.filter_map(|rest| Some(rest.split_once(')')?.0.trim().to_owned())));
    }
    found
}

/// The lines that are not in fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchors of the headings, as forges derive them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// `target`, seen from the file `from`, below the top of the checkout.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Vec<SourceFile> {
        vec![
            SourceFile::new("docs/a.md", text),
            SourceFile::new("docs/b.md", "# One heading, `more`\n"),
            SourceFile::new("README.md", "text\n"),
        ]
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[x](c.md)",
            "[x](../docs/c.md)",
            "[x](../../b.md)",
            "[x](b.md#two)",
            "[x](#nothing)",
            "[x](/docs/b.md)",
        ] {
            assert_eq!(broken_links(&tree(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_are_not() {
        for text in [
            "[x](b.md) [y](../docs/) [z](https://example.org/c.md)",
            "[x](b.md#one-heading-more) [y](../README.md)",
            "`[x](c.md)`\n```\n[x](c.md)\n```\n",
            "# Here\n[x](#here)",
        ] {
            assert_eq!(broken_links(&tree(text)), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_long_or_absent_readme_is_found() {
        assert!(readme(&tree("")).is_empty());
        assert_eq!(readme(&[]).len(), 1);
        let long = "x\n".repeat(README_LINES_MAX + 1);
        assert_eq!(readme(&[SourceFile::new("README.md", &long)]).len(), 1);
    }
}
