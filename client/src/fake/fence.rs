//! Fence policies.

use tenure_proto::v1::{
    ListPoliciesRequest, ListPoliciesResponse, Policy, RemovePolicyRequest, RemovePolicyResponse,
    SetPolicyRequest, SetPolicyResponse, fence_server::Fence,
};
use tenure_statemachine::{FenceCommand, FencePolicy};
use tonic::Request;

use super::{
    message::tenure_header,
    node::{Answer, Service},
};

#[tonic::async_trait]
impl Fence for Service {
    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Answer<SetPolicyResponse> {
        self.take("set_policy", request, |store, arrival, request| {
            let Policy { prefix, lock } = request.policy.unwrap_or_default();
            let command = FenceCommand::Set(FencePolicy { prefix, lock });
            store.write(arrival, command)?;
            Ok(SetPolicyResponse::default())
        })
        .await
    }

    async fn remove_policy(
        &self,
        request: Request<RemovePolicyRequest>,
    ) -> Answer<RemovePolicyResponse> {
        self.take("remove_policy", request, |store, arrival, request| {
            let command = FenceCommand::Remove(request.prefix);
            store.write(arrival, command)?;
            Ok(RemovePolicyResponse::default())
        })
        .await
    }

    async fn list_policies(
        &self,
        request: Request<ListPoliciesRequest>,
    ) -> Answer<ListPoliciesResponse> {
        self.take("list_policies", request, |store, _, _| {
            let policies = store.policies().into_iter().map(|policy| Policy {
                prefix: policy.prefix,
                lock: policy.lock,
            });
            Ok(ListPoliciesResponse {
                header: tenure_header(store.revision()),
                policies: policies.collect(),
            })
        })
        .await
    }
}
