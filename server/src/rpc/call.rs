//! Admission of a call by its metadata, its deadline, and the ends of its streams.
//!
//! Invariant: no unary call outlives its deadline, and a write that reaches it is reported as a
//! write whose outcome is unknown.

use std::{
    future::{Future, pending},
    str,
    time::Duration,
};

use tenure_proto::metadata::{API_VERSION_METADATA, REQUIRE_LEADER_METADATA, TIMEOUT_METADATA};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tonic::metadata::MetadataMap;

use super::{
    admission::Caller,
    answer::{failure::Failure, status::Reason},
};
use crate::node::Leadership;

/// Election timeouts without a leader after which streams that require one end: to reopen them
/// costs more than to wait out a failed election. etcd's value.
const LEADERLESS_ELECTIONS: u32 = 3;

/// An admitted call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    caller: Caller,
    deadline: Instant,
    /// Whether the deadline is the caller's, and not this node's.
    callers: bool,
    requires_leader: bool,
}

impl Call {
    /// Admits a call by its metadata.
    pub(super) fn admit(
        metadata: &MetadataMap,
        leadership: &watch::Receiver<Leadership>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        if let Some(version) = metadata.get(API_VERSION_METADATA)
            && str::from_utf8(version.as_bytes()).is_err()
        {
            return Err(Reason::InvalidApiVersion.into());
        }
        let requires_leader = metadata
            .get(REQUIRE_LEADER_METADATA)
            .is_some_and(|value| value == "true");
        if requires_leader && leadership.borrow().leader.is_none() {
            return Err(Reason::NoLeader.into());
        }
        let requested = metadata
            .get(TIMEOUT_METADATA)
            .and_then(|value| parse_timeout(value.as_encoded_bytes()))
            .filter(|requested| *requested < timeout);
        Ok(Self {
            caller: Caller::Nobody,
            deadline: Instant::now() + requested.unwrap_or(timeout),
            callers: requested.is_some(),
            requires_leader,
        })
    }

    /// The same call, of a caller.
    pub(super) fn by(self, caller: Caller) -> Self {
        Self { caller, ..self }
    }

    /// Who makes the call.
    pub(super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The bound of one exchange on a stream that was admitted as this call: the stream has no
    /// deadline, each exchange on it has one.
    pub(super) fn exchange(&self, timeout: Duration) -> Self {
        Self {
            deadline: Instant::now() + timeout,
            callers: false,
            caller: self.caller.clone(),
            requires_leader: self.requires_leader,
        }
    }

    /// Resolves when a stream that was admitted as this call must end because there is no leader.
    ///
    /// # Cancel safety
    /// As [`leaderless`].
    pub(super) async fn without_leader(
        &self,
        leadership: watch::Receiver<Leadership>,
        election_timeout: Duration,
    ) {
        if !self.requires_leader {
            return pending().await;
        }
        leaderless(leadership, election_timeout * LEADERLESS_ELECTIONS).await;
    }

    /// Bounds an operation that changes nothing.
    pub(super) async fn read<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Failure> {
        match timeout_at(self.deadline, work).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) if self.callers => Err(Reason::DeadlineExceeded.into()),
            Err(_) => Err(Reason::TimedOut.into()),
        }
    }

    /// Bounds an operation that may take effect after its deadline.
    pub(super) async fn write<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Failure> {
        match timeout_at(self.deadline, work).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) if self.callers => Err(Reason::WriteDeadlineExceeded.into()),
            Err(_) => Err(Reason::WriteTimedOut.into()),
        }
    }
}

/// Resolves when there has been no known leader for `patience` without interruption, or when the
/// node stops.
///
/// # Cancel safety
/// Dropping the future resets the time without a leader, and nothing else.
async fn leaderless(mut leadership: watch::Receiver<Leadership>, patience: Duration) {
    loop {
        let known = leadership.borrow_and_update().leader.is_some();
        let changed = async {
            // The sender is dropped when the node stops; there will be no leader.
            leadership.changed().await.is_ok()
        };
        if known {
            if !changed.await {
                return;
            }
            continue;
        }
        tokio::select! {
            // Cancel-safe: an unseen change is seen by the next call.
            is_open = changed => if !is_open { return },
            // Cancel-safe: the timer restarts with the loop.
            () = sleep(patience) => return,
        }
    }
}

