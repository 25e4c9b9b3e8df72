//! Answers as human-readable lines, with the texts of etcdctl.
//!
//! Keys and values are printed as raw bytes.

use std::fmt::Display;

use tenure::wire::{
    etcdserverpb::{
        AlarmType, DeleteRangeResponse, LeaseTimeToLiveResponse, MemberAddResponse, PutResponse,
        RangeResponse, ResponseHeader, TxnResponse, response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
};

use super::{Part, Reply, coordination::Answer, lines::Line, table};

/// The output under construction.
struct Lines {
    bytes: Vec<u8>,
    hex: bool,
}

pub(super) fn render(reply: &Reply, hex: bool) -> Vec<u8> {
    let mut lines = Lines {
        bytes: Vec::new(),
        hex,
    };
    lines.reply(reply);
    lines.bytes
}

impl Lines {
    fn line(&mut self, text: impl Display) {
        self.bytes.extend_from_slice(text.to_string().as_bytes());
        self.bytes.push(b'\n');
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.hex {
            for byte in bytes {
                self.bytes
                    .extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        self.bytes.push(b'\n');
    }

    fn kv(&mut self, kv: &KeyValue) {
        self.raw(&kv.key);
        self.raw(&kv.value);
    }

    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Get { response, part } => self.get(response, *part),
            Reply::Put(response) => self.put(response),
            Reply::Delete(response) => self.delete(response),
            Reply::Txn(response) => self.txn(response),
            Reply::Watch(watched) => {
                for event in &watched.events {
                    self.line(if event.r#type() == EventType::Put {
                        "PUT"
                    } else {
                        "DELETE"
                    });
                    event
                        .prev_kv
                        .iter()
                        .chain(&event.kv)
                        .for_each(|kv| self.kv(kv));
                }
            }
            Reply::Grant(response) => {
                self.line(format_args!(
                    "lease {:016x} granted with TTL({}s)",
                    response.id, response.ttl
                ));
            }
            Reply::Revoke(id, _) => self.line(format_args!("lease {id} revoked")),
            Reply::KeepAlive(response) => {
                self.line(format_args!(
                    "lease {:016x} keepalived with TTL({})",
                    response.id, response.ttl
                ));
            }
            Reply::TimeToLive(response, keys) => self.time_to_live(response, *keys),
            Reply::Leases(response) => {
                self.line(format_args!("found {} leases", response.leases.len()));
                for lease in &response.leases {
                    self.line(format_args!("{:016x}", lease.id));
                }
            }
            Reply::Health(list) => {
                for health in list.iter().filter(|health| health.error.is_none()) {
                    self.line(format_args!(
                        "{} is healthy: successfully committed proposal: took = {}",
                        health.endpoint, health.took
                    ));
                }
            }
            Reply::MoveLeader { from, to, .. } => {
                self.line(format_args!("Leadership transferred from {from} to {to}"));
            }
            Reply::Alarm(response) => {
                for alarm in &response.alarms {
                    let kind = alarm_name(alarm.alarm());
                    self.line(format_args!("memberID:{} alarm:{kind}", alarm.member_id));
                }
            }
            Reply::MemberList(_) | Reply::Status(_) | Reply::HashKv(_) => {
                let (_, rows) = table::cells(reply, self.hex).unwrap_or_default();
                for row in rows {
                    self.line(row.join(", "));
                }
            }
            Reply::Access(answer) => self.bytes.extend(answer.text()),
            Reply::Coordination(answer) => self.coordination(answer),
            _ => self.member(reply),
        }
    }

    fn coordination(&mut self, answer: &Answer) {
        for line in answer.lines(self.hex) {
            match line {
                Line::Text(text) => self.line(text),
                Line::Raw(bytes) => self.raw(&bytes),
            }
        }
    }

    fn member(&mut self, reply: &Reply) {
        let cluster = |header: &Option<ResponseHeader>| header.unwrap_or_default().cluster_id;
        match reply {
            Reply::MemberAdd(response) => self.member_add(response),
            Reply::MemberRemove(id, response) => self.line(format_args!(
                "Member {:16x} removed from cluster {:16x}",
                id.get(),
                cluster(&response.header)
            )),
            Reply::MemberUpdate(id, response) => self.line(format_args!(
                "Member {:16x} updated in cluster {:16x}",
                id.get(),
                cluster(&response.header)
            )),
            Reply::MemberPromote(id, response) => self.line(format_args!(
                "Member {:16x} promoted in cluster {:16x}",
                id.get(),
                cluster(&response.header)
            )),
            _ => {}
        }
    }

    fn member_add(&mut self, response: &MemberAddResponse) {
        let member = response.member.clone().unwrap_or_default();
        let role = if member.is_learner { " as learner" } else { "" };
        let cluster = response.header.unwrap_or_default().cluster_id;
        self.line(format_args!(
            "Member {:16x} added{role} to cluster {cluster:16x}",
            member.id
        ));
    }

    fn get(&mut self, response: &RangeResponse, part: Part) {
        match part {
            Part::All => response.kvs.iter().for_each(|kv| self.kv(kv)),
            Part::Values => response.kvs.iter().for_each(|kv| self.raw(&kv.value)),
            Part::Count => self.line(response.count),
        }
    }

    fn put(&mut self, response: &PutResponse) {
        self.line("OK");
        response.prev_kv.iter().for_each(|kv| self.kv(kv));
    }

    fn delete(&mut self, response: &DeleteRangeResponse) {
        self.line(response.deleted);
        response.prev_kvs.iter().for_each(|kv| self.kv(kv));
    }

    fn txn(&mut self, response: &TxnResponse) {
        self.line(if response.succeeded {
            "SUCCESS"
        } else {
            "FAILURE"
        });
        for op in &response.responses {
            self.line("");
            match &op.response {
                Some(Response::ResponseRange(range)) => self.get(range, Part::All),
                Some(Response::ResponsePut(put)) => self.put(put),
                Some(Response::ResponseDeleteRange(delete)) => self.delete(delete),
                Some(Response::ResponseTxn(txn)) => self.txn(txn),
                None => self.line("unexpected response"),
            }
        }
    }

    fn time_to_live(&mut self, response: &LeaseTimeToLiveResponse, keys: bool) {
        let LeaseTimeToLiveResponse {
            id,
            ttl,
            granted_ttl,
            ..
        } = response;
        if *granted_ttl == 0 && *ttl == -1 {
            self.line(format_args!("lease {id:016x} already expired"));
            return;
        }
        let text = format!("lease {id:016x} granted with TTL({granted_ttl}s), remaining({ttl}s)");
        self.bytes.extend_from_slice(text.as_bytes());
        if keys {
            self.bytes.extend_from_slice(b", attached keys([");
            self.bytes.extend_from_slice(&response.keys.join(&b' '));
            self.bytes.extend_from_slice(b"])");
        }
        self.bytes.push(b'\n');
    }
}

/// etcd's name of an alarm.
pub(super) fn alarm_name(alarm: AlarmType) -> &'static str {
    match alarm {
        AlarmType::None => "NONE",
        AlarmType::Nospace => "NOSPACE",
        AlarmType::Corrupt => "CORRUPT",
    }
}
