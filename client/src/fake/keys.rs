//! Keys, watches and leases of the fake server.

use bytes::Bytes;
use futures::{StreamExt, future, stream, stream::BoxStream};
use tenure_proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, Compare, DeleteRangeRequest, DeleteRangeResponse,
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RangeStreamResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest,
        TxnResponse, WatchRequest, WatchResponse,
        compare::{CompareResult, TargetUnion},
        kv_server::Kv,
        lease_server::Lease,
        request_op::Request as Op,
        response_op::Response as Answer,
        watch_request::RequestUnion,
        watch_server::Watch,
    },
    mvccpb::{Event, KeyValue, event::EventType},
};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Fake, Store, claims::until_broken, request_id};

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the fake does not do this"))
}

impl Store {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.revision,
            ..ResponseHeader::default()
        })
    }

    fn within(&self, key: &Bytes, end: &Bytes) -> Vec<KeyValue> {
        let inside = |other: &Bytes| match &end[..] {
            [] => other == key,
            [0] => other >= key,
            end => other >= key && other[..] < *end,
        };
        let found = self.kvs.values().filter(|kv| inside(&kv.key));
        found.cloned().collect()
    }

    fn range(&self, request: &RangeRequest) -> RangeResponse {
        let mut kvs = self.within(&request.key, &request.range_end);
        let count = i64::try_from(kvs.len()).expect("a short range");
        let limit = usize::try_from(request.limit).expect("no less than nothing");
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if request.count_only {
            kvs.clear();
        }
        RangeResponse {
            header: self.header(),
            kvs,
            more,
            count,
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.within(&compare.key, &compare.range_end);
        let none = KeyValue::default();
        let one = |kv: &KeyValue| {
            let order = match compare
                .target_union
                .as_ref()
                .expect("a compare has a target")
            {
                TargetUnion::Version(given) => kv.version.cmp(given),
                TargetUnion::CreateRevision(given) => kv.create_revision.cmp(given),
                TargetUnion::ModRevision(given) => kv.mod_revision.cmp(given),
                TargetUnion::Lease(given) => kv.lease.cmp(given),
                TargetUnion::Value(given) => kv.value.cmp(given),
            };
            match compare.result() {
                CompareResult::Equal => order.is_eq(),
                CompareResult::NotEqual => order.is_ne(),
                CompareResult::Greater => order.is_gt(),
                CompareResult::Less => order.is_lt(),
            }
        };
        if found.is_empty() {
            return one(&none);
        }
        found.iter().all(one)
    }

    /// Applies operations in the present revision.
    fn apply(&mut self, op: &RequestOp) -> Result<ResponseOp, Status> {
        let answer = match op.request.as_ref().expect("an operation is one") {
            Op::RequestRange(range) => Answer::ResponseRange(self.range(range)),
            Op::RequestPut(put) => {
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Err(Status::not_found("etcdserver: requested lease not found"));
                }
                self.put_now(&put.key, put.value.clone(), put.lease);
                Answer::ResponsePut(PutResponse {
                    header: self.header(),
                    prev_kv: None,
                })
            }
            Op::RequestDeleteRange(delete) => {
                let gone = self.within(&delete.key, &delete.range_end);
                for kv in &gone {
                    self.delete_now(&kv.key);
                }
                Answer::ResponseDeleteRange(DeleteRangeResponse {
                    header: self.header(),
                    deleted: i64::try_from(gone.len()).expect("a short range"),
                    prev_kvs: Vec::new(),
                })
            }
            Op::RequestTxn(_) => return Err(Status::unimplemented("no nested transactions")),
        };
        Ok(ResponseOp {
            response: Some(answer),
        })
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Status> {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded {
            &request.success
        } else {
            &request.failure
        };
        let read = |op: &RequestOp| matches!(op.request, Some(Op::RequestRange(_)));
        self.revision += i64::from(!ops.iter().all(read));
        let responses = ops
            .iter()
            .map(|op| self.apply(op))
            .collect::<Result<_, _>>()?;
        Ok(TxnResponse {
            header: self.header(),
            succeeded,
            responses,
        })
    }
}

