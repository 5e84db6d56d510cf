//! What one backend offers to clients of one generation, kept current in the background. Requests never wait for it
//! once it was read; lists of other backends never wait for it at all.
//!
//! Changes when catalogues are refreshed for another reason.
//!
//! ```text
//! loading ──▶ ready ──list_changed, age, lost conversation──▶ ready (the old list serves meanwhile)
//!    └──▶ absent (other generation, or not reachable yet) ──retry──▶ ready
//! ```

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bridge_mcp::frame::Frame;
use bridge_mcp::merge::{CacheHints, Item, ListKind};
use bridge_mcp::method::Method;
use bridge_mcp::param_headers::ParamHeaders;
use bridge_mcp::translate::losses::Losses;
use bridge_mcp::translate::{to_legacy, to_modern};
use bridge_mcp::version::Era;
use bridge_policy::backoff::{Backoff, Schedule};
use bridge_policy::refusal::{Reason, Refusal};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Cluster, fetch};
use crate::observe::GatewayMetrics;
use crate::upstream::{Handshake, Link, Owner, ServerInfo, Taken, listen};

/// Age at which a list is read again when somebody asks for it and the backend announces no changes.
const STALE: Duration = Duration::from_secs(30);

/// How a lost or unreachable backend is tried again.
const RETRY: Schedule = Schedule {
    first: Duration::from_millis(250),
    max: Duration::from_secs(30),
    stable_after: Duration::from_secs(30),
};

/// A catalogue and how to reach the task that keeps it.
pub(crate) struct Catalogue {
    era: Era,
    offer: watch::Sender<Offer>,
    refresh: Arc<Notify>,
    /// The backend is reached elsewhere than before.
    moved: Notify,
    /// Why no conversation has opened since it was read.
    trouble: Mutex<Option<Reason>>,
}

/// What is known.
#[derive(Clone)]
pub(crate) enum Offer {
    /// Not read yet.
    Loading,
    /// Read.
    Ready(Arc<Lists>),
    /// Not to be had, with the reason.
    Absent(Refusal),
}

/// Everything that a backend lists.
pub(crate) struct Lists {
    pub(crate) handshake: Handshake,
    parts: Vec<(ListKind, Vec<Item>, CacheHints)>,
    /// Annotated parameters of its tools, by the name that it knows itself.
    pub(crate) params: HashMap<Box<str>, ParamHeaders>,
    pub(crate) fetched: Instant,
    /// Tools that the backend lists and clients do not see.
    pub(crate) hidden_tools: usize,
    /// The same for clients of the other generation, once somebody has asked for it.
    translated: OnceLock<Arc<Lists>>,
    /// What the server says about itself, once somebody has asked for it.
    server: OnceLock<ServerInfo>,
}

impl Lists {
    pub(crate) fn new(
        handshake: Handshake,
        parts: Vec<(ListKind, Vec<Item>, CacheHints)>,
        params: HashMap<Box<str>, ParamHeaders>,
        fetched: Instant,
    ) -> Self {
        Self {
            handshake,
            parts,
            params,
            fetched,
            hidden_tools: 0,
            translated: OnceLock::new(),
            server: OnceLock::new(),
        }
    }

    /// What clients of `era` see of a backend that speaks the other generation only. What is lost is counted once.
    pub(crate) fn translated(&self, era: Era, metrics: &GatewayMetrics) -> Arc<Self> {
        let translate = || {
            let mut lost = Losses::default();
            let lists = self.translate(era, &mut lost);
            metrics.lost(lost);
            Arc::new(lists)
        };
        Arc::clone(self.translated.get_or_init(translate))
    }

    fn translate(&self, era: Era, lost: &mut Losses) -> Self {
        let mut item = |kind, item: &Item| {
            let raw = match era {
                Era::Legacy => to_modern::item(kind, &item.raw, lost),
                Era::Modern => to_legacy::item(kind, &item.raw, lost),
            }?;
            Item::read(kind, raw)
        };
        let parts = self.parts.iter().map(|(kind, items, _)| {
            let items = items.iter().filter_map(|found| item(*kind, found)).collect();
            (*kind, items, CacheHints::default())
        });
        Self::new(self.handshake.clone(), parts.collect(), HashMap::new(), self.fetched)
    }

    /// What the server says about itself.
    pub(crate) fn server(&self) -> &ServerInfo {
        self.server.get_or_init(|| self.handshake.server())
    }

