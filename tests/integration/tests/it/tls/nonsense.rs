//! Messages between members that are damaged, or none at all, from somebody who knows everything
//! that a member knows: each is refused or has no effect, and no node ends.

use prost::Message;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tenure_proto::peer;
use tenure_testkit::Cluster;
use tokio::time::timeout;
use tonic::Code;

use super::strangers::{CALLS, credentials, peer_address};
use crate::differential::wire::{Call, Wire, frame};

/// Messages for each call.
const MESSAGES: usize = 60;
/// Decides what is sent.
const SEED: u64 = 0x7e5;
/// Longest that one call may take; streams stay open while nobody ends them.
const CALL_MAX: std::time::Duration = std::time::Duration::from_millis(300);

/// A message such as members send, of an old term, so that even a sound one changes nothing.
fn sound(call: &str, random: &mut StdRng, node_id: u64) -> Vec<u8> {
    let vote = Some(peer::Vote {
        term: random.random_range(0..2),
        node_id,
        committed: random.random(),
    });
    let log_id = Some(peer::LogId {
        term: 1,
        node_id,
        index: random.random_range(0..4),
    });
    match call {
        "Append" | "Heartbeat" => peer::AppendRequest {
            vote,
            prev_log_id: log_id,
            entries: vec![peer::Entry {
                log_id,
                payload: Some(peer::entry::Payload::Batch(vec![1; 40].into())),
            }],
            leader_commit: log_id,
        }
        .encode_to_vec(),
        "Vote" | "PreVote" => peer::VoteRequest {
            vote,
            last_log_id: log_id,
            leadership_transfer: random.random(),
        }
        .encode_to_vec(),
        "TransferLeader" => peer::TransferLeaderRequest {
            from_leader: vote,
            to_node_id: node_id,
            last_log_id: log_id,
        }
        .encode_to_vec(),
        "HeldSnapshot" => peer::HeldSnapshotRequest { vote }.encode_to_vec(),
        "ReadRound" => peer::ReadRoundRequest { vote, round: 1 }.encode_to_vec(),
        "Forward" => peer::ForwardRequest {
            sequence: 1,
            group: vec![random.random(); 30].into(),
            term: 1,
        }
        .encode_to_vec(),
        "Digest" => peer::DigestRequest { index: 1 }.encode_to_vec(),
        _ => (0..random.random_range(0..60))
            .map(|_| random.random())
            .collect(),
    }
}

/// The message with some bytes changed, removed or added; or bytes of chance alone.
fn damaged(mut message: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, 4) {
        return (0..random.random_range(0..200))
            .map(|_| random.random())
            .collect();
    }
    for _ in 0..random.random_range(1..4) {
        if message.is_empty() {
            break;
        }
        let at = random.random_range(0..message.len());
        match random.random_range(0..4) {
            0 => message[at] = random.random(),
            1 => message[at] ^= 1 << random.random_range(0..8),
            2 => {
                message.remove(at);
            }
            _ => message.insert(at, 0xff),
        }
    }
    message
}

/// Frames that are none: lengths that lie, and flags without meaning.
fn broken_frame(message: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = frame(message).to_vec();
    match random.random_range(0..4) {
        0 => bytes[1] = 0xff,
        1 => bytes[0] = random.random(),
        2 => bytes.truncate(random.random_range(0..bytes.len())),
        _ => bytes.extend_from_slice(&[0xff; 7]),
    }
    bytes
}

#[tokio::test]
async fn no_message_ends_a_node_or_the_quorum() {
    let mut cluster = Cluster::start(3).await;
    cluster.node(0).calls().put("before", "v").await.unwrap();
    let leader = cluster.leader().await;
    let mut random = StdRng::seed_from_u64(SEED);
    let [follower, impostor] = cluster.others(leader)[..] else {
        panic!("three members");
    };
    let mut refused = 0;
    for target in [leader, follower] {
        let (from, to) = (cluster.node(impostor), cluster.node(target));
        let credentials = credentials(from, to).await;
        let member = from.member_id().await;
        let wire = Wire::to(&peer_address(to));
        for call in CALLS.into_iter().filter(|call| *call != "ChangeMembers") {
            for number in 0..MESSAGES {
                let sound = sound(call, &mut random, member);
                let message = damaged(sound, &mut random);
                let body = if number % 4 == 0 {
                    broken_frame(&message, &mut random)
                } else {
                    frame(&message).to_vec()
                };
                let path = format!("/tenure.peer.v1.Peer/{call}");
                let mut request = Call::new(path, body.into());
                request.metadata.clone_from(&credentials);
                // A call that goes on is as good as one that is refused.
                let answer = timeout(CALL_MAX, wire.call(&request)).await;
                refused += usize::from(answer.is_ok_and(|answer| answer.code != Code::Ok));
            }
        }
    }
    assert!(refused > MESSAGES * CALLS.len() / 2, "{refused}");
    for number in 0..3 {
        assert!(
            cluster.node_mut(number).exited().is_none(),
            "m{number} ended"
        );
    }
    cluster.leader().await;
    for number in 0..3 {
        cluster
            .node(number)
            .calls()
            .put("after", "v")
            .await
            .unwrap();
        let found = cluster.node(number).calls().get("before").await.unwrap();
        assert_eq!(found.expect("it was acknowledged").value, "v");
    }
    tenure_testkit::assert_same_everywhere(&cluster).await;
}
