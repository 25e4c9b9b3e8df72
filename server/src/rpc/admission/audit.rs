//! Lines of the audit log: administration by clients, done or refused.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use http::HeaderMap;
use tenure_proto::metadata::OUTCOME_METADATA;
use tonic::Status;

use super::Caller;
use crate::{
    auth::audit::{AuditLog, AuditResult, Record},
    rpc::answer::failure::Failure,
    share,
    transport::ConnectionInfo,
};

/// Why an act failed whose call was cancelled.
const CANCELLED: &str = "Cancelled";

/// Where a call came from.
#[derive(Clone, Debug, Default)]
pub(in crate::rpc) struct Origin {
    peer: Option<SocketAddr>,
    /// What the client's certificate is for, whether or not it stands for the caller.
    common_name: Option<String>,
}

impl Origin {
    pub(in crate::rpc) fn of(connection: Option<&ConnectionInfo>) -> Self {
        let identity = connection.and_then(ConnectionInfo::identity);
        Self {
            peer: connection.and_then(|connection| connection.peer),
            common_name: identity.and_then(|identity| identity.common_name.clone()),
        }
    }

    /// The address without the port, or the network that counts as one.
    pub(in crate::rpc) fn address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| share::network(peer.ip()))
    }
}

/// An act. Its line is written when it ends, and also when its call is cancelled: the act may be
/// done all the same, and nobody does one unseen by hanging up.
#[derive(Debug)]
pub(in crate::rpc) struct Act {
    log: AuditLog,
    record: Option<Record>,
}

impl Act {
    pub(in crate::rpc) fn new(
        log: &AuditLog,
        action: impl Into<Cow<'static, str>>,
        origin: &Origin,
        about: Vec<(&'static str, String)>,
    ) -> Self {
        let certificate = origin.common_name.as_deref();
        let record = Record::new(action, AuditResult::Failed(CANCELLED));
        let record = record.calling_from(origin.peer, certificate);
        let act = Self {
            log: log.clone(),
            record: Some(record),
        };
        act.about(about)
    }

    /// Adds what it is about.
    pub(super) fn about(mut self, details: Vec<(&'static str, String)>) -> Self {
        self.record = self.record.take().map(|record| {
            let details = details.iter();
            details.fold(record, |record, (name, value)| record.about(name, value))
        });
        self
    }

    /// Names the user.
    pub(in crate::rpc) fn by(mut self, caller: &Caller) -> Self {
        if let Some(user) = caller.name() {
            self.record = self.record.take().map(|record| record.by(user));
        }
        self
    }

    /// Writes the line of an act that ended like this.
    pub(in crate::rpc) fn end<T>(self, done: &Result<T, Failure>) {
        self.end_with(match done {
            Ok(_) => AuditResult::Done,
            Err(failure) if failure.reason().outcome_unknown() => {
                AuditResult::Failed(failure.reason().name())
            }
            Err(failure) => AuditResult::Refused(failure.reason().name()),
        });
    }

    /// Writes the line of an act whose response begins with these headers.
    pub(super) fn end_by(self, response: &HeaderMap) {
        let status = Status::from_header_map(response);
        self.end_with(match status {
            None => AuditResult::Done,
            Some(status) if i32::from(status.code()) == 0 => AuditResult::Done,
            Some(status) if status.metadata().contains_key(OUTCOME_METADATA) => {
                AuditResult::Failed(status.code().description())
            }
            Some(status) => AuditResult::Refused(status.code().description()),
        });
    }

    fn end_with(mut self, result: AuditResult) {
        if let Some(record) = self.record.take() {
            self.log.record(record.ending(result));
        }
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.log.record(record);
        }
    }
}
