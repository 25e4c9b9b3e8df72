//! Messages of streams that are sent as large answers.

use std::{future::poll_fn, pin::pin};

use futures::{poll, stream};
use tenure_proto::{
    metadata::{REASON_METADATA, RETRY_METADATA},
    v1::ObserveResponse,
};

use super::*;
use crate::{
    rpc::{Limits, claim::responses::Responses, fake::FakeNode},
    share::ANSWERS_BYTES_MAX,
};

/// A message of more than so many bytes.
fn message(bytes: usize) -> ObserveResponse {
    ObserveResponse {
        leader: Some(tenure_proto::v1::Claim {
            value: vec![7; bytes].into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn sent(messages: Vec<ObserveResponse>, memory: Memory) -> AnswerBody {
    let messages: Responses<_> = Box::pin(stream::iter(messages.into_iter().map(Ok)));
    let encoded = messages.map(|message| Ok(framed(&message?).expect("short enough")));
    // The stream is open as long as the caller reads.
    Answer::of_stream(encoded.chain(stream::pending()).boxed(), memory).into_body()
}

fn memory() -> Memory {
    let services = FakeNode::leading().services(Limits::standard());
    services.bulk_reads.memory()
}

#[tokio::test]
async fn messages_of_a_stream_are_sent_in_order_and_the_large_ones_in_pieces() {
    let lengths = [10, 1 << 20, 100, SMALL_BYTES_MAX, 0, 200_000];
    let messages: Vec<_> = lengths.into_iter().map(message).collect();
    let whole: Vec<_> = messages
        .iter()
        .map(|message| framed(message).expect("short enough"))
        .collect();
    let whole = whole.concat();
    let mut body = pin!(sent(messages, memory()));
    let mut read = Vec::new();
    while read.len() < whole.len() {
        let frame = poll_fn(|context| body.as_mut().poll_frame(context)).await;
        let data = frame.expect("more").expect("a frame").into_data();
        let data = data.expect("no end");
        assert!(data.len() <= PIECE_BYTES, "{} bytes", data.len());
        read.extend_from_slice(&data);
    }
    assert!(read == whole, "the bytes of the messages");
}

#[tokio::test(start_paused = true)]
async fn a_large_message_of_a_stream_is_charged_until_it_was_read_or_its_stream_ends() {
    let memory = memory();
    let mut body = pin!(sent(
        vec![message(1 << 20), message(1 << 20)],
        memory.clone()
    ));
    let mut next = async || poll_fn(|context| body.as_mut().poll_frame(context)).await;
    assert!(next().await.expect("a frame").is_ok());
    let mut all = pin!(memory.take(ANSWERS_BYTES_MAX));
    assert!(poll!(&mut all).is_pending(), "it is charged");
    // Time is the subject, and the clock is paused.
    sleep(UNREAD_MAX * 2).await;
    let all = all.await.expect("what was not read is given back");
    let end = next().await.expect("an end").expect("trailers");
    let trailers = end.into_trailers().expect("no more of it");
    assert_eq!(trailers[REASON_METADATA], "AnswerUnread");
    drop(all);
}

/// There may be as many streams as calls, and each may stay open.
#[tokio::test(start_paused = true)]
async fn a_message_of_sixty_kilobytes_is_charged_until_it_was_read_or_its_stream_ends() {
    let memory = memory();
    let mut body = pin!(sent(vec![message(60_000), message(60_000)], memory.clone()));
    let mut next = async || poll_fn(|context| body.as_mut().poll_frame(context)).await;
    let first = next().await.expect("a frame").expect("a message");
    let mut all = pin!(memory.take(ANSWERS_BYTES_MAX));
    assert!(poll!(&mut all).is_pending(), "it is charged");
    drop(first);
    assert!(next().await.expect("a frame").expect("a message").is_data());
    // Time is the subject, and the clock is paused.
    sleep(UNREAD_MAX * 2).await;
    all.await.expect("what was read is given back");
}

#[tokio::test]
async fn a_stream_ends_at_a_large_message_for_which_there_is_no_memory() {
    let memory = memory();
    let _all = memory.take(ANSWERS_BYTES_MAX).await.expect("free");
    let mut body = pin!(sent(vec![message(10), message(1 << 20)], memory));
    let mut next = async || poll_fn(|context| body.as_mut().poll_frame(context)).await;
    assert!(next().await.expect("a frame").expect("a message").is_data());
    let end = next().await.expect("an end").expect("trailers");
    let trailers = end.into_trailers().expect("no message");
    assert!(trailers.contains_key(RETRY_METADATA));
}
