//! `snapshot restore`: the data directory of a member of a new cluster.
//!
//! The directory holds the database of the new cluster's member, as etcd's tool puts it there.
//! tenured takes it over at its first start.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use tenure::MemberId;
use tenure_backup::{Changes, RestoreError, cluster_id, member_id, restored, schema::Member};

use crate::{args::RestoreArgs, failure::Failure, output::Output};

/// Where the database is in a data directory, and its name.
const FOLDER: [&str; 2] = ["member", "snap"];
const DATABASE: &str = "db";
/// Schemes of peer URLs.
const SCHEMES: [&str; 4] = ["http://", "https://", "unix://", "unixs://"];

pub(super) fn run(output: Output, args: &RestoreArgs) -> Result<(), Failure> {
    let members = members(args)?;
    let directory = args.directory();
    refuse_used(&directory)?;
    let file = super::open(&args.file)?;
    if !args.skip_hash_check {
        file.verify_checksum().map_err(anyhow::Error::from)?;
    }
    let database = super::database(&file)?;
    let changes = Changes {
        members: members.clone(),
        bump: args.bump(),
    };
    let folder = FOLDER
        .iter()
        .fold(directory.clone(), |path, name| path.join(name));
    let revision = write(&folder, |sink| restored(&database, &changes, sink))
        .with_context(|| format!("cannot restore into {}", directory.display()))?;
    let ids = members
        .iter()
        .map(|member| tenure_backup::MemberId(member.id));
    let mut text = format!(
        "Restored {} into {}\nCluster {:x}, revision {}\n",
        args.file.display(),
        directory.display(),
        cluster_id(ids),
        revision.0,
    );
    for member in &members {
        text.push_str(&format!(
            "Member {:x}, {}, {}\n",
            MemberId::new(member.id).get(),
            member.name,
            member.peer_urls.join(",")
        ));
    }
    output.say(text.as_bytes())
}

/// The members of the new cluster, by id.
fn members(args: &RestoreArgs) -> Result<Vec<Member>, Failure> {
    let mut urls_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pair in args.initial_cluster.split(',') {
        let (name, url) = pair
            .trim()
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| {
                Failure::usage(format!(
                    "--initial-cluster: {pair:?} must be written NAME=URL"
                ))
            })?;
        urls_of
            .entry(name)
            .or_default()
            .push(url_of("--initial-cluster", url)?);
    }
    let advertised = args.initial_advertise_peer_urls.iter();
    let advertised = advertised.map(|url| url_of("--initial-advertise-peer-urls", url.trim()));
    let mut advertised: Vec<String> = advertised.collect::<Result<_, _>>()?;
    advertised.sort_unstable();
    match urls_of.get_mut(args.name.as_str()) {
        None => {
            let text = "couldn't find local name";
            let flag = "in the initial cluster configuration; correct --name or --initial-cluster";
            return Err(Failure::usage(format!("{text} \"{}\" {flag}", args.name)));
        }
        Some(own) => {
            own.sort_unstable();
            if *own != advertised {
                return Err(Failure::usage(format!(
                    "--initial-cluster has {}={} but missing from --initial-advertise-peer-urls={}",
                    args.name,
                    own.join(","),
                    advertised.join(",")
                )));
            }
        }
    }
    let member = |(name, mut peer_urls): (&str, Vec<String>)| {
        peer_urls.sort_unstable();
        let urls = peer_urls.iter().map(String::as_str);
        Member {
            id: member_id(urls, &args.initial_cluster_token).0,
            name: name.to_owned(),
            peer_urls,
            ..Member::default()
        }
    };
    let mut members: Vec<Member> = urls_of.into_iter().map(member).collect();
    members.sort_unstable_by_key(|member| member.id);
    if members.windows(2).any(|pair| pair[0].id == pair[1].id) {
        return Err(Failure::usage(
            "--initial-cluster: two members have the same URLs",
        ));
    }
    Ok(members)
}

/// Checks the form of a peer URL. The server checks the rest at its start.
fn url_of(flag: &str, url: &str) -> Result<String, Failure> {
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
    let is_place = |rest: &&str| {
        let port = rest.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        port.is_some_and(|(_, port)| !port.is_empty()) && !rest.contains('/')
    };
    match rest.filter(is_place) {
        Some(_) => Ok(url.to_owned()),
        None => Err(Failure::usage(format!(
            "{flag}: {url:?} is no peer URL; write it as http://HOST:PORT"
        ))),
    }
}

/// Refuses a directory that is not empty, with the text of etcd's tool.
fn refuse_used(directory: &Path) -> Result<(), Failure> {
    let is_free = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    let text = anyhow!(
        "data-dir \"{}\" not empty or could not be read",
        directory.display()
    );
    Err(Failure::Command(text))
}

/// Writes the database into `folder`, durably, under its name once it is complete.
fn write<T>(
    folder: &Path,
    restore: impl FnOnce(
        &mut dyn FnMut(tenure_backup::Chunk) -> io::Result<()>,
    ) -> Result<T, RestoreError<io::Error>>,
) -> anyhow::Result<T> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let partial: PathBuf = folder.join(format!("{DATABASE}.part"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&partial)?;
    let mut out = BufWriter::new(file);
    let restored = restore(&mut |chunk| out.write_all(&chunk));
    let restored = restored.inspect_err(|_| {
        // Half a database is of no use, and the directory can be tried again without it.
        _ = fs::remove_file(&partial);
        _ = folder.ancestors().take(2).try_for_each(fs::remove_dir);
    })?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(&partial, folder.join(DATABASE))?;
    for directory in folder.ancestors().take(3) {
        File::open(directory)?.sync_all()?;
    }
    Ok(restored)
}
