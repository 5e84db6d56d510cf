//! A legacy session: one client between `initialize` and its end. Changes when sessions hold something else.
//!
//! ```text
//! open ──▶ serving ──DELETE, idle, shutdown──▶ closed
//! ```

mod calls;
mod ids;
mod origin;
mod own;
mod settings;
mod stream;
mod table;

use std::collections::HashMap;
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
use origin::SessionOwner;
use settings::Settings;

pub(crate) use calls::{CallGuard, Calls};
pub(crate) use ids::SessionId;
pub(crate) use origin::{Conversation, Origin};
pub(crate) use own::OwnSessions;
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
    pub(crate) calls: Arc<Calls>,
    pub(crate) settings: Settings,
    conversations: Mutex<HashMap<Arc<str>, Arc<LinkSlot<Conversation>>>>,
    openings: AtomicU64,
    asked: Mutex<Asked<Origin>>,
    /// The client has opened its notification stream at least once.
    listening: AtomicBool,
    /// Milliseconds after `born`.
    last_used: AtomicU64,
    born: Instant,
    closed: CancellationToken,
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
        let closed = CancellationToken::new();
        Self {
            id,
            principal,
            scope,
            hello,
            streams: Streams::new(bounds),
            calls: Arc::new(Calls::new(closed.clone())),
            settings: Settings::default(),
            conversations: Mutex::default(),
            openings: AtomicU64::new(0),
            asked: Mutex::new(Asked::new(rename)),
            listening: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            born: now,
            closed,
        }
    }

    /// Notes that the client is there.
    pub(crate) fn touch(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_millis();
        self.last_used.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether nobody has used it for `ttl`. A client that listens or waits is using it now.
    pub(crate) fn is_idle(&self, now: Instant, ttl: Duration) -> bool {
        if self.streams.has_reader() || !self.calls.is_empty() {
            self.touch(now);
            return false;
        }
        let used = self.born + Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        now.saturating_duration_since(used) >= ttl
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends it: calls and streams end. The conversations are given back to be closed.
    pub(crate) fn close(&self) -> Vec<Arc<Link>> {
        // Calls end their own streams, each with a word about it.
        self.closed.cancel();
        self.streams.standalone().end();
        let slots: Vec<_> = self.conversations.lock().drain().collect();
        slots.into_iter().filter_map(|(_, slot)| slot.take()).map(|conversation| conversation.link).collect()
    }

    /// The conversation with a backend, opened when there is none, with what the backend said of itself when this call
    /// opened it.
    pub(crate) async fn converse(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
    ) -> Result<(Conversation, Option<Handshake>), Refusal> {
        let slot = Arc::clone(self.conversations.lock().entry(Arc::clone(&cluster.name)).or_default());
        if let Some(conversation) = slot.get() {
            return Ok((conversation, None));
        }
        let mut handshake = None;
        // Boxed, like everything that is not done for each request: a request's future is moved several times.
        let opening = slot.open(|| async {
            let (conversation, opened) = self.open(cluster).await?;
            handshake = Some(opened);
            Ok(conversation)
        });
        let (conversation, fresh) = Box::pin(opening).await?;
        // A session that ended meanwhile has emptied its slots already.
        if fresh && self.is_closed() {
            conversation.link.close().await;
        }
        Ok((conversation, handshake))
    }

    async fn open(self: &Arc<Self>, cluster: &Arc<Cluster>) -> Result<(Conversation, Handshake), Refusal> {
        let opening = self.openings.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { backend: Arc::clone(&cluster.name), opening };
        let owner: Arc<dyn Owner> = Arc::new(SessionOwner::new(self, &origin));
        let (link, handshake) = cluster.open_legacy(&self.hello, Arc::clone(&owner)).await?;
        let restored = self.settings.restore(&cluster.name, &link, &handshake);
        if tokio::time::timeout(cluster.config.connect_timeout, restored).await.is_err() {
            tracing::warn!(backend = %cluster.name, "log level and subscriptions not restored in time");
        }
        if self.listening.load(Ordering::Relaxed) || self.settings.has_subscriptions(&cluster.name) {
            listen(&link, owner).await;
        }
        Ok((Conversation { link, origin }, handshake))
    }

    /// The conversations that are open now.
    pub(crate) fn conversations(&self) -> Vec<Conversation> {
        self.conversations.lock().values().filter_map(|slot| slot.get()).collect()
    }

    /// The conversation with a backend, if it is open now.
    pub(crate) fn open_with(&self, backend: &str) -> Option<Conversation> {
        self.conversations.lock().get(backend)?.get()
    }

    /// Ends the conversation with a backend that is no longer configured.
    pub(crate) fn part_from(&self, backend: &str) {
        let slot = self.conversations.lock().remove(backend);
        if let Some(conversation) = slot.and_then(|slot| slot.take()) {
            tasks::spawn("close-link", async move { conversation.link.close().await });
        }
    }

    /// The client listens: notification streams of open conversations are wanted from now on.
    pub(crate) async fn start_listening(self: &Arc<Self>) {
        self.listening.store(true, Ordering::Relaxed);
        let mut opening = tokio::task::JoinSet::new();
        for Conversation { link, origin } in self.conversations() {
            let owner: Arc<dyn Owner> = Arc::new(SessionOwner::new(self, &origin));
            opening.spawn(async move { listen(&link, owner).await });
        }
        opening.join_all().await;
    }

    /// Makes sure that updates from a backend arrive.
    pub(crate) async fn listen_to(self: &Arc<Self>, conversation: &Conversation) {
        listen(&conversation.link, Arc::new(SessionOwner::new(self, &conversation.origin))).await;
    }

    /// A backend's request in the form in which this client answers it, with the id that the client sees. `None` when
    /// too many wait.
    pub(crate) fn ask(&self, origin: &Origin, request: &Frame) -> Option<(Id, Bytes)> {
        self.asked.lock().open(origin.clone(), request)
    }

    /// Forgets requests whose call has ended; gives those that the client has not answered.
    pub(crate) fn withdraw<'a>(&self, questions: &'a [Id]) -> Vec<&'a Id> {
        let mut asked = self.asked.lock();
        questions.iter().filter(|question| asked.withdraw(question)).collect()
    }

    /// A backend's notification in the form in which this client reads it, if it may. The merged endpoint's lists are
    /// the gateway's own, and so are the news about them.
    pub(crate) fn show(&self, origin: &Origin, notification: &Frame) -> Option<Bytes> {
        match notification.method() {
            Method::Cancelled => self.asked.lock().cancelled(origin, notification),
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged
                if self.scope == Scope::Merged =>
            {
                None
            }
            _ => Some(notification.bytes().clone()),
        }
    }

    /// The conversation that a response (or progress) of the client's is for, unless it has ended, and the bytes for it.
    pub(crate) fn answered(&self, frame: &Frame) -> Option<(Conversation, Bytes)> {
        let (origin, bytes) = {
            let mut asked = self.asked.lock();
            if frame.is_response() { asked.close(frame)? } else { asked.progress(frame)? }
        };
        let conversation = self.open_with(&origin.backend).filter(|open| open.origin == origin)?;
        Some((conversation, bytes))
    }
}
