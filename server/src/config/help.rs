//! The texts of `--help` and `--version`.

use tenure_proto::API_VERSION;

use super::{
    VERSION,
    flags::{self, ACTIONS, Class, Group},
};

/// Lists every flag with its default and meaning, by group.
pub(super) fn text() -> String {
    let mut text = String::from(
        "tenured: a coordination service that speaks etcd's API\n\n\
         Usage: tenured [flags]\n\n\
         Each flag may also be a TENURE_ variable, an ETCD_ variable, or a key of the file that\n\
         --config-file names; each of these beats the ones after it, and a flag beats them all.\n",
    );
    for group in Group::ALL {
        text.push_str(&format!("\n{}:\n", group.title()));
        for flag in flags::all().filter(|flag| flag.group == group) {
            let note = match flag.class {
                Class::Used => String::new(),
                Class::Ignored(reason) => format!(" (no effect: {reason})"),
                Class::Refused(feature) => format!(" (refused: {feature}: not built yet)"),
                Class::Retired(remedy) => format!(" (no longer a setting: {remedy})"),
            };
            let (name, default) = (flag.name, flag.default);
            text.push_str(&format!(
                "  --{name} '{default}'\n    {}{note}\n",
                flag.help
            ));
        }
    }
    text.push_str("\nActions:\n");
    for (name, help) in ACTIONS {
        let dashes = if name.len() == 1 { "-" } else { "--" };
        text.push_str(&format!("  {dashes}{name}\n    {help}\n"));
    }
    text
}

/// The versions of tenure and of etcd's API, one per line; etcd's tools look for the second line.
pub(super) fn version() -> String {
    format!("tenured Version: {VERSION}\netcd Version: {API_VERSION}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_flag_once() {
        let text = text();
        for flag in flags::all() {
            assert_eq!(
                text.matches(&format!("  --{} '", flag.name)).count(),
                1,
                "{}",
                flag.name
            );
        }
    }

    #[test]
    fn version_has_the_line_that_tools_of_etcd_look_for() {
        assert!(version().lines().any(|line| line == "etcd Version: 3.6.0"));
        assert!(version().starts_with("tenured Version: "));
    }
}
