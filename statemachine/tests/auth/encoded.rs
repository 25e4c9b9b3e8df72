//! Principals in the encoding, and the level from which on commands have them.

use bytes::Bytes;
use tenure_statemachine::{
    AuthRevision, Command, Fault, FeatureLevel, Put, RequestId, codec, decode_group, encode_group,
    level_lowest, level_needed, worded_for,
};

use super::setup::{by_system, by_user, enable, key, put, with_id};

fn of_ann(command: Command) -> Command {
    by_user("ann", AuthRevision(7), command)
}

fn encoded(command: &Command) -> Bytes {
    encode_group(1, 2, std::slice::from_ref(command))
}

#[test]
fn commands_with_principals_are_read_and_checked_as_they_were_written() {
    let large = Command::Put(Put {
        value: vec![b'x'; 5000].into(),
        ..put("k")
    });
    for inner in [
        Command::Put(put("k")),
        large,
        Command::Wake,
        Command::Auth(enable()),
        with_id(RequestId::Key(key("id")), Command::Put(put("k"))),
    ] {
        for command in [of_ann(inner.clone()), by_system(inner)] {
            let bytes = encoded(&command);
            assert_eq!(decode_group(bytes.clone()).unwrap().commands, [command]);
            codec::check_group(&bytes).unwrap();
            for cut in 0..bytes.len() {
                assert!(codec::check_group(&bytes.slice(..cut)).is_err());
            }
        }
    }
}

#[test]
fn principals_do_not_nest() {
    let put = || Command::Put(put("k"));
    let conditional = |command| with_id(RequestId::Key(key("id")), command);
    for (command, why) in [
        (of_ann(by_system(put())), "a principal within a principal"),
        (by_system(of_ann(put())), "a principal within a principal"),
        (conditional(of_ann(put())), "a principal within a condition"),
        (
            of_ann(conditional(by_system(put()))),
            "a principal within a condition",
        ),
        (
            of_ann(conditional(conditional(put()))),
            "a condition within a condition",
        ),
    ] {
        assert!(!codec::is_encodable(&command), "{command:?}");
        let bytes = encoded(&command);
        let faults = [
            decode_group(bytes.clone()).unwrap_err(),
            codec::check_group(&bytes).unwrap_err(),
        ];
        for fault in faults {
            assert!(
                matches!(&fault, Fault::Command(found) if found == why),
                "{fault}"
            );
        }
    }
    assert!(codec::is_encodable(&of_ann(conditional(put()))));
}

#[test]
fn principals_are_left_out_below_their_level() {
    let put = || Command::Put(put("k"));
    let level = FeatureLevel::AUTHENTICATED;
    assert_eq!(level_needed(&of_ann(put())), level);
    assert_eq!(level_needed(&Command::Auth(enable())), level);
    assert_eq!(level_needed(&put()), FeatureLevel::FIRST);
    assert_eq!(worded_for(by_system(put()), level), by_system(put()));
    let below = FeatureLevel(level.0 - 1);
    assert_eq!(worded_for(by_system(put()), below), put());
    assert_eq!(level_lowest(&by_system(put())), FeatureLevel::FIRST);
    assert_eq!(level_lowest(&of_ann(Command::Auth(enable()))), level);
    let client_key = RequestId::ClientKey {
        client: 5,
        key: key("id"),
    };
    let worded = worded_for(by_system(with_id(client_key, put())), FeatureLevel::FIRST);
    assert_eq!(worded, with_id(RequestId::Key(key("id")), put()));
}
