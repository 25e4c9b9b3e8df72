//! Watches, rule by rule: each response as it comes, when what led to it was done before.

use tenure_proto::etcdserverpb::{
    WatchCreateRequest, WatchResponse, watch_create_request::FilterType,
};

use super::{
    pair::Pair,
    requests::{all_of, compact, delete, grant, op, put, put_on_lease, revoke, watch},
};

#[tokio::test]
async fn watchers_are_told_what_etcd_tells_them() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.ok(put("a", "0")).await;
    let mut stream = pair.watch();
    let everything = WatchCreateRequest {
        prev_kv: true,
        ..watch("", "\0")
    };
    let created = stream.create(everything).await;
    assert!(created.created && created.events.is_empty());
    // One response for each revision, whatever it holds.
    pair.ok(put("a", "1")).await;
    assert_eq!(stream.next().await.events.len(), 1);
    pair.ok(put("b", "1")).await;
    stream.next().await;
    pair.ok(all_of(vec![
        op(put("b", "2")),
        op(put("c", "1")),
        op(delete("a", "")),
    ]))
    .await;
    assert_eq!(stream.next().await.events.len(), 3);
    pair.ok(delete("\0", "\0")).await;
    stream.next().await;
    pair.ok(grant(1, 1000)).await;
    pair.ok(put_on_lease("l/2", "1", 1)).await;
    stream.next().await;
    pair.ok(put_on_lease("l/1", "1", 1)).await;
    stream.next().await;
    pair.ok(revoke(1)).await;
    assert_eq!(stream.next().await.events.len(), 2);
    // What changes nothing tells nothing, as the next response shows.
    pair.ok(delete("absent", "")).await;
    pair.ok(all_of(vec![])).await;
    pair.ok(put("end", "")).await;
    stream.next().await;
}

#[tokio::test]
async fn ranges_filters_and_starts_are_kept_as_by_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    for value in ["1", "2"] {
        pair.ok(put("a", value)).await;
        pair.ok(put("b/1", value)).await;
        pair.ok(delete("a", "")).await;
        pair.ok(all_of(vec![op(put("b/2", value)), op(put("c", value))]))
            .await;
    }
    let ranges = [
        watch("a", ""),
        watch("b/", "b0"),
        watch("b/2", "\0"),
        watch("\0", "\0"),
        watch("absent", ""),
    ];
    let mut watched = Vec::new();
    for range in ranges {
        for filters in [vec![], vec![FilterType::Noput], vec![FilterType::Nodelete]] {
            for start_revision in [0, 1, 2, 5, 8, 11] {
                let filters = filters.iter().map(|filter| *filter as i32).collect();
                let what = WatchCreateRequest {
                    filters,
                    start_revision,
                    prev_kv: start_revision % 2 == 0,
                    ..range.clone()
                };
                watched.push(pair.watch().gather(what).await);
            }
        }
    }
    for value in ["3", "4"] {
        pair.ok(put("a", value)).await;
        pair.ok(delete("a", "b0")).await;
        pair.ok(put("b/1", value)).await;
        pair.ok(all_of(vec![op(put("c", value)), op(delete("b/", "b0"))]))
            .await;
    }
    for watched in watched {
        watched.end().await;
    }
}

#[tokio::test]
async fn watchers_are_refused_and_cancelled_as_by_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    for value in ["1", "2", "3", "4"] {
        pair.ok(put("a", value)).await;
    }
    pair.ok(compact(4)).await;
    let mut stream = pair.watch();
    for refused in [watch("b", "a"), watch("a", "a")] {
        let response = stream.create(refused).await;
        assert!(response.created && response.canceled, "{response:?}");
    }
    let with_id = |watch_id| WatchCreateRequest {
        watch_id,
        ..watch("a", "")
    };
    assert_eq!(stream.create(with_id(0)).await.watch_id, 0);
    assert_eq!(stream.create(with_id(1)).await.watch_id, 1);
    let duplicate = stream.create(with_id(1)).await;
    assert_eq!(duplicate.watch_id, -1, "{duplicate:?}");
    // The next free one is taken, not the one the client chose.
    assert_eq!(stream.create(with_id(0)).await.watch_id, 2);
    stream.cancel(7).await;
    stream.cancel(1).await;
    let canceled = stream.next().await;
    assert!(canceled.canceled && canceled.watch_id == 1);
    stream.cancel(0).await;
    assert_eq!(stream.next().await.watch_id, 0);
    // Its id is free again.
    assert_eq!(stream.create(with_id(1)).await.watch_id, 1);
    pair.ok(put("a", "5")).await;
    assert_eq!(told_of(&mut stream.next_of_each().await), [1, 1].map(|_| 6));
}

/// The revisions that responses tell of.
fn told_of(responses: &mut [WatchResponse; 2]) -> [i64; 2] {
    responses.each_ref().map(|response| {
        let kv = response.events.first().and_then(|event| event.kv.as_ref());
        kv.map_or(0, |kv| kv.mod_revision)
    })
}

#[tokio::test]
async fn a_watcher_below_the_compacted_revision_is_cancelled_as_by_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    for value in ["1", "2", "3", "4"] {
        pair.ok(put("a", value)).await;
    }
    pair.ok(compact(4)).await;
    for start_revision in [1, 2, 3] {
        let mut stream = pair.watch();
        let below = WatchCreateRequest {
            start_revision,
            ..watch("a", "")
        };
        let created = stream.create(below).await;
        assert!(created.created && !created.canceled, "{created:?}");
        let canceled = stream.next().await;
        assert!(
            canceled.canceled && canceled.compact_revision == 4,
            "{canceled:?}"
        );
    }
    for start_revision in [4, 5, 6, 9] {
        let mut stream = pair.watch();
        stream
            .create(WatchCreateRequest {
                start_revision,
                prev_kv: true,
                ..watch("a", "")
            })
            .await;
        if start_revision <= 5 {
            stream.next().await;
        }
    }
}

#[tokio::test]
async fn progress_is_told_on_request_as_by_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.ok(put("a", "1")).await;
    let mut stream = pair.watch();
    stream.create(watch("a", "")).await;
    stream.ask_progress().await;
    let progress = stream.next().await;
    assert_eq!(progress.watch_id, -1);
    assert!(progress.events.is_empty());
    pair.ok(put("b", "1")).await;
    stream.ask_progress().await;
    assert_eq!(stream.next().await.watch_id, -1);
    pair.ok(put("a", "2")).await;
    assert_eq!(stream.next().await.events.len(), 1);
}
