//! One backend as the gateway runs it: how conversations with it open, what it speaks, what it offers, how much of it
//! may be used at once. Changes when backends get another property.

mod attempts;
mod catalogue;
mod child;
mod clients;
mod detect;
mod endpoint;
mod fetch;
mod open;
mod places;
mod slot;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bridge_mcp::limits::Limits;
use bridge_mcp::version::Era;
use bridge_policy::exposure::Exposure;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_snapshot::{Backend, EraPolicy};
use bridge_transport::backend::reach::Reach;
use bridge_transport::stdio::Supervisor;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crossing::{Pool, Watches};
use crate::observe::GatewayMetrics;
use crate::upstream::{Endpoints, Room};
use endpoint::{Endpoint, Protocol};
use places::Places;

pub(crate) use catalogue::{Catalogue, Lists, Offer};
pub(crate) use clients::Clients;
pub(crate) use open::{mirrored, with_params};
pub(crate) use places::Move;
pub(crate) use slot::{LinkSlot, Openable};

/// How long a server that does not speak a generation is believed not to. Asking a command costs a process, and what a
/// command speaks changes with its next version only.
const RECHECK_HTTP: Duration = Duration::from_mins(1);
const RECHECK_STDIO: Duration = Duration::from_hours(1);
/// The same for one that failed, which may have been for another reason.
const RECHECK_IN_DOUBT: Duration = Duration::from_secs(5);

/// What all clusters share.
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    /// The same, which do not lead to the machine itself.
    pub(crate) guarded: Clients,
    pub(crate) supervisor: Supervisor,
    /// Wakes whoever merges catalogues.
    pub(crate) offers_changed: Arc<Notify>,
    pub(crate) metrics: GatewayMetrics,
}

/// A backend.
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    /// As it was when it started: only its places change, and are in `places`.
    pub(crate) config: Backend,
    /// What of it clients see and may use.
    pub(crate) exposure: Exposure,
    shared: Arc<Shared>,
    limits: Limits,
    reach: Reach,
    /// Connections of its own, where its configuration says how they are protected.
    own_clients: Option<Clients>,
    /// Where it is reached, and which of these places work.
    places: ArcSwap<Places>,
    standing: Arc<Endpoints>,
    permits: Arc<Semaphore>,
    /// The one process of a backend whose clients share it.
    room: LinkSlot<Arc<Room>>,
    /// The conversation that all modern clients share; they keep no state in it.
    modern: LinkSlot,
    /// Legacy conversations for the calls of modern clients.
    pub(crate) pool: Pool,
    /// Legacy conversations for their listens.
    pub(crate) watches: Watches,
    /// How often it may ask a legacy client within one call.
    pub(crate) max_rounds: u32,
    verdicts: Mutex<Verdicts>,
    legacy_catalogue: Catalogue,
    modern_catalogue: Catalogue,
    started: OnceLock<tokio::time::Instant>,
    closed: CancellationToken,
    /// What a gateway that stops waits for: the keepers of the catalogues, and whatever ends conversations.
    work: TaskTracker,
}

/// Generations that the backend was found not to speak, and when.
#[derive(Default)]
struct Verdicts {
    not_legacy: Option<Verdict>,
    not_modern: Option<Verdict>,
}

/// That it does not speak a generation.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    at: Instant,
    /// It failed instead of saying so.
    in_doubt: bool,
}

impl Verdict {
    fn firm(at: Instant) -> Self {
        Self { at, in_doubt: false }
    }

    fn in_doubt(at: Instant) -> Self {
        Self { at, in_doubt: true }
    }
}

/// Why a backend cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("backend `{backend}`: {problem}")]
pub struct ClusterError {
    pub(crate) backend: String,
    problem: String,
}

