//! Strangers that connect to the port of members and say nothing more.

use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Connections that idle, and how many there may be on the port of members.
const IDLE: usize = 400;
const PLACES: usize = 128;
/// What an HTTP/2 client says first: the preface, and settings without any.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Whether the other end has closed the connection.
fn is_closed(connection: &TcpStream) -> bool {
    let mut heard = [0; 4096];
    loop {
        match connection.try_read(&mut heard) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test]
async fn idle_connections_to_the_port_of_members_are_bounded_and_keep_no_member_out() {
    let mut cluster = Cluster::start(3).await;
    cluster.node_mut(1).kill9();
    cluster.node_mut(2).kill9();
    let words = cluster.node(0).command_line();
    let at = words.iter().position(|word| word == "--listen-peer-urls");
    let port = words[at.unwrap() + 1].trim_start_matches("http://");
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let mut connection = TcpStream::connect(port).await.unwrap();
        // One that was ended already takes no more.
        drop(connection.write_all(PREFACE).await);
        idle.push(connection);
    }
    wait_until("all but the places are closed", STATE_MAX, async || {
        let closed = idle.iter().filter(|&it| is_closed(it)).count();
        (closed >= IDLE - PLACES).then_some(()).ok_or(closed)
    })
    .await;
    // Two of three agree only when the member that comes back gets in.
    cluster.node_mut(1).restart().await;
    cluster.node(0).calls().put("a", "1").await.unwrap();
    cluster.node_mut(2).restart().await;
}
