//! What a client says about itself: counters and spans.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use tonic::Status;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::fake::{Fake, Fault};

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of every span named `tenure.call`.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Fields>>>);

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == "tenure.call"
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut spans = self.0.lock();
        spans.push(Fields::new());
        let id = spans.len();
        attributes.record(&mut Into(&mut spans[id - 1]));
        span::Id::from_u64(id as u64)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        let index = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Into(&mut self.0.lock()[index]));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn every_call_has_a_span_that_says_how_it_went() {
    let recorder = Recorder::default();
    let _default = tracing::subscriber::set_default(recorder.clone());
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    let address = fake.nodes[0].wire.address();
    fake.nodes[0].plan([Fault::Answer(Status::unavailable("etcdserver: no leader"))]);
    client.get("k").await.unwrap();
    fake.nodes[0].plan([Fault::Answer(Status::not_found("etcdserver: lease"))]);
    client.put("k", "secret").await.unwrap_err();
    let spans = recorder.0.lock().clone();
    let expected = |method: &str, attempt: &str, outcome: &str| {
        Fields::from([
            ("method", method.to_owned()),
            ("attempt", attempt.to_owned()),
            ("endpoint", address.clone()),
            ("outcome", outcome.to_owned()),
        ])
    };
    let expected = [
        expected("Range", "2", "ok"),
        expected("Put", "1", "NotFound"),
    ];
    assert_eq!(spans, expected);
}

#[tokio::test]
async fn the_counters_say_what_happened() {
    let fake = Fake::of(1).await;
    let client = fake.client().await;
    let overloaded = Status::unavailable("etcdserver: no leader");
    fake.nodes[0].plan([Fault::Answer(overloaded)]);
    client.get("k").await.unwrap();
    fake.nodes[0].plan([Fault::CutAfter]);
    client.put("k", "v").await.unwrap_err();
    let brief = std::time::Duration::from_millis(200);
    fake.nodes[0].plan([Fault::Mute]);
    client.get("k").timeout(brief).await.unwrap_err();
    let metrics = client.clone().metrics();
    assert_eq!(metrics.requests, 3);
    assert_eq!(metrics.retries, 1);
    assert_eq!(metrics.unknown_reported, 1);
    assert_eq!(metrics.unknown_resolved, 0);
    assert_eq!(metrics.deadline_misses, 1);
    let text = metrics.to_string();
    assert!(text.contains("tenure_client_requests_total 3\n"), "{text}");
}
