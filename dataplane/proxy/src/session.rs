//! A legacy session: one client between `initialize` and its end. Changes when sessions hold something else.
//!
//! ```text
//! open ──▶ serving ──DELETE, idle, shutdown──▶ closed
//! ```

mod ids;
mod owner;
mod stream;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bridge_mcp::asked::Asked;
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::method::Method;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::Refusal;
use bridge_policy::route::Scope;
use bridge_runtime::tasks;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, LinkSlot};
use crate::upstream::{Handshake, Hello, Link, Owner, listen};

pub(crate) use ids::SessionId;
pub(crate) use owner::SessionOwner;
pub(crate) use stream::{LogBounds, StreamLog, Streams};
pub(crate) use table::SessionTable;

/// One client's session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) scope: Scope,
    /// What the client said of itself; passed on to each backend that this session opens.
    pub(crate) hello: Hello,
    pub(crate) streams: Streams,
    links: Mutex<HashMap<Arc<str>, Arc<LinkSlot>>>,
    /// The client's requests in flight, for its cancellations.
    calls: Mutex<HashMap<Id, Arc<Link>>>,
    asked: Mutex<Asked<Arc<str>>>,
    settings: Mutex<Settings>,
    /// The client has opened its notification stream at least once.
    listening: AtomicBool,
    /// Milliseconds after `born`.
    last_used: AtomicU64,
    born: Instant,
    closed: CancellationToken,
}

/// What a new upstream session must be told again.
#[derive(Default)]
struct Settings {
    level: Option<Frame>,
    subscriptions: BTreeMap<Arc<str>, BTreeSet<String>>,
}

impl Session {
    /// A session that serves from now on.
    pub(crate) fn new(
        id: SessionId,
        principal: Principal,
        scope: Scope,
        hello: Hello,
        bounds: LogBounds,
        now: Instant,
    ) -> Self {
        let rename = scope == Scope::Merged;
        Self {
            id,
            principal,
            scope,
            hello,
            streams: Streams::new(bounds),
            links: Mutex::default(),
            calls: Mutex::default(),
            asked: Mutex::new(Asked::new(rename)),
            settings: Mutex::default(),
            listening: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            born: now,
            closed: CancellationToken::new(),
        }
    }

