//! Fan-out: many watchers of one prefix, few streams, one client that puts without a pause.
//!
//! An operation is one event at one watcher, and its latency runs from the sending of the put.
//! Every watcher must get every event, those after the measured time included.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tenure_proto::etcdserverpb::{
    PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, kv_client::KvClient,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{KeySpace, broken};
use crate::{
    cell::{Aim, Cell},
    connections::Connections,
    round::Tally,
    window::Window,
};

/// Watchers that share a stream.
const WATCHERS_PER_STREAM: usize = 10;
/// Keys below the prefix.
const KEYS: usize = 100;
/// Largest answer taken. A server may put all that a watcher missed into one.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What a put says about itself in its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// When it was sent, after the start of the round.
    sent: Duration,
    /// How many puts were sent before it.
    number: u64,
    /// Whether no put follows.
    last: bool,
}

impl Stamp {
    fn to_value(self, space: KeySpace, random: &mut SmallRng) -> Bytes {
        let mut value = BytesMut::with_capacity(space.value_bytes);
        value.put_u64(u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX));
        value.put_u64(self.number);
        value.put_u8(u8::from(self.last));
        let filler = space.value(random);
        value.put_slice(&filler[value.len()..]);
        value.freeze()
    }

    fn from_value(mut value: &[u8]) -> Option<Self> {
        let sent = Duration::from_nanos(value.try_get_u64().ok()?);
        let number = value.try_get_u64().ok()?;
        Some(Self {
            sent,
            number,
            last: value.try_get_u8().ok()? == 1,
        })
    }
}

/// One stream with its watchers.
struct Listener {
    watchers: usize,
    answers: Streaming<WatchResponse>,
    /// Kept, because a server may end a stream whose requests have ended.
    _requests: mpsc::Sender<WatchRequest>,
}

/// Watchers that wait for events.
pub(crate) struct FanOut {
    listeners: Vec<Listener>,
    putter: KvClient<Channel>,
    space: KeySpace,
    start: Instant,
}

impl FanOut {
    /// Makes the watchers of the cell.
    pub(crate) async fn open(
        cell: Cell,
        connections: &Connections,
        leader: usize,
        space: KeySpace,
    ) -> Result<Self, Status> {
        let putter = KvClient::new(connections.of_client(0, Aim::Leader, leader));
        let mut listeners = Vec::new();
        for stream in 0..cell.clients.div_ceil(WATCHERS_PER_STREAM) {
            let watchers = (cell.clients - stream * WATCHERS_PER_STREAM).min(WATCHERS_PER_STREAM);
            let channel = connections.of_client(stream, cell.aim, leader);
            listeners.push(Listener::open(channel, watchers).await?);
        }
        Ok(Self {
            listeners,
            putter,
            space,
            start: Instant::now(),
        })
    }

    /// Puts until the window closes, and waits until every event has arrived.
    pub(crate) async fn run(mut self, window: Window) -> Tally {
        let mut listening = JoinSet::new();
        for listener in std::mem::take(&mut self.listeners) {
            listening.spawn(listener.listen(self.start, window.clone()));
        }
        let mut tally = Tally::default();
        if let Err(status) = self.put_all(&window).await {
            tally.failures.add(&status);
            // Without the last put the listeners would wait for ever; dropping the set ends them.
            return tally;
        }
        while let Some(joined) = listening.join_next().await {
            match joined {
                Ok(one) => tally.merge(one),
                Err(error) => tally.failures.add(&broken(error.to_string())),
            }
        }
        tally
    }

    async fn put_all(&mut self, window: &Window) -> Result<(), Status> {
        let mut random = SmallRng::seed_from_u64(0);
        for number in 0.. {
            let now = Instant::now();
            let last = !window.is_open(now);
            let stamp = Stamp {
                sent: now - self.start,
                number,
                last,
            };
            let key = KeySpace::key("watch/", random.random_range(0..KEYS));
            let value = stamp.to_value(self.space, &mut random);
            self.putter
                .put(PutRequest {
                    key,
                    value,
                    ..PutRequest::default()
                })
                .await?;
            if last {
                break;
            }
        }
        Ok(())
    }
}

impl Listener {
    async fn open(channel: Channel, watchers: usize) -> Result<Self, Status> {
        let mut service = WatchClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let (requests, waiting) = mpsc::channel(WATCHERS_PER_STREAM);
        for _ in 0..watchers {
            let create = WatchCreateRequest {
                key: "watch/".into(),
                range_end: "watch0".into(),
                ..WatchCreateRequest::default()
            };
            let request = WatchRequest {
                request_union: Some(RequestUnion::CreateRequest(create)),
            };
            requests
                .try_send(request)
                .map_err(|_| broken("a new channel has no room"))?;
        }
        let mut answers = service
            .watch(ReceiverStream::new(waiting))
            .await?
            .into_inner();
        for _ in 0..watchers {
            match answers.message().await? {
                Some(answer) if answer.created && !answer.canceled => {}
                other => return Err(broken(format!("a watch was answered with {other:?}"))),
            }
        }
        Ok(Self {
            watchers,
            answers,
            _requests: requests,
        })
    }

    async fn listen(mut self, start: Instant, window: Window) -> Tally {
        let mut tally = Tally::default();
        if let Err(status) = self.hear_all(start, &window, &mut tally).await {
            tally.failures.add(&status);
        }
        tally
    }

    async fn hear_all(
        &mut self,
        start: Instant,
        window: &Window,
        tally: &mut Tally,
    ) -> Result<(), Status> {
        let (mut heard, mut expected, mut ended) = (0_u64, 0_u64, 0);
        while ended < self.watchers {
            let Some(answer) = self.answers.message().await? else {
                return Err(broken("a watch stream ended"));
            };
            if answer.canceled {
                return Err(broken(format!(
                    "a watch was cancelled: {}",
                    answer.cancel_reason
                )));
            }
            let now = Instant::now();
            for event in &answer.events {
                let value = event.kv.as_ref().map_or(&[][..], |pair| &pair.value);
                let stamp = Stamp::from_value(value)
                    .ok_or_else(|| broken("an event does not hold what was put"))?;
                heard += 1;
                if window.counts(now) {
                    tally
                        .latencies
                        .add(now.saturating_duration_since(start + stamp.sent));
                }
                if stamp.last {
                    ended += 1;
                    expected += stamp.number + 1;
                }
            }
        }
        if heard == expected {
            return Ok(());
        }
        Err(broken(format!(
            "{heard} events arrived on a stream instead of {expected}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_way_through_a_value() {
        let space = KeySpace {
            keys: 1,
            value_bytes: 64,
        };
        let mut random = SmallRng::seed_from_u64(1);
        let stamp = Stamp {
            sent: Duration::from_nanos(77),
            number: 5,
            last: true,
        };
        let value = stamp.to_value(space, &mut random);
        assert_eq!(value.len(), 64);
        assert_eq!(Stamp::from_value(&value), Some(stamp));
        assert_eq!(Stamp::from_value(b"short"), None);
    }
}
