//! Locks and elections of the fake server.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream, stream::BoxStream};
use tenure_proto::v1::{
    AcquireRequest, AcquireResponse, CampaignRequest, CampaignResponse, CheckTokenRequest,
    CheckTokenResponse, Claim, Elected, ForceReleaseRequest, ForceReleaseResponse, Granted,
    HandOverRequest, HandOverResponse, InspectRequest, InspectResponse, ListRequest, ListResponse,
    ObserveRequest, ObserveResponse, ProclaimRequest, ProclaimResponse, Queued, ReleaseRequest,
    ReleaseResponse, ResignRequest, ResignResponse, TransferRequest, TransferResponse,
    TryAcquireResponse, Waiting, WatchTokensRequest, WatchTokensResponse, WithdrawRequest,
    WithdrawResponse, acquire_response, campaign_response, election_server::Election,
    lock_server::Lock,
};
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Request, Response, Status};

use super::{Fake, Store, header, refusal, request_id};

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the fake does not do this"))
}

impl Fake {
    /// Executes an acquisition once; the keys of its claims.
    fn execute(
        &self,
        id: Option<(i64, u64)>,
        names: &[Bytes],
        lease: i64,
        value: &Bytes,
        principal: &str,
    ) -> Result<Vec<Bytes>, Status> {
        let faults = *self.faults.borrow();
        self.change(|store| {
            store.count("acquire");
            if let Some(known) = id.and_then(|id| store.requests.get(&id)) {
                if faults.forgetful {
                    return Err(refusal("RequestForgotten", Code::FailedPrecondition));
                }
                return Ok(known.clone());
            }
            if !store.leases.contains_key(&lease) {
                return Err(Status::not_found("etcdserver: requested lease not found"));
            }
            let mut claimed = names.iter().flat_map(|name| store.queue(name));
            if claimed.any(|key| store.kvs[&key].lease == lease) {
                return Err(refusal("AlreadyClaimed", Code::FailedPrecondition));
            }
            let keys = store.claim(names, lease, value, principal);
            if let Some(id) = id {
                store.requests.insert(id, keys.clone());
            }
            Ok(keys)
        })
    }

    /// Sends where the claims of a lease stand, until they hold or are gone.
    fn follow(self: &Arc<Self>, keys: Vec<Bytes>, lease: i64) -> Answers<Vec<Claim>> {
        let fake = Arc::clone(self);
        let changes = WatchStream::new(self.changed.subscribe());
        let states = changes.map(move |_| {
            let store = fake.store.lock();
            let claims: Option<Vec<Claim>> = keys.iter().map(|key| store.state(key)).collect();
            claims.ok_or_else(|| {
                let lives = store.leases.contains_key(&lease);
                let reason = if lives { "ClaimEnded" } else { "LeaseEnded" };
                refusal(reason, Code::FailedPrecondition)
            })
        });
        // The first word, and then only the last.
        let mut first = true;
        let words = states.filter(move |state| {
            let wanted = std::mem::take(&mut first) || is_last(state);
            future::ready(wanted)
        });
        let mut over = false;
        until_broken(Arc::clone(self), words)
            .take_while(move |word| {
                let done = std::mem::replace(&mut over, is_last(word));
                future::ready(!done)
            })
            .boxed()
    }

    /// If that is the fault, executes an acquisition only when it is told to, and never answers.
    async fn stall(&self, request: &Request<AcquireRequest>) {
        let mut stalled = false;
        self.faults.send_if_modified(|faults| {
            stalled = std::mem::take(&mut faults.stall);
            false
        });
        if !stalled {
            return;
        }
        let fake = shared(self);
        let (id, asked) = (request_id(request.metadata()), request.get_ref().clone());
        tokio::spawn(async move {
            let mut faults = fake.faults.subscribe();
            drop(
                faults
                    .wait_for(|faults| faults.late)
                    .await
                    .expect("the server lives"),
            );
            // What it comes to is seen in the store.
            drop(fake.execute(
                id,
                &asked.names,
                asked.lease,
                &asked.value,
                &asked.principal,
            ));
            fake.change(|store| store.count("late"));
        });
        self.change(|store| store.count("stalled"));
        future::pending::<()>().await;
    }

