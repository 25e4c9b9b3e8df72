//! The bytes of commands and outcomes: decoding inverts encoding, and what is hostile is refused.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use tenure_statemachine::{
    ClusterTime, Command, Conditional, Facts, Fault, Group, Outcome, Refusal, Reply, Revision,
    TxnOpReply, TxnReply, codec, decode_entry, decode_group, encode_entry, encode_group,
    encode_repeatable_group,
};

use crate::strategies;

fn any_group() -> impl Strategy<Value = Group> {
    let commands = vec(strategies::any_command(), 0..5);
    let numbers = (any::<u64>(), any::<u64>(), any::<Option<u64>>());
    (numbers, commands).prop_map(|((origin, sequence, since), commands)| Group {
        origin,
        sequence,
        since,
        commands,
    })
}

/// Decodes an entry, and demands that checking it comes to the same.
fn entry_of(bytes: Bytes) -> Result<codec::Entry, Fault> {
    let checked = codec::check_entry(&bytes).map_err(|fault| fault.to_string());
    let decoded = decode_entry(bytes);
    let told = decoded.as_ref().map(drop).map_err(ToString::to_string);
    assert_eq!(checked, told);
    decoded
}

/// As [`entry_of`], of a group.
fn group_of(bytes: Bytes) -> Result<Group, Fault> {
    let checked = codec::check_group(&bytes).map_err(|fault| fault.to_string());
    let decoded = decode_group(bytes);
    let told = decoded.as_ref().map(drop).map_err(ToString::to_string);
    assert_eq!(checked, told);
    decoded
}

fn encode(group: &Group) -> Bytes {
    let (origin, sequence, commands) = (group.origin, group.sequence, &group.commands);
    match group.since {
        None => encode_group(origin, sequence, commands),
        Some(since) => encode_repeatable_group(origin, sequence, since, commands),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn decoding_inverts_encoding(
        groups in vec(any_group(), 0..4),
        now in any::<u64>(),
    ) {
        let encoded: Vec<Bytes> = groups.iter().map(encode).collect();
        for (bytes, group) in encoded.iter().zip(&groups) {
            prop_assert_eq!(&group_of(bytes.clone()).unwrap(), group);
        }
        let entry = entry_of(encode_entry(ClusterTime(now), &encoded)).unwrap();
        prop_assert_eq!((entry.now, entry.groups), (ClusterTime(now), groups));
    }

    #[test]
    fn a_group_of_commands_encoded_one_by_one_is_the_same_bytes(group in any_group()) {
        let commands: Vec<Bytes> = group.commands.iter().map(codec::encode_command).collect();
        let made = codec::group_of(group.origin, group.sequence, group.since, &commands);
        prop_assert_eq!(made, encode(&group));
    }

    #[test]
    fn hostile_bytes_are_refused_or_mean_themselves(
        commands in vec(strategies::any_command(), 0..4),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..64),
    ) {
        _ = entry_of(Bytes::from(noise.clone()));
        _ = group_of(Bytes::from(noise));
        let mut bytes = encode_group(1, 2, &commands).to_vec();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(group) = group_of(Bytes::from(bytes.clone())) {
            let again = encode(&group);
            // Filters that are given as unset are the one redundancy of the encoding.
            prop_assert_eq!(group_of(again).unwrap(), group);
        }
        let entry = encode_entry(ClusterTime(7), &[encode_group(1, 2, &commands)]);
        let cut = cut.index(entry.len());
        prop_assert!(entry_of(entry.slice(..cut)).is_err(), "a cut entry is refused");
        let longer: Vec<u8> = entry.iter().copied().chain([0]).collect();
        prop_assert!(entry_of(Bytes::from(longer)).is_err(), "bytes left over are refused");
    }

    #[test]
    fn outcomes_decode_to_themselves_and_keep_to_their_limit(
        outcome in strategies::outcomes::outcome(),
        bytes_max in 0_usize..200,
    ) {
        let bytes = codec::encode_outcome(&outcome, usize::MAX).unwrap();
        prop_assert_eq!(&codec::decode_outcome(bytes.clone()).unwrap(), &outcome);
        let within = codec::encode_outcome(&outcome, bytes_max);
        prop_assert_eq!(within, (bytes.len() <= bytes_max).then_some(bytes));
    }

    #[test]
    fn hostile_outcomes_are_refused_or_mean_themselves(
        outcome in strategies::outcomes::outcome(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..64),
    ) {
        _ = codec::decode_outcome(Bytes::from(noise));
        let bytes = codec::encode_outcome(&outcome, usize::MAX).unwrap();
        let mut edited = bytes.to_vec();
        for (place, byte) in edits {
            let place = place.index(edited.len());
            edited[place] = byte;
        }
        let edited = Bytes::from(edited);
        if let Ok(outcome) = codec::decode_outcome(edited.clone()) {
            prop_assert_eq!(codec::encode_outcome(&outcome, usize::MAX), Some(edited));
        }
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(codec::decode_outcome(cut).is_err(), "a cut outcome is refused");
        let longer: Bytes = bytes.iter().copied().chain([0]).collect();
        prop_assert!(codec::decode_outcome(longer).is_err(), "bytes left over are refused");
    }
}

