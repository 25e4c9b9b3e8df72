//! One HTTP/1.1 connection to a node, with the chunks of its responses as they were sent.
//!
//! Speaks the protocol itself: what is tested is where the server puts its chunks, and what a
//! client sees that a library would hide.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long one step of an exchange may take: longer than a node waits for the rest of a request.
const STEP_MAX: Duration = Duration::from_secs(60);
/// The line break of HTTP.
const BREAK: &str = "\r\n";

/// A connection.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
    address: String,
}

/// The head of a response, and its body if that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The header lines, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl HttpAnswer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STEP_MAX, step)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Http {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When there is nobody.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = in_time(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            address: address.to_owned(),
        })
    }

    /// Sends a body to a path and reads the whole response.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, path: &str, body: &str) -> io::Result<HttpAnswer> {
        self.ask("POST", path, &[], body.as_bytes()).await
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<HttpAnswer> {
        let length = body.len().to_string();
        let with_length = [headers, &[("content-length", &length)]].concat();
        self.send_head(method, path, &with_length).await?;
        let sent = self.send(body).await;
        match self.answer().await {
            // The response may be sent before all of the body was read, and the connection closed.
            Ok(answer) => Ok(answer),
            Err(error) => sent.and(Err(error)),
        }
    }

    /// Reads the whole response to a request that was sent.
    ///
    /// # Errors
    /// When the connection breaks, or it is not HTTP.
    pub async fn answer(&mut self) -> io::Result<HttpAnswer> {
        let mut answer = self.head().await?;
        if answer.is_chunked() {
            while let Some(chunk) = self.chunk().await? {
                answer.body.push_str(&chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().map_err(io::Error::other)?];
            in_time(self.stream.read_exact(&mut body)).await?;
            answer.body = String::from_utf8(body).map_err(io::Error::other)?;
        }
        Ok(answer)
    }

    /// Sends a request whose body is sent in chunks, by [`Http::send_chunk`].
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<()> {
        let chunked = [headers, &[("transfer-encoding", "chunked")]].concat();
        self.send_head(method, path, &chunked).await
    }

    async fn send_head(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> io::Result<()> {
        let mut head = format!(
            "{method} {path} HTTP/1.1{BREAK}host: {}{BREAK}",
            self.address
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}{BREAK}"));
        }
        head.push_str(BREAK);
        self.send(head.as_bytes()).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time(self.stream.write_all(bytes)).await
    }

    /// Sends a chunk of the body; an empty one ends it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send_chunk(&mut self, text: &str) -> io::Result<()> {
        let chunk = format!("{:x}{BREAK}{text}{BREAK}", text.len());
        self.send(chunk.as_bytes()).await
    }

    /// Reads the head of a response.
    ///
    /// # Errors
    /// When the connection breaks, or it is not HTTP.
    pub async fn head(&mut self) -> io::Result<HttpAnswer> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|it| it.parse().ok());
        let mut answer = HttpAnswer {
            status: status.ok_or_else(|| io::Error::other(format!("no status: {first:?}")))?,
            ..HttpAnswer::default()
        };
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(answer);
            };
            let pair = (name.to_ascii_lowercase(), value.trim().to_owned());
            answer.headers.push(pair);
        }
    }

    /// Reads a chunk of the response; none at its end.
    ///
    /// # Errors
    /// When the connection breaks before the end.
    pub async fn chunk(&mut self) -> io::Result<Option<String>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + BREAK.len()];
        in_time(self.stream.read_exact(&mut chunk)).await?;
        chunk.truncate(size);
        let text = String::from_utf8(chunk).map_err(io::Error::other)?;
        Ok((size > 0).then_some(text))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if in_time(self.stream.read_line(&mut line)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(BREAK).to_owned())
    }
}
