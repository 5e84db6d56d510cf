//! The running gateway: what all connections and tasks share. Changes when something else is shared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bridge_mcp::limits::Limits;
use bridge_policy::refusal::Reason;
use bridge_policy::route::Scope;
use bridge_runtime::drain::Drain;
use bridge_runtime::health::{BackendHealth, BackendState, Configuration, Health, HealthSource};
use bridge_snapshot::Snapshot;
use bridge_transport::backend::reach::Reach;
use tokio_util::sync::CancellationToken;

use crate::access::Gate;
use crate::cluster::{self, Cluster, Move, Offer};
use crate::crossing::Parked;
use crate::discovery::Standing;
use crate::frontend::sse;
use crate::merged::Views;
use crate::observe::GatewayMetrics;
use crate::session::SessionTable;

/// Shared by all connections.
pub(crate) struct Gateway {
    pub(crate) plan: Arc<ArcSwap<Plan>>,
    pub(crate) views: Views,
    pub(crate) sessions: SessionTable,
    pub(crate) sse: sse::Clients,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) health: Health,
    pub(crate) drain: Drain,
    /// Cancelled when calls in flight cannot be waited for any longer. Connections have children of it, so that requests
    /// do not all wait on one.
    pub(crate) ending: CancellationToken,
    pub(crate) shared: Arc<cluster::Shared>,
    pub(crate) listens: Arc<tokio::sync::Semaphore>,
    pub(crate) parked: Parked,
    /// What `/mcp` stands for, when that is not all backends.
    pub(crate) front: Option<Scope>,
}

/// In which kind of process the gateway runs.
pub(crate) enum Role {
    /// On its own, with a configuration from the start.
    Standalone,
    /// A pod whose operator sends the configuration.
    Pod(Arc<Standing>),
    /// Beside one server, which is all that it serves.
    Adapter(Scope),
}

/// A snapshot with its keys and its running backends. Immutable; replaced as a whole.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Who may.
    pub(crate) gate: Arc<Gate>,
    /// In configuration order.
    pub(crate) clusters: Vec<Arc<Cluster>>,
    by_name: Arc<HashMap<Arc<str>, usize>>,
    by_namespace: Arc<HashMap<String, usize>>,
    /// Of one HTTP request.
    pub(crate) client_limits: Limits,
    /// Of one message on a connection of a client's own.
    pub(crate) connection_limits: Limits,
    pub(crate) backend_limits: Limits,
}

impl Plan {
    /// Clusters that `current` runs are taken over where they are the same servers, still at their places of before (see
    /// [`Plan::moves`]); the others are made, not yet started.
    pub(crate) fn build(
        snapshot: Snapshot,
        gate: Gate,
        shared: &Arc<cluster::Shared>,
        current: Option<&Plan>,
    ) -> Result<Self, cluster::ClusterError> {
        let limits = &snapshot.limits;
        let backend_limits = Limits::backend(limits.max_backend_message, limits.max_depth);
        let reach = if snapshot.refuse_local { Reach::Elsewhere } else { Reach::Anywhere };
        let mut clusters = Vec::with_capacity(snapshot.backends.len());
        for backend in &snapshot.backends {
            let running = current.and_then(|plan| {
                // Of what is not its own, a running backend has taken in these only.
                let same = plan.backend_limits == backend_limits
                    && plan.snapshot.limits.max_rounds == limits.max_rounds
                    && plan.snapshot.refuse_local == snapshot.refuse_local;
                plan.named(&backend.name).filter(|cluster| same && cluster.config.is_same_server(backend))
            });
            clusters.push(match running {
                Some(cluster) => Arc::clone(cluster),
                None => Arc::new(Cluster::new(
                    backend.clone(),
                    Arc::clone(shared),
                    backend_limits.clone(),
                    limits.max_rounds,
                    reach,
                )?),
            });
        }
        let by_namespace = clusters
            .iter()
            .enumerate()
            .map(|(position, cluster)| (cluster.config.namespace.clone(), position))
            .collect::<HashMap<_, _>>();
        let names = clusters.iter().enumerate();
        let by_name = names.map(|(position, cluster)| (Arc::clone(&cluster.name), position)).collect();
        let client_limits = Limits::client(limits.max_http_body, limits.max_depth);
        let connection_limits = Limits::client(limits.max_message, limits.max_depth);
        Ok(Self {
            snapshot: Arc::new(snapshot),
            gate: Arc::new(gate),
            clusters,
            by_name: Arc::new(by_name),
            by_namespace: Arc::new(by_namespace),
            client_limits,
            connection_limits,
            backend_limits,
        })
    }

