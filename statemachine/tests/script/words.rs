//! The words of a command line, as commands and queries.
//!
//! Panics on what it does not know: a transcript with a typing error must not pass.

use bytes::Bytes;
use tenure_statemachine::{
    AlarmChange, AlarmKind, Command, Compare, DeleteRange, FeatureLevel, KeyRange, LeaseExpiry,
    LeaseGrant, LeaseId, MemberAttributes, MemberId, Operand, Put, RangeQuery, Relation, Revision,
    SortOrder, SortTarget, Ttl, Txn, TxnOp,
};

use super::{claims, conditions, registry, users};

/// The words left of a line.
pub(crate) struct Words<'a>(std::iter::Peekable<std::vec::IntoIter<&'a str>>);

impl<'a> Words<'a> {
    pub(crate) fn of(line: &'a str) -> Self {
        Self(
            line.split_whitespace()
                .collect::<Vec<_>>()
                .into_iter()
                .peekable(),
        )
    }

    pub(crate) fn next(&mut self) -> &'a str {
        self.0.next().expect("a word")
    }

    pub(crate) fn rest(&mut self) -> Vec<&'a str> {
        self.0.by_ref().collect()
    }

    fn number(&mut self) -> i64 {
        number(self.next())
    }

    /// The next word, if it is an option: neither the end of an operation nor of a list.
    pub(crate) fn option(&mut self) -> Option<&'a str> {
        self.0
            .next_if(|word| !matches!(*word, ";" | "]" | "then" | "else" | "["))
    }

    fn eat(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        assert!(self.eat("["), "a list opens with a bracket");
        let mut items = Vec::new();
        while !self.eat("]") {
            items.push(item(self));
            self.eat(";");
        }
        items
    }
}

pub(crate) fn number(word: &str) -> i64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word} is not a number"))
}

pub(crate) fn unsigned(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word} is not a number"))
}

/// `\0` stands for a zero byte, `''` for nothing.
pub(crate) fn bytes(word: &str) -> Bytes {
    if word == "''" {
        Bytes::new()
    } else {
        Bytes::from(word.replace("\\0", "\0"))
    }
}

/// `k` is a key, `k..` everything from it on, `k..z` what lies between.
pub(crate) fn range(word: &str) -> KeyRange {
    match word.split_once("..") {
        None => KeyRange::single(bytes(word)),
        Some((start, "")) => KeyRange::from_wire(bytes(start), Bytes::from_static(b"\0")),
        Some((start, end)) => KeyRange::from_wire(bytes(start), bytes(end)),
    }
}

/// The command of a line, or `None` when its verb is not one.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Option<Command> {
    Some(match verb {
        "put" => Command::Put(put(words)),
        "delete" => Command::DeleteRange(delete(words)),
        "txn" => Command::Txn(txn(words)),
        "compact" => Command::Compact(Revision(words.number())),
        "grant" => {
            let id = LeaseId(words.number());
            Command::LeaseGrant(LeaseGrant {
                id,
                ttl: Ttl(unsigned(words.next())),
            })
        }
        "revoke" => Command::LeaseRevoke(LeaseId(words.number())),
        "renew" => {
            let ids = words.rest().into_iter().map(|word| LeaseId(number(word)));
            Command::LeaseRenew(ids.collect())
        }
        "expire" => Command::LeaseExpire(words.rest().into_iter().map(expiry).collect()),
        "alarm" => Command::Alarm(alarm(words)),
        "publish" => Command::MemberPublish(MemberAttributes {
            id: MemberId(unsigned(words.next())),
            name: words.next().to_owned(),
            client_urls: words.rest().into_iter().map(str::to_owned).collect(),
        }),
        "wake" => Command::Wake,
        "raise" => Command::RaiseLevel(FeatureLevel(
            u16::try_from(words.number()).expect("a level is a small number"),
        )),
        _ => {
            return registry::command(verb, words)
                .or_else(|| conditions::command(verb, words))
                .or_else(|| users::command(verb, words))
                .or_else(|| claims::command(verb, words));
        }
    })
}

