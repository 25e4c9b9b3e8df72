//! A prefix of keys kept in memory: listed once, then watched.
//!
//! The invariant: a view shows the prefix as it was at one revision, and the revisions of the views
//! of a cache never decrease. A list is linearizable and a watch resumes where it stopped; when the
//! history between them is compacted, the prefix is listed again.

use std::{collections::BTreeMap, future::IntoFuture, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::Revision,
    range::{IntoBytes, KeyRange},
    response::{Event, KeyValue},
    retry::Backoff,
    watch::WatchControl,
};

/// Keys of one page of a list: a few megabytes of usual values.
const PAGE_KEYS: u32 = 1_000;
/// Bytes that a cache takes unless set otherwise: a configuration or a routing table fits, and a
/// prefix that was named by mistake does not exhaust the memory of the process.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory of an entry beside its key and its value: its revisions, and its node in the map.
const ENTRY_BYTES: usize = 128;
/// Interval of progress requests while a caller waits for a revision.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Builder of a [`PrefixCache`]. Made by [`Client::cached`].
#[derive(Debug, Clone)]
#[must_use = "the prefix is read when this is awaited"]
pub struct Cached {
    client: Client,
    range: KeyRange,
    bytes_max: usize,
}

/// The keys below a prefix, kept in memory and updated by a watch. Dropping it ends the watch.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = client.cached("config/").await?;
/// println!("{:?}", config.get("config/mode"));
/// // What was written here is seen here.
/// let written = client.put("config/mode", "fast").await?;
/// let view = config.reached(written.revision()).await?;
/// println!("{} keys as of revision {}", view.len(), view.revision());
/// loop {
///     let view = config.changed().await?;
///     println!("now {:?}", view.get("config/mode"));
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a cache ends when it is dropped"]
pub struct PrefixCache {
    states: watch::Receiver<State>,
    control: Arc<Mutex<Option<WatchControl>>>,
    task: AbortHandle,
}

/// A prefix as it was at one revision. Clones share the entries.
///
/// While a view is held, the next change copies the map (not the values), so drop views soon.
#[derive(Debug, Clone)]
pub struct CacheView {
    entries: Arc<BTreeMap<Bytes, KeyValue>>,
    revision: Revision,
    bytes: usize,
}

/// State published by the task that follows the watch.
#[derive(Debug, Clone)]
struct State {
    view: CacheView,
    /// Why the cache stopped following the watch.
    end: Option<Arc<Error>>,
}

impl Client {
    /// Keeps the keys that begin with `prefix` in memory, values included. See [`PrefixCache`].
    ///
    /// # Errors
    /// When awaited: [`LimitReached`](ErrorKind::LimitReached) when the keys take more than
    /// [`Cached::bytes_max`], and the errors common to all calls.
    ///
    /// # Cancel safety
    /// Cancel safe: the call only reads.
    pub fn cached(&self, prefix: impl IntoBytes) -> Cached {
        Cached {
            client: self.clone(),
            range: KeyRange::prefix(prefix),
            bytes_max: BYTES_MAX,
        }
    }
}

impl Cached {
    /// The most that keys and values may take, with 128 bytes for each entry; 64 MiB unless set.
    /// While the prefix is listed again, and while a view is held, it is twice as much.
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Reads the prefix at one revision, page by page.
    async fn list(&self) -> Result<CacheView, Error> {
        let mut view = CacheView {
            entries: Arc::default(),
            revision: Revision::default(),
            bytes: 0,
        };
        let (mut key, end) = self.range.clone().into_parts();
        loop {
            let range = KeyRange::between(key, &end);
            let mut page = self.client.get(range).limit(PAGE_KEYS);
            if view.revision > Revision::default() {
                page = page.revision(view.revision);
            }
            let page = page.await?;
            if view.revision == Revision::default() {
                view.revision = page.revision();
            }
            let (more, kvs) = (page.more(), page.into_kvs());
            // The smallest key after the last one of the page.
            let next = kvs.last().map(|last| [last.key(), &b"\0"[..]].concat());
            for kv in kvs {
                view.insert(kv);
            }
            self.check(&view)?;
            match next {
                Some(next) if more => key = Bytes::from(next),
                _ => return Ok(view),
            }
        }
    }

