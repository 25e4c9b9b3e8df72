//! The rows of etcd's buckets: their bytes, and what is refused.

use bytes::Bytes;
use prost::Message;
use tenure_backup::schema::{
    Alarm, AlarmKind, BucketName, ConfState, Downgrade, EncodedRow, KeyValue, Lease, Member,
    Permission, PermissionKind, Record, RevisionKey, Role, User, UserOptions,
};
use tenure_proto::{authpb, etcdserverpb, mvccpb};
use tenure_statemachine::{MemberId, Revision};

/// A revision key without the mark of a tombstone.
const AT: &str = "0000000000000102 5f 0000000000000003";

fn row(bucket: BucketName, key: impl Into<Bytes>, value: impl Into<Bytes>) -> EncodedRow {
    let (key, value) = (key.into(), value.into());
    EncodedRow { bucket, key, value }
}

fn hex(text: &str) -> Bytes {
    let digits = text.chars().filter_map(|digit| digit.to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| digit.try_into().unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[track_caller]
fn assert_row(record: &Record, bytes: &EncodedRow) {
    assert_eq!(record.encode().unwrap(), *bytes);
    assert_eq!(Record::decode(bytes.clone()).unwrap(), *record);
}

/// Checks that a message of the wire has the same bytes.
#[track_caller]
fn assert_wire<M: Message + Default>(bytes: &Bytes) {
    let message = M::decode(bytes.clone()).unwrap();
    assert_eq!(message.encode_to_vec(), *bytes);
}

#[test]
fn changes_have_the_bytes_of_etcd() {
    let kv = KeyValue {
        key: "k".into(),
        create_revision: 1,
        mod_revision: 258,
        version: 2,
        value: "v".into(),
        lease: 5,
    };
    let key_only = KeyValue {
        key: "k".into(),
        ..KeyValue::default()
    };
    let at = |is_tombstone| RevisionKey {
        main: Revision(0x102),
        sub: 3,
        is_tombstone,
    };
    let put = row(
        BucketName::Key,
        hex(AT),
        hex("0a016b 1001 188202 2002 2a0176 3005"),
    );
    assert_wire::<mvccpb::KeyValue>(&put.value);
    assert_row(&Record::Change(at(false), kv), &put);
    let key = hex(&format!("{AT} 74"));
    let tombstone = row(BucketName::Key, key, hex("0a016b"));
    assert_row(&Record::Change(at(true), key_only), &tombstone);
}

#[test]
fn leases_and_alarms_have_the_bytes_of_etcd() {
    let lease = Lease {
        id: -2,
        ttl: 60,
        remaining_ttl: 1,
    };
    let value = hex("08feffffffffffffffff01 103c 1801");
    let bytes = row(BucketName::Lease, hex("fffffffffffffffe"), value);
    assert_row(&Record::Lease(lease), &bytes);

    let alarm = Alarm {
        member_id: 9,
        kind: AlarmKind::Corrupt.into(),
    };
    let bytes = row(BucketName::Alarm, hex("0809 1002"), "");
    assert_wire::<etcdserverpb::AlarmMember>(&bytes.key);
    assert_row(&Record::Alarm(alarm), &bytes);
}

#[test]
fn users_and_roles_have_the_bytes_of_etcd() {
    let user = User {
        name: "u".into(),
        password: "p".into(),
        roles: vec!["r".into()],
        options: Some(UserOptions { no_password: true }),
    };
    let value = hex("0a0175 120170 1a0172 22020801");
    let bytes = row(BucketName::AuthUsers, "u", value);
    assert_wire::<authpb::User>(&bytes.value);
    assert_row(&Record::User(user), &bytes);

    let permission = Permission {
        kind: PermissionKind::ReadWrite.into(),
        key: "a".into(),
        range_end: "b".into(),
    };
    let role = Role {
        name: "r".into(),
        permissions: vec![permission],
    };
    let value = hex("0a0172 1208 0802 120161 1a0162");
    let bytes = row(BucketName::AuthRoles, "r", value);
    assert_wire::<authpb::Role>(&bytes.value);
    assert_row(&Record::Role(role), &bytes);
}

#[test]
fn rows_of_meta_have_the_bytes_of_etcd() {
    let floor = hex("0000000000000007 5f 0000000000000000");
    let number = hex("0000000000000102");
    let state = ConfState {
        voters: vec![1, u64::MAX],
        ..ConfState::default()
    };
    let json = r#"{"voters":[1,18446744073709551615],"auto_leave":false}"#;
    let version = Record::StorageVersion("3.6.0".into());
    let scheduled = Record::ScheduledCompaction(Revision(7));
    let finished = Record::FinishedCompaction(Revision(7));
    for (record, key, value) in [
        (Record::ConsistentIndex(258), "consistent_index", &number),
        (Record::Term(258), "term", &number),
        (Record::ConfState(state), "confState", &json.into()),
        (scheduled, "scheduledCompactRev", &floor),
        (finished, "finishedCompactRev", &floor),
        (version, "storageVersion", &"3.6.0".into()),
    ] {
        assert_row(&record, &row(BucketName::Meta, key, value.clone()));
    }
}

#[test]
fn rows_of_the_cluster_have_the_bytes_of_etcd() {
    for (record, key, value) in [
        (Record::AuthEnabled(true), "authEnabled", hex("01")),
        (Record::AuthEnabled(false), "authEnabled", hex("00")),
        (
            Record::AuthRevision(258),
            "authRevision",
            hex("0000000000000102"),
        ),
    ] {
        assert_row(&record, &row(BucketName::Auth, key, value));
    }
    let version = Record::ClusterVersion("3.6.0".into());
    assert_row(
        &version,
        &row(BucketName::Cluster, "clusterVersion", "3.6.0"),
    );
    let downgrade = Record::Downgrade(Downgrade::default());
    let json = r#"{"target-version":"","enabled":false}"#;
    assert_row(&downgrade, &row(BucketName::Cluster, "downgrade", json));

    let member = Member {
        id: 0xabc,
        peer_urls: vec!["http://a:1".into()],
        name: "m1".into(),
        client_urls: vec!["http://a:2".into()],
        ..Member::default()
    };
    let urls = r#""peerURLs":["http://a:1"],"name":"m1","clientURLs":["http://a:2"]"#;
    let bytes = row(
        BucketName::Members,
        "abc",
        format!(r#"{{"id":2748,{urls}}}"#),
    );
    assert_row(&Record::Member(member), &bytes);
    let removed = Record::RemovedMember(MemberId(0xabc));
    assert_row(&removed, &row(BucketName::MembersRemoved, "abc", "removed"));
}

#[test]
fn rows_that_are_not_known_are_kept() {
    let (key, value) = (Bytes::from("k"), Bytes::from("v"));
    let ours = row(BucketName::Tenure, key.clone(), value.clone());
    assert_row(&Record::Tenure { key, value }, &ours);
    for bucket in [BucketName::Meta, BucketName::Auth, BucketName::Cluster] {
        let unknown = row(bucket, "new", "thing");
        assert_row(&Record::Other(unknown.clone()), &unknown);
    }
}

#[test]
fn json_as_go_may_write_it_is_read() {
    let decoded = |bucket, key: &'static str, value: &'static str| {
        Record::decode(row(bucket, key, value)).unwrap()
    };
    let learner = r#"{"id":1,"peerURLs":null,"isLearner":true,"unknown":[1]}"#;
    let expected = Member {
        id: 1,
        is_learner: true,
        ..Member::default()
    };
    let found = decoded(BucketName::Members, "1", learner);
    assert_eq!(found, Record::Member(expected));
    let state = r#"{"voters":[3],"learners":[4],"learners_next":null}"#;
    let expected = ConfState {
        voters: vec![3],
        learners: vec![4],
        ..ConfState::default()
    };
    let found = decoded(BucketName::Meta, "confState", state);
    assert_eq!(found, Record::ConfState(expected));
}

#[track_caller]
fn assert_refused(row: &EncodedRow, expected: &str) {
    let text = Record::decode(row.clone()).unwrap_err().to_string();
    let bucket = format!("of bucket {}: ", row.bucket.as_str());
    assert!(text.contains(&(bucket + expected)), "{row:?}: {text}");
}

#[test]
fn malformed_keys_are_refused() {
    let revision = "the key is no revision";
    let not_revisions = [
        "01",
        "0000000000000001 5e 0000000000000000",
        "8000000000000001 5f 0000000000000000",
        "0000000000000001 5f 8000000000000000",
        "0000000000000001 5f 0000000000000000 75",
        "0000000000000001 5f 0000000000000000 7474",
    ];
    for key in not_revisions {
        assert_refused(&row(BucketName::Key, hex(key), ""), revision);
    }
    let member = "the key is no id of a member";
    assert_refused(&row(BucketName::Members, "xyz", "{}"), member);
    assert_refused(&row(BucketName::MembersRemoved, hex("ff"), ""), member);
    let other = "the value is that of another key";
    let lease = hex("0802");
    assert_refused(
        &row(BucketName::Lease, hex("0000000000000001"), lease),
        other,
    );
    assert_refused(&row(BucketName::Lease, "x", ""), other);
    assert_refused(&row(BucketName::AuthUsers, "u", hex("0a0176")), other);
    assert_refused(&row(BucketName::AuthRoles, "u", hex("0a0176")), other);
    assert_refused(&row(BucketName::Members, "1", r#"{"id":2}"#), other);
}

#[test]
fn malformed_values_are_refused() {
    let message = "the message cannot be decoded";
    assert_refused(&row(BucketName::Key, hex(AT), hex("0a05")), message);
    assert_refused(&row(BucketName::Alarm, hex("ff"), ""), message);
    assert_refused(
        &row(BucketName::Members, "1", "{"),
        "the JSON cannot be read",
    );
    let number = "the value is no number of eight bytes";
    assert_refused(&row(BucketName::Meta, "term", "1"), number);
    assert_refused(&row(BucketName::Auth, "authRevision", ""), number);
    let revision = "the key is no revision";
    assert_refused(&row(BucketName::Meta, "finishedCompactRev", "1"), revision);
    let text = "the value is no text";
    assert_refused(&row(BucketName::Meta, "storageVersion", hex("ff")), text);
}