fn put(words: &mut Words<'_>) -> Put {
    let mut put = Put {
        key: bytes(words.next()),
        ..Put::default()
    };
    put.value = bytes(words.next());
    while let Some(option) = words.option() {
        match option.split_once('=').unwrap_or((option, "")) {
            ("lease", id) => put.lease = LeaseId(number(id)),
            ("previous", "") => put.want_previous = true,
            ("ignore_value", "") => put.ignore_value = true,
            ("ignore_lease", "") => put.ignore_lease = true,
            _ => panic!("{option} is no option of a put"),
        }
    }
    put
}

fn delete(words: &mut Words<'_>) -> DeleteRange {
    let range = range(words.next());
    let want_previous = words.eat("previous");
    DeleteRange {
        range,
        want_previous,
    }
}

pub(crate) fn query(words: &mut Words<'_>) -> RangeQuery {
    let mut query = RangeQuery::latest(range(words.next()));
    while let Some(option) = words.option() {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "limit" => query.limit = number(value),
            "revision" => query.revision = Revision(number(value)),
            "keys_only" => query.keys_only = true,
            "count_only" => query.count_only = true,
            "by" => query.sort_target = target(value),
            "ascend" => query.sort_order = SortOrder::Ascend,
            "descend" => query.sort_order = SortOrder::Descend,
            "min_mod" => query.min_mod_revision = Revision(number(value)),
            "max_mod" => query.max_mod_revision = Revision(number(value)),
            "min_create" => query.min_create_revision = Revision(number(value)),
            "max_create" => query.max_create_revision = Revision(number(value)),
            _ => panic!("{option} is no option of a get"),
        }
    }
    query
}

fn target(word: &str) -> SortTarget {
    match word {
        "key" => SortTarget::Key,
        "version" => SortTarget::Version,
        "create" => SortTarget::Create,
        "mod" => SortTarget::Mod,
        "value" => SortTarget::Value,
        _ => panic!("{word} is no target of a sort"),
    }
}

/// `if [ mod k = 3 ] then [ put k v ; get k ] else [ txn … ]`, each part optional.
pub(crate) fn txn(words: &mut Words<'_>) -> Txn {
    let mut txn = Txn::default();
    if words.eat("if") {
        txn.compare = words.list(compare);
    }
    if words.eat("then") {
        txn.success = words.list(operation);
    }
    if words.eat("else") {
        txn.failure = words.list(operation);
    }
    txn
}

fn operation(words: &mut Words<'_>) -> TxnOp {
    match words.next() {
        "get" => TxnOp::Range(query(words)),
        "put" => TxnOp::Put(put(words)),
        "delete" => TxnOp::DeleteRange(delete(words)),
        "txn" => TxnOp::Txn(txn(words)),
        verb => panic!("{verb} is no operation of a transaction"),
    }
}

fn compare(words: &mut Words<'_>) -> Compare {
    let target = words.next();
    let range = range(words.next());
    let relation = match words.next() {
        "=" => Relation::Equal,
        "!=" => Relation::NotEqual,
        ">" => Relation::Greater,
        "<" => Relation::Less,
        word => panic!("{word} is no relation"),
    };
    let operand = words.next();
    let operand = match target {
        "version" => Operand::Version(number(operand)),
        "create" => Operand::Create(Revision(number(operand))),
        "mod" => Operand::Mod(Revision(number(operand))),
        "value" => Operand::Value(bytes(operand)),
        "lease" => Operand::Lease(LeaseId(number(operand))),
        _ => panic!("{target} is nothing to compare"),
    };
    Compare {
        range,
        relation,
        operand,
    }
}

/// `lease:generation`, or `lease:generation:term` when a leader of another term than 1 saw it
fn expiry(word: &str) -> LeaseExpiry {
    let mut parts = word.split(':');
    let mut part = || parts.next();
    LeaseExpiry {
        id: LeaseId(number(part().expect("a lease"))),
        generation: unsigned(part().expect("a generation")),
        term: part().map_or(1, unsigned),
    }
}

/// `raise 1 nospace`, `clear 0 any`
fn alarm(words: &mut Words<'_>) -> AlarmChange {
    let active = match words.next() {
        "raise" => true,
        "clear" => false,
        word => panic!("{word} is nothing to do to an alarm"),
    };
    let member = MemberId(unsigned(words.next()));
    let kind = match words.next() {
        "any" => None,
        "nospace" => Some(AlarmKind::NoSpace),
        "corrupt" => Some(AlarmKind::Corrupt),
        word => panic!("{word} is no alarm"),
    };
    AlarmChange {
        member,
        kind,
        active,
    }
}
