//! What a write of the fake server goes through: it is executed once under its id, and only while
//! its guards hold; its answer is lost where that is the fault.

use prost::Message;
use tenure_proto::v1::Guard;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use super::{Fake, Store, refusal, request_id};

impl Fake {
    /// Executes a write of tenure's own services.
    pub(super) fn write<Asked, Answer: Message + Default>(
        &self,
        request: Request<Asked>,
        execute: impl FnOnce(&mut Store, Asked) -> Result<Answer, Status>,
    ) -> Result<Response<Answer>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let id = request_id(&metadata);
        let known = id.and_then(|id| self.store.lock().remembered.get(&id).cloned());
        let outcome = known.unwrap_or_else(|| {
            let outcome = self.check_guards(&metadata).and_then(|()| {
                let answer = self.change(|store| {
                    store.count("write");
                    execute(store, asked)
                });
                Ok(answer?.encode_to_vec())
            });
            if let Some(id) = id {
                self.store.lock().remembered.insert(id, outcome.clone());
            }
            outcome
        });
        self.answer_may_be_lost()?;
        let answer = Answer::decode(outcome?.as_slice());
        Ok(Response::new(answer.expect("it was encoded here")))
    }

    /// Refuses a write whose guards do not hold.
    pub(super) fn check_guards(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let mut store = self.store.lock();
        for value in metadata.get_all_bin("tenure-guard-bin") {
            let bytes = value.to_bytes().expect("a guard is Base64");
            let guard = Guard::decode(bytes).expect("a guard decodes");
            let name = String::from_utf8(guard.name.to_vec()).expect("tests use text");
            let holder = store.holder(&name);
            store.guards.push(format!("{name}={}", guard.token));
            if holder.is_none_or(|holder| holder.token != guard.token) {
                return Err(refusal("GuardStale", Code::FailedPrecondition));
            }
        }
        Ok(())
    }

    pub(super) fn answer_may_be_lost(&self) -> Result<(), Status> {
        let mut lost = false;
        self.faults.send_if_modified(|faults| {
            lost = std::mem::take(&mut faults.lose_answer);
            false
        });
        if lost {
            let mut status = Status::unavailable("tenure: the server stops");
            let unknown = "unknown".parse().expect("that is ASCII");
            status.metadata_mut().insert("tenure-outcome", unknown);
            return Err(status);
        }
        Ok(())
    }
}
