//! Sessions.

use tenure_proto::v1::{
    CloseSessionRequest, CloseSessionResponse, InspectSessionRequest, InspectSessionResponse,
    OpenSessionRequest, OpenSessionResponse, SetWillRequest, SetWillResponse,
    session_server::Session,
};
use tenure_statemachine::{LeaseId, LeaseRevoke, Refusal, SessionState};
use tonic::{Request, Status};

use super::{
    message::{claim, refused, tenure_header},
    node::{Answer, Service, absent},
    store::Store,
};

fn state(store: &Store, session: i64) -> Result<SessionState, Status> {
    let session = LeaseId(session);
    let found = store.reader().session(session).expect("memory can be read");
    found.ok_or_else(|| refused(Refusal::SessionNotFound(session)))
}

#[tonic::async_trait]
impl Session for Service {
    async fn open(&self, request: Request<OpenSessionRequest>) -> Answer<OpenSessionResponse> {
        self.take("open", request, |store, _, request| {
            let (session, ttl) = store.open_session(request.ttl_ms)?;
            Ok(OpenSessionResponse {
                header: tenure_header(store.revision()),
                session: session.0,
                ttl_ms: ttl.0,
            })
        })
        .await
    }

    async fn close(&self, request: Request<CloseSessionRequest>) -> Answer<CloseSessionResponse> {
        self.take("close", request, |store, arrival, request| {
            // Checked first, as servers do.
            state(store, request.session)?;
            store.write(arrival, LeaseRevoke(LeaseId(request.session)))?;
            Ok(CloseSessionResponse {
                header: tenure_header(store.revision()),
            })
        })
        .await
    }

    async fn inspect(
        &self,
        request: Request<InspectSessionRequest>,
    ) -> Answer<InspectSessionResponse> {
        self.take("inspect_session", request, |store, _, request| {
            let state = state(store, request.session)?;
            let (reader, id) = (store.reader(), LeaseId(request.session));
            let lease = reader.lease(id).expect("memory can be read");
            let lease = lease.expect("a session has a lease");
            let claims = reader.claims_of_lease(id).expect("memory can be read");
            let now = store.now();
            Ok(InspectSessionResponse {
                header: tenure_header(store.revision()),
                ttl_ms: lease.ttl.0,
                remaining_ms: now.until(lease.deadline).0,
                remembered: state.remembered,
                forgotten: state.forgotten,
                claims: claims.into_iter().map(|it| claim(it, now)).collect(),
            })
        })
        .await
    }

    async fn set_will(&self, _: Request<SetWillRequest>) -> Answer<SetWillResponse> {
        absent()
    }
}
