//! From configuration to a running gateway, through its changes, to its end. The only constructor of the object graph.
//!
//! Changes when the gateway gets another part, or another phase of life.

mod replace;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bridge_auth::KeyError;
use bridge_mcp::cursor::CursorKey;
use bridge_policy::route::Scope;
use bridge_runtime::admin::{AdminServer, BindError, Pages};
use bridge_runtime::drain::Drain;
use bridge_runtime::health::Health;
use bridge_runtime::metrics::{Metrics, MetricsError};
use bridge_runtime::readiness::{self, Readiness};
use bridge_runtime::tasks;
use bridge_snapshot::{Access, Limits, Naming, Sessions, Snapshot};
use bridge_transport::backend::reach::Reach;
use bridge_transport::stdio::{Supervisor, guard};
use bridge_transport::tls::TlsError;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::access::Gate;
use crate::cluster::{self, Clients, ClusterError};
use crate::config::{Loaded, ProcessSettings};
use crate::crossing::{HandleKey, Parked};
use crate::discovery::Standing;
use crate::frontend::sse;
use crate::frontend::stdio::{LocalError, Locals};
use crate::gateway::{Gateway, Plan, PlanHealth, Role};
use crate::listener::{Bound, LAME_DUCK, ListenError, Running, acceptor};
use crate::merged::{Views, keep_views};
use crate::observe::{ConfigCollector, GatewayMetrics, keep_gauges};
use crate::session::SessionTable;

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// How long clients may take to read that their calls were not waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long backends may take to end their sessions at shutdown.
const SESSION_GRACE: Duration = Duration::from_secs(2);
/// How long the end of a call's stream is kept for a client that lost it.
const REPLAY_TTL: Duration = Duration::from_mins(2);
/// How long children may take to end at shutdown, per signal.
const CHILD_GRACE: Duration = Duration::from_secs(2);

