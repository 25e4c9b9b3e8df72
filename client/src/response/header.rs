//! The header of a response: which member of which cluster answered, and the revision of its store.

use tenure_proto::{etcdserverpb::ResponseHeader, v1};

use crate::id::{MemberId, Revision};

/// Which member of which cluster answered, and how far its store was.
///
/// Everything is zero where a server leaves the header out, as it may in the responses inside a
/// transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Header {
    cluster_id: u64,
    member_id: u64,
    revision: i64,
    raft_term: u64,
}

impl Header {
    pub(crate) fn of(header: Option<ResponseHeader>) -> Option<Self> {
        header.map(|header| Self {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision,
            raft_term: header.raft_term,
        })
    }

    /// The header of an answer of tenure's own services, which do not tell the term.
    pub(crate) fn of_tenure(header: Option<v1::Header>) -> Option<Self> {
        header.map(|header| Self {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision,
            raft_term: 0,
        })
    }

    /// The id of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// The member that answered.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        MemberId::new(self.member_id)
    }

    /// The revision of the store when the answer was made.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::new(self.revision)
    }

    /// The Raft term in which the answer was made; zero from tenure's own services, which do not
    /// tell it.
    #[must_use]
    pub fn raft_term(&self) -> u64 {
        self.raft_term
    }

    /// The header as etcd's services send it.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: self.revision,
            raft_term: self.raft_term,
        }
    }

    /// The header as tenure's own services send it.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_tenure_wire(self) -> v1::Header {
        v1::Header {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: self.revision,
        }
    }
}

/// Gives responses access to their header: those with a field `header`, or, `in message`, those
/// that wrap the message which holds it.
macro_rules! headed {
    (in message: $($response:ty),* $(,)?) => {$(
        headed!(@ [] $response, |response| $crate::Header::of(response.0.header));
    )*};
    (<$item:ident> $response:ty) => {
        headed!(@ [<$item>] $response, |response| response.header);
    };
    ($($response:ty),* $(,)?) => {$(
        headed!(@ [] $response, |response| response.header);
    )*};
    (@ [$($generics:tt)*] $response:ty, |$this:ident| $header:expr) => {
        impl $($generics)* $response {
            /// Which member answered, and how far its store was.
            #[must_use]
            pub fn header(&self) -> $crate::Header {
                let $this = self;
                $header.unwrap_or_default()
            }

            /// The revision of the store when the answer was made.
            #[must_use]
            pub fn revision(&self) -> $crate::Revision {
                self.header().revision()
            }
        }
    };
}
pub(crate) use headed;