    /// Refuses an acquisition once, if that is the fault.
    fn permit(&self) -> Result<(), Status> {
        let mut denied = false;
        self.faults.send_if_modified(|faults| {
            denied = std::mem::take(&mut faults.deny);
            false
        });
        if denied {
            return Err(Status::permission_denied("etcdserver: permission denied"));
        }
        Ok(())
    }

    /// Whether the word about an acquisition is to be lost.
    fn loses_word(&self) -> bool {
        let mut lost = false;
        self.faults.send_if_modified(|faults| {
            lost = std::mem::take(&mut faults.lose_word);
            faults.deny |= lost;
            false
        });
        lost
    }

    /// Loses a release or refuses it once, if that is the fault.
    fn permit_release(&self) -> Result<(), Status> {
        let mut before = *self.faults.borrow();
        self.faults.send_if_modified(|faults| {
            before = *faults;
            faults.deny_release = std::mem::take(&mut faults.lose_release);
            false
        });
        if before.lose_release {
            return Err(Status::unavailable("the connection breaks"));
        }
        if before.deny_release {
            return Err(Status::permission_denied("etcdserver: permission denied"));
        }
        Ok(())
    }

    fn release(&self, name: &[u8], token: i64) -> Result<(), Status> {
        self.permit_release()?;
        let released = self.change(|store| {
            store.count("release");
            let keys = store.queue(name);
            let claims = keys.iter().filter_map(|key| store.state(key));
            let held = claims
                .into_iter()
                .find(|claim| claim.held && claim.token == token);
            held.is_some_and(|claim| store.delete(&claim.key))
        });
        if released {
            return Ok(());
        }
        Err(refusal("NotHolder", Code::FailedPrecondition))
    }
}

/// Ends the claim that holds a name under a token, in favour of the one that another lease has on
/// it, or gets now.
fn move_to(store: &mut Store, name: &Bytes, token: i64, to: i64) -> Result<Claim, Status> {
    let mut moved = || {
        let claim = store.holder(std::str::from_utf8(name).ok()?)?;
        if claim.token != token {
            return None;
        }
        let mut queue = store.queue(name).into_iter();
        if !queue.any(|key| store.kvs[&key].lease == to) {
            // A transfer: the new claim comes before the old one goes.
            store.claim(std::slice::from_ref(name), to, &claim.value, "");
        }
        store.delete(&claim.key);
        store.holder(std::str::from_utf8(name).ok()?)
    };
    moved().ok_or_else(|| refusal("NotHolder", Code::FailedPrecondition))
}

/// Whether nothing comes after a word about claims.
fn is_last(word: &Result<Vec<Claim>, Status>) -> bool {
    let held = |claims: &Vec<Claim>| claims.iter().all(|claim| claim.held);
    word.as_ref().map_or(true, held)
}

/// The server as something that streams can keep.
fn shared(fake: &Fake) -> Arc<Fake> {
    fake.itself
        .upgrade()
        .expect("the server lives while it is asked")
}

fn granted(claims: Vec<Claim>) -> Granted {
    Granted {
        lease: claims.first().map_or(0, |claim| claim.lease),
        claims,
        ..Granted::default()
    }
}

#[tonic::async_trait]
impl Lock for Fake {
    type AcquireStream = Answers<AcquireResponse>;
    type WatchTokensStream = Answers<WatchTokensResponse>;

    async fn acquire(
        &self,
        request: Request<AcquireRequest>,
    ) -> Result<Response<Self::AcquireStream>, Status> {
        self.opens("acquire stream", &request);
        self.stall(&request).await;
        self.permit()?;
        let id = request_id(request.metadata());
        let AcquireRequest {
            names,
            lease,
            value,
            principal,
            ..
        } = request.into_inner();
        let keys = self.execute(id, &names, lease, &value, &principal)?;
        if self.loses_word() {
            let broken = Status::unavailable("tenure: the server stops");
            return Ok(Response::new(
                stream::once(future::ready(Err(broken))).boxed(),
            ));
        }
        let fake = shared(self);
        let words = fake.follow(keys, lease).map(move |claims| {
            let mut claims = claims?;
            let misname = fake.faults.borrow().misname;
            for claim in claims.iter_mut().filter(|_| misname) {
                claim.name = Bytes::from_static(b"another");
            }
            let held = claims.iter().all(|claim| claim.held);
            let holder = claims.first().and_then(|claim| {
                fake.store
                    .lock()
                    .holder(std::str::from_utf8(&claim.name).ok()?)
            });
            let state = if held {
                acquire_response::State::Granted(granted(claims))
            } else {
                let position = claims.iter().map(|claim| claim.position).max();
                acquire_response::State::Queued(Queued {
                    position: position.unwrap_or(0),
                    holder,
                    claims,
                    ..Queued::default()
                })
            };
            Ok(AcquireResponse {
                header: header(1),
                state: Some(state),
            })
        });
        Ok(Response::new(words.boxed()))
    }

