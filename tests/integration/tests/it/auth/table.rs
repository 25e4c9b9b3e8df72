//! Every method of every service, called by everyone: who gets through, and what the others are
//! told.

mod rows;

use std::collections::BTreeSet;

use prost::Message;
use tenure_proto::{PUBLIC_DESCRIPTOR_SET, etcdserverpb as etcd, v3electionpb};
use tenure_testkit::{Leaf, Pki};
use tonic::{Code, codegen::http::HeaderValue};

use self::rows::{Row, rows};
use super::{
    certified::{Certified, nodes},
    setup::{PASSWORD, User, Users},
};
use crate::differential::wire::{Answer, Call, Wire};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    BadToken,
    /// The password was replaced since the log-in.
    OldToken,
    Guest,
    Reader,
    Writer,
    Both,
    /// Who shows a certificate with this common name, and no token.
    Certified(&'static str),
    /// Who shows a certificate without a common name.
    Nameless,
    Root,
}

/// No user has the name.
const UNKNOWN: Who = Who::Certified("stranger");

/// Root disables authentication, so it is the last.
const EVERYONE: [Who; 15] = [
    Who::Nobody,
    Who::BadToken,
    Who::OldToken,
    Who::Guest,
    Who::Reader,
    Who::Writer,
    Who::Both,
    Who::Nameless,
    UNKNOWN,
    Who::Certified("guest"),
    Who::Certified("reader"),
    Who::Certified("writer"),
    Who::Certified("both"),
    Who::Certified("root"),
    Who::Root,
];

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Nothing; but a token that is shown must be good.
    GoodToken,
    User,
    Read,
    Write,
    Both,
    Admin,
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It got through; it may have failed for another reason.
    Through,
    UserEmpty,
    UserUnknown,
    InvalidToken,
    Denied,
}

fn expected(needs: Needs, who: Who) -> Told {
    let who = match who {
        // Over TLS as with a token.
        Who::Certified("guest") => Who::Guest,
        Who::Certified("reader") => Who::Reader,
        Who::Certified("writer") => Who::Writer,
        Who::Certified("both") => Who::Both,
        Who::Certified("root") => Who::Root,
        Who::Nameless => Who::Nobody,
        who => who,
    };
    match (needs, who) {
        (Needs::Nothing, _) | (Needs::GoodToken, Who::Nobody) => Told::Through,
        (_, Who::BadToken | Who::OldToken) => Told::InvalidToken,
        (_, Who::Nobody) => Told::UserEmpty,
        (_, Who::Certified(_)) => Told::UserUnknown,
        (Needs::GoodToken | Needs::User, _) | (_, Who::Root) => Told::Through,
        (Needs::Read, Who::Reader | Who::Both)
        | (Needs::Write, Who::Writer | Who::Both)
        | (Needs::Both, Who::Both) => Told::Through,
        (Needs::Read | Needs::Write | Needs::Both | Needs::Admin, _) => Told::Denied,
    }
}

/// Every method that the descriptors have.
fn described() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(PUBLIC_DESCRIPTOR_SET).unwrap();
    let mut found = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (service, method) = (service.name(), method.name());
                found.insert(format!("/{}.{service}/{method}", file.package()));
            }
        }
    }
    found
}

fn told(answer: &Answer, who: Who) -> Told {
    let watched = answer.messages.iter().find_map(|message| {
        let response = etcd::WatchResponse::decode(message.clone()).ok()?;
        response
            .cancel_reason
            .starts_with("rpc error: ")
            .then_some(response.cancel_reason)
    });
    let text = watched.as_deref().unwrap_or(&answer.text);
    if text.ends_with("etcdserver: user name is empty") {
        Told::UserEmpty
    } else if text.ends_with("etcdserver: user name not found") && who == UNKNOWN {
        // Of others it is said about the user in the request.
        Told::UserUnknown
    } else if text.ends_with("etcdserver: invalid auth token") {
        Told::InvalidToken
    } else if text.ends_with("etcdserver: permission denied") {
        Told::Denied
    } else {
        Told::Through
    }
}

fn code(told: Told) -> Code {
    match told {
        Told::Through => Code::Ok,
        Told::UserEmpty => Code::InvalidArgument,
        Told::UserUnknown => Code::FailedPrecondition,
        Told::InvalidToken => Code::Unauthenticated,
        Told::Denied => Code::PermissionDenied,
    }
}

/// One of them, and its way to each member.
struct Caller {
    who: Who,
    token: Option<String>,
    wires: Vec<Wire>,
    /// Kept open.
    _certified: Vec<Certified>,
}

