//! etcd's own calls for locks and elections, as far as no waiting is needed.

use tenure_proto::{v3electionpb, v3lockpb};

use super::{
    ask::{Ask, Settle, settle_header},
    pair::Pair,
    requests::grant,
};

const NOT_FOUND: &str = "etcdserver: requested lease not found";

macro_rules! asks {
    ($($wire:ident.$service:ident / $method:ident: $request:ident -> $reply:ident;)+) => {
        $(
            impl Ask for $wire::$request {
                const PATH: &'static str = concat!(
                    "/", stringify!($wire), ".", stringify!($service), "/", stringify!($method)
                );
                type Reply = $wire::$reply;
            }

            impl Settle for $wire::$reply {
                fn settle(&mut self) -> Option<i64> {
                    settle_header(&mut self.header)
                }
            }
        )+
    };
}

asks! {
    v3lockpb.Lock/Lock: LockRequest -> LockResponse;
    v3lockpb.Lock/Unlock: UnlockRequest -> UnlockResponse;
    v3electionpb.Election/Campaign: CampaignRequest -> CampaignResponse;
    v3electionpb.Election/Proclaim: ProclaimRequest -> ProclaimResponse;
    v3electionpb.Election/Leader: LeaderRequest -> LeaderResponse;
    v3electionpb.Election/Resign: ResignRequest -> ResignResponse;
}

fn lock(lease: i64) -> v3lockpb::LockRequest {
    v3lockpb::LockRequest {
        name: "lock".into(),
        lease,
    }
}

fn campaign(lease: i64) -> v3electionpb::CampaignRequest {
    v3electionpb::CampaignRequest {
        name: "mayor".into(),
        lease,
        value: "alice".into(),
    }
}

#[tokio::test]
async fn a_lease_that_does_not_exist_gets_no_lock_and_no_office_in_the_same_words() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.refused(campaign(77), NOT_FOUND).await;
    pair.refused(lock(77), NOT_FOUND).await;
    pair.ok(grant(1, 600)).await;
    pair.ok(campaign(1)).await;
    pair.ok(lock(1)).await;
    let leader = v3electionpb::LeaderRequest {
        name: "mayor".into(),
    };
    pair.ok(leader).await;
    let nobody = v3electionpb::LeaderRequest {
        name: "nobody".into(),
    };
    pair.refused(nobody, "election: no leader").await;
    let no_leader = "\"leader\" field must be provided";
    pair.refused(v3electionpb::ProclaimRequest::default(), no_leader)
        .await;
    pair.refused(v3electionpb::ResignRequest::default(), no_leader)
        .await;
    let unlock = v3lockpb::UnlockRequest {
        key: "lock/1".into(),
    };
    pair.ok(unlock).await;
}