    pub(crate) fn items(&self, kind: ListKind) -> &[Item] {
        self.parts.iter().find(|(of, ..)| *of == kind).map_or(&[], |(_, items, _)| items)
    }

    pub(crate) fn hints(&self, kind: ListKind) -> Option<CacheHints> {
        self.parts.iter().find(|(of, ..)| *of == kind).map(|(.., hints)| *hints)
    }
}

impl Catalogue {
    pub(super) fn new(era: Era) -> Self {
        Self {
            era,
            offer: watch::Sender::new(Offer::Loading),
            refresh: Arc::default(),
            moved: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// What is known now.
    pub(crate) fn offer(&self) -> Offer {
        self.offer.borrow().clone()
    }

    /// The lists, when they were read.
    pub(crate) fn lists(&self) -> Option<Arc<Lists>> {
        match &*self.offer.borrow() {
            Offer::Ready(lists) => Some(Arc::clone(lists)),
            Offer::Loading | Offer::Absent(_) => None,
        }
    }

    /// Why no conversation opens any more. What the backend listed before is still offered.
    pub(crate) fn trouble(&self) -> Option<Reason> {
        *self.trouble.lock()
    }

    /// Waits until the first reading has ended, well or badly.
    pub(crate) async fn settled(&self) {
        let mut offer = self.offer.subscribe();
        // The sender lives as long as `self`, so the wait ends only with a settled offer.
        drop(offer.wait_for(|offer| !matches!(offer, Offer::Loading)).await);
    }

    /// Waits until it was read.
    pub(crate) async fn was_read(&self) {
        let mut offer = self.offer.subscribe();
        // The sender lives as long as `self`.
        drop(offer.wait_for(|offer| matches!(offer, Offer::Ready(_))).await);
    }

    /// Tells each change of what is known.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Offer> {
        self.offer.subscribe()
    }

    /// Asks for a new reading, and waits for it.
    pub(crate) async fn reread(&self) {
        let mut offer = self.offer.subscribe();
        offer.mark_unchanged();
        self.refresh();
        // The sender lives as long as `self`.
        drop(offer.changed().await);
    }

    /// Asks for a new reading.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// The backend has come to other places: one that could not be read may be there.
    pub(super) fn moved(&self) {
        self.moved.notify_one();
    }

    /// Asks for a new reading when the last is old and the backend announces no changes itself.
    pub(crate) fn refresh_if_stale(&self, now: Instant) {
        let stale = match &*self.offer.borrow() {
            Offer::Ready(lists) => {
                !announces_changes(&lists.handshake) && now.saturating_duration_since(lists.fetched) > STALE
            }
            Offer::Loading | Offer::Absent(_) => false,
        };
        if stale {
            self.refresh();
        }
    }
}

fn announces_changes(handshake: &Handshake) -> bool {
    ["tools", "prompts", "resources"].iter().all(|kind| {
        let Some(capability) = handshake.capabilities.get(kind) else { return true };
        capability.get("listChanged").and_then(serde_json::Value::as_bool).unwrap_or(false)
    })
}

/// The gateway as the owner of a backend's messages that concern no client.
struct CatalogueOwner {
    backend: Arc<str>,
    refresh: Arc<Notify>,
}

impl Owner for CatalogueOwner {
    fn notice(&self, frame: Frame) {
        match frame.method() {
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                self.refresh.notify_one();
            }
            Method::Message => tracing::debug!(backend = %self.backend, "log message outside any call"),
            method => {
                tracing::debug!(backend = %self.backend, method = method.as_str(), "notification for no client");
            }
        }
    }

    fn request(&self, _: Frame, _: bool) -> Taken {
        Taken::Outside
    }
}

impl Cluster {
    pub(super) fn owner(&self, era: Era) -> Arc<dyn Owner> {
        let refresh = Arc::clone(&self.catalogue(era).refresh);
        Arc::new(CatalogueOwner { backend: Arc::clone(&self.name), refresh })
    }
}

/// Keeps the catalogue of `cluster` for `era` until the cluster closes.
pub(super) fn keep(cluster: &Arc<Cluster>, era: Era) {
    let keeper = Arc::clone(cluster);
    cluster.track("catalogue", async move { run(&keeper, era).await });
}

