//! Requests as they are asked of both servers, and replies as they are compared.
//!
//! A reply is compared as text, whole: what two servers cannot have in common is blanked first,
//! here and nowhere else.

use std::fmt::{self, Debug};

use prost::Message;
use tenure_proto::etcdserverpb as wire;
use tonic::Code;

use super::{
    known,
    wire::{Answer, Call, FRAME_HEAD_BYTES, frame},
};

/// A request of a unary call, or the one request on a stream that answers each with one response.
pub(crate) trait Ask: Message + Debug {
    /// `/package.Service/Method`.
    const PATH: &'static str;
    /// Whether the call is a stream.
    const STREAM: bool = false;
    type Reply: Message + Default + Debug + Settle;
}

/// A reply that can be compared between servers.
pub(crate) trait Settle {
    /// Blanks what two servers cannot have in common, and returns the header's revision.
    fn settle(&mut self) -> Option<i64>;
}

/// A reply made comparable.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    pub(crate) text: String,
    /// The revision of the header of the last message.
    pub(crate) revision: Option<i64>,
    shown: Vec<String>,
}

/// A request that is ready to be sent to any server.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) call: Call,
    what: String,
    read: fn(&Answer) -> Reply,
}

impl Question {
    pub(crate) fn of<A: Ask>(request: &A) -> Self {
        let mut call = Call::new(A::PATH, frame(&request.encode_to_vec()));
        call.open = A::STREAM.then_some(1);
        Self {
            call,
            what: format!("{request:?}"),
            read: read::<A::Reply>,
        }
    }

    pub(crate) fn read(&self, answer: &Answer) -> Reply {
        (self.read)(answer)
    }

    /// The request, if it is one of this kind.
    pub(crate) fn request<A: Ask + Default>(&self) -> Option<A> {
        let message = self.call.body.get(FRAME_HEAD_BYTES..)?;
        (self.call.path == A::PATH)
            .then(|| A::decode(message).ok())
            .flatten()
    }
}

impl Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code != Code::Ok || !self.text.is_empty() {
            write!(f, "{:?} {:?} ", self.code, self.text)?;
        }
        f.write_str(&self.shown.join("\n"))
    }
}

fn read<R: Message + Default + Debug + Settle>(answer: &Answer) -> Reply {
    let mut revision = None;
    let shown = answer.messages.iter().map(|message| {
        let mut reply = R::decode(message.as_ref()).expect("a server answers in protobuf");
        revision = reply.settle();
        format!("{reply:#?}")
    });
    let shown = shown.collect();
    Reply {
        code: answer.code,
        text: answer.text.clone(),
        revision,
        shown,
    }
}

/// Blanks who answered; the revision stays.
pub(crate) fn settle_header(header: &mut Option<wire::ResponseHeader>) -> Option<i64> {
    let header = header.as_mut()?;
    header.cluster_id = 0;
    header.member_id = 0;
    header.raft_term = 0;
    Some(header.revision)
}

macro_rules! asks {
    ($($service:ident / $method:ident: $request:ident -> $reply:ident $(, $also:expr)?;)+) => {
        $(
            impl Ask for wire::$request {
                const PATH: &'static str =
                    concat!("/etcdserverpb.", stringify!($service), "/", stringify!($method));
                type Reply = wire::$reply;
            }

            impl Settle for wire::$reply {
                fn settle(&mut self) -> Option<i64> {
                    $(
                        let also: fn(&mut Self) = $also;
                        also(self);
                    )?
                    settle_header(&mut self.header)
                }
            }
        )+
    };
}

asks! {
    KV/Range: RangeRequest -> RangeResponse;
    KV/Put: PutRequest -> PutResponse;
    KV/DeleteRange: DeleteRangeRequest -> DeleteRangeResponse;
    KV/Txn: TxnRequest -> TxnResponse;
    KV/Compact: CompactionRequest -> CompactionResponse;
    Lease/LeaseGrant: LeaseGrantRequest -> LeaseGrantResponse;
    Lease/LeaseRevoke: LeaseRevokeRequest -> LeaseRevokeResponse;
    Lease/LeaseTimeToLive: LeaseTimeToLiveRequest -> LeaseTimeToLiveResponse, settle_time_to_live;
    Lease/LeaseLeases: LeaseLeasesRequest -> LeaseLeasesResponse;
    Maintenance/HashKV: HashKvRequest -> HashKvResponse, known::without_hash_revision;
    Maintenance/Alarm: AlarmRequest -> AlarmResponse, known::without_header;
    Maintenance/Defragment: DefragmentRequest -> DefragmentResponse;
    Maintenance/MoveLeader: MoveLeaderRequest -> MoveLeaderResponse;
    Cluster/MemberAdd: MemberAddRequest -> MemberAddResponse;
    Cluster/MemberRemove: MemberRemoveRequest -> MemberRemoveResponse;
    Cluster/MemberUpdate: MemberUpdateRequest -> MemberUpdateResponse;
    Cluster/MemberPromote: MemberPromoteRequest -> MemberPromoteResponse;
    Auth/Authenticate: AuthenticateRequest -> AuthenticateResponse;
}

impl Ask for wire::LeaseKeepAliveRequest {
    const PATH: &'static str = "/etcdserverpb.Lease/LeaseKeepAlive";
    const STREAM: bool = true;
    type Reply = wire::LeaseKeepAliveResponse;
}

impl Settle for wire::LeaseKeepAliveResponse {
    fn settle(&mut self) -> Option<i64> {
        settle_header(&mut self.header)
    }
}

impl Ask for wire::WatchRequest {
    const PATH: &'static str = "/etcdserverpb.Watch/Watch";
    const STREAM: bool = true;
    type Reply = wire::WatchResponse;
}

impl Settle for wire::WatchResponse {
    fn settle(&mut self) -> Option<i64> {
        settle_header(&mut self.header)
    }
}

/// What is left of a lease depends on when each server was asked; a lease's keys are a set.
fn settle_time_to_live(reply: &mut wire::LeaseTimeToLiveResponse) {
    assert!(
        reply.ttl <= reply.granted_ttl,
        "more is left than was granted: {reply:?}"
    );
    reply.ttl = reply.ttl.min(0);
    reply.keys.sort_unstable();
}
