//! The `Fence` service: prefixes below which only the holder of a lock may write.

use std::sync::Arc;

use tenure_proto::v1::{self as wire, fence_server::Fence};
use tenure_statemachine::{FenceCommand, FencePolicy, Need, Reader};
use tonic::{Request, Response, Status};

use crate::rpc::{answer::status::Reason, border::field, services::Services};

#[derive(Debug)]
pub(in crate::rpc) struct FenceService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Fence for FenceService {
    async fn set_policy(
        &self,
        request: Request<wire::SetPolicyRequest>,
    ) -> Result<Response<wire::SetPolicyResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let wire::Policy { prefix, lock } = request.policy.ok_or(Reason::PolicyMissing)?;
        let policy = FencePolicy {
            prefix: field::prefix(prefix)?,
            lock: field::name(lock)?,
        };
        let command = FenceCommand::Set(policy);
        let header = self
            .0
            .write_for_header(&call, conditions, 0, command)
            .await?;
        Ok(Response::new(wire::SetPolicyResponse { header }))
    }

    async fn remove_policy(
        &self,
        request: Request<wire::RemovePolicyRequest>,
    ) -> Result<Response<wire::RemovePolicyResponse>, Status> {
        let (call, conditions, request) =
            self.0.admit_write_with(request, |it| it.options.take())?;
        let command = FenceCommand::Remove(field::prefix(request.prefix)?);
        let header = self
            .0
            .write_for_header(&call, conditions, 0, command)
            .await?;
        Ok(Response::new(wire::RemovePolicyResponse { header }))
    }

    async fn list_policies(
        &self,
        request: Request<wire::ListPoliciesRequest>,
    ) -> Result<Response<wire::ListPoliciesResponse>, Status> {
        let call = self.0.admit(&request)?;
        let permit = self.0.permit(&call, vec![Need::Admin]).await?;
        call.read(self.0.replica.read_barrier()).await?;
        let headers = self.0.headers.clone();
        let read = move |reader: &Reader<'_>| {
            permit.check(reader)?;
            let policies = reader.policies()?.into_iter();
            let policies = policies.map(|policy| wire::Policy {
                prefix: policy.prefix,
                lock: policy.lock,
            });
            Ok(wire::ListPoliciesResponse {
                header: Some(headers.own(reader.meta().revision)),
                policies: policies.collect(),
            })
        };
        Ok(self.0.answer(&call, read).await?)
    }
}

#[cfg(test)]
mod tests;
