//! One question to one name server, over UDP or TCP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::message::{Answer, Query};

/// Longest packet that is read over UDP: servers send no more than 512 bytes to those who do not
/// say that they take more.
const PACKET_BYTES_MAX: usize = 4096;

/// Asks `server`, over TCP if `is_tcp` or if the answer is too long for a packet, each within
/// `limit`.
pub(crate) async fn ask(
    server: SocketAddr,
    query: &Query,
    is_tcp: bool,
    limit: Duration,
) -> io::Result<Answer> {
    if !is_tcp {
        let answer = within(limit, over_udp(server, query)).await?;
        if !answer.is_truncated {
            return Ok(answer);
        }
    }
    within(limit, over_tcp(server, query)).await
}

async fn within(
    limit: Duration,
    asked: impl Future<Output = io::Result<Answer>>,
) -> io::Result<Answer> {
    let answered = timeout(limit, asked).await;
    answered.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")))
}

/// The socket is connected, so that the system drops what others send; its port, like the id of the
/// query, is chosen at random, so that they can hardly guess both.
async fn over_udp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let any = match server.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&query.bytes).await?;
    let mut packet = [0; PACKET_BYTES_MAX];
    loop {
        let length = socket.recv(&mut packet).await?;
        // A packet that answers no question of ours may be a late or a forged one.
        if let Some(answer) = packet.get(..length).and_then(|it| query.answer(it)) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.bytes.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], &query.bytes].concat();
    stream.write_all(&framed).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    let answer = query.answer(&message);
    answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "cannot unmarshal DNS message"))
}
