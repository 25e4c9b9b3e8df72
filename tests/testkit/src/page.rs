//! HTTP pages of a node, and the figures on the metrics page.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a page may take: longer than a probe's own read.
const PAGE_MAX: Duration = Duration::from_secs(15);

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The header lines.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Fetches `path` from `address`, which is `host:port`.
///
/// # Errors
/// When nobody answers in HTTP.
pub async fn page(address: &str, path: &str) -> io::Result<Page> {
    let fetch = async {
        let mut stream = TcpStream::connect(address).await?;
        // HTTP/1.0: the answer is neither chunked nor followed by another one.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        parse(&String::from_utf8_lossy(&answer))
            .ok_or_else(|| io::Error::other("the answer is not HTTP"))
    };
    timeout(PAGE_MAX, fetch)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn parse(answer: &str) -> Option<Page> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Page {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

impl Page {
    /// The figure of a metric without labels, or with exactly the labels that `name` ends in.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.body.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(' ')?;
            value.trim().parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = parse("HTTP/1.0 200 OK\r\nA: b\r\n\r\nfoo_total 1\nfoo 2\nbar{a=\"b\"} 3\n")
            .expect("it is HTTP");
        assert_eq!(page.status, 200);
        assert_eq!(page.metric("foo"), Some(2.0));
        assert_eq!(page.metric("foo_total"), Some(1.0));
        assert_eq!(page.metric("bar{a=\"b\"}"), Some(3.0));
        assert_eq!(page.metric("bar"), None);
    }
}
