//! The instances of a service as a stream of changes for tower's balancers.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
};

use futures::{Stream, stream};
use tower::discover::Change;

use super::{BalanceOptions, Place};
use crate::registry::{EndpointView, Resolver};

impl Resolver {
    /// Insertions and removals of the services of the instances, keyed by the id of the instance:
    /// an implementation of tower's `Discover`. It does not carry weights and zones; use a
    /// [`Balancer`](crate::Balancer) for those.
    ///
    /// ```no_run
    /// use tenure::{BalanceOptions, Client, Selector};
    ///
    /// # async fn example(client: Client) {
    /// let resolver = client.registry().resolver("billing", Selector::default());
    /// let changes = resolver.services(BalanceOptions::default());
    /// // let balance = tower::balance::p2c::Balance::new(changes);
    /// # drop(changes);
    /// # }
    /// ```
    pub fn services<S>(
        self,
        options: BalanceOptions<S>,
    ) -> impl Stream<Item = Result<Change<String, S>, Infallible>> {
        let differences = Differences {
            options,
            known: BTreeMap::new(),
            open: VecDeque::new(),
        };
        let first = self.view();
        stream::unfold(
            (self, differences, first),
            |(mut resolver, mut all, view)| async move {
                let mut view = view;
                loop {
                    if let Some(view) = view.take() {
                        all.take(&view);
                    }
                    if let Some(change) = all.open.pop_front() {
                        return Some((Ok(change), (resolver, all, None)));
                    }
                    view = Some(resolver.changed().await.ok()?);
                }
            },
        )
    }
}

/// The services returned so far, and the changes still to return.
struct Differences<S> {
    options: BalanceOptions<S>,
    known: BTreeMap<String, Place>,
    /// At most two for each instance of one view: the next view is taken when it is empty.
    open: VecDeque<Change<String, S>>,
}

impl<S> Differences<S> {
    fn take(&mut self, view: &EndpointView) {
        let places = view.registrations().filter_map(|it| self.options.place(it));
        let places: BTreeMap<_, _> = places.map(|(place, _)| (place.id.clone(), place)).collect();
        let gone = self.known.keys().filter(|id| !places.contains_key(*id));
        self.open.extend(gone.cloned().map(Change::Remove));
        for (id, place) in &places {
            if self.known.get(id) == Some(place) {
                continue;
            }
            match (self.options.connect)(&place.address) {
                // Replaces a known service of the same id.
                Ok(service) => self.open.push_back(Change::Insert(id.clone(), service)),
                Err(error) => tracing::warn!(id, error, "an instance cannot be called"),
            }
        }
        self.known = places;
    }
}
