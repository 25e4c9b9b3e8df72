//! Fence policies: prefixes below which the server itself checks tokens.

use tenure_proto::v1::{
    ListPoliciesRequest, Policy, RemovePolicyRequest, SetPolicyRequest, fence_client::FenceClient,
};

use crate::{
    call::{Call, ask},
    channel::Lane,
    client::Client,
    error::{Error, Operation},
    range::IntoBytes,
    response::{FencePolicies, Header},
};

/// A short call of the fence service.
fn call(operation: Operation) -> Call {
    Call::tenure(operation, Lane::Calls)
}

impl Client {
    /// Lets only the holder of a lock, or the leader of an election, write keys that begin with
    /// `prefix`: from now on, writes below it are refused unless they carry a live guard of `lock`.
    /// A policy for the same prefix is replaced. A prefix has 1 to 4096 bytes, and so has a name.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// client.set_fence_policy("accounts/7/", "jobs/7").await?;
    /// for policy in client.list_fence_policies().await?.policies() {
    ///     println!("{:?} is written by the holder of {:?}", policy.prefix(), policy.lock());
    /// }
    /// // Unguarded writes are accepted there again.
    /// client.remove_fence_policy("accounts/7/").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a prefix or a name that is empty
    /// or too long, [`LimitReached`](crate::ErrorKind::LimitReached) when there are as many
    /// policies as the server keeps, and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the policy is set.
    pub async fn set_fence_policy(
        &self,
        prefix: impl IntoBytes,
        lock: impl IntoBytes,
    ) -> Result<Header, Error> {
        let request = SetPolicyRequest {
            policy: Some(Policy {
                prefix: prefix.into_bytes(),
                lock: lock.into_bytes(),
            }),
            options: None,
        };
        let call = call(Operation::Write);
        let set = ask!(self, call, FenceClient.set_policy(request)).await?;
        Ok(Header::of_tenure(set.header).unwrap_or_default())
    }

    /// Accepts unguarded writes below a prefix again, except where a policy of another prefix
    /// refuses them.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no policy for exactly this prefix,
    /// and whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the policy is removed.
    pub async fn remove_fence_policy(&self, prefix: impl IntoBytes) -> Result<Header, Error> {
        let request = RemovePolicyRequest {
            prefix: prefix.into_bytes(),
            options: None,
        };
        let call = call(Operation::Write);
        let removed = ask!(self, call, FenceClient.remove_policy(request)).await?;
        Ok(Header::of_tenure(removed.header).unwrap_or_default())
    }

    /// All fence policies, by prefix.
    ///
    /// # Errors
    /// Whatever any call can meet.
    ///
    /// # Cancel safety
    /// Reads change nothing; drop the future at will.
    pub async fn list_fence_policies(&self) -> Result<FencePolicies, Error> {
        let request = ListPoliciesRequest {};
        let call = call(Operation::Read);
        let list = ask!(self, call, FenceClient.list_policies(request)).await?;
        Ok(FencePolicies::of(list))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{ErrorKind, fake::Fake};

    #[tokio::test]
    async fn a_policy_stands_until_it_is_removed() {
        let (_fake, client) = Fake::start().await;
        client.set_fence_policy("a/", "one").await.unwrap();
        client.set_fence_policy("a/", "two").await.unwrap();
        let listed = client.list_fence_policies().await.unwrap();
        let listed = listed.policies();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (&listed[0].prefix()[..], &listed[0].lock()[..]),
            (&b"a/"[..], &b"two"[..])
        );
        client.remove_fence_policy("a/").await.unwrap();
        let error = client.remove_fence_policy("a/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.outcome_unknown());
    }

    #[tokio::test]
    async fn who_is_not_the_holder_any_more_changes_no_policy() {
        let (fake, client) = Fake::start().await;
        let guard = client.lock("operators").await.unwrap();
        let holder = guard.guarded();
        holder.set_fence_policy("a/", "one").await.unwrap();
        guard.release().await.unwrap();
        for refused in [
            holder.set_fence_policy("b/", "two").await.map(drop),
            holder.remove_fence_policy("a/").await.map(drop),
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
        let session = client.session(Duration::from_secs(30)).await.unwrap();
        let exact = session.client();
        fake.lose_answer();
        exact.set_fence_policy("a/", "one").await.unwrap();
        fake.lose_answer();
        // Executed a second time it would find nothing.
        exact.remove_fence_policy("a/").await.unwrap();
        assert_eq!(fake.planned(), 0, "both answers were lost");
        let sent = fake.store.lock().calls("set_policy");

        fake.lose_answer();
        let error = client.set_fence_policy("b/", "two").await.unwrap_err();
        assert!(error.outcome_unknown() && !error.is_retryable(), "{error}");
        let store = fake.store.lock();
        assert_eq!(store.calls("set_policy"), sent + 1, "it was sent once");
        let policies = store.policies();
        assert!(policies.iter().any(|policy| policy.prefix == "b/"));
    }
}
