//! Watching resources of a legacy server for listens of modern clients. Changes when such servers are watched
//! differently.
//!
//! The listens of one principal share a conversation, in which each resource is subscribed to once, for as long as one of
//! them watches it. The conversation ends with the last of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::method::Method;
use bridge_mcp::subscription::Filter;
use bridge_mcp::translate::to_legacy;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::Refusal;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::cluster::{Cluster, LinkSlot, Openable};
use crate::observe::GatewayMetrics;
use crate::pipeline::timed_out;
use crate::upstream::{Hello, Link, Owner, Taken, listen, own_request};

/// Follows the updates of `uris` for a listen of `principal`, until the conversation is lost. `confirm` gets those that
/// the server watches, once it does; when it watches none, the end is `false`.
pub(crate) async fn watch_legacy(
    cluster: &Arc<Cluster>,
    principal: &Principal,
    uris: &[Box<str>],
    updates: &mpsc::Sender<Frame>,
    confirm: impl AsyncFnOnce(Filter),
) -> Result<bool, Refusal> {
    let mut listener = Listener::join(cluster, principal).await?;
    let mut watched = Filter::default();
    for uri in uris {
        if listener.watch(uri).await? {
            watched.resource_subscriptions.insert(uri.clone());
        }
    }
    let any = !watched.resource_subscriptions.is_empty();
    confirm(watched).await;
    if !any {
        return Ok(false);
    }
    let closed = listener.conversation.link.closed();
    loop {
        tokio::select! {
            () = closed.cancelled() => return Ok(true),
            () = listener.heard.changed.notified() => {}
        }
        let due = std::mem::take(&mut *listener.heard.updated.lock());
        for (_, update) in due {
            // The listen is gone when nobody receives, and this task with it.
            drop(updates.send(update).await);
        }
    }
}

/// The conversations with one backend, by principal.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<Principal, Arc<Slot>>>);

type Slot = LinkSlot<Weak<Conversation>>;

/// One conversation. It ends with the last listener.
struct Conversation {
    cluster: Arc<Cluster>,
    link: Arc<Link>,
    news: Arc<News>,
    /// How many listeners watch a resource. Locked while the server is asked about one.
    watched: tokio::sync::Mutex<HashMap<Box<str>, usize>>,
}

/// The part of one listen.
struct Listener {
    conversation: Arc<Conversation>,
    number: u64,
    heard: Arc<Heard>,
    watched: Vec<Box<str>>,
}

/// What the server says, for all listeners.
struct News {
    metrics: GatewayMetrics,
    listeners: Mutex<HashMap<u64, Arc<Heard>>>,
    next: AtomicU64,
}

/// Updates that one listener has not passed on yet: the latest of each resource.
#[derive(Default)]
struct Heard {
    updated: Mutex<BTreeMap<Box<str>, Frame>>,
    changed: Notify,
}

impl Watches {
    fn slot(&self, principal: &Principal) -> Arc<Slot> {
        let mut slots = self.0.lock();
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.get().is_some());
        Arc::clone(slots.entry(principal.clone()).or_default())
    }
}

impl Openable for Weak<Conversation> {
    fn is_open(&self) -> bool {
        self.upgrade().is_some_and(|conversation| conversation.link.is_open())
    }
}

impl Conversation {
    async fn open(cluster: &Arc<Cluster>) -> Result<Self, Refusal> {
        let metrics = cluster.metrics().clone();
        let news = Arc::new(News { metrics, listeners: Mutex::default(), next: AtomicU64::new(0) });
        let owner = Arc::clone(&news) as Arc<dyn Owner>;
        let (link, _) = cluster.open_native_legacy(&Hello::gateway(), Arc::clone(&owner)).await?;
        let conversation =
            Self { cluster: Arc::clone(cluster), link, news, watched: tokio::sync::Mutex::default() };
        listen(&conversation.link, owner).await;
        Ok(conversation)
    }

    /// Asks the server for one resource; `false` when it refuses.
    async fn ask(&self, method: &str, uri: &str) -> Result<bool, Refusal> {
        let request = own_request(method, &json!({ "uri": uri }))?;
        let (cluster, limit) = (&self.cluster, self.cluster.config.request_timeout);
        let answer = tokio::time::timeout(limit, self.link.ask(&request, HeaderMap::new())).await;
        let answer = answer.map_err(|_| timed_out(limit, cluster))?;
        let answer = answer.map_err(|error| error.into_refusal(&cluster.name))?;
        Ok(answer.kind() == Kind::Result)
    }

    /// One listener less for each of `uris`.
    async fn release(self: Arc<Self>, uris: Vec<Box<str>>) {
        let mut watched = self.watched.lock().await;
        for uri in uris {
            let Some(count) = watched.get_mut(&uri) else { continue };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            watched.remove(&uri);
            // Nobody else uses the conversation: its subscriptions end with it.
            if Arc::strong_count(&self) == 1 {
                continue;
            }
            if let Err(error) = self.ask("resources/unsubscribe", &uri).await {
                tracing::debug!(backend = %self.cluster.name, %error, "not unsubscribed");
            }
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let link = Arc::clone(&self.link);
        self.cluster.track("close-link", async move { link.close().await });
    }
}

impl Listener {
    async fn join(cluster: &Arc<Cluster>, principal: &Principal) -> Result<Self, Refusal> {
        let slot = cluster.watches.slot(principal);
        loop {
            let mut fresh = None;
            let opening = slot.open(|| async {
                let conversation = Arc::new(Conversation::open(cluster).await?);
                let shared = Arc::downgrade(&conversation);
                fresh = Some(conversation);
                Ok(shared)
            });
            let (shared, _) = Box::pin(opening).await?;
            // Its last listener may have left just now.
            let Some(conversation) = fresh.or_else(|| shared.upgrade()) else { continue };
            let news = &conversation.news;
            let (number, heard) = (news.next.fetch_add(1, Ordering::Relaxed), Arc::<Heard>::default());
            news.listeners.lock().insert(number, Arc::clone(&heard));
            return Ok(Self { conversation, number, heard, watched: Vec::new() });
        }
    }

    /// Watches one more resource. `false` when the server does not.
    async fn watch(&mut self, uri: &str) -> Result<bool, Refusal> {
        let mut watched = self.conversation.watched.lock().await;
        if !watched.contains_key(uri) && !self.conversation.ask("resources/subscribe", uri).await? {
            return Ok(false);
        }
        *watched.entry(uri.into()).or_default() += 1;
        self.watched.push(uri.into());
        Ok(true)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.conversation.news.listeners.lock().remove(&self.number);
        let uris = std::mem::take(&mut self.watched);
        if !uris.is_empty() {
            let conversation = Arc::clone(&self.conversation);
            self.conversation.cluster.track("unwatch", conversation.release(uris));
        }
    }
}

impl Owner for News {
    fn notice(&self, frame: Frame) {
        if frame.method() != Method::ResourcesUpdated {
            return;
        }
        let Some(uri) = frame.target().map(|uri| Box::<str>::from(&*uri)) else { return };
        for heard in self.listeners.lock().values() {
            heard.updated.lock().insert(uri.clone(), frame.clone());
            heard.changed.notify_one();
        }
    }

    fn request(&self, frame: Frame, _: bool) -> Taken {
        self.metrics.lost(to_legacy::stray(&frame));
        Taken::Outside
    }
}
