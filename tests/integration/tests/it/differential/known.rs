//! Every way in which tenure answers otherwise than the etcd it is held against, and why.
//!
//! The etcd that is asked is Debian's 3.4; tenure serves the API of 3.6. Users read the same list
//! in `docs/differences.md`. What changes state in one and not in the other cannot be let through
//! in the middle of a sequence; such differences have tests of their own.

use tenure_proto::etcdserverpb::{AlarmResponse, HashKvRequest, HashKvResponse, TxnRequest};
use tonic::Code;

use super::ask::{Question, Reply};

pub(crate) const KEY_NOT_FOUND: &str = "etcdserver: key not found";
pub(crate) const LEASE_NOT_FOUND: &str = "etcdserver: requested lease not found";
pub(crate) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
pub(crate) const FUTURE_REVISION: &str = "etcdserver: mvcc: required revision is a future revision";

/// A difference that is meant to be.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What it is, as it begins in `docs/differences.md`.
    title: &'static str,
    /// Whether it is what sets two replies apart: the question, tenure's reply, etcd's. None when
    /// it does not show in two replies, or has its place elsewhere.
    explains: Option<fn(&Question, &Reply, &Reply) -> bool>,
}

/// All of them.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        title: "A transaction must not put and delete one key, however it is written",
        // Rows of the table of bad input: etcd takes them, so they stand in branches not taken.
        explains: None,
    },
    Difference {
        title: "An unknown result or target of a comparison is refused",
        // Rows of the table of bad input.
        explains: None,
    },
    Difference {
        title: "Transactions nest less deeply",
        // A row of the table of bad input.
        explains: None,
    },
    Difference {
        title: "A write costs so much and no more",
        // No question of the tests costs so much; module `price` asks those.
        explains: None,
    },
    Difference {
        title: "An `:authority` that is none ends the call",
        // The clients of the tests send none such.
        explains: None,
    },
    Difference {
        title: "What is no gRPC call is refused in other words",
        // Rows of the table of bad input.
        explains: None,
    },
    Difference {
        title: "Equal elements of a sorted range are in key order",
        // So does etcd with as few keys as the tests sort.
        explains: None,
    },
    Difference {
        title: "A response of a watch has a bound",
        // Watchers are compared by their events.
        explains: None,
    },
    Difference {
        title: "The keys of watchers have a bound",
        // No watcher of the tests has keys so long.
        explains: None,
    },
    Difference {
        title: "Leases and alarms have a bound",
        // The tests make fewer.
        explains: None,
    },
    Difference {
        title: "A request for progress is remembered",
        // The watchers that are asked about have been told everything.
        explains: None,
    },
    Difference {
        title: "Answers have a bound",
        // No answer of the tests is so large.
        explains: None,
    },
    Difference {
        title: "Idle connections are pinged each minute",
        // It shows in no reply.
        explains: None,
    },
    Difference {
        title: "Several revisions may share a response of a watch at other points",
        // Watchers are compared by their events.
        explains: None,
    },
    Difference {
        title: "A quorum is formed once every founder has answered",
        // It shows in no reply; module `identity` asks.
        explains: None,
    },
    Difference {
        title: "A founder whose host cannot be resolved stays a founder",
        // It shows in no reply; the tests of `app::discovery` in the server ask.
        explains: None,
    },
    Difference {
        title: "A member that lost its data is refused by every member that knew it",
        // It shows in no reply; module `identity` asks.
        explains: None,
    },
    Difference {
        title: "A member that is added as a voter votes once it has caught up",
        // It shows in no reply to one request; module `membership` asks.
        explains: None,
    },
    Difference {
        title: "Any member takes a change of the membership, and changes wait for each other",
        // It shows in no reply to one request; module `membership_faults` asks.
        explains: None,
    },
    Difference {
        title: "Members may change at once",
        // It shows in no reply to one request; module `membership` asks.
        explains: None,
    },
    Difference {
        title: "A snapshot has one bucket more",
        // It shows in no reply to a request; module `backup` asks.
        explains: None,
    },
    Difference {
        title: "A snapshot names no version of the storage",
        // It shows in no reply to a request; module `backup` asks.
        explains: None,
    },
    Difference {
        title: "A restore moves the revision on",
        // It is a matter of the tool; module `backup` asks.
        explains: None,
    },
    Difference {
        title: "A forced new cluster has a new id",
        // It shows in no reply; module `quorum_lost` asks.
        explains: None,
    },
    Difference {
        title: "A removed member ends with exit code 78",
        // It shows in no reply; module `membership` asks.
        explains: None,
    },
    Difference {
        title: "The peer URLs of `MemberUpdate` are checked",
        // A row of the table of bad input.
        explains: None,
    },
    Difference {
        title: "Tokens are signed by default",
        // The comparison enables no authentication; the server's own tests of tokens ask.
        explains: None,
    },
    Difference {
        title: "JSON web tokens need an end, and RSA keys 2048 bits",
        // As above.
        explains: None,
    },
    Difference {
        title: "An old JSON web token administers nothing",
        // The module `auth` asks.
        explains: None,
    },
    Difference {
        title: "Wrong passwords have a limit",
        // As above.
        explains: None,
    },
    Difference {
        title: "A watch ends when its user loses the permission",
        // The module `auth` asks.
        explains: None,
    },
    Difference {
        title: "A write is checked before anything of the state is told",
        // As above.
        explains: None,
    },
    Difference {
        title: "An alarm request with an unknown action is refused",
        // It would end the etcd that is asked; `auth/refused.rs` asks tenure.
        explains: None,
    },
    Difference {
        title: "A transaction needs a user, an empty one too",
        // As above.
        explains: None,
    },
    Difference {
        title: "A lease with a session or a will is its user's",
        // etcd has neither; the tests of `auth` in the state machine ask.
        explains: None,
    },
    Difference {
        title: "`LeaseLeases` lists the leases whose keys the caller may read",
        // As above.
        explains: None,
    },
    Difference {
        title: "A log-in says no more than that it failed",
        // As above.
        explains: None,
    },
    Difference {
        title: "A permission is for a key and an end",
        // As above.
        explains: None,
    },
    Difference {
        title: "A password of more than 72 bytes is an invalid argument",
        // As above.
        explains: None,
    },
    Difference {
        title: "Users, roles and permissions have bounds",
        // The tests of the state machine ask.
        explains: None,
    },
    Difference {
        title: "A data directory that holds something else is refused",
        // It shows in no reply; module `identity` asks.
        explains: None,
    },
    Difference {
        title: "A member that an alarm names as corrupt serves no reads",
        // The alarms of module `alarms` name another member; module `corruption` asks.
        explains: None,
    },
    Difference {
        title: "Leases go on to end under a CORRUPT alarm that names a member",
        // It shows in no reply to one request; module `corruption` asks.
        explains: None,
    },
    Difference {
        title: "The disk has a reserve",
        // The disks of the tests have room; module `space` asks.
        explains: None,
    },
    Difference {
        title: "Alarms may clear themselves",
        // Only with a flag; module `space` asks.
        explains: None,
    },
    Difference {
        title: "Sizes are those of the data",
        // Sizes are not compared; modules `maintenance` and `space` ask.
        explains: None,
    },
    Difference {
        title: "The members' data are compared by default",
        // It shows in no reply; module `digests` asks.
        explains: None,
    },
    Difference {
        title: "A member without a vote is not ready",
        // It is about members that join; module `membership` adds them.
        explains: None,
    },
    Difference {
        title: "Files of TLS that change are read again, all of them",
        // It shows in no reply; module `tls` asks.
        explains: None,
    },
    Difference {
        title: "A setting of TLS that would protect nothing is refused at the start",
        // It shows in no reply; a test of the settings asks.
        explains: None,
    },
    Difference {
        title: "A member's name is looked up forwards only",
        // It shows in no reply; module `tls` asks.
        explains: None,
    },
    Difference {
        title: "Weak cipher suites and short keys are not supported",
        // It shows in no reply; the tests of the library for TLS ask.
        explains: None,
    },
    Difference {
        title: "Certificates are of version 3 of X.509",
        // It shows in no reply; the tests of the library for TLS ask.
        explains: None,
    },
    Difference {
        title: "Members may share a secret",
        // It shows in no reply; module `tls` asks.
        explains: None,
    },
    Difference {
        title: "`/debug/vars` has no memory of Go",
        // It is a page; module `pages` asks.
        explains: None,
    },
    Difference {
        title: "The port of a listener is not 0",
        // It is about a start; the tests of the configuration ask.
        explains: None,
    },
    Difference {
        title: "A listener of HTTP alone answers gRPC with 404",
        // It is about addresses; module `pages` asks.
        explains: None,
    },
    Difference {
        title: "`/readyz` has one more check",
        // The page is etcd's from 3.6 on.
        explains: None,
    },
    Difference {
        title: "Pages of other origins may read nothing unless `--cors` lists them",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "A body is one object, and each field is given once",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "Bodies that are malformed are refused in other words",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "A body has a bound, and nests less deeply",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "An error has the fields of all releases",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "A page of another origin opens a WebSocket only if `--cors` lists it",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "Streams can be read as server-sent events",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "`HashKV` names the revision it hashed",
        // Blanked in every reply by `without_hash_revision`.
        explains: None,
    },
    Difference {
        title: "`HashKV` at a compacted revision is answered for the last ten compactions",
        explains: Some(hash_at_a_compaction),
    },
    Difference {
        title: "Of several reasons to refuse a transaction the first in its order is given",
        explains: Some(one_of_several_reasons),
    },
    Difference {
        title: "A watch from a negative revision is refused",
        // Rows of the table of bad input.
        explains: None,
    },
    Difference {
        title: "A sort that the protocol does not have is refused",
        // Rows of the table of bad input; etcd is not asked, because it ends.
        explains: None,
    },
    Difference {
        title: "A client version that is no text is refused",
        // Rows of the table of bad input.
        explains: None,
    },
    Difference {
        title: "A request for progress is answered when it is true",
        // The watchers that are asked about have been told everything.
        explains: None,
    },
    Difference {
        title: "Ranges can be streamed",
        // Rows of the table of bad input.
        explains: None,
    },
    Difference {
        title: "JSON numbers may be written with a fraction of zero",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "A failed precondition is HTTP status 400",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
    Difference {
        title: "A method other than `POST` gets 501",
        // It is about JSON; module `gateway` asks.
        explains: None,
    },
];

