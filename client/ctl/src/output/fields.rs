//! Answers as one field per line, text in quotes, as etcdctl prints them.
//!
//! Member changes have no such format.

use std::fmt::Display;

use tenure::wire::{
    etcdserverpb::{
        DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader, StatusResponse,
        TxnResponse, response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
};

use super::{
    AccessAnswer, Reply,
    sheet::{Cell, Record, Sheet, field_name},
    simple::alarm_name,
};
use crate::quoting::quote;

/// The output under construction.
struct Fields {
    text: String,
    hex: bool,
}

pub(super) fn render(reply: &Reply, hex: bool) -> Option<String> {
    let mut fields = Fields {
        text: String::new(),
        hex,
    };
    fields.reply(reply)?;
    Some(fields.text)
}

impl Fields {
    fn field(&mut self, name: &str, value: impl Display) {
        self.text += &format!("\"{name}\" : {value}\n");
    }

    fn quoted(&mut self, name: &str, bytes: &[u8]) {
        self.field(name, quote(bytes));
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn lease(&mut self, name: &str, id: i64) {
        if self.hex {
            self.field(name, format_args!("{id:016x}"))
        } else {
            self.field(name, id)
        }
    }

    fn id(&mut self, name: &str, id: u64) {
        if self.hex {
            self.field(name, format_args!("{id:x}"))
        } else {
            self.field(name, id)
        }
    }

    fn header(&mut self, header: Option<ResponseHeader>) {
        let header = header.unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        if header.revision > 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }

    fn kv(&mut self, prefix: &str, kv: &KeyValue) {
        self.quoted(&format!("{prefix}Key"), &kv.key);
        self.field(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.field(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.field(&format!("{prefix}Version"), kv.version);
        self.quoted(&format!("{prefix}Value"), &kv.value);
        self.lease(&format!("{prefix}Lease"), kv.lease);
    }

    /// `None` for answers without this format.
    fn reply(&mut self, reply: &Reply) -> Option<()> {
        match reply {
            Reply::Get { response, .. } => self.get(response),
            Reply::Put(response) => self.put(response),
            Reply::Delete(response) => self.delete(response),
            Reply::Txn(response) => self.txn(response),
            Reply::Watch(watched) => {
                self.header(Some(watched.header));
                for event in &watched.events {
                    let put = event.r#type() == EventType::Put;
                    self.field("Type", if put { "PUT" } else { "DELETE" });
                    event.prev_kv.iter().for_each(|kv| self.kv("Prev", kv));
                    event.kv.iter().for_each(|kv| self.kv("", kv));
                }
            }
            Reply::Grant(response) => {
                self.header(response.header);
                self.lease("ID", response.id);
                self.field("TTL", response.ttl);
            }
            Reply::Revoke(_, response) => self.header(response.header),
            Reply::KeepAlive(response) => {
                self.header(response.header);
                self.lease("ID", response.id);
                self.field("TTL", response.ttl);
            }
            Reply::TimeToLive(response, _) => {
                self.header(response.header);
                self.lease("ID", response.id);
                self.field("TTL", response.ttl);
                self.field("GrantedTTL", response.granted_ttl);
                response.keys.iter().for_each(|key| self.quoted("Key", key));
            }
            Reply::Leases(response) => {
                self.header(response.header);
                response
                    .leases
                    .iter()
                    .for_each(|lease| self.lease("ID", lease.id));
            }
            _ => return self.list(reply),
        }
        Some(())
    }

    fn list(&mut self, reply: &Reply) -> Option<()> {
        match reply {
            Reply::MemberList(response) => {
                self.header(response.header);
                for member in &response.members {
                    self.id("ID", member.id);
                    self.quoted("Name", member.name.as_bytes());
                    member
                        .peer_ur_ls
                        .iter()
                        .for_each(|url| self.quoted("PeerURL", url.as_bytes()));
                    let urls = &member.client_ur_ls;
                    urls.iter()
                        .for_each(|url| self.quoted("ClientURL", url.as_bytes()));
                    self.field("IsLearner", member.is_learner);
                    self.blank();
                }
            }
            Reply::Health(list) => {
                for health in list {
                    self.quoted("Endpoint", health.endpoint.as_bytes());
                    self.field("Health", health.error.is_none());
                    self.field("Took", &health.took);
                    self.field("Error", health.error.as_deref().unwrap_or_default());
                    self.blank();
                }
            }
            Reply::Status(list) => {
                list.iter()
                    .for_each(|(endpoint, response)| self.status(endpoint, response));
            }
            Reply::HashKv(list) => {
                for (endpoint, response) in list {
                    self.header(response.header);
                    self.quoted("Endpoint", endpoint.as_bytes());
                    self.field("Hash", response.hash);
                    self.field("HashRevision", response.hash_revision);
                    self.blank();
                }
            }
            Reply::Alarm(response) => {
                self.header(response.header);
                for alarm in &response.alarms {
                    self.id("MemberID", alarm.member_id);
                    self.field("AlarmType", alarm_name(alarm.alarm()));
                    self.blank();
                }
            }
            Reply::Access(answer) => self.access(answer),
            Reply::Coordination(answer) => self.sheet(&answer.sheet()),
            _ => return None,
        }
        Some(())
    }

    /// etcdctl has no such format of a user and of the list of users.
    fn access(&mut self, answer: &AccessAnswer) {
        match answer {
            AccessAnswer::Changed { header, .. } => self.header(*header),
            AccessAnswer::Status(status) => {
                self.header(status.header);
                self.field("Enabled", status.enabled);
                self.field("AuthRevision", status.auth_revision);
            }
            AccessAnswer::User { response, .. } => {
                self.header(response.header);
                self.names("Roles", &response.roles);
            }
            AccessAnswer::Users { header, names } => {
                self.header(*header);
                self.names("Users", names);
            }
            AccessAnswer::Roles { header, names } => {
                self.header(*header);
                self.names("Roles", names);
            }
            AccessAnswer::Role { response, .. } => {
                self.header(response.header);
                for permission in &response.perm {
                    // Two blanks, as etcdctl.
                    let kind = permission.perm_type().as_str_name();
                    self.field("PermType", format_args!(" {kind}"));
                    self.quoted("Key", &permission.key);
                    self.quoted("RangeEnd", &permission.range_end);
                }
            }
            AccessAnswer::Verdict(verdict) => {
                self.quoted("User", verdict.user.as_bytes());
                self.field("Access", verdict.access);
                self.quoted("Key", &verdict.key);
                self.quoted("RangeEnd", &verdict.range_end);
                self.field("Allowed", verdict.roles.is_some());
                self.names("Roles", verdict.roles.as_deref().unwrap_or_default());
            }
        }
    }

    fn names(&mut self, name: &str, names: &[String]) {
        names
            .iter()
            .for_each(|one| self.quoted(name, one.as_bytes()));
    }

    fn sheet(&mut self, sheet: &Sheet) {
        if let Some(header) = &sheet.header {
            self.id("ClusterID", header.cluster_id);
            self.id("MemberID", header.member_id);
            self.field("Revision", header.revision);
        }
        self.record(&sheet.summary);
        for record in sheet.all_lists().flat_map(|(_, records)| records) {
            self.record(record);
            self.blank();
        }
    }

    fn record(&mut self, Record(cells): &Record) {
        for (name, cell) in cells {
            let name = field_name(name);
            match cell {
                Cell::Bytes(bytes) => self.quoted(&name, bytes),
                Cell::Text(text) => self.quoted(&name, text.as_bytes()),
                Cell::Revision(number) => self.field(&name, number),
                Cell::Lease(id) => self.lease(&name, *id),
                Cell::Count(number) | Cell::Millis(number) => self.field(&name, number),
                Cell::Flag(flag) => self.field(&name, flag),
                Cell::Texts(texts) => {
                    texts
                        .iter()
                        .for_each(|text| self.quoted(&name, text.as_bytes()));
                }
                Cell::Pairs(pairs) => {
                    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
                    pairs.for_each(|pair| self.quoted(&name, pair.as_bytes()));
                }
            }
        }
    }

    fn get(&mut self, response: &RangeResponse) {
        self.header(response.header);
        response.kvs.iter().for_each(|kv| self.kv("", kv));
        self.field("More", response.more);
        self.field("Count", response.count);
    }

    fn put(&mut self, response: &PutResponse) {
        self.header(response.header);
        response.prev_kv.iter().for_each(|kv| self.kv("Prev", kv));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.header(response.header);
        self.field("Deleted", response.deleted);
        response.prev_kvs.iter().for_each(|kv| self.kv("Prev", kv));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.header(response.header);
        self.field("Succeeded", response.succeeded);
        for op in &response.responses {
            match &op.response {
                Some(Response::ResponseRange(range)) => self.get(range),
                Some(Response::ResponsePut(put)) => self.put(put),
                Some(Response::ResponseDeleteRange(delete)) => self.delete(delete),
                Some(Response::ResponseTxn(txn)) => self.txn(txn),
                None => self.quoted("Unknown", b""),
            }
        }
    }

    fn status(&mut self, endpoint: &str, response: &StatusResponse) {
        let downgrade = response.downgrade_info.clone().unwrap_or_default();
        self.header(response.header);
        self.quoted("Version", response.version.as_bytes());
        self.quoted("StorageVersion", response.storage_version.as_bytes());
        self.field("DBSize", response.db_size);
        self.field("DBSizeInUse", response.db_size_in_use);
        self.field("DBSizeQuota", response.db_size_quota);
        self.field("Leader", response.leader);
        self.field("IsLearner", response.is_learner);
        self.field("RaftIndex", response.raft_index);
        self.field("RaftAppliedIndex", response.raft_applied_index);
        self.field("Errors", format_args!("[{}]", response.errors.join(" ")));
        self.quoted("Endpoint", endpoint.as_bytes());
        self.quoted(
            "DowngradeTargetVersion",
            downgrade.target_version.as_bytes(),
        );
        self.field("DowngradeEnabled", downgrade.enabled);
        self.blank();
    }
}
