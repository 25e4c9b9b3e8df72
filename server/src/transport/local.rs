//! Local sockets: files through which processes of one machine connect.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt as _, net::UnixStream as Probe},
    path::Path,
};

use futures::StreamExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use super::{Connection, Incoming, Io};

impl Io for UnixStream {}

/// Listens on a file. A socket that nobody listens on any more is removed first, as a node that was
/// killed leaves its own behind.
///
/// # Errors
/// When somebody listens on it, when it is another kind of file, or cannot be made.
pub(super) fn listen(path: &Path) -> io::Result<Incoming> {
    let metadata = fs::symlink_metadata(path);
    if metadata.is_ok_and(|metadata| metadata.file_type().is_socket()) {
        if Probe::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let streams = UnixListenerStream::new(UnixListener::bind(path)?);
    Ok(streams.map(|stream| stream.map(Connection::new)).boxed())
}

/// Connects to a file.
pub(super) async fn connect(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_a_killed_node_left_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let mut first = listen(&path).expect("it is free");
        let name = path.display().to_string();
        let (connected, accepted) = tokio::join!(connect(&name), first.next());
        connected.expect("somebody listens");
        accepted.expect("one").expect("accepted");
        let used = listen(&path).err().expect("it is in use");
        assert_eq!(used.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(listen(&path).expect("nobody listens any more"));
        let file = directory.path().join("file");
        fs::write(&file, "kept").expect("written");
        assert!(listen(&file).is_err(), "it is no socket");
        assert_eq!(fs::read(&file).expect("kept"), b"kept");
    }
}
