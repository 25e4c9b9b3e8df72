//! Generates two documents from the table of settings, and tests that they are up to date.
//!
//! Run the tests with `TENURE_REWRITE_DOCS=1` in the environment to write the documents.

use std::{env, fs, path::PathBuf};

use super::{
    Invocation,
    flags::{self, CONFIG_FILE, Class, Flag, Group, Kind},
    load,
};

const MARKDOWN: &str = "docs/configuration.md";
const SAMPLE: &str = "deploy/config/server.toml";

/// Relative to the package's folder, in which tests run.
fn path(name: &str) -> PathBuf {
    PathBuf::from("..").join(name)
}

fn markdown() -> String {
    let mut text = String::from(
        "# Configuration of tenured\n\n\
         Every setting has one name in three places: a flag (`--data-dir`), a variable\n\
         (`TENURE_DATA_DIR`) and a key of the TOML file that `--config-file` names (`data-dir`).\n\
         A flag beats a variable, and a variable beats the file. The names are etcd's, and etcd's\n\
         variables (`ETCD_DATA_DIR`) count, too, where tenure's own is not set.\n\n\
         Flags follow Go's syntax: `--x y`, `--x=y`, `-x y` and `-x=y`; the last of repeated\n\
         flags wins. A true-or-false flag stands alone or is written `--x=false`. An empty\n\
         variable counts as absent. A list in the file is an array, or text with commas.\n\n\
         Durations carry a unit (`100ms`, `5s`, `1h30m`); settings in milliseconds do not.\n\
         All faults are reported at once, and the process ends with code 2; `--check-config`\n\
         reports them and starts nothing. A variable that begins with `TENURE_` and names no\n\
         setting is a fault; one that begins with `ETCD_` is warned of, as by etcd. Variables\n\
         that Kubernetes makes for services are left alone.\n\n\
         Settings of earlier versions of etcd are known as flags and `ETCD_` variables: those\n\
         that began with `experimental-` set the one of today, the others are refused with a\n\
         remedy, or have no effect.\n\n\
         Settings marked *no effect* are accepted with a warning. Those marked *refused* ask for\n\
         something that is not built yet: any value but the default is a fault.\n\n\
         The first start of a member, when its data directory is missing or empty, also checks\n\
         that `initial-cluster` lists `name` with the addresses of `initial-advertise-peer-urls`,\n\
         and that no address stands for two members. Later starts read the members from\n\
         the data.\n",
    );
    for group in Group::ALL {
        text.push_str(&format!("\n## {}\n\n", group.title()));
        text.push_str("| name | default | value | meaning |\n|---|---|---|---|\n");
        for flag in flags::all().filter(|flag| flag.group == group) {
            text.push_str(&row(flag));
        }
    }
    text.push_str("\n## Actions\n\n| flag | meaning |\n|---|---|\n");
    for (name, help) in flags::ACTIONS {
        let dashes = if name.len() == 1 { "-" } else { "--" };
        text.push_str(&format!("| `{dashes}{name}` | {help} |\n"));
    }
    text
}

fn row(flag: &Flag) -> String {
    let default = match flag.default.to_string().as_str() {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let note = match flag.class {
        Class::Used => String::new(),
        Class::Ignored(reason) => format!(" *No effect*: {reason}."),
        Class::Refused(feature) => format!(" *Refused*: {feature} (not built yet)."),
        Class::Retired(remedy) => format!(" *No longer a setting*: {remedy}."),
    };
    format!(
        "| `{}` | {default} | {} | {}{note} |\n",
        flag.name,
        flag.kind.describe(),
        flag.help
    )
}

/// The settings that take effect, each at its default; derived ones are commented out.
fn sample() -> String {
    let mut text = String::from(
        "# Settings of tenured: each key at its default. Start with\n\
         #   tenured --config-file server.toml\n\
         # A flag (--name) or a variable (TENURE_NAME) beats this file.\n",
    );
    for group in Group::ALL {
        let mut flags = sample_flags().filter(|flag| flag.group == group).peekable();
        if flags.peek().is_some() {
            text.push_str(&format!("\n# ---- {} ----\n", group.title()));
        }
        for flag in flags {
            text.push_str(&format!("\n# {}\n", flag.help.replace(". ", ".\n# ")));
            if let Kind::Choice(words) = flag.kind {
                text.push_str(&format!("# One of: {}.\n", words.join(", ")));
            }
            let mark = if flag.default.to_string().is_empty() {
                "# "
            } else {
                ""
            };
            text.push_str(&format!("{mark}{} = {}\n", flag.name, sample_value(flag)));
        }
    }
    text
}

fn sample_flags() -> impl Iterator<Item = &'static Flag> {
    flags::all().filter(|flag| flag.class == Class::Used && flag.name != CONFIG_FILE.name)
}

fn sample_value(flag: &Flag) -> String {
    let default = flag.default.to_string();
    match flag.kind {
        Kind::Urls | Kind::List if default.is_empty() => "[]".to_owned(),
        Kind::Urls | Kind::List => format!("[\"{}\"]", default.replace(',', "\", \"")),
        Kind::Bool | Kind::Uint32 | Kind::Uint | Kind::Int | Kind::Millis => default,
        Kind::Text | Kind::Duration | Kind::Choice(_) => format!("\"{default}\""),
    }
}

fn assert_fresh(name: &str, expected: &str) {
    let path = path(name);
    if env::var_os("TENURE_REWRITE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{name} is stale; run this test with TENURE_REWRITE_DOCS=1"
    );
}

#[test]
fn the_reference_lists_exactly_the_table() {
    assert_fresh(MARKDOWN, &markdown());
}

#[test]
fn the_sample_file_lists_exactly_the_settings_that_take_effect() {
    assert_fresh(SAMPLE, &sample());
}

#[test]
fn the_sample_file_says_what_no_file_at_all_says() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), sample()).unwrap();
    let argument = format!("--config-file={}", file.path().display());
    let from_sample = load([argument.into()], []);
    assert_eq!(from_sample, load([], []));
    assert!(matches!(from_sample, Ok(Invocation::Serve { .. })));
}
