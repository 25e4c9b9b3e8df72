//! Observing the leader of an election.
//!
//! Invariant: reported epochs never decrease, even when the stream resumes at a member that is
//! behind.

use bytes::Bytes;
use futures::{Stream, stream};
use tenure_proto::v1::{ObserveRequest, ObserveResponse, election_client::ElectionClient};
use tonic::Streaming;

use super::Leader;
use crate::{
    call::{Call, rpc},
    channel::Lane,
    client::Client,
    error::{Error, ErrorKind, Operation},
    resume::Resume,
};

/// The leader of an election: the current one first, then every change. Made by
/// [`Election::observe`](crate::Election::observe).
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// let mut observer = client.elections().named("schedulers").observe().await?;
/// while let Some(leader) = observer.next().await {
///     match leader? {
///         Some(leader) => println!("{:?} leads in epoch {}", leader.value, leader.epoch),
///         None => println!("there is no leader"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "observing ends when the observer is dropped"]
pub struct Observer {
    client: Client,
    request: ObserveRequest,
    link: Option<Streaming<ObserveResponse>>,
    resume: Resume,
    reported: Reported,
    ended: bool,
}

/// The last reported leader.
#[derive(Debug, Default)]
struct Reported {
    leader: Option<Option<Leader>>,
    revision: i64,
}

impl Reported {
    /// The leader of a message, if it is new: not from a member that is behind, and not the known
    /// leader again from a reopened stream.
    fn update(&mut self, answer: ObserveResponse) -> Option<Option<Leader>> {
        let revision = answer
            .header
            .map_or(self.revision, |header| header.revision);
        if revision < self.revision {
            return None;
        }
        self.revision = revision;
        let leader = answer.leader.map(Leader::of);
        if self.leader.as_ref() == Some(&leader) {
            return None;
        }
        self.leader = Some(leader.clone());
        Some(leader)
    }
}

impl Observer {
    pub(super) async fn open(client: Client, name: Bytes) -> Result<Self, Error> {
        let mut observer = Self {
            client,
            request: ObserveRequest { name },
            link: None,
            resume: Resume::default(),
            reported: Reported::default(),
            ended: false,
        };
        observer.connect().await?;
        Ok(observer)
    }

    /// The next leader, or the next value of the current one; `Some(Ok(None))` while there is no
    /// leader. Returns `None` after an error.
    ///
    /// # Errors
    /// A permanent refusal by the server. Broken connections are not errors: the wait resumes.
    ///
    /// # Cancel safety
    /// Cancel safe: no change is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Option<Leader>, Error>> {
        if self.ended {
            return None;
        }
        loop {
            match self.advance().await {
                Ok(answer) => {
                    if let Some(leader) = answer.and_then(|answer| self.reported.update(answer)) {
                        return Some(Ok(leader));
                    }
                }
                Err(error) if error.allows_resume() => {
                    tracing::debug!(%error, "the stream of leaders broke");
                    self.link = None;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The changes as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Option<Leader>, Error>> {
        stream::unfold(self, |mut observer| async move {
            observer.next().await.map(|leader| (leader, observer))
        })
    }

    /// Advances by one step: connects, or receives one message.
    async fn advance(&mut self) -> Result<Option<ObserveResponse>, Error> {
        let Some(link) = &mut self.link else {
            tokio::time::sleep(self.resume.next_pause()).await;
            self.connect().await?;
            return Ok(None);
        };
        let broken = |status| Error::from_status(status, Operation::Read, "server");
        let answer = link.message().await.map_err(broken)?;
        let closed = || Error::local(ErrorKind::Unavailable, "the stream of leaders was closed");
        answer.ok_or_else(closed).map(Some)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let call = Call::tenure(Operation::Read, Lane::KeepAlive)
            .streaming()
            .require_leader();
        let request = self.request.clone();
        let link = rpc!(self.client, call, ElectionClient.observe(request)).await?;
        self.link = Some(link);
        self.resume.opened();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tenure_proto::v1::{Claim, Header};

    use super::*;

    fn answer(revision: i64, leader: Option<(i64, &'static str)>) -> ObserveResponse {
        ObserveResponse {
            header: Some(Header {
                revision,
                ..Header::default()
            }),
            leader: leader.map(|(token, value)| Claim {
                token,
                value: Bytes::from_static(value.as_bytes()),
                ..Claim::default()
            }),
        }
    }

    #[test]
    fn what_is_old_or_known_is_not_reported() {
        let mut reported = Reported::default();
        let mut news = |revision, leader| {
            let news = reported.update(answer(revision, leader));
            news.map(|leader| leader.map(|leader| leader.epoch.get()))
        };
        assert_eq!(news(5, None), Some(None));
        assert_eq!(news(7, Some((6, "a"))), Some(Some(6)));
        assert_eq!(news(7, Some((6, "a"))), None, "a stream that begins again");
        assert_eq!(news(6, Some((4, "z"))), None, "a member that is behind");
        assert_eq!(news(8, Some((6, "b"))), Some(Some(6)), "another value");
        assert_eq!(news(9, None), Some(None));
    }
}
