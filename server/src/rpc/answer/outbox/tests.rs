//! Waiting responses, their shares, and streams that are overdue.

use futures::{FutureExt, StreamExt, poll};

use super::*;

#[tokio::test]
async fn what_waits_is_bounded_in_number_and_bytes_and_one_always_fits() {
    let (outbox, mut responses) = outbox(2);
    let large = WAITING_BYTES_MAX * 2;
    assert!(outbox.send(1, large, None).now_or_never().is_some());
    assert!(outbox.send(2, 1, None).now_or_never().is_none());
    assert_eq!(responses.next().await.unwrap().unwrap(), 1);
    for number in 3..5 {
        let sent = outbox.send(number, 1, None).now_or_never();
        assert!(sent.is_some());
    }
    assert!(outbox.send(5, 1, None).now_or_never().is_none());
    outbox.end(Status::unavailable("stopping"));
    let received: Vec<_> = responses.collect().await;
    assert_eq!(received.len(), 3);
    assert_eq!(*received[1].as_ref().unwrap(), 4);
    assert!(received[2].is_err(), "the status comes last");
}

#[tokio::test]
async fn a_client_that_goes_gives_everything_back_and_is_noticed() {
    let account = Account::new(1 << 20);
    let (outbox, responses) = outbox(2);
    let share = Arc::new(account.take(1 << 20).await);
    outbox.send(1, 1, Some(share)).await.unwrap();
    assert!(account.is_short());
    assert!(outbox.closed().now_or_never().is_none());
    drop(responses);
    outbox.closed().await;
    assert!(!account.is_short());
    assert!(outbox.send(2, 1, None).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_for_long_is_overdue_only_while_others_wait_for_a_share() {
    let account = Account::new(1 << 20);
    let (outbox, mut responses) = outbox(2);
    let share = Arc::new(account.take(1024).await);
    outbox.send(1, 1, Some(share)).await.unwrap();
    let wait = UNREAD_MAX * 4;
    let overdue = tokio::time::timeout(wait, outbox.overdue(&account));
    assert!(overdue.await.is_err(), "there is enough for all");
    let rest = account.take((1 << 20) - 1024).await;
    outbox.overdue(&account).await;
    outbox.abandon(Status::unavailable("unread"));
    drop(rest);
    assert!(!account.is_short());
    assert!(responses.next().await.unwrap().is_err());
    assert!(responses.next().await.is_none());
}

/// It may hold a share for the response that it sends, or for a step that it has not processed.
#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_room_is_overdue_though_nothing_that_waits_holds_a_share() {
    let account = Account::new(1 << 20);
    let (outbox, _responses) = outbox::<i64>(1);
    outbox.send(1, 1, None).await.unwrap();
    let share = Arc::new(account.take(1 << 20).await);
    let mut sending = Box::pin(outbox.send(2, 1, Some(share)));
    assert!(poll!(&mut sending).is_pending());
    outbox.overdue(&account).await;
    outbox.abandon(Status::unavailable("unread"));
    drop(sending);
    assert!(!account.is_short());
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_little_without_a_share() {
    let account = Account::new(1 << 20);
    let (outbox, mut responses) = outbox(16);
    let mut sent = 0;
    while outbox.takes_uncharged(3_000) {
        outbox.send(1, 3_000, None).await.unwrap();
        sent += 1;
    }
    assert!((4..=6).contains(&sent), "{sent} of 3,000 bytes");
    assert!(outbox.takes_uncharged(1000), "what is small always");
    let share = Arc::new(account.take(3_000).await);
    outbox.send(2, 3_000, Some(share)).await.unwrap();
    assert!(!outbox.takes_uncharged(3_000));
    responses.next().await.unwrap().unwrap();
    responses.next().await.unwrap().unwrap();
    assert!(outbox.takes_uncharged(3_000));
}
