//! Borders inside the server: which folder may name what.
//!
//! A border is a list of words and of the places that may hold them. Tests may cross: they build
//! what the border hides.

use crate::{
    code,
    tree::{self, SourceFile},
};

/// Words, and the only places below `within` that may hold them.
#[derive(Debug)]
pub struct Border {
    /// Whose files are held to it.
    pub within: &'static str,
    /// What it is about.
    pub words: &'static [&'static str],
    /// Files, or folders with everything below them.
    pub places: &'static [&'static str],
    /// What to do instead.
    pub instead: &'static str,
}

/// Every border.
pub const BORDERS: &[Border] = &[
    Border {
        within: "server/src",
        words: &["openraft", "openraft_rt", "openraft_rt_tokio"],
        places: &[
            "server/src/consensus",
            "server/src/raft",
            "server/src/storage",
            "server/src/node",
        ],
        instead: "ask the node",
    },
    Border {
        within: "server/src",
        words: &["rocksdb"],
        places: &["server/src/storage"],
        instead: "use the engine or the log disk",
    },
    Border {
        within: "server/src",
        words: &["Code"],
        places: &[
            "server/src/rpc/answer/status.rs",
            "server/src/raft/peers.rs",
            "server/src/metrics",
        ],
        instead: "return a Reason",
    },
    Border {
        within: "server/src",
        words: STATUS_CONSTRUCTORS,
        places: &[
            "server/src/rpc/answer/status.rs",
            "server/src/raft/peer_access.rs",
            "server/src/raft/service.rs",
            "server/src/app/serve.rs",
        ],
        instead: "return a Reason",
    },
    Border {
        within: "server/src",
        words: &[
            "tokio::spawn",
            "task::spawn",
            "task::spawn_blocking",
            "task::spawn_local",
            "thread::spawn",
            "thread::Builder",
            "thread::scope",
        ],
        places: &["server/src/tasks.rs"],
        instead: "spawn through tasks.rs",
    },
    Border {
        within: "server/src",
        words: &["SystemTime", "std::time::Instant", "UNIX_EPOCH"],
        places: &["server/src/clock.rs"],
        instead: "read the clock that is passed in, or time with tokio::time",
    },
    Border {
        within: "server/src",
        words: &["TcpListener", "TcpStream", "UdpSocket"],
        places: &["server/src/transport.rs", "server/src/transport"],
        instead: "connect through the transport",
    },
];

const STATUS_CONSTRUCTORS: &[&str] = &[
    "Status::new",
    "Status::with_details",
    "Status::with_metadata",
    "Status::aborted",
    "Status::already_exists",
    "Status::cancelled",
    "Status::data_loss",
    "Status::deadline_exceeded",
    "Status::failed_precondition",
    "Status::internal",
    "Status::invalid_argument",
    "Status::not_found",
    "Status::out_of_range",
    "Status::permission_denied",
    "Status::resource_exhausted",
    "Status::unauthenticated",
    "Status::unavailable",
    "Status::unimplemented",
    "Status::unknown",
];

/// Where a border is crossed.
#[must_use]
pub fn crossings(files: &[SourceFile], borders: &[Border]) -> Vec<String> {
    let test_only = tree::test_only(files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.has_extension("rs")) {
        let held: Vec<&Border> = borders
            .iter()
            .filter(|border| holds(border, file))
            .collect();
        if held.is_empty() || test_only.contains(&file.path) {
            continue;
        }
        let code = plain_imports(&code::without_tests(&code::without_words(&file.text)));
        for border in held {
            for word in border.words {
                if code::has_word(&code, word) {
                    found.push(format!("{}: {word}: {}", file.path, border.instead));
                }
            }
        }
    }
    found
}

fn holds(border: &Border, file: &SourceFile) -> bool {
    let may = |place: &&str| file.path == **place || file.is_below(place);
    file.is_below(border.within) && !border.places.iter().any(may)
}

/// `code` with every import from `std::time` written out, so that a list of them hides none.
fn plain_imports(code: &str) -> String {
    let mut out = code.to_owned();
    for prefix in ["time::{", "std::{"] {
        for (at, _) in code.match_indices(prefix) {
            let list = braced(&code[at + prefix.len()..]);
            let flat: String = list.chars().filter(|c| !c.is_whitespace()).collect();
            let of_std = code[..at].ends_with("std::");
            let direct = prefix == "time::{" && of_std && code::has_word(&flat, "Instant");
            let nested = prefix == "std::{"
                && (flat.contains("time::Instant") || names_instant_within(&flat));
            if direct || nested {
                out.push_str("\nstd::time::Instant");
            }
        }
    }
    out
}

fn names_instant_within(list: &str) -> bool {
    let lists = list
        .match_indices("time::{")
        .map(|(at, open)| braced(&list[at + open.len()..]));
    lists
        .into_iter()
        .any(|list| code::has_word(list, "Instant"))
}

/// What stands before the brace that closes the one just opened.
fn braced(rest: &str) -> &str {
    let mut depth = 1_usize;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &rest[..at];
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossed(path: &str, text: &str) -> usize {
        crossings(&[SourceFile::new(path, text)], BORDERS).len()
    }

    #[test]
    fn every_border_is_crossed_by_a_sample_and_not_by_a_comment() {
        for text in [
            "use openraft::Raft;",
            "use rocksdb::DB;",
            "use tonic::{Code, Status};",
            "fn f() -> Status { Status::internal(\"no\") }",
            "fn f() { tokio::spawn(g()); }",
            "fn f() { std::thread::spawn(g); }",
            "use std::time::SystemTime;",
            "use std::time::{Duration, Instant};",
            "use std::{fmt, time::{Duration, Instant}};",
            "use std::{fmt, time::Instant};",
            "use tokio::net::TcpStream;",
        ] {
            assert_eq!(crossed("server/src/events/watch/hub.rs", text), 1, "{text}");
            assert_eq!(
                crossed("server/src/events/watch/hub.rs", &format!("// {text}")),
                0,
                "{text}"
            );
            assert_eq!(
                crossed("server/src/events/watch/hub/tests.rs", text),
                0,
                "{text}"
            );
            assert_eq!(crossed("client/src/lib.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn each_place_may_hold_its_own() {
        for (path, text) in [
            ("server/src/consensus/types.rs", "use openraft::Raft;"),
            ("server/src/storage/rocks.rs", "use rocksdb::DB;"),
            (
                "server/src/rpc/answer/status.rs",
                "use tonic::Code; Status::new(Code::Ok, )",
            ),
            ("server/src/tasks.rs", "tokio::spawn(future)"),
            (
                "server/src/rpc/call.rs",
                "use tokio::time::{Instant, sleep};",
            ),
            ("server/src/rpc/call.rs", "use std::{str, time::Duration};"),
        ] {
            assert_eq!(crossed(path, text), 0, "{path}: {text}");
        }
        assert_eq!(crossed("server/src/rpc/etcd/kv.rs", "use rocksdb::DB;"), 1);
        assert_eq!(crossed("server/src/rafting.rs", "use openraft::Raft;"), 1);
    }
}
