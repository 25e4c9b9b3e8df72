//! A row of the table.

use prost::Message;
use tenure_proto::etcdserverpb::WatchResponse;
use tonic::Code;

use crate::differential::{
    ask::{Ask, Question},
    wire::{Answer, Call},
};

/// A bad request and what it comes to.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) call: Call,
    pub(super) expected: Expected,
    pub(super) in_etcd: InEtcd,
}

/// What a request comes to.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// The call ends with this code and text.
    Status(Code, String),
    /// The last response tells that no watcher was made, for this reason.
    NoWatcher(&'static str),
    /// The call succeeds.
    Accepted,
}

/// What etcd 3.4 makes of the same request.
#[derive(Clone, Debug)]
pub(super) enum InEtcd {
    Same,
    Otherwise(Expected),
    /// It knows no such call, or would act on it and change state.
    NotAsked,
}

impl Case {
    /// A case that etcd answers in the same way.
    pub(super) fn new(name: impl Into<String>, call: Call, expected: Expected) -> Self {
        Self {
            name: name.into(),
            call,
            expected,
            in_etcd: InEtcd::Same,
        }
    }

    /// A request that is refused, by etcd in the same way.
    pub(super) fn refused<A: Ask>(
        name: impl Into<String>,
        request: &A,
        code: Code,
        text: &str,
    ) -> Self {
        let call = Question::of(request).call;
        Self::new(name, call, Expected::Status(code, text.to_owned()))
    }

    /// The same, refused as invalid.
    pub(super) fn invalid<A: Ask>(name: impl Into<String>, request: &A, text: &str) -> Self {
        Self::refused(name, request, Code::InvalidArgument, text)
    }

    /// etcd refuses it otherwise.
    pub(super) fn etcd_says(self, code: Code, text: impl Into<String>) -> Self {
        self.etcd_answers(Expected::Status(code, text.into()))
    }

    /// etcd takes it otherwise.
    pub(super) fn etcd_answers(self, expected: Expected) -> Self {
        Self {
            in_etcd: InEtcd::Otherwise(expected),
            ..self
        }
    }

    /// etcd is not asked.
    pub(super) fn not_in_etcd(self) -> Self {
        Self {
            in_etcd: InEtcd::NotAsked,
            ..self
        }
    }
}

impl Expected {
    /// What is wrong with an answer, if anything is.
    pub(super) fn check(&self, answer: &Answer) -> Result<(), String> {
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
