//! Options of a command in front of its verb, as etcdctl takes them: `--consistency=s get a`.
//!
//! They are moved behind the verb; unknown options stay in place and are rejected there. Invariant:
//! a command line with its options behind its verb is not changed.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// The arguments with options of the command behind its verb.
pub(super) fn verb_first(command: &Command, arguments: &[OsString]) -> Vec<OsString> {
    let mut front = Vec::new();
    let mut moved = Vec::new();
    let mut rest = arguments.iter();
    front.extend(rest.next().cloned());
    while let Some(argument) = rest.as_slice().first() {
        let Some(option) = option(argument) else {
            break;
        };
        let (known, target) = match find(command, option) {
            Some(known) => (known, &mut front),
            None => match find_below(command, option) {
                Some(known) => (known, &mut moved),
                None => return arguments.to_vec(),
            },
        };
        let taken = if takes_next(known, argument) { 2 } else { 1 };
        target.extend(rest.by_ref().take(taken).cloned());
    }
    let mut verbs = command;
    while let Some(next) = rest.as_slice().first() {
        let Some(verb) = verbs.find_subcommand(next) else {
            break;
        };
        verbs = verb;
        front.extend(rest.next().cloned());
    }
    front.extend(moved);
    front.extend(rest.cloned());
    front
}

/// The spelling of an option, without its value.
#[derive(Clone, Copy)]
enum Written<'a> {
    Long(&'a str),
    Short(char),
}

fn option(argument: &OsStr) -> Option<Written<'_>> {
    let text = argument.to_str()?;
    if let Some(long) = text.strip_prefix("--") {
        let name = long.split_once('=').map_or(long, |(name, _)| name);
        return (!name.is_empty()).then_some(Written::Long(name));
    }
    let short = text.strip_prefix('-')?.chars().next()?;
    Some(Written::Short(short))
}

fn find<'a>(command: &'a Command, option: Written<'_>) -> Option<&'a Arg> {
    command.get_arguments().find(|known| match option {
        Written::Long(name) => known.get_long() == Some(name),
        Written::Short(letter) => known.get_short() == Some(letter),
    })
}

fn find_below<'a>(command: &'a Command, option: Written<'_>) -> Option<&'a Arg> {
    command.get_subcommands().find_map(|verb| {
        let known = find(verb, option);
        known.or_else(|| find_below(verb, option))
    })
}

/// Whether the next argument is the option's value.
fn takes_next(known: &Arg, argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    let takes_value = matches!(known.get_action(), ArgAction::Set | ArgAction::Append);
    let has_value = if text.starts_with("--") {
        text.contains('=')
    } else {
        text.chars().count() > 2
    };
    takes_value && !known.is_require_equals_set() && !has_value
}
