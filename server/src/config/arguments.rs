//! The command line in Go's syntax: `--x y`, `--x=y`, `-x y`, `-x=y`; of repeated flags the last
//! wins.
//!
//! A boolean flag never takes the next word: it stands alone or is written `--x=false`.

use std::ffi::OsString;

use super::{
    fault::{ConfigFault, Origin},
    flags::{self, ACTIONS, Flag, Kind},
    sources::Sources,
    suggestion::closest,
};

/// A parsed command line.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// The values that flags set.
    pub(super) sources: Sources,
    /// The first of the actions, such as `--help`, if any is present.
    pub(super) action: Option<&'static str>,
    /// The faults, in order.
    pub(super) faults: Vec<ConfigFault>,
}

/// Parses the arguments after the program's name.
pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Arguments {
    let mut read = Arguments::default();
    let mut words = arguments.into_iter();
    let mut only_words = false;
    while let Some(word) = words.next() {
        let word = match word.into_string() {
            Ok(word) => word,
            Err(bytes) => {
                let what = bytes.to_string_lossy().into_owned();
                read.faults.push(ConfigFault::NotText { what });
                continue;
            }
        };
        // A lone dash is a word; after two dashes, all arguments are words.
        if only_words || word == "-" || !word.starts_with('-') {
            read.faults.push(ConfigFault::UnexpectedWord { word });
        } else if word == "--" {
            only_words = true;
        } else {
            read.flag(&word, &mut words);
        }
    }
    read
}

impl Arguments {
    /// Parses one flag, and its value if that is the next word.
    fn flag(&mut self, word: &str, rest: &mut impl Iterator<Item = OsString>) {
        let bare = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-'))
            .unwrap_or(word);
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        if name.is_empty() || name.starts_with('-') {
            self.faults.push(ConfigFault::BadSyntax {
                word: word.to_owned(),
            });
        } else if let Some((action, _)) = ACTIONS.iter().find(|(action, _)| *action == name) {
            self.action(action, value);
        } else if let Some(flag) = flags::find_ever(name) {
            self.value(flag, value, rest);
        } else {
            let suggestion = closest(name, flags::all().map(|flag| flag.name));
            self.faults.push(ConfigFault::UnknownFlag {
                name: name.to_owned(),
                suggestion,
            });
        }
    }

    /// Records an action, unless its value is false.
    fn action(&mut self, action: &'static str, value: Option<String>) {
        let value = value.unwrap_or_else(|| "true".to_owned());
        match flags::parse_bool(&value) {
            Some(true) => self.action = self.action.or(Some(action)),
            Some(false) => {}
            None => self.faults.push(ConfigFault::BadValue {
                origin: Origin::Flag(action),
                value,
                remedy: "expected true or false".to_owned(),
            }),
        }
    }

    /// Sets a flag to the value after `=`, to true, or to the next word.
    fn value(
        &mut self,
        flag: &'static Flag,
        value: Option<String>,
        rest: &mut impl Iterator<Item = OsString>,
    ) {
        let text = match value {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".to_owned(),
            None => match rest.next().map(OsString::into_string) {
                Some(Ok(next)) => next,
                Some(Err(bytes)) => {
                    let what = format!("--{} {}", flag.name, bytes.to_string_lossy());
                    self.faults.push(ConfigFault::NotText { what });
                    return;
                }
                None => {
                    self.faults
                        .push(ConfigFault::MissingValue { name: flag.name });
                    return;
                }
            },
        };
        self.sources.put(flag, text, Origin::Flag(flag.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &[&str]) -> Arguments {
        read(words.iter().map(OsString::from))
    }

    fn name_from(words: &[&str]) -> String {
        let read = read_words(words);
        assert_eq!(read.faults, []);
        read.sources.text(flags::NAME)
    }

    #[test]
    fn a_value_follows_as_a_word_or_after_an_equals_sign() {
        for words in [
            &["--name", "a"][..],
            &["--name=a"],
            &["-name", "a"],
            &["-name=a"],
        ] {
            assert_eq!(name_from(words), "a", "{words:?}");
        }
    }

    #[test]
    fn the_last_of_repeated_flags_wins() {
        assert_eq!(name_from(&["--name", "a", "--name=b", "-name", "c"]), "c");
    }

    #[test]
    fn a_value_may_begin_with_a_dash_or_be_empty_or_hold_an_equals_sign() {
        assert_eq!(name_from(&["--name", "--data-dir"]), "--data-dir");
        assert_eq!(name_from(&["--name="]), "");
        assert_eq!(name_from(&["--name=a=b"]), "a=b");
    }

    #[test]
    fn a_true_or_false_flag_never_takes_the_next_word() {
        let flag = |words: &[&str]| read_words(words).sources.bool(flags::STRICT_RECONFIG_CHECK);
        assert!(flag(&["--strict-reconfig-check"]));
        assert!(!flag(&["--strict-reconfig-check=false"]));
        assert!(flag(&[
            "--strict-reconfig-check=false",
            "--strict-reconfig-check=true"
        ]));
        let read = read_words(&["--strict-reconfig-check", "false"]);
        assert!(read.sources.bool(flags::STRICT_RECONFIG_CHECK));
        assert_eq!(
            read.faults,
            [ConfigFault::UnexpectedWord {
                word: "false".to_owned()
            }]
        );
    }

    #[test]
    fn every_stray_word_and_unknown_flag_is_reported() {
        let read = read_words(&[
            "gateway",
            "--data-dri=x",
            "---name",
            "--=x",
            "-",
            "--",
            "--name",
        ]);
        let said: Vec<String> = read.faults.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 6, "{said:?}");
        assert!(said[1].contains("did you mean --data-dir?"), "{}", said[1]);
        assert_eq!(read.sources.origin("name"), Origin::Default("name"));
    }

    #[test]
    fn a_flag_without_its_value_is_reported() {
        let read = read_words(&["--name"]);
        assert_eq!(read.faults, [ConfigFault::MissingValue { name: "name" }]);
    }

    #[test]
    fn help_and_version_are_actions() {
        assert_eq!(read_words(&["-h"]).action, Some("h"));
        assert_eq!(read_words(&["--help"]).action, Some("help"));
        assert_eq!(read_words(&["-version"]).action, Some("version"));
        assert_eq!(read_words(&["--check-config"]).action, Some("check-config"));
        assert_eq!(read_words(&["--version=false"]).action, None);
        assert_eq!(read_words(&["--version=maybe"]).faults.len(), 1);
    }
}