#[tonic::async_trait]
impl Kv for Fake {
    type RangeStreamStream = Answers<RangeStreamResponse>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let answer = self.store.lock().range(request.get_ref());
        let mut ended = false;
        self.faults.send_if_modified(|faults| {
            ended = std::mem::take(&mut faults.end_leases);
            false
        });
        if ended {
            self.change(|store| {
                let leases: Vec<i64> = store.leases.keys().copied().collect();
                for lease in leases {
                    store.revoke(lease);
                }
            });
        }
        Ok(Response::new(answer))
    }

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        absent()
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.check_guards(request.metadata())?;
        let put = request.into_inner();
        self.change(|store| store.put(&put.key, put.value, put.lease));
        self.answer_may_be_lost()?;
        Ok(Response::new(PutResponse::default()))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.check_guards(request.metadata())?;
        let delete = request.into_inner();
        let deleted = self.change(|store| {
            let gone = store.within(&delete.key, &delete.range_end);
            for kv in &gone {
                store.delete(&kv.key);
            }
            gone.len()
        });
        Ok(Response::new(DeleteRangeResponse {
            deleted: i64::try_from(deleted).expect("a short range"),
            ..DeleteRangeResponse::default()
        }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.check_guards(request.metadata())?;
        let key = request.metadata().get("tenure-idempotency-key");
        let key = key.map(|key| key.to_str().expect("a key is text").to_owned());
        let id = request_id(request.metadata()).map(|(session, id)| format!("{session}.{id}"));
        let key = key.or(id);
        let answer = self.change(|store| {
            store.count("txn");
            if let Some(known) = key.as_ref().and_then(|key| store.outcomes.get(key)) {
                return Ok(known.clone());
            }
            let answer = store.txn(request.get_ref())?;
            if let Some(key) = key {
                store.outcomes.insert(key, answer.clone());
            }
            Ok::<_, Status>(answer)
        })?;
        self.answer_may_be_lost()?;
        Ok(Response::new(answer))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        absent()
    }
}

#[tonic::async_trait]
impl Watch for Fake {
    type WatchStream = Answers<WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.opens("watch stream", &request);
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let Some(RequestUnion::CreateRequest(create)) = first.and_then(|it| it.request_union)
        else {
            return Err(Status::invalid_argument("tenure: no watch is created"));
        };
        let fake = self
            .itself
            .upgrade()
            .expect("the server lives while it is asked");
        let created = WatchResponse {
            header: fake.store.lock().header(),
            created: true,
            ..WatchResponse::default()
        };
        let latest = fake.store.lock().revision + 1;
        let mut next = if create.start_revision > 0 {
            create.start_revision
        } else {
            latest
        };
        let changes = WatchStream::new(self.changed.subscribe());
        let updates = changes.filter_map({
            let fake = std::sync::Arc::clone(&fake);
            move |_| {
                // The stream of requests is kept: the client may close it to end the watch.
                let _open = &requests;
                let store = fake.store.lock();
                let inside = |event: &&Event| {
                    let kv = event.kv.as_ref().expect("an event has a key");
                    let quiet = create
                        .filters
                        .iter()
                        .any(|&filter| (filter == 0) == (event.r#type() == EventType::Put));
                    let key = &kv.key;
                    let within = match &create.range_end[..] {
                        [] => *key == create.key,
                        [0] => *key >= create.key,
                        end => *key >= create.key && key[..] < *end,
                    };
                    kv.mod_revision >= next && within && !quiet
                };
                let events: Vec<Event> = store.events.iter().filter(inside).cloned().collect();
                next = store.revision + 1;
                let update = WatchResponse {
                    header: store.header(),
                    events,
                    ..WatchResponse::default()
                };
                future::ready((!update.events.is_empty()).then_some(Ok(update)))
            }
        });
        let answers = stream::once(future::ready(Ok(created))).chain(updates);
        Ok(Response::new(until_broken(fake, answers)))
    }
}

#[tonic::async_trait]
impl Lease for Fake {
    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let ttl = request.into_inner().ttl;
        let ttl_ms = u64::try_from(ttl).expect("no less than nothing") * 1_000;
        let id = self.change(|store| store.grant(ttl_ms));
        Ok(Response::new(LeaseGrantResponse {
            id,
            ttl,
            ..LeaseGrantResponse::default()
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        if !self.change(|store| store.revoke(request.get_ref().id)) {
            return Err(Status::not_found("etcdserver: requested lease not found"));
        }
        Ok(Response::new(LeaseRevokeResponse::default()))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let fake = self
            .itself
            .upgrade()
            .expect("the server lives while it is asked");
        let renewals = request.into_inner().then(move |renewal| {
            let fake = std::sync::Arc::clone(&fake);
            async move {
                let id = renewal?.id;
                let mut faults = fake.faults.subscribe();
                let speaks = faults.wait_for(|faults| !faults.mute).await;
                drop(speaks.map_err(|_| Status::unavailable("tenure: the server stops"))?);
                let ttl_ms = fake.store.lock().leases.get(&id).copied().unwrap_or(0);
                let ttl = i64::try_from(ttl_ms.div_ceil(1_000)).expect("a short time");
                Ok(LeaseKeepAliveResponse {
                    id,
                    ttl,
                    ..LeaseKeepAliveResponse::default()
                })
            }
        });
        Ok(Response::new(renewals.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let known = self.store.lock().leases.contains_key(&request.get_ref().id);
        Ok(Response::new(LeaseTimeToLiveResponse {
            ttl: if known { 1 } else { -1 },
            ..LeaseTimeToLiveResponse::default()
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        absent()
    }
}