/// Whether the difference between two replies is known.
pub(crate) fn accepts(question: &Question, tenure: &Reply, etcd: &Reply) -> bool {
    let mut explanations = DIFFERENCES
        .iter()
        .filter_map(|difference| difference.explains);
    explanations.any(|explains| explains(question, tenure, etcd))
}

/// etcd 3.4 checks all puts of a transaction before its ranges, and of a put the key before the
/// lease; 3.6 and tenure check the operations in their order, and the lease first. Either way
/// nothing was done.
fn one_of_several_reasons(question: &Question, tenure: &Reply, etcd: &Reply) -> bool {
    let checked = |reply: &Reply| {
        let reasons = [LEASE_NOT_FOUND, KEY_NOT_FOUND, COMPACTED, FUTURE_REVISION];
        reasons.contains(&reply.text.as_str())
    };
    question.request::<TxnRequest>().is_some() && checked(tenure) && checked(etcd)
}

/// etcd 3.4 refuses to hash at a compacted revision, even at exactly the last one, which can be
/// read. Later releases keep the hashes of the last ten compactions, each under the floor before.
fn hash_at_a_compaction(question: &Question, tenure: &Reply, etcd: &Reply) -> bool {
    let Some(asked) = question.request::<HashKvRequest>() else {
        return false;
    };
    let shown = format!("{tenure:?}");
    let floor = shown
        .split_once("compact_revision: ")
        .and_then(|(_, rest)| rest.split_once(','))
        .and_then(|(floor, _)| floor.parse::<i64>().ok());
    etcd.text == COMPACTED
        && tenure.code == Code::Ok
        && floor.is_some_and(|floor| floor < asked.revision)
}

/// etcd 3.4 does not say up to which revision it hashed; 3.6 and tenure do.
pub(crate) fn without_hash_revision(reply: &mut HashKvResponse) {
    reply.hash_revision = 0;
}

/// The alarms of etcd 3.4 come without a header; those of 3.6 and tenure with one.
pub(crate) fn without_header(reply: &mut AlarmResponse) {
    reply.header = None;
}

#[test]
fn the_document_lists_every_difference_and_no_other() {
    const DOCUMENT: &str = include_str!("../../../../../docs/differences.md");
    let listed: Vec<_> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split_once(".**"))
        .map(|(title, _)| title)
        .collect();
    let known: Vec<_> = DIFFERENCES.iter().map(|known| known.title).collect();
    assert_eq!(listed, known);
}
