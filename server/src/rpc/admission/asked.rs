//! What an administrative call asks for, for its line of the audit log.
//!
//! Read from the message before a handler sees it, because a call that is refused has none. The
//! body is handed on as it came. Invariant: no value of a key, password or token is taken from a
//! message; passwords are not even decoded.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::future::poll_fn;
use http_body::{Body as _, Frame, SizeHint};
use prost::Message;
use tenure_proto::{etcdserverpb as etcd, v1};
use tokio::time::timeout;

use super::table::Method;

/// Longest message that is looked at: the longest names and ranges take a few kilobytes.
const BYTES_MAX: usize = 16 << 10;
/// Longest wait for a message. A client that sends none, or slowly, gets a line without details.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Before each message of gRPC: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// Most peer URLs of a member that are named.
const URLS_MAX: usize = 8;

/// What a call is about, by name.
pub(super) type Details = Vec<(&'static str, String)>;

/// Takes the beginning of `body`; returns what it is about, and the body as it was.
///
/// # Cancel safety
/// The body is lost with the future, and the call with it.
pub(super) async fn asked(method: Method, mut body: Body) -> (Details, Body) {
    let (mut frames, mut message) = (VecDeque::new(), BytesMut::new());
    let read = async {
        while !is_whole(&message) && message.len() < BYTES_MAX {
            let next = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            let Some(frame) = next else {
                return;
            };
            if let Ok(frame) = &frame
                && let Some(data) = frame.data_ref()
            {
                message.extend_from_slice(data);
            }
            let is_last = !matches!(&frame, Ok(frame) if frame.is_data());
            frames.push_back(frame);
            if is_last {
                return;
            }
        }
    };
    // Late or not, what came is handed on.
    _ = timeout(WAIT_MAX, read).await;
    let details = whole(&message).map_or_else(Vec::new, |message| details(method, message));
    let rest = body;
    (details, Body::new(Peeked { frames, rest }))
}

/// A body whose first frames were read.
struct Peeked {
    frames: VecDeque<Result<Frame<Bytes>, axum::Error>>,
    rest: Body,
}

impl http_body::Body for Peeked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// Whether a first message is there as a whole.
fn is_whole(bytes: &[u8]) -> bool {
    whole(bytes).is_some()
}

/// The first message, if it is there as a whole, not too long and not compressed.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let ([compressed, length @ ..], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length)
        .filter(|message| *compressed == 0 && message.len() <= BYTES_MAX)
}

/// What a message of `method` is about. A message that does not decode is about nothing.
fn details(method: Method, message: &[u8]) -> Details {
    match method.action().as_str() {
        // The name is the first field of all of these, beside which there may be a password.
        "Auth/UserAdd" | "Auth/UserDelete" | "Auth/UserChangePassword" => {
            of(message, |it: etcd::AuthUserDeleteRequest| {
                vec![("name", it.name)]
            })
        }
        "Auth/UserGrantRole" => of(message, |it: etcd::AuthUserGrantRoleRequest| {
            vec![("user", it.user), ("role", it.role)]
        }),
        "Auth/UserRevokeRole" => of(message, |it: etcd::AuthUserRevokeRoleRequest| {
            vec![("name", it.name), ("role", it.role)]
        }),
        "Auth/RoleAdd" => of(message, |it: etcd::AuthRoleAddRequest| {
            vec![("name", it.name)]
        }),
        "Auth/RoleDelete" => of(message, |it: etcd::AuthRoleDeleteRequest| {
            vec![("role", it.role)]
        }),
        "Auth/RoleGrantPermission" => of(message, granted),
        "Auth/RoleRevokePermission" => of(message, |it: etcd::AuthRoleRevokePermissionRequest| {
            let mut details = vec![("role", it.role)];
            details.extend(range(&it.key, &it.range_end));
            details
        }),
        "KV/Compact" => of(message, |it: etcd::CompactionRequest| {
            vec![("revision", it.revision.to_string())]
        }),
        "Cluster/MemberAdd" => of(message, |it: etcd::MemberAddRequest| {
            vec![("peer_urls", urls(&it.peer_ur_ls))]
        }),
        "Cluster/MemberUpdate" => of(message, |it: etcd::MemberUpdateRequest| {
            vec![member(it.id), ("peer_urls", urls(&it.peer_ur_ls))]
        }),
        "Cluster/MemberRemove" => of(message, |it: etcd::MemberRemoveRequest| vec![member(it.id)]),
        "Cluster/MemberPromote" => of(message, |it: etcd::MemberPromoteRequest| {
            vec![member(it.id)]
        }),
        "Maintenance/MoveLeader" => of(message, |it: etcd::MoveLeaderRequest| {
            vec![member(it.target_id)]
        }),
        "Maintenance/HashKV" => of(message, |it: etcd::HashKvRequest| {
            vec![("revision", it.revision.to_string())]
        }),
        "Lock/ForceRelease" => of(message, |it: v1::ForceReleaseRequest| {
            let name = ("name", shown(&it.name));
            vec![name, ("token", it.token.to_string()), ("why", it.reason)]
        }),
        "Fence/SetPolicy" => of(message, |it: v1::SetPolicyRequest| {
            let policy = it.policy.unwrap_or_default();
            vec![
                ("prefix", shown(&policy.prefix)),
                ("lock", shown(&policy.lock)),
            ]
        }),
        "Fence/RemovePolicy" => of(message, |it: v1::RemovePolicyRequest| {
            vec![("prefix", shown(&it.prefix))]
        }),
        // The others are about nothing that has a name.
        _ => Vec::new(),
    }
}