#[test]
fn transactions_nested_too_deep_are_refused() {
    let nested = |depth: usize| {
        let mut txn = tenure_statemachine::Txn::default();
        for _ in 1..depth {
            let success = vec![tenure_statemachine::TxnOp::Txn(txn)];
            txn = tenure_statemachine::Txn {
                success,
                ..Default::default()
            };
        }
        Command::Txn(txn)
    };
    let deepest = nested(codec::TXN_DEPTH_MAX);
    assert!(codec::is_encodable(&deepest));
    let group = decode_group(encode_group(0, 0, std::slice::from_ref(&deepest))).unwrap();
    assert_eq!(group.commands, vec![deepest]);
    let deeper = nested(codec::TXN_DEPTH_MAX + 1);
    assert!(!codec::is_encodable(&deeper));
    assert!(decode_group(encode_group(0, 0, &[deeper])).is_err());
}

#[test]
fn a_count_without_elements_does_not_reserve_memory() {
    // A group of one renewal of 2^62 leases.
    let mut bytes = vec![1, 0, 0, 1, 7];
    bytes.extend([0x80; 8]);
    bytes.push(0x40);
    assert!(decode_group(Bytes::from(bytes)).is_err());
}

#[test]
fn a_number_has_one_encoding_and_sixty_four_bits() {
    let group = |origin: &[u8]| {
        let bytes: Vec<u8> = [&[1], origin, &[0, 0]].concat();
        decode_group(Bytes::from(bytes)).map(|group| group.origin)
    };
    assert_eq!(group(&[0]).unwrap(), 0);
    assert_eq!(group(&[0x80, 1]).unwrap(), 128);
    assert!(group(&[0x80, 0]).is_err(), "a needless last byte");
    let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(group(&max).unwrap(), u64::MAX);
    let above = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    assert!(group(&above).is_err(), "a sixty-fifth bit");
    assert!(group(&[0x80; 11]).is_err(), "no end");
}

#[test]
fn decoded_values_are_slices_of_the_entry() {
    let put = tenure_statemachine::Put {
        key: "key".into(),
        value: vec![7; 100].into(),
        ..Default::default()
    };
    let entry = encode_entry(ClusterTime(1), &[encode_group(1, 1, &[Command::Put(put)])]);
    let (start, end) = (
        entry.as_ptr() as usize,
        entry.as_ptr() as usize + entry.len(),
    );
    let decoded = decode_entry(entry.clone()).unwrap();
    let Command::Put(put) = &decoded.groups[0].commands[0] else {
        panic!("not a put")
    };
    assert!((start..end).contains(&(put.value.as_ptr() as usize)));
}

#[test]
fn a_condition_within_a_condition_is_refused() {
    let conditional = |command| {
        Command::Conditional(Box::new(Conditional {
            guards: Vec::new(),
            request: None,
            command,
        }))
    };
    let once = conditional(Command::Wake);
    assert!(codec::is_encodable(&once));
    let group = decode_group(encode_group(0, 0, std::slice::from_ref(&once))).unwrap();
    assert_eq!(group.commands, std::slice::from_ref(&once));
    let twice = conditional(once);
    assert!(!codec::is_encodable(&twice));
    assert!(decode_group(encode_group(0, 0, &[twice])).is_err());
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    // A registration of service "s" and instance "i", and the same with a broken "s".
    let group = |service: u8| {
        let bytes = vec![1, 0, 0, 1, 13, 4, 1, service, 1, b'i', 0];
        decode_group(Bytes::from(bytes))
    };
    assert!(group(b's').is_ok());
    assert!(group(0xff).is_err());
}

#[test]
fn answers_nested_too_deep_are_refused() {
    let nested = |depth: usize| {
        let mut reply = TxnReply::default();
        for _ in 1..depth {
            reply = TxnReply {
                succeeded: true,
                replies: vec![TxnOpReply::Txn(Revision(1), reply)],
            };
        }
        let outcome = Outcome {
            reply: Ok(Reply::Txn(reply)),
            revision: Revision(1),
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts::default(),
        };
        codec::decode_outcome(codec::encode_outcome(&outcome, usize::MAX).unwrap())
    };
    assert!(nested(codec::TXN_DEPTH_MAX).is_ok());
    assert!(nested(codec::TXN_DEPTH_MAX + 1).is_err());
}

#[test]
fn an_outcome_that_is_too_long_is_not_encoded_to_its_end() {
    let outcome = |names: usize| Outcome {
        reply: Err(Refusal::Deadlock(vec![Bytes::from(vec![0; 100]); names])),
        revision: Revision(1),
        events: Vec::new(),
        signals: Vec::new(),
        facts: Facts::default(),
    };
    let length = |names| {
        codec::encode_outcome(&outcome(names), usize::MAX)
            .unwrap()
            .len()
    };
    assert_eq!(
        codec::encode_outcome(&outcome(3), length(3)).unwrap().len(),
        length(3)
    );
    assert_eq!(codec::encode_outcome(&outcome(3), length(3) - 1), None);
    assert_eq!(codec::encode_outcome(&outcome(3), length(2)), None);
}
