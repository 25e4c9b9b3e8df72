//! What servers answer, as types of this crate.
//!
//! The generated messages of the wire are moved into these types field by field, so that values are
//! never copied and a new version of the code generator changes nothing for users. With the feature
//! `wire` every response turns back into its message by `into_wire`.

mod claim;
mod cluster;
mod event;
mod header;
mod key_value;
mod kv;
mod lease;
mod list;
mod maintenance;
mod policy;
mod registered;
mod session;
mod txn;

pub use claim::{Claim, ClaimMode, LockList, LockQueue, TokenCheck};
pub use cluster::{Member, MemberAdded, MemberRole};
pub use event::Event;
pub use header::Header;
pub use key_value::KeyValue;
pub use kv::{DeleteResponse, GetResponse, PutResponse};
pub use lease::{Lease, LeaseTimeToLive};
pub use list::List;
pub use maintenance::{Alarm, AlarmKind, HistoryHash, SnapshotPiece, Status, StoreHash};
pub use policy::FencePolicy;
pub use registered::{Discovered, Readiness, RegisteredInstance, ServedAt};
pub use session::SessionState;
pub use txn::{OpResponse, TxnResponse};

pub(crate) use header::headed;

/// Makes a response iterable over a field, by value and by reference.
macro_rules! iterable {
    ($(#[doc = $doc:literal])+ $response:ident . $field:ident : $item:ty) => {
        impl $response {
            $(#[doc = $doc])+
            pub fn iter(&self) -> std::slice::Iter<'_, $item> {
                self.$field.iter()
            }
        }

        impl IntoIterator for $response {
            type Item = $item;
            type IntoIter = std::vec::IntoIter<$item>;

            fn into_iter(self) -> Self::IntoIter {
                self.$field.into_iter()
            }
        }

        impl<'a> IntoIterator for &'a $response {
            type Item = &'a $item;
            type IntoIter = std::slice::Iter<'a, $item>;

            fn into_iter(self) -> Self::IntoIter {
                self.$field.iter()
            }
        }
    };
}
use iterable;