impl Caller {
    async fn new(who: Who, users: &Users, pki: &Pki) -> Self {
        let token = match who {
            Who::Nobody | Who::Nameless | Who::Certified(_) => None,
            Who::BadToken => Some("nonsense.1".to_owned()),
            Who::OldToken => Some(old_token(users).await),
            Who::Guest => Some(users.token("guest").await),
            Who::Reader => Some(users.token("reader").await),
            Who::Writer => Some(users.token("writer").await),
            Who::Both => Some(users.token("both").await),
            Who::Root => Some(users.token("root").await),
        };
        let pair = match who {
            Who::Certified(name) => Some(pki.issue(name, &Leaf::client(name))),
            Who::Nameless => {
                let leaf = Leaf::client("").without_common_name();
                Some(pki.issue("nameless", &leaf))
            }
            _ => None,
        };
        let (mut wires, mut certified) = (Vec::new(), Vec::new());
        for node in users.cluster.nodes() {
            let Some(pair) = &pair else {
                wires.push(Wire::to(node.address()));
                continue;
            };
            let way = Certified::to(node.secure_address(), pki, pair, "h2").await;
            wires.push(Wire::to(way.address()));
            certified.push(way);
        }
        Self {
            who,
            token,
            wires,
            _certified: certified,
        }
    }

    /// Makes the call of a row on one of the members.
    async fn call(&self, row: &Row, member: usize) -> Answer {
        let mut call = Call::new(row.path.clone(), row.body.clone());
        call.open = row.is_open.then_some(1);
        call.enough = row.is_stream.then_some(1);
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(token).unwrap();
            call.metadata.push(("token", value));
        }
        self.wires[member % self.wires.len()].call(&call).await
    }
}

/// A token of a password that was replaced.
async fn old_token(users: &Users) -> String {
    let root = users.user("root").await;
    root.add_user("old").await;
    let old = users.token("old").await;
    root.set_password("old", "another").await;
    old
}

/// Makes somebody lead `a/elected`, so that those who observe it have something to see.
async fn elect(root: &User) {
    let lease = etcd::LeaseGrantRequest { ttl: 3600, id: 0 };
    let granted = root.lease().lease_grant(lease).await.unwrap();
    let campaign = v3electionpb::CampaignRequest {
        name: "a/elected".into(),
        lease: granted.into_inner().id,
        ..Default::default()
    };
    let mut elections = v3electionpb::election_client::ElectionClient::new(root.called());
    elections.campaign(campaign).await.unwrap();
}

/// What is wrong with the answer in a cell, if anything is.
fn fault(row: &Row, who: Who, answer: &Answer) -> Option<String> {
    let (expected, found) = (expected(row.needs, who), told(answer, who));
    let is_watch = row.path.ends_with("/Watch");
    let code_fits = match found {
        // A call that gets through reaches its method, and that answers.
        Told::Through => !matches!(answer.code, Code::Unavailable | Code::Internal),
        refused => is_watch || answer.code == code(refused),
    };
    let is_right = found == expected && code_fits && !answer.text.starts_with("(transport)");
    (!is_right).then(|| {
        format!(
            "{} by {who:?}: {found:?}, not {expected:?}: {:?} {:?}",
            row.path, answer.code, answer.text
        )
    })
}

#[tokio::test]
async fn every_method_lets_through_whom_it_should_and_nobody_else() {
    let rows = rows();
    let called: BTreeSet<String> = rows
        .iter()
        .map(|row| row.path.clone())
        .filter(|path| !path.starts_with("/grpc."))
        .collect();
    assert_eq!(called, described(), "every method is called");

    let pki = Pki::new();
    let users = Users::enable(nodes(&pki, 3).start().await).await;
    elect(&users.user("root").await).await;
    let mut callers = Vec::new();
    for who in EVERYONE {
        callers.push(Caller::new(who, &users, &pki).await);
    }
    let (mut cells, mut wrong) = (0, Vec::new());
    for (number, row) in rows.iter().enumerate() {
        for caller in &callers {
            let answer = caller.call(row, number + cells).await;
            wrong.extend(fault(row, caller.who, &answer));
            cells += 1;
        }
    }
    println!("{cells} cells: {} calls by {}", rows.len(), callers.len());
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cells, rows.len() * EVERYONE.len(), "every cell");
    let ended = users.nobody().try_log_in("root", PASSWORD).await;
    assert!(ended.is_err(), "it is disabled");
}