impl Cluster {
    pub(crate) fn new(
        config: Backend,
        shared: Arc<Shared>,
        limits: Limits,
        max_rounds: u32,
        reach: Reach,
    ) -> Result<Self, ClusterError> {
        let name: Arc<str> = config.name.as_str().into();
        let exposure = Exposure::compile(&config.exposure)
            .map_err(|error| ClusterError { backend: config.name.clone(), problem: error.to_string() })?;
        let own_clients = Clients::of(&config, reach).map_err(|error| ClusterError {
            backend: config.name.clone(),
            problem: format!("tls: {error}"),
        })?;
        let cluster = Self {
            permits: Arc::new(Semaphore::new(config.max_concurrency.min(Semaphore::MAX_PERMITS))),
            name,
            exposure,
            shared,
            limits,
            reach,
            own_clients,
            places: ArcSwap::default(),
            standing: Endpoints::new(),
            room: LinkSlot::default(),
            modern: LinkSlot::default(),
            pool: Pool::default(),
            watches: Watches::default(),
            max_rounds,
            verdicts: Mutex::default(),
            legacy_catalogue: Catalogue::new(Era::Legacy),
            modern_catalogue: Catalogue::new(Era::Modern),
            started: OnceLock::new(),
            closed: CancellationToken::new(),
            work: TaskTracker::new(),
            config,
        };
        cluster.settle()?;
        Ok(cluster)
    }

    /// What its requests are made with.
    fn clients(&self) -> &Clients {
        let shared = match self.reach {
            Reach::Anywhere => &self.shared.clients,
            Reach::Elsewhere => &self.shared.guarded,
        };
        self.own_clients.as_ref().unwrap_or(shared)
    }

    /// Starts to keep the catalogues of both generations.
    pub(crate) fn start(self: &Arc<Self>) {
        self.started();
        for era in [Era::Legacy, Era::Modern] {
            catalogue::keep(self, era);
        }
    }

    /// When it started; now, if it has not.
    pub(crate) fn started(&self) -> tokio::time::Instant {
        *self.started.get_or_init(tokio::time::Instant::now)
    }

