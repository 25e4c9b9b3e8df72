//! The attacks: what each needs and which client does what.

use anyhow::Result;
use clap::ValueEnum;

use super::{crowd, fill::Data, leases, raw, reads, watchers, writes};

/// What a hostile client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Attack {
    /// Nothing: what honest clients see on this machine by itself.
    None,
    /// A transaction of 1.5 kB whose answer would be 4 GB.
    Answers,
    /// A transaction of nested counts over many keys.
    Counts,
    /// One client that keeps 15,000 leases alive on one stream.
    Leases,
    /// Forty streamed ranges that are not read.
    Streams,
    /// Forty ranges that are not read.
    Ranges,
    /// A list of a million keys.
    List,
    /// Six lists of a million keys at once.
    Lists,
    /// A hundred thousand watchers of one key on a stream that is not read.
    Watchers,
    /// Hundreds of watch streams that begin in the past and are not read.
    History,
    /// A delete of 400,000 keys by one prefix.
    Delete,
    /// The end of a lease with 400,000 keys.
    Revoke,
    /// Silent connections up to the limit on descriptors.
    Crowd,
}

impl Attack {
    /// In the order in which they are made.
    pub(super) const ALL: [Self; 13] = [
        Self::None,
        Self::Answers,
        Self::Counts,
        Self::Leases,
        Self::Streams,
        Self::Ranges,
        Self::List,
        Self::Lists,
        Self::Watchers,
        Self::History,
        Self::Delete,
        Self::Revoke,
        Self::Crowd,
    ];

    /// The name on the command line and in the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Answers => "answers",
            Self::Counts => "counts",
            Self::Leases => "leases",
            Self::Streams => "streams",
            Self::Ranges => "ranges",
            Self::List => "list",
            Self::Lists => "lists",
            Self::Watchers => "watchers",
            Self::History => "history",
            Self::Delete => "delete",
            Self::Revoke => "revoke",
            Self::Crowd => "crowd",
        }
    }

    /// What must be there before.
    pub(super) const fn data(self) -> Data {
        let (keys, value_bytes) = match self {
            Self::None | Self::Leases | Self::Watchers | Self::Crowd => (0, 0),
            Self::Answers | Self::History => (1_000, 34_000),
            Self::Counts => (20_000, 8),
            Self::Streams | Self::Ranges => (2_000, 16_000),
            Self::List | Self::Lists => (1_000_000, 64),
            Self::Delete | Self::Revoke => (400_000, 8),
        };
        Data {
            keys,
            value_bytes,
            leased: matches!(self, Self::Revoke),
        }
    }

    /// The descriptors that a node may have open, where that matters.
    pub(super) const fn descriptors(self) -> Option<usize> {
        match self {
            Self::Crowd => Some(crowd::DESCRIPTORS),
            _ => None,
        }
    }

    /// Makes the attack through the node at `url`; says what came of it.
    pub(super) async fn make(self, url: &str) -> String {
        let done = match self {
            Self::None => Ok("nothing was done".to_owned()),
            Self::Answers => writes::answers(url).await,
            Self::Counts => writes::counts(url).await,
            Self::Leases => leases::keep(url).await,
            Self::Streams => reads::unread(url, raw::RANGE_STREAM).await,
            Self::Ranges => reads::unread(url, raw::RANGE).await,
            Self::List => reads::lists(url, 1).await,
            Self::Lists => reads::lists(url, 6).await,
            Self::Watchers => watchers::watch(url).await,
            Self::History => watchers::past(url).await,
            Self::Delete => writes::delete(url).await,
            Self::Revoke => writes::revoke(url).await,
            Self::Crowd => crowd::sit(url).await,
        };
        tell(done)
    }
}

fn tell(done: Result<String>) -> String {
    done.unwrap_or_else(|error| format!("failed: {error:#}"))
}
