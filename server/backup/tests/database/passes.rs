//! The two passes of writing: impossible rows are refused, and rows that change are noticed.

use std::convert::Infallible;

use bytes::Bytes;
use tenure_backup::bbolt::{Plan, Planner, RowFault, RowSink, VALUE_BYTES_MAX, WriteError, Writer};

use crate::written::{Buckets, feed};

type Rows<'a> = &'a [(&'a str, &'a [(&'a str, usize)])];

fn buckets(all: Rows<'_>) -> Buckets {
    let row = |(key, length): &(&str, usize)| {
        (
            Bytes::copy_from_slice(key.as_bytes()),
            vec![0; *length].into(),
        )
    };
    all.iter()
        .map(|(name, rows)| {
            let name = Bytes::copy_from_slice(name.as_bytes());
            (name, rows.iter().map(row).collect())
        })
        .collect()
}

fn plan(all: Rows<'_>) -> Plan {
    let mut planner = Planner::new();
    feed(&buckets(all), &mut planner).unwrap();
    planner.finish()
}

/// Plans some rows and writes others.
fn written(planned: Rows<'_>, fed: Rows<'_>) -> Result<(), WriteError<Infallible>> {
    let mut writer = Writer::begin(plan(planned), |_| Ok(()))?;
    feed(&buckets(fed), &mut writer)?;
    writer.finish()
}

#[test]
fn rows_that_changed_between_the_passes_are_noticed() {
    let planned: Rows<'_> = &[("a", &[]), ("b", &[("k", 10), ("l", 5000), ("m", 10)])];
    written(planned, planned).unwrap();
    let others: [Rows<'_>; 11] = [
        &[],
        &[("a", &[])],
        &[("b", &[("k", 10), ("l", 5000), ("m", 10)])],
        &[
            ("a", &[("k", 1)]),
            ("b", &[("k", 10), ("l", 5000), ("m", 10)]),
        ],
        &[("a", &[]), ("b", &[])],
        &[("a", &[]), ("b", &[("k", 10), ("l", 5000)])],
        &[
            ("a", &[]),
            ("b", &[("k", 10), ("l", 5000), ("m", 10), ("n", 0)]),
        ],
        &[("a", &[]), ("b", &[("k", 11), ("l", 5000), ("m", 10)])],
        &[("a", &[]), ("b", &[("k", 10), ("l", 4000), ("m", 10)])],
        &[("a", &[]), ("b", &[("k", 10), ("l", 5000), ("x", 10)])],
        &[
            ("a", &[]),
            ("b", &[("k", 10), ("l", 5000), ("m", 10)]),
            ("c", &[]),
        ],
    ];
    for other in others {
        let result = written(planned, other);
        assert!(
            matches!(result, Err(WriteError::Changed { .. })),
            "{other:?}: {result:?}"
        );
    }
}

#[test]
fn impossible_rows_are_refused_by_both_passes() {
    let mut planner = Planner::new();
    assert_eq!(planner.row(b"k", b""), Err(RowFault::NoBucket));
    assert_eq!(planner.bucket(b""), Err(RowFault::KeyEmpty));
    planner.bucket(b"b").unwrap();
    assert_eq!(planner.bucket(b"b"), Err(RowFault::Order));
    assert_eq!(planner.bucket(b"a"), Err(RowFault::Order));
    planner.row(b"k", b"").unwrap();
    assert_eq!(planner.row(b"", b""), Err(RowFault::KeyEmpty));
    assert_eq!(planner.row(b"k", b""), Err(RowFault::Order));
    assert_eq!(planner.row(b"j", b""), Err(RowFault::Order));
    let long = [b'x'; 32_769];
    assert_eq!(planner.row(&long, b""), Err(RowFault::KeyTooLong(32_769)));
    let beyond = VALUE_BYTES_MAX + 1;
    let refused = planner.row_of_length(b"l", beyond);
    assert_eq!(refused, Err(RowFault::ValueTooLong(beyond)));

    let mut writer = Writer::begin(planner.finish(), |_| Ok::<_, Infallible>(())).unwrap();
    let fault = |result: Result<(), WriteError<Infallible>>| match result {
        Err(WriteError::Row(fault)) => fault,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(fault(writer.row(b"k", b"")), RowFault::NoBucket);
    writer.bucket(b"b").unwrap();
    assert_eq!(fault(writer.row(b"", b"")), RowFault::KeyEmpty);
    assert_eq!(fault(writer.row(&long, b"")), RowFault::KeyTooLong(32_769));
    writer.row(b"k", b"").unwrap();
    assert_eq!(fault(writer.row(b"k", b"")), RowFault::Order);
}

#[test]
fn a_sink_that_takes_no_more_ends_the_second_pass() {
    #[derive(Debug, thiserror::Error)]
    #[error("gone")]
    struct Gone;
    let rows: Rows<'_> = &[("b", &[("k", 100_000), ("l", 100_000)])];
    let mut left = 2;
    let mut writer = Writer::begin(plan(rows), |_| {
        left -= 1;
        if left >= 0 { Ok(()) } else { Err(Gone) }
    })
    .unwrap();
    let result = feed(&buckets(rows), &mut writer).and_then(|()| writer.finish());
    assert!(matches!(result, Err(WriteError::Sink(Gone))), "{result:?}");
}