    /// Ends everything that the backend's sessions do not own themselves.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.work.close();
        self.pool.clear();
        drop(self.room.take());
        if let Some(link) = self.modern.take() {
            self.track("close-link", async move { link.close().await });
        }
    }

    /// Waits until the gateway's own conversations have ended. Call [`Cluster::close`] first.
    pub(crate) async fn ended(&self) {
        self.work.wait().await;
    }

    /// Starts a task for whose end a gateway that stops waits, as far as it has time.
    pub(crate) fn track(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        tasks::spawn(name, self.work.track_future(task));
    }

    /// What it offers to clients of `era`.
    pub(crate) fn catalogue(&self, era: Era) -> &Catalogue {
        match era {
            Era::Legacy => &self.legacy_catalogue,
            Era::Modern => &self.modern_catalogue,
        }
    }

    /// What it offers to clients of `era`, translated when it speaks the other generation only.
    pub(crate) fn offer(&self, era: Era) -> Offer {
        let source = self.source(era);
        match self.catalogue(source).offer() {
            Offer::Ready(lists) if source != era => Offer::Ready(lists.translated(era, self.metrics())),
            offer => offer,
        }
    }

    /// Waits until it is known, for well or ill, what it offers to clients of `era`.
    pub(crate) async fn settled(&self, era: Era) {
        self.catalogue(era).settled().await;
        self.catalogue(self.source(era)).settled().await;
    }

    /// Waits until what it offers was read, in whichever generation.
    pub(crate) async fn was_read(&self) {
        tokio::select! {
            () = self.legacy_catalogue.was_read() => {}
            () = self.modern_catalogue.was_read() => {}
        }
    }

    /// Asks for a new reading of what it offers to clients of `era`, when the last one is old.
    pub(crate) fn refresh_if_stale(&self, era: Era, now: Instant) {
        self.catalogue(self.source(era)).refresh_if_stale(now);
    }

    /// The generation whose catalogue clients of `era` see: the other one when it does not speak theirs.
    fn source(&self, era: Era) -> Era {
        match (self.catalogue(era).offer(), era) {
            (Offer::Absent(refusal), Era::Legacy) if refusal.reason == Reason::EraMismatch => Era::Modern,
            (Offer::Absent(refusal), Era::Modern) if refusal.reason == Reason::EraMismatch => Era::Legacy,
            _ => era,
        }
    }

    pub(crate) fn metrics(&self) -> &GatewayMetrics {
        &self.shared.metrics
    }

    /// Bounds of its messages.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether requests to it stand alone, wherever it is reached. Not while that is unknown.
    pub(crate) fn is_http(&self) -> bool {
        let stands_alone = |endpoint: &Endpoint| endpoint.protocol() == Some(Protocol::StreamableHttp);
        self.places.load().endpoints().all(stands_alone)
    }

    /// A token that is cancelled when it closes.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closed.child_token()
    }

    /// Room for one more request.
    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            Refusal::backend(
                Reason::BackendBusy,
                &self.name,
                format_args!("{} requests are in flight, its limit; try again", self.config.max_concurrency),
            )
        })
    }

    /// Whether the configuration lets it be spoken to in `era`.
    fn is_allowed(&self, era: Era) -> bool {
        match self.config.era {
            EraPolicy::Auto => true,
            EraPolicy::Legacy => era == Era::Legacy,
            EraPolicy::Modern => era == Era::Modern,
        }
    }

    /// Whether it may speak `era`, as configured and as far as is known.
    pub(crate) fn may_speak(&self, era: Era, now: Instant) -> bool {
        // While the other generation serves, requests do not ask anew: the keeper of the catalogue does.
        let is_due = |verdict: Verdict| {
            let other = if era == Era::Legacy { &self.modern_catalogue } else { &self.legacy_catalogue };
            let holds = if verdict.in_doubt { RECHECK_IN_DOUBT } else { self.recheck() };
            now.saturating_duration_since(verdict.at) > holds && other.lists().is_none()
        };
        self.is_allowed(era) && self.verdict(era).is_none_or(is_due)
    }

    /// That it does not speak `era`, if that was found.
    fn verdict(&self, era: Era) -> Option<Verdict> {
        let verdicts = self.verdicts.lock();
        match era {
            Era::Legacy => verdicts.not_legacy,
            Era::Modern => verdicts.not_modern,
        }
    }

    /// Whether it is believed not to speak `era` only because it failed.
    fn is_in_doubt(&self, era: Era) -> bool {
        self.verdict(era).is_some_and(|verdict| verdict.in_doubt)
    }

    /// How long a firm verdict holds.
    fn recheck(&self) -> Duration {
        let is_command = |endpoint: &Endpoint| endpoint.protocol() == Some(Protocol::Stdio);
        if self.places.load().endpoints().any(is_command) { RECHECK_STDIO } else { RECHECK_HTTP }
    }

    /// What its endpoints speak, as far as is known.
    pub(crate) fn protocol(&self) -> Option<&'static str> {
        self.places.load().endpoints().find_map(Endpoint::protocol).map(Protocol::as_str)
    }

    fn set_verdict(&self, era: Era, verdict: Option<Verdict>) {
        let mut verdicts = self.verdicts.lock();
        match era {
            Era::Legacy => verdicts.not_legacy = verdict,
            Era::Modern => verdicts.not_modern = verdict,
        }
    }

    /// The refusal of a conversation in `era`, which it does not speak. A client sees it when the other generation is
    /// no way out either.
    pub(crate) fn era_mismatch(&self, era: Era) -> Refusal {
        let only = match self.config.era {
            EraPolicy::Auto => {
                let detail = format_args!("it does not speak {era}");
                return Refusal::backend(Reason::EraMismatch, &self.name, detail);
            }
            EraPolicy::Legacy => Era::Legacy,
            EraPolicy::Modern => Era::Modern,
        };
        let detail = format_args!("it does not speak {only}, and its configuration allows nothing else");
        Refusal::backend(Reason::EraMismatch, &self.name, detail)
    }
}
