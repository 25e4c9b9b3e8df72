//! Fence policies: prefixes below which the server itself checks tokens.

use tenure_proto::v1::{
    ListPoliciesRequest, Policy, RemovePolicyRequest, SetPolicyRequest, fence_client::FenceClient,
};

use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    range::IntoBytes,
    response::{FencePolicy, Header, List},
};

/// A short call of the fence service.
fn call(operation: Operation) -> Call {
    Call::tenure(operation, Lane::Calls)
}

/// Fence policies of the cluster. Made by [`Client::fence_policies`].
#[derive(Debug, Clone, Copy)]
pub struct FencePolicies<'a> {
    client: &'a Client,
}

impl Client {
    /// Fence policies: prefixes that only the holder of a lock may write below.
    #[must_use]
    pub fn fence_policies(&self) -> FencePolicies<'_> {
        FencePolicies { client: self }
    }
}

impl FencePolicies<'_> {
    /// Makes the server refuse writes of keys that begin with `prefix` unless they carry a live
    /// guard of `lock`, so only the holder of the lock or the leader of the election can write
    /// them. Replaces a policy for the same prefix. Prefix and name have 1 to 4096 bytes each.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// client.fence_policies().set("accounts/7/", "jobs/7").await?;
    /// for policy in &client.fence_policies().list().await? {
    ///     println!("{:?} is written by the holder of {:?}", policy.prefix(), policy.lock());
    /// }
    /// // Unguarded writes are accepted there again.
    /// client.fence_policies().remove("accounts/7/").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a prefix or a name that is empty
    /// or too long, [`LimitReached`](crate::ErrorKind::LimitReached) at the maximum number of
    /// policies, and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the policy is set.
    pub async fn set(self, prefix: impl IntoBytes, lock: impl IntoBytes) -> Result<Header, Error> {
        let request = SetPolicyRequest {
            policy: Some(Policy {
                prefix: prefix.into_bytes(),
                lock: lock.into_bytes(),
            }),
            options: None,
        };
        let call = call(Operation::Write);
        let set = rpc!(self.client, call, FenceClient.set_policy(request)).await?;
        Ok(Header::of_tenure(set.header).unwrap_or_default())
    }

    /// Accepts unguarded writes below a prefix again, except where a policy of another prefix
    /// refuses them.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no policy for exactly this prefix,
    /// and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the policy is removed.
    pub async fn remove(self, prefix: impl IntoBytes) -> Result<Header, Error> {
        let request = RemovePolicyRequest {
            prefix: prefix.into_bytes(),
            options: None,
        };
        let call = call(Operation::Write);
        let removed = rpc!(self.client, call, FenceClient.remove_policy(request)).await?;
        Ok(Header::of_tenure(removed.header).unwrap_or_default())
    }

    /// All fence policies, by prefix.
    ///
    /// # Errors
    /// The errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn list(self) -> Result<List<FencePolicy>, Error> {
        let request = ListPoliciesRequest {};
        let call = call(Operation::Read);
        let list = rpc!(self.client, call, FenceClient.list_policies(request)).await?;
        Ok(List::policies(list))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{ErrorKind, fake::Fake};

    #[tokio::test]
    async fn a_policy_stands_until_it_is_removed() {
        let (_fake, client) = Fake::start().await;
        client.fence_policies().set("a/", "one").await.unwrap();
        client.fence_policies().set("a/", "two").await.unwrap();
        let listed = client.fence_policies().list().await.unwrap();
        let listed = listed.as_slice();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (&listed[0].prefix()[..], &listed[0].lock()[..]),
            (&b"a/"[..], &b"two"[..])
        );
        client.fence_policies().remove("a/").await.unwrap();
        let error = client.fence_policies().remove("a/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.outcome_unknown());
    }

    #[tokio::test]
    async fn who_is_not_the_holder_any_more_changes_no_policy() {
        let (fake, client) = Fake::start().await;
        let guard = client.locks().acquire("operators").await.unwrap();
        let holder = guard.guarded();
        holder.fence_policies().set("a/", "one").await.unwrap();
        guard.release().await.unwrap();
        for refused in [
            holder.fence_policies().set("b/", "two").await.map(drop),
            holder.fence_policies().remove("a/").await.map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::StaleGuard);
        }
        let policies = fake.store.lock().policies();
        let prefixes: Vec<_> = policies.iter().map(|policy| &policy.prefix[..]).collect();
        assert_eq!(prefixes, [b"a/"]);
    }

    #[tokio::test]
    async fn a_lost_answer_is_found_out_in_a_session_and_reported_without_one() {
        let (fake, client) = Fake::start().await;
        let session = client
            .sessions()
            .open(Duration::from_secs(30))
            .await
            .unwrap();
        let exact = session.client();
        fake.lose_answer();
        exact.fence_policies().set("a/", "one").await.unwrap();
        fake.lose_answer();
        // Executed a second time it would find nothing.
        exact.fence_policies().remove("a/").await.unwrap();
        assert_eq!(fake.planned(), 0, "both answers were lost");
        let sent = fake.store.lock().calls("set_policy");

        fake.lose_answer();
        let error = client.fence_policies().set("b/", "two").await.unwrap_err();
        assert!(error.outcome_unknown() && !error.is_retryable(), "{error}");
        let store = fake.store.lock();
        assert_eq!(store.calls("set_policy"), sent + 1, "it was sent once");
        let policies = store.policies();
        assert!(policies.iter().any(|policy| policy.prefix == "b/"));
    }
}
