//! The state that all nodes share: keys, held locks, sessions and what they remember.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use tenure_proto::{
    etcdserverpb::{
        Compare, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, ResponseOp,
        TxnRequest, TxnResponse, compare::TargetUnion, request_op::Request, response_op::Response,
    },
    mvccpb::KeyValue,
    v1,
};
use tonic::{Code, Status, metadata::MetadataMap};

/// A call of the key space as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) node: usize,
    pub(crate) call: &'static str,
    pub(crate) guards: Vec<(Bytes, i64)>,
    /// Session, sequence and what was answered.
    pub(crate) request: Option<(i64, u64, u64)>,
    pub(crate) idempotency_key: Option<String>,
    /// As gRPC writes it.
    pub(crate) timeout: Option<String>,
}

impl Arrival {
    pub(crate) fn read(node: usize, call: &'static str, metadata: &MetadataMap) -> Self {
        let text = |key: &str| {
            metadata
                .get(key)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let guards = metadata
            .get_all_bin("tenure-guard-bin")
            .iter()
            .map(|value| {
                let guard = v1::Guard::decode(value.to_bytes().unwrap()).unwrap();
                (guard.name, guard.token)
            });
        let request = text("tenure-request").map(|id| {
            let mut parts = id.split('.');
            let session = i64::from_str_radix(parts.next().unwrap(), 16).unwrap();
            let mut number = || parts.next().unwrap().parse().unwrap();
            (session, number(), number())
        });
        Self {
            node,
            call,
            guards: guards.collect(),
            request,
            idempotency_key: text("tenure-idempotency-key"),
            timeout: text("grpc-timeout"),
        }
    }
}

/// What came of a request: the encoded answer, or a refusal.
type Outcome = Result<Vec<u8>, Status>;

#[derive(Debug, Default)]
pub(crate) struct SessionState {
    pub(crate) ttl_ms: u64,
    forgotten: u64,
    remembered: BTreeMap<u64, Outcome>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) is_tenure: bool,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) executed: Vec<String>,
    /// Name and token of every held lock.
    pub(crate) held: BTreeMap<Bytes, i64>,
    pub(crate) sessions: BTreeMap<i64, SessionState>,
    /// Sessions that were ever opened.
    pub(crate) opened: i64,
    /// What users have to show.
    pub(crate) password: String,
    /// Streams of renewals that are open.
    pub(crate) renewing: usize,
    named: BTreeMap<String, Outcome>,
    keys: BTreeMap<Bytes, KeyValue>,
    revision: i64,
}

impl Store {
    pub(super) fn of_tenure() -> Self {
        Self {
            is_tenure: true,
            ..Self::default()
        }
    }

    pub(super) fn of_etcd() -> Self {
        Self::default()
    }

    pub(super) fn open_session(&mut self, ttl_ms: u64) -> i64 {
        self.opened += 1;
        let state = SessionState {
            ttl_ms,
            ..SessionState::default()
        };
        self.sessions.insert(self.opened, state);
        self.opened
    }

    /// Executes a mutation, or answers as it was answered before under the same id.
    pub(super) fn mutate<Answer: Message + Default>(
        &mut self,
        arrival: &Arrival,
        what: String,
        execute: impl FnOnce(&mut Self) -> Answer,
    ) -> Result<Answer, Status> {
        if self.is_tenure {
            if let Some(outcome) = self.recall(arrival)? {
                return outcome.map(|bytes| Answer::decode(bytes.as_slice()).unwrap());
            }
        } else {
            self.executed.push(what);
            return Ok(execute(self));
        }
        let outcome = self.check_guards(arrival).map(|()| {
            self.executed.push(what);
            execute(self)
        });
        let kept = match &outcome {
            Ok(answer) => Ok(answer.encode_to_vec()),
            Err(refusal) => Err(refusal.clone()),
        };
        if let Some((session, sequence, _)) = arrival.request {
            let session = self.sessions.get_mut(&session).unwrap();
            session.remembered.insert(sequence, kept);
        } else if let Some(key) = &arrival.idempotency_key {
            self.named.insert(key.clone(), kept);
        }
        outcome
    }

    fn recall(&mut self, arrival: &Arrival) -> Result<Option<Outcome>, Status> {
        if let Some(key) = &arrival.idempotency_key {
            assert_eq!(arrival.request, None, "a request has one name");
            return Ok(self.named.get(key).cloned());
        }
        let Some((session, sequence, answered)) = arrival.request else {
            return Ok(None);
        };
        let unknown = || refusal(Code::NotFound, "SessionNotFound", None);
        let session = self.sessions.get_mut(&session).ok_or_else(unknown)?;
        session.forgotten = session.forgotten.max(answered);
        session.remembered = session.remembered.split_off(&(session.forgotten + 1));
        if sequence <= session.forgotten {
            return Err(refusal(Code::FailedPrecondition, "RequestForgotten", None));
        }
        Ok(session.remembered.get(&sequence).cloned())
    }

    fn check_guards(&self, arrival: &Arrival) -> Result<(), Status> {
        for (name, token) in &arrival.guards {
            let current = self.held.get(name).copied().unwrap_or(0);
            if current != *token {
                return Err(refusal(
                    Code::FailedPrecondition,
                    "GuardStale",
                    Some(current),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.revision,
            ..ResponseHeader::default()
        })
    }

    pub(super) fn put(&mut self, put: PutRequest) -> PutResponse {
        self.revision += 1;
        let revision = self.revision;
        let entry = self.keys.entry(put.key.clone()).or_insert(KeyValue {
            key: put.key,
            create_revision: revision,
            ..KeyValue::default()
        });
        entry.mod_revision = revision;
        entry.version += 1;
        entry.value = put.value;
        PutResponse {
            header: self.header(),
            prev_kv: None,
        }
    }

    pub(super) fn range(&self, range: &RangeRequest) -> RangeResponse {
        let kvs: Vec<_> = self.keys.get(&range.key).cloned().into_iter().collect();
        RangeResponse {
            header: self.header(),
            count: i64::try_from(kvs.len()).unwrap(),
            kvs,
            more: false,
        }
    }

    pub(super) fn txn(&mut self, txn: TxnRequest) -> TxnResponse {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { txn.success } else { txn.failure };
        let responses = branch.into_iter().map(|op| match op.request.unwrap() {
            Request::RequestPut(put) => Response::ResponsePut(self.put(put)),
            Request::RequestRange(range) => Response::ResponseRange(self.range(&range)),
            other => panic!("these tests do not need {other:?}"),
        });
        let responses = responses
            .map(|response| ResponseOp {
                response: Some(response),
            })
            .collect();
        TxnResponse {
            header: self.header(),
            succeeded,
            responses,
        }
    }

    /// Compares for equality only.
    fn holds(&self, compare: &Compare) -> bool {
        let stored = self.keys.get(&compare.key).cloned().unwrap_or_default();
        match compare.target_union.clone().unwrap() {
            TargetUnion::Version(given) => stored.version == given,
            TargetUnion::ModRevision(given) => stored.mod_revision == given,
            TargetUnion::Value(given) => stored.value == given,
            other => panic!("these tests do not need {other:?}"),
        }
    }
}

/// A refusal in the form that tenure gives it.
pub(crate) fn refusal(code: Code, reason: &'static str, current: Option<i64>) -> Status {
    let mut status = Status::new(code, format!("tenure: {reason}"));
    let metadata = status.metadata_mut();
    metadata.insert("tenure-reason", reason.parse().unwrap());
    if let Some(current) = current {
        metadata.insert("tenure-current-token", current.to_string().parse().unwrap());
    }
    status
}
