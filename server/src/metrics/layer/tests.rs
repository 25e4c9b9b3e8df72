//! Calls through the layer, and the text of a scrape afterwards.

use std::{collections::VecDeque, convert::Infallible, future, io};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use tokio::time::timeout;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::{config::MetricsLevel, metrics::Metrics};

/// Time until an answer beyond which a warning is logged.
const EXPECTED: Duration = Duration::from_millis(300);

/// A body made of frames that are ready at once.
#[derive(Debug, Default)]
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn message(payload: &'static [u8]) -> Frame<Bytes> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    Frame::data(Bytes::from([&[0][..], &length, payload].concat()))
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(STATUS, HeaderValue::from_static(status));
    Frame::trailers(headers)
}

async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    while future::poll_fn(|context| Pin::new(&mut body).poll_frame(context))
        .await
        .is_some()
    {}
}

fn request(path: &str, kind: &str) -> Request<Frames> {
    let body = Frames([message(b"abc")].into());
    Request::post(path)
        .header(CONTENT_TYPE, kind)
        .body(body)
        .unwrap()
}

/// Sends one call to a server that reads the request and answers with `frames`.
async fn answer(
    metrics: &Metrics,
    request: Request<Frames>,
    frames: Vec<Frame<Bytes>>,
) -> Response<CountingBody<Frames>> {
    let frames = Arc::new(parking_lot::Mutex::new(Some(frames)));
    let server = service_fn(move |request: Request<CountingBody<Frames>>| {
        let frames = frames.lock().take().unwrap_or_default();
        async move {
            drain(request.into_body()).await;
            Ok::<_, Infallible>(Response::new(Frames(frames.into())))
        }
    });
    metrics
        .grpc_layer(EXPECTED)
        .layer(server)
        .oneshot(request)
        .await
        .unwrap()
}

fn assert_says(metrics: &Metrics, line: &str) {
    let text = String::from_utf8(metrics.render()).unwrap();
    assert!(text.lines().any(|found| found == line), "{line}");
}

const PUT: &str = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;

#[tokio::test]
async fn a_call_is_counted_from_its_beginning_to_its_trailers() {
    let metrics = Metrics::new(MetricsLevel::Extensive);
    let request = request("/etcdserverpb.KV/Put", "application/grpc");
    let response = answer(&metrics, request, vec![message(b"hello"), trailers("0")]).await;
    assert_says(&metrics, &format!("grpc_server_started_total{{{PUT} 1"));
    assert_says(
        &metrics,
        &format!(r#"grpc_server_handled_total{{grpc_code="OK",{PUT} 0"#),
    );
    drain(response.into_body()).await;
    assert_says(
        &metrics,
        &format!(r#"grpc_server_handled_total{{grpc_code="OK",{PUT} 1"#),
    );
    assert_says(
        &metrics,
        &format!("grpc_server_msg_received_total{{{PUT} 1"),
    );
    assert_says(&metrics, &format!("grpc_server_msg_sent_total{{{PUT} 1"));
    assert_says(
        &metrics,
        &format!("grpc_server_handling_seconds_count{{{PUT} 1"),
    );
    assert_says(&metrics, "etcd_network_client_grpc_received_bytes_total 3");
    assert_says(&metrics, "etcd_network_client_grpc_sent_bytes_total 5");
}

#[tokio::test]
async fn a_failure_is_counted_under_its_name() {
    let metrics = Metrics::new(MetricsLevel::Basic);
    let request = request("/etcdserverpb.KV/Put", "application/grpc+proto");
    drain(
        answer(&metrics, request, vec![trailers("14")])
            .await
            .into_body(),
    )
    .await;
    let line = format!(r#"grpc_server_handled_total{{grpc_code="Unavailable",{PUT} 1"#);
    assert_says(&metrics, &line);
}

#[tokio::test]
async fn a_call_whose_client_leaves_is_counted_as_cancelled() {
    let metrics = Metrics::new(MetricsLevel::Basic);
    let request = request("/etcdserverpb.KV/Put", "application/grpc");
    _ = answer(&metrics, request, vec![message(b"hello"), trailers("0")]).await;
    assert_says(
        &metrics,
        &format!(r#"grpc_server_handled_total{{grpc_code="Canceled",{PUT} 1"#),
    );
}

#[tokio::test]
async fn unknown_methods_share_one_row_and_pages_have_none() {
    let metrics = Metrics::new(MetricsLevel::Basic);
    for path in ["/x.Y/Z", "/x.Y/W"] {
        let request = request(path, "application/grpc");
        drain(
            answer(&metrics, request, vec![trailers("12")])
                .await
                .into_body(),
        )
        .await;
    }
    drain(
        answer(&metrics, request("/health", "text/plain"), vec![])
            .await
            .into_body(),
    )
    .await;
    let labels = r#"grpc_method="unknown",grpc_service="unknown",grpc_type="unary"}"#;
    assert_says(&metrics, &format!("grpc_server_started_total{{{labels} 2"));
}

#[tokio::test]
async fn an_outcome_among_the_headers_is_counted() {
    let metrics = Metrics::new(MetricsLevel::Basic);
    let server = service_fn(|_: Request<CountingBody<Frames>>| async {
        let response = Response::builder()
            .header(STATUS, "8")
            .body(Frames::default());
        Ok::<_, Infallible>(response.unwrap())
    });
    let request = request("/etcdserverpb.KV/Put", "application/grpc");
    let response = metrics
        .grpc_layer(EXPECTED)
        .layer(server)
        .oneshot(request)
        .await
        .unwrap();
    drain(response.into_body()).await;
    let line = format!(r#"grpc_server_handled_total{{grpc_code="ResourceExhausted",{PUT} 1"#);
    assert_says(&metrics, &line);
}

/// Where log lines go in these tests.
#[derive(Clone, Default)]
struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Log lines of a call to `path` that is answered after `wait`, or abandoned after `patience`.
async fn logged(path: &str, wait: Duration, patience: Duration) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logger = tracing::subscriber::set_default(subscriber);
    let server = service_fn(move |_: Request<CountingBody<Frames>>| async move {
        timeout(wait, future::pending::<()>()).await.unwrap_err();
        Ok::<_, Infallible>(Response::new(Frames::default()))
    });
    let metrics = Metrics::new(MetricsLevel::Basic);
    let call = metrics
        .grpc_layer(EXPECTED)
        .layer(server)
        .oneshot(request(path, "application/grpc"));
    let answered = timeout(patience, call).await.is_ok();
    assert_eq!(answered, wait < patience);
    let bytes = lines.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_unary_call_that_takes_long_is_logged_without_its_content() {
    let path = "/etcdserverpb.KV/Put";
    let text = logged(path, EXPECTED + Duration::from_millis(1), MINUTE).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("WARN") && text.contains("request stats"),
        "{text}"
    );
    assert!(text.contains(path) && text.contains("301ms"), "{text}");
    assert!(!text.contains("abc"), "{text}");
    assert_eq!(logged(path, EXPECTED, MINUTE).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_that_its_client_gives_up_on_is_logged() {
    let text = logged("/etcdserverpb.KV/Put", MINUTE, MINUTE / 2).await;
    assert!(
        text.contains("request stats") && text.contains("30s"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn streams_and_calls_that_wait_their_turn_may_take_as_long_as_they_like() {
    for path in [
        "/etcdserverpb.Watch/Watch",
        "/v3lockpb.Lock/Lock",
        "/v3electionpb.Election/Campaign",
    ] {
        assert_eq!(logged(path, MINUTE / 2, MINUTE).await, "", "{path}");
    }
}
