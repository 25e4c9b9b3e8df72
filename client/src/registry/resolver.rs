//! The last known instances of a service, kept up to date in the background.
//!
//! A resolver answers from memory and makes no call. Invariant: once there is a view there is
//! always one; while the cluster cannot be reached, the age of the view grows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{Selector, view::EndpointChange, watch::EndpointWatch};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    id::Revision,
    response::RegisteredInstance,
};

/// Pause before a refused stream is retried: long, because an operator has to remove the cause.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// The instances of a service at one revision.
#[derive(Debug, Clone)]
pub struct EndpointView {
    registrations: Arc<BTreeMap<String, RegisteredInstance>>,
    all: bool,
    revision: Revision,
    confirmed: Instant,
}

impl EndpointView {
    /// The instances that are selected, by id.
    pub fn registrations(&self) -> impl ExactSizeIterator<Item = &RegisteredInstance> {
        self.registrations.values()
    }

    /// The instance with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&RegisteredInstance> {
        self.registrations.get(id)
    }

    /// Whether all instances are selected because too few were ready, see
    /// [`Selector::passing_or_all`].
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// The revision of the view.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Time since a server last confirmed the view. Some seconds are usual when nothing changes.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.confirmed.elapsed()
    }

    fn taken(self, change: EndpointChange, revision: Revision) -> Self {
        let mut next = Self {
            revision,
            confirmed: Instant::now(),
            ..self
        };
        match change {
            EndpointChange::Snapshot { registrations, all } => {
                next.registrations = Arc::new(registrations.into_iter().map(named).collect());
                next.all = all;
            }
            EndpointChange::Delta { updated, removed } => {
                let known = Arc::make_mut(&mut next.registrations);
                for id in &removed {
                    known.remove(id);
                }
                known.extend(updated.into_iter().map(named));
            }
            EndpointChange::Progress => {}
        }
        next
    }
}

fn named(instance: RegisteredInstance) -> (String, RegisteredInstance) {
    (instance.id().to_owned(), instance)
}

/// Keeps the instances of a service in memory. Made by
/// [`Registry::resolver`](crate::Registry::resolver). Clones share one stream, which ends when the
/// last of them is dropped.
///
/// ```no_run
/// use tenure::{Client, Selector};
///
/// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let resolver = client.registry().resolver("billing", Selector::default());
/// let view = resolver.ready().await?;
/// for registration in view.registrations() {
///     println!("{}, as of {:?} ago", registration.id(), view.age());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a resolver stops following when it is dropped"]
pub struct Resolver {
    service: Arc<str>,
    views: watch::Receiver<Option<EndpointView>>,
    pub(super) refusals: watch::Receiver<Option<Arc<Error>>>,
    /// Ends the stream with the last clone.
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Resolver {
    pub(super) fn start(client: Client, service: String, selector: Selector) -> Self {
        let (view, views) = watch::channel(None);
        let (refusal, refusals) = watch::channel(None);
        let name: Arc<str> = service.as_str().into();
        let follow = follow(client, service, selector, view, refusal);
        Self {
            service: name,
            views,
            refusals,
            _task: Arc::new(Task(tokio::spawn(follow).abort_handle())),
        }
    }

    /// The name of the resolved service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The last view, however old; nothing before the first one.
    #[must_use]
    pub fn view(&self) -> Option<EndpointView> {
        self.views.borrow().clone()
    }

    /// Waits for the first view; returns at once after that.
    ///
    /// # Errors
    /// A refusal by the cluster, such as for an invalid name. Set a timeout around it: it waits for
    /// an unreachable cluster.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&self) -> Result<EndpointView, Arc<Error>> {
        let (mut views, mut refusals) = (self.views.clone(), self.refusals.clone());
        // Cancel safe: both arms wait for a state that persists.
        tokio::select! {
            biased;
            view = views.wait_for(Option::is_some) => {
                let view = view.ok().and_then(|view| view.clone());
                view.ok_or_else(|| Arc::new(ended()))
            }
            refusal = refusals.wait_for(Option::is_some) => {
                let refusal = refusal.ok().and_then(|refusal| refusal.clone());
                Err(refusal.unwrap_or_else(|| Arc::new(ended())))
            }
        }
    }

    /// Waits for a view newer than the one this handle returned last.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when there will be none, because the runtime shuts down.
    ///
    /// # Cancel safety
    /// Cancel safe: a view that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Result<EndpointView, Error> {
        loop {
            self.views.changed().await.map_err(|_| ended())?;
            if let Some(view) = self.views.borrow_and_update().clone() {
                return Ok(view);
            }
        }
    }
}

fn ended() -> Error {
    Error::local(ErrorKind::Cancelled, "the runtime shuts down")
}

/// Applies changes until all receivers of the views are dropped.
async fn follow(
    client: Client,
    service: String,
    selector: Selector,
    views: watch::Sender<Option<EndpointView>>,
    refusals: watch::Sender<Option<Arc<Error>>>,
) {
    // One watch for all attempts: it knows how far the views have come, and a member that is behind
    // cannot take them back.
    let mut watch = EndpointWatch::idle(client, service.clone(), selector);
    loop {
        while let Some(change) = watch.next().await {
            match change {
                Ok(change) => {
                    let revision = watch.revision();
                    let quiet = change == EndpointChange::Progress;
                    views.send_if_modified(|view| {
                        let last = view.take().unwrap_or_else(|| EndpointView {
                            registrations: Arc::default(),
                            all: false,
                            revision,
                            confirmed: Instant::now(),
                        });
                        *view = Some(last.taken(change, revision));
                        // A progress message refreshes the age of the view without notifying
                        // receivers.
                        !quiet
                    });
                }
                Err(error) => {
                    tracing::warn!(service, %error, "watching endpoints was refused");
                    refusals.send_replace(Some(Arc::new(error)));
                }
            }
        }
        sleep(REFUSED_PAUSE).await;
        watch.go_on();
    }
}