/// Parses gRPC's timeout: at most eight digits and a unit.
fn parse_timeout(text: &[u8]) -> Option<Duration> {
    let (&unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tenure_statemachine::MemberId;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(7);

    fn metadata(pairs: &[(&'static str, &'static str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.insert(*name, value.parse().expect("ascii"));
        }
        metadata
    }

    fn leader(leader: Option<u64>) -> watch::Receiver<Leadership> {
        let leadership = Leadership {
            leader: leader.map(MemberId),
            ..Leadership::default()
        };
        watch::channel(leadership).1
    }

    #[test]
    fn timeouts_are_read_in_every_unit_and_nonsense_is_none() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1x", None),
            ("123456789S", None),
            ("-1S", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn the_callers_deadline_counts_only_when_it_is_the_shorter() {
        let own = Call::admit(
            &metadata(&[("grpc-timeout", "60S")]),
            &leader(None),
            TIMEOUT,
        );
        assert!(!own.expect("admitted").callers);
        let callers = Call::admit(&metadata(&[("grpc-timeout", "1m")]), &leader(None), TIMEOUT)
            .expect("admitted");
        let never = pending::<Result<(), Failure>>;
        assert_eq!(
            callers.read(never()).await,
            Err(Reason::DeadlineExceeded.into())
        );
        assert_eq!(
            callers.write(never()).await,
            Err(Reason::WriteDeadlineExceeded.into())
        );
        let own = Call::admit(&MetadataMap::new(), &leader(None), Duration::from_millis(1))
            .expect("admitted");
        assert_eq!(own.read(never()).await, Err(Reason::TimedOut.into()));
        assert_eq!(own.write(never()).await, Err(Reason::WriteTimedOut.into()));
    }

    #[tokio::test]
    async fn who_requires_a_leader_is_refused_without_one() {
        let required = metadata(&[(REQUIRE_LEADER_METADATA, "true")]);
        let refused = Call::admit(&required, &leader(None), TIMEOUT);
        assert_eq!(refused.map(|_| ()), Err(Reason::NoLeader.into()));
        assert!(Call::admit(&required, &leader(Some(1)), TIMEOUT).is_ok());
        let not_required = metadata(&[(REQUIRE_LEADER_METADATA, "false")]);
        assert!(Call::admit(&not_required, &leader(None), TIMEOUT).is_ok());
    }

    #[tokio::test]
    async fn an_api_version_that_is_no_text_is_refused() {
        let mut bad = MetadataMap::new();
        let bytes = b"\xff\xfe".as_slice();
        bad.insert(
            API_VERSION_METADATA,
            bytes.try_into().expect("opaque bytes"),
        );
        let refused = Call::admit(&bad, &leader(None), TIMEOUT);
        assert_eq!(refused.map(|_| ()), Err(Reason::InvalidApiVersion.into()));
        let good = metadata(&[(API_VERSION_METADATA, "3.6.0")]);
        assert!(Call::admit(&good, &leader(None), TIMEOUT).is_ok());
    }

    #[tokio::test]
    async fn a_leader_that_comes_back_in_time_keeps_streams_alive() {
        let (sender, receiver) = watch::channel(Leadership::default());
        let mut waiting = Box::pin(leaderless(receiver, Duration::from_secs(3600)));
        assert!(futures::poll!(&mut waiting).is_pending());
        sender.send_replace(Leadership {
            leader: Some(MemberId(1)),
            ..Leadership::default()
        });
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(sender);
        waiting.await;
        let (_sender, receiver) = watch::channel(Leadership::default());
        leaderless(receiver, Duration::from_millis(1)).await;
    }
}