    fn check(&self, view: &CacheView) -> Result<(), Error> {
        if view.bytes <= self.bytes_max {
            return Ok(());
        }
        let text = format!(
            "the keys below {:?} take more than the {} bytes of the cache: raise bytes_max, or \
             cache a longer prefix",
            self.range.start(),
            self.bytes_max
        );
        Err(Error::local(ErrorKind::LimitReached, text))
    }

    /// Applies the changes after the current view until the watch ends; returns the reason.
    async fn keep_up(
        &self,
        states: &watch::Sender<State>,
        control: &Mutex<Option<WatchControl>>,
        backoff: &mut Backoff,
    ) -> Result<(), Error> {
        let start = states.borrow().view.revision.next();
        // A server without a quorum would never report a change.
        let watch = self.client.watch(self.range.clone()).start_revision(start);
        let mut watcher = watch.progress_notify().require_leader().await?;
        *control.lock() = Some(watcher.control());
        while let Some(update) = watcher.next().await {
            let update = update?;
            backoff.reset();
            let reached = Revision::new(watcher.next_revision().get() - 1);
            let mut kept = Ok(());
            states.send_if_modified(|state| {
                let before = state.view.revision;
                state.view.apply(update.into_events(), reached);
                kept = self.check(&state.view);
                state.view.revision > before
            });
            kept?;
        }
        let text = "the watch of the cache ended";
        Err(Error::local(ErrorKind::Unavailable, text))
    }

    /// Follows the prefix for as long as the cache lives; returns the reason when it cannot.
    async fn follow(self, states: watch::Sender<State>, control: Arc<Mutex<Option<WatchControl>>>) {
        let mut backoff = Backoff::default();
        let end = loop {
            let outcome = match self.keep_up(&states, &control, &mut backoff).await {
                // The history is compacted: changes are missing.
                Err(error) if error.kind() == ErrorKind::Compacted => self.list().await.map(Some),
                outcome => outcome.map(|()| None),
            };
            match outcome {
                Ok(Some(view)) => states.send_modify(|state| state.view = view),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Compacted => {}
                Err(error) if error.allows_resume() => {
                    tracing::debug!(%error, "following a cached prefix goes on");
                }
                Err(error) => break error,
            }
            sleep(backoff.next_pause()).await;
        };
        let prefix = self.range.start();
        tracing::warn!(?prefix, error = %end, "a cached prefix is no longer followed");
        states.send_modify(|state| state.end = Some(Arc::new(end)));
    }
}

impl IntoFuture for Cached {
    type Output = Result<PrefixCache, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let view = self.list().await?;
            let (sender, states) = watch::channel(State { view, end: None });
            let control = Arc::default();
            let following = self.follow(sender, Arc::clone(&control));
            let task = tokio::spawn(following).abort_handle();
            Ok(PrefixCache {
                states,
                control,
                task,
            })
        })
    }
}

impl PrefixCache {
    /// The latest known view of the prefix.
    #[must_use]
    pub fn view(&self) -> CacheView {
        self.states.borrow().view.clone()
    }

    /// One key of the latest view, by its full name.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<KeyValue> {
        self.states.borrow().view.get(key).cloned()
    }

    /// The revision that the cache has reached.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.states.borrow().view.revision
    }

    /// Why the cache stopped, if it did: its view is then no longer updated.
    #[must_use]
    pub fn error(&self) -> Option<Arc<Error>> {
        self.states.borrow().end.clone()
    }

    /// Waits for a view newer than the one this returned last. Changes between two calls arrive as
    /// one view.
    ///
    /// # Errors
    /// [`LimitReached`](ErrorKind::LimitReached) when the prefix has outgrown the cache, or a
    /// permanent refusal by the server. It is final.
    ///
    /// # Cancel safety
    /// Cancel safe: a view that is not returned is returned by the next call.
    pub async fn changed(&mut self) -> Result<CacheView, Arc<Error>> {
        if self.states.changed().await.is_err() {
            return Err(self.states.borrow().ended());
        }
        let state = self.states.borrow_and_update();
        match &state.end {
            Some(end) => Err(Arc::clone(end)),
            None => Ok(state.view.clone()),
        }
    }

    /// Waits until the cache has reached a revision, such as that of a write. Set a timeout around
    /// it: it waits for servers that cannot be reached.
    ///
    /// # Errors
    /// As of [`changed`](Self::changed).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn reached(&self, revision: Revision) -> Result<CacheView, Arc<Error>> {
        let mut states = self.states.clone();
        loop {
            let reached =
                states.wait_for(|state| state.view.revision >= revision || state.end.is_some());
            // Cancel safe: a state that was missed is still there.
            match timeout(PROGRESS_PAUSE, reached).await {
                Ok(Ok(state)) => {
                    return match &state.end {
                        Some(end) if state.view.revision < revision => Err(Arc::clone(end)),
                        _ => Ok(state.view.clone()),
                    };
                }
                Ok(Err(_)) => return Err(self.states.borrow().ended()),
                // A change outside of the prefix raises the revision and sends no event.
                Err(_) => {
                    if let Some(control) = &*self.control.lock() {
                        _ = control.request_progress();
                    }
                }
            }
        }
    }
}

