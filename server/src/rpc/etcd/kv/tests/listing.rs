//! Large answers, and other calls while they are read or not taken.

use std::pin::pin;

use http_body::Body;
use prost::Message;
use tenure_proto::metadata::{OUTCOME_METADATA, REASON_METADATA};

use super::*;
use crate::{
    rpc::answer::large::{Answer, UNREAD_MAX},
    share::ANSWERS_BYTES_MAX,
};

/// Streams of one client that reads none of them; more than there are places for reads.
const UNREAD_STREAMS: usize = 40;
/// Longest wait of a test for an expected response.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts `keys` keys of a kibibyte each.
fn fill(node: &FakeNode, keys: usize) {
    for number in 0..keys {
        node.apply(&Command::Put(tenure_statemachine::Put {
            key: format!("key-{number:06}").into(),
            value: vec![b'x'; 1024].into(),
            ..Default::default()
        }));
    }
}

async fn list(service: &KvService, request: RangeRequest) -> Response<RangeResponse> {
    let listed = Kv::range(service, Request::new(request));
    let listed = tokio::time::timeout(PATIENCE, listed).await;
    listed.expect("in time").expect("an answer")
}

/// Puts a value that makes the response to the next such put large.
fn large_put(want_previous: bool) -> PutRequest {
    PutRequest {
        key: "large".into(),
        value: vec![b'x'; 100_000].into(),
        prev_kv: want_previous,
        ..PutRequest::default()
    }
}

/// A range of ten keys.
fn short() -> RangeRequest {
    RangeRequest {
        key: "key-00000".into(),
        range_end: "key-00001".into(),
        ..RangeRequest::default()
    }
}

/// All bytes of an answer's body.
async fn bytes_of(answer: Answer) -> Vec<u8> {
    let mut body = pin!(answer.into_body());
    let mut bytes = Vec::new();
    loop {
        let frame = poll_fn(|context| body.as_mut().poll_frame(context)).await;
        let frame = frame.expect("trailers come first").expect("no failure");
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(end) => {
                assert_eq!(end.trailers_ref().expect("trailers")["grpc-status"], "0");
                return bytes;
            }
        }
    }
}

#[tokio::test]
async fn a_large_answer_has_the_bytes_of_the_message_that_it_stands_for() {
    let (node, service) = service();
    fill(&node, 300);
    for request in [
        all(),
        RangeRequest {
            limit: 200,
            ..all()
        },
        RangeRequest {
            sort_order: 2,
            ..all()
        },
        RangeRequest {
            revision: 250,
            ..all()
        },
    ] {
        let mut response = list(&service, request.clone()).await;
        let answer = response.extensions_mut().remove::<Answer>();
        let bytes = bytes_of(answer.expect("a large answer")).await;
        let (prefix, message) = bytes.split_at(5);
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        assert_eq!(prefix, [&[0], length.as_slice()].concat());
        let decoded = RangeResponse::decode(message).expect("a message");
        assert_eq!(decoded.encode_to_vec(), message, "{request:?}");
        let revision = decoded.header.map(|header| header.revision);
        assert_eq!(revision, Some(301));
        let count = if request.revision > 0 { 249 } else { 300 };
        assert_eq!(decoded.count, count);
        let kvs = if request.limit > 0 { 200 } else { count };
        assert_eq!((decoded.kvs.len() as i64, decoded.more), (kvs, kvs < count));
        let is_first_first = decoded.kvs[0].key.ends_with(b"000000");
        assert_eq!(is_first_first, request.sort_order == 0);
    }
}