    /// What takes the clusters to where the snapshot says they are.
    pub(crate) fn moves(&self) -> Result<Vec<Move>, cluster::ClusterError> {
        let clusters = self.snapshot.backends.iter().zip(&self.clusters);
        clusters.filter_map(|(backend, cluster)| cluster.plan_move(backend).transpose()).collect()
    }

    /// The same plan with other keys.
    pub(crate) fn with_gate(&self, gate: Gate) -> Self {
        Self { gate: Arc::new(gate), ..self.clone() }
    }

    /// The backend of this name.
    fn named(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(*self.by_name.get(name)?)
    }

    /// Whether this very backend is part of it, and not another in its place.
    pub(crate) fn runs(&self, cluster: &Arc<Cluster>) -> bool {
        self.named(&cluster.name).is_some_and(|running| Arc::ptr_eq(running, cluster))
    }

    /// The backend of an unrenamed endpoint.
    pub(crate) fn cluster(&self, namespace: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(*self.by_namespace.get(namespace)?)
    }
}

/// Tells the health page about the backends of the current plan, and where it comes from.
pub(crate) struct PlanHealth {
    pub(crate) plan: Arc<ArcSwap<Plan>>,
    pub(crate) standing: Option<Arc<Standing>>,
}

impl HealthSource for PlanHealth {
    fn backends(&self) -> Vec<BackendHealth> {
        let plan = self.plan.load();
        plan.clusters.iter().map(|cluster| health_of(cluster)).collect()
    }

    fn configuration(&self) -> Option<Configuration> {
        self.standing.as_ref().map(|standing| standing.describe(Instant::now()))
    }
}

fn health_of(cluster: &Cluster) -> BackendHealth {
    use bridge_mcp::version::Era;
    let eras = [(Era::Modern, "modern"), (Era::Legacy, "legacy")];
    let offers = eras.map(|(era, _)| cluster.catalogue(era).offer());
    let ready = offers.iter().any(|offer| matches!(offer, Offer::Ready(_)));
    let loading = offers.iter().any(|offer| matches!(offer, Offer::Loading));
    let state = match (ready, loading) {
        (true, _) => BackendState::Healthy,
        (false, true) => BackendState::Unknown,
        (false, false) => BackendState::Unhealthy,
    };
    // That it speaks one generation only is no trouble, and hides the trouble in the other.
    let absent = offers.iter().filter_map(|offer| match offer {
        Offer::Absent(refusal) if state == BackendState::Unhealthy => Some(refusal),
        _ => None,
    });
    let reason = absent.min_by_key(|refusal| refusal.reason == Reason::EraMismatch);
    let reason = reason.map(|refusal| refusal.detail.clone());
    let spoken = eras.into_iter().zip(&offers).filter(|(_, offer)| matches!(offer, Offer::Ready(_)));
    let generations = spoken.map(|((_, word), _)| word).collect();
    let (endpoints, failing_endpoints) = cluster.endpoint_counts();
    BackendHealth {
        name: cluster.config.name.clone(),
        namespace: cluster.config.namespace.clone(),
        state,
        reason,
        protocol: cluster.protocol(),
        generations,
        endpoints,
        failing_endpoints,
    }
}

/// A configuration for tests of what stands in front of backends.
#[cfg(test)]
pub(crate) fn without_backends() -> Snapshot {
    Snapshot {
        listeners: Vec::new(),
        local: Vec::new(),
        backends: Vec::new(),
        access: bridge_snapshot::Access::Anonymous { explicit: false },
        naming: bridge_snapshot::Naming::OnConflict,
        limits: bridge_snapshot::Limits::default(),
        sessions: bridge_snapshot::Sessions::default(),
        log_level: None,
        refuse_local: false,
    }
}
