//! gRPC by hand: calls whose every byte the test decides, and answers as they came.
//!
//! The generated clients cannot send what is malformed, and hide how an answer was framed. No
//! retries; a connection that breaks is an answer too.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body as _, Frame};
use tonic::{
    Code, Status,
    body::Body,
    client::GrpcService,
    codegen::{
        Bytes,
        http::{HeaderName, HeaderValue, Request, StatusCode},
    },
    transport::{Channel, Endpoint},
};

/// How long a call may take: beyond the servers' own limit of seven seconds.
const CALL_MAX: Duration = Duration::from_secs(20);
/// Bytes in front of every message: a flag and a length.
pub(crate) const FRAME_HEAD_BYTES: usize = 5;

/// A connection to one server.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    channel: Channel,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `/package.Service/Method`.
    pub(crate) path: String,
    /// The metadata beside what gRPC itself needs.
    pub(crate) metadata: Vec<(&'static str, HeaderValue)>,
    /// The body, frame heads included.
    pub(crate) body: Bytes,
    /// Set when the request stays open: after how many messages the answer is complete.
    pub(crate) open: Option<usize>,
    /// Set when the request ends and the answer does not: after how many messages it is complete.
    pub(crate) enough: Option<usize>,
    /// The content type; the one of gRPC unless a test wants another.
    pub(crate) content_type: &'static str,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: Code,
    pub(crate) text: String,
    pub(crate) messages: Vec<Bytes>,
}

impl Call {
    pub(crate) fn new(path: impl Into<String>, body: Bytes) -> Self {
        Self {
            path: path.into(),
            metadata: Vec::new(),
            body,
            open: None,
            enough: None,
            content_type: "application/grpc",
        }
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::post(self.path.as_str())
            .header("content-type", self.content_type)
            .header("te", "trailers")
            .body(Body::new(Sent {
                body: Some(self.body.clone()),
                open: self.open.is_some(),
            }))
            .expect("the path of a call is a path");
        for (name, value) in &self.metadata {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), value.clone());
        }
        request
    }
}

/// One message with its frame head.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("test messages are small");
    [&[0], length.to_be_bytes().as_slice(), message]
        .concat()
        .into()
}

impl Wire {
    /// To `address`, which is `host:port`.
    pub(crate) fn to(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("the address of a server is one");
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Sends a call and waits for its end, or for the first message while the call stays open.
    pub(crate) async fn call(&self, call: &Call) -> Answer {
        match tokio::time::timeout(CALL_MAX, self.exchange(call)).await {
            Ok(answer) => answer,
            Err(_) => Answer::broken(format!("no answer within {CALL_MAX:?}")),
        }
    }

    async fn exchange(&self, call: &Call) -> Answer {
        let mut channel = self.channel.clone();
        if let Err(error) = poll_fn(|context| GrpcService::poll_ready(&mut channel, context)).await
        {
            return Answer::broken(error);
        }
        let response = match GrpcService::call(&mut channel, call.request()).await {
            Ok(response) => response,
            Err(error) => return Answer::broken(error),
        };
        let (head, mut body) = response.into_parts();
        let mut status = Status::from_header_map(&head.headers);
        if head.status != StatusCode::OK {
            return Answer::broken(format!("HTTP {}", head.status));
        }
        let mut data = Vec::new();
        let mut messages = Vec::new();
        while let Some(part) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let part = match part {
                Ok(part) => part,
                Err(error) => return Answer::broken(error),
            };
            match part.into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(part) => {
                    let trailers = part.into_trailers().unwrap_or_default();
                    status = Status::from_header_map(&trailers).or(status);
                }
            }
            while let Some(message) = take_message(&mut data) {
                messages.push(message);
            }
            if call
                .open
                .or(call.enough)
                .is_some_and(|enough| messages.len() >= enough)
            {
                status = Some(Status::ok(""));
                break;
            }
        }
        let Some(status) = status else {
            return Answer::broken("the answer ended without a status");
        };
        Answer {
            code: status.code(),
            text: status.message().to_owned(),
            messages,
        }
    }
}

impl Answer {
    fn broken(reason: impl std::fmt::Display) -> Self {
        Self {
            code: Code::Unknown,
            text: format!("(transport) {reason}"),
            messages: Vec::new(),
        }
    }
}

fn take_message(data: &mut Vec<u8>) -> Option<Bytes> {
    let length: [u8; 4] = data.get(1..FRAME_HEAD_BYTES)?.try_into().ok()?;
    let end = FRAME_HEAD_BYTES + u32::from_be_bytes(length) as usize;
    let message = data.get(FRAME_HEAD_BYTES..end)?.to_vec();
    data.drain(..end);
    Some(message.into())
}

/// The body of a call: all of it at once, and then its end unless it stays open.
#[derive(Debug)]
struct Sent {
    body: Option<Bytes>,
    open: bool,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.body.take() {
            Some(body) => Poll::Ready(Some(Ok(Frame::data(body)))),
            // Nobody wakes it: an open request ends when the call is dropped.
            None if self.open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}
