//! Ranges, puts and deletes, rule by rule.

use tenure_proto::etcdserverpb::{
    PutRequest, RangeRequest,
    range_request::{SortOrder, SortTarget},
};

use super::{
    pair::Pair,
    requests::{
        all_of, delete, everything, get, get_at, grant, op, put, put_on_lease, range, sorted,
    },
};

const KEY_NOT_PROVIDED: &str = "etcdserver: key is not provided";
const KEY_NOT_FOUND: &str = "etcdserver: key not found";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

#[tokio::test]
async fn puts_and_deletes_answer_as_etcd_does() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    assert_eq!(pair.ok(everything()).await.revision, Some(1));
    assert_eq!(pair.ok(put("a", "1")).await.revision, Some(2));
    pair.ok(PutRequest {
        prev_kv: true,
        ..put("a", "2")
    })
    .await;
    pair.ok(get("a")).await;
    pair.ok(put("empty", "")).await;
    pair.ok(get("empty")).await;
    keeping_what_is_there(&mut pair).await;
    for (key, end) in [
        ("absent", ""),
        ("a", ""),
        ("a", ""),
        ("d/", "d0"),
        ("z", "a"),
        ("d", "d"),
        ("e", "\0"),
        ("\0", "\0"),
    ] {
        for key in ["a", "b", "c", "d/1", "d/2", "d0", "e", "f"] {
            pair.ok(put(key, key)).await;
        }
        pair.ok(delete(key, end)).await;
        pair.ok(everything()).await;
    }
    // Nothing to delete makes no revision.
    let before = pair.ok(everything()).await.revision;
    assert_eq!(pair.ok(delete("absent", "")).await.revision, before);
    pair.refused(delete("", ""), KEY_NOT_PROVIDED).await;
    pair.refused(put("", "1"), KEY_NOT_PROVIDED).await;
    // A key that comes back begins anew.
    pair.ok(put("a", "1")).await;
    pair.ok(get("a")).await;
}

async fn keeping_what_is_there(pair: &mut Pair) {
    let keep_value = |key, lease| PutRequest {
        ignore_value: true,
        prev_kv: true,
        ..put_on_lease(key, "", lease)
    };
    let keep_lease = |key, value| PutRequest {
        ignore_lease: true,
        prev_kv: true,
        ..put(key, value)
    };
    pair.ok(grant(7, 1000)).await;
    pair.ok(put_on_lease("kept", "v", 7)).await;
    pair.ok(keep_value("kept", 7)).await;
    pair.ok(keep_lease("kept", "w")).await;
    pair.ok(get("kept")).await;
    // Without a word of the lease a put takes the key off it.
    pair.ok(keep_value("kept", 0)).await;
    pair.ok(get("kept")).await;
    pair.ok(PutRequest {
        ignore_value: true,
        ..keep_lease("kept", "")
    })
    .await;
    pair.refused(keep_value("absent", 0), KEY_NOT_FOUND).await;
    pair.refused(keep_lease("absent", "v"), KEY_NOT_FOUND).await;
    pair.refused(
        PutRequest {
            value: "v".into(),
            ..keep_value("kept", 0)
        },
        "etcdserver: value is provided",
    )
    .await;
    pair.refused(
        PutRequest {
            lease: 7,
            ..keep_lease("kept", "v")
        },
        "etcdserver: lease is provided",
    )
    .await;
    let unknown = "etcdserver: requested lease not found";
    pair.refused(put_on_lease("kept", "v", 8), unknown).await;
    pair.refused(put_on_lease("kept", "v", -1), unknown).await;
    // The lease is looked for before the key.
    pair.refused(keep_value("absent", 8), unknown).await;
}

