//! Watching keys: every change after a revision, in order, once, across reconnections.
//!
//! [`Watch`] says what to watch, [`Watcher`] delivers [`Update`]s, [`WatchControl`] steers from
//! elsewhere.
//! Where a watch goes on after a break is decided in `position`, what belongs together in
//! `reassembly`.

mod position;
mod reassembly;
mod update;
mod watcher;

use std::{future::IntoFuture, time::Duration};

use futures::future::BoxFuture;
use tenure_proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};

pub use update::Update;
pub use watcher::{WatchControl, Watcher};

use crate::{client::Client, error::Error, id::Revision, prefix::Prefix, range::KeyRange};

/// A watch to be started. Made by [`Client::watch`] or
/// [`Namespace::watch`](crate::Namespace::watch).
#[derive(Debug, Clone)]
#[must_use = "a watch starts when it is awaited"]
pub struct Watch {
    client: Client,
    prefix: Prefix,
    request: WatchCreateRequest,
    require_leader: bool,
    timeout: Option<Duration>,
}

impl Watch {
    fn of(client: Client, range: KeyRange) -> Self {
        let (key, range_end) = range.into_parts();
        let request = WatchCreateRequest {
            key,
            range_end,
            ..WatchCreateRequest::default()
        };
        Self {
            client,
            prefix: Prefix::default(),
            request,
            require_leader: false,
            timeout: None,
        }
    }

    /// Names keys relative to `prefix`.
    pub(crate) fn within(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Delivers changes from this revision on, history included; only later changes unless set.
    pub fn start_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.start_revision = revision.into().get();
        self
    }

    /// Delivers with each change what the key held before, as far as history reaches.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Asks the server to say from time to time how far the watch has come when nothing changes.
    pub fn progress_notify(mut self) -> Self {
        self.request.progress_notify = true;
        self
    }

    /// Leaves out writes.
    pub fn without_puts(mut self) -> Self {
        self.request.filters.push(FilterType::Noput.into());
        self
    }

    /// Leaves out deletions.
    pub fn without_deletes(mut self) -> Self {
        self.request.filters.push(FilterType::Nodelete.into());
        self
    }

    /// Lets the server send large revisions in pieces. They are put together before delivery.
    pub fn fragment(mut self) -> Self {
        self.request.fragment = true;
        self
    }

    /// Makes a server that lost its leader end the stream, so that the watch moves to another one.
    pub fn require_leader(mut self) -> Self {
        self.require_leader = true;
        self
    }

    /// Deadline for the start of the watch, in place of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl Client {
    /// Watches one key, or a [`KeyRange`]. The watch is in place when the future is ready.
    ///
    /// ```no_run
    /// use tenure::{Client, KeyRange};
    ///
    /// # async fn example(client: Client) -> Result<(), tenure::Error> {
    /// let mut watcher = client.watch(KeyRange::prefix("config/")).await?;
    /// while let Some(update) = watcher.next().await {
    ///     for event in update? {
    ///         if event.is_delete() {
    ///             println!("{:?} is gone", event.key());
    ///         } else {
    ///             println!("{:?} = {:?}", event.key(), event.value());
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When awaited: [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for keys the caller
    /// may not read, [`Cancelled`](crate::ErrorKind::Cancelled) for a range that is empty, and
    /// whatever any call can meet.
    ///
    /// # Cancel safety
    /// Dropping the future ends the watch.
    pub fn watch(&self, range: impl Into<KeyRange>) -> Watch {
        Watch::of(self.clone(), range.into())
    }
}

impl IntoFuture for Watch {
    type Output = Result<Watcher, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(Watcher::open(self))
    }
}
