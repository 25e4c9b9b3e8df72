//! Inspection and forced closing of sessions.

use tenure_proto::v1::{CloseSessionRequest, InspectSessionRequest, session_client::SessionClient};

use super::Sessions;
use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    error::{Error, ErrorKind, Operation},
    id::LeaseId,
    response::SessionState,
};

/// Closes a session. Idempotent, so it is repeated without a sequence number, which would have to
/// be that of another session.
///
/// # Errors
/// [`ErrorKind::SessionLost`] when there was no such session.
pub(super) async fn close(client: &Client, session: LeaseId) -> Result<(), Error> {
    let request = CloseSessionRequest {
        session: session.get(),
    };
    let call = Call::tenure(Operation::Write, Lane::Calls).repeatable();
    match rpc!(client, call, SessionClient.close(request)).await {
        // An earlier attempt closed it.
        Err(error) if error.kind() == ErrorKind::SessionLost && error.outcome_unknown() => Ok(()),
        outcome => outcome.map(drop),
    }
}

impl Sessions<'_> {
    /// The remaining time of a session, the number of outcomes it remembers, and its claims. A
    /// session is identified by its lease.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// let queue = client.locks().inspect("jobs/42").limit(1).await?;
    /// if let Some(holder) = queue.holders().first() {
    ///     let session = client.sessions().inspect(holder.lease()).await?;
    ///     println!("{:?} left, {} claims", session.remaining(), session.claims().len());
    ///     // It is stuck: end it together with its claims.
    ///     client.sessions().close(holder.lease()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionLost`](ErrorKind::SessionLost) when there is no such session, and the errors common
    /// to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub async fn inspect(self, session: LeaseId) -> Result<SessionState, Error> {
        let request = InspectSessionRequest {
            session: session.get(),
        };
        let call = Call::tenure(Operation::Read, Lane::Calls);
        let state = rpc!(self.client, call, SessionClient.inspect(request)).await?;
        Ok(SessionState::of(state))
    }

    /// Closes any session at once and deletes everything attached to its lease. Its locks are
    /// granted to the next claims while its owner may still act as holder until it is notified, so
    /// only writes that check tokens are safe. The client that opened a session closes it by
    /// [`Session::close`](crate::Session::close).
    ///
    /// # Errors
    /// [`SessionLost`](ErrorKind::SessionLost) when there is no such session, and the errors common
    /// to all calls.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the session ends.
    pub async fn close(self, session: LeaseId) -> Result<(), Error> {
        close(self.client, session).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fake::Fake;

    const TTL: Duration = Duration::from_millis(30_500);

    #[tokio::test]
    async fn a_session_is_looked_at_with_its_claims_and_ended_with_them() {
        let (fake, client) = Fake::start().await;
        let session = client.sessions().open(TTL).await.unwrap();
        let _guard = client.locks().acquire("a").session(&session).await.unwrap();
        let seen = client.sessions().inspect(session.lease()).await.unwrap();
        assert_eq!(seen.ttl(), TTL);
        assert_eq!(seen.claims().len(), 1);
        assert_eq!(seen.claims()[0].name(), "a");
        client.sessions().close(session.lease()).await.unwrap();
        assert_eq!(fake.store.lock().claims("a"), 0);
        let gone = client
            .sessions()
            .inspect(session.lease())
            .await
            .unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::SessionLost);
    }

    #[tokio::test]
    async fn that_another_session_is_not_there_says_nothing_about_ones_own() {
        let (_fake, client) = Fake::start().await;
        let session = client.sessions().open(TTL).await.unwrap();
        let exact = session.client();
        let error = exact
            .sessions()
            .close(LeaseId::new(4_711))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SessionLost);
        assert!(!error.outcome_unknown());
        assert!(session.is_held());
        exact.put("k", "v").await.unwrap();
    }

    #[tokio::test]
    async fn a_session_that_was_ended_by_a_call_whose_answer_is_lost_is_ended() {
        let (fake, client) = Fake::start().await;
        let session = client.sessions().open(TTL).await.unwrap();
        fake.lose_answer();
        client.sessions().close(session.lease()).await.unwrap();
        assert_eq!(fake.planned(), 0, "an answer was lost");
        assert!(fake.store.lock().leases().is_empty());
    }

    #[tokio::test]
    async fn who_is_not_the_holder_any_more_ends_no_session() {
        let (_fake, client) = Fake::start().await;
        let session = client.sessions().open(TTL).await.unwrap();
        let guard = client.locks().acquire("operators").await.unwrap();
        let holder = guard.guarded();
        guard.release().await.unwrap();
        let error = holder.sessions().close(session.lease()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleGuard);
        client.sessions().inspect(session.lease()).await.unwrap();
    }
}
