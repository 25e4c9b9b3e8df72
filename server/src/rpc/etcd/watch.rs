//! The `Watch` service: each stream becomes a task of its own.

mod fragment;
pub(in crate::rpc) mod history;
mod stream;
mod watcher;

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tenure_proto::etcdserverpb::{self as wire, watch_server::Watch};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    rpc::{
        answer::outbox::{Responses, outbox},
        etcd::watch::stream::{StreamSettings, WatchStream},
        routes::DECODE_OVERHEAD_BYTES,
        services::Services,
    },
    tasks,
};

/// Responses that may wait for the transport; the backlog of a slow client stays in history, not
/// here.
const RESPONSES_WAITING_MAX: usize = 16;
/// The fraction of the progress interval that is random, so that streams that were opened together
/// do not report together; etcd's value.
const PROGRESS_JITTER: u32 = 10;

#[derive(Debug)]
pub(in crate::rpc) struct WatchService(pub(in crate::rpc) Arc<Services>);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Responses<wire::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<wire::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let call = self.0.admit(&request)?;
        let (sender, responses) = outbox(RESPONSES_WAITING_MAX);
        let settings = StreamSettings {
            progress_interval: jittered(self.0.limits.progress_interval),
            response_bytes: self.0.limits.request_bytes_max + DECODE_OVERHEAD_BYTES,
        };
        let caller = self.0.stream_caller(&call);
        let stream = WatchStream::new(
            &self.0.hub,
            Arc::clone(&self.0.replica),
            caller,
            Arc::clone(&self.0.history),
            settings,
            request.into_inner(),
            sender,
        );
        let end = self.0.stream_end(call);
        tasks::spawn("watch-stream", stream.run(end));
        Ok(Response::new(responses))
    }
}

fn jittered(interval: Duration) -> Duration {
    interval + (interval / PROGRESS_JITTER).mul_f64(rand::rng().random())
}
