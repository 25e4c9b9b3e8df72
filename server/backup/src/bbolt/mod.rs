//! The file format of bbolt, the embedded database of etcd: a writer and a reader.
//!
//! A file is a sequence of pages. Pages 0 and 1 are *metas*: each names a root, and the valid one
//! with the larger transaction id counts. The root is a B+ tree of *buckets*, each of which is a
//! B+ tree of rows or, when it is small, a leaf inside the root's row. A *branch* page lists the
//! first key and the number of each child; a *leaf* page holds rows. A page that needs more room
//! than the page size is followed by *overflow* pages.
//!
//! The writer streams: it is told all rows twice. The first pass, [`Planner`], computes where each
//! page will be; the second, [`Writer`], emits the bytes of the file in order. The reader,
//! [`Database`], reads single pages and trusts none of them. It reads no nested buckets, which etcd
//! does not use.

mod check;
mod cursor;
mod error;
mod format;
mod meta;
mod output;
mod page;
mod plan;
mod reader;
mod row_sink;
mod source;
mod tree;
mod writer;

pub use self::{
    check::Checked,
    cursor::{Row, Rows},
    error::{Damage, PageFault, ReadError},
    format::{CHUNK_BYTES_MAX, KEY_BYTES_MAX, PAGE_BYTES, PAGE_RUN_BYTES_MAX, VALUE_BYTES_MAX},
    plan::{Plan, Planner},
    reader::{Bucket, Buckets, Database},
    row_sink::{RowFault, RowSink},
    source::ReadAt,
    writer::{WriteError, Writer},
};
