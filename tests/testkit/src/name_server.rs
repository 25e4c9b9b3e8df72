//! A name server on loopback that knows SRV records, and nothing else.
//!
//! Answers over UDP up to 512 bytes, as servers do to those who do not ask for more, and over TCP.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

/// Longest answer over UDP.
const PACKET_BYTES_MAX: usize = 512;
/// Flags: an answer, and one that was cut.
const ANSWER: u16 = 0x8180;
const TRUNCATED: u16 = 0x0200;
/// Results.
const NO_SUCH_NAME: u16 = 3;

type Records = Arc<Mutex<HashMap<String, Vec<(u16, String)>>>>;

/// A running name server; stops when it is dropped.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    records: Records,
    tasks: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one without records.
    ///
    /// # Panics
    /// When it finds no port.
    pub async fn start() -> Self {
        // One port for both protocols, which the system may have given to another meanwhile.
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = tcp.local_addr().expect("bound");
            if let Ok(udp) = UdpSocket::bind(address).await {
                break (udp, tcp);
            }
        };
        let (address, records) = (tcp.local_addr().expect("bound"), Records::default());
        let tasks = vec![
            tokio::spawn(over_udp(udp, Arc::clone(&records))),
            tokio::spawn(over_tcp(tcp, Arc::clone(&records))),
        ];
        Self {
            address,
            records,
            tasks,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets the records of a name, each a port and a host.
    pub fn set(&self, name: &str, records: &[(u16, &str)]) {
        let owned = records
            .iter()
            .map(|(port, host)| (*port, (*host).to_owned()));
        let mut known = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), owned.collect());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn over_udp(socket: UdpSocket, records: Records) {
    let mut packet = [0; PACKET_BYTES_MAX];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        if let Some(mut answer) = answer(&packet[..length], &records) {
            if answer.len() > PACKET_BYTES_MAX {
                answer.truncate(PACKET_BYTES_MAX);
                answer[2..4].copy_from_slice(&(ANSWER | TRUNCATED).to_be_bytes());
            }
            // A client that is gone needs none.
            _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn over_tcp(listener: TcpListener, records: Records) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(length) = stream.read_u16().await else {
            continue;
        };
        let mut query = vec![0; usize::from(length)];
        if stream.read_exact(&mut query).await.is_err() {
            continue;
        }
        if let Some(answer) = answer(&query, &records) {
            let length = u16::try_from(answer.len()).expect("a test has few records");
            _ = stream.write_all(&length.to_be_bytes()).await;
            _ = stream.write_all(&answer).await;
        }
    }
}

/// The answer to a query with one question; `None` for anything else.
fn answer(query: &[u8], records: &Records) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    // Its type and class.
    let question = query.get(12..at + 4)?;
    let known = records.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.get(&name.join("."));
    let mut answer = query.get(..2)?.to_vec();
    let result = if found.is_some() { 0 } else { NO_SUCH_NAME };
    let number = u16::try_from(found.map_or(0, Vec::len)).ok()?;
    for field in [ANSWER | result, 1, number, 0, 0] {
        answer.extend(field.to_be_bytes());
    }
    answer.extend(question);
    for (port, host) in found.into_iter().flatten() {
        let mut data = vec![0, 0, 0, 1];
        data.extend(port.to_be_bytes());
        for label in host.split('.') {
            data.push(u8::try_from(label.len()).ok()?);
            data.extend(label.as_bytes());
        }
        data.push(0);
        // The name of the question, SRV, the Internet, and a time to live.
        answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}
