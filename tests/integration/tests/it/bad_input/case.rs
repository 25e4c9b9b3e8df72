//! A row of a table of bad requests, and how a table is put to a server.

use std::fmt::Debug;

use prost::Message;
use tenure_proto::etcdserverpb::WatchResponse;
use tonic::Code;

use crate::differential::{
    ask::{Ask, Question, Reply},
    wire::{Answer, Call, Wire},
};

/// A bad request and what it comes to.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) call: Call,
    pub(crate) expected: Expected,
    pub(crate) in_etcd: InEtcd,
}

/// What a request comes to.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// The call ends with this code and text.
    Status(Code, String),
    /// The last response tells that no watcher was made, for this reason.
    NoWatcher(&'static str),
    /// The call succeeds.
    Accepted,
}

/// What etcd 3.4 makes of the same request. Tables that are not put to etcd leave it alone.
#[derive(Clone, Debug)]
pub(crate) enum InEtcd {
    Same,
    Otherwise(Expected),
    /// It knows no such call, or would act on it and change state.
    NotAsked,
}

impl Case {
    /// A case that etcd answers in the same way.
    pub(crate) fn new(name: impl Into<String>, call: Call, expected: Expected) -> Self {
        Self {
            name: name.into(),
            call,
            expected,
            in_etcd: InEtcd::Same,
        }
    }

    /// A request that is refused, by etcd in the same way.
    pub(crate) fn refused<A: Ask>(
        name: impl Into<String>,
        request: &A,
        code: Code,
        text: &str,
    ) -> Self {
        let call = Question::of(request).call;
        Self::new(name, call, Expected::Status(code, text.to_owned()))
    }

    /// The same, refused as invalid.
    pub(crate) fn invalid<A: Ask>(name: impl Into<String>, request: &A, text: &str) -> Self {
        Self::refused(name, request, Code::InvalidArgument, text)
    }

    /// With one more line of metadata.
    pub(crate) fn with_metadata(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().expect("metadata of a row is text");
        self.call.metadata.push((name, value));
        self
    }

    /// etcd refuses it otherwise.
    pub(crate) fn etcd_says(self, code: Code, text: impl Into<String>) -> Self {
        self.etcd_answers(Expected::Status(code, text.into()))
    }

    /// etcd takes it otherwise.
    pub(crate) fn etcd_answers(self, expected: Expected) -> Self {
        Self {
            in_etcd: InEtcd::Otherwise(expected),
            ..self
        }
    }

    /// etcd is not asked.
    pub(crate) fn not_in_etcd(self) -> Self {
        Self {
            in_etcd: InEtcd::NotAsked,
            ..self
        }
    }
}

/// Rows that are refused, as `NAME: REQUEST => CODE, TEXT;`.
macro_rules! cases {
    ($($name:literal: $request:expr => $code:ident, $text:expr;)+) => {
        vec![$(
            $crate::bad_input::case::Case::refused($name, &$request, tonic::Code::$code, &$text)
        ),+]
    };
}
pub(crate) use cases;

/// Puts each row to a server: it comes to what is expected, and `state` stays as it is.
pub(crate) async fn check_rows<'a, S: PartialEq + Debug>(
    wire: &Wire,
    rows: impl IntoIterator<Item = (&'a Case, &'a Expected)>,
    state: impl AsyncFn() -> S,
) {
    let before = state().await;
    let mut wrong = Vec::new();
    for (case, expected) in rows {
        let answer = wire.call(&case.call).await;
        if let Err(difference) = expected.check(&answer) {
            wrong.push(format!("{}: {difference}", case.name));
        }
        // Shown when the test fails.
        println!("after {}", case.name);
        assert_eq!(state().await, before, "{}", wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request that a server must serve.
pub(crate) async fn good<A: Ask>(wire: &Wire, request: &A) -> Reply {
    let question = Question::of(request);
    let reply = question.read(&wire.call(&question.call).await);
    assert_eq!(reply.code, Code::Ok, "{reply:?} to {question:?}");
    reply
}

impl Expected {
    /// What is wrong with an answer, if anything is.
    pub(crate) fn check(&self, answer: &Answer) -> Result<(), String> {
        let got = format!("{:?} {:?}", answer.code, answer.text);
        match self {
            Self::Status(code, text) => (answer.code == *code && answer.text == *text)
                .then_some(())
                .ok_or_else(|| format!("got {got}, expected {code:?} {text:?}")),
            Self::NoWatcher(reason) => {
                let last = answer
                    .messages
                    .last()
                    .map(|last| WatchResponse::decode(last.as_ref()));
                match last {
                    Some(Ok(last))
                        if last.created
                            && last.canceled
                            && last.watch_id == -1
                            && last.cancel_reason == *reason =>
                    {
                        Ok(())
                    }
                    last => Err(format!(
                        "got {got} {last:?}, expected no watcher: {reason:?}"
                    )),
                }
            }
            Self::Accepted => (answer.code == Code::Ok)
                .then_some(())
                .ok_or_else(|| format!("got {got}, expected success")),
        }
    }
}
