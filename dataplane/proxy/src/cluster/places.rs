//! Where a backend is reached now, and how that changes while it is used. Changes when another change is possible without
//! ending what goes on.
//!
//! A conversation stays where it was opened as long as that place is one of the backend's, whatever comes and goes
//! beside it; when its own place goes, it ends as if the server there were lost. A credential that is replaced is in the
//! next request of every conversation over HTTP; a connection that showed the old one at its handshake goes on.

use std::sync::Arc;

use bridge_mcp::version::Era;
use bridge_snapshot::{Backend, Target};

use super::endpoint::{Endpoint, Maker, Reach};
use super::{Cluster, ClusterError};
use crate::upstream::Place;

/// All places of a backend, in configuration order. Immutable; replaced as a whole.
#[derive(Default)]
pub(super) struct Places(Vec<Site>);

/// A place as it is configured, and what was made of that.
struct Site {
    target: Target,
    endpoint: Arc<Endpoint>,
}

/// What takes a backend from its places to others.
struct Change {
    places: Places,
    /// Places that stay, and how they are reached with other credentials.
    renewed: Vec<(Arc<Endpoint>, Reach)>,
}

/// A change of places that cannot fail any more.
pub(crate) struct Move {
    cluster: Arc<Cluster>,
    change: Change,
}

impl Places {
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter().map(|site| &*site.endpoint)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, position: usize) -> Option<&Endpoint> {
        self.0.get(position).map(|site| &*site.endpoint)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.endpoints().map(|endpoint| &endpoint.place)
    }

    /// Those that `others` does not have.
    fn beside<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a Place> {
        self.places().filter(|place| !others.places().any(|other| other == *place))
    }
}

impl Cluster {
    /// Finds the places of a backend that has none yet.
    pub(super) fn settle(&self) -> Result<(), ClusterError> {
        let Change { places, .. } = self.change_to(&self.config)?;
        self.standing.are(places.places());
        self.places.store(Arc::new(places));
        Ok(())
    }

    /// What takes it to where `backend` is, which is the same server; nothing when it is there.
    pub(crate) fn plan_move(self: &Arc<Self>, backend: &Backend) -> Result<Option<Move>, ClusterError> {
        if self.places.load().0.iter().map(|site| &site.target).eq(backend.targets()) {
            return Ok(None);
        }
        let change = self.change_to(backend)?;
        Ok(Some(Move { cluster: Arc::clone(self), change }))
    }

    fn change_to(&self, backend: &Backend) -> Result<Change, ClusterError> {
        let current = self.places.load();
        let maker = Maker {
            backend,
            name: &self.name,
            clients: self.clients(),
            limits: &self.limits,
            work: &self.work,
            detected: current.endpoints().find_map(Endpoint::detected),
        };
        let mut left: Vec<&Site> = current.0.iter().collect();
        let (mut sites, mut renewed) = (Vec::new(), Vec::new());
        for target in backend.targets() {
            let same = left.iter().position(|site| site.target == *target);
            let same = same.or_else(|| left.iter().position(|site| site.target.is_same_place(target)));
            let endpoint = if let Some(site) = same.map(|at| left.swap_remove(at)) {
                let endpoint = Arc::clone(&site.endpoint);
                if site.target != *target {
                    renewed.push((Arc::clone(&endpoint), maker.reach(target, &endpoint.place)?));
                }
                endpoint
            } else {
                let place = self.standing.place(self.closed.child_token());
                Arc::new(Endpoint { reach: maker.reach(target, &place)?, place })
            };
            sites.push(Site { target: target.clone(), endpoint });
        }
        Ok(Change { places: Places(sites), renewed })
    }
}

impl Move {
    /// Makes it so. Whoever opens a conversation from now on finds the new places.
    pub(crate) fn carry_out(self) {
        let Self { cluster, change: Change { places, renewed } } = self;
        for (endpoint, newer) in &renewed {
            endpoint.reach.renew(newer);
        }
        let places = Arc::new(places);
        cluster.standing.are(places.places());
        let before = cluster.places.swap(Arc::clone(&places));
        let (come, gone) = (places.beside(&before).count(), before.beside(&places).count());
        before.beside(&places).for_each(Place::leave);
        for catalogue in [Era::Legacy, Era::Modern].map(|era| cluster.catalogue(era)) {
            if come + gone > 0 {
                catalogue.moved();
            }
            // The server may show others to whoever has another credential.
            if !renewed.is_empty() {
                catalogue.refresh();
            }
        }
        tracing::info!(backend = %cluster.name, come, gone, renewed = renewed.len(), "endpoints changed");
    }
}

impl Cluster {
    /// How many endpoints it has, and how many of them are failing.
    pub(crate) fn endpoint_counts(&self) -> (usize, usize) {
        let places = self.places.load();
        (places.0.len(), self.standing.failing(places.places()))
    }
}