impl Drop for PrefixCache {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// The reason why the cache stopped.
    fn ended(&self) -> Arc<Error> {
        let gone = || Arc::new(Error::local(ErrorKind::Cancelled, "the runtime shuts down"));
        self.end.clone().unwrap_or_else(gone)
    }
}

impl CacheView {
    /// One key, by its full name.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&KeyValue> {
        self.entries.get(key.as_ref())
    }

    /// All keys, in byte order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &KeyValue> {
        self.entries.values()
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The revision of the view.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    fn insert(&mut self, kv: KeyValue) {
        self.bytes += weight(&kv);
        let entries = Arc::make_mut(&mut self.entries);
        if let Some(replaced) = entries.insert(kv.key().clone(), kv) {
            self.bytes -= weight(&replaced);
        }
    }

    fn apply(&mut self, events: Vec<Event>, reached: Revision) {
        for event in events {
            if event.is_put() {
                self.insert(event.into_kv());
            } else if let Some(gone) = Arc::make_mut(&mut self.entries).remove(event.key()) {
                self.bytes -= weight(&gone);
            }
        }
        self.revision = self.revision.max(reached);
    }
}

fn weight(kv: &KeyValue) -> usize {
    kv.key().len() + kv.value().len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[tokio::test]
    async fn a_cache_shows_what_is_there_and_follows_what_changes() {
        let (_fake, client) = Fake::start().await;
        client.put("c/a", "1").await.unwrap();
        client.put("d", "elsewhere").await.unwrap();
        let mut cache = client.cached("c/").await.unwrap();
        assert_eq!(cache.get("c/a").unwrap().value(), "1");
        let first = cache.view();
        assert_eq!(first.len(), 1);
        client.put("c/b", "2").await.unwrap();
        let view = cache.changed().await.unwrap();
        assert_eq!(view.get("c/b").unwrap().value(), "2");
        assert!(view.revision() > first.revision());
        client.delete("c/a").await.unwrap();
        let view = cache.changed().await.unwrap();
        let keys: Vec<_> = view.iter().map(KeyValue::key).collect();
        assert_eq!(keys, ["c/b"]);
        assert_eq!(first.len(), 1, "a view does not change");
        let same = cache.reached(view.revision()).await.unwrap();
        assert_eq!(same.revision(), view.revision());
    }

    #[tokio::test]
    async fn a_prefix_that_is_too_large_is_refused_at_first_and_later() {
        let (_fake, client) = Fake::start().await;
        client.put("c/a", "1").await.unwrap();
        let small = |bytes| client.cached("c/").bytes_max(bytes);
        let error = small(ENTRY_BYTES).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached);
        let mut cache = small(ENTRY_BYTES * 2).await.unwrap();
        client.put("c/b", "2").await.unwrap();
        let error = loop {
            if let Err(error) = cache.changed().await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
        assert!(cache.error().is_some());
        assert!(cache.reached(Revision::new(i64::MAX)).await.is_err());
    }

    #[test]
    fn weights_follow_replacements_and_deletions() {
        let mut view = CacheView {
            entries: Arc::default(),
            revision: Revision::default(),
            bytes: 0,
        };
        let put = |value: &'static str| {
            KeyValue::of(tenure_proto::mvccpb::KeyValue {
                key: Bytes::from_static(b"k"),
                value: Bytes::from_static(value.as_bytes()),
                ..Default::default()
            })
        };
        view.insert(put("long value"));
        view.insert(put("v"));
        assert_eq!(view.bytes, ENTRY_BYTES + 2);
    }
}