    /// Notes that the client is there.
    pub(crate) fn touch(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_millis();
        self.last_used.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether nobody has used it for `ttl`. A client that listens or waits is using it.
    pub(crate) fn is_idle(&self, now: Instant, ttl: Duration) -> bool {
        let used = self.born + Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        now.saturating_duration_since(used) >= ttl
            && !self.streams.has_reader()
            && self.calls.lock().is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends it: streams end, upstream sessions are deleted, children stop.
    pub(crate) fn close(&self) {
        if self.closed.is_cancelled() {
            return;
        }
        self.closed.cancel();
        self.streams.end();
        let links: Vec<_> = self.links.lock().drain().filter_map(|(_, slot)| slot.take()).collect();
        for link in links {
            tasks::spawn("close-link", async move { link.close().await });
        }
    }

    /// The conversation with a backend, opened when there is none.
    pub(crate) async fn link(self: &Arc<Self>, cluster: &Arc<Cluster>) -> Result<Arc<Link>, Refusal> {
        self.link_fresh(cluster).await.map(|(link, _)| link)
    }

    /// Like [`Session::link`], with what the backend said of itself when this call opened it.
    pub(crate) async fn link_fresh(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
    ) -> Result<(Arc<Link>, Option<Handshake>), Refusal> {
        let slot = Arc::clone(self.links.lock().entry(Arc::clone(&cluster.name)).or_default());
        if let Some(link) = slot.get() {
            return Ok((link, None));
        }
        let mut handshake = None;
        let (link, fresh) = slot
            .open(|| async {
                let (link, opened) = self.open_link(cluster).await?;
                handshake = Some(opened);
                Ok(link)
            })
            .await?;
        // A session that ended meanwhile has emptied its slots already.
        if fresh && self.is_closed() {
            link.close().await;
        }
        Ok((link, handshake))
    }

    async fn open_link(self: &Arc<Self>, cluster: &Arc<Cluster>) -> Result<(Arc<Link>, Handshake), Refusal> {
        self.asked.lock().forget(&cluster.name);
        let owner: Arc<dyn Owner> = Arc::new(SessionOwner::new(self, &cluster.name));
        let (link, handshake) = cluster.open_legacy(&self.hello, Arc::clone(&owner)).await?;
        self.restore(cluster, &link, &handshake.capabilities).await;
        if self.listening.load(Ordering::Relaxed) || self.has_subscriptions(&cluster.name) {
            listen(&link, owner).await;
        }
        Ok((link, handshake))
    }

    /// Tells a new upstream session what its predecessor knew.
    async fn restore(&self, cluster: &Cluster, link: &Link, capabilities: &serde_json::Value) {
        let (level, uris) = {
            let settings = self.settings.lock();
            (settings.level.clone(), settings.subscriptions.get(&cluster.name).cloned().unwrap_or_default())
        };
        if let Some(level) = level.filter(|_| capabilities.get("logging").is_some())
            && let Err(error) = link.ask(&level, http::HeaderMap::new()).await
        {
            tracing::warn!(backend = %cluster.name, ?error, "log level not restored");
        }
        for uri in uris {
            let subscribe =
                crate::upstream::own_request("resources/subscribe", &serde_json::json!({ "uri": uri }));
            let Ok(frame) = subscribe else { continue };
            if let Err(error) = link.ask(&frame, http::HeaderMap::new()).await {
                tracing::warn!(backend = %cluster.name, ?error, "subscription not restored");
            }
        }
    }

    /// The conversations that are open now.
    pub(crate) fn open_links(&self) -> Vec<(Arc<str>, Arc<Link>)> {
        let links = self.links.lock();
        links.iter().filter_map(|(name, slot)| Some((Arc::clone(name), slot.get()?))).collect()
    }

    pub(crate) fn open_link_of(&self, backend: &str) -> Option<Arc<Link>> {
        self.links.lock().get(backend)?.get()
    }

    /// Ends the conversation with a backend that is no longer configured.
    pub(crate) fn drop_link(&self, backend: &str) {
        let slot = self.links.lock().remove(backend);
        if let Some(link) = slot.and_then(|slot| slot.take()) {
            tasks::spawn("close-link", async move { link.close().await });
        }
    }

    /// The client listens: notification streams of open conversations are wanted from now on.
    pub(crate) async fn start_listening(self: &Arc<Self>) {
        self.listening.store(true, Ordering::Relaxed);
        let links = self.open_links();
        let mut opening = tokio::task::JoinSet::new();
        for (backend, link) in links {
            let owner: Arc<dyn Owner> = Arc::new(SessionOwner::new(self, &backend));
            opening.spawn(async move { listen(&link, owner).await });
        }
        opening.join_all().await;
    }

    /// Notes a log level for conversations to come.
    pub(crate) fn set_level(&self, request: Frame) {
        self.settings.lock().level = Some(request);
    }

    /// Notes a subscription made (or ended) at a backend.
    pub(crate) async fn set_subscription(self: &Arc<Self>, backend: &Arc<str>, uri: &str, on: bool) {
        {
            let mut settings = self.settings.lock();
            let uris = settings.subscriptions.entry(Arc::clone(backend)).or_default();
            if on {
                uris.insert(uri.to_owned());
            } else {
                uris.remove(uri);
            }
        }
        if on && let Some(link) = self.open_link_of(backend) {
            listen(&link, Arc::new(SessionOwner::new(self, backend))).await;
        }
    }

    fn has_subscriptions(&self, backend: &Arc<str>) -> bool {
        self.settings.lock().subscriptions.get(backend).is_some_and(|uris| !uris.is_empty())
    }

    /// Enters a request of the client's; the entry lives as long as the guard.
    pub(crate) fn enter(self: &Arc<Self>, id: Id, link: &Arc<Link>) -> CallGuard {
        self.calls.lock().insert(id.clone(), Arc::clone(link));
        CallGuard { session: Arc::clone(self), id }
    }

    /// Where a request of the client's went.
    pub(crate) fn call(&self, id: &Id) -> Option<Arc<Link>> {
        self.calls.lock().get(id).cloned()
    }

    /// A backend's request in the form in which this client answers it. `None` when too many wait.
    pub(crate) fn ask(&self, backend: &Arc<str>, request: &Frame) -> Option<Bytes> {
        self.asked.lock().open(Arc::clone(backend), request)
    }

    /// A backend's notification in the form in which this client reads it.
    pub(crate) fn show(&self, backend: &Arc<str>, notification: &Frame) -> Option<Bytes> {
        if notification.method() == Method::Cancelled {
            return self.asked.lock().cancelled(backend, notification);
        }
        Some(notification.bytes().clone())
    }

    /// Whose request a response (or progress) of the client's is about.
    pub(crate) fn answered(&self, frame: &Frame) -> Option<(Arc<str>, Bytes)> {
        let mut asked = self.asked.lock();
        if frame.is_response() { asked.close(frame) } else { asked.progress(frame) }
    }
}

/// A request of the client's in flight.
pub(crate) struct CallGuard {
    session: Arc<Session>,
    id: Id,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.session.calls.lock().remove(&self.id);
    }
}