#[tokio::test]
async fn lists_are_answered_while_a_client_leaves_many_streams_unread() {
    let (node, service) = service();
    fill(&node, 4000);
    let mut unread = Vec::new();
    for _ in 0..UNREAD_STREAMS {
        let stream = Kv::range_stream(&service, Request::new(all())).await;
        unread.push(stream.expect("a stream").into_inner());
    }
    // All of them have read as much as they may.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(list(&service, short()).await.into_inner().kvs.len(), 10);
    for stream in unread {
        let chunks: Vec<_> = stream.collect().await;
        let kvs = chunks
            .into_iter()
            .map(|chunk| chunk.expect("a chunk").range_response.expect("a response"))
            .map(|chunk| chunk.kvs.len())
            .sum::<usize>();
        assert_eq!(kvs, 4000);
    }
}

#[tokio::test]
async fn a_stream_goes_on_at_its_revision_when_its_client_reads_late() {
    let (node, service) = service();
    fill(&node, 4000);
    let stream = Kv::range_stream(&service, Request::new(all())).await;
    let mut stream = stream.expect("a stream").into_inner();
    let first = stream.next().await.expect("a chunk").expect("a chunk");
    assert_eq!(first.range_response.expect("a response").kvs.len(), 10);
    for number in 0..4000 {
        let key = KeyRange::single(format!("key-{number:06}").into());
        node.apply(&Command::DeleteRange(tenure_statemachine::DeleteRange {
            range: key,
            want_previous: false,
        }));
    }
    let mut kvs = 10;
    let mut last = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.expect("a chunk").range_response.expect("a response");
        kvs += chunk.kvs.len();
        last = Some(chunk);
    }
    let last = last.expect("a last chunk");
    assert_eq!((kvs, last.count, last.more), (4000, 4000, false));
    assert_eq!(last.header.map(|header| header.revision), Some(4001));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_ends_and_says_so() {
    let (node, service) = service();
    fill(&node, 4000);
    let stream = Kv::range_stream(&service, Request::new(all())).await;
    let mut stream = stream.expect("a stream").into_inner();
    // Time is the subject, and the clock is paused.
    tokio::time::sleep(UNREAD_MAX * 2).await;
    let mut end = None;
    while let Some(chunk) = stream.next().await {
        assert!(end.is_none(), "nothing follows the end");
        end = chunk.err();
    }
    let end = reason_of(&end.expect("a failure"));
    assert_eq!(end, Some(Reason::AnswerUnread));
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_that_is_not_read_ends_and_gives_its_memory_back() {
    let (node, service) = service();
    fill(&node, 4000);
    let mut response = list(&service, all()).await;
    let answer = response.extensions_mut().remove::<Answer>();
    let mut body = pin!(answer.expect("a large answer").into_body());
    let first = poll_fn(|context| body.as_mut().poll_frame(context)).await;
    assert!(first.expect("a frame").is_ok());
    // Time is the subject, and the clock is paused.
    tokio::time::sleep(UNREAD_MAX * 3).await;
    let memory = service.0.bulk_reads.memory();
    let all = memory.take(ANSWERS_BYTES_MAX);
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("nothing is held")
        .expect("as much as there is");
    let end = poll_fn(|context| body.as_mut().poll_frame(context)).await;
    let end = end.expect("an end").expect("trailers");
    let trailers = end.into_trailers().expect("trailers");
    assert_eq!(trailers[REASON_METADATA], "AnswerUnread");
}

#[tokio::test]
async fn a_list_for_which_there_is_no_memory_waits_for_it_and_short_ones_do_not() {
    let (node, service) = service();
    fill(&node, 2000);
    let memory = service.0.bulk_reads.memory();
    let held = memory.take(ANSWERS_BYTES_MAX).await.expect("all of it");
    let mut large = pin!(list(&service, all()));
    tokio::select! {
        _ = &mut large => panic!("there is no memory for it"),
        short = list(&service, short()) => assert_eq!(short.into_inner().kvs.len(), 10),
    }
    assert!(futures::poll!(&mut large).is_pending());
    drop(held);
    let answer = large.await.extensions_mut().remove::<Answer>();
    assert!(bytes_of(answer.expect("a large answer")).await.len() > 2_000_000);
}

#[tokio::test]
async fn large_records_are_charged_until_they_are_sent() {
    let (_node, service) = service();
    Kv::put(&service, Request::new(large_put(false)))
        .await
        .expect("a put");
    let read = || RangeRequest {
        key: "large".into(),
        ..RangeRequest::default()
    };
    let memory = service.0.bulk_reads.memory();
    let all_but_one = ANSWERS_BYTES_MAX - 110 * 1024;
    let held = memory.take(all_but_one).await.expect("free");
    let first = Kv::range(&service, Request::new(read())).await;
    let answer = first
        .expect("an answer")
        .extensions_mut()
        .remove::<Answer>();
    let refused = Kv::range(&service, Request::new(read())).await;
    let refused = reason_of(&refused.expect_err("no memory"));
    assert_eq!(refused, Some(Reason::TooManyRequests));
    assert!(bytes_of(answer.expect("a large answer")).await.len() > 100_000);
    let again = Kv::range(&service, Request::new(read())).await;
    assert!(again.is_ok(), "what was sent is given back");
    drop(held);
}

/// Puts while `free` bytes are left for answers.
async fn put_with(service: &KvService, free: usize, want_previous: bool) -> Option<Reason> {
    let memory = service.0.bulk_reads.memory();
    let _held = memory.take(ANSWERS_BYTES_MAX - free).await.expect("free");
    let put = Kv::put(service, Request::new(large_put(want_previous))).await;
    put.err().map(|status| {
        let unknown = status.metadata().contains_key(OUTCOME_METADATA);
        let reason = reason_of(&status).expect("a status of ours");
        assert_eq!(unknown, reason.outcome_unknown());
        reason
    })
}

#[tokio::test]
async fn a_write_that_reads_is_refused_without_memory_for_answers_and_others_are_not() {
    let (node, service) = service();
    assert_eq!(put_with(&service, 0, false).await, None);
    let proposed = node.proposals.lock().len();
    let refused = put_with(&service, 0, true).await;
    assert_eq!(refused, Some(Reason::TooManyRequests));
    assert_eq!(node.proposals.lock().len(), proposed, "it was not proposed");
    assert_eq!(put_with(&service, 110 * 1024, true).await, None);
}

#[tokio::test]
async fn the_answer_of_a_write_for_which_there_is_no_memory_is_dropped_and_the_outcome_unknown() {
    let (node, service) = service();
    assert_eq!(put_with(&service, 0, false).await, None);
    let dropped = put_with(&service, 70 * 1024, true).await;
    assert_eq!(dropped, Some(Reason::AnswerDropped));
    assert!(Reason::AnswerDropped.outcome_unknown());
    assert_eq!(node.proposals.lock().len(), 2, "it was done");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_slowly_ends_while_others_wait_for_memory_and_no_sooner() {
    let (node, service) = service();
    fill(&node, 4000);
    let answer = list(&service, all())
        .await
        .extensions_mut()
        .remove::<Answer>();
    let mut body = pin!(answer.expect("a large answer").into_body());
    let almost_unread = UNREAD_MAX - Duration::from_secs(1);
    for _ in 0..10 {
        // Time is the subject, and the clock is paused.
        tokio::time::sleep(almost_unread).await;
        let piece = poll_fn(|context| body.as_mut().poll_frame(context)).await;
        assert!(piece.expect("more").expect("a piece").is_data());
    }
    let memory = service.0.bulk_reads.memory();
    let mut waiting = pin!(memory.take(ANSWERS_BYTES_MAX));
    assert!(futures::poll!(&mut waiting).is_pending());
    // Time is the subject, and the clock is paused.
    tokio::time::sleep(almost_unread).await;
    let end = poll_fn(|context| body.as_mut().poll_frame(context)).await;
    let end = end.expect("an end").expect("trailers");
    let trailers = end.into_trailers().expect("no more pieces");
    assert_eq!(trailers[REASON_METADATA], "AnswerUnread");
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.expect("it is free").expect("all of it");
}
