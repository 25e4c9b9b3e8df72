//! Sessions and fence policies of the fake server. Every lease is a session.

use bytes::Bytes;
use tenure_proto::v1::{
    Claim, CloseSessionRequest, CloseSessionResponse, InspectSessionRequest,
    InspectSessionResponse, ListPoliciesRequest, ListPoliciesResponse, OpenSessionRequest,
    OpenSessionResponse, Policy, RemovePolicyRequest, RemovePolicyResponse, SetPolicyRequest,
    SetPolicyResponse, SetWillRequest, SetWillResponse, fence_server::Fence,
    session_server::Session,
};
use tonic::{Code, Request, Response, Status};

use super::{Fake, header, refusal};

fn unknown() -> Status {
    refusal("SessionNotFound", Code::NotFound)
}

#[tonic::async_trait]
impl Session for Fake {
    async fn open(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        let ttl_ms = request.into_inner().ttl_ms;
        let session = self.change(|store| store.grant(ttl_ms));
        Ok(Response::new(OpenSessionResponse {
            header: header(1),
            session,
            ttl_ms,
        }))
    }

    async fn close(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        // Looked for in front of everything else, as servers do.
        let session = request.get_ref().session;
        if !self.store.lock().leases.contains_key(&session) {
            return Err(unknown());
        }
        self.write(request, |store, _| {
            store.revoke(session);
            Ok(CloseSessionResponse::default())
        })
    }

    async fn inspect(
        &self,
        request: Request<InspectSessionRequest>,
    ) -> Result<Response<InspectSessionResponse>, Status> {
        let session = request.into_inner().session;
        let store = self.store.lock();
        let ttl_ms = *store.leases.get(&session).ok_or_else(unknown)?;
        let keys: Vec<&Bytes> = store.rows.keys().collect();
        let claims = keys.into_iter().filter_map(|key| store.state(key));
        Ok(Response::new(InspectSessionResponse {
            header: header(store.revision),
            ttl_ms,
            remaining_ms: ttl_ms,
            claims: claims
                .filter(|claim: &Claim| claim.lease == session)
                .collect(),
            ..InspectSessionResponse::default()
        }))
    }

    async fn set_will(
        &self,
        _: Request<SetWillRequest>,
    ) -> Result<Response<SetWillResponse>, Status> {
        Err(Status::unimplemented("the fake does not do this"))
    }
}

#[tonic::async_trait]
impl Fence for Fake {
    async fn set_policy(
        &self,
        request: Request<SetPolicyRequest>,
    ) -> Result<Response<SetPolicyResponse>, Status> {
        self.write(request, |store, asked| {
            let Policy { prefix, lock } = asked.policy.unwrap_or_default();
            store.policies.insert(prefix, lock);
            Ok(SetPolicyResponse::default())
        })
    }

    async fn remove_policy(
        &self,
        request: Request<RemovePolicyRequest>,
    ) -> Result<Response<RemovePolicyResponse>, Status> {
        self.write(request, |store, asked| {
            let removed = store.policies.remove(&asked.prefix);
            let none = || refusal("PolicyNotFound", Code::NotFound);
            removed
                .map(|_| RemovePolicyResponse::default())
                .ok_or_else(none)
        })
    }

    async fn list_policies(
        &self,
        _: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let store = self.store.lock();
        let policies = store.policies.iter().map(|(prefix, lock)| Policy {
            prefix: prefix.clone(),
            lock: lock.clone(),
        });
        Ok(Response::new(ListPoliciesResponse {
            header: header(store.revision),
            policies: policies.collect(),
        }))
    }
}
