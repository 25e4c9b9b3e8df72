//! Shared by the commands that hold a claim until a signal.

use tenure::{LeaseId, Token, wire::v1::Claim};

/// A signal requested the end of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interrupted;

/// Closes a session, with everything attached to its lease.
pub(super) async fn close(session: tenure::Session) {
    let lease = session.lease();
    if let Err(error) = session.close().await {
        super::print_message(format_args!(
            "lease {lease} was left to end by itself ({error})"
        ));
    }
}

/// A claim as its holder knows it. The key is the name and the lease, see `Claim.key` of the wire.
pub(super) fn claim(name: &str, value: &[u8], lease: LeaseId, token: Token) -> Claim {
    Claim {
        name: name.to_owned().into(),
        key: format!("{name}/{:x}", lease.get()).into(),
        lease: lease.get(),
        token: token.get(),
        value: value.to_vec().into(),
        held: true,
        ..Claim::default()
    }
}