/// Why the gateway cannot start, or cannot take over a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A backend cannot be built.
    #[error(transparent)]
    Backend(#[from] ClusterError),
    /// A port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A Unix socket cannot be opened.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The metrics or health port cannot be opened.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Tokens could not be verified.
    #[error("auth: {0}")]
    Keys(#[from] KeyError),
    /// Metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Metrics cannot be registered.
    #[error("metrics: {0}")]
    Prometheus(#[from] prometheus::Error),
    /// Children cannot be started at all.
    #[error("cannot start the supervisor of child processes: {0}")]
    Supervisor(io::Error),
    /// The key of request states cannot be used.
    #[error("the cryptographic library refuses a key")]
    Sealing,
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Random(getrandom::Error),
}

/// A gateway that serves.
pub struct Server {
    gateway: Arc<Gateway>,
    listeners: Vec<Running>,
    locals: Locals,
    admin_stop: CancellationToken,
    /// Released by the first configuration, where that comes after the start.
    unconfigured: Option<readiness::Gate>,
}

impl Server {
    /// Starts everything; returns when the listeners are open. Backends are contacted in the background.
    pub async fn start(loaded: Loaded) -> Result<Self, StartError> {
        if let Access::Refuse { reason } = &loaded.snapshot.access {
            tracing::error!(%reason, "every request will be refused");
        }
        Self::begin(loaded.snapshot, &loaded.process, Role::Standalone).await
    }

    /// Starts a gateway of one backend, which is what `/mcp` serves. The process is ready once that was read.
    pub(crate) async fn start_beside(loaded: Loaded, namespace: &str) -> Result<Self, StartError> {
        let role = Role::Adapter(Scope::One(namespace.to_owned()));
        Self::begin(loaded.snapshot, &loaded.process, role).await
    }

    /// Starts what needs no configuration. The process is ready when one has come by [`Server::replace`]; `standing` says
    /// on the pages where it is from.
    pub(crate) async fn start_empty(
        process: &ProcessSettings,
        standing: Arc<Standing>,
    ) -> Result<Self, StartError> {
        Self::begin(unconfigured(), process, Role::Pod(standing)).await
    }

    async fn begin(snapshot: Snapshot, process: &ProcessSettings, role: Role) -> Result<Self, StartError> {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        let listening = readiness.gate("listeners");
        let unconfigured = matches!(role, Role::Pod(_)).then(|| readiness.gate("configuration"));
        let unread = matches!(role, Role::Adapter(_)).then(|| readiness.gate("server"));
        let (gateway, metrics) = build(snapshot, drain, &readiness, role)?;
        let plan = gateway.plan.load_full();
        let mut bound = Vec::new();
        for listener in &plan.snapshot.listeners {
            bound.push(Bound::bind(listener.clone(), acceptor(listener)?).await?);
        }
        let mut locals = Locals::default();
        let opened = locals.open(&plan.snapshot.local).await?;
        let admin_stop = CancellationToken::new();
        serve_admin(process, &gateway, metrics, &admin_stop).await?;
        for cluster in &plan.clusters {
            cluster.start();
        }
        if let Some(gate) = unread {
            let started = Arc::clone(&plan);
            tasks::spawn("first-reading", async move {
                for cluster in &started.clusters {
                    cluster.was_read().await;
                }
                gate.release();
            });
        }
        keep_views(&gateway);
        keep_gauges(&gateway);
        tasks::spawn("sweep-sessions", sweep(Arc::clone(&gateway)));
        let listeners = bound.into_iter().map(|bound| bound.serve(Arc::clone(&gateway))).collect();
        locals.take_over(&plan.snapshot.local, opened, &gateway);
        listening.release();
        Ok(Self { gateway, listeners, locals, admin_stop, unconfigured })
    }

    /// What everything shares.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What is served.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.gateway.plan.load().snapshot)
    }

    /// Where clients connect: name, address and whether it is TLS.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, std::net::SocketAddr, bool)> {
        self.listeners
            .iter()
            .map(|running| (running.config.name.as_str(), running.address, running.tls().is_some()))
    }

    /// Whether standard output belongs to a client.
    pub fn speaks_on_stdout(&self) -> bool {
        self.locals.streams().is_some()
    }

    /// Completes when standard input has ended and nobody else can come: the one whom this process serves has left.
    pub async fn left(&self) {
        match self.only_client() {
            Some(left) => left.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The client of the standard streams, when there can be no other: cancelled once it has left.
    fn only_client(&self) -> Option<&CancellationToken> {
        self.locals.streams().filter(|_| self.listeners.is_empty() && !self.locals.has_sockets())
    }

    /// Waits until every backend was read or found absent, at most as long as a merged list waits.
    pub async fn settled(&self) -> Vec<crate::welcome::BackendSummary> {
        crate::welcome::summary(&self.gateway).await
    }

    /// Stops taking requests and waits for those in flight; `hurry` ends the wait. Gives how many were given up.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> u64 {
        tokio::select! {
            () = self.drain() => {}
            () = hurry => tracing::warn!("stopping at once"),
        }
        self.end().await
    }

    /// Stops taking requests. What is given completes when those in flight are done, or have had all the time they get;
    /// until then the configuration may change.
    pub(crate) fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let timeout = self.gateway.plan.load().snapshot.limits.drain_timeout;
        // Said once it is true: whoever reads it may ask the probes next.
        self.gateway.drain.start();
        if self.only_client().is_some_and(CancellationToken::is_cancelled) {
            // Nobody is left who could continue them.
            self.gateway.parked.clear();
        }
        tracing::info!(in_flight = self.gateway.drain.in_flight(), ?timeout, "draining");
        self.gateway.sessions.for_each(|session| session.streams.standalone().end());
        let gateway = Arc::clone(&self.gateway);
        async move {
            tokio::time::sleep(LAME_DUCK.min(timeout)).await;
            match gateway.drain.finished(timeout.saturating_sub(LAME_DUCK)).await {
                Ok(()) => tracing::info!("drained"),
                Err(unfinished) => tracing::warn!(error = %unfinished, "not drained"),
            }
        }
    }

    /// Ends what is left. Gives how many requests were given up.
    pub(crate) async fn end(self) -> u64 {
        // They cannot be continued any more: their servers are told, and their clients when they come.
        self.gateway.parked.clear();
        let given_up = self.gateway.drain.in_flight();
        if given_up > 0 {
            self.gateway.ending.cancel();
            // Nobody waits for clients that do not read what they are told.
            drop(self.gateway.drain.finished(LAST_WORDS).await);
        }
        for running in &self.listeners {
            running.stop();
        }
        self.locals.stop();
        let ended = async {
            for running in &self.listeners {
                running.ended().await;
            }
            self.locals.ended().await;
        };
        drop(tokio::time::timeout(LAST_WORDS, ended).await);
        // What was parked in the last moment.
        self.gateway.parked.clear();
        self.end_sessions().await;
        self.end_clusters().await;
        self.gateway.shared.supervisor.shutdown(CHILD_GRACE).await;
        self.admin_stop.cancel();
        tracing::info!("stopped");
        given_up as u64
    }

    /// Ends the gateway's own conversations with the backends.
    async fn end_clusters(&self) {
        let plan = self.gateway.plan.load_full();
        for cluster in &plan.clusters {
            cluster.close();
        }
        let ended = async {
            for cluster in &plan.clusters {
                cluster.ended().await;
            }
        };
        if tokio::time::timeout(SESSION_GRACE, ended).await.is_err() {
            tracing::warn!("not every backend was told that the gateway has gone");
        }
    }

    /// Ends all sessions, also at the backends.
    async fn end_sessions(&self) {
        let mut closing = tokio::task::JoinSet::new();
        self.gateway.sessions.for_each(|session| {
            for link in session.close() {
                closing.spawn(async move { link.close().await });
            }
        });
        if tokio::time::timeout(SESSION_GRACE, closing.join_all()).await.is_err() {
            tracing::warn!("not every backend was told that its sessions have ended");
        }
    }
}

