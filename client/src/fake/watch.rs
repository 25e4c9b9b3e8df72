//! Watches of keys: one per stream.

use futures::{StreamExt, future, stream};
use tenure_proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
    watch_request::RequestUnion, watch_server::Watch,
};
use tenure_statemachine::{Event, EventKind, KeyRange, ReadError, Refusal, Revision};
use tonic::{Request, Response, Status, Streaming};

use super::{
    message::{event, header},
    node::{Answer, Answers, Service},
    store::Store,
};

/// Returns the changes since the last call, if there are any.
fn news(store: &Store, create: &WatchCreateRequest, next: &mut i64) -> Option<WatchResponse> {
    let latest = store.revision();
    if *next > latest {
        return None;
    }
    let range = KeyRange::from_wire(create.key.clone(), create.range_end.clone());
    let wanted = |event: &Event| {
        let quiet = create.filters().any(|filter| match filter {
            FilterType::Noput => event.kind == EventKind::Put,
            FilterType::Nodelete => event.kind == EventKind::Delete,
        });
        range.contains(&event.kv.key) && !quiet
    };
    let reader = store.reader();
    let found = match reader.history(Revision(*next), Revision(latest), usize::MAX, usize::MAX) {
        Ok(found) => found,
        Err(ReadError::Refused(Refusal::Compacted { floor })) => {
            *next = i64::MAX;
            return Some(WatchResponse {
                header: header(latest),
                canceled: true,
                compact_revision: floor.0,
                ..WatchResponse::default()
            });
        }
        Err(error) => panic!("{error}"),
    };
    *next = latest + 1;
    let events = found.into_iter().flat_map(|revision| revision.events);
    let events: Vec<_> = events.filter(wanted).map(event).collect();
    (!events.is_empty()).then(|| WatchResponse {
        header: header(latest),
        events,
        ..WatchResponse::default()
    })
}

#[tonic::async_trait]
impl Watch for Service {
    type WatchStream = Answers<WatchResponse>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Answer<Self::WatchStream> {
        self.open("watch", &request);
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let Some(RequestUnion::CreateRequest(create)) = first.and_then(|it| it.request_union)
        else {
            return Err(Status::invalid_argument("tenure: no watch is created"));
        };
        let latest = self.fake.store.lock().revision();
        let created = WatchResponse {
            header: header(latest),
            created: true,
            ..WatchResponse::default()
        };
        let mut next = match create.start_revision {
            0 => latest + 1,
            start => start,
        };
        let updates = self.follow(move |store| {
            // The stream of requests is kept: the client may close it to end the watch.
            let _open = &requests;
            news(store, &create, &mut next)
        });
        let updates = updates.filter_map(|update| future::ready(update.map(Ok)));
        let answers = stream::once(future::ready(Ok(created))).chain(updates);
        Ok(Response::new(self.breakable(answers)))
    }
}
