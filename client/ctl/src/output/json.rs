//! Answers as JSON documents, one line each, in the format of etcdctl: protobuf field names, bytes
//! in base64, ids as numbers, zero and empty members omitted.
//!
//! Members are in the order of the protobuf fields, so documents are not built from maps.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};
use tenure::wire::{
    etcdserverpb::{
        AlarmResponse, DeleteRangeResponse, HashKvResponse, LeaseTimeToLiveResponse, Member,
        PutResponse, RangeResponse, ResponseHeader, StatusResponse, TxnResponse,
        response_op::Response,
    },
    mvccpb::{Event, KeyValue},
};

use super::{
    AccessAnswer, Reply, Watched,
    sheet::{Cell, Record, Sheet},
};

/// A JSON value whose members keep their order.
#[derive(Debug, Clone)]
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(String),
    Array(Vec<Json>),
    Object(Object),
}

impl Json {
    /// Whether etcdctl omits such a member.
    fn is_empty(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) | Self::Int(0) | Self::Uint(0) => true,
            Self::Text(text) => text.is_empty(),
            Self::Array(items) => items.is_empty(),
            _ => false,
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(Object(members)) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

macro_rules! json_from {
    ($($source:ty => $variant:ident as $target:ty),*) => {$(
        impl From<$source> for Json {
            fn from(value: $source) -> Self {
                Self::$variant(<$target>::from(value))
            }
        }
    )*};
}

json_from!(
    bool => Bool as bool,
    i32 => Int as i64,
    i64 => Int as i64,
    u32 => Uint as u64,
    u64 => Uint as u64,
    String => Text as String,
    &String => Text as String,
    &str => Text as String,
    Object => Object as Object
);

impl From<Option<Object>> for Json {
    fn from(object: Option<Object>) -> Self {
        object.map_or(Self::Null, Self::Object)
    }
}

/// Members in their order.
#[derive(Debug, Clone, Default)]
struct Object(Vec<(Cow<'static, str>, Json)>);

impl Object {
    /// Adds a member unless it is empty.
    fn with(self, name: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Self {
        let value = value.into();
        if value.is_empty() {
            return self;
        }
        self.always(name, value)
    }

    /// Adds a member, empty or not.
    fn always(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Adds a list unless it is empty.
    fn list<T>(self, name: &'static str, items: &[T], item: impl Fn(&T) -> Object) -> Self {
        self.with(name, array(items, item))
    }
}

fn array<T>(items: &[T], item: impl Fn(&T) -> Object) -> Json {
    Json::Array(
        items
            .iter()
            .map(|value| Json::Object(item(value)))
            .collect(),
    )
}

fn texts(items: &[String]) -> Json {
    Json::Array(items.iter().map(Json::from).collect())
}

pub(super) fn render(reply: &Reply, hex: bool) -> String {
    let document = document(reply, hex);
    let mut text = serde_json::to_string(&document).expect("members are texts and numbers");
    text.push('\n');
    text
}

fn document(reply: &Reply, hex: bool) -> Json {
    let object = match reply {
        Reply::Get { response, .. } => get(response),
        Reply::Put(response) => put(response),
        Reply::Delete(response) => delete(response),
        Reply::Txn(response) => txn(response),
        Reply::Watch(watched) => watch(watched),
        Reply::Grant(response) => inline(response.header)
            .always("ID", response.id)
            .always("TTL", response.ttl)
            .always("Error", response.error.as_str()),
        Reply::Revoke(_, response) => headed(response.header),
        Reply::KeepAlive(response) => inline(response.header)
            .always("ID", response.id)
            .always("TTL", response.ttl),
        Reply::TimeToLive(response, _) => time_to_live(response),
        Reply::Leases(response) => {
            let leases = array(&response.leases, |lease| {
                Object::default().always("id", lease.id)
            });
            inline(response.header).always("leases", leases)
        }
        Reply::MemberAdd(response) => {
            let added = response.member.as_ref().map(|added| member(added, hex));
            members(response.header, Some(added), &response.members, hex)
        }
        Reply::MemberRemove(_, response) => members(response.header, None, &response.members, hex),
        Reply::MemberUpdate(_, response) => members(response.header, None, &response.members, hex),
        Reply::MemberPromote(_, response) => members(response.header, None, &response.members, hex),
        Reply::MemberList(response) => members(response.header, None, &response.members, hex),
        Reply::Health(list) => {
            return array(list, |health| {
                Object::default()
                    .always("endpoint", &health.endpoint)
                    .always("health", health.error.is_none())
                    .always("took", &health.took)
                    .with("error", health.error.as_deref().unwrap_or_default())
            });
        }
        Reply::Status(list) => {
            return array(list, |(endpoint, response)| {
                Object::default()
                    .always("Endpoint", endpoint)
                    .always("Status", status(response))
            });
        }
        Reply::HashKv(list) => {
            return array(list, |(endpoint, response)| {
                Object::default()
                    .always("Endpoint", endpoint)
                    .always("HashKV", hash(response))
            });
        }
        Reply::MoveLeader { response, .. } => headed(response.header),
        Reply::Alarm(response) => alarm(response),
        Reply::Access(answer) => access(answer),
        Reply::Coordination(answer) => sheet(&answer.sheet()),
    };
    Json::Object(object)
}

/// The members of a header, inside the document itself.
fn inline(header: Option<ResponseHeader>) -> Object {
    let header = header.unwrap_or_default();
    Object::default()
        .with("cluster_id", header.cluster_id)
        .with("member_id", header.member_id)
        .with("revision", header.revision)
        .with("raft_term", header.raft_term)
}

/// A document that starts with a header.
fn headed(header: Option<ResponseHeader>) -> Object {
    Object::default().with("header", header.map(|header| inline(Some(header))))
}

fn kv(kv: &KeyValue) -> Object {
    Object::default()
        .with("key", base64(&kv.key))
        .with("create_revision", kv.create_revision)
        .with("mod_revision", kv.mod_revision)
        .with("version", kv.version)
        .with("value", base64(&kv.value))
        .with("lease", kv.lease)
}

fn get(response: &RangeResponse) -> Object {
    headed(response.header)
        .list("kvs", &response.kvs, kv)
        .with("more", response.more)
        .with("count", response.count)
}

fn put(response: &PutResponse) -> Object {
    headed(response.header).with("prev_kv", response.prev_kv.as_ref().map(kv))
}

fn delete(response: &DeleteRangeResponse) -> Object {
    headed(response.header)
        .with("deleted", response.deleted)
        .list("prev_kvs", &response.prev_kvs, kv)
}

fn txn(response: &TxnResponse) -> Object {
    headed(response.header)
        .with("succeeded", response.succeeded)
        .list("responses", &response.responses, |op| {
            let branch = Object::default();
            let branch = match &op.response {
                Some(Response::ResponseRange(range)) => branch.with("response_range", get(range)),
                Some(Response::ResponsePut(answer)) => branch.with("response_put", put(answer)),
                Some(Response::ResponseDeleteRange(answer)) => {
                    branch.with("response_delete_range", delete(answer))
                }
                Some(Response::ResponseTxn(nested)) => branch.with("response_txn", txn(nested)),
                None => branch,
            };
            Object::default().always("Response", branch)
        })
}

fn watch(watched: &Watched) -> Object {
    let event = |event: &Event| {
        Object::default()
            .with("type", event.r#type)
            .with("kv", event.kv.as_ref().map(kv))
            .with("prev_kv", event.prev_kv.as_ref().map(kv))
    };
    Object::default()
        .always("Header", inline(Some(watched.header)))
        .always("Events", array(&watched.events, event))
        .always("CompactRevision", watched.compact_revision)
        .always("Canceled", watched.canceled)
        .always("Created", false)
}

fn time_to_live(response: &LeaseTimeToLiveResponse) -> Object {
    let keys: Vec<_> = response
        .keys
        .iter()
        .map(|key| Json::Text(base64(key)))
        .collect();
    inline(response.header)
        .always("id", response.id)
        .always("ttl", response.ttl)
        .always("granted-ttl", response.granted_ttl)
        .always(
            "keys",
            if keys.is_empty() {
                Json::Null
            } else {
                Json::Array(keys)
            },
        )
}

fn members(
    header: Option<ResponseHeader>,
    added: Option<Option<Object>>,
    members: &[Member],
    hex: bool,
) -> Object {
    let header = header.map(|header| {
        if !hex {
            return inline(Some(header));
        }
        Object::default()
            .always("cluster_id", format!("{:x}", header.cluster_id))
            .always("member_id", format!("{:x}", header.member_id))
            .with("revision", header.revision)
            .with("raft_term", header.raft_term)
    });
    let object = Object::default().with("header", header);
    let object = match added {
        Some(added) => object.with("member", added),
        None => object,
    };
    object.list("members", members, |one| member(one, hex))
}

fn member(member: &Member, hex: bool) -> Object {
    let id = if hex {
        Json::Text(format!("{:x}", member.id))
    } else {
        Json::Uint(member.id)
    };
    Object::default()
        .with("ID", id)
        .with("name", &member.name)
        .with("peerURLs", texts(&member.peer_ur_ls))
        .with("clientURLs", texts(&member.client_ur_ls))
        .with("isLearner", member.is_learner)
}

fn status(response: &StatusResponse) -> Object {
    let downgrade = response.downgrade_info.as_ref().map(|downgrade| {
        Object::default()
            .with("enabled", downgrade.enabled)
            .with("targetVersion", &downgrade.target_version)
    });
    headed(response.header)
        .with("version", &response.version)
        .with("dbSize", response.db_size)
        .with("leader", response.leader)
        .with("raftIndex", response.raft_index)
        .with("raftTerm", response.raft_term)
        .with("raftAppliedIndex", response.raft_applied_index)
        .with("errors", texts(&response.errors))
        .with("dbSizeInUse", response.db_size_in_use)
        .with("isLearner", response.is_learner)
        .with("storageVersion", &response.storage_version)
        .with("dbSizeQuota", response.db_size_quota)
        .with("downgradeInfo", downgrade)
}

fn hash(response: &HashKvResponse) -> Object {
    headed(response.header)
        .with("hash", response.hash)
        .with("compact_revision", response.compact_revision)
        .with("hash_revision", response.hash_revision)
}

fn alarm(response: &AlarmResponse) -> Object {
    headed(response.header).list("alarms", &response.alarms, |alarm| {
        Object::default()
            .with("memberID", alarm.member_id)
            .with("alarm", alarm.alarm)
    })
}

/// An answer of tenure's own services.
fn sheet(sheet: &Sheet) -> Object {
    let header = sheet.header.as_ref().map(|header| {
        Object::default()
            .with("cluster_id", header.cluster_id)
            .with("member_id", header.member_id)
            .with("revision", header.revision)
    });
    let object = Object::default().with("header", header);
    let object = cells(object, &sheet.summary);
    sheet.all_lists().fold(object, |object, (name, records)| {
        object.list(name, records, |one| cells(Object::default(), one))
    })
}

fn cells(object: Object, record: &Record) -> Object {
    let Record(cells) = record;
    cells
        .iter()
        .fold(object, |object, (name, cell)| match cell {
            Cell::Bytes(bytes) => object.with(*name, base64(bytes)),
            Cell::Text(text) => object.with(*name, text),
            Cell::Revision(number) | Cell::Lease(number) => object.with(*name, *number),
            Cell::Count(number) | Cell::Millis(number) => object.with(*name, *number),
            Cell::Flag(flag) => object.with(*name, *flag),
            Cell::Texts(items) => object.with(*name, texts(items)),
            Cell::Pairs(pairs) if pairs.is_empty() => object,
            Cell::Pairs(pairs) => {
                let empty = Object::default();
                let pairs = pairs
                    .iter()
                    .fold(empty, |map, (name, value)| map.always(name.clone(), value));
                object.with(*name, pairs)
            }
        })
}

fn access(answer: &AccessAnswer) -> Object {
    match answer {
        AccessAnswer::Changed { header, .. } => headed(*header),
        AccessAnswer::Status(status) => headed(status.header)
            .with("enabled", status.enabled)
            .with("authRevision", status.auth_revision),
        AccessAnswer::User { response, .. } => {
            headed(response.header).with("roles", texts(&response.roles))
        }
        AccessAnswer::Users { header, names } => headed(*header).with("users", texts(names)),
        AccessAnswer::Roles { header, names } => headed(*header).with("roles", texts(names)),
        AccessAnswer::Role { response, .. } => {
            headed(response.header).list("perm", &response.perm, |permission| {
                Object::default()
                    .with("permType", permission.perm_type)
                    .with("key", base64(&permission.key))
                    .with("range_end", base64(&permission.range_end))
            })
        }
        AccessAnswer::Verdict(verdict) => Object::default()
            .always("user", &verdict.user)
            .always("access", verdict.access)
            .always("key", base64(&verdict.key))
            .with("range_end", base64(&verdict.range_end))
            .always("allowed", verdict.roles.is_some())
            .with("roles", texts(verdict.roles.as_deref().unwrap_or_default())),
    }
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_to_groups_of_four() {
        let encoded = [&b""[..], b"f", b"fo", b"foo", b"foob", b"\xff\xfe\xfd"].map(base64);
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "//79"]);
    }
}
