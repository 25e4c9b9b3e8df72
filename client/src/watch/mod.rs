//! Watches of keys: every change after a revision, in order and exactly once, across reconnections.
//!
//! [`Watch`] is the request, [`Watcher`] delivers [`Update`]s, [`WatchControl`] requests progress
//! or cancels. `position` tracks the revision to resume from, `reassembly` joins fragments.

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

/// Request to watch keys. Made by [`Client::watch`] or
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

    /// Delivers changes from this revision on, including history; only new changes unless set.
    pub fn start_revision(mut self, revision: impl Into<Revision>) -> Self {
        self.request.start_revision = revision.into().get();
        self
    }

    /// Delivers the previous version of the key with each change, unless it is compacted.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Requests periodic progress updates from the server while nothing changes.
    pub fn progress_notify(mut self) -> Self {
        self.request.progress_notify = true;
        self
    }

    /// Does not deliver writes.
    pub fn without_puts(mut self) -> Self {
        self.request.filters.push(FilterType::Noput.into());
        self
    }

    /// Does not deliver deletions.
    pub fn without_deletes(mut self) -> Self {
        self.request.filters.push(FilterType::Nodelete.into());
        self
    }

    /// Lets the server split large revisions into fragments, which are joined before delivery.
    pub fn fragment(mut self) -> Self {
        self.request.fragment = true;
        self
    }

    /// Makes a server without a leader end the stream, so that the watch moves to another server.
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
    /// Watches one key, or a [`KeyRange`]. The watch is established when the future completes.
    ///
    /// ```no_run
    /// use tenure::{Client, KeyRange};
    ///
    /// # async fn example(client: Client) -> Result<(), tenure::Error> {
    /// let mut watcher = client.watch(KeyRange::prefix("config/")).await?;
    /// while let Some(update) = watcher.next().await {
    ///     for event in update? {
    ///         if event.is_delete() {
    ///             println!("{:?} was deleted", event.key());
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
    /// may not read, [`Cancelled`](crate::ErrorKind::Cancelled) for an empty range, and the errors
    /// common to all calls.
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
