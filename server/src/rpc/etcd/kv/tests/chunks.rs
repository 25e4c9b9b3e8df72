//! Streamed ranges.

use super::*;

/// Ranges that can be streamed, of each kind.
fn streamable() -> Vec<RangeRequest> {
    let from_20 = RangeRequest {
        key: "key-020".into(),
        ..all()
    };
    vec![
        all(),
        RangeRequest { limit: 37, ..all() },
        RangeRequest {
            limit: 100,
            ..all()
        },
        RangeRequest {
            revision: 50,
            ..from_20.clone()
        },
        RangeRequest {
            keys_only: true,
            ..from_20
        },
        RangeRequest {
            count_only: true,
            ..all()
        },
        RangeRequest {
            key: "none".into(),
            ..RangeRequest::default()
        },
        RangeRequest {
            key: "key-050".into(),
            ..RangeRequest::default()
        },
        // By version, creation, change and value, without an order.
        RangeRequest {
            sort_target: 1,
            ..all()
        },
        RangeRequest {
            sort_target: 3,
            limit: 41,
            ..all()
        },
        RangeRequest {
            sort_target: 4,
            keys_only: true,
            ..all()
        },
        RangeRequest {
            sort_target: 4,
            ..all()
        },
    ]
}

/// The response that the chunks of a range merge to.
async fn merged(service: &KvService, request: RangeRequest) -> RangeResponse {
    let stream = Kv::range_stream(service, Request::new(request)).await;
    let chunks: Vec<_> = stream.expect("stream").into_inner().collect().await;
    let chunks: Vec<RangeResponse> = chunks
        .into_iter()
        .map(|chunk| chunk.expect("a chunk").range_response.expect("a response"))
        .collect();
    let (last, before) = chunks.split_last().expect("at least one");
    assert!(
        before
            .iter()
            .all(|chunk| chunk.header.is_none() && chunk.count == 0)
    );
    let kvs = chunks.iter().flat_map(|chunk| chunk.kvs.clone()).collect();
    RangeResponse {
        kvs,
        ..last.clone()
    }
}

#[tokio::test]
async fn a_stream_of_chunks_merges_to_the_unary_answer() {
    let (node, service) = service();
    for number in 0..100 {
        let put = tenure_statemachine::Put {
            key: format!("key-{number:03}").into(),
            // The order of the values differs from that of the keys.
            value: vec![b'x'; (number * 37) % 101].into(),
            ..Default::default()
        };
        node.apply(&Command::Put(put));
    }
    for request in streamable() {
        let unary = Kv::range(&service, Request::new(request.clone()))
            .await
            .expect("range");
        let merged = merged(&service, request.clone()).await;
        assert_eq!(merged, unary.into_inner(), "{request:?}");
    }
}

#[tokio::test]
async fn a_stream_refuses_orders_filters_and_revisions_it_cannot_serve() {
    let (_node, service) = service();
    for (request, reason) in [
        (RangeRequest::default(), Reason::EmptyKey),
        (
            RangeRequest {
                sort_order: 2,
                ..all()
            },
            Reason::StreamSorted,
        ),
        (
            RangeRequest {
                sort_order: 1,
                sort_target: 1,
                ..all()
            },
            Reason::StreamSorted,
        ),
        (
            RangeRequest {
                min_mod_revision: 1,
                ..all()
            },
            Reason::StreamFiltered,
        ),
    ] {
        let refused = Kv::range_stream(&service, Request::new(request)).await;
        assert_eq!(reason_of(&refused.expect_err("refused")), Some(reason));
    }
    let future = RangeRequest {
        revision: 9,
        ..all()
    };
    let mut chunks = Kv::range_stream(&service, Request::new(future))
        .await
        .expect("opened");
    let status = chunks
        .get_mut()
        .next()
        .await
        .expect("an end")
        .expect_err("refused");
    assert_eq!(reason_of(&status), Some(Reason::FutureRevision));
}