async fn run(cluster: &Arc<Cluster>, era: Era) {
    let catalogue = cluster.catalogue(era);
    let mut backoff = Backoff::new(RETRY);
    let closed = &cluster.closed;
    loop {
        let Some(opened) = closed.run_until_cancelled(open(cluster, era)).await else { return };
        let refusal = match opened {
            Ok((link, handshake)) => {
                backoff.succeeded(Instant::now());
                let _listening =
                    (era == Era::Modern).then(|| fetch::listen_modern(cluster, &link, &handshake));
                let reading = keep_reading(cluster, catalogue, &link, handshake);
                let outcome = closed.run_until_cancelled(reading).await;
                if era == Era::Legacy {
                    link.close().await;
                }
                let Some(refusal) = outcome else { return };
                refusal
            }
            Err(refusal) => {
                *catalogue.trouble.lock() = Some(refusal.reason);
                refusal
            }
        };
        let is_mismatch = refusal.reason == Reason::EraMismatch;
        if !is_mismatch {
            tracing::warn!(backend = %cluster.name, %era, error = %refusal, "catalogue not read; trying again");
        }
        let wait = if is_mismatch && !cluster.is_in_doubt(era) {
            cluster.recheck()
        } else {
            backoff.failed(Instant::now(), random())
        };
        let known = matches!(*catalogue.offer.borrow(), Offer::Ready(_));
        // What was known stays listed while the backend is away, unless it has become another kind of server.
        if !known || is_mismatch {
            publish(cluster, catalogue, Offer::Absent(refusal));
        }
        // No client may shorten this wait: that would defeat the backoff. Another place has not failed yet.
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = catalogue.moved.notified() => {}
        }
    }
}

async fn open(cluster: &Arc<Cluster>, era: Era) -> Result<(Arc<Link>, Handshake), Refusal> {
    match era {
        Era::Legacy => {
            let (link, handshake) = cluster.probe_legacy().await?;
            if announces_any_change(&handshake) {
                listen(&link, cluster.owner(era)).await;
            }
            Ok((link, handshake))
        }
        Era::Modern => {
            let (link, handshake) = cluster.probe_modern().await?;
            let handshake = match handshake {
                Some(handshake) => handshake,
                None => cluster.rediscover(&link).await?,
            };
            Ok((link, handshake))
        }
    }
}

fn announces_any_change(handshake: &Handshake) -> bool {
    ["tools", "prompts", "resources"].iter().any(|kind| {
        let capability = handshake.capabilities.get(kind).and_then(|kind| kind.get("listChanged"));
        capability.and_then(serde_json::Value::as_bool).unwrap_or(false)
    })
}

/// Reads the lists now and after each reason to, until the conversation is lost.
async fn keep_reading(
    cluster: &Arc<Cluster>,
    catalogue: &Catalogue,
    link: &Arc<Link>,
    handshake: Handshake,
) -> Refusal {
    let closed = link.closed();
    loop {
        let reading = fetch::lists(cluster, link, handshake.clone());
        match tokio::time::timeout(cluster.config.request_timeout, reading).await {
            Ok(Ok(lists)) => {
                *catalogue.trouble.lock() = None;
                publish(cluster, catalogue, Offer::Ready(Arc::new(lists)));
            }
            Ok(Err(refusal)) => return refusal,
            Err(_) => {
                return Refusal::backend(
                    Reason::BackendTimeout,
                    &cluster.name,
                    "its lists did not come in time",
                );
            }
        }
        tokio::select! {
            () = closed.cancelled() => {
                return Refusal::backend(Reason::BackendLost, &cluster.name, "its conversation ended");
            }
            () = catalogue.refresh.notified() => {}
        }
    }
}

fn publish(cluster: &Cluster, catalogue: &Catalogue, offer: Offer) {
    catalogue.offer.send_replace(offer);
    // Said once it is true: whoever reads it may ask next.
    match &*catalogue.offer.borrow() {
        Offer::Ready(lists) => tracing::info!(
            backend = %cluster.name,
            era = %catalogue.era,
            version = %lists.handshake.version,
            tools = lists.items(ListKind::Tools).len(),
            prompts = lists.items(ListKind::Prompts).len(),
            resources = lists.items(ListKind::Resources).len(),
            "catalogue read"
        ),
        Offer::Absent(refusal) => {
            tracing::info!(backend = %cluster.name, era = %catalogue.era, reason = refusal.reason.as_str(), "not offered");
        }
        Offer::Loading => {}
    }
    cluster.shared.offers_changed.notify_one();
}

/// Jitter needs no secrecy; without randomness it is simply absent.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
