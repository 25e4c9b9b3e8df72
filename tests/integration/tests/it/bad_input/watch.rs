//! Watches: a bad one is told so on the stream, which goes on.

use prost::Message;
use tenure_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request::RequestUnion};

use super::case::{Case, Expected};
use crate::differential::{
    ask::Ask,
    known::COMPACTED,
    requests::watch,
    wire::{Call, frame},
};

const EMPTY_RANGE: &str = "mvcc: watcher range is empty";

pub(super) fn cases() -> Vec<Case> {
    let starting = |start_revision| WatchCreateRequest {
        start_revision,
        ..watch("a", "")
    };
    let with_id = |watch_id| WatchCreateRequest {
        watch_id,
        ..watch("a", "")
    };
    let negative = |start| {
        let name = format!("watch from {start}");
        refused(name, &[starting(start)], COMPACTED).etcd_answers(Expected::Accepted)
    };
    vec![
        refused(
            "watch of a range that ends before it begins",
            &[watch("b", "a")],
            EMPTY_RANGE,
        ),
        refused(
            "watch of a range that ends where it begins",
            &[watch("a", "a")],
            EMPTY_RANGE,
        ),
        refused(
            "watch of a bad range after a good one",
            &[watch("a", ""), watch("b", "a")],
            EMPTY_RANGE,
        ),
        negative(-1),
        negative(i64::MIN),
        refused(
            "watch with an id in use",
            &[with_id(5), with_id(5)],
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
    ]
}

/// The last of `watches` is refused.
fn refused(name: impl Into<String>, watches: &[WatchCreateRequest], reason: &'static str) -> Case {
    let frames: Vec<_> = watches
        .iter()
        .map(|watch| {
            let request_union = Some(RequestUnion::CreateRequest(watch.clone()));
            frame(&WatchRequest { request_union }.encode_to_vec())
        })
        .collect();
    let mut call = Call::new(WatchRequest::PATH, frames.concat().into());
    call.open = Some(watches.len());
    Case::new(name, call, Expected::NoWatcher(reason))
}
