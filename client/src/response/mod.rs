//! Responses of servers, as types of this crate.
//!
//! They wrap or are built from the generated protobuf messages without copying values, so that a
//! new version of the code generator does not affect users. With the feature `wire` a response
//! converts back into its message by `into_wire`.

mod access;
mod claim;
mod cluster;
mod event;
mod header;
mod key_value;
mod kv;
mod lease;
mod list;
mod log_end;
mod maintenance;
mod policy;
mod registered;
mod session;
mod txn;

pub use access::{AccessStatus, Permission, PermissionKind, Role, User};
pub use claim::{Claim, ClaimMode, LockList, LockQueue, TokenCheck};
pub use cluster::{Member, MemberAdded, MemberRole};
pub use event::Event;
pub use header::Header;
pub use key_value::KeyValue;
pub use kv::{DeleteResponse, GetResponse, PutResponse};
pub use lease::{Lease, LeaseTimeToLive};
pub use list::List;
pub use log_end::{LogEnd, LoggedMember};
pub use maintenance::{Alarm, AlarmKind, HistoryHash, SnapshotPiece, Status, StoreHash};
pub use policy::FencePolicy;
pub use registered::{Discovered, InstanceEndpoint, Readiness, RegisteredInstance};
pub use session::SessionState;
pub use txn::{OpResponse, TxnResponse};

pub(crate) use header::impl_header;

/// Implements iteration over a field of a response, by value and by reference.
macro_rules! impl_iter {
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
use impl_iter;
