//! The TOML file: one flat table whose keys are the names of the settings.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use toml::{Table, Value};

use super::{
    fault::{ConfigFault, Origin},
    flags::{self, CONFIG_FILE, Flag},
    sources::Sources,
    suggestion::closest,
};

/// Largest file in bytes: far more than all settings written out, too little to exhaust memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and parses the file that `origin` names.
pub(super) fn read(path: &Path, origin: Origin) -> (Sources, Vec<ConfigFault>) {
    match read_text(path) {
        Ok(text) => parse(&text, path),
        Err(cause) => {
            let (path, cause) = (path.to_owned(), cause.to_string());
            (
                Sources::default(),
                vec![ConfigFault::UnreadableFile {
                    origin,
                    path,
                    cause,
                }],
            )
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "longer than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

fn parse(text: &str, path: &Path) -> (Sources, Vec<ConfigFault>) {
    let mut sources = Sources::default();
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let cause = match yaml_line(text) {
                Some((key, value)) => format!(
                    "it is YAML, as etcd's files are; the keys here are the same, in TOML: write \
                     {key} = {} for {key}: {value}",
                    in_toml(value)
                ),
                None => error.to_string().trim_end().to_owned(),
            };
            let path = path.to_owned();
            return (sources, vec![ConfigFault::MalformedFile { path, cause }]);
        }
    };
    let mut faults = Vec::new();
    for (key, value) in &table {
        let Some(flag) = flags::find(key).filter(|flag| flag.name != CONFIG_FILE.name) else {
            let names = flags::all()
                .map(|flag| flag.name)
                .filter(|name| *name != CONFIG_FILE.name);
            let suggestion = closest(key, names);
            let (key, path) = (key.clone(), path.to_owned());
            faults.push(ConfigFault::UnknownKey {
                key,
                path,
                suggestion,
            });
            continue;
        };
        let origin = Origin::File(flag.name, path.to_owned());
        match value_text(flag, value) {
            Ok(text) => sources.put(flag, text, origin),
            Err(remedy) => {
                faults.push(ConfigFault::BadValue {
                    origin,
                    value: value.to_string(),
                    remedy,
                });
            }
        }
    }
    (sources, faults)
}

/// The first setting of one of etcd's YAML files: a line `key: value` with a known name.
fn yaml_line(text: &str) -> Option<(&str, &str)> {
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    let mut ours = pairs.filter(|(key, _)| flags::find(key).is_some());
    ours.next().map(|(key, value)| (key, value.trim()))
}

/// Converts a value from YAML to TOML: quoted unless it is a number or a boolean.
fn in_toml(value: &str) -> String {
    let bare = value.trim_matches(['\'', '"']);
    let is_plain = bare == "true" || bare == "false" || bare.parse::<i64>().is_ok();
    if is_plain && bare == value {
        bare.to_owned()
    } else {
        format!("{bare:?}")
    }
}

/// The value in the syntax of the command line.
fn value_text(flag: &Flag, value: &Value) -> Result<String, String> {
    let expected = || format!("expected {} as text in quotes", flag.kind.describe());
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Array(items) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.map(|words| words.join(",")).ok_or_else(expected)
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> (Sources, Vec<ConfigFault>) {
        parse(text, Path::new("server.toml"))
    }

    #[test]
    fn a_file_of_etcds_is_told_from_one_that_is_broken() {
        let yaml =
            "# This is the configuration file.\n\n# Name.\nname: 'default'\n\nsnapshot-count: 7";
        let (_, faults) = parse_text(yaml);
        let told = faults.iter().map(ToString::to_string).collect::<String>();
        assert!(told.contains("it is YAML"), "{told}");
        assert!(
            told.contains("name = \"default\" for name: 'default'"),
            "{told}"
        );
        let (_, faults) = parse_text("name = = 1");
        assert!(
            !faults
                .iter()
                .any(|fault| fault.to_string().contains("YAML"))
        );
        assert_eq!((in_toml("7"), in_toml("'7'")), ("7".into(), "\"7\"".into()));
    }

    #[test]
    fn every_shape_of_value_is_read() {
        let (sources, faults) = parse_text(
            r#"
            name = "a"
            snapshot-count = 7
            strict-reconfig-check = false
            warning-apply-duration = "1s"
            listen-client-urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
            "#,
        );
        assert_eq!(faults, []);
        assert_eq!(sources.text(flags::NAME), "a");
        assert_eq!(sources.uint(flags::SNAPSHOT_COUNT), 7);
        assert!(!sources.bool(flags::STRICT_RECONFIG_CHECK));
        assert_eq!(sources.urls(flags::LISTEN_CLIENT_URLS).len(), 2);
        assert_eq!(sources.origin("name").to_string(), "name in server.toml");
    }

    #[test]
    fn unknown_keys_tables_and_wrong_shapes_are_all_reported() {
        let (_, faults) = parse_text(
            "nam = 'a'\nconfig-file = 'b'\nsnapshot-count = 1.5\nlog-outputs = [1]\n[name]\nx = 1",
        );
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 5, "{said:?}");
        assert!(said.contains(&"nam in server.toml: unknown key; did you mean name?".to_owned()));
    }

    #[test]
    fn a_file_that_is_not_toml_is_reported_with_its_place() {
        let (_, faults) = parse_text("name = ");
        assert!(
            faults[0]
                .to_string()
                .starts_with("server.toml: not a TOML file: ")
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_names_who_asked_for_it() {
        let origin = Origin::Flag(CONFIG_FILE.name);
        let (_, faults) = read(Path::new("/nonexistent/server.toml"), origin);
        assert!(
            faults[0]
                .to_string()
                .starts_with("--config-file: cannot read /nonexistent")
        );
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "#".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1);
        std::fs::write(file.path(), text).unwrap();
        let (_, faults) = read(file.path(), Origin::Flag(CONFIG_FILE.name));
        assert!(
            faults[0].to_string().contains("longer than 1048576 bytes"),
            "{}",
            faults[0]
        );
    }
}
