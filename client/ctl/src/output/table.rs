//! Lists as ASCII tables: centred headings, right-aligned cells.
//!
//! The simple format prints the same cells separated by commas.

use std::time::Duration;

use tenure::wire::etcdserverpb::{Member, StatusResponse};

use super::{
    Reply,
    number::{go_duration, size},
    sheet::{Cell, Record, Sheet, heading},
};
use crate::quoting::quote;

pub(super) type Cells = (Vec<&'static str>, Vec<Vec<String>>);

const MEMBER: &[&str] = &[
    "ID",
    "Status",
    "Name",
    "Peer Addrs",
    "Client Addrs",
    "Is Learner",
];
const HEALTH: &[&str] = &["endpoint", "health", "took", "error"];
const HASH: &[&str] = &["endpoint", "hash", "hash_revision"];
const STATUS: &[&str] = &[
    "endpoint",
    "ID",
    "version",
    "storage version",
    "db size",
    "in use",
    "percentage not in use",
    "quota",
    "is leader",
    "is learner",
    "raft term",
    "raft index",
    "raft applied index",
    "errors",
    "downgrade target version",
    "downgrade enabled",
];

pub(super) fn render(reply: &Reply, hex: bool) -> Option<String> {
    let (headings, rows) = cells(reply, hex)?;
    let headings = headings.iter();
    let headings = headings.map(|text| text.to_uppercase().replace('_', " "));
    Some(grid(&headings.collect::<Vec<_>>(), &rows))
}

/// Cells between lines, as etcdctl draws them.
pub(crate) fn grid(headings: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .map(Vec::as_slice)
            .chain([headings])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let rule = format!("+{}+\n", rule.join("+"));
    let centred = |(text, &width): (&String, &usize)| {
        let free = width - text.chars().count();
        format!(
            " {}{text}{} ",
            " ".repeat(free / 2),
            " ".repeat(free - free / 2)
        )
    };
    let right = |(text, &width): (&String, &usize)| format!(" {text:>width$} ");
    let heading: Vec<_> = headings.iter().zip(&widths).map(centred).collect();
    let mut table = format!("{rule}|{}|\n{rule}", heading.join("|"));
    for row in rows {
        let row: Vec<_> = row.iter().zip(&widths).map(right).collect();
        table += &format!("|{}|\n", row.join("|"));
    }
    table + &rule
}

/// Headings and rows of an answer that is a list.
pub(super) fn cells(reply: &Reply, hex: bool) -> Option<Cells> {
    let (headings, rows) = match reply {
        Reply::Coordination(answer) => return Some(sheet(&answer.sheet(), hex)),
        Reply::MemberList(response) => (MEMBER, response.members.iter().map(member).collect()),
        Reply::Health(list) => {
            let row = |health: &super::Health| {
                let healthy = health.error.is_none().to_string();
                let error = health.error.clone().unwrap_or_default();
                vec![health.endpoint.clone(), healthy, health.took.clone(), error]
            };
            (HEALTH, list.iter().map(row).collect())
        }
        Reply::Status(list) => (
            STATUS,
            list.iter()
                .map(|(endpoint, response)| status(endpoint, response))
                .collect(),
        ),
        Reply::HashKv(list) => {
            let row =
                |(endpoint, response): &(String, tenure::wire::etcdserverpb::HashKvResponse)| {
                    let (hash, revision) = (response.hash, response.hash_revision);
                    vec![endpoint.clone(), hash.to_string(), revision.to_string()]
                };
            (HASH, list.iter().map(row).collect())
        }
        _ => return None,
    };
    Some((headings.to_vec(), rows))
}

/// Headings and rows of an answer of tenure's own services.
pub(super) fn sheet(sheet: &Sheet, hex: bool) -> Cells {
    let cell = |row: &Record, name| {
        row.cell(name)
            .map(|cell| text(cell, hex))
            .unwrap_or_default()
    };
    let row = |row: &Record| sheet.columns.iter().map(|name| cell(row, name)).collect();
    let headings = sheet.columns.iter().map(|name| heading(name)).collect();
    (headings, sheet.rows().into_iter().map(row).collect())
}

/// The human-readable text of a cell.
pub(super) fn text(cell: &Cell, hex: bool) -> String {
    match cell {
        Cell::Bytes(bytes) if hex => bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
        Cell::Bytes(bytes) => printable(bytes),
        Cell::Text(text) => printable(text.as_bytes()),
        Cell::Revision(number) => number.to_string(),
        Cell::Lease(id) => format!("{id:016x}"),
        Cell::Count(number) => number.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Texts(texts) => printable(texts.join(",").as_bytes()),
        Cell::Pairs(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
            printable(pairs.collect::<Vec<_>>().join(",").as_bytes())
        }
        Cell::Millis(number) => go_duration(Duration::from_millis(*number)),
    }
}

/// Text as it is, or quoted if it contains control characters or is not UTF-8.
fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => quote(bytes),
    }
}

fn member(member: &Member) -> Vec<String> {
    let status = if member.name.is_empty() {
        "unstarted"
    } else {
        "started"
    };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

fn status(endpoint: &str, response: &StatusResponse) -> Vec<String> {
    let id = response.header.unwrap_or_default().member_id;
    let bytes = |bytes: i64| size(u64::try_from(bytes).unwrap_or(0));
    let in_use = response
        .db_size_in_use
        .saturating_mul(100)
        .checked_div(response.db_size);
    let downgrade = response.downgrade_info.clone().unwrap_or_default();
    vec![
        endpoint.to_owned(),
        format!("{id:x}"),
        response.version.clone(),
        response.storage_version.clone(),
        bytes(response.db_size),
        bytes(response.db_size_in_use),
        format!("{}%", 100 - in_use.unwrap_or(100)),
        bytes(response.db_size_quota),
        (response.leader == id).to_string(),
        response.is_learner.to_string(),
        response.raft_term.to_string(),
        response.raft_index.to_string(),
        response.raft_applied_index.to_string(),
        response.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}
