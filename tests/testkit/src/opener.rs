//! Which node of a cluster opened a connection, by what `/proc` says of sockets and processes.

use std::{fs, io, path::Path};

/// The field of `/proc/net/tcp` that has a socket's inode.
const INODE_FIELD: usize = 9;

/// The number of the node, `m0` and so on, whose socket on `port` is connected to `to`.
pub(crate) fn opener(port: u16, to: u16) -> io::Result<Option<usize>> {
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let ends_with = |field: Option<&str>, port: u16| {
        field.is_some_and(|address| address.ends_with(&format!(":{port:04X}")))
    };
    let inode = sockets.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ours = ends_with(fields.next(), port) && ends_with(fields.next(), to);
        ours.then(|| line.split_whitespace().nth(INODE_FIELD))?
    });
    let Some(inode) = inode else {
        return Ok(None);
    };
    let socket = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc")?.flatten() {
        if holds(&process.path(), &socket) {
            return Ok(number(&process.path()));
        }
    }
    Ok(None)
}

/// Whether a process has the socket open.
fn holds(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| target.as_os_str() == socket)
}

/// Which node a process is, by its `--name`.
fn number(process: &Path) -> Option<usize> {
    let line = fs::read_to_string(process.join("cmdline")).ok()?;
    let mut words = line.split('\0');
    words.find(|word| *word == "--name")?;
    words.next()?.strip_prefix('m')?.parse().ok()
}