#[tokio::test]
async fn ranges_answer_as_etcd_does() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    // Values, versions and revisions in different orders, so that every sort shows.
    for (key, value) in [
        ("b", "5"),
        ("a", "3"),
        ("c/2", "1"),
        ("c/1", "4"),
        ("d", "2"),
        ("c/1", "4"),
        ("a", "9"),
        ("a", "6"),
        ("gone", "0"),
    ] {
        pair.ok(put(key, value)).await;
    }
    pair.ok(delete("gone", "")).await;
    for (key, end) in [
        ("a", ""),
        ("absent", ""),
        ("a", "c"),
        ("c/", "c0"),
        ("b", "\0"),
        ("\0", "\0"),
        ("c", "a"),
        ("b", "b"),
        ("zz", "\0"),
    ] {
        of_one_range(&mut pair, &range(key, end)).await;
    }
    sorts(&mut pair).await;
    pair.refused(get(""), KEY_NOT_PROVIDED).await;
    pair.refused(range("", "z"), KEY_NOT_PROVIDED).await;
}

async fn of_one_range(pair: &mut Pair, range: &RangeRequest) {
    pair.ok(range.clone()).await;
    for limit in [-1, 1, 2, 3, 5, 100] {
        pair.ok(RangeRequest {
            limit,
            ..range.clone()
        })
        .await;
    }
    for (keys_only, count_only) in [(true, false), (false, true), (true, true)] {
        for limit in [0, 2] {
            pair.ok(RangeRequest {
                keys_only,
                count_only,
                limit,
                ..range.clone()
            })
            .await;
        }
    }
    for revision in 1..=11 {
        pair.ok(RangeRequest {
            revision,
            ..range.clone()
        })
        .await;
        let filters = RangeRequest {
            limit: revision % 3,
            ..range.clone()
        };
        for filtered in filtered(&filters, revision) {
            pair.ok(filtered).await;
        }
    }
    pair.ok(RangeRequest {
        revision: -1,
        serializable: true,
        ..range.clone()
    })
    .await;
    let future = RangeRequest {
        revision: 12,
        ..range.clone()
    };
    pair.refused(future, FUTURE).await;
}

fn filtered(range: &RangeRequest, revision: i64) -> [RangeRequest; 5] {
    let range = || range.clone();
    [
        RangeRequest {
            min_mod_revision: revision,
            ..range()
        },
        RangeRequest {
            max_mod_revision: revision,
            ..range()
        },
        RangeRequest {
            min_create_revision: revision,
            ..range()
        },
        RangeRequest {
            max_create_revision: revision,
            ..range()
        },
        RangeRequest {
            min_mod_revision: 4,
            max_mod_revision: revision,
            min_create_revision: 3,
            max_create_revision: revision,
            ..range()
        },
    ]
}

async fn sorts(pair: &mut Pair) {
    for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
        for target in [
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ] {
            for limit in [0, 1, 2, 3, 4, 9] {
                let sorted = RangeRequest {
                    limit,
                    ..sorted(order, target)
                };
                pair.ok(RangeRequest {
                    keys_only: true,
                    ..sorted.clone()
                })
                .await;
                pair.ok(RangeRequest {
                    max_mod_revision: 8,
                    ..sorted.clone()
                })
                .await;
                pair.ok(RangeRequest {
                    revision: 7,
                    ..sorted.clone()
                })
                .await;
                pair.ok(sorted).await;
            }
        }
    }
}

#[tokio::test]
async fn reads_of_the_past_answer_as_etcd_does() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.ok(put("a", "1")).await;
    pair.ok(all_of(vec![op(put("b", "1")), op(delete("a", ""))]))
        .await;
    pair.ok(put("a", "2")).await;
    pair.ok(delete("\0", "\0")).await;
    pair.ok(put("b", "3")).await;
    for floor in [0, 3, 4, 5, 6] {
        if floor > 0 {
            pair.ok(super::requests::compact(floor)).await;
        }
        for revision in floor.max(1)..=6 {
            pair.ok(get_at("a", revision)).await;
            pair.ok(RangeRequest {
                revision,
                ..everything()
            })
            .await;
        }
        for revision in 1..floor {
            pair.refused(get_at("a", revision), COMPACTED).await;
        }
        pair.refused(get_at("a", 7), FUTURE).await;
        pair.ok(get_at("a", 0)).await;
        pair.ok(get_at("a", -5)).await;
    }
}