    async fn try_acquire(
        &self,
        request: Request<AcquireRequest>,
    ) -> Result<Response<TryAcquireResponse>, Status> {
        self.stall(&request).await;
        let id = request_id(request.metadata());
        let asked = request.into_inner();
        let taken = {
            let store = self.store.lock();
            let known = id.is_some_and(|id| store.requests.contains_key(&id));
            !known && asked.names.iter().any(|name| !store.queue(name).is_empty())
        };
        if taken {
            return Ok(Response::new(TryAcquireResponse::default()));
        }
        let AcquireRequest { names, lease, .. } = &asked;
        let keys = self.execute(id, names, *lease, &asked.value, &asked.principal)?;
        let store = self.store.lock();
        let claims = keys.iter().filter_map(|key| store.state(key)).collect();
        Ok(Response::new(TryAcquireResponse {
            granted: Some(granted(claims)),
            ..TryAcquireResponse::default()
        }))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        self.check_guards(request.metadata())?;
        let ReleaseRequest { name, token, .. } = request.into_inner();
        Self::release(self, &name, token)?;
        Ok(Response::new(ReleaseResponse::default()))
    }

    async fn withdraw(
        &self,
        request: Request<WithdrawRequest>,
    ) -> Result<Response<WithdrawResponse>, Status> {
        self.check_guards(request.metadata())?;
        let WithdrawRequest { name, lease, .. } = request.into_inner();
        let withdrawn = self.change(|store| {
            store.count("withdraw");
            let mut keys = store.queue(&name).into_iter();
            let claim = keys.find(|key| store.kvs[key].lease == lease);
            claim.is_some_and(|key| store.delete(&key))
        });
        Ok(Response::new(WithdrawResponse {
            withdrawn,
            ..WithdrawResponse::default()
        }))
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferResponse>, Status> {
        let TransferRequest {
            name,
            token,
            to_lease,
            ..
        } = request.into_inner();
        let claim = self.change(|store| move_to(store, &name, token, to_lease))?;
        Ok(Response::new(TransferResponse {
            claim: Some(claim),
            ..TransferResponse::default()
        }))
    }

    async fn check_token(
        &self,
        request: Request<CheckTokenRequest>,
    ) -> Result<Response<CheckTokenResponse>, Status> {
        let CheckTokenRequest { name, token } = request.into_inner();
        let store = self.store.lock();
        let holder = std::str::from_utf8(&name)
            .ok()
            .and_then(|name| store.holder(name));
        Ok(Response::new(CheckTokenResponse {
            valid: holder.as_ref().is_some_and(|holder| holder.token == token),
            current_token: holder.as_ref().map_or(0, |holder| holder.token),
            holder,
            ..CheckTokenResponse::default()
        }))
    }

    async fn watch_tokens(
        &self,
        _: Request<WatchTokensRequest>,
    ) -> Result<Response<Self::WatchTokensStream>, Status> {
        absent()
    }

    async fn inspect(
        &self,
        request: Request<InspectRequest>,
    ) -> Result<Response<InspectResponse>, Status> {
        let name = request.into_inner().name;
        let store = self.store.lock();
        let keys = store.queue(&name);
        let claims: Vec<Claim> = keys.iter().filter_map(|key| store.state(key)).collect();
        let (holders, waiters) = claims.into_iter().partition(|claim| claim.held);
        Ok(Response::new(InspectResponse {
            holders,
            waiters,
            ..InspectResponse::default()
        }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        absent()
    }

    async fn force_release(
        &self,
        request: Request<ForceReleaseRequest>,
    ) -> Result<Response<ForceReleaseResponse>, Status> {
        let ForceReleaseRequest { name, .. } = request.into_inner();
        let first = self.store.lock().queue(&name).into_iter().next();
        let ended = first.is_some_and(|key| self.change(|store| store.delete(&key)));
        if !ended {
            return Err(refusal("NotHolder", Code::FailedPrecondition));
        }
        Ok(Response::new(ForceReleaseResponse::default()))
    }
}

#[tonic::async_trait]
impl Election for Fake {
    type CampaignStream = Answers<CampaignResponse>;
    type ObserveStream = Answers<ObserveResponse>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        self.opens("campaign stream", &request);
        let id = request_id(request.metadata());
        let asked = request.into_inner();
        let names = std::slice::from_ref(&asked.name);
        let keys = self.execute(id, names, asked.lease, &asked.value, &asked.principal)?;
        let fake = shared(self);
        let words = fake.follow(keys, asked.lease).map(move |claims| {
            let claim = claims?.into_iter().next();
            let name = claim
                .as_ref()
                .map(|claim| claim.name.clone())
                .unwrap_or_default();
            let name = std::str::from_utf8(&name).expect("tests use text");
            let leader = fake.store.lock().holder(name);
            let state = if claim.as_ref().is_some_and(|claim| claim.held) {
                campaign_response::State::Elected(Elected {
                    leader: claim,
                    ..Elected::default()
                })
            } else {
                campaign_response::State::Waiting(Waiting {
                    candidate: claim,
                    leader,
                    ..Waiting::default()
                })
            };
            Ok(CampaignResponse {
                header: header(1),
                state: Some(state),
            })
        });
        Ok(Response::new(words.boxed()))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest {
            name, epoch, value, ..
        } = request.into_inner();
        let proclaimed = self.change(|store: &mut Store| {
            let leader = store.holder(std::str::from_utf8(&name).ok()?)?;
            (leader.token == epoch).then(|| store.put(&leader.key, value, leader.lease))
        });
        let refused = || refusal("NotHolder", Code::FailedPrecondition);
        proclaimed.ok_or_else(refused)?;
        Ok(Response::new(ProclaimResponse::default()))
    }

    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        self.opens("observe stream", &request);
        let name = request.into_inner().name;
        let fake = shared(self);
        let changes = WatchStream::new(self.changed.subscribe());
        let states = changes.map({
            let fake = Arc::clone(&fake);
            move |_| {
                let store = fake.store.lock();
                Ok(ObserveResponse {
                    header: header(store.revision),
                    leader: std::str::from_utf8(&name)
                        .ok()
                        .and_then(|name| store.holder(name)),
                })
            }
        });
        Ok(Response::new(until_broken(fake, states)))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let ResignRequest { name, epoch, .. } = request.into_inner();
        Self::release(self, &name, epoch)?;
        Ok(Response::new(ResignResponse::default()))
    }

    async fn hand_over(
        &self,
        request: Request<HandOverRequest>,
    ) -> Result<Response<HandOverResponse>, Status> {
        self.write(request, |store, asked| {
            let HandOverRequest {
                name,
                epoch,
                to_lease,
                ..
            } = asked;
            let waits = |key: &Bytes| store.kvs[key].lease == to_lease;
            if !store.queue(&name).iter().any(waits) {
                return Err(refusal("CandidateUnknown", Code::NotFound));
            }
            let leader = move_to(store, &name, epoch, to_lease)?;
            Ok(HandOverResponse {
                leader: Some(leader),
                ..HandOverResponse::default()
            })
        })
    }
}

/// A stream that ends with an error when streams are broken.
pub(super) fn until_broken<T: Send + 'static>(
    fake: Arc<Fake>,
    words: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> Answers<T> {
    let brief = fake.faults.borrow().brief;
    let words_max = if brief { 1 } else { usize::MAX };
    let enough = async move {
        if !brief {
            future::pending::<()>().await;
        }
        Err(Status::unavailable("tenure: the server stops"))
    };
    let broken = async move {
        fake.broken().await;
        Err(Status::unavailable("tenure: the server stops"))
    };
    let mut over = false;
    let words = words.take(words_max).chain(stream::once(enough));
    stream::select(words, stream::once(broken))
        .take_while(move |word| {
            let done = std::mem::replace(&mut over, word.is_err());
            future::ready(!done)
        })
        .boxed()
}
