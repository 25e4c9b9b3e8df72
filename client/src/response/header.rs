//! The header of a response: cluster, member, revision and Raft term.

use tenure_proto::{etcdserverpb::ResponseHeader, v1};

use crate::id::{MemberId, Revision};

/// The header of a response: the cluster and member that answered, and the revision of its store.
///
/// All fields are zero where a server omits the header, as it may in the responses inside a
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

    /// Converts a header of tenure's own services, which has no term.
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

    /// The revision of the store at the time of the response.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::new(self.revision)
    }

    /// The Raft term of the member; zero from tenure's own services, which do not send it.
    #[must_use]
    pub fn raft_term(&self) -> u64 {
        self.raft_term
    }

    /// Converts into the header of etcd's services.
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

    /// Converts into the header of tenure's own services.
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

/// Implements access to the header for responses with a field `header`, or, `in message`, for those
/// that wrap a message with one.
macro_rules! impl_header {
    (in message: $($response:ty),* $(,)?) => {$(
        impl_header!(@ [] $response, |response| $crate::Header::of(response.0.header));
    )*};
    (<$item:ident> $response:ty) => {
        impl_header!(@ [<$item>] $response, |response| response.header);
    };
    ($($response:ty),* $(,)?) => {$(
        impl_header!(@ [] $response, |response| response.header);
    )*};
    (@ [$($generics:tt)*] $response:ty, |$this:ident| $header:expr) => {
        impl $($generics)* $response {
            /// The header of the response.
            #[must_use]
            pub fn header(&self) -> $crate::Header {
                let $this = self;
                $header.unwrap_or_default()
            }

            /// The revision of the store at the time of the response.
            #[must_use]
            pub fn revision(&self) -> $crate::Revision {
                self.header().revision()
            }
        }
    };
}
pub(crate) use impl_header;