fn of<M: Message + Default>(message: &[u8], about: impl FnOnce(M) -> Details) -> Details {
    M::decode(message).map_or_else(|_| Vec::new(), about)
}

fn granted(it: etcd::AuthRoleGrantPermissionRequest) -> Details {
    let mut details = vec![("role", it.name)];
    if let Some(permission) = &it.perm {
        details.extend(range(&permission.key, &permission.range_end));
        details.push(("access", format!("{:?}", permission.perm_type())));
    }
    details
}

fn range(key: &[u8], range_end: &[u8]) -> [(&'static str, String); 2] {
    [("key", shown(key)), ("range_end", shown(range_end))]
}

fn member(id: u64) -> (&'static str, String) {
    ("member", format!("{id:x}"))
}

fn urls(urls: &[String]) -> String {
    let named: Vec<&str> = urls.iter().take(URLS_MAX).map(String::as_str).collect();
    named.join(",")
}

/// Bytes in a line. The line cuts what is long.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn framed(message: &impl Message) -> Vec<u8> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).expect("short");
        let mut framed = vec![0];
        framed.extend(length.to_be_bytes());
        framed.extend(message);
        framed
    }

    /// A body that comes byte by byte.
    fn slowly(bytes: Vec<u8>) -> Body {
        let pieces = bytes
            .into_iter()
            .map(|byte| Ok::<_, axum::Error>(vec![byte]));
        Body::from_stream(futures::stream::iter(pieces))
    }

    async fn rest(body: Body) -> Vec<u8> {
        let pieces: Vec<_> = body.into_data_stream().collect().await;
        let pieces = pieces.into_iter().map(|piece| piece.expect("data"));
        pieces.flatten().collect()
    }

    fn method(path: &str) -> Method {
        Method::at(path).expect("a method")
    }

    #[tokio::test]
    async fn a_message_is_read_and_handed_on_however_it_comes() {
        let request = etcd::AuthUserAddRequest {
            name: "mallory".to_owned(),
            password: "hunter2".to_owned(),
            hashed_password: "hunter3".to_owned(),
            ..Default::default()
        };
        let bytes = framed(&request);
        for body in [Body::from(bytes.clone()), slowly(bytes.clone())] {
            let (details, body) = asked(method("/etcdserverpb.Auth/UserAdd"), body).await;
            assert_eq!(details, [("name", "mallory".to_owned())]);
            assert_eq!(rest(body).await, bytes);
        }
    }

    #[tokio::test]
    async fn ranges_names_and_members_are_told() {
        let release = v1::ForceReleaseRequest {
            name: "jobs/\u{1}".into(),
            token: 7,
            reason: "stuck".to_owned(),
            options: None,
        };
        let path = method("/tenure.v1.Lock/ForceRelease");
        let (details, _) = asked(path, framed(&release).into()).await;
        let expected = [("name", r"jobs/\x01"), ("token", "7"), ("why", "stuck")];
        assert_eq!(
            details,
            expected.map(|(name, text)| (name, text.to_owned()))
        );
        let revoke = etcd::AuthRoleRevokePermissionRequest {
            role: "app".to_owned(),
            key: "a".into(),
            range_end: "b".into(),
        };
        let path = method("/etcdserverpb.Auth/RoleRevokePermission");
        let (details, _) = asked(path, framed(&revoke).into()).await;
        let expected = [("role", "app"), ("key", "a"), ("range_end", "b")];
        assert_eq!(
            details,
            expected.map(|(name, text)| (name, text.to_owned()))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_long_broken_or_compressed_is_about_nothing() {
        let path = || method("/etcdserverpb.Auth/RoleAdd");
        let whole = framed(&etcd::AuthRoleAddRequest {
            name: "app".to_owned(),
        });
        let mut compressed = whole.clone();
        compressed[0] = 1;
        let mut broken = whole.clone();
        broken[5] = 0xff;
        let long = framed(&etcd::AuthRoleAddRequest {
            name: "x".repeat(BYTES_MAX + 1),
        });
        for bytes in [Vec::new(), whole[..6].to_vec(), compressed, broken, long] {
            let (details, body) = asked(path(), bytes.clone().into()).await;
            assert_eq!(details, []);
            assert_eq!(rest(body).await, bytes);
        }
        let never = futures::stream::pending::<Result<Vec<u8>, axum::Error>>();
        let (details, _) = asked(path(), Body::from_stream(never)).await;
        assert_eq!(details, []);
    }
}
