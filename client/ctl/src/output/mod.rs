//! Answers as text, in one of four formats.
//!
//! An answer is rendered whole before any of it is written, so that output of parallel watches does
//! not mix. Which formats an answer has is etcdctl's choice.

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

pub use coordination::Answer;
pub use number::go_duration;

use crate::{args::Format, failure::Failure};

/// An answer to be printed.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Keys that were read.
    Get {
        /// The answer.
        response: RangeResponse,
        /// What of it is printed in simple form.
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
    /// The state of a lease, and whether its keys were asked for.
    TimeToLive(LeaseTimeToLiveResponse, bool),
    /// All leases.
    Leases(LeaseLeasesResponse),
    /// A member was added.
    MemberAdd(MemberAddResponse),
    /// A member was removed.
    MemberRemove(MemberId, MemberListResponse),
    /// A member was changed.
    MemberUpdate(MemberId, MemberListResponse),
    /// A learner was promoted.
    MemberPromote(MemberId, MemberListResponse),
    /// All members.
    MemberList(MemberListResponse),
    /// Health of each endpoint.
    Health(Vec<Health>),
    /// State of each endpoint.
    Status(Vec<(String, StatusResponse)>),
    /// Hash of each endpoint.
    HashKv(Vec<(String, HashKvResponse)>),
    /// Leadership moved.
    MoveLeader {
        /// Who led before.
        from: MemberId,
        /// Who leads.
        to: MemberId,
        /// The answer.
        response: MoveLeaderResponse,
    },
    /// Alarms.
    Alarm(AlarmResponse),
    /// Of tenure's own services.
    Coordination(Answer),
}

/// What of a read is printed in simple form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Keys and values.
    All,
    /// Values.
    Values,
    /// The number of keys.
    Count,
}

/// What a watch delivered.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Header of the response.
    pub header: ResponseHeader,
    /// Changes.
    pub events: Vec<Event>,
    /// The compaction floor, when it ended the watch.
    pub compact_revision: i64,
    /// Whether the server ended the watch.
    pub canceled: bool,
}

/// Health of one endpoint.
#[derive(Debug, Clone)]
pub struct Health {
    /// The endpoint.
    pub endpoint: String,
    /// How long the question took.
    pub took: String,
    /// What is wrong, if anything.
    pub error: Option<String>,
}

/// Where answers are printed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The format.
    pub format: Format,
    /// Whether bytes and ids are hexadecimal.
    pub hex: bool,
}

impl Output {
    /// Prints an answer to standard output.
    ///
    /// # Errors
    /// [`Failure::Format`] when the answer has no such format; [`Failure::ReaderGone`] when nobody
    /// reads.
    pub fn print(self, reply: &Reply) -> Result<(), Failure> {
        self.say(&self.render(reply)?)
    }

    /// Prints text to standard output as it is.
    ///
    /// # Errors
    /// [`Failure::ReaderGone`] when nobody reads, and any other failure to write.
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
