//! The text form of a transaction: compares, a blank line, requests for success, a blank line,
//! requests for failure, a blank line.
//!
//! Parses text only; the requests take the options of `put`, `get` and `del`.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tenure::{Compare, Delete, Get, KeyRange, LeaseId, Op, Put, Relation, Revision, Txn};

use crate::{
    args::{self, DelArgs, GetArgs, PutArgs},
    failure::Failure,
    quoting,
};

#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    request: Request,
}

#[derive(Subcommand)]
enum Request {
    Put(PutArgs),
    Get(GetArgs),
    Del(DelArgs),
}

/// A section of the text of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Compares,
    /// Requests applied if all comparisons are true.
    Success,
    /// Requests applied if a comparison is false.
    Failure,
}

impl Section {
    /// All sections in their order.
    pub const ALL: [Self; 3] = [Self::Compares, Self::Success, Self::Failure];

    /// The prompt in interactive mode, as in etcdctl.
    #[must_use]
    pub fn prompt(self) -> &'static str {
        match self {
            Self::Compares => "compares:",
            Self::Success => "success requests (get, put, del):",
            Self::Failure => "failure requests (get, put, del):",
        }
    }

    /// Adds one line to `txn`.
    ///
    /// # Errors
    /// [`Failure::Input`] with the line that does not parse.
    pub fn add<C>(self, txn: Txn<C>, line: &str) -> Result<Txn<C>, Failure> {
        Ok(match self {
            Self::Compares => txn.when(parse_compare(line)?),
            Self::Success => txn.and_then(parse_request(line)?),
            Self::Failure => txn.or_else(parse_request(line)?),
        })
    }
}

/// Parses a comparison, such as `mod("key1") > "0"`.
///
/// # Errors
/// [`Failure::Input`] with the line and its fault.
pub fn parse_compare(line: &str) -> Result<Compare, Failure> {
    let malformed = || Failure::Input(format!("malformed comparison: {line}"));
    let (target, rest) = line.split_once('(').ok_or_else(malformed)?;
    let (key, rest) = quoting::unquote(rest.trim_start()).ok_or_else(malformed)?;
    let rest = rest
        .trim_start()
        .strip_prefix(')')
        .ok_or_else(malformed)?
        .trim_start();
    let end = rest
        .find(|c: char| !"=<>!".contains(c))
        .ok_or_else(malformed)?;
    let (relation, rest) = rest.split_at(end);
    let (value, rest) = quoting::unquote(rest.trim_start()).ok_or_else(malformed)?;
    if !rest.trim().is_empty() {
        return Err(malformed());
    }
    let relation = match relation {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        ">" => Relation::Greater,
        "<" => Relation::Less,
        _ => {
            let text = format!("malformed comparison: {line} (unknown operator {relation:?})");
            return Err(Failure::Input(text));
        }
    };
    let number = |radix| {
        let text = std::str::from_utf8(&value).ok();
        let number = text.and_then(|text| i64::from_str_radix(text, radix).ok());
        let invalid = || Failure::Input(format!("invalid txn compare request: {line}"));
        number.ok_or_else(invalid)
    };
    let revision = || number(10).map(Revision::new);
    let range = KeyRange::key(key);
    Ok(match target.trim() {
        "ver" | "version" => Compare::version(range, relation, number(10)?),
        "c" | "create" => Compare::create_revision(range, relation, revision()?),
        "m" | "mod" => Compare::mod_revision(range, relation, revision()?),
        "val" | "value" => Compare::value(range, relation, value.clone()),
        "lease" => Compare::lease(range, relation, LeaseId::new(number(16)?)),
        target => {
            let text = format!("malformed comparison: {line} (unknown target {target})");
            return Err(Failure::Input(text));
        }
    })
}