/// Nobody can connect, and if somebody could, nobody would be served.
fn unconfigured() -> Snapshot {
    Snapshot {
        listeners: Vec::new(),
        local: Vec::new(),
        backends: Vec::new(),
        access: Access::Refuse { reason: "no configuration has come yet".to_owned() },
        naming: Naming::default(),
        limits: Limits::default(),
        sessions: Sessions::default(),
        log_level: None,
        refuse_local: false,
    }
}

pub(crate) fn build(
    snapshot: Snapshot,
    drain: Drain,
    readiness: &Readiness,
    role: Role,
) -> Result<(Arc<Gateway>, Metrics), StartError> {
    let (standing, front) = match role {
        Role::Standalone => (None, None),
        Role::Pod(standing) => (Some(standing), None),
        Role::Adapter(front) => (None, Some(front)),
    };
    let metrics = Metrics::new()?;
    let shared = Arc::new(cluster::Shared {
        clients: Clients::shared(Reach::Anywhere)?,
        guarded: Clients::shared(Reach::Elsewhere)?,
        supervisor: Supervisor::new(guard::command()).map_err(StartError::Supervisor)?,
        offers_changed: Arc::default(),
        metrics: GatewayMetrics::register(metrics.registry())?,
    });
    let random = || -> Result<[u8; 32], StartError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(StartError::Random)?;
        Ok(key)
    };
    let incarnation = getrandom::u64().map_err(StartError::Random)?;
    let handles = HandleKey::new(&random()?, incarnation).map_err(|_| StartError::Sealing)?;
    let Limits { max_listens, .. } = snapshot.limits;
    let gate = Gate::load(&snapshot.access).unwrap_or_else(|error| {
        tracing::error!(%error, "every request will be refused");
        Gate::Closed
    });
    let plan = Arc::new(ArcSwap::from_pointee(Plan::build(snapshot, gate, &shared, None)?));
    if let Some(standing) = &standing {
        ConfigCollector::register(metrics.registry(), Arc::clone(standing))?;
    }
    let source = Arc::new(PlanHealth { plan: Arc::clone(&plan), standing });
    let gateway = Gateway {
        views: Views::new(CursorKey::new(random()?)),
        parked: Parked::new(handles),
        sessions: SessionTable::new(),
        sse: sse::Clients::new(),
        metrics: shared.metrics.clone(),
        health: Health::new(readiness.clone(), source, env!("CARGO_PKG_VERSION")),
        drain,
        ending: CancellationToken::new(),
        shared,
        listens: Arc::new(Semaphore::new(max_listens.min(Semaphore::MAX_PERMITS))),
        front,
        plan,
    };
    Ok((Arc::new(gateway), metrics))
}

async fn serve_admin(
    process: &ProcessSettings,
    gateway: &Gateway,
    metrics: Metrics,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    if let Some(settings) = &process.metrics {
        let pages = Pages::Metrics(gateway.health.clone(), metrics);
        AdminServer::bind("metrics", settings.address).await?.spawn(pages, stop.clone());
    }
    if let Some(address) = process.health {
        AdminServer::bind("health", address)
            .await?
            .spawn(Pages::Health(gateway.health.clone()), stop.clone());
    }
    Ok(())
}

async fn sweep(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(SWEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = gateway.drain.started() => return,
            _ = tick.tick() => {}
        }
        let ttl = gateway.plan.load().snapshot.sessions.idle_ttl;
        let now = Instant::now();
        let ended = gateway.sessions.sweep(now, ttl);
        if let Some(before) = now.checked_sub(REPLAY_TTL) {
            gateway.sessions.for_each(|session| session.streams.expire(before));
        }
        let expired = gateway.parked.sweep(now);
        if expired > 0 {
            tracing::info!(expired, "calls ended whose clients did not answer");
        }
        for cluster in &gateway.plan.load().clusters {
            cluster.pool.sweep(now);
        }
        if ended > 0 {
            tracing::info!(ended, "idle sessions ended");
        }
    }
}
