//! Notices to the service manager that started this process, as datagrams: sd_notify(3).
//!
//! Never blocks: a notice that does not fit is an error for the sender, who sends the next.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Where notices are sent.
#[derive(Debug)]
pub(crate) struct Notices {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notices {
    /// Opens a socket for notices to `name`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When the name is neither, or the system refuses.
    pub(crate) fn open(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let text = "expected a path, or @ and an abstract name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends assignments, one on a line.
    ///
    /// # Errors
    /// When the service manager takes no datagram at present, or is gone.
    pub(crate) fn send(&self, assignments: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(assignments.as_bytes(), &self.to)
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_notice_arrives_at_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        Notices::open(path.as_os_str())
            .unwrap()
            .send("READY=1")
            .unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn a_notice_arrives_at_an_abstract_name() {
        let name = format!("tenure-notices-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Notices::open(OsStr::new(&format!("@{name}")))
            .unwrap()
            .send("STOPPING=1")
            .unwrap();
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn a_name_of_another_kind_is_refused() {
        for name in ["", "notify", "vsock:2:1234"] {
            assert!(Notices::open(OsStr::new(name)).is_err(), "{name:?}");
        }
        let long = std::ffi::OsString::from_vec([b"/".as_slice(), &[b'x'; 200]].concat());
        assert!(Notices::open(&long).is_err(), "longer than an address");
    }

    #[test]
    fn a_notice_to_nobody_is_an_error_and_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notices = Notices::open(path.as_os_str()).unwrap();
        // The manager reads nothing, so its queue is full at some time.
        let refused = (0..100_000).any(|_| notices.send("WATCHDOG=1").is_err());
        assert!(refused);
        drop(manager);
        assert!(notices.send("READY=1").is_err());
    }
}