/// Parses a request, such as `put key1 "value"`.
///
/// # Errors
/// [`Failure::Input`] with the line, or the fault of its options.
pub fn parse_request(line: &str) -> Result<Op, Failure> {
    let words = quoting::words(line).map_err(Failure::Input)?;
    let invalid = || Failure::Input(format!("invalid txn request: {line}"));
    let command = args::lenient(Line::command());
    let mut matches = command.try_get_matches_from(words).map_err(|_| invalid())?;
    let parsed = Line::from_arg_matches_mut(&mut matches).map_err(|_| invalid())?;
    let misused = |failure| match failure {
        Failure::Usage(text) => Failure::Input(format!("{text}: {line}")),
        other => other,
    };
    match parsed.request {
        Request::Put(put) => request_of_put(&put).map(Op::from),
        Request::Get(get) => get
            .range()
            .and_then(|range| get.apply(Get::new(range)))
            .map(Op::from),
        Request::Del(del) => del
            .range()
            .map(|range| Op::from(del.apply(Delete::new(range)))),
    }
    .map_err(misused)
}

fn request_of_put(put: &PutArgs) -> Result<Put, Failure> {
    // Standard input holds the transaction, so a value cannot come from there.
    let value = put.value.as_deref().unwrap_or_default();
    if put.value.is_none() && !put.ignore_value {
        return Err(Failure::usage("put command needs 2 arguments"));
    }
    put.apply(Put::new(&put.key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(failure: Failure) -> String {
        assert_eq!(failure.exit_code(), 3, "{failure}");
        failure.to_string()
    }

    #[test]
    fn compares_are_read_in_long_and_short_form() {
        let expected = Compare::mod_revision("k 1", Relation::Greater, Revision::new(0));
        for line in [
            r#"mod("k 1") > "0""#,
            r#"m("k 1")>"0""#,
            r#"m( "k 1" )  >  `0`"#,
        ] {
            assert_eq!(parse_compare(line).unwrap(), expected, "{line}");
        }
        let lease = Compare::lease("k", Relation::NotEqual, LeaseId::new(0x1f));
        assert_eq!(parse_compare(r#"lease("k") != "1f""#).unwrap(), lease);
        let value = Compare::value("k", Relation::Less, "a\nb");
        assert_eq!(parse_compare(r#"val("k") < "a\nb""#).unwrap(), value);
    }

    #[test]
    fn compares_that_are_none_are_named() {
        let refused = |line| text(parse_compare(line).unwrap_err());
        assert_eq!(refused("mod k > 0"), "malformed comparison: mod k > 0");
        assert!(refused(r#"mod("k") ~ "0""#).contains("malformed"));
        assert!(refused(r#"mod("k") == "0""#).contains("unknown operator \"==\""));
        assert!(refused(r#"age("k") = "0""#).contains("unknown target age"));
        assert_eq!(
            refused(r#"ver("k") = "x""#),
            r#"invalid txn compare request: ver("k") = "x""#
        );
        assert!(refused(r#"ver("k") = "1" "2""#).contains("malformed"));
    }

    #[test]
    fn requests_take_the_options_of_their_commands() {
        let put = Put::new("k", "a b").lease(LeaseId::new(0x10)).prev_kv();
        let line = r#"put k "a b" --lease=10 --prev-kv"#;
        assert_eq!(parse_request(line).unwrap(), Op::from(put));
        let get = Get::new(KeyRange::prefix("k")).limit(3);
        assert_eq!(
            parse_request("get --prefix=true k --limit 3").unwrap(),
            Op::from(get)
        );
        let delete = Delete::new(KeyRange::between("a", "b"));
        assert_eq!(parse_request("del a b").unwrap(), Op::from(delete));
    }

    #[test]
    fn requests_that_are_none_are_named() {
        let refused = |line| text(parse_request(line).unwrap_err());
        assert_eq!(refused("pot k v"), "invalid txn request: pot k v");
        assert_eq!(refused("get k --nope"), "invalid txn request: get k --nope");
        assert!(refused("put k").contains("needs 2 arguments"));
        assert!(refused("get a --prefix --from-key").contains("cannot be set at the same time"));
    }
}
