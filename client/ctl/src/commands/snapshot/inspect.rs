//! `snapshot status|verify`: what is in a snapshot file.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use tenure_backup::{Contents, Revision, Status, contents, hash_kv, status as status_of};

use crate::{
    args::Format,
    failure::Failure,
    output::{Output, grid, human_size},
};

/// The columns of etcdutl's table.
const STATUS: [&str; 5] = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];

/// The status as JSON, with the names of etcdutl's fields.
#[derive(Serialize)]
struct StatusJson<'a> {
    hash: u32,
    revision: i64,
    #[serde(rename = "totalKey")]
    total_key: u64,
    #[serde(rename = "totalSize")]
    total_size: u64,
    version: &'a str,
}

pub(super) fn status(output: Output, path: &Path) -> Result<(), Failure> {
    let file = super::open(path)?;
    let database = super::database(&file)?;
    let found = status_of(&database).context("the snapshot cannot be read")?;
    let row = [
        format!("{:x}", found.hash),
        found.revision.0.to_string(),
        found.keys.to_string(),
        human_size(found.bytes),
        found.version.clone(),
    ];
    let text = match output.format {
        Format::Simple => format!("{}\n", row.join(", ")),
        Format::Table => grid(&STATUS.map(str::to_owned), &[row.to_vec()]),
        Format::Json => format!(
            "{}\n",
            serde_json::to_string(&json(&found)).map_err(anyhow::Error::from)?
        ),
        Format::Fields => format!(
            "\"Hash\" : {}\n\"Revision\" : {}\n\"Keys\" : {}\n\"Size\" : {}\n\"Version\" : {:?}\n",
            found.hash, found.revision.0, found.keys, found.bytes, found.version
        ),
    };
    output.say(text.as_bytes())
}

fn json(found: &Status) -> StatusJson<'_> {
    StatusJson {
        hash: found.hash,
        revision: found.revision.0,
        total_key: found.keys,
        total_size: found.bytes,
        version: &found.version,
    }
}

/// Checks everything that can be checked of a file alone.
pub(super) fn verify(output: Output, path: &Path) -> Result<(), Failure> {
    if output.format != Format::Simple {
        return Err(Failure::Format("snapshot verify"));
    }
    let file = super::open(path)?;
    file.verify_checksum().map_err(anyhow::Error::from)?;
    let database = super::database(&file)?;
    let found = contents(&database).map_err(anyhow::Error::from)?;
    let hash = hash_kv(&database, Revision(0)).map_err(anyhow::Error::from)?;
    output.say(describe(&found, hash.hash).as_bytes())
}

fn describe(found: &Contents, hash: u32) -> String {
    let compacted = match found.compacted {
        Some(at) => format!(", compacted at {}", at.0),
        None => String::new(),
    };
    let auth = if found.auth_enabled { "on" } else { "off" };
    format!(
        "checksum and structure are sound\n\
         revision {}{compacted}, HashKV {hash}\n\
         {} keys, {} changes, {} leases\n\
         authentication {auth}, {} users, {} roles\n\
         {} members, {} alarms, {} rows of tenure\n",
        found.revision.0,
        found.keys,
        found.changes,
        found.leases,
        found.users,
        found.roles,
        found.members.len(),
        found.alarms.len(),
        found.tenure_rows,
    )
}
