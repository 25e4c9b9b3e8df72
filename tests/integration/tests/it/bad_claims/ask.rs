//! tenure's own requests as they are asked by hand.
//!
//! One server is asked, so of its replies only that is blanked which changes by itself. A call that
//! is answered with a stream can only be refused: were it accepted, its answer would not end.

use tenure_proto::v1;

use crate::differential::ask::{Ask, Settle};

/// The call that takes the same request as `Acquire` and does not wait.
pub(super) const TRY_ACQUIRE: &str = "/tenure.v1.Lock/TryAcquire";

macro_rules! asks {
    ($($service:ident / $method:ident: $request:ident -> $reply:ident $(, $also:expr)?;)+) => {
        $(
            impl Ask for v1::$request {
                const PATH: &'static str =
                    concat!("/tenure.v1.", stringify!($service), "/", stringify!($method));
                type Reply = v1::$reply;
            }

            impl Settle for v1::$reply {
                fn settle(&mut self) -> Option<i64> {
                    $(
                        let also: fn(&mut Self) = $also;
                        also(self);
                    )?
                    self.header.map(|header| header.revision)
                }
            }
        )+
    };
}

asks! {
    Lock/Acquire: AcquireRequest -> AcquireResponse;
    Lock/Release: ReleaseRequest -> ReleaseResponse;
    Lock/Withdraw: WithdrawRequest -> WithdrawResponse;
    Lock/Transfer: TransferRequest -> TransferResponse;
    Lock/Inspect: InspectRequest -> InspectResponse, without_ages;
    Lock/ForceRelease: ForceReleaseRequest -> ForceReleaseResponse;
    Election/Campaign: CampaignRequest -> CampaignResponse;
    Election/Proclaim: ProclaimRequest -> ProclaimResponse;
    Election/Resign: ResignRequest -> ResignResponse;
    Election/HandOver: HandOverRequest -> HandOverResponse;
    Registry/Register: RegisterRequest -> RegisterResponse;
    Registry/SetReadiness: SetReadinessRequest -> SetReadinessResponse;
    Registry/Drain: DrainRequest -> DrainResponse;
    Registry/Deregister: DeregisterRequest -> DeregisterResponse;
    Session/Open: OpenSessionRequest -> OpenSessionResponse;
    Session/Close: CloseSessionRequest -> CloseSessionResponse;
    Fence/SetPolicy: SetPolicyRequest -> SetPolicyResponse;
    Fence/RemovePolicy: RemovePolicyRequest -> RemovePolicyResponse;
}

/// How long a claim holds or waits depends on when the server was asked.
fn without_ages(reply: &mut v1::InspectResponse) {
    for claim in reply.holders.iter_mut().chain(&mut reply.waiters) {
        claim.since_ms = 0;
    }
}
