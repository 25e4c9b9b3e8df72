//! Answers as text, in one of four formats.
//!
//! An answer is rendered whole before any of it is written, so that output of parallel watches does
//! not mix. The supported formats of an answer are those of etcdctl.

mod access;
mod coordination;
mod fields;
mod json;
mod lines;
mod number;
mod records;
mod sheet;
mod simple;
mod table;

use std::io::{self, Write};

use tenure::{
    LeaseId, MemberId,
    wire::{
        etcdserverpb::{
            AlarmResponse, DeleteRangeResponse, HashKvResponse, LeaseGrantResponse,
            LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse, MemberAddResponse,
            MemberListResponse, MoveLeaderResponse, PutResponse, RangeResponse, ResponseHeader,
            StatusResponse, TxnResponse,
        },
        mvccpb::Event,
    },
};

pub use access::{AccessAnswer, Verdict};
pub use coordination::Answer;
pub use number::{go_duration, size as human_size};
pub(crate) use table::grid;

use crate::{args::Format, failure::Failure};

/// An answer to be printed.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Keys that were read.
    Get {
        response: RangeResponse,
        /// The part that the simple format prints.
        part: Part,
    },
    /// A key was written.
    Put(PutResponse),
    /// Keys were deleted.
    Delete(DeleteRangeResponse),
    /// A transaction was run.
    Txn(TxnResponse),
    /// Changes, or the end of a watch.
    Watch(Watched),
    /// A lease was granted.
    Grant(LeaseGrantResponse),
    /// A lease was revoked.
    Revoke(LeaseId, LeaseRevokeResponse),
    /// A lease was renewed.
    KeepAlive(LeaseGrantResponse),
    /// The state of a lease, and whether its keys were requested.
    TimeToLive(LeaseTimeToLiveResponse, bool),
    Leases(LeaseLeasesResponse),
    /// A member was added.
    MemberAdd(MemberAddResponse),
    /// A member was removed.
    MemberRemove(MemberId, MemberListResponse),
    /// A member was changed.
    MemberUpdate(MemberId, MemberListResponse),
    /// A learner was promoted.
    MemberPromote(MemberId, MemberListResponse),
    MemberList(MemberListResponse),
    /// Health of each endpoint.
    Health(Vec<Health>),
    /// State of each endpoint.
    Status(Vec<(String, StatusResponse)>),
    /// Hash of each endpoint.
    HashKv(Vec<(String, HashKvResponse)>),
    MoveLeader {
        /// The former leader.
        from: MemberId,
        /// The new leader.
        to: MemberId,
        response: MoveLeaderResponse,
    },
    Alarm(AlarmResponse),
    /// An answer about users, roles and permissions.
    Access(AccessAnswer),
    /// An answer of tenure's own services.
    Coordination(Answer),
}

/// The part of a read that the simple format prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    Values,
    /// The number of keys.
    Count,
}

/// An update of a watch.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Header of the response.
    pub header: ResponseHeader,
    pub events: Vec<Event>,
    /// The compaction floor, if compaction ended the watch.
    pub compact_revision: i64,
    /// Whether the server ended the watch.
    pub canceled: bool,
}

/// Health of one endpoint.
#[derive(Debug, Clone)]
pub struct Health {
    pub endpoint: String,
    /// Duration of the check.
    pub took: String,
    /// The failure of the check, if any.
    pub error: Option<String>,
}

/// Prints answers in one format.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
    /// Whether bytes and ids are printed in hexadecimal.
    pub hex: bool,
}

impl Output {
    /// Prints an answer to standard output.
    ///
    /// # Errors
    /// [`Failure::Format`] when the answer has no such format; [`Failure::ReaderGone`] for a broken
    /// pipe.
    pub fn print(self, reply: &Reply) -> Result<(), Failure> {
        self.say(&self.render(reply)?)
    }

    /// Prints text to standard output.
    ///
    /// # Errors
    /// [`Failure::ReaderGone`] for a broken pipe, and any other failure to write.
    pub fn say(self, text: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text)?;
        stdout.flush()?;
        Ok(())
    }

    /// The text of an answer.
    ///
    /// # Errors
    /// [`Failure::Format`] when the answer has no such format.
    pub fn render(self, reply: &Reply) -> Result<Vec<u8>, Failure> {
        let text = match self.format {
            Format::Simple => Some(simple::render(reply, self.hex)),
            Format::Json => Some(json::render(reply, self.hex).into_bytes()),
            Format::Fields => fields::render(reply, self.hex).map(String::into_bytes),
            Format::Table => table::render(reply, self.hex).map(String::into_bytes),
        };
        text.ok_or(Failure::Format(self.format.name()))
    }
}
