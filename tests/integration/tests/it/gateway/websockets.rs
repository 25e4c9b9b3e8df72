//! Calls over WebSockets: as etcd's gateway serves them, from browsers, and against frames that are
//! meant to harm.

use std::time::Duration;

use serde_json::Value;
use tenure_testkit::{Cluster, STATE_MAX};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{found, json, post};

const WATCH: &str = r#"{"create_request":{"key":"YQ=="}}"#;
const PUT: &str = r#"{"key":"YQ==","value":"MQ=="}"#;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;

/// A client of one WebSocket.
struct Socket {
    stream: BufReader<TcpStream>,
}

/// What a server sent: a whole message, or a control frame.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
    End,
}

impl Socket {
    /// Asks for a WebSocket. Returns the head of the response, too.
    async fn ask(address: &str, path: &str, headers: &str) -> (Self, String) {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = BufReader::new(stream);
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\n\
             connection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(STATE_MAX, stream.read_u8()).await.unwrap();
            head.push(byte.unwrap());
        }
        (Self { stream }, String::from_utf8(head).unwrap())
    }

    async fn open(address: &str, path: &str) -> Self {
        let (socket, head) = Self::ask(address, path, "").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        socket
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match u16::try_from(payload.len()) {
            Ok(short @ 0..=125) => frame.push(0x80 | u8::try_from(short).unwrap()),
            Ok(middle) => {
                frame.push(0x80 | 126);
                frame.extend(middle.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        let mask = [7, 8, 9, 10];
        frame.extend(mask);
        let masks = mask.iter().cycle();
        frame.extend(payload.iter().zip(masks).map(|(byte, mask)| byte ^ mask));
        // A server that has closed already reads no more.
        _ = self.stream.write_all(&frame).await;
    }

    async fn text(&mut self, text: &str) {
        self.send(FINAL | TEXT, text.as_bytes()).await;
    }

    async fn next(&mut self) -> Seen {
        let next = timeout(STATE_MAX, self.read()).await;
        next.expect("the server sends something")
            .unwrap_or(Seen::End)
    }

    async fn read(&mut self) -> std::io::Result<Seen> {
        let mut message = Vec::new();
        loop {
            let [first, second] = [self.stream.read_u8().await?, self.stream.read_u8().await?];
            let length = match second {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut payload).await?;
            match first & 0xf {
                PING => return Ok(Seen::Ping),
                PONG => return Ok(Seen::Pong(payload)),
                CLOSE => {
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    return Ok(Seen::Close(code));
                }
                _ => message.extend(payload),
            }
            if first & FINAL != 0 {
                return Ok(Seen::Text(String::from_utf8(message).unwrap()));
            }
        }
    }

    /// The next message as JSON.
    async fn message(&mut self) -> Value {
        match self.next().await {
            Seen::Text(text) => json(&text),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_watch_lasts_as_long_as_its_websocket_and_takes_messages_in_any_pieces() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let mut socket = Socket::open(address, "/v3/watch").await;
    socket.text(WATCH).await;
    let created = socket.message().await;
    assert_eq!(created["result"]["created"], true, "{created}");
    found(address, "/v3/kv/put", PUT).await;
    let event = socket.message().await;
    assert_eq!(
        event["result"]["events"][0]["kv"]["value"], "MQ==",
        "{event}"
    );

    // Another watch on the same WebSocket, in three frames, with a ping between two of them.
    let (one, two) = WATCH.split_at(9);
    socket.send(TEXT, one.as_bytes()).await;
    socket.send(FINAL | PING, b"alive?").await;
    assert_eq!(socket.next().await, Seen::Pong(b"alive?".to_vec()));
    socket.send(CONTINUATION, b"").await;
    socket.send(FINAL | CONTINUATION, two.as_bytes()).await;
    let created = socket.message().await;
    assert_eq!(created["result"]["watch_id"], "1", "{created}");

    socket.send(FINAL | CLOSE, &3456_u16.to_be_bytes()).await;
    assert_eq!(socket.next().await, Seen::Close(Some(3456)));
    assert_eq!(socket.next().await, Seen::End);
}

#[tokio::test]
async fn every_call_of_the_gateway_is_served_over_a_websocket() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    // A value whose JSON is several chunks, and so several frames.
    let value = "QUJD".repeat(100_000);
    let put = format!(r#"{{"key":"Yg==","value":"{value}"}}"#);
    let mut socket = Socket::open(address, "/v3/kv/put").await;
    socket.text(&put).await;
    assert_eq!(socket.message().await["header"]["revision"], "2");
    assert_eq!(socket.next().await, Seen::Close(Some(1000)));
    let mut socket = Socket::open(address, "/v3/kv/range").await;
    socket.text(r#"{"key":"Yg=="}"#).await;
    assert_eq!(socket.message().await["kvs"][0]["value"], value.as_str());

    found(address, "/v3/lease/grant", r#"{"ID":"7","TTL":"60"}"#).await;
    let mut socket = Socket::open(address, "/v3/lease/keepalive").await;
    for _ in 0..3 {
        socket.text(r#"{"ID":"7"}"#).await;
        assert_eq!(socket.message().await["result"]["TTL"], "60");
    }
    // A stream of responses to one request.
    let mut socket = Socket::open(address, "/v3/election/observe").await;
    socket.text(r#"{"name":"bWF5b3I="}"#).await;
    let campaign = r#"{"name":"bWF5b3I=","value":"MQ==","lease":"7"}"#;
    found(address, "/v3/election/campaign", campaign).await;
    assert_eq!(socket.message().await["result"]["kv"]["value"], "MQ==");

    for (path, body, expected) in [
        ("/v3/kv/put", "7", "the body is not the JSON of the request"),
        ("/v3/kv/put", "{}", "etcdserver: key is not provided"),
    ] {
        let mut socket = Socket::open(address, path).await;
        socket.text(body).await;
        let refused = socket.message().await;
        let text = refused["error"].as_str().unwrap();
        assert!(text.contains(expected), "{refused}");
        assert_eq!(socket.next().await, Seen::Close(Some(1000)));
    }
    let mut socket = Socket::open(address, "/v3/watch").await;
    socket.text("nonsense").await;
    let refused = socket.message().await;
    assert_eq!(refused["error"]["grpc_code"], 3, "{refused}");
    let (_, head) = Socket::ask(address, "/v3/nothing", "").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[tokio::test]
async fn the_token_among_the_subprotocols_is_that_of_the_call() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    for (path, body) in [
        (
            "/v3/auth/user/add",
            r#"{"name":"root","password":"secret"}"#,
        ),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        found(address, path, body).await;
    }
    let body = r#"{"name":"root","password":"secret"}"#;
    let logged_in = found(address, "/v3/auth/authenticate", body).await;
    let token = logged_in["token"].as_str().unwrap();
    let mut stranger = Socket::open(address, "/v3/watch").await;
    stranger.text(WATCH).await;
    let refused = stranger.message().await.to_string();
    assert!(refused.contains("user name is empty"), "{refused}");
    let protocols = format!("sec-websocket-protocol: Bearer, {token}\r\n");
    let (mut socket, head) = Socket::ask(address, "/v3/watch", &protocols).await;
    assert!(
        head.to_lowercase()
            .contains("sec-websocket-protocol: bearer\r\n"),
        "{head}"
    );
    socket.text(WATCH).await;
    assert_eq!(socket.message().await["result"]["created"], true);
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_websocket_unless_its_origin_is_listed() {
    let cluster = Cluster::builder(1)
        .flag("--cors", "https://a.example")
        .start()
        .await;
    let address = cluster.node(0).address();
    let own = format!("http://{address}");
    for (origin, status) in [
        ("https://evil.example", "403"),
        ("null", "403"),
        ("https://a.example", "101"),
        (own.as_str(), "101"),
    ] {
        let (_, head) = Socket::ask(address, "/v3/watch", &format!("origin: {origin}\r\n")).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(head.starts_with(&expected), "{origin}: {head}");
    }
}

#[tokio::test]
async fn frames_that_are_none_or_too_large_close_their_websocket_and_no_other() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let mut other = Socket::open(address, "/v3/watch").await;
    other.text(WATCH).await;
    other.message().await;

    let mut socket = Socket::open(address, "/v3/watch").await;
    socket
        .stream
        .write_all(&[FINAL | TEXT, 1, b'x'])
        .await
        .unwrap();
    assert_eq!(socket.next().await, Seen::Close(Some(1002)), "not masked");
    let mut socket = Socket::open(address, "/v3/watch").await;
    let huge = [&[FINAL | TEXT, 0xff][..], &[0x7f; 8], &[0; 4]].concat();
    socket.stream.write_all(&huge).await.unwrap();
    assert_eq!(socket.next().await, Seen::Close(Some(1009)), "two exabytes");
    // Fragments of a message without an end, of spaces, which no object holds.
    let mut socket = Socket::open(address, "/v3/watch").await;
    let piece = vec![b' '; 256 << 10];
    socket.send(TEXT, &piece).await;
    for _ in 0..20 {
        socket.send(CONTINUATION, &piece).await;
    }
    assert_eq!(socket.next().await, Seen::Close(Some(1009)), "no end");
    let mut socket = Socket::open(address, "/v3/watch").await;
    for _ in 0..50_000 {
        socket.send(FINAL | PING, &[b'p'; 125]).await;
    }
    socket.text(WATCH).await;
    loop {
        match socket.next().await {
            Seen::Pong(payload) => assert_eq!(payload.len(), 125),
            Seen::Text(text) => break assert!(text.contains("created"), "{text}"),
            seen => panic!("{seen:?}"),
        }
    }
    found(address, "/v3/kv/put", PUT).await;
    assert!(other.message().await["result"]["events"].is_array());
}

#[tokio::test]
async fn clients_that_never_read_or_vanish_leave_room_for_others_and_a_stop_ends_all() {
    let mut cluster = Cluster::start(1).await;
    let address = cluster.node(0).address().to_owned();
    let mut unread = Vec::new();
    for _ in 0..50 {
        let mut socket = Socket::open(&address, "/v3/watch").await;
        socket.text(WATCH).await;
        unread.push(socket);
    }
    let value = "QUJD".repeat(100_000);
    let put = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
    for _ in 0..20 {
        assert_eq!(post(&address, "/v3/kv/put", &put).await.status, 200);
    }
    // Half of them vanish without a word, in the middle of what is written to them.
    unread.truncate(25);
    let mut reads = Socket::open(&address, "/v3/watch").await;
    reads.text(WATCH).await;
    reads.message().await;
    found(&address, "/v3/kv/put", PUT).await;
    assert!(reads.message().await["result"]["events"].is_array());
    let stopped = timeout(Duration::from_secs(30), cluster.node_mut(0).terminate()).await;
    assert!(stopped.expect("it stops").success());
    let ended = reads.message().await;
    assert_eq!(ended["error"]["http_code"], 503, "{ended}");
    assert!(matches!(reads.next().await, Seen::Close(_) | Seen::End));
}
